"""The likelihood of the fill intensity: counts and exposures by cell, with score and information."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mfg_core.intraday.intensity_session import IntensitySession

Floats = NDArray[np.float64]

EVIDENCE = ("all", "arrivals", "depth")


@dataclass(frozen=True, slots=True, eq=False)
class IntensityCells:
    """Orders and seconds by state of the market; distances are in ticks, decays per tick.

    With rate exp(x . beta - k h) in a row of distance h, and c of its n orders closed,

        l = sum n (x . beta - k h) - T exp(x . beta - k h)  +  sum c log(1 - exp(-k)) - k S,

    the first part being the arrivals of orders that reach h, the second the whole ticks beyond it that they walk:
    summed over the cells of one state the Poisson means telescope to the arrivals' mean, and given an arrival the
    depth is geometric (cut off at the open cell). The evidence says which part tells k: "all" both, "arrivals" the
    first (the second is dropped), "depth" the second, the arrivals then telling beta at that k.

    Attributes
    ----------
    distance : (r,) float64
        h, of the best quote (or of the resting order) from the mid.
    exposure : (r,) float64
        T, seconds.
    count : (r,) float64
        n, orders that reached h.
    depth : (r,) float64
        S, their whole ticks beyond h, added up (the open cell counts as its near end).
    closed : (r,) float64
        c, orders whose cell has a far end.
    design : (r, p) float64
        x: one column for each side, then the covariates.
    decay : (r, q) float64
        Which decay each row has (one-hot).
    block : (r,) int64
    names : tuple of str
        Of the p + q coefficients.
    tick : float
    competition : float
        Weight of the crowd's quote in `distance`.
    symmetric : bool
        Both sides hold the mean of the two: the fit has one arrival for both.
    """

    distance: Floats
    exposure: Floats
    count: Floats
    depth: Floats
    closed: Floats
    design: Floats
    decay: Floats
    block: NDArray[np.int64]
    names: tuple[str, ...]
    tick: float
    competition: float = 0.0
    symmetric: bool = False

    @property
    def first_decay(self) -> int:
        """Place of the first decay among the coefficients."""
        return int(self.design.shape[1])

    @property
    def covariate_means(self) -> Floats:
        """(p - 2,) means of the covariates over the exposure."""
        return np.asarray(self.exposure @ self.design[:, 2:] / self.exposure.sum())

    def centred(self, means: Floats) -> IntensityCells:
        """The same cells with the covariates counted from `means`."""
        design = self.design.copy()
        design[:, 2:] -= means
        return replace(self, design=design)

    def pooled(self) -> IntensityCells:
        """The same cells with orders shared out evenly over the sides: their maximum has one arrival for both.

        With A_a = A_b the likelihood holds only sums over the sides. Rows must come as all asks, then all bids.
        """
        if self.decay.shape[1] > 1:
            raise ValueError("symmetric pools the sides, and decay_by_side tells them apart: choose one")

        def even(column: Floats) -> Floats:
            return np.tile(0.5 * column.reshape(2, -1).sum(axis=0), 2)

        return replace(self, count=even(self.count), depth=even(self.depth), closed=even(self.closed), symmetric=True)

    def start(self, evidence: str) -> Floats:
        """A point to start from, after checking that each side and each decay has data to be told from."""
        if evidence not in EVIDENCE:
            raise ValueError(f"evidence must be one of {', '.join(EVIDENCE)}; was {evidence!r}")
        for place, side in enumerate(("ask", "bid")):
            if not self.design[:, place] @ self.count > 0:
                raise ValueError(
                    f"no order is left on the {side} side of {self.exposure.sum() / 2:.6g} seconds observed"
                )
        walked, closed = self.decay.T @ self.depth, self.decay.T @ self.closed
        varied = self.distance.max() > self.distance.min()
        if evidence != "arrivals" and not ((closed > 0) & ((walked > 0) | (varied & (evidence == "all")))).all():
            raise ValueError(
                "no order went beyond the best quote (or none stayed within max_ticks): the depth does not tell "
                "fill_decay; use evidence='arrivals' if the spread varies"
            )
        if evidence == "arrivals" and not varied:
            raise ValueError(
                "the best quote never changed its distance: arrivals do not tell fill_decay; use evidence='all'"
            )
        k = np.zeros(closed.size)
        if evidence == "depth":
            # The maximum of sum c log(1 - exp(-k)) - k S.
            k = np.log1p(closed / walked)
        elif evidence == "all":
            k = np.log1p(closed / (walked + 1.0))
        weight = self.exposure * np.exp(-self.distance * (self.decay @ k))
        level = [np.log(self.design[:, s] @ self.count) - np.log(self.design[:, s] @ weight) for s in (0, 1)]
        return np.concatenate([level, np.zeros(self.first_decay - 2), k])

    def rate(self, theta: Floats) -> Floats:
        """(r,) orders per second that reach each row's distance."""
        beta, k = theta[: self.first_decay], theta[self.first_decay :]
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.design @ beta - self.distance * (self.decay @ k)))

    def log_likelihood(self, theta: Floats, evidence: str) -> float:
        """l at theta; -inf where a decay that the depth tells is not positive."""
        beta, k = theta[: self.first_decay], self.decay @ theta[self.first_decay :]
        total = 0.0
        if evidence != "arrivals":
            if not (theta[self.first_decay :] > 0).all():
                return -np.inf
            total += float(self.closed @ np.log(-np.expm1(-k)) - self.depth @ k)
        predictor = self.design @ beta - self.distance * k
        return total + float(self.count @ predictor - self.exposure @ self.rate(theta))

    def scores(self, theta: Floats, evidence: str) -> Floats:
        """(r, p + q) what each row adds to the estimating equations, whose sum is zero at the estimate."""
        k = self.decay @ theta[self.first_decay :]
        surplus = self.count - self.exposure * self.rate(theta)
        toward = np.zeros(surplus.size)
        if evidence != "depth":
            toward -= self.distance * surplus
        if evidence != "arrivals":
            toward += self.closed / np.expm1(k) - self.depth
        return np.concatenate([self.design * surplus[:, None], self.decay * toward[:, None]], axis=1)

    def block_scores(self, theta: Floats, evidence: str) -> Floats:
        """(blocks, p + q) the scores added up over each block of time that has a row."""
        _, place = np.unique(self.block, return_inverse=True)
        rows = self.scores(theta, evidence)
        return np.stack([np.bincount(place, column) for column in rows.T], axis=1)

    def information(self, theta: Floats, evidence: str) -> Floats:
        """(p + q, p + q) minus the derivative of the summed scores; symmetric except for "depth"."""
        walk, first = self._walk_information(theta), self.first_decay
        gradient = np.concatenate([self.design, -self.decay * self.distance[:, None]], axis=1)
        mean = self.exposure * self.rate(theta)
        matrix = gradient.T @ (gradient * mean[:, None])
        if evidence == "depth":
            matrix[first:] = 0.0
        if evidence != "arrivals":
            matrix[first:, first:] += walk
        return np.asarray(matrix)

    def score_variance(self, theta: Floats, evidence: str) -> Floats:
        """(p + q, p + q) covariance of the summed scores when the model holds."""
        matrix, first = self.information(theta, evidence), self.first_decay
        if evidence == "depth":
            matrix[:first, first:] = 0.0
        return matrix

    def _walk_information(self, theta: Floats) -> Floats:
        k = self.decay @ theta[self.first_decay :]
        half = np.sinh(0.5 * k)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(self.closed > 0, self.closed / (4.0 * half * half), 0.0)
        return np.asarray(self.decay.T @ (self.decay * weight[:, None]))


