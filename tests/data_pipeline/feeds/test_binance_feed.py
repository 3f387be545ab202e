"""Binance captures as rows: events against a plain reading, sequence, clocks, snapshots, several symbols, damage."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.events import (
    BUY,
    DEPTH,
    DEPTH_CLEAR,
    EVENT_DTYPE,
    EXCH,
    KIND_MASK,
    LOCAL,
    SELL,
    SNAPSHOT,
    TRADE,
)
from data_pipeline.book.normalise import check_event_order, normalise_events
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_feed import BINANCE_CAPTURE
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture

T0 = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC


def ticker(ms, update, bid="9.9", ask="10.1", symbol="ABC", **more):
    return {
        "e": "bookTicker",
        "u": update,
        "s": symbol,
        "b": bid,
        "B": "1",
        "a": ask,
        "A": "2",
        "T": T0 + ms,
        "E": T0 + ms,
    } | more


def trade(ms, number, price="9.9", sold=True, symbol="ABC", **more):
    data = {"e": "trade", "E": T0 + ms, "T": T0 + ms, "s": symbol, "t": number, "p": price, "q": "0.5", "X": "MARKET"}
    return data | {"m": sold} | more


def depth(ms, first, last, previous, bids=(), asks=(), symbol="ABC"):
    data = {"e": "depthUpdate", "E": T0 + ms, "s": symbol, "U": first, "u": last}
    futures = {} if previous is None else {"T": T0 + ms, "pu": previous}
    return data | futures | {"b": list(bids), "a": list(asks)}


def snapshot(last, bids, asks, ms=None):
    return {"lastUpdateId": last} | ({} if ms is None else {"E": T0 + ms, "T": T0 + ms}) | {"bids": bids, "asks": asks}


def capture(*messages, latency_ms=40, step=0, compact=True):
    """Bytes of a capture; each line 40 ms after its message's time, or `step` ms after the line before."""
    out, clock = [], T0
    for message in messages:
        clock = clock + step if step else message.get("T", message.get("E", clock))
        separators = (",", ":") if compact else (", ", ": ")
        out.append(f"{(clock + latency_ms) * 10**6} {json.dumps(message, separators=separators)}\n")
    return "".join(out).encode()


def read(feed_run, content, **options):
    return feed_run.read(BINANCE_CAPTURE, {"abc_20231114.txt": content}, **options)


def events_of(tables, symbol="ABC"):
    rows = tables["book_events"].filter(pc.equal(tables["book_events"]["symbol"], symbol))
    array = np.zeros(rows.num_rows, dtype=EVENT_DTYPE)
    for name in EVENT_DTYPE.names:
        array[name] = rows[name].to_numpy()
    assert rows["sequence"].to_pylist() == list(range(rows.num_rows))
    check_event_order(array, "rows")
    return array


def plain_events(content):
    """Every event by the plainest reading: json and a loop, in the order of the file."""
    rows = []
    for line in content.decode().splitlines():
        local, message = line.split(" ", 1)
        data = json.loads(message)
        data = data.get("data", data)
        stamp = (data.get("T", data.get("E")) or 0) * 10**6, int(local)
        if data.get("e") == "trade" and data["X"] == "MARKET":
            rows.append((TRADE | (SELL if data["m"] else BUY), *stamp, float(data["p"]), float(data["q"])))
        for side, key, picture in ((BUY, "b", "bids"), (SELL, "a", "asks")):
            if data.get("e") == "depthUpdate":
                rows += [(DEPTH | side, *stamp, float(p), float(q)) for p, q in data[key]]
            elif "lastUpdateId" in data and data[picture]:
                rows.append((DEPTH_CLEAR | side, *stamp, float(data[picture][-1][0]), 0.0))
                rows += [(SNAPSHOT | side, *stamp, float(p), float(q)) for p, q in data[picture]]
    events = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for place, row in enumerate(rows):
        events[place] = (*row, 0, 0, 0.0)
    return normalise_events(events)


