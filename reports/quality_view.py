"""The data-quality record as tables: totals, coverage, gaps, quarantine, events, renames, stale quotes, outliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from reports import charts
from reports.charts import Series
from reports.formats import integer, is_number, money, number, percent, plain, significant, words
from reports.tables import Cell, Grid


@dataclass(frozen=True, slots=True)
class Part:
    """One list of the record: its title, what the reader learns from it, and what is said when it is empty."""

    name: str
    title: str
    sentence: str
    empty: str


PARTS = (
    Part(
        "gaps",
        "Gaps against the B3 calendar",
        "Sessions that B3 held and the data lack, or the reverse; missing ones that follow each other are one row.",
        "Every session that B3 held is there, and no other.",
    ),
    Part(
        "flagged_sessions",
        "Sessions of the run below the minimum",
        "The run went on with them, as its configuration says.",
        "No session of the run is below the minimum.",
    ),
    Part(
        "poor_sessions",
        "Sessions with a low score",
        "Score: instruments that traded over the median of the 20 sessions before, where unusually few did, times the "
        "share of rows without a defect. A backtest refuses or flags sessions below the minimum of its configuration.",
        "Every session has a score of at least 0.98.",
    ),
    Part(
        "quarantine",
        "Quarantined rows",
        "Rows that broke a rule and are not in the store's tables.",
        "No row was quarantined.",
    ),
    Part(
        "unsized",
        "Events of unknown size",
        "The exchange marked an event, and neither an event file nor the prices tell its size. Jump is the log return "
        "that it left in the prices.",
        "Every event has a size.",
    ),
    Part(
        "events",
        "Corporate events",
        "Events with a size, how sure it is, and when it was known: a backtest does not use it before.",
        "No event.",
    ),
    Part("renames", "Renamed instruments", "Tickers that continue another; joined ones are one series.", "No rename."),
    Part(
        "outliers",
        "Outliers",
        "Returns that no event explains. Robust z: the log return in robust deviations (1.4826 times the median "
        "absolute log return) of the share's sessions before; value ratio: the traded value over its median before.",
        "No outlier.",
    ),
    Part("suspicious", "Suspicious rows", "Rows that cannot be quite right.", "No suspicious row."),
    Part("stale", "Stale quotes", "Closing quotes that did not move, or lie outside the day.", "No stale quote."),
    Part(
        "trade_counts",
        "Wrapped trade counts",
        "The file holds the number of trades modulo 100,000; these counts were unwrapped.",
        "No count was wrapped.",
    ),
    Part("missing_cdi", "Sessions without CDI", "Carried from the session before.", "Every session has its CDI."),
    Part(
        "intraday",
        "Intraday days",
        "Score: the share of the session without silences, crossed or one-sided quotes, times the share of rows "
        "without a defect of their own. The worst first.",
        "No trades or quotes are in the store.",
    ),
    Part(
        "auctions",
        "Prints of auctions",
        "Many trades at one time and price: the calls, and possible auctions during the day.",
        "No print of an auction was seen.",
    ),
    Part(
        "tables",
        "Tables of the store",
        "Missing: sessions that B3 held between the first and the last and that the table lacks.",
        "No table beside the daily quotes.",
    ),
    Part(
        "sources",
        "Files of the feeds",
        "What the reader of each file dropped, repaired or noticed, by rule; breaks tell of missing data.",
        "No file of a feed.",
    ),
    Part("coverage", "Coverage by instrument", "The least present first.", "No instrument."),
    Part("months", "Coverage by month", "", "No month."),
)
"""The lists in the order of the page."""

FORMS: Mapping[str, Callable[[Any], str]] = {
    "presence": percent,
    "median_value": money,
    "traded_value": money,
    "confidence": lambda v: number(v, 2),
    "cash": lambda v: number(v, 4),
    "share_factor": lambda v: significant(v, 6),
    "return": lambda v: percent(v, 1, signed=True),
    "robust_z": lambda v: number(v, 1),
    "score": lambda v: number(v, 3),
    "cover": percent,
    "value_ratio": lambda v: number(v, 2),
    "jump": lambda v: number(v, 3),
}
"""Forms of the numeric columns; whole numbers and others have a general one."""

COLUMNS = (
    "session", "month", "table", "venue", "instrument", "ticker", "old", "new", "kind", "reason", "problem", "score",
    "light",
    "share_factor", "cash", "jump", "liquid", "return", "robust_z", "value_ratio", "confidence", "known", "joined",
    "first", "last", "sessions", "presence", "median_value", "instruments", "rows", "traded_value",
    "unwrapped", "source", "line",
)  # fmt: skip
"""Order of the columns: what and when first, where it came from last; others follow in their own order."""

HEADINGS = {"cash": "Cash, R$ a share", "jump": "Jump, log", "median_value": "Median value, R$"}
"""Headings that say more than the column's name."""

SAYS_NOTHING = {"unsized": ("share_factor", "cash")}
"""Columns left out of a list because they have one value there by its definition."""

BRIEF = ("flagged_sessions", "gaps", "quarantine", "unsized", "outliers")
"""Lists that the report shows the beginning of; the quality page shows them all."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the page."""

    title: str
    sentence: str
    table: Grid
    anchor: str
    count: str


