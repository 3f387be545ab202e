"""Compiled sums over resampled sessions."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True)
def count_rows(rows: Any, counts: Any) -> None:
    """How often each session is in each draw: (B, T) row numbers to (B, T) counts."""
    counts[:] = 0.0
    for b in range(rows.shape[0]):
        for t in range(rows.shape[1]):
            counts[b, rows[b, t]] += 1.0


@njit(cache=True)
def weighted_sums(counts: Any, values: Any, sums: Any) -> None:
    """Sums (B, N) of (T, N) values, each session as often as (B, T) counts say, always in the order of time.

    A matrix product whose bytes do not depend on the number of threads.
    """
    sums[:] = 0.0
    for b in range(counts.shape[0]):
        for t in range(counts.shape[1]):
            weight = counts[b, t]
            if weight != 0.0:
                for j in range(values.shape[1]):
                    sums[b, j] += weight * values[t, j]


@njit(cache=True)
def pair_sums(starts: Any, uniforms: Any, chance: float, first: Any, second: Any, sums: Any) -> None:
    """Sums (4, B) of both series and of their squares over the stationary bootstrap of the sessions.

    A block begins in the first place and wherever a uniform is below `chance`, at the row in `starts`; else the next
    session follows, the first after the last.
    """
    length = first.size
    for b in range(starts.shape[0]):
        row = 0
        one, two, one_squared, two_squared = 0.0, 0.0, 0.0, 0.0
        for t in range(length):
            if t == 0 or uniforms[b, t] < chance:
                row = starts[b, t]
            else:
                row += 1
                if row == length:
                    row = 0
            x, y = first[row], second[row]
            one += x
            two += y
            one_squared += x * x
            two_squared += y * y
        sums[0, b], sums[1, b], sums[2, b], sums[3, b] = one, two, one_squared, two_squared
