"""hftbacktest's event arrays: .npz with the array "data", or .npy; `hftbacktest_export` writes them back identically.

The layout is that of hftbacktest 2 (module `types`): 64 bytes an event, both orders in one array by the flags EXCH and
LOCAL. Version 1 had six columns of floats, whose meaning is not that; such files are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import DEPTH_CLEAR, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL
from data_pipeline.book.normalise import check_event_order
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_messages import LAST_NS
from data_pipeline.feeds.crypto.options import days_together
from data_pipeline.feeds.crypto.rows import EventRows
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import RawFile, open_raw

_MAGIC: Final = b"\x93NUMPY"
_ROWS: Final = 65_536
MEMBER: Final = "data.npy"
_NAME: Final = re.compile(
    r"([A-Za-z0-9]{2,20})[-_](?:(usdm|coinm|spot)[-_])?(?:20\d{6}|20\d\d-\d\d-\d\d)(?:[-_](usdm|coinm|spot))?"
)
_VENUE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_SYMBOL: Final = re.compile(r"[!-~]{1,64}")

Events = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class HftbacktestFeed:
    """Event arrays of hftbacktest 2."""

    name = "hftbacktest"

    def recognises(self, head: RawHead) -> bool:
        """Whether it is a NumPy array of the event layout, or a file of arrays of which one may be that.

        Version 1's floats too, to refuse them with words.
        """
        if not head.start.startswith(_MAGIC):
            return False
        return head.path.suffix == ".npz" or b"exch_ts" in head.start[:512] or b", 6)" in head.start[:512]

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Parts of one day and name together."""
        return days_together(paths)

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The rows; see `data_pipeline.feeds.reading.Feed.read`.

        Options: `symbol` and `venue`; without them the file's name is asked (btcusdt_20240808_usdm.npz).
        """
        venue, symbol, said = _whose(files[0], options)
        tally.notes += said
        rows = EventRows(symbol)
        edge = np.empty(0, dtype=EVENT_DTYPE)
        for path in files:
            for start, events in iter_event_file(path):
                edge = checked_events(events, edge, f"{path.name}", start)
                tally.rows += events.size
                both = np.uint64(EXCH | LOCAL)
                tally.add("events_in_both_orders_at_once", int(((events["ev"] & both) == both).sum()))
                tally.add("events_seen_before_they_happened", int((events["local_ts"] < events["exch_ts"]).sum()))
                yield Batch("book_events", venue, rows.rows(events))
        if not tally.rows:
            raise DataError(f"{files[0].name} holds no events: write it again")


def read_hftbacktest(path: Path) -> Events:
    """The whole event array of a .npz or .npy file, (n,) EVENT_DTYPE.

    Raises
    ------
    DataError
        When the file is damaged, of another layout, or not in the order of both clocks.
    """
    pieces = [events for _, events in iter_event_file(path)]
    array = np.concatenate(pieces) if pieces else np.empty(0, dtype=EVENT_DTYPE)
    check_event_order(array, path.name)
    return array


def iter_event_file(path: Path) -> Iterator[tuple[int, Events]]:
    """Pieces of the event array with the number of their first event, in bounded memory.

    Raises
    ------
    DataError
        When the file is damaged or of another layout.
    """
    with open_raw(path, choose=(lambda names: _data_member(path.name, names)) if _is_zip(path) else None) as raw:
        count = _header(raw)
        done = 0
        while done < count:
            piece = np.empty(min(_ROWS, count - done), dtype=EVENT_DTYPE)
            view = memoryview(piece.view(np.uint8).data)
            got = raw.fill(view)
            if got < len(view):
                raise DataError(
                    f"{path.name} ends at event {done + got // EVENT_DTYPE.itemsize:,} of {count:,}: it was cut; fetch "
                    "it again"
                )
            yield done, piece
            done += piece.size
        if raw.fill(memoryview(bytearray(1))):
            raise DataError(f"{path.name} goes on after its {count:,} events: it is damaged; fetch it again")


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _data_member(file: str, names: Sequence[str]) -> str:
    if MEMBER not in names:
        raise DataError(
            f"{file} holds {', '.join(names[:5]) or 'nothing'}, not the array data: save it with np.savez_compressed("
            "file, data=events)"
        )
    return MEMBER


def _header(raw: RawFile) -> int:
    """Number of events that a .npy header announces; the stream stands at the first then."""
    if _take(raw, 6) != _MAGIC:
        raise DataError(f"{raw.name} is no NumPy file: give hftbacktest's .npz or .npy")
    version = _take(raw, 2)
    size = int.from_bytes(_take(raw, 2 if version[0] == 1 else 4), "little")
    if version[0] not in (1, 2, 3) or size > 10_000:
        raise DataError(f"{raw.name} has a damaged NumPy header: fetch the file again")
    text = _take(raw, size)
    found = re.fullmatch(
        rb"\{'descr': (.*), 'fortran_order': (?:False|True), 'shape': \((\d{0,15}),(?: (\d{1,6}))?\), \}\s*", text, re.S
    )
    if found is None:
        raise DataError(f"{raw.name} is no one-dimensional array (or its header is damaged): give hftbacktest's events")
    if found[3] is not None or b"exch_ts" not in found[1]:
        raise DataError(
            f"{raw.name} has the layout of hftbacktest 1 (columns of floats) or another one, not the 64-byte events of "
            "version 2: convert it with hftbacktest.data.utils.migration2, or ingest the raw feed"
        )
    if re.sub(rb"\s", b"", found[1]) != _DESCRIPTION or not found[2]:
        raise DataError(
            f"{raw.name} must hold the fields {', '.join(EVENT_DTYPE.names or ())} of 8 bytes each, little endian; its "
            f"header says {found[1][:120].decode('ascii', 'replace')}: write it with hftbacktest 2"
        )
    return int(found[2])


PLAIN_DTYPE: Final = np.dtype([(name, EVENT_DTYPE[name]) for name in EVENT_DTYPE.names or ()])
"""The layout as files name it: the same bytes, without the mark of alignment."""
_DESCRIPTION: Final = re.sub(r"\s", "", repr(np.lib.format.dtype_to_descr(PLAIN_DTYPE))).encode()


def _take(raw: RawFile, size: int) -> bytes:
    content = bytearray(size)
    if raw.fill(memoryview(content)) < size:
        raise DataError(f"{raw.name} ends inside its NumPy header: it was cut; fetch it again")
    return bytes(content)


def checked_events(events: Events, edge: Events, place: str, start: int) -> Events:
    """The last event of each order so far; DataError for times out of order or numbers that cannot be.

    `edge` holds the last events of the pieces before.
    """
    joined = np.concatenate([edge, events])
    shown = f"{place} (counted from event {start - edge.size})"
    check_event_order(joined, shown)
    unflagged = np.flatnonzero((events["ev"] & np.uint64(EXCH | LOCAL)) == 0)
    clearing = (events["ev"] & np.uint64(KIND_MASK)) == DEPTH_CLEAR
    wrong = ~np.isfinite(events["px"]) & ~clearing
    for column in ("qty", "fval"):
        wrong |= ~np.isfinite(events[column])
    wrong |= events["qty"] < 0
    for column in ("exch_ts", "local_ts"):
        wrong |= (events[column] <= 0) | (events[column] >= LAST_NS)
    if unflagged.size:
        raise DataError(
            f"{place}, event {start + int(unflagged[0])} is in neither order (no flag EXCH or LOCAL): bring the array "
            "into order (normalise_events) and write it again"
        )
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{place}, event {start + at} has a time, price or quantity that cannot be ({events[at]}): the file is "
            "damaged or its times are not ns; write it again"
        )
    last = [int(rows[-1]) for flag in (EXCH, LOCAL) if (rows := np.flatnonzero(joined["ev"] & np.uint64(flag))).size]
    return joined[sorted(set(last))]


def _whose(path: Path, options: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """Venue and symbol of a file, and what was read off its name."""
    unknown = sorted(set(options) - {"venue", "symbol"})
    if unknown:
        raise ValueError(f"options of hftbacktest must be venue or symbol; was {', '.join(unknown)}")
    found = _NAME.match(path.name)
    market = (found[2] or found[3]) if found else None
    venue = options.get("venue", f"BINANCE_{market.upper()}" if market else "HFTBACKTEST")
    symbol = options.get("symbol", found[1].upper() if found else path.name.split(".")[0].upper())
    if not _VENUE.fullmatch(venue):
        raise ValueError(f"venue must be upper-case letters, digits and underscores; was {venue!r}")
    if not _SYMBOL.fullmatch(symbol):
        raise DataError(f"{path.name} does not name its symbol: give it by the option symbol")
    said = [f"{path.name} was taken as {symbol} of {venue} by its name (the arrays name neither)."]
    return venue, symbol, [] if {"venue", "symbol"} <= set(options) else said


HFTBACKTEST: Final = HftbacktestFeed()
