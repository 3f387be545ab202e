"""Binance's dump files: forms with and without a header, units, ids, names, depth history, damage."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.events import DEPTH, DEPTH_CLEAR, KIND_MASK, SNAPSHOT
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_dump import BINANCE_DUMP
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.raw_file import read_head

MS_2024 = 1_735_603_200_000  # 2024-12-31
US_2025 = 1_735_689_600_000_000  # 2025-01-01
SPOT_TRADES = f"5,93000.50,0.01,930.005,{MS_2024},True,True\n6,93000.6,0.02,1860.012,{MS_2024 + 1},False,True\n"
SPOT_AGGREGATES = f"5,93000.5,0.01,7,9,{US_2025},False,True\n"
FUTURES_AGGREGATES = (
    "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
    f"5,93000.5,0.01,7,9,{MS_2024},true\n"
)
TICKERS = (
    "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    f"5,9,1,10,0,{MS_2024},{MS_2024}\n7,9,1,10,2,{MS_2024 + 3},{MS_2024 + 3}\n6,8,1,10,2,{MS_2024 + 2},{MS_2024 + 3}\n"
)
DEPTH_HEADER = "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu\n"


def read(feed_run, text, name, **options):
    return feed_run.read(BINANCE_DUMP, {name: text.encode()}, **options)


def venue_of(folder, text, name):
    path = folder / name
    path.write_text(text)
    assert BINANCE_DUMP.recognises(read_head(path))
    return {batch.venue for batch in BINANCE_DUMP.read((path,), Tally(), {})}


def test_spot_trades_have_no_header_and_milliseconds_before_2025(feed_run, tmp_path):
    name = "BTCUSDT-trades-2024-12-31.csv"
    tables, tally = read(feed_run, SPOT_TRADES, name)
    rows = tables["trades"].to_pylist()
    assert [(r["symbol"], r["side"], r["trade_id"], r["price"], r["quantity"], r["local_time"]) for r in rows] == [
        ("BTCUSDT", -1, "5", 93000.5, 0.01, None),
        ("BTCUSDT", 1, "6", 93000.6, 0.02, None),
    ]
    assert [r["time"].value for r in rows] == [MS_2024 * 10**6, (MS_2024 + 1) * 10**6]
    assert tally.counts["times_in_another_unit_than_their_date_has"] == 0
    assert venue_of(tmp_path, SPOT_TRADES, name) == {"BINANCE_SPOT"}
    assert any("taken as trades of BTCUSDT, BINANCE_SPOT" in note for note in tally.notes)


def test_spot_has_microseconds_from_2025_and_another_unit_is_said(feed_run):
    tables, tally = read(feed_run, SPOT_AGGREGATES, "BTCUSDT-aggTrades-2025-01-01.csv")
    assert tables["trades"]["time"].to_pylist()[0].value == US_2025 * 1000
    assert tally.counts["times_in_another_unit_than_their_date_has"] == 0
    assert "times are in microseconds, as their magnitude tells." in tally.notes
    odd = SPOT_AGGREGATES.replace(str(US_2025), str(US_2025 // 1000))
    tables, tally = read(feed_run, odd, "BTCUSDT-aggTrades-2025-01-01.csv")
    assert tables["trades"]["time"].to_pylist()[0].value == US_2025 * 1000
    assert tally.counts["times_in_another_unit_than_their_date_has"] == 1
    assert any("this differs" in note for note in tally.notes)


def test_a_file_over_the_change_of_units_is_one_line_of_time(feed_run):
    last_ms, first_us = US_2025 // 1000 - 1, US_2025
    text = SPOT_TRADES.replace(str(MS_2024 + 1), str(last_ms)) + f"7,93000.6,0.02,1860.012,{first_us},False,True\n"
    tables, tally = read(feed_run, text, "BTCUSDT-trades-2024-12.csv")
    rows = tables["trades"].to_pylist()
    assert [r["time"].value for r in rows[1:]] == [last_ms * 10**6, last_ms * 10**6 + 10**6]
    assert [r["session"].isoformat() for r in rows[1:]] == ["2024-12-31", "2025-01-01"]
    assert tally.counts["times_in_another_unit_than_their_date_has"] == tally.counts["times_out_of_order"] == 0
    assert "times are in microseconds and milliseconds, as their magnitude tells." in tally.notes


def test_numbers_may_have_exponents_from_the_first_row_on(feed_run, tmp_path):
    text = SPOT_TRADES.replace("0.01,", "1e-05,").replace("0.02,", "2E+3,")
    assert BINANCE_DUMP.recognises(RawHead(tmp_path / "AB-trades-2024-12-31.csv", "", text.encode()))
    tables, _ = read(feed_run, text, "BTCUSDT-trades-2024-12-31.csv")
    assert tables["trades"]["quantity"].to_pylist() == [1e-05, 2000.0]


def test_futures_have_a_header_and_their_venue_is_that_of_the_contract(feed_run, tmp_path):
    assert venue_of(tmp_path, FUTURES_AGGREGATES, "BTCUSDT-aggTrades-2024-12.csv") == {"BINANCE_USDM"}
    assert venue_of(tmp_path, FUTURES_AGGREGATES, "BTCUSD_PERP-aggTrades-2024-12.csv") == {"BINANCE_COINM"}
    bare = FUTURES_AGGREGATES.split("\n", 1)[1]
    assert venue_of(tmp_path, bare, "BTCUSDT-aggTrades-2020-12-31.csv") == {"BINANCE_USDM"}
    with_header, _ = read(feed_run, FUTURES_AGGREGATES, "BTCUSDT-aggTrades-2024-12.csv")
    without, _ = read(feed_run, bare, "BTCUSDT-aggTrades-2024-12.csv")
    assert with_header["trades"].equals(without["trades"])


def test_repeated_and_missing_trades_are_counted(feed_run):
    rows = "".join(f"{k},9.5,{q},1,{MS_2024 + t},true\n" for k, q, t in ((5, 1, 0), (5, 1, 0), (9, 1, 2), (10, 0, 1)))
    tables, tally = read(feed_run, "id,price,qty,quote_qty,time,is_buyer_maker\n" + rows, "AB-trades-2024-12-31.csv")
    assert tables["trades"]["trade_id"].to_pylist() == ["5", "9"]
    wanted = {
        "trades_repeated_dropped": 1,
        "trade_ids_missing": 3,
        "trades_without_price_or_quantity_dropped": 1,
        "times_out_of_order": 1,
    }
    assert {name: tally.counts[name] for name in wanted} == wanted


def test_tickers_in_order_of_their_ids(feed_run):
    tables, tally = read(feed_run, TICKERS, "BTCUSDT-bookTicker-2024-12-31.csv")
    rows = tables["quotes"].to_pylist()
    assert [(r["bid"], r["ask"], r["ask_quantity"]) for r in rows] == [(9.0, None, None), (9.0, 10.0, 2.0)]
    assert tally.counts["ticker_messages_late_dropped"] == 1


def test_depth_history_resets_the_book_by_its_snapshot(feed_run, tmp_path):
    snap, update = (tmp_path / f"BTCUSDT_T_DEPTH_2022-10-31_depth_{kind}.csv" for kind in ("snap", "update"))
    t = 1_667_174_400_000
    snap.write_text(DEPTH_HEADER + f"BTCUSDT,{t},10,10,b,snap,9,1,-1\nBTCUSDT,{t},10,10,a,snap,10,2,\n")
    update.write_text(
        DEPTH_HEADER
        + f"BTCUSDT,{t + 1},9,12,b,set,9,0,8\nBTCUSDT,{t + 1},9,12,a,set,11,3,8\n"
        + f"BTCUSDT,{t + 2},13,13,b,set,9,4,12\nBTCUSDT,{t + 3},15,15,b,set,9,5,14\n"
    )
    assert BINANCE_DUMP.group([update, snap]) == [(snap, update)]
    tables, tally = feed_run.drain(BINANCE_DUMP, [snap, update])
    rows = tables["book_events"]
    kinds = (rows["ev"].to_numpy() & np.uint64(KIND_MASK)).tolist()
    assert kinds == [DEPTH_CLEAR, DEPTH_CLEAR, SNAPSHOT, SNAPSHOT, *[DEPTH] * 4]
    assert rows["qty"].to_pylist() == [0, 0, 1, 2, 0, 3, 4, 5]
    assert rows["exch_ts"].equals(rows["local_ts"])
    assert (tally.rows, tally.counts["depth_messages"], tally.counts["depth_sequence_breaks"]) == (6, 4, 1)
    assert "depth history has one clock: the receiver's times are the exchange's." in tally.notes
    assert any("1 breaks of the sequence" in note and "not to be trusted" in note for note in tally.notes)


def test_the_zip_of_the_site_is_read_and_names_its_symbol(feed_run):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ETHUSDT-trades-2024-12-31.csv", SPOT_TRADES)
    tables, _ = feed_run.read(BINANCE_DUMP, {"renamed.zip": packed.getvalue()})
    assert set(tables["trades"]["symbol"].to_pylist()) == {"ETHUSDT"}


def test_a_renamed_file_needs_its_symbol_said(feed_run, tmp_path):
    assert not BINANCE_DUMP.recognises(RawHead(tmp_path / "x.csv", "x.csv", SPOT_TRADES.encode()))
    with pytest.raises(DataError, match=r"x\.csv does not name its symbol"):
        read(feed_run, SPOT_TRADES, "x.csv")
    tables, _ = read(feed_run, SPOT_TRADES, "x.csv", symbol="BNBUSDT", venue="BINANCE_TR")
    assert set(tables["trades"]["symbol"].to_pylist()) == {"BNBUSDT"}
    with pytest.raises(ValueError, match="venue must be"):
        read(feed_run, SPOT_TRADES, "x.csv", symbol="BNBUSDT", venue="b")
    with pytest.raises(ValueError, match="options of binance_dump"):
        read(feed_run, SPOT_TRADES, "x.csv", colour="red")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SPOT_TRADES + "7,1,1,1,x,True,True\n", "line 3"),
        (SPOT_TRADES + f"7,inf,1,1,{MS_2024},True,True\n", "line 3: price must be a finite number"),
        (SPOT_TRADES + f"7,1,-1,1,{MS_2024},True,True\n", "line 3: qty must not be negative"),
        (SPOT_TRADES + f"7,1,1,1,{MS_2024},maybe,True\n", "line 3"),
        (SPOT_TRADES + "7,1,1,1,12,True,True\n", "line 3 has the time 12"),
        (SPOT_TRADES[:-1], "ends inside line 2"),
        ("open_time,open,high\n1,2,3\n", "of no known form"),
        (TICKERS.split("\n")[0] + "\n", "has no rows"),
        (DEPTH_HEADER + f"A B,{MS_2024},1,1,b,snap,9,1,\n", "symbol must be"),
        (DEPTH_HEADER + f"AB,{MS_2024},1,1,c,snap,9,1,\n", "line 2: side must be one of b, a; was c"),
    ],
)
def test_what_cannot_be_is_refused_by_line(feed_run, text, words):
    with pytest.raises(DataError, match=words) as error:
        read(feed_run, text, "BTCUSDT-trades-2024-12-31.csv")
    assert "BTCUSDT-trades-2024-12-31.csv" in str(error.value)


@given(st.data())
def test_damage_is_a_data_error_or_valid_rows(feed_run, data):
    depth = DEPTH_HEADER + f"AB,{MS_2024},9,9,b,snap,9,1,\nAB,{MS_2024},10,12,b,set,9,0,9\n"
    good = data.draw(st.sampled_from([SPOT_TRADES, SPOT_AGGREGATES, FUTURES_AGGREGATES, TICKERS, depth]))
    content = data.draw(feed_run.damage(good.encode()))
    feed_run.survives(BINANCE_DUMP, "BTCUSDT-trades-2024-12-31.csv", content)