def test_a_simulated_capture_gives_the_events_of_a_plain_reading(tmp_path, feed_run):
    truth = BookConfig(seed=3, seconds=120.0, tick=0.1, mid=6000.0)
    content = gzip.decompress(write_capture(tmp_path / "c.gz", simulate_book(truth)).read_bytes())
    tables, tally = read(feed_run, content)
    np.testing.assert_array_equal(events_of(tables, "SYNUSDT"), plain_events(content))
    messages = [json.loads(line.split(b" ", 1)[1]).get("data", {}) for line in content.splitlines()]
    kinds = [message.get("e") for message in messages]
    assert tally.rows == len(messages)
    assert tables["quotes"].num_rows == tally.counts["quotes"] == kinds.count("bookTicker")
    assert tables["trades"].num_rows == tally.counts["trades"] == kinds.count("trade")
    first = next(message for message in messages if message.get("e") == "bookTicker")
    row = tables["quotes"].slice(0, 1).to_pylist()[0]
    assert [row[name] for name in ("bid", "bid_quantity", "ask", "ask_quantity")] == [float(first[k]) for k in "bBaA"]
    assert row["time"].value == first["T"] * 10**6
    assert row["local_time"].value == row["time"].value - 1_200_000_000 + row["time"].value % 10**6


def test_rows_say_what_the_messages_say(feed_run):
    content = capture(ticker(0, 1, A="0"), trade(5, 7, sold=False), trade(6, 8), ticker(9, 2, "10.2"))
    tables, tally = read(feed_run, content)
    trades, quotes = tables["trades"].to_pylist(), tables["quotes"].to_pylist()
    assert [(row["side"], row["trade_id"], row["sequence"], row["condition"]) for row in trades] == [
        (1, "7", 1, "regular"),
        (-1, "8", 2, "regular"),
    ]
    assert (quotes[0]["bid"], quotes[0]["ask"], quotes[0]["ask_quantity"]) == (9.9, None, None)
    assert tally.counts["quotes_crossed"] == 1  # kept, and counted
    assert {row["session"].isoformat() for row in trades + quotes} == {"2023-11-14"}


def test_disorder_of_the_feed_is_counted(feed_run):
    content = capture(
        ticker(10, 5),
        ticker(8, 4),  # late: an update id that is not above
        trade(9, 1),
        trade(12, 1),  # repeated
        trade(13, 4),  # 2 and 3 are missing
        trade(14, 5, X="INSURANCE_FUND"),
        trade(15, 6, "0"),
        depth(16, 1, 10, 0, [["9.9", "1"]]),
        depth(17, 11, 12, 10, [["9.9", "2"]]),
        depth(18, 20, 21, 19, [["9.9", "3"]]),  # 13 to 19 are lost
        depth(17, 11, 12, 10, [["9.9", "2"]]),  # came before
        {"e": "markPriceUpdate", "E": T0, "s": "ABC", "p": "1"},
        {"code": -1121, "msg": "Invalid symbol."},
        latency_ms=-1300,
        step=1,
    )  # fmt: skip
    tables, tally = read(feed_run, content)
    wanted = {
        "ticker_messages_late_dropped": 1,
        "trades_repeated_dropped": 1,
        "trade_ids_missing": 2,
        "trades_off_the_market_dropped": 1,
        "trades_without_price_or_quantity_dropped": 1,
        "depth_messages": 3,
        "depth_messages_repeated_dropped": 1,
        "depth_sequence_breaks": 1,
        "other_messages": 2,
        "event_times_out_of_order": 2,
        "negative_latencies": 11,
    }
    assert {name: tally.counts.get(name) for name in wanted} == wanted
    assert tally.rows == 13
    assert any("1 breaks of the sequence: ABC before line 10 of abc_20231114.txt" in note for note in tally.notes)
    assert any("11 of 11 latencies are negative" in note and "kept as recorded" in note for note in tally.notes)
    seen = events_of(tables)[(events_of(tables)["ev"] & np.uint64(LOCAL)) > 0]
    assert seen["qty"].tolist() == [0.5, 0.5, 1, 2, 0, 0]  # the book is emptied at the break, and nothing follows
    kept, _ = read(feed_run, content, after_break="keep")
    assert events_of(kept)["qty"][(events_of(kept)["ev"] & np.uint64(LOCAL)) > 0].tolist() == [0.5, 0.5, 1, 2, 3]