def cells_of_session(
    session: IntensitySession, *, decay_by_side: bool = False, competition: float = 0.0, symmetric: bool = False
) -> IntensityCells:
    """The session's segments with equal state and block merged, one row for each side."""
    seen = np.flatnonzero(session.observed)
    half, state = np.unique(session.half_spread[seen], return_inverse=True)
    values, condition = np.unique(session.covariates[seen], axis=0, return_inverse=True)
    key = (session.block[seen] * half.size + state) * max(len(values), 1) + condition.reshape(-1)
    _, first, row = np.unique(key, return_index=True, return_inverse=True)
    size = first.size
    row_of = np.full(session.half_spread.size, -1, dtype=np.intp)
    row_of[seen] = row
    seconds = np.bincount(row, session.seconds[seen], minlength=size)
    order_row = row_of[session.segment] + np.where(session.side > 0, 0, size)
    is_bid = np.repeat([0.0, 1.0], size)
    sides = np.column_stack([1.0 - is_bid, is_bid])
    picked = seen[first]
    decays = ("ask_fill_decay", "bid_fill_decay") if decay_by_side else ("fill_decay",)
    cells = IntensityCells(
        distance=np.tile(session.felt_distance(competition)[picked], 2),
        exposure=np.tile(seconds, 2),
        count=np.bincount(order_row, minlength=2 * size).astype(np.float64),
        depth=np.bincount(order_row, session.depth, minlength=2 * size).astype(np.float64),
        closed=np.bincount(order_row, session.closed, minlength=2 * size).astype(np.float64),
        design=np.concatenate([sides, np.tile(session.covariates[picked], (2, 1))], axis=1),
        decay=sides if decay_by_side else np.ones((2 * size, 1)),
        block=np.tile(session.block[picked], 2),
        names=("log_ask_arrival", "log_bid_arrival", *session.covariate_names, *decays),
        tick=session.tick,
        competition=competition,
    )
    return cells.pooled() if symmetric else cells
