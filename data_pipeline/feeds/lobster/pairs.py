"""Which LOBSTER files belong together: message and order-book file of one ticker's day, plain or in zips."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_pipeline.errors import DataError
from data_pipeline.raw_file import RawFile, list_members, open_raw

_NAME: Final = re.compile(
    r"^(?P<ticker>.+)_(?P<day>\d{4}-\d{2}-\d{2})_(?P<start>\d+)_(?P<end>\d+)_(?P<kind>message|orderbook)_\d+\.\w+"
)
_KIND: Final = re.compile(r"message|orderbook", re.IGNORECASE)
MESSAGE_LINE: Final = re.compile(rb"^\s*\d+(\.\d*)?,[1-7],-?\d+,\d+,-?\d+,-?1\s*(,|\r?$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two files: a path, or a member of a zip there."""

    path: Path
    member: str | None
    kind: str

    @property
    def name(self) -> str:
        """The member's or the file's own name."""
        return Path(self.member).name if self.member else self.path.name


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of one download, and the ticker and day that their names say ("" where they say none)."""

    message: Part
    orderbook: Part
    ticker: str
    day: str


def parts_of(path: Path) -> list[Part]:
    """The message and order-book files at a path, told by their names; one of kind "" where names say nothing."""
    members = list_members(path)
    named = [(member, _KIND.findall(Path(member).name)) for member in members]
    found = [Part(path, member, kinds[-1].lower()) for member, kinds in named if kinds]
    if found:
        return found
    kinds = _KIND.findall(path.name)
    return [Part(path, None, kinds[-1].lower() if kinds else "")]


def pair_key(part: Part) -> str:
    """What the two names of a pair have in common."""
    return _KIND.sub("*", part.name.lower().removesuffix(".gz").removesuffix(".zip"))


def find_pairs(files: Sequence[Path]) -> list[Pair]:
    """The pairs among some files, in order of their names.

    Raises
    ------
    DataError
        When a file has no partner, or a ticker's day is there twice.
    """
    found: dict[str, dict[str, Part]] = {}
    for part in (part for path in files for part in parts_of(path)):
        known = found.setdefault(pair_key(part), {})
        if part.kind in known:
            raise DataError(f"{part.name} is there twice ({known[part.kind].path.name}, {part.path.name}): give one")
        known[part.kind] = part
    pairs = []
    for key in sorted(found):
        known = found[key]
        if set(known) != {"message", "orderbook"}:
            if len(files) == 2 and all(len(parts_of(path)) == 1 for path in files):
                return [make_pair(*_by_content(files))]
            one = next(iter(known.values()))
            missing = "orderbook" if one.kind == "message" else "message"
            raise DataError(f"{one.name} has no {missing} file beside it: a LOBSTER day is two files; give both")
        pairs.append(make_pair(known["message"], known["orderbook"]))
    days = [(pair.ticker, pair.day) for pair in pairs]
    for pair in pairs:
        if days.count((pair.ticker, pair.day)) > 1:
            raise DataError(
                f"{pair.message.path.name} holds {pair.ticker} {pair.day} more than once (of several levels?): unzip "
                "it and ingest one pair"
            )
    return pairs


def _by_content(files: Sequence[Path]) -> list[Part]:
    """Two files whose names do not pair: the one with message rows first."""
    parts = [parts_of(path)[0] for path in files]
    told = []
    for part in parts:
        with open_part(part) as raw:
            told.append(bool(MESSAGE_LINE.search(raw.stream.read(4096))))
    if told[0] == told[1]:
        names = " and ".join(part.name for part in parts)
        raise DataError(f"{names} are no message and orderbook file of one day: give the two files of one download")
    first = told.index(True)
    return [parts[first], parts[1 - first]]


def make_pair(message: Part, orderbook: Part) -> Pair:
    """The pair, with the ticker and day of the names, which LOBSTER writes; the two must agree.

    Raises
    ------
    DataError
        When they do not.
    """
    named = []
    for part in (message, orderbook):
        match = _NAME.match(part.name) or _NAME.match(part.path.name)
        if match:
            named.append((match["ticker"], match["day"]))
    if len(set(named)) > 1:
        raise DataError(f"{message.name} and {orderbook.name} are of different days or tickers: give one pair")
    ticker, day = named[0] if named else (Path(message.name).stem, "")
    return Pair(message, orderbook, ticker, day)


@contextmanager
def open_part(part: Part) -> Iterator[RawFile]:
    """The part as an open raw file."""
    member = part.member
    if member is None or len(list_members(part.path)) == 1:
        with open_raw(part.path) as raw:
            yield raw
    else:
        with open_raw(part.path, choose=member) as raw:
            yield raw
