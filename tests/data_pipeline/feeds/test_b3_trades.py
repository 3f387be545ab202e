"""Trades of today: columns by name, cancels in pairs, clocks, what is refused; all rows against a plain reader."""

from __future__ import annotations

import datetime as dt
import random
import zipfile
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.book.bar_tasks import compute_bars
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import trades as b3_trades
from data_pipeline.feeds.b3 import trades_text as b3_trades_text
from data_pipeline.feeds.b3.trades import B3_TRADES
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.tables.catalog import TRADES

NEW = (
    "DataReferencia;CodigoInstrumento;AcaoAtualizacao;PrecoNegocio;QuantidadeNegociada;HoraFechamento;"
    "CodigoIdentificadorNegocio;TipoSessaoPregao;DataNegocio;CodigoParticipanteComprador;CodigoParticipanteVendedor"
)
OLD = "RptDt;TckrSymb;UpdActn;GrssTradAmt;TradQty;NtryTm;TradId;TradgSsnId;TradDt"
PLACE = Path("unused")


def row(symbol="ABCD3", action=0, price="10,500", quantity=100, clock="100000001", number=10, kind=1, day="2024-07-03",
        session="2024-07-03", members="3;8"):  # fmt: skip
    return f"{session};{symbol};{action};{price};{quantity};{clock};{number};{kind};{day};{members}"


def write(folder, *lines, header=NEW, end="\n"):
    path = folder / "trades.txt"
    path.write_bytes(("\n".join((header, *lines)) + end).encode("latin-1"))
    return path


def read(path):
    tally = Tally()
    tables = [batch.rows for batch in B3_TRADES.read((path,), tally, {})]
    return (pa.concat_tables(tables) if tables else TRADES.schema.empty_table()), tally


def refused(path, *words):
    with pytest.raises(DataError) as error:
        read(path)
    for word in (path.name, *words):
        assert word in str(error.value), error.value


def ids(table):
    return list(zip(table["symbol"].to_pylist(), table["trade_id"].to_pylist(), strict=True))


def test_a_row_says_what_it_says(tmp_path):
    lines = [row(price="5571,25", symbol="WSPU24", clock="90001097", members="8;"), row(kind=6, number=20)]
    table, tally = read(write(tmp_path, *lines))
    first, second = table.to_pylist()
    assert first["time"].to_pydatetime() == dt.datetime(2024, 7, 3, 12, 0, 1, 97_000, tzinfo=dt.UTC)
    assert (first["price"], first["quantity"], first["side"], first["trade_id"]) == (5571.25, 100.0, None, "10")
    assert (first["buyer"], first["seller"], second["buyer"], second["seller"]) == (8, None, 3, 8)
    assert (first["condition"], second["condition"]) == ("regular", "after_market")
    assert tally.counts["clocks_padded_to_nine_digits"] == 1
    assert tally.counts["trades_of_futures_and_their_options"] == 1
    assert (tally.rows, tally.counts["after_market_trades"]) == (2, 1)
    assert table.schema == TRADES.schema


def test_columns_are_found_by_name_in_any_order_with_old_and_new_words(tmp_path):
    names, cells = NEW.split(";"), row().split(";")
    place = random.Random(2).sample(range(11), 11)
    mixed = write(
        tmp_path,
        ";".join(cells[k] for k in place) + ";7;z",
        header=";".join(names[k] for k in place) + ";TipoDoCanal;Novo",
    )
    table, tally = read(mixed)
    plain, _ = read(write(tmp_path, row()))
    assert table.equals(plain)
    assert any("Novo" in note and "TipoDoCanal" not in note for note in tally.notes)
    old, _ = read(write(tmp_path, row().removesuffix(";3;8"), header=OLD))
    assert old.drop(["buyer", "seller"]).equals(plain.drop(["buyer", "seller"]))
    assert old["buyer"].to_pylist() == [None]


def test_a_cancel_takes_out_its_trade_wherever_it_stands(tmp_path):
    lines = [
        row(number=10),
        row(number=20, action=2),  # before its trade
        row(number=20),
        row(number=30),
        row(number=10, action=2),
        row(number=10, symbol="ABCD4"),  # same number, other instrument
        row(number=10, day="2024-07-02"),  # same number, other date
        row(number=40, action=2, symbol="ABCD4"),  # its trade is not here
        row(number=30, action=2, quantity=200),  # says another quantity than its trade
        row(number=30),  # entered anew
    ]
    table, tally = read(write(tmp_path, *lines))
    assert ids(table) == [("ABCD4", "10"), ("ABCD3", "10"), ("ABCD3", "30")]
    assert table["sequence"].to_pylist() == [5, 6, 9]
    assert tally.counts["trades_cancelled"] == 3
    assert tally.counts["cancels"] == 4
    assert tally.counts["cancels_before_their_trade"] == 1
    assert tally.counts["cancels_without_their_trade"] == 1
    assert tally.counts["cancels_that_differ_from_their_trade"] == 1
    assert any("ABCD4 trade 40" in note for note in tally.notes)


