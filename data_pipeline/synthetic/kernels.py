"""Compiled loops of the record writer: numbers and texts into the columns of fixed-width lines."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def put_digits(values: Any, start: int, width: int, lines: Any) -> bool:
    """Write values (rows,) as zero-padded decimals into columns start:start + width of lines (rows, stride).

    Returns whether all fit: none is negative or too wide.
    """
    fit = True
    for row in range(values.shape[0]):
        rest = values[row]
        fit &= rest >= 0
        place = start + width - 1
        while rest > 0 and place >= start:
            shorter = rest // 10
            lines[row, place] = rest - 10 * shorter + 48
            rest = shorter
            place -= 1
        fit &= rest <= 0
        while place >= start:
            lines[row, place] = 48
            place -= 1
    return fit


@njit(cache=True, nogil=True)
def put_text(letters: Any, start: int, lines: Any) -> None:
    """Write letters (rows, width), zero-padded, blank-padded into the columns of lines from `start` on."""
    for row in range(letters.shape[0]):
        for place in range(letters.shape[1]):
            letter = letters[row, place]
            lines[row, start + place] = 32 if letter == 0 else letter
