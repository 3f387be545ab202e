"""Event arrays to files that hftbacktest reads: .npz with the array "data", or .npy."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.atomic import atomic_path
from data_pipeline.book.events import BUY, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL, SELL, TRADE
from data_pipeline.book.normalise import check_layout, normalise_events, shift_local_clock
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.hftbacktest import MEMBER, PLAIN_DTYPE, checked_events
from data_pipeline.store import Store
from data_pipeline.tables.part_reader import groups_of, open_part
from data_pipeline.tables.reading import Selection, event_rows, select

Events = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    events : int
        In the file; one that stands in two orders counts twice.
    trades_added : int
        Taken from the table of trades.
    seen_before_they_happened : int
        Events with a receiver's time before the exchange's.
    shift_ns : int
        By which receiver's times were moved later.
    """

    events: int
    trades_added: int = 0
    seen_before_they_happened: int = 0
    shift_ns: int = 0


def export_hftbacktest(
    source: Store | Events | Iterable[Events],
    path: Path,
    *,
    venue: str = "",
    symbol: str = "",
    start: str = "",
    end: str | None = None,
    trades: bool = False,
    shift: bool = False,
) -> Exported:
    """Write events to a file that hftbacktest reads, flags kept as they are.

    Parameters
    ----------
    source : Store, (n,) EVENT_DTYPE, or an iterable of such arrays
        Arrays are in the order of both clocks (`data_pipeline.book.normalise`).
    path : Path
        Ends with .npz or .npy; must not be there yet.
    venue, symbol, start, end
        What to take of a store; sessions, both included, `start` alone is one.
    trades : bool
        Whether to add the store's trades as events, before the book's at equal times: for feeds whose book events have
        none. Needs all events in memory, as does `shift`.
    shift : bool
        Whether to move receiver's times later by what makes no latency negative (`shift_local_clock`).

    Raises
    ------
    ValueError
        For another layout or ending.
    DataError
        When there are no events, they are not in order, or the file is there already.

    Notes
    -----
    Memory holds a row group (some 65,000 events) at a time, however long the span.
    """
    if path.suffix not in (".npz", ".npy"):
        raise ValueError(f"path must end with .npz or .npy; was {path.name}")
    if path.exists():
        raise DataError(f"{path} is there already: name another file, or delete it")
    if isinstance(source, Store):
        if trades or shift:
            array = source.event_array(venue, symbol, start, end)
            _refuse_none(array.size, venue, symbol, start, end)
            table = source.table("trades", venue=venue, symbols=symbol, start=start, end=end or start)
            return _rebuilt(array, table if trades else None, shift, path)
        wanted = select(
            "book_events", venue=venue, symbols=symbol, start=start, end=end or start, columns=EVENT_DTYPE.names
        )
        count = sum(rows.num_rows for rows in _groups(source, wanted, ()))
        _refuse_none(count, venue, symbol, start, end)
        return _written((event_rows([rows]) for rows in _groups(source, wanted, wanted.columns)), count, path)
    pieces = [source] if isinstance(source, np.ndarray) else list(source)
    for piece in pieces:
        check_layout(piece)
    if trades:
        raise ValueError("trades must be false for arrays: only a store has a table of trades")
    if shift:
        return _rebuilt(np.concatenate(pieces), None, True, path)
    return _written(pieces, sum(piece.size for piece in pieces), path)


def with_trades(events: Events, trades: pa.Table) -> tuple[Events, int]:
    """Events in the receiver's order without flags of an order, the trades before the book at equal times; and how many
    trades there are.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
        In both orders.
    trades : pyarrow.Table
        Rows of `trades`; a trade without a receiver's time has the exchange's, one of unknown side has no side flag.
    """
    book = received(events)
    if not trades.num_rows:
        return book, 0
    added = np.zeros(trades.num_rows, dtype=EVENT_DTYPE)
    times = trades["time"].cast(pa.int64())
    side = trades["side"].fill_null(0).to_numpy()
    flag = np.select([side > 0, side < 0], [BUY, SELL], 0).astype(np.uint64)
    added["ev"] = np.uint64(TRADE) | flag
    added["exch_ts"] = times.to_numpy()
    added["local_ts"] = pc.coalesce(trades["local_time"].cast(pa.int64()), times).to_numpy()
    added["px"], added["qty"] = trades["price"].to_numpy(), trades["quantity"].to_numpy()
    joined = np.concatenate([added[np.argsort(added["local_ts"], kind="stable")], book])
    return joined[np.argsort(joined["local_ts"], kind="stable")], added.size


def received(events: Events) -> Events:
    """Each event once, in the receiver's order, without the flags EXCH and LOCAL."""
    book = events[(events["ev"] & np.uint64(LOCAL)) > 0]
    book["ev"] &= ~np.uint64(EXCH | LOCAL)
    return book


def _rebuilt(array: Events, trades: pa.Table | None, shift: bool, path: Path) -> Exported:
    book, added = (received(array), 0) if trades is None else with_trades(array, trades)
    if added and ((array["ev"] & np.uint64(KIND_MASK)) == TRADE).any():
        raise DataError(
            "the book events hold trades already: export without the trades of the table, or each would count twice"
        )
    moved = 0
    if shift:
        book, moved = shift_local_clock(book)
    done = _written([normalised := normalise_events(book)], normalised.size, path)
    return Exported(done.events, added, done.seen_before_they_happened, moved)


def _groups(store: Store, wanted: Selection, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The wanted symbol's rows a row group at a time, in order: those of a session are of one part."""
    symbol, names = wanted.spec.symbol, wanted.symbols or ()
    partitions = (p for p in store.manifest.tables if p.table == wanted.spec.name)
    near = sorted((p for p in partitions if wanted.can_be_in(p.venue, p.period)), key=lambda p: p.period)
    for part in (part for p in near for part in p.parts if part.first <= names[0] <= part.last):
        with open_part(store.files, part) as found:
            for group in groups_of(found, symbol, names):
                rows = found.read_row_group(group, columns=[*columns, symbol], use_threads=False)
                yield rows.filter(pc.equal(rows[symbol], pa.scalar(names[0], pa.string())))


def _refuse_none(count: int, venue: str, symbol: str, start: str, end: str | None) -> None:
    if not count:
        span = start if end in (None, start) else f"{start} to {end}"
        raise DataError(f"the store has no book events of {symbol} at {venue}, {span}: ingest them, or see what it has")


def _written(pieces: Iterable[Events], count: int, path: Path) -> Exported:
    with atomic_path(path) as temporary:
        if path.suffix == ".npy":
            with temporary.open("wb") as stream:
                early = _write(stream, pieces, count)
        else:
            # the member's date is the format's first day: the same events are the same bytes
            info = zipfile.ZipInfo(MEMBER)
            info.compress_type = zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(temporary, "w") as archive, archive.open(info, "w", force_zip64=True) as member:
                early = _write(member, pieces, count)
    return Exported(count, 0, early)


def _write(stream: Any, pieces: Iterable[Events], count: int) -> int:
    """Write header and events: how many have a receiver's time before the exchange's."""
    header = {"descr": np.lib.format.dtype_to_descr(PLAIN_DTYPE), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(stream, header)
    written, early, edge = 0, 0, np.empty(0, dtype=EVENT_DTYPE)
    for piece in pieces:
        edge = checked_events(piece, edge, "the events to export", written)
        stream.write(np.ascontiguousarray(piece).tobytes())
        written += piece.size
        early += int((piece["local_ts"] < piece["exch_ts"]).sum())
    if written != count:
        raise DataError(f"the store changed while it was read ({written:,} events instead of {count:,}): export again")
    return early