def test_as_many_trades_go_as_there_are_cancels(tmp_path):
    table, tally = read(write(tmp_path, row(action=2), row(action=2), row(), row(number=20)))
    assert ids(table) == [("ABCD3", "20")]
    assert (tally.counts["trades_cancelled"], tally.counts["cancels_without_their_trade"]) == (1, 1)


def test_a_row_given_twice_counts_once_and_another_trade_of_its_number_stays(tmp_path):
    lines = [row(), row(number=20), row(), row(symbol="ABCD4"), row(number=20, quantity=300), row()]
    table, tally = read(write(tmp_path, *lines))
    assert table["sequence"].to_pylist() == [0, 1, 3, 4]
    assert tally.counts["rows_repeated_dropped"] == 2
    assert tally.counts["trade_numbers_used_twice"] == 1
    assert tally.counts["trade_numbers_that_do_not_rise"] == 3
    orderly, tally = read(write(tmp_path, row(), row(number=20), row(symbol="ABCD4")))
    assert (orderly.num_rows, tally.counts["trade_numbers_that_do_not_rise"]) == (3, 0)


def test_a_cancel_takes_out_its_trade_from_every_download_in_the_file(tmp_path):
    early, late = [row(), row(number=20)], [row(), row(number=20), row(number=20, action=2), row(number=30)]
    alone, _ = read(write(tmp_path, *late))
    both, tally = read(write(tmp_path, *early, *late))
    assert ids(alone) == ids(both) == [("ABCD3", "10"), ("ABCD3", "30")]
    assert tally.counts["rows_repeated_dropped"] == 2
    assert tally.counts["cancels_without_their_trade"] == 0
    other = row(number=10, quantity=300)
    table, tally = read(write(tmp_path, row(), other, row(), other))
    assert table["quantity"].to_pylist() == [100.0, 300.0]
    assert (tally.counts["rows_repeated_dropped"], tally.counts["trade_numbers_used_twice"]) == (2, 1)
    again, _ = read(write(tmp_path, row(), row(action=2), row(), row()))
    assert again["sequence"].to_pylist() == [2]  # entered anew after its cancel


def test_an_instrument_whose_every_trade_is_cancelled_is_named(tmp_path):
    """The store keeps what an earlier file said of it: there are no rows that could take its place."""
    lines = [row(), row(number=20), row(symbol="SOLO3"), row(symbol="SOLO3", action=2), row(action=2)]
    table, tally = read(write(tmp_path, *lines))
    assert ids(table) == [("ABCD3", "20")]
    assert tally.counts["instruments_whose_every_trade_is_cancelled"] == 1
    assert any("SOLO3" in note and "earlier file" in note for note in tally.notes)
    _, tally = read(write(tmp_path, row(), row(number=20), row(action=2)))
    assert tally.counts["instruments_whose_every_trade_is_cancelled"] == 0


