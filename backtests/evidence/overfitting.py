"""How often the best of many trials in one half of the history is below the middle in the other half."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Score = Literal["sharpe", "mean"] | Callable[[Floats], ArrayLike]
MOST_BLOCKS = 20
"""C(20, 10) = 184,756 splits; more blocks cost more than they tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """What combinatorially symmetric cross-validation (CSCV) says of choosing the best of N trials.

    Attributes
    ----------
    probability : float
        Probability of backtest overfitting (PBO): part of the splits in which the winner of one half is at or below
        the middle of the other.
    logits : (C,) float64
        ln(w / (1 - w)) of the winner's relative rank w outside, by split in lexicographic order of the blocks inside.
    inside, outside : (C,) float64
        The winner's score in the half in which it won, and in the other.
    slope, intercept : float
        Least squares of `outside` on `inside`: how performance degrades. NaN when `inside` does not vary.
    probability_of_loss : float
        Part of the splits in which the winner's score outside is below zero.
    blocks, trials, observations : int
    """

    probability: float
    logits: Floats
    inside: Floats
    outside: Floats
    slope: float
    intercept: float
    probability_of_loss: float
    blocks: int
    trials: int
    observations: int

    @property
    def splits(self) -> int:
        """Number of splits, C(blocks, blocks / 2)."""
        return self.logits.size

    @property
    def degradation(self) -> float:
        """Mean over the splits of the winner's score inside less its score outside."""
        return float(np.mean(self.inside - self.outside))


