"""Compiled loop over the splits of combinatorially symmetric cross-validation."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

SHARPE, MEAN = 0, 1


@njit(cache=True)
def half_scores(
    blocks: Any, sizes: Any, means: Any, squares: Any, lows: Any, highs: Any, rounding: Any, kind: int, scores: Any
) -> int:
    """Scores (N,) of the sessions in `blocks`; the first column whose Sharpe ratio does not exist, or -1."""
    columns = means.shape[1]
    total = 0
    for b in blocks:
        total += sizes[b]
    for j in range(columns):
        scores[j] = 0.0
    for b in blocks:
        weight = sizes[b] / total
        for j in range(columns):
            scores[j] += weight * means[b, j]
    if kind == MEAN:
        return -1
    wrong = -1
    for j in range(columns):
        mean = scores[j]
        spread, low, high = 0.0, math.inf, -math.inf
        for b in blocks:
            spread += squares[b, j] + sizes[b] * (means[b, j] - mean) ** 2
            low = min(low, lows[b, j])
            high = max(high, highs[b, j])
        if high - low > rounding[j]:
            scores[j] = mean / math.sqrt(spread / (total - 1))
        elif abs(mean) <= rounding[j]:
            scores[j] = 0.0
        elif wrong < 0:
            wrong = j
    return wrong


@njit(cache=True)
def place_of_winner(inside: Any, outside: Any) -> tuple[float, float, float]:
    """Best score inside, and outside the mean score and the mean rank (1 is worst, ties share) of who has it."""
    columns = inside.size
    best = inside[0]
    for j in range(columns):
        best = max(best, inside[j])
    winners, score, rank = 0, 0.0, 0.0
    for j in range(columns):
        if inside[j] == best:
            below, equal = 0, 0
            for i in range(columns):
                below += outside[i] < outside[j]
                equal += outside[i] == outside[j]
            winners += 1
            score += outside[j]
            rank += below + 0.5 * (equal + 1)
    return best, score / winners, rank / winners


@njit(cache=True)
def cross_validate(
    halves: Any, sizes: Any, means: Any, squares: Any, lows: Any, highs: Any, rounding: Any, kind: int,
    first: Any, second: Any, rest: Any, inside: Any, outside: Any, ranks: Any,
) -> int:  # fmt: skip
    """Winner's score inside and outside and its rank outside, for each of the H `halves` and then each complement.

    Outputs have 2 H entries, the complement of half i at 2 H - 1 - i. The first column whose score does not exist, or
    -1. `first`, `second` (N,) and `rest` are room to work in.
    """
    count = halves.shape[0]
    for i in range(count):
        filled, place = 0, 0
        for b in range(sizes.size):
            if place < halves.shape[1] and halves[i, place] == b:
                place += 1
            else:
                rest[filled] = b
                filled += 1
        wrong = half_scores(halves[i], sizes, means, squares, lows, highs, rounding, kind, first)
        if wrong >= 0:
            return wrong
        wrong = half_scores(rest, sizes, means, squares, lows, highs, rounding, kind, second)
        if wrong >= 0:
            return wrong
        other = 2 * count - 1 - i
        inside[i], outside[i], ranks[i] = place_of_winner(first, second)
        inside[other], outside[other], ranks[other] = place_of_winner(second, first)
    return -1