def test_a_day_fetched_again_takes_the_place_of_the_rows_before_and_says_so(tmp_path):
    early = write(tmp_path, row(), row(symbol="ABCD4"))
    ingest(early.rename(tmp_path / "early.txt"), tmp_path / "store")
    late = write(tmp_path, row(), row(symbol="ABCD4"), row(number=20))
    report = ingest(late, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert sorted(ids(store.table("trades", venue="B3"))) == [("ABCD3", "10"), ("ABCD3", "20"), ("ABCD4", "10")]
    [said] = [line for line in report.lines() if line.startswith("replaced trades of B3 2024-07-03")]
    assert "ABCD3" in said
    assert "2 rows before, 3 after" in said
    assert store.table("trades", venue="B3")["side"].null_count == 3
    compute_bars(tmp_path / "store", ["time:4h"])
    bars = Store.open(tmp_path / "store").table("bars", venue="B3")
    assert (bars["bought"].null_count, bars["sold"].null_count) == (bars.num_rows, bars.num_rows)
    assert sum(bars["quantity"].to_pylist()) == 300.0


def test_test_instruments_go_and_shares_that_begin_alike_stay(tmp_path):
    lines = [row(symbol="TF583R"), row(symbol="TF693"), row(symbol="TFCO4"), row(symbol="TF")]
    table, tally = read(write(tmp_path, *lines))
    assert table["symbol"].to_pylist() == ["TFCO4", "TF"]
    assert tally.counts["test_instrument_rows_dropped"] == 2


def test_a_late_trade_belongs_to_the_session_of_its_file(tmp_path):
    table, tally = read(write(tmp_path, row(day="2024-07-02")))
    assert table["session"].to_pylist() == [dt.date(2024, 7, 3)]
    assert table["time"][0].as_py().date() == dt.date(2024, 7, 2)
    assert tally.counts["trades_of_another_date"] == 1


@pytest.mark.parametrize("day", ["2018-11-01", "2018-11-05", "2019-02-15", "2019-02-18", "2019-11-05", "2024-01-15"])
def test_local_time_is_that_of_the_day_with_summer_time_until_2019(tmp_path, day):
    table, _ = read(write(tmp_path, row(day=day, session=day, clock="173000123")))
    local = dt.datetime.fromisoformat(f"{day}T17:30:00.123").replace(tzinfo=ZoneInfo("America/Sao_Paulo"))
    assert table["time"][0].as_py().to_pydatetime() == local.astimezone(dt.UTC)


def test_what_cannot_be_a_trade_is_dropped_and_counted(tmp_path):
    table, tally = read(write(tmp_path, row(quantity=0), row(price="-1,5"), row(kind=3, number=20)))
    assert table["condition"].to_pylist() == ["after_market"]
    assert tally.counts["trades_without_quantity_dropped"] == tally.counts["negative_prices_dropped"] == 1
    assert tally.counts["other_session_types_as_after_market"] == 1


def test_line_ends_of_both_kinds_and_a_last_line_without_one(tmp_path):
    plain, _ = read(write(tmp_path, row(), row(number=20)))
    path = write(tmp_path, row() + "\r", row(number=20) + "\r", header=NEW + "\r")
    assert read(path)[0].equals(plain)
    assert read(write(tmp_path, row(), row(number=20), end=""))[0].equals(plain)
    assert read(write(tmp_path, row(), row(number=20), end="\n\n \r\n"))[0].equals(plain)


def test_bad_files_are_refused_with_line_field_and_text(tmp_path):
    good = row(number=20)
    refused(write(tmp_path, header=OLD.replace("TradQty", "Qty")), "line 1", "QuantidadeNegociada")
    refused(write(tmp_path, header=NEW.replace("DataNegocio", "DataReferencia")), "line 1")
    refused(write(tmp_path, row(), header=NEW + ";TckrSymb"), "line 1 names a column twice")
    refused(write(tmp_path, header=NEW + ";x" * 100), "line 1 names 111 columns")
    refused(write(tmp_path), "has no trades")
    refused(write(tmp_path, good, row(price="10.500")), "line 3", "PrecoNegocio", "'10.500'")
    refused(write(tmp_path, good, row(price="nan")), "line 3", "PrecoNegocio", "'nan'")
    refused(write(tmp_path, good, row(price="1" * 40)), "line 3", "PrecoNegocio")
    refused(write(tmp_path, good, row(quantity="1e5")), "line 3", "QuantidadeNegociada", "'1e5'")
    refused(write(tmp_path, good, row(quantity=1 << 53)), "line 3", "below 2^53")
    refused(write(tmp_path, good, row(clock="246000000")), "line 3", "HoraFechamento", "HHMMSSmmm")
    refused(write(tmp_path, good, row(clock="9000109")), "line 3", "HoraFechamento")  # 00:90
    refused(write(tmp_path, good, row(clock="1000000010")), "line 3", "HoraFechamento")
    refused(write(tmp_path, good, row(day="2023-02-29")), "line 3", "DataNegocio", "'2023-02-29'")
    refused(write(tmp_path, good, row(action=1)), "line 3", "AcaoAtualizacao must be 0 (new) or 2 (cancel); was 1")
    refused(write(tmp_path, good, row(day="2262-01-01")), "line 3", "DataNegocio", "1970 to 2261")
    refused(write(tmp_path, good, row(session="9999-12-31")), "line 3", "DataReferencia", "1970 to 2261")
    refused(write(tmp_path, good, row(price="1.234,50")), "line 3", "PrecoNegocio", "'1.234,50'")
    refused(write(tmp_path, good, NEW, good), "line 3", "DataReferencia must be a date", "'DataReferencia'")
    refused(write(tmp_path, good, good + ";a\rb", header=NEW + ";TipoDoCanal"), "line 2: must have 12 fields")
    refused(write(tmp_path, good + ";a\rb", header=NEW + ";TipoDoCanal"), "line 2", "TipoDoCanal", "line break")
    refused(write(tmp_path, good, row(clock='"100000001"')), "line 3", "HoraFechamento")
    refused(write(tmp_path, good, row(kind="REGULAR")), "line 3", "TipoSessaoPregao", "'REGULAR'")
    refused(write(tmp_path, good, row(symbol="A" * 51)), "line 3", "CodigoInstrumento")
    refused(write(tmp_path, good, row(symbol="AÇÃO3")), "line 3", "CodigoInstrumento", "AÇÃO3")
    refused(write(tmp_path, good, row(members="3000000000;8")), "line 3", "below 2^31")
    refused(write(tmp_path, good, good[:40]), "line 3: must have 11 fields; it has 7", "cut")
    refused(write(tmp_path, good + ";9"), "line 2", "it has 12")
    refused(write(tmp_path, good, "", good), "line 3")
    path = write(tmp_path, good)
    path.write_bytes(path.read_bytes().decode().encode("utf-16"))
    refused(path, "UTF-16")


def test_an_endless_line_ends_in_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(b3_trades_text, "BLOCK_BYTES", 1 << 12)
    refused(write(tmp_path, "x" * 10_000), "line 2 is longer than")
    path = tmp_path / "trades.txt"
    path.write_bytes(b"A" * 10_000)
    refused(path, "line 1")


def plain_reader(text):
    """The rules in plain Python: (symbol, number, time ns, price, quantity, after) of the trades that stand."""
    names = text[0].split(";")
    trades, cancels, cancel_rows = [], {}, {}
    for place, line in enumerate(text[1:]):
        cell = dict(zip(names, line.split(";"), strict=True))
        symbol, key = cell["CodigoInstrumento"], tuple(
            cell[name] for name in ("CodigoInstrumento", "DataNegocio", "CodigoIdentificadorNegocio")
        )  # fmt: skip
        if symbol[:2] == "TF" and symbol[2:3].isdigit():
            continue
        if cell["AcaoAtualizacao"] == "2":
            cancels[key] = cancels.get(key, 0) + 1
            cancel_rows.setdefault(key, []).append(place)
            continue
        clock = dt.datetime.strptime(cell["HoraFechamento"].zfill(9) + "000", "%H%M%S%f")
        local = dt.datetime.combine(
            dt.date.fromisoformat(cell["DataNegocio"]), clock.time(), ZoneInfo("America/Sao_Paulo")
        )
        since = local.astimezone(dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        price = float(cell["PrecoNegocio"].replace(",", "."))
        ns = (since // dt.timedelta(microseconds=1)) * 1000
        members = cell["CodigoParticipanteComprador"], cell["CodigoParticipanteVendedor"]
        trades.append((key, members, (symbol, key[2], ns, price, float(cell["QuantidadeNegociada"]), place)))
    kept, seen, entered = [], set(), []
    for key, members, trade in trades:
        # the cancels of the key so far: the words of a trade again after one more are a trade entered anew
        words = (key, members, trade[2:5], sum(place < trade[5] for place in cancel_rows.get(key, [])))
        if words not in seen:
            entered.append((key, trade))
        seen.add(words)
    for key, trade in entered:
        if cancels.get(key, 0):
            cancels[key] -= 1
        else:
            kept.append(trade)
    return kept


@st.composite
def files(draw):
    symbols = ("ABCD3", "ABCD4F", "WINV24", "TF123", "X", "PETRA123W4")
    rows = [
        row(
            symbol=draw(st.sampled_from(symbols)),
            action=draw(st.sampled_from((0, 0, 0, 2))),
            price=f"{draw(st.integers(0, 10**9))},{draw(st.integers(0, 999)):03d}",
            quantity=draw(st.integers(1, 10**12)),
            clock=f"{draw(st.integers(0, 23))}{draw(st.integers(0, 59)):02d}{draw(st.integers(0, 59)):02d}"
            f"{draw(st.integers(0, 999)):03d}",
            number=10 * draw(st.integers(1, 4)),
            day=draw(st.sampled_from(("2024-07-03", "2018-12-03", "2020-02-29"))),
            members=draw(st.sampled_from(("3;8", ";", "120;"))),
        )
        for _ in range(draw(st.integers(1, 30)))
    ]
    return [NEW, *rows]


def test_odd_but_sound_cells_are_read(tmp_path):
    lines = [row(clock="5900109", quantity=10**12, members=";", symbol="A" * 30), row(session="2024-07-04", number=20)]
    table, tally = read(write(tmp_path, *lines))
    first, second = table.to_pylist()
    assert first["time"].to_pydatetime() == dt.datetime(2024, 7, 3, 3, 59, 0, 109_000, tzinfo=dt.UTC)
    assert (first["quantity"], first["symbol"], first["buyer"], first["seller"]) == (1e12, "A" * 30, None, None)
    assert [first["session"], second["session"]] == [dt.date(2024, 7, 3), dt.date(2024, 7, 4)]
    assert tally.counts["clocks_padded_to_nine_digits"] == 1
    path = write(tmp_path, row())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    refused(path, "UTF-8 byte-order mark")


@given(text=files())
@settings(max_examples=60)
def test_rows_equal_those_of_a_plain_reader(text, tmp_path_factory):
    table, _ = read(write(tmp_path_factory.getbasetemp(), *text[1:]))
    found = zip(
        table["symbol"].to_pylist(), table["trade_id"].to_pylist(), table["time"].cast(pa.int64()).to_pylist(),
        table["price"].to_pylist(), table["quantity"].to_pylist(), table["sequence"].to_pylist(), strict=True,
    )  # fmt: skip
    assert list(found) == plain_reader(text)


def test_blocks_of_any_size_and_rows_on_disk_give_the_same_rows(tmp_path, monkeypatch):
    draw = random.Random(4)
    lines = [
        row(
            symbol=f"S{k % 5000}",
            number=10 * (k % 3),
            action=2 * (draw.random() < 0.1),
            clock=f"10{k // 60 % 60:02d}{k % 60:02d}000",
        )
        for k in range(7000)
    ]
    path = write(tmp_path, *lines)
    whole, tally = read(path)
    monkeypatch.setattr(b3_trades_text, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(b3_trades, "_IN_MEMORY", 20_000)
    parts, other = read(path)
    assert whole.equals(parts)
    assert tally == other
    assert len(set(whole["symbol"].to_pylist())) > 4096  # the table of symbols has grown


def table_holds(table):
    """The ranges of the table's columns."""
    for column in TRADES.columns:
        values = table[column.name]
        assert column.nullable or values.null_count == 0
        if column.type == pa.float64():
            numbers = values.to_numpy()
            assert np.isfinite(numbers).all()
            assert (numbers >= column.low).all()
        if column.words:
            assert set(values.to_pylist()) <= set(column.words)


@given(
    text=files(),
    cut=st.integers(0, 2000),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
    zipped=st.booleans(),
)
@settings(max_examples=150)
def test_damaged_bytes_are_refused_or_give_rows_that_can_be(text, cut, flips, zipped, tmp_path_factory):
    content = bytearray(("\n".join(text) + "\n").encode())
    for place, byte in flips:
        content[place % len(content)] = byte
    content = bytes(content[: len(content) - cut % len(content)])
    path = tmp_path_factory.getbasetemp() / "damaged"
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("trades.txt", content)
        packed = bytearray(path.read_bytes())
        for place, byte in flips[:2]:
            packed[place % len(packed)] = byte
        path.write_bytes(bytes(packed))
    else:
        path.write_bytes(content)
    try:
        table, _ = read(path)
    except DataError:
        return
    table_holds(table)


def test_the_first_line_tells_the_format():
    for start, known in ((NEW, True), (OLD, True), ("RH NEG", False), ("a;b", False), ("", False)):
        assert B3_TRADES.recognises(RawHead(PLACE, "x", start.encode() + b"\n1;2")) is known
    assert B3_TRADES.group([Path("b"), Path("a")]) == [(Path("b"),), (Path("a"),)]


@pytest.mark.realdata
def test_the_quoted_real_rows_are_read(realdata):
    folder = realdata / "b3_trades"
    table, tally = read(folder / "NEGOCIOSAVISTA_real_rows_quoted.txt")
    assert (table.num_rows, tally.rows, tally.counts["trades_of_futures_and_their_options"]) == (3, 3, 3)
    assert sorted(set(table["session"].to_pylist())) == [dt.date(2024, 7, 3), dt.date(2025, 9, 5)]
    old, tally = read(folder / "TradeIntraday_2021_real_row_quoted.txt")
    assert (old.num_rows, tally.counts["test_instrument_rows_dropped"]) == (0, 1)
