"""The data-quality summary as tables: coverage, gaps, quarantine, events, renames, stale quotes, outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.formats import integer, is_number, plain, significant, words
from reports.tables import Cell, Grid

TITLES = {
    "coverage": "Coverage",
    "gaps": "Gaps against the B3 calendar",
    "quarantine": "Quarantined rows",
    "events": "Corporate events",
    "renames": "Renamed instruments",
    "stale": "Stale quotes",
    "outliers": "Outliers",
    "rule_counts": "Repairs by rule",
}
"""Parts of the quality record in the order of the page; parts that it does not know follow under their own names."""

_HEADER = {"light", "reasons"}
MOST = 60


def quality_tables(quality: Mapping[str, Any], most: int = MOST) -> list[tuple[str, Grid]]:
    """Title and table of each part of the record; a list of records becomes rows, a mapping names and values."""
    known = [name for name in TITLES if name in quality]
    other = [name for name in quality if name not in TITLES and name not in _HEADER]
    return [(TITLES.get(name, words(name)), _part(name, quality[name], most)) for name in known + other]


def _part(name: str, content: Any, most: int) -> Grid:
    title = TITLES.get(name, words(name))
    if isinstance(content, Mapping):
        return _pairs(name, title, content)
    if isinstance(content, Sequence) and not isinstance(content, str):
        if all(isinstance(item, Mapping) for item in content):
            return _records(name, title, content, most)
        content = ", ".join(plain(item) for item in content) or "none"
    return Grid(key=f"quality-{name}", head=(title, ""), rows=[(title, plain(content))], words=2)


def _pairs(name: str, title: str, content: Mapping[str, Any]) -> Grid:
    rows = [(words(str(key)), _value(value)) for key, value in content.items()]
    return Grid(key=f"quality-{name}", head=(title, ""), rows=rows, empty=f"{title}: none.")


def _records(name: str, title: str, content: Sequence[Mapping[str, Any]], most: int) -> Grid:
    columns: list[str] = []
    for record in content:
        columns += [str(key) for key in record if key not in columns]
    rows = [tuple(_cell(record.get(column)) for column in columns) for record in content[:most]]
    left = len(content) - len(rows)
    return Grid(
        key=f"quality-{name}",
        head=[words(column) for column in columns],
        rows=rows,
        words=len(columns),
        empty=f"{title}: none.",
        note=f"{left} more are in the quality file." if left > 0 else "",
    )


def _cell(value: Any) -> Cell:
    return Cell(
        _value(value), "n" if is_number(value) else "long" if isinstance(value, str) and len(value) > 24 else ""
    )


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value)
    return significant(value, 4) if is_number(value) else plain(value)
