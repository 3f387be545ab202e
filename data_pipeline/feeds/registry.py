"""Every raw format that is read into the store's tables, and which of them a file is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.old_trades import B3_OLD_TRADES
from data_pipeline.feeds.b3.orders import B3_ORDERS
from data_pipeline.feeds.b3.trades import B3_TRADES
from data_pipeline.feeds.crypto.binance_dump import BINANCE_DUMP
from data_pipeline.feeds.crypto.binance_feed import BINANCE_CAPTURE
from data_pipeline.feeds.crypto.hftbacktest import HFTBACKTEST
from data_pipeline.feeds.crypto.tardis import TARDIS
from data_pipeline.feeds.lobster.feed import LOBSTER
from data_pipeline.feeds.reading import Feed, RawHead
from data_pipeline.feeds.reference.closes import CLOSES
from data_pipeline.feeds.reference.cvm import CVM
from data_pipeline.feeds.reference.facts_table import FACT_COLUMNS, FACTS_TABLE
from data_pipeline.feeds.reference.index_levels import INDEX_LEVELS
from data_pipeline.feeds.reference.issuers import ISSUERS
from data_pipeline.feeds.reference.price_report import PRICE_REPORT
from data_pipeline.feeds.reference.settlements import SETTLEMENTS
from data_pipeline.feeds.reference.sgs import SGS, is_daily_cdi
from data_pipeline.feeds.reference.yield_curves import YIELD_CURVES
from data_pipeline.raw_file import refuse_foreign

FEEDS: Final[tuple[Feed, ...]] = (
    B3_OLD_TRADES,
    B3_ORDERS,
    B3_TRADES,
    BINANCE_CAPTURE,
    BINANCE_DUMP,
    CLOSES,
    CVM,
    FACTS_TABLE,
    HFTBACKTEST,
    INDEX_LEVELS,
    ISSUERS,
    LOBSTER,
    PRICE_REPORT,
    SETTLEMENTS,
    SGS,
    TARDIS,
    YIELD_CURVES,
)
"""One instance of each format, in order of name; COTAHIST and the JSON of company events and CDI are not among them."""

READ_ARCHIVES: Final = frozenset(
    feed.name
    for feed in (
        CLOSES,
        CVM,
        FACTS_TABLE,
        HFTBACKTEST,
        INDEX_LEVELS,
        ISSUERS,
        LOBSTER,
        PRICE_REPORT,
        SETTLEMENTS,
        SGS,
        YIELD_CURVES,
    )
)
"""Feeds that read every file of a zip themselves; of the others a zip of several files is unpacked first."""

OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    BINANCE_CAPTURE.name: frozenset(("local_clock", "base_latency_ns", "after_break")),
    BINANCE_DUMP.name: frozenset(("venue", "symbol")),
    CVM.name: frozenset(("companies", "comparatives")),
    FACTS_TABLE.name: frozenset((*FACT_COLUMNS, "timezone", "venue")),
    HFTBACKTEST.name: frozenset(("venue", "symbol")),
    ISSUERS.name: frozenset(("known_at",)),
    LOBSTER.name: frozenset(("symbol", "day", "events")),
    SGS.name: frozenset(("series", "unit")),
}
"""The options that each feed understands; a feed that is not named here has none."""

_OTHERS: Final = ("cotahist", "company events and CDI (JSON)")
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files that a feed reads together."""

    feed: Feed
    files: tuple[Path, ...]


def recognise(head: RawHead, feeds: Sequence[Feed] = FEEDS, options: Mapping[str, str] | None = None) -> Feed | None:
    """The feed whose format the file is of, None when none knows it. `options` may name the columns of a fact table.

    Raises
    ------
    DataError
        When several do: the file must then be told apart by hand, and one of the formats has too weak a test.
    """
    found = [feed for feed in feeds if feed.recognises(head)]
    if len(found) > 1:
        raise DataError(
            f"{head.path.name} looks like {' and like '.join(feed.name for feed in found)}: it cannot be told which; "
            "give it the name that its venue gave it"
        )
    if found:
        return found[0]
    mapped = options_of(FACTS_TABLE.name, options or {})
    return FACTS_TABLE if mapped and FACTS_TABLE.recognises_with(head, mapped) else None


def is_document_too(feed: Feed, head: RawHead) -> bool:
    """Whether an older table of the store takes the JSON file as well: company events (a company's record), CDI."""
    json = head.start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[")
    return json and (feed is ISSUERS or (feed is SGS and is_daily_cdi(head)))


def refuse_unknown(head: RawHead, feeds: Sequence[Feed] = FEEDS) -> None:
    """Raise DataError for a file that no feed knows: a page, another encoding, or with what was seen and is known."""
    inside = "" if head.member == head.path.name else f":{head.member}"
    refuse_foreign(head.start, f"{head.path.name}{inside}")
    start = head.start.partition(b"\n")[0][:_SHOWN].decode("latin-1")
    known = ", ".join((*_OTHERS, *(feed.name for feed in feeds)))
    raise DataError(
        f"{head.path.name}{inside} is of no known format (it starts {start!r}); known are {known}: "
        "if it is one of these, its start was changed or cut; use the file as the venue gave it"
    )


def group_files(found: Iterable[tuple[Path, Feed]]) -> tuple[list[FileSet], dict[Path, str]]:
    """The files in sets, in the order of their first files; and those whose feed cannot group them, with the reason."""
    given = list(found)
    place = {path: number for number, (path, _) in enumerate(given)}
    sets: list[FileSet] = []
    refused: dict[Path, str] = {}
    for name in dict.fromkeys(feed.name for _, feed in given):
        feed = next(feed for _, feed in given if feed.name == name)
        own = [path for path, other in given if other.name == name]
        try:
            sets += [FileSet(feed, files) for files in feed.group(own)]
        except DataError as error:
            refused |= dict.fromkeys(own, str(error))
    return sorted(sets, key=lambda one: min(place[path] for path in one.files)), refused


def options_of(feed: str, options: Mapping[str, str]) -> dict[str, str]:
    """Those of the call's options that are for this feed: "lobster.symbol" for it alone, "symbol" for all that know it.

    >>> options_of("lobster", {"symbol": "AAPL", "venue": "X", "lobster.day": "2012-06-21", "sgs.unit": "% p.a."})
    {'symbol': 'AAPL', 'day': '2012-06-21'}
    """
    known = OPTIONS.get(feed, frozenset())
    own = {name: value for name, value in options.items() if name in known}
    return own | {name: options[f"{feed}.{name}"] for name in sorted(known) if f"{feed}.{name}" in options}


def refuse_unknown_options(options: Iterable[str], feeds: Iterable[str]) -> None:
    """Raise DataError for an option that none of these feeds understands; what they do understand is named."""
    known = {feed: OPTIONS.get(feed, frozenset()) for feed in feeds}
    for option in options:
        feed, dot, name = option.rpartition(".")
        if not any(name in names for own, names in known.items() if not dot or own == feed):
            there = "; ".join(f"{own}: {', '.join(sorted(names))}" for own, names in sorted(known.items()) if names)
            raise DataError(f"option {option} is known to no format of these files; known are {there or 'none'}")


def feed_named(name: str, feeds: Sequence[Feed] = FEEDS) -> Feed:
    """The feed of that name.

    Raises
    ------
    ValueError
        When there is none.
    """
    for feed in feeds:
        if feed.name == name:
            return feed
    raise ValueError(f"feed must be one of {', '.join(feed.name for feed in feeds)}; was {name!r}")
