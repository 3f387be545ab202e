"""Tables as plain lines of text: the same in a terminal, a pipe and a log file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = ("pod", "Sharpe ± s.e.", "excess a year", "max drawdown", "costs a year")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right, never wrapped.

    >>> aligned(("pod", "Sharpe"), [("hold", "0.51"), ("momentum", "-0.10")])
    ['pod       Sharpe', 'hold        0.51', 'momentum   -0.10']
    """
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def pod_table(statistics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of the compact table of pods, from the statistics of each by its name."""
    return aligned(HEAD, [(name, *_cells(record)) for name, record in statistics.items()])


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    if record.get("lost"):
        return ("lost", *("n/a" for _ in HEAD[2:]))
    cost = record.get("annual_cost")
    return (
        f"{_number(record.get('sharpe'), '+.2f')} ± {_number(record.get('sharpe_standard_error'), '.2f')}",
        _number(record.get("excess_return"), "+.2%"),
        _number(record.get("max_drawdown"), "z.2%"),
        _number(None if cost is None else cost * 1e4, ",.0f", " bps"),
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "n/a" if value is None else f"{value:{form}}{unit}"
