"""Binance captures: exchange time, sequence of the book, sides of trades, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_capture import read_binance_capture
from data_pipeline.synthetic.order_book import FILL, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture

T0 = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC


def ticker(ms: int, update: int, bid: str, ask: str, **more: Any) -> dict[str, Any]:
    return {"e": "bookTicker", "u": update, "s": "ABC", "b": bid, "B": "1", "a": ask, "A": "2", "T": T0 + ms} | more


def trade(ms: int, number: int, price: str, maker_bought: bool, **more: Any) -> dict[str, Any]:
    data = {"e": "trade", "E": T0 + ms, "T": T0 + ms, "s": "ABC", "t": number, "p": price, "q": "0.5", "X": "MARKET"}
    return data | {"m": maker_bought} | more


def depth(ms: int, first: int, last: int, previous: int | None, bids: list, asks: list) -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": T0 + ms, "T": T0 + ms, "s": "ABC", "U": first, "u": last, "b": bids, "a": asks}
    return data if previous is None else data | {"pu": previous}


def snapshot(last: int, bids: list, asks: list) -> dict[str, Any]:
    return {"lastUpdateId": last, "bids": bids, "asks": asks}


def write(folder: Path, *messages: dict[str, Any], behind_ms: int = 0) -> Path:
    lines = []
    for message in messages:
        wrapped = message if "lastUpdateId" in message else {"stream": "abc@x", "data": message}
        local = (message.get("T", T0) - behind_ms) * 10**6
        lines.append(f"{local} {json.dumps(wrapped)}\n")
    path = folder / "capture.gz"
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def test_a_sell_aggressor_is_where_the_buyer_was_the_maker(tmp_path):
    path = write(tmp_path, ticker(0, 1, "9.9", "10.1"), trade(5, 1, "9.9", True), trade(7, 2, "10.1", False))
    record = read_binance_capture(path)
    assert record.trades.side.tolist() == [-1, 1]
    assert (record.instrument, record.day, record.clock) == ("ABC", "2023-11-14", "UTC")
    np.testing.assert_allclose(np.diff(record.trades.times), 0.002, atol=1e-9)
    assert record.trades.times[0] == 22 * 3600 + 13 * 60 + 20 + 0.005


def test_exchange_time_is_used_and_a_slow_local_clock_is_said(tmp_path):
    messages = ticker(0, 1, "9.9", "10.1"), ticker(9, 2, "9.8", "10.1"), trade(5, 1, "9.9", True)
    record = read_binance_capture(write(tmp_path, *messages, behind_ms=1300))
    assert record.counts["negative_latencies"] == 3
    assert record.counts["times_out_of_order_across_streams"] == 1
    assert "median -1,300 ms" in record.notes[0]
    honest = read_binance_capture(write(tmp_path, *messages, behind_ms=-40))
    np.testing.assert_array_equal(record.trades.times, honest.trades.times)
    assert not honest.notes


def test_rules_on_rows_are_counted(tmp_path):
    path = write(
        tmp_path,
        ticker(0, 5, "9.9", "10.1"),
        ticker(1, 4, "1.0", "2.0"),
        ticker(2, 6, "10.2", "10.1"),
        ticker(3, 7, "9.9", "10.1", A="0"),
        ticker(9, 8, "9.9", "10.1"),
        trade(4, 1, "9.9", True),
        trade(4, 1, "9.9", True),
        trade(5, 3, "9.9", True, X="INSURANCE_FUND"),
        trade(6, 4, "9.9", True),
        {"e": "markPriceUpdate", "T": T0, "s": "ABC"},
    )
    record = read_binance_capture(path)
    wanted = {
        "ticker_messages_late_dropped": 1,
        "crossed_rows_removed": 1,
        "trades_repeated_dropped": 1,
        "trades_off_the_market_dropped": 1,
        "trade_ids_missing": 2,
        "other_messages": 1,
    }
    assert {name: record.counts[name] for name in wanted} == wanted
    np.testing.assert_array_equal(np.isnan(record.quotes.ask), [False, True, True, False])
    np.testing.assert_allclose(record.gaps - record.start, [[0.002, 0.009]], atol=1e-9)


def test_the_book_is_rebuilt_from_snapshot_and_differences(tmp_path):
    path = write(
        tmp_path,
        depth(0, 1, 5, 0, [["9.0", "9"]], []),  # wholly before the snapshot
        depth(10, 6, 12, 5, [["9.9", "0.000"]], [["10.1", "3"]]),
        snapshot(10, [["9.9", "1"], ["9.8", "2"]], [["10.2", "1"]]),
        depth(20, 13, 14, 12, [["9.95", "1"]], [["10.1", "0"], ["10.3", "5"]]),
        trade(21, 1, "9.95", True),
    )
    record = read_binance_capture(path, quotes="depth")
    np.testing.assert_array_equal(record.quotes.bid, [9.8, 9.95])
    np.testing.assert_array_equal(record.quotes.ask, [10.1, 10.2])
    assert record.counts["depth_messages_without_a_book"] == 1


def test_a_break_of_the_sequence_is_a_gap_until_the_next_snapshot(tmp_path):
    messages = [
        snapshot(10, [["9.9", "1"]], [["10.1", "1"]]),
        depth(0, 9, 11, 8, [], []),
        depth(10, 12, 13, 11, [["9.95", "1"]], []),
        depth(20, 18, 19, 17, [["9.97", "1"]], []),  # 14 to 17 are lost
        trade(25, 1, "9.9", True),
    ]
    broken = read_binance_capture(write(tmp_path, *messages), quotes="depth")
    assert broken.counts["depth_sequence_breaks"] == 1
    np.testing.assert_array_equal(broken.quotes.bid, [9.9, 9.95])
    np.testing.assert_allclose(broken.gaps - broken.start, [[0.010, 0.025]], atol=1e-9)
    fresh = snapshot(19, [["9.97", "1"]], [["10.0", "1"]])
    mended = read_binance_capture(
        write(tmp_path, *messages, fresh, depth(40, 20, 21, 19, [], [["9.99", "1"]])), quotes="depth"
    )
    np.testing.assert_array_equal(mended.quotes.bid, [9.9, 9.95, 9.97, 9.97])
    np.testing.assert_array_equal(mended.quotes.ask, [10.1, 10.1, 10.0, 9.99])
    np.testing.assert_allclose(mended.gaps - mended.start, [[0.010, 0.020]], atol=1e-9)


def test_spot_differences_follow_each_other_without_a_hole(tmp_path):
    messages = [
        snapshot(10, [["9.9", "1"]], [["10.1", "1"]]),
        depth(0, 9, 11, None, [], []),
        depth(10, 12, 13, None, [["9.95", "1"]], []),
        trade(15, 1, "9.9", True),
    ]
    path = write(tmp_path, {key: value for key, value in ticker(0, 1, "1", "2").items() if key != "T"}, *messages)
    record = read_binance_capture(path)  # a spot ticker has no time: the depth is taken
    np.testing.assert_array_equal(record.quotes.bid, [9.9, 9.95])
    with pytest.raises(DataError, match="no bookTicker messages with an exchange time"):
        read_binance_capture(path, quotes="ticker")


def test_bad_captures_are_refused_with_file_line_and_remedy(tmp_path):
    def refused(*words: str, content: bytes, name: str = "c.gz") -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            read_binance_capture(path)
        for word in (name, *words):
            assert word in str(error.value), error.value

    good = gzip.decompress(write(tmp_path, ticker(0, 1, "9.9", "10.1"), trade(5, 1, "9.9", True)).read_bytes())
    refused("damaged gzip", content=gzip.compress(good)[:-9])
    refused("damaged gzip", content=gzip.compress(good)[:-5] + b"\x00\x00\x00\x01\x02")
    refused("line 2", "last whole line", content=good[:-20], name="c.txt")
    refused("line 2", "has no 'q'", content=good.replace(b'"q"', b'"Q"'), name="c.txt")
    refused("line 1", content=b"time,price\n1,2\n", name="c.txt")
    refused("UTF-16", content=good.decode().encode("utf-16"), name="c.txt")
    refused("a bid must be finite", "nan", content=good.replace(b'"9.9", "B"', b'"nan", "B"'), name="c.txt")
    refused("a price is no number", content=good.replace(b'"p": "9.9"', b'"p": "x"'), name="c.txt")
    refused("no trade messages", content=good.split(b"\n")[0], name="c.txt")
    refused("needs both", content=good.split(b"\n")[1], name="c.txt")
    refused("2 symbols", content=good.replace(b"ABC", b"XYZ", 1), name="c.txt")
    refused("is empty", content=b"", name="c.txt")
    refused("line 1", content=b"1 " + b"[" * 100_000, name="c.txt")
    with pytest.raises(DataError, match="cannot read"):
        read_binance_capture(tmp_path / "absent.gz")


@pytest.mark.parametrize("quotes", ["ticker", "depth"])
def test_a_simulated_capture_reads_back_as_it_happened(tmp_path, quotes):
    events = simulate_book(BookConfig(seed=3, seconds=200.0, tick=0.1, mid=6000.0, fill_decay=5.0))
    record = read_binance_capture(write_capture(tmp_path / "c.gz", events), quotes=quotes)
    filled = events.kind == FILL
    np.testing.assert_allclose(record.trades.times, events.time_ns[filled] // 10**6 / 1e3, rtol=0, atol=1e-9)
    np.testing.assert_allclose(record.trades.price, events.price[filled] * 0.1, rtol=1e-12)
    np.testing.assert_array_equal(record.trades.side, -events.side[filled])
    spread = np.unique(np.rint((record.quotes.ask - record.quotes.bid) / 0.1))
    assert spread.tolist() == [2.0, 6.0]  # the book refills within the instant: only the two half-spreads are seen
    assert record.counts["depth_sequence_breaks"] == 0
    assert record.counts["negative_latencies"] == record.counts["lines"] - 1


@pytest.mark.realdata
def test_the_real_capture(realdata):
    path = realdata / "crypto" / "binance_usdm_btcusdt_20240808.gz"
    record, rebuilt = read_binance_capture(path), read_binance_capture(path, quotes="depth")
    counts = record.counts
    assert (counts["lines"], counts["depth_sequence_breaks"], counts["trades"]) == (93_954, 0, 21_313)
    assert counts["negative_latencies"] == 93_953
    with gzip.open(path) as stream:
        stamps = [re.search(rb'"T":(\d+)', line) for line in stream if b"lastUpdateId" not in line[:60]]
    disorder = sum(int(b[1]) < int(a[1]) for a, b in pairwise(stamps))
    assert counts["times_out_of_order_across_streams"] == disorder > 0
    assert record.end - record.start == pytest.approx(344.7, abs=0.1)
    # two feeds of one book: where the last ticker is at least 20 ms old, the rebuilt book shows the same best quotes
    moments = record.quotes.times[:-1][np.diff(record.quotes.times) > 0.12] + 0.119
    moments = moments[moments > rebuilt.start]
    assert moments.size > 100
    i, j = (np.searchsorted(q.times, moments, side="right") - 1 for q in (record.quotes, rebuilt.quotes))
    np.testing.assert_allclose(record.quotes.bid[i], rebuilt.quotes.bid[j])
    np.testing.assert_allclose(record.quotes.ask[i], rebuilt.quotes.ask[j])
