"""NEG_ files: aggressor flags, crosses, cancelled trades, the count of lines, what is refused."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.old_trades import B3_OLD_TRADES
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.tables.catalog import TRADES

DAY = "2015-11-26"
SUMMER = dt.timezone(dt.timedelta(hours=-2))
REAL = "NEG_OPCOES_20151126.zip"


def row(symbol="ABCDL20", number=10, price="0.320000", quantity=900, clock="13:29:05.765", indicator=1, buy=2, sell=1,
        cross=0, members=(114, 735)):  # fmt: skip
    return (
        f"{DAY};{symbol:<50};{number:010d}; {price:0>19};{quantity:018d};{clock};{indicator};{DAY};{1:015d};{2:015d};"
        f"{buy};{DAY};{3:015d};{4:015d};{sell};{cross};{members[0]:08d};{members[1]:08d}"
    )


def text(*rows, count=None):
    edge = f"NEG                 {DAY} {DAY} {len(rows) + 2 if count is None else count:09d}"
    return "\n".join([f"RH {edge}", *rows, f"RT {edge}"]) + "\n"


def write(folder, content):
    path = folder / "NEG.TXT"
    path.write_bytes(content.encode("latin-1"))
    return path


def read(path):
    tally = Tally()
    tables = [batch.rows for batch in B3_OLD_TRADES.read((path,), tally, {})]
    return pa.concat_tables(tables), tally


def refused(path, *words):
    with pytest.raises(DataError) as error:
        read(path)
    for word in (path.name, *words):
        assert word in str(error.value), error.value


def test_a_row_says_what_it_says(tmp_path):
    table, tally = read(write(tmp_path, text(row())))
    one = table.to_pylist()[0]
    assert one["time"].to_pydatetime() == dt.datetime(2015, 11, 26, 13, 29, 5, 765_000, tzinfo=SUMMER)
    assert (one["symbol"], one["price"], one["quantity"], one["side"]) == ("ABCDL20", 0.32, 900.0, -1)
    assert (one["trade_id"], one["condition"], one["buyer"], one["seller"]) == ("10", "regular", 114, 735)
    assert table.schema == TRADES.schema
    assert tally.rows == 1


def test_flags_are_sides_and_nobody_gets_a_sign_that_the_file_does_not_give(tmp_path):
    flags = [(1, 2, 0), (2, 1, 0), (2, 2, 0), (2, 2, 1), (0, 0, 0), (1, 1, 0), (1, 2, 1)]
    table, tally = read(write(tmp_path, text(*(row(buy=b, sell=s, cross=c) for b, s, c in flags))))
    assert table["side"].to_pylist() == [1, -1, 0, 0, 0, 0, 1]
    assert table["condition"].to_pylist() == ["regular"] * 3 + ["cross"] + ["regular"] * 2 + ["cross"]
    assert tally.counts["trades_without_aggressor"] == 4
    assert tally.counts["both_sides_aggressor_as_none"] == 1
    assert tally.counts["crosses"] == 2


def test_cancelled_trades_go(tmp_path):
    table, tally = read(write(tmp_path, text(row(), row(number=20, indicator=2), row(number=30))))
    assert table["trade_id"].to_pylist() == ["10", "30"]
    assert table["sequence"].to_pylist() == [0, 2]
    assert (tally.counts["trades_cancelled"], tally.rows) == (1, 3)


def test_bad_files_are_refused_with_line_field_and_text(tmp_path):
    lines = text(row(), row(number=20), row(number=30)).splitlines()
    cut = "\n".join(lines[:-1]) + "\n"
    refused(write(tmp_path, cut), "no last line RT", "cut")
    refused(write(tmp_path, "\n".join([*lines[:2], *lines[3:]]) + "\n"), "line 4", "says 5 lines", "there are 4")
    refused(write(tmp_path, text(row(), count=4)), "line 3", "says 4 lines")
    refused(write(tmp_path, "\n".join([*lines, lines[1]]) + "\n"), "line 6", "follows the end")
    refused(write(tmp_path, "\n".join(lines[1:]) + "\n"), "line 1 must be the header RH NEG")
    refused(write(tmp_path, text()), "has no trades")
    for bad, words in {
        row(buy=3): ("AggressorBuyOrderIndicator must be 0 to 2; was 3",),
        row(indicator=3): ("TradeIndicator must be 1 to 2; was 3",),
        row(cross=2): ("CrossTradeIndicator",),
        row(price="0,320000"): ("TradePrice", "a decimal number"),
        row(clock="13:29:65.765"): ("TradeTime", "'13:29:65.765'"),
        row(quantity=10**17): ("TradedQuantity",),
        row().replace(DAY, "2262-11-26"): ("SessionDate", "1970 to 2261"),
        row().replace(DAY, "2015-13-26"): ("SessionDate", "'2015-13-26'"),
        row().replace(f"{DAY};{1:015d}", "20\r15"): ("must have 18 fields",),
        row().replace(f"{1:015d}", "1\r1"): ("SequentialBuyOrderNumber must be text without a line break", "1\\r1"),
        row()[:100]: ("must have 18 fields",),
    }.items():
        refused(write(tmp_path, text(row(), bad)), "line 3", *words)


@given(
    rows=st.lists(
        st.builds(
            row,
            symbol=st.sampled_from(("ABCDL20", "XYZWX9")),
            price=st.integers(0, 10**9).map(lambda units: f"{units // 10**6}.{units % 10**6:06d}"),
            quantity=st.integers(0, 10**6),
            indicator=st.sampled_from((1, 1, 2)),
            buy=st.integers(0, 2),
            sell=st.integers(0, 2),
        ),
        min_size=1,
        max_size=12,
    ),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 300),
)
@settings(max_examples=120)
def test_damaged_bytes_are_refused_or_give_rows_that_can_be(rows, flips, cut, tmp_path_factory):
    content = bytearray(text(*rows).encode())
    for place, byte in flips:
        content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "NEG"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        table, tally = read(path)
    except DataError:
        return
    assert cut <= 1 or tally.rows < len(rows) or not rows
    assert table.num_rows == tally.rows - sum(
        tally.counts[rule] for rule in ("trades_cancelled", "trades_without_quantity_or_of_negative_price_dropped")
    )
    for name in ("price", "quantity"):
        assert np.isfinite(table[name]).all()
        assert (np.asarray(table[name]) >= 0).all()
    assert set(table["side"].to_pylist()) <= {-1, 0, 1}


def test_the_first_line_tells_the_format():
    for start, known in ((text(row()), True), ("RH OFER_CPA 2015-11-26 2015-11-26 5", False), (row(), False)):
        assert B3_OLD_TRADES.recognises(RawHead(Path("x"), "x", start.encode())) is known


@pytest.mark.realdata
def test_the_real_day_of_options_has_its_published_flags(realdata, tmp_path):
    path = realdata / "b3_trades" / REAL
    table, tally = read(path)
    assert tally.rows == 18_302
    assert len(set(table["symbol"].to_pylist())) == 770
    with zipfile.ZipFile(path) as archive:
        content = archive.read(archive.namelist()[0])
    raw = list(csv.reader(io.StringIO(content.decode("latin-1")), delimiter=";"))[1:-1]
    flags = [(cells[10], cells[14], cells[15]) for cells in raw]
    counts = {flag: flags.count(flag) for flag in set(flags)}
    assert counts == {("2", "1", "0"): 8860, ("1", "2", "0"): 8511, ("2", "2", "0"): 628, ("2", "2", "1"): 303}
    standing = [cells for cells in raw if cells[6] == "1"]
    assert tally.counts["trades_cancelled"] == 18_302 - len(standing) == 1
    sides = {("1", "2"): 1, ("2", "1"): -1, ("2", "2"): 0}
    assert table["side"].to_pylist() == [sides[cells[10], cells[14]] for cells in standing]
    assert table["condition"].to_pylist() == ["cross" if cells[15] == "1" else "regular" for cells in standing]
    np.testing.assert_array_equal(table["price"], [float(cells[3]) for cells in standing])
    np.testing.assert_array_equal(table["quantity"], [int(cells[4]) for cells in standing])
    assert table["buyer"].to_pylist() == [int(cells[16]) for cells in standing]
    clocks = [dt.datetime.fromisoformat(f"{cells[0]}T{cells[5]}").replace(tzinfo=SUMMER) for cells in standing]
    assert [one.to_pydatetime() for one in table["time"].to_pylist()] == clocks
    plain = tmp_path / "NEG.TXT"
    plain.write_bytes(content)
    assert read(plain)[0].equals(table)
