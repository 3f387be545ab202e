"""Tardis' files of every kind: units, sides, resets of the book, venues, what no table holds, damage."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.events import BUY, DEPTH, DEPTH_CLEAR, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL, SELL, SNAPSHOT
from data_pipeline.book.normalise import check_event_order
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import text as crypto_text
from data_pipeline.feeds.crypto.tardis import TARDIS
from data_pipeline.feeds.reading import Tally
from data_pipeline.ingest import ingest
from data_pipeline.raw_file import read_head
from data_pipeline.store import Store

T0 = 1_583_020_803_000_000  # 2020-03-01 00:00:03 UTC in µs
START = "exchange,symbol,timestamp,local_timestamp"
LEVELS = f"{START},is_snapshot,side,price,amount\n"
TRADES = f"{START},id,side,price,amount\n"
QUOTES = f"{START},ask_amount,ask_price,bid_price,bid_amount\n"
PICTURE = START + "".join(
    f",{side}[{k}].{what}" for k in (0, 1) for side in ("asks", "bids") for what in ("price", "amount")
)


def row(at, *cells, exchange="deribit", symbol="BTC-PERPETUAL", late=100, scale=1):
    return ",".join([exchange, symbol, str((T0 + at) * scale), str((T0 + at + late) * scale), *map(str, cells)]) + "\n"


def read(feed_run, text, name="x_2020-03-01_Y.csv"):
    return feed_run.read(TARDIS, {name: text.encode() if isinstance(text, str) else text})


def events_of(rows, symbol="BTC-PERPETUAL"):
    rows = rows.filter(pc.equal(rows["symbol"], symbol))
    array = np.zeros(rows.num_rows, dtype=EVENT_DTYPE)
    for name in EVENT_DTYPE.names:
        array[name] = rows[name].to_numpy()
    check_event_order(array, "rows")
    return array


def test_trades_have_the_aggressors_side_and_no_made_up_one(feed_run):
    text = TRADES + row(0, "a", "buy", 10, 5) + row(1, "a", "sell", 10.5, 6) + row(2, "", "unknown", 11, 7)
    tables, tally = read(feed_run, text)
    rows = tables["trades"].to_pylist()
    assert [(r["side"], r["trade_id"], r["price"], r["quantity"]) for r in rows] == [
        (1, "a", 10.0, 5.0),
        (-1, "a", 10.5, 6.0),
        (None, None, 11.0, 7.0),
    ]
    assert rows[0]["time"].value == T0 * 1000
    assert rows[0]["local_time"].value == (T0 + 100) * 1000
    assert (tally.counts["trade_ids_repeated"], tally.counts["trades_of_unknown_side"]) == (1, 1)
    assert "amounts of deribit are contracts in US dollars" in tally.notes[1]


def test_repeated_ids_are_counted_across_blocks_and_by_symbol(feed_run, monkeypatch):
    rows = [row(k, number, "buy", 10, 5, symbol=s) for k, (number, s) in enumerate([(1, "A"), (2, "A"), (1, "B")] * 40)]
    whole = read(feed_run, TRADES + "".join(rows))[1].counts["trade_ids_repeated"]
    monkeypatch.setattr(crypto_text.line_blocks, "__kwdefaults__", {"most": None, "size": 400})
    pieces = read(feed_run, TRADES + "".join(rows))[1].counts["trade_ids_repeated"]
    assert whole == pieces == 120 - 3


def test_microseconds_and_nanoseconds_are_told_by_magnitude_and_said(feed_run):
    for scale, word in ((1, "microseconds"), (1000, "nanoseconds")):
        tables, tally = read(feed_run, TRADES + row(0, "a", "buy", 10, 5, scale=scale))
        assert tables["trades"]["time"].to_pylist()[0].value == T0 * 1000
        assert tally.notes[0] == f"times are in {word}, as their magnitude tells."


def test_quotes_and_options_are_best_quotes(feed_run):
    tables, _ = read(feed_run, QUOTES + row(0, 3, 10.5, 10.0, 4) + row(5, "", "", 10.0, 4) + row(6, 0, 10.5, 10.0, 4))
    rows = tables["quotes"].to_pylist()
    assert [(r["bid"], r["bid_quantity"], r["ask"], r["ask_quantity"]) for r in rows] == [
        (10.0, 4.0, 10.5, 3.0),
        (10.0, 4.0, None, None),
        (10.0, 4.0, None, None),
    ]
    chain = f"{START},type,strike_price,expiration,bid_price,bid_amount,bid_iv,ask_price,ask_amount,delta\n"
    tables, tally = read(feed_run, chain + row(0, "put", 9875, 1, 0.02, 15.1, 55.9, 0.03, "", -0.6))
    assert (tables["quotes"]["bid"][0].as_py(), tables["quotes"]["ask"][0].as_py()) == (0.02, None)
    assert "greeks are not" in tally.notes[-1]


def test_pictures_leave_out_blank_levels(feed_run):
    text = f"{PICTURE}\n" + row(0, 10.5, 1, 10.0, 2, 10.6, 3, "", "") + row(1, 10.5, 1, 10.0, 2, 10.4, 3, 9.0, 4)
    tables, tally = read(feed_run, text)
    first = tables["depth"].to_pylist()[0]
    assert (first["bid_prices"], first["bid_quantities"]) == ([10.0], [2.0])
    assert (first["ask_prices"], first["ask_quantities"]) == ([10.5, 10.6], [1.0, 3.0])
    assert (tally.counts["levels_not_in_order_of_price"], tally.counts["pictures_crossed"]) == (1, 0)
    with pytest.raises(DataError, match="line 2: a level must have a price and an amount"):
        read(feed_run, f"{PICTURE}\n" + row(0, 10.5, "", 10.0, 2, 10.6, 3, "", ""))


def test_a_snapshot_after_updates_discards_the_book(feed_run):
    lines = [
        row(0, "true", "ask", 11, 1),
        row(0, "true", "bid", 10, 2),
        row(5, "false", "bid", 10, 0),
        row(9, "true", "bid", 9, 3),
        row(9, "true", "ask", 12, 4),
        row(12, "false", "ask", 12, 5),
    ]
    tables, tally = read(feed_run, LEVELS + "".join(lines))
    events = events_of(tables["book_events"])
    assert tally.counts["snapshots"] == 2
    kinds = (events["ev"] & np.uint64(KIND_MASK)).tolist()
    clears = [DEPTH_CLEAR, DEPTH_CLEAR]
    assert kinds == [*clears, SNAPSHOT, SNAPSHOT, DEPTH, *clears, SNAPSHOT, SNAPSHOT, DEPTH]
    assert np.isnan(events["px"]).tolist() == [kind == DEPTH_CLEAR for kind in kinds]  # the whole side
    sides = [BUY, SELL, SELL, BUY, BUY, BUY, SELL, BUY, SELL, SELL]
    assert (events["ev"] & np.uint64(BUY | SELL)).tolist() == sides
    assert ((events["ev"] & np.uint64(EXCH | LOCAL)) == np.uint64(EXCH | LOCAL)).all()
    assert events["px"][~np.isnan(events["px"])].tolist() == [11, 10, 10, 9, 12, 12]
    early = read(feed_run, LEVELS + lines[2] + lines[5])[1]
    assert early.counts["levels_before_the_first_snapshot"] == 2


def test_symbols_and_exchanges_of_one_file_are_kept_apart(feed_run, tmp_path):
    rows = [("deribit", "A"), ("deribit", "B"), ("binance-futures", "A"), ("binance", "A"), ("0x", "A")]
    text = LEVELS + "".join(row(k, "true", "bid", 10 + k, 1, exchange=e, symbol=s) for k, (e, s) in enumerate(rows))
    path = tmp_path / "x.csv"
    path.write_text(text)
    found = [(b.venue, r["symbol"], r["px"]) for b in TARDIS.read((path,), Tally(), {}) for r in b.rows.to_pylist()]
    prices = {(venue, symbol): price for venue, symbol, price in found if price == price}
    assert prices == {
        ("DERIBIT", "A"): 10.0,
        ("DERIBIT", "B"): 11.0,
        ("BINANCE_USDM", "A"): 12.0,
        ("BINANCE_SPOT", "A"): 13.0,
        ("X0X", "A"): 14.0,
    }
    mixed = TRADES + row(0, "a", "buy", 1, 1) + row(1, "b", "buy", 2, 1, exchange="bitmex")
    path.write_text(mixed)
    assert [(b.venue, b.rows.num_rows) for b in TARDIS.read((path,), Tally(), {})] == [("DERIBIT", 1), ("BITMEX", 1)]


@pytest.mark.parametrize("symbol", ["XBT/USD", "tBTC:USD", "BTC-27MAR20-9000-C"])
def test_symbols_are_kept_as_the_venue_writes_them(feed_run, tmp_path, symbol):
    books = LEVELS + row(0, "true", "bid", "1e-05", 5, symbol=symbol) + row(1, "false", "bid", 1e-05, 0, symbol=symbol)
    path = tmp_path / "levels_2020-03-01.csv"
    path.write_text(books)
    assert ingest(path, tmp_path / "store").complete
    events = Store.open(tmp_path / "store").event_array("DERIBIT", symbol, "2020-03-01")
    assert events["px"][2:].tolist() == [1e-05, 1e-05]
    assert events["qty"][2:].tolist() == [5, 0]  # 0: the level is gone


def test_sessions_are_the_receivers_dates_so_that_daily_files_are_whole(feed_run):
    at = 86_397_000_000 - 50  # 50 µs before midnight, received 50 µs after it
    tables, tally = read(feed_run, TRADES + row(at, "a", "buy", 1, 1) + row(at, "b", "buy", 1, 1, late=-10))
    assert [day.isoformat() for day in tables["trades"]["session"].to_pylist()] == ["2020-03-02", "2020-03-01"]
    assert (tally.counts["negative_latencies"], tally.counts["receivers_times_out_of_order"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TRADES, "a header and no rows"),
        (TRADES + row(0, "a", "BUY", 1, 1), "line 2: side must be one of buy, sell, unknown; was BUY"),
        (TRADES + row(0, "a", "buy", 1, 1) + row(0, "a", "buy", "nan", 1), "line 3: price must be a finite number"),
        (TRADES + row(0, "a", "buy", -1, 1), "line 2: price must not be negative; was -1"),
        (TRADES + row(0, "a", "buy", "", 1), "line 2: price must be a finite number; was empty"),
        (TRADES + row(0, "a", "buy", "1x", 1), "line 2: .*1x"),
        (TRADES + row(0, "a", "buy", 1), "line 2: .*Expected 8 columns, got 7"),
        (TRADES + row(0, "a", "buy", 1, 1)[:-1], "ends inside line 2"),
        (TRADES + row(0, "a", "buy", 1, 1) + "\n" + row(0, "a", "buy", 1, 1), "line 3"),
        (TRADES + row(-T0 + 5, "a", "buy", 1, 1), "line 2 has the time 5"),
        (TRADES + row(0, "a", "buy", 1, 1, exchange="Ö"), "line 2: exchange must be"),
        (TRADES + row(0, "a", "buy", 1, 1, symbol=""), "line 2: symbol must be"),
        (LEVELS + row(0, "yes", "bid", 1, 1), "line 2: .*yes"),
        (f"{START},funding_timestamp,funding_rate,open_interest\n" + row(0, 1, 2, 3), "derivative_ticker"),
        (f"{START},colour\n" + row(0, "red"), "then colour: known are"),
        (f"{START},asks[0].price,asks[0].price\n" + row(0, 1, 1), "names a column twice"),
        (f"{START},asks[0].price,bids[0].price\n" + row(0, 1, 1), "lacks the column"),
    ],
)
def test_what_cannot_be_is_refused_by_line(feed_run, text, words):
    with pytest.raises(DataError, match=words) as error:
        read(feed_run, text)
    assert "x_2020-03-01_Y.csv" in str(error.value)


def test_liquidations_are_refused_and_options_are_none(feed_run):
    with pytest.raises(DataError, match="liquidations, which are among the trades"):
        read(feed_run, TRADES + row(0, "a", "buy", 1, 1), name="bitmex_liquidations_2020-03-01_XBTUSD.csv")
    with pytest.raises(ValueError, match="options of tardis must be none"):
        feed_run.read(TARDIS, {"x.csv": TRADES.encode()}, colour="red")


def test_blocks_are_joined_without_a_seam(feed_run, monkeypatch):
    import data_pipeline.feeds.crypto.csv as crypto_csv
    from data_pipeline.feeds.crypto.text import line_blocks

    rows = [row(k, "true" if k % 9 < 2 else "false", "bid" if k % 2 else "ask", 10 + k % 5, k) for k in range(120)]
    whole, tally = read(feed_run, LEVELS + "".join(rows))
    monkeypatch.setattr(crypto_csv, "line_blocks", lambda path: line_blocks(path, size=300))
    pieces, counted = read(feed_run, LEVELS + "".join(rows))
    assert events_of(pieces["book_events"]).tobytes() == events_of(whole["book_events"]).tobytes()
    assert counted.counts == tally.counts
    with pytest.raises(DataError, match=r"line 90: .*price must be a finite number"):
        read(feed_run, LEVELS + "".join([*rows[:88], row(88, "true", "bid", "inf", 1), *rows[89:]]))


@given(st.data())
def test_damage_is_a_data_error_or_valid_rows(feed_run, data):
    good = data.draw(
        st.sampled_from(
            [
                TRADES + row(0, "a", "buy", 10, 5) + row(1, "b", "sell", 10.5, 6),
                LEVELS + row(0, "true", "ask", 11, 1) + row(3, "false", "bid", 10, 2),
                QUOTES + row(0, 3, 10.5, 10.0, 4) + row(5, "", "", 10.0, 4),
                f"{PICTURE}\n" + row(0, 10.5, 1, 10.0, 2, 10.6, 3, "", ""),
            ]
        )
    )
    packed = data.draw(st.booleans())
    content = data.draw(feed_run.damage(gzip.compress(good.encode(), mtime=0) if packed else good.encode()))
    feed_run.survives(TARDIS, "x_2020-03-01_Y.csv.gz" if packed else "x_2020-03-01_Y.csv", content)


@pytest.mark.realdata
def test_the_real_files_of_every_kind(realdata, feed_run):
    wanted = {
        "binance-futures_book_snapshot_25_BTCUSDT.csv": ("depth", "microseconds"),
        "binance-futures_book_snapshot_5_BTCUSDT.csv": ("depth", "microseconds"),
        "bitmex_trades_XBTUSD.csv": ("trades", "microseconds"),
        "crates_deltas_1.csv": ("book_events", "nanoseconds"),
        "crates_options_chain.csv": ("quotes", "microseconds"),
        "crates_trades_1.csv": ("trades", "nanoseconds"),
        "deribit_incremental_book_L2_BTC-PERPETUAL.csv": ("book_events", "microseconds"),
        "huobi-dm-swap_quotes_BTC-USD.csv": ("quotes", "microseconds"),
    }
    paths = sorted((realdata / "crypto" / "tardis").glob("*.csv"))
    assert [path.name for path in paths] == sorted(wanted)
    for path in paths:
        assert TARDIS.recognises(read_head(path))
        tables, tally = feed_run.drain(TARDIS, [path])
        table, unit = wanted[path.name]
        lines = path.read_text().splitlines()[1:]
        assert tally.rows == len(lines)
        assert unit in tally.notes[0]
        extra = 2 if table == "book_events" else 0  # the two events that clear the sides
        assert {name: rows.num_rows for name, rows in tables.items()} == {table: len(lines) + extra}
        if table == "trades":
            assert tables[table]["price"].to_pylist() == [float(line.split(",")[6]) for line in lines]
            assert tables[table]["quantity"].to_pylist() == [float(line.split(",")[7]) for line in lines]
        if table == "depth":
            ask = tables[table]["ask_prices"].to_pylist()
            assert [prices[0] for prices in ask] == [float(line.split(",")[4]) for line in lines]
            assert {len(prices) for prices in ask} == {25 if "25" in path.name else 5}
