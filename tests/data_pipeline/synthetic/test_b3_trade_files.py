"""B3's files written from simulated books: what the feeds read back is what happened, row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.feeds.b3.old_trades import B3_OLD_TRADES
from data_pipeline.feeds.b3.orders import B3_ORDERS
from data_pipeline.feeds.b3.trades import B3_TRADES
from data_pipeline.feeds.reading import Tally
from data_pipeline.raw_file import read_head
from data_pipeline.synthetic.b3_trade_files import make_tape, write_old_trades, write_raw_orders, write_trades
from data_pipeline.synthetic.order_book import FILL, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import DAY, write_ofer


@pytest.fixture(scope="module")
def books():
    return {f"SYN{place}3": simulate_book(BookConfig(seed=place, seconds=400.0)) for place in (1, 2)}


@pytest.fixture(scope="module")
def tape(books):
    return make_tape(books, seed=3)


def read(feed, *paths):
    tally = Tally()
    assert all(feed.recognises(read_head(path)) for path in paths)
    tables = {}
    for batch in feed.read(paths, tally, {}):
        tables.setdefault(batch.table, []).append(batch.rows)
        assert batch.venue == "B3"
    return {name: pa.concat_tables(parts) for name, parts in tables.items()}, tally


def same_rows(table, tape, *, members=True, old=False):
    """Every standing trade of the tape, and nothing else."""
    kept = tape.prints[~tape.prints["cancelled"]]
    if old:  # grouped by instrument
        kept = kept[np.argsort(kept["symbol"], kind="stable")]
    assert table.num_rows == kept.size > 500
    midnight = np.datetime64(f"{tape.day}T03:00:00", "ns").astype(np.int64)  # UTC-3
    assert table["symbol"].to_pylist() == [tape.symbols[k] for k in kept["symbol"]]
    np.testing.assert_array_equal(table["time"].cast(pa.int64()), midnight + kept["time_ms"] * 10**6)
    np.testing.assert_array_equal(table["price"], kept["price_milli"] / 1000)
    np.testing.assert_array_equal(table["quantity"], kept["quantity"])
    assert table["trade_id"].to_pylist() == [str(number) for number in kept["number"]]
    if old:
        assert table["side"].to_pylist() == kept["side"].tolist()
        assert table["condition"].to_pylist() == ["cross" if one else "regular" for one in kept["cross"]]
    else:
        assert table["side"].null_count == table.num_rows
        wanted = ["after_market" if one else "regular" for one in kept["after_market"]]
        assert table["condition"].to_pylist() == wanted
    for column in ("buyer", "seller"):
        assert table[column].to_pylist() == (kept[column].tolist() if members else [None] * kept.size)
    assert set(table["session"].to_pylist()) == {np.datetime64(tape.day).item()}


@pytest.mark.parametrize("columns", [9, 11, 12])
@pytest.mark.parametrize("ending", ["txt", "zip"])
def test_trades_of_today_read_back_as_they_happened(tape, tmp_path, columns, ending):
    path = write_trades(tmp_path / f"trades.{ending}", tape, columns=columns)
    tables, tally = read(B3_TRADES, path)
    same_rows(tables["trades"], tape, members=columns > 9)
    cancelled = int(tape.prints["cancelled"].sum())
    assert tally.counts["trades_cancelled"] == tally.counts["cancels"] == cancelled > 5
    assert 0 < tally.counts["cancels_before_their_trade"] < cancelled
    assert tally.counts["cancels_without_their_trade"] == 0
    assert tally.counts["cancels_that_differ_from_their_trade"] == 0
    assert tally.counts["test_instrument_rows_dropped"] == 5
    assert tally.rows == tape.prints.size + cancelled + 5


@pytest.mark.parametrize("ending", ["TXT", "zip"])
def test_old_trades_read_back_with_their_aggressors(tape, tmp_path, ending):
    tables, tally = read(B3_OLD_TRADES, write_old_trades(tmp_path / f"NEG.{ending}", tape))
    same_rows(tables["trades"], tape, old=True)
    kept = tape.prints[~tape.prints["cancelled"]]
    assert tally.counts["trades_cancelled"] == tape.prints["cancelled"].sum()
    assert tally.counts["trades_without_aggressor"] == (kept["side"] == 0).sum()
    assert tally.counts["crosses"] == kept["cross"].sum() > 0
    assert tally.rows == tape.prints.size


def test_the_two_forms_of_order_files_give_the_same_tables(books, tmp_path):
    events = books["SYN13"]
    raw, raw_tally = read(B3_ORDERS, *write_raw_orders(tmp_path, events, symbol="SYN13F"))
    decoded, tally = read(B3_ORDERS, write_ofer(tmp_path / "decoded.csv", events, symbol="SYN13F"))
    assert raw["book_events"].equals(decoded["book_events"])
    other = [name for name in raw["orders"].column_names if name != "sequence"]  # two files have another row order
    order = [("secondary_id", "ascending")]
    assert raw["orders"].select(other).sort_by(order).equals(decoded["orders"].select(other).sort_by(order))
    assert tally.counts["trades_at_the_best_price"] == (events.kind == FILL).sum() > 500
    for counts in (tally.counts, raw_tally.counts):
        assert counts["crossed_book_states"] == counts["trades_off_the_best_price"] == 0
        assert counts["book_levels_below_zero"] == counts["orders_seen_without_their_entry"] == 0


def test_the_same_tape_gives_the_same_bytes(books, tmp_path):
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        tape = make_tape(books, seed=5)
        paths = [write_trades(folder / "t.zip", tape), write_old_trades(folder / "n.TXT", tape)]
        paths += write_raw_orders(folder, books["SYN13"])
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_another_number_of_columns_is_refused(tape, tmp_path):
    with pytest.raises(ValueError, match="columns must be 9, 11 or 12; was 10"):
        write_trades(tmp_path / "t.txt", tape, columns=10)
    assert tape.day == DAY
