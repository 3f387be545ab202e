"""Where two accounts of one pod part, which sessions to cut at, and which field is to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from backtests.audit.decisions import Difference
from backtests.audit.variants import scramble_future
from backtests.daily.account import Account
from data_pipeline.daily.panel import DailyPanel

T = TypeVar("T")


def account_difference(before: Account, after: Account, until: np.datetime64) -> Difference | None:
    """The first cell up to `until`, table by table in the order of time, in which two accounts differ to the byte."""
    firsts: list[tuple[str, Difference]] = []
    tables, twins = before.tables(), after.tables()
    for name, table in tables.items():
        key = "decision_session" if name == "orders" else "session"
        kept, twin_kept = table[key] <= until, twins[name][key] <= until
        for column, values in table.items():
            if column == "cleared_session":  # a breach is cleared by what comes after
                continue
            old, new = values[kept], twins[name][column][twin_kept]
            shared = min(old.size, new.size)
            apart = [row for row in range(shared) if _bytes(old[row : row + 1]) != _bytes(new[row : row + 1])]
            if not apart and old.size == new.size:
                continue
            row = apart[0] if apart else shared
            longer = (table, kept) if row < old.size else (twins[name], twin_kept)
            session = str(longer[0][key][longer[1]][row])
            instrument = str(longer[0]["instrument"][longer[1]][row]) if "instrument" in table else ""
            told = [f"{name}.{column} {_words(part, row)}" if row < part.size else "no row" for part in (old, new)]
            firsts.append((session, Difference(session, instrument, told[0], told[1])))
    return min(firsts, key=lambda item: item[0])[1] if firsts else None


def _words(values: np.ndarray[Any, Any], row: int) -> str:
    """A value as plain text: numpy's own would name its type."""
    return str(values[row]) if values.dtype.kind == "M" else repr(values[row : row + 1].tolist()[0])


def _bytes(values: np.ndarray[Any, Any]) -> bytes:
    return repr(values.tolist()).encode() if values.dtype.kind in "OU" else values.tobytes()


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, spread evenly, first and last among them, each once."""
    if not items:
        return []
    places = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int).tolist()
    chosen: list[T] = []
    for place in places:
        if items[place] not in chosen:
            chosen.append(items[place])
    return chosen


def guilty_fields(
    compare: Callable[[DailyPanel], Difference | None],
    panel: DailyPanel,
    cut: int,
    names: Sequence[str],
    seed: int = 0,
) -> tuple[str, ...]:
    """The fields whose later values change something alone; a choice may survive one scrambling, hardly three."""
    for part in range(3):
        found = [name for name in names if compare(scramble_future(panel, cut, seed + part, [name])) is not None]
        if found:
            return tuple(found)
    return ()