def best_quotes(events, order):
    """(time, best bid, best ask) after each time of one clock, by a loop over dictionaries; None: a side is empty."""
    clock = "exch_ts" if order == EXCH else "local_ts"
    book, states = {BUY: {}, SELL: {}}, []
    for event in events[(events["ev"] & np.uint64(order)) > 0]:
        ev, price, quantity = int(event["ev"]), float(event["px"]), float(event["qty"])
        side = ev & (BUY | SELL)
        if ev & KIND_MASK == DEPTH_CLEAR:
            gone = [p for p in book[side] if np.isnan(price) or (p >= price if side == BUY else p <= price)]
            for level in gone:
                del book[side][level]
        elif ev & KIND_MASK in (DEPTH, SNAPSHOT):
            book[side].pop(price, None)
            if quantity > 0:
                book[side][price] = quantity
        state = (int(event[clock]) // 10**6 - T0, max(book[BUY], default=None), min(book[SELL], default=None))
        states = [*states[:-1], state] if states and states[-1][0] == state[0] else [*states, state]
    return states


@pytest.mark.parametrize("spot", [False, True])
def test_where_updates_are_lost_the_book_is_empty_until_a_snapshot_that_holds_them(feed_run, spot):
    def step(ms, update, bids, asks=()):
        return depth(ms, update, update, None if spot else update - 1, bids, asks)

    content = capture(
        step(0, 5, [["9.8", "1"]], [["10.2", "1"]]),
        step(10, 6, [["9.9", "1"]]),
        # 7 to 9 are lost: 9.9 may be gone
        step(30, 10, [["9.7", "1"]]),
        step(40, 11, [["9.6", "1"]]),
    )
    rest = {} if spot else {"ms": 45}
    late = T0 if spot else T0 + 45  # a REST answer of spot has no time
    old = snapshot(8, [["9.9", "5"]], [["10.2", "1"]], **rest)  # older than what was lost
    content += capture(old, latency_ms=T0 + 85 - late)
    content += capture(trade(46, 1, **({"M": True} if spot else {})), step(50, 12, [["9.5", "2"]], [["10.1", "1"]]))
    fresh = snapshot(11, [["9.7", "1"], ["9.6", "1"]], [["10.3", "1"]], **rest)
    content += capture(fresh, latency_ms=T0 + 95 - late)
    content += capture(step(60, 13, [["9.75", "1"]]))
    tables, tally = read(feed_run, content)
    known = [(0, 9.8, 10.2), (10, 9.9, 10.2), (30, None, None), (46, None, None)]
    # the exchange's book has update 12 when it comes; the receiver can apply it only once he has the snapshot
    seen = best_quotes(events_of(tables), LOCAL)
    assert seen == [(ms + 40, bid, ask) for ms, bid, ask in known] + [(95, 9.7, 10.1), (100, 9.75, 10.1)]
    true = best_quotes(events_of(tables), EXCH)
    picture = [(40 if spot else 45, 9.7, 10.3), (46, 9.7, 10.3)]
    assert true == [*known[:3], *picture, (50, 9.7, 10.1), (60, 9.75, 10.1)]
    wanted = {
        "depth_sequence_breaks": 1,
        "depth_messages": 6,
        "depth_messages_without_a_book_dropped": 2,  # 10 and 11: the snapshot holds them
        "depth_messages_seen_with_the_snapshot_after_a_break": 1,
        "snapshots_older_than_a_break_dropped": 1,
    }
    assert {name: tally.counts.get(name) for name in wanted} == wanted
    assert tables["trades"].num_rows == 1
    assert any("until a snapshot holds them the book is empty" in note for note in tally.notes)
    with pytest.raises(ValueError, match="after_break must be 'empty' or 'keep'"):
        read(feed_run, content, after_break="yes")


def test_a_snapshot_received_before_the_first_difference_of_a_new_connection_holds_what_was_lost(feed_run):
    content = capture(
        depth(0, 4, 5, 3, [["9.8", "1"]], [["10.2", "1"]]),
        snapshot(20, [["9.7", "1"]], [["10.3", "1"]], ms=30),
        depth(40, 18, 22, 17, [["9.75", "1"]]),  # 6 to 17 never came: they are in the snapshot
        depth(50, 23, 23, 22, [["9.76", "1"]]),
    )
    tables, tally = read(feed_run, content)
    np.testing.assert_array_equal(events_of(tables), plain_events(content))
    assert tally.counts["depth_sequence_breaks"] == 1
    assert "depth_messages_without_a_book_dropped" not in {name for name, count in tally.counts.items() if count}


def test_of_many_differences_that_wait_the_last_are_kept(feed_run, monkeypatch):
    monkeypatch.setattr("data_pipeline.feeds.crypto.binance_gaps._WAITING", 5)
    broken = [depth(0, 1, 1, 0, [["9", "1"]])]
    broken += [depth(k, k, k, k - 1, [["9.5", str(k)]]) for k in range(3, 13)]  # 2 is lost
    for held, kept in ((10, [11, 12]), (7, [8, 9, 10, 11, 12]), (6, None)):
        latest = [*broken, snapshot(held, [["9", "7"]], [["10", "1"]], ms=12)]
        for size in (3, 65_536):
            monkeypatch.setattr("data_pipeline.feeds.crypto.binance_messages._MOST_ROWS", size)
            tables, tally = read(feed_run, capture(*latest))
            events = events_of(tables)
            depths = events[(events["ev"] & np.uint64(KIND_MASK | LOCAL)) == DEPTH | LOCAL]
            assert depths["qty"].tolist() == [1, *(kept or [])]
            # what was dropped for want of room is in no snapshot older than it
            assert tally.counts.get("snapshots_older_than_a_break_dropped", 0) == (kept is None)
            assert tally.counts["depth_messages_without_a_book_dropped"] == 10 - len(kept or [])


def test_breaks_do_not_depend_on_where_the_file_is_cut_into_blocks(feed_run, monkeypatch):
    messages, last = [], 0
    for k in range(1, 400):
        if k % 70 == 0:
            last += 3  # a break
        if k % 50 == 0:
            messages.append(snapshot(last, [["9.9", "1"]], [["10.1", "1"]], ms=k))
        messages.append(depth(k, last + 1, last + 1, last, [["9.9", str(k)]]))
        last += 1
    whole, tally = read(feed_run, capture(*messages))
    assert tally.counts["depth_sequence_breaks"] == 5
    monkeypatch.setattr("data_pipeline.feeds.crypto.binance_messages._MOST_ROWS", 7)
    pieces, again = read(feed_run, capture(*messages))
    assert events_of(pieces).tobytes() == events_of(whole).tobytes()
    assert again.counts == tally.counts
    kept = tally.counts["depth_messages"] - tally.counts["depth_messages_without_a_book_dropped"]
    kinds = events_of(whole)["ev"][(events_of(whole)["ev"] & np.uint64(EXCH)) > 0] & np.uint64(KIND_MASK)
    assert int((kinds == DEPTH).sum()) == kept


def test_the_clock_is_shifted_by_name_only(feed_run):
    content = capture(depth(0, 1, 2, 0, [["9.9", "1"]]), trade(5, 1), depth(9, 3, 4, 2), ticker(0, 1), latency_ms=-1300)
    kept, shifted = read(feed_run, content)[0], read(feed_run, content, local_clock="shift", base_latency_ns="7")
    before, after = events_of(kept), events_of(shifted[0])
    assert (before["local_ts"] - before["exch_ts"]).max() == -1_300_000_000
    assert (after["local_ts"] - after["exch_ts"]).min() == 7
    assert shifted[1].counts["receivers_times_shifted"] == 4
    assert any("moved later by 1.300000 s, as asked" in note for note in shifted[1].notes)
    for options in ({"local_clock": "yes"}, {"base_latency_ns": "-1"}, {"speed": "1"}):
        with pytest.raises(ValueError, match="must be"):
            read(feed_run, content, **options)


def test_a_snapshot_clears_each_side_down_to_its_last_level(feed_run):
    content = capture(
        depth(0, 1, 9, 0, [["9.5", "1"]], []),
        snapshot(20, [["9.9", "1"], ["9.8", "2"]], [["10.1", "3"]], ms=5),
        depth(10, 15, 25, 9, [["9.9", "0"]], []),
    )
    tables, tally = read(feed_run, content)
    np.testing.assert_array_equal(events_of(tables), plain_events(content))
    kinds = (events_of(tables)["ev"] & np.uint64(KIND_MASK)).tolist()
    assert kinds == [DEPTH, DEPTH_CLEAR, SNAPSHOT, SNAPSHOT, DEPTH_CLEAR, SNAPSHOT, DEPTH]
    assert tally.counts["snapshots"] == 1
    assert tally.counts["depth_messages_overtaken_by_a_snapshot"] == 0
    late = capture(depth(0, 1, 30, 0, [["9.5", "1"]]), snapshot(20, [["9.9", "1"]], [["10.1", "3"]], ms=5))
    assert read(feed_run, late)[1].counts["depth_messages_overtaken_by_a_snapshot"] == 1


def test_spot_has_no_hole_in_its_ids_and_its_own_times(feed_run, tmp_path):
    spot = {key: value for key, value in ticker(0, 1).items() if key not in ("e", "T", "E")}
    sold = {key: value for key, value in trade(3, 1).items() if key != "X"} | {"M": True}
    content = capture(
        depth(0, 1, 5, None, [["9.8", "1"]]),
        snapshot(5, [["9.9", "1"]], [["10.1", "1"]]),  # the REST answer of spot has no time
        depth(10, 6, 7, None, [["9.9", "2"]]),
        depth(20, 9, 9, None, [["9.9", "3"]]),  # 8 is lost
        spot,
        sold,
    )
    tables, tally = read(feed_run, content)
    events = events_of(tables)
    assert tally.counts["depth_sequence_breaks"] == 1
    assert tally.counts["snapshots_timed_by_the_difference_before"] == 1
    assert events["exch_ts"][(events["ev"] & np.uint64(KIND_MASK)) == SNAPSHOT][0] == T0 * 10**6
    assert tally.counts["quotes_timed_by_the_receivers_clock"] == 1
    assert tables["quotes"]["time"].to_pylist() == tables["quotes"]["local_time"].to_pylist()
    path = tmp_path / "abc_20231114.txt"
    path.write_bytes(content)
    assert {batch.venue for batch in BINANCE_CAPTURE.read((path,), Tally(), {})} == {"BINANCE_SPOT"}


def test_several_symbols_in_a_file_are_those_of_each_alone(feed_run):
    own = {
        "ABC": [ticker(k, k) for k in range(1, 9)] + [trade(9, 1), depth(12, 1, 2, 0, [["9.9", "1"]])],
        "XYZUSDT": [trade(k, k, "500", symbol="XYZUSDT") for k in range(3, 9)]
        + [depth(14, 5, 6, 4, [["499", "2"]], (), "XYZUSDT")],
        "COINUSD_PERP": [ticker(4, 2, "70", "71", symbol="COINUSD_PERP"), trade(6, 5, "70", symbol="COINUSD_PERP")],
    }  # fmt: skip
    nameless = snapshot(9, [["499", "1"]], [["501", "1"]], ms=13)  # its price is that of XYZUSDT
    unclear = snapshot(9, [["9000", "1"]], [["9001", "1"]], ms=13)
    mixed = sorted(
        [message for messages in own.values() for message in messages] + [nameless, unclear], key=lambda m: m["T"]
    )
    tables, tally = read(feed_run, capture(*mixed))
    own["XYZUSDT"].insert(-1, nameless)
    assert tally.counts["snapshots_of_no_certain_symbol_dropped"] == 1
    for symbol, messages in own.items():
        alone, _ = read(feed_run, capture(*messages))
        for name, rows in alone.items():
            part = tables[name].filter(pc.equal(tables[name]["symbol"], symbol))
            drop = [column for column in ("sequence",) if name != "book_events"]
            assert part.drop_columns(drop).equals(rows.drop_columns(drop)), (symbol, name)


def test_aggregates_are_taken_where_there_are_no_single_trades(feed_run):
    gathered = {key: value for key, value in trade(5, 0).items() if key not in ("t", "X")} | {
        "e": "aggTrade",
        "a": 4,
        "f": 1,
        "l": 2,
    }
    alone, _ = read(feed_run, capture(gathered))
    assert alone["trades"]["trade_id"].to_pylist() == ["4"]
    both, tally = read(feed_run, capture(gathered, trade(5, 1), trade(5, 2)))
    assert both["trades"]["trade_id"].to_pylist() == ["1", "2"]
    assert tally.counts["aggregated_trades_beside_the_other_kind_dropped"] == 1


def test_hours_of_one_day_are_read_as_one_capture(feed_run, tmp_path):
    messages = [depth(k, k, k, k - 1, [["9.9", str(k)]]) for k in range(1, 40)] + [trade(50, 1), trade(51, 1)]
    whole, _ = read(feed_run, capture(*messages))
    content = capture(*messages).splitlines(keepends=True)
    names = ("abc_20231114_09.txt", "abc_20231114_10.txt", "abc_20231115_00.txt", "abd_20231114_09.txt", "abc.txt")
    paths = [tmp_path / name for name in names]
    groups = BINANCE_CAPTURE.group(paths)
    assert sorted(len(group) for group in groups) == [1, 1, 1, 2]
    assert (paths[0], paths[1]) in groups
    paths[0].write_bytes(b"".join(content[:17]))
    paths[1].write_bytes(b"".join(content[17:]))
    parts, tally = feed_run.drain(BINANCE_CAPTURE, paths[:2])
    assert all(parts[name].equals(whole[name]) for name in whole)
    assert tally.counts["depth_sequence_breaks"] == 0
    assert tally.counts["trades_repeated_dropped"] == 1


def test_a_capture_that_crosses_midnight_has_two_sessions_in_one_order(feed_run):
    ms = 1_700_006_400_000 - T0  # 2023-11-15 00:00 UTC
    messages = [depth(ms + k, 100 + k, 100 + k, 99 + k, [["9.9", "1"]]) for k in range(-60, 60)]
    tables, _ = read(feed_run, capture(*messages))
    rows = tables["book_events"]
    days = [day.isoformat() for day in rows["session"].to_pylist()]
    assert days == sorted(days)
    assert days.count("2023-11-14") == 20  # the receiver's date: 40 ms after the exchange's
    np.testing.assert_array_equal(events_of(tables), plain_events(capture(*messages)))


@pytest.mark.parametrize("latency_ms", [40, -1270])
def test_tables_agree_on_the_session_of_what_the_receiver_saw_around_midnight(feed_run, latency_ms):
    midnight = 1_700_006_400_000 - T0
    messages = []
    for k in range(-1400, 1400, 7):
        messages += [trade(midnight + k, 5000 + k), ticker(midnight + k, 5000 + k)]
    tables, _ = read(feed_run, capture(*messages, latency_ms=latency_ms))
    events = tables["book_events"].to_pylist()
    seen = [row for row in events if row["ev"] & LOCAL and row["ev"] & KIND_MASK == TRADE]
    wanted = ["2023-11-14" if k + latency_ms < 0 else "2023-11-15" for k in range(-1400, 1400, 7)]
    for rows in (tables["trades"].to_pylist(), tables["quotes"].to_pylist(), seen):
        assert [row["session"].isoformat() for row in rows] == wanted


def test_days_whose_clock_is_shifted_are_cut_where_their_files_are(feed_run):
    midnight = 1_700_006_400_000 - T0
    messages = [trade(midnight + k, 5000 + k) for k in range(1000, 2000, 10)]
    # the recorder's clock is 1.27 s late: by it the first 27 trades are of the day before, and lie in that day's file
    before, after = capture(*messages[:27], latency_ms=-1270), capture(*messages[27:], latency_ms=-1270)
    for content, day in ((before, "2023-11-14"), (after, "2023-11-15")):
        tables, _ = read(feed_run, content, local_clock="shift")
        for rows in tables.values():
            assert {session.isoformat() for session in rows["session"].to_pylist()} == {day}


def test_it_knows_its_format_and_refuses_a_file_without_a_market(feed_run, tmp_path):
    def known(start):
        return BINANCE_CAPTURE.recognises(RawHead(tmp_path / "x", "x", start))

    assert known(capture(trade(1, 1)))
    assert not known(b'{"e":"trade"}\n')
    assert not known(b"1700000000000,5\n")
    with pytest.raises(DataError, match=r"abc_20231114\.txt holds no message of a market"):
        read(feed_run, capture({"e": "markPriceUpdate", "s": "ABC"}))


GOOD = capture(
    snapshot(10, [["9.9", "1"], ["9.8", "2"]], [["10.1", "3"]], ms=0),
    depth(1, 8, 12, 7, [["9.9", "0"]], [["10.2", "1.5"]]),
    ticker(2, 5),
    trade(3, 7),
    depth(4, 13, 14, 12, [], [["10.2", "0"]]),
    ticker(5, 6, "9.8"),
)


@given(st.data())
def test_damage_is_a_data_error_or_valid_rows(feed_run, data):
    content = data.draw(feed_run.damage(GOOD))
    packed = data.draw(st.booleans())
    if packed:
        content = data.draw(feed_run.damage(gzip.compress(GOOD, mtime=0)))
    tables = feed_run.survives(BINANCE_CAPTURE, "abc_20231114.gz" if packed else "abc_20231114.txt", content)
    if tables and "book_events" in tables:
        names = list(zip(*(tables["book_events"][name].to_pylist() for name in ("symbol", "sequence")), strict=True))
        for symbol in {name for name, _ in names}:
            if names.count((symbol, 0)) == 1:  # damage can make it a symbol of spot and of futures
                events_of(tables, symbol)


def test_memory_stays_bounded_whatever_the_length(feed_run, tmp_path):
    """Batches are bounded: what is held at once does not grow with the file."""
    messages = [depth(k * 20, k, k, k - 1, [["9.9", "1"]]) for k in range(1, 2001)]
    line = capture(*messages)
    path = tmp_path / "abc_20231114.txt"
    path.write_bytes(b"".join(line for _ in range(40)))
    largest = max(batch.rows.num_rows for batch in BINANCE_CAPTURE.read((path,), Tally(), {}))
    assert largest < 80_000


@pytest.mark.realdata
def test_the_real_capture_is_the_array_that_hftbacktest_made_of_it(realdata, feed_run):
    path = realdata / "crypto" / "binance_usdm_btcusdt_20240808.gz"
    tables, tally = feed_run.drain(BINANCE_CAPTURE, [path], local_clock="shift")
    counts = tally.counts
    assert tally.rows == 93_954
    assert counts["negative_latencies"] == 93_954
    assert (counts["depth_sequence_breaks"], counts["event_times_out_of_order"]) == (0, 855)
    assert any("-1.27" in note for note in tally.notes)
    published = np.load(realdata / "crypto" / "btcusdt_20240808_usdm.npz")["data"]
    events = events_of(tables, "BTCUSDT")
    assert events.size == 491_973
    assert events.tobytes() == published.tobytes()
    span = tables["quotes"]["time"].cast(pa.int64()).to_numpy()
    assert 344 < (span.max() - span.min()) / 1e9 < 346
    raw, _ = feed_run.drain(BINANCE_CAPTURE, [path])
    once = events_of(raw, "BTCUSDT")
    assert int((once["ev"] & np.uint64(EXCH) > 0).sum()) == int((published["ev"] & np.uint64(EXCH) > 0).sum())
