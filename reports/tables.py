"""A table as the templates print it: text cells, which columns are numbers, what a cell looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a style class and, optionally, words shown when pointing at it."""

    text: str | Markup
    style: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A row that names the rows below it."""

    words: str


Row = Sequence[str | Markup | Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: the first `words` columns are text on the left, the others are numbers on the right.

    `key` names the table in the page (`data-t`). A cell of style "n" or "l" is on the right or the left whatever its
    column. `empty` is said in place of a table without rows, `note` below the table.
    """

    key: str
    head: Row
    rows: Sequence[Row | Group]
    words: int = 1
    style: str = ""
    empty: str = "Nothing to show."
    note: str = ""


LIGHTS = {"ok": ("ok", "●"), "warn": ("warn", "▲"), "bad": ("bad", "■"), "none": ("none", "○")}
"""Style and shape of a traffic light; the shape says the same as the colour."""


def light(level: str, words: str, detail: str = "") -> Markup:
    """A traffic light: colour, shape and words."""
    style, shape = LIGHTS[level]
    tail = Markup(" {}").format(detail) if detail else Markup()
    return Markup('<span class="light {}"><span aria-hidden="true">{}</span> <b>{}</b>{}</span>').format(
        style, shape, words, tail
    )


def key_line(style: str, words: str) -> Markup:
    """A name with a sample of its line."""
    return Markup('<span class="key {}"></span>{}').format(style, words)