def quality_chapters(quality: Mapping[str, Any], most: int) -> list[Chapter]:
    """Every list of the record that it has, with at most `most` rows each; then repairs and provenance."""
    totals = quality.get("totals") or {}
    made = []
    for part in PARTS:
        if part.name in quality:
            content = quality[part.name] or []
            total = totals.get(part.name, len(content))
            empty = flat_cash(quality) if part.name == "missing_cdi" and flat_cash(quality) else part.empty
            table = record_table(part.name, content, most, int(total), empty)
            count = "all" if part.name == "missing_cdi" and flat_cash(quality) else integer(total)
            made.append(Chapter(part.title, part.sentence, table, part.name, count))
    if quality.get("rule_counts"):
        repairs = pairs_table("rule_counts", quality["rule_counts"], "None.")
        made.append(Chapter("Repairs by rule", "How often each named rule acted.", repairs, "rule_counts", ""))
    if quality.get("provenance"):
        source = pairs_table("provenance", quality["provenance"], "None.", mono=True)
        made.append(Chapter("Provenance", "", source, "provenance", ""))
    return made


def brief_chapters(quality: Mapping[str, Any], date: np.datetime64 | None, most: int = 6) -> list[Chapter]:
    """The lists that explain the light, each with its first rows; records of days after `date` are left out."""
    kept = {}
    for name in BRIEF:
        records = quality.get(name) or []
        if date is not None:
            records = [r for r in records if r.get("session") is None or np.datetime64(r["session"], "D") <= date]
        if records:
            kept[name] = records
    return quality_chapters({"totals": {} if date is not None else quality.get("totals") or {}, **kept}, most)


def flat_cash(quality: Mapping[str, Any]) -> str:
    """A sentence for data without CDI, "" for data with it."""
    source = str((quality.get("provenance") or {}).get("risk_free", ""))
    return f"The data have no CDI at all: cash earns a flat rate ({source})." if source.startswith("constant") else ""


def totals_table(quality: Mapping[str, Any]) -> Grid:
    """How many of everything."""
    names = {part.name: part.title for part in PARTS} | {"coverage": "Instruments", "months": "Months"}
    totals = dict(quality.get("totals") or {})
    first = [name for name in ("sessions", "rows", "coverage") if name in totals]
    order = first + [name for name in names if name in totals and name not in first]
    order += [name for name in totals if name not in order]
    rows = [(names.get(name, words(name)), integer(totals[name])) for name in order]
    if flat_cash(quality):
        rows = [(label, "all" if label == names["missing_cdi"] else count) for label, count in rows]
    return Grid(key="quality-totals", head=("Totals", ""), rows=rows, empty="No totals were recorded.")


def record_table(name: str, content: Sequence[Mapping[str, Any]], most: int, total: int, empty: str) -> Grid:
    """A list of records as a table; a column with any number is one of numbers."""
    silent = SAYS_NOTHING.get(name, ())
    found = [key for key in dict.fromkeys(str(k) for record in content for k in record) if key not in silent]
    columns = [column for column in COLUMNS if column in found] + [name for name in found if name not in COLUMNS]
    numeric = {column for column in columns if any(is_number(record.get(column)) for record in content)}
    rows = [
        tuple(_cell(column, record.get(column), column in numeric) for column in columns) for record in content[:most]
    ]
    left = max(total, len(content)) - len(rows)
    return Grid(
        key=f"quality-{name}",
        head=[Cell(HEADINGS.get(column, words(column)), "n" if column in numeric else "l") for column in columns],
        rows=rows,
        words=len(columns),
        style="sticky",
        empty=empty,
        note=f"{integer(left)} more are not shown." if left > 0 else "",
    )


def pairs_table(name: str, content: Mapping[str, Any], empty: str, *, mono: bool = False) -> Grid:
    """Names and values."""
    style = "mono" if mono else "n"
    rows = [(words(str(key)), Cell(_text(str(key), value), style)) for key, value in content.items()]
    return Grid(key=f"quality-{name}", head=("Rule" if not mono else "Source", ""), rows=rows, words=2, empty=empty)


def coverage_pictures(quality: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Instruments that traded and value traded per session, by month; nothing for fewer than two months."""
    months = quality.get("months") or []
    if len(months) < 2:
        return []
    days = np.array([record["month"] for record in months], dtype="datetime64[M]").astype("datetime64[D]")
    sessions = np.array([max(1, record["sessions"]) for record in months], dtype=float)
    instruments = np.array([record["instruments"] for record in months], dtype=float)
    value = np.array([record["traded_value"] for record in months], dtype=float) / sessions
    return [
        (title, charts.time_lines(days, [Series("", numbers, "s0")], title, form, include=[0.0], height=200.0))
        for title, numbers, form in (
            ("Instruments that traded, by month", instruments, integer),
            ("R$ traded per session, by month", value, money),
        )
    ]


def _cell(column: str, value: Any, numeric: bool) -> Cell:
    text = _text(column, value)
    return Cell(text, "n" if numeric else "long" if len(text) > 28 else "w")


def _text(column: str, value: Any) -> str:
    if column in FORMS:
        return FORMS[column](value)
    if value is None:
        return "–"
    if is_number(value):
        return integer(value) if float(value).is_integer() else significant(value, 4)
    return plain(value)