def probability_of_backtest_overfitting(
    returns: ArrayLike, blocks: int = 16, score: Score = "sharpe", *, more_trials_than_sessions: bool = False
) -> Overfitting:
    """Probability that the trial chosen as best is no better than the middle one in sessions that did not choose it.

    Bailey, Borwein, Lopez de Prado & Zhu (2017, "The probability of backtest overfitting", J. Computational Finance):
    the sessions are cut into `blocks` successive blocks, sizes differing by one session at most; each choice of half
    of them is "inside", the others, in their order, are "outside".

    Parameters
    ----------
    returns : (T, N) array
        Excess returns per session, one row per session and one column per trial: every trial, also the poor ones.
    blocks : int
        Even, at most 20. 16 gives 12,870 splits.
    score : "sharpe", "mean" or callable
        What is maximised. A callable takes (t, N) returns and gives (N,) finite scores; it is called for every half.
    more_trials_than_sessions : bool
        Say True when N > T is meant. Without it such a matrix is taken for a transposed one and refused.

    Returns
    -------
    Overfitting

    Raises
    ------
    ValueError
        When the matrix is not as above, or a column's Sharpe ratio does not exist in some half (a constant other than
        zero: no excess return).

    Notes
    -----
    Ties outside share the mean of their ranks; trials that tie for the best inside count by the mean of their ranks
    and scores outside, so the order of the columns does not matter. A column that is zero in all sessions of a half
    (nothing was traded) has a Sharpe ratio of zero there. Neighbouring blocks are not purged of each other: the
    trials' returns must be out of sample of any fitting, or labels shorter than a block.

    Cost: C(S, S/2) S N operations and memory for T N numbers.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((400, 10))
    >>> alike = noise - noise.mean(axis=0)  # whoever is above its mean in one half is below it in the other
    >>> probability_of_backtest_overfitting(alike, blocks=8).probability
    1.0
    """
    matrix = _matrix(returns, blocks, more_trials_than_sessions)
    edges = np.linspace(0, matrix.shape[0], blocks + 1).round().astype(np.int64)
    half = math.comb(blocks, blocks // 2) // 2
    halves = np.array(list(itertools.islice(itertools.combinations(range(blocks), blocks // 2), half)), dtype=np.int64)
    if callable(score):
        inside, outside, ranks = _by_callable(matrix, edges, halves, score)
    elif score in ("sharpe", "mean"):
        inside, outside, ranks = _compiled(matrix, edges, halves, score)
    else:
        raise ValueError(f"score must be 'sharpe', 'mean' or a callable; was {score!r}")
    relative = ranks / (matrix.shape[1] + 1)
    slope, intercept = _line(inside, outside)
    return Overfitting(
        probability=float(np.mean(relative <= 0.5)),
        logits=np.log(relative / (1.0 - relative)),
        inside=inside,
        outside=outside,
        slope=slope,
        intercept=intercept,
        probability_of_loss=float(np.mean(outside < 0.0)),
        blocks=blocks,
        trials=matrix.shape[1],
        observations=matrix.shape[0],
    )


def _matrix(returns: ArrayLike, blocks: int, more_trials_than_sessions: bool) -> Floats:
    columns: Any = getattr(returns, "columns", None)
    if columns is not None and getattr(columns.dtype, "kind", "") == "M":
        raise ValueError(
            "returns must have sessions as rows and trials as columns; its columns are dates: transpose it"
        )
    matrix = np.ascontiguousarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ValueError(f"returns must be (sessions, trials) with at least 2 trials; was of shape {matrix.shape}")
    if isinstance(blocks, bool) or blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise ValueError(f"blocks must be even, from 2 to {MOST_BLOCKS}; was {blocks}")
    sessions, trials = matrix.shape
    if trials > sessions and not more_trials_than_sessions:
        raise ValueError(
            f"returns must be (sessions, trials); {sessions} sessions of {trials} trials looks transposed: pass "
            "returns.T, or more_trials_than_sessions=True if it is meant"
        )
    if sessions < 2 * blocks:
        raise ValueError(f"returns must have at least 2 sessions per block, {2 * blocks}; had {sessions}")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"returns must be finite; was {matrix[row, column]} in row {row}, column {column}")
    return matrix


def _compiled(
    matrix: Floats, edges: NDArray[np.int64], halves: NDArray[np.int64], score: str
) -> tuple[Floats, Floats, Floats]:
    from backtests.evidence import kernels

    sizes = np.diff(edges)
    parts = [matrix[start:stop] for start, stop in itertools.pairwise(edges)]
    means = np.stack([part.mean(axis=0) for part in parts])
    squares = np.stack([((part - mean) ** 2).sum(axis=0) for part, mean in zip(parts, means, strict=True)])
    lows, highs = np.stack([part.min(axis=0) for part in parts]), np.stack([part.max(axis=0) for part in parts])
    rounding = 1e-14 * np.abs(matrix).max(axis=0)
    kind = kernels.SHARPE if score == "sharpe" else kernels.MEAN
    first, second = np.empty((2, matrix.shape[1]))
    inside, outside, ranks = np.empty((3, 2 * len(halves)))
    rest = np.empty(halves.shape[1], dtype=np.int64)
    wrong = kernels.cross_validate(
        halves, sizes, means, squares, lows, highs, rounding, kind, first, second, rest, inside, outside, ranks
    )
    if wrong >= 0:
        raise ValueError(
            f"returns must be excess returns: column {wrong} is a constant other than zero in all sessions of a half, "
            "so its Sharpe ratio does not exist"
        )
    return inside, outside, ranks


def _by_callable(
    matrix: Floats, edges: NDArray[np.int64], halves: NDArray[np.int64], score: Callable[[Floats], ArrayLike]
) -> tuple[Floats, Floats, Floats]:
    from backtests.evidence import kernels

    block_of = np.repeat(np.arange(edges.size - 1), np.diff(edges))
    out = np.empty((3, 2 * len(halves)))
    for i, chosen in enumerate(halves):
        rows = np.isin(block_of, chosen)
        first, second = (_scores(score, matrix[keep]) for keep in (rows, ~rows))
        out[:, i] = kernels.place_of_winner(first, second)
        out[:, -1 - i] = kernels.place_of_winner(second, first)
    return out[0], out[1], out[2]


def _scores(score: Callable[[Floats], ArrayLike], part: Floats) -> Floats:
    values = np.asarray(score(part), dtype=np.float64)
    if values.shape != (part.shape[1],) or not np.isfinite(values).all():
        raise ValueError(f"score must give one finite number per trial, {part.shape[1]}; gave {values!r}")
    return values


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept of the least-squares line; NaN when x does not vary."""
    centred = x - x.mean()
    spread = float(np.sum(centred**2))
    if spread <= x.size * (1e-14 * float(np.abs(x).max())) ** 2:
        return math.nan, math.nan
    slope = float(np.sum(centred * (y - y.mean()))) / spread
    return slope, float(y.mean()) - slope * float(x.mean())
