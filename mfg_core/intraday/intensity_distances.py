"""Whether the exponential law holds over the distances: observed against expected orders, and two ways to one decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr

from mfg_core.intraday.intensity_fit import IntensityFit, fit_intensity
from mfg_core.intraday.intensity_session import IntensitySession

Floats = NDArray[np.float64]

LEAST_EXPECTED = 5.0
"""Orders that a bin of the chi-square test must expect; smaller ones are merged with the next."""


@dataclass(frozen=True, slots=True, eq=False)
class DistanceTable:
    """Orders of one side by the distance they reached, in steps of half a tick; and the test of the law.

    Attributes
    ----------
    side : str
    distance : (d,) float64
        Price, near end of the cell: the order reached it but not the next tick.
    observed, expected : (d,) float64
        Orders; the expected ones are the fit's.
    seconds : (d,) float64
        Time in which an order could be seen to reach this distance.
    rate, rate_error : (d,) float64
        Orders per second that reached at least this distance, from the market's states whose grid holds it, and its
        Poisson standard error: the points for a picture of lambda(delta). Neighbours share orders.
    expected_rate : (d,) float64
        The fit's, over the same states and seconds.
    chi_square, p_value : float
        Pearson's statistic over merged bins, and its tail with `bins` less the coefficients as degrees of freedom
        (nan when none are left). The coefficients were fitted to more than these bins, so the p value is a little
        too small (Chernoff & Lehmann 1954); clustering makes it much too small.
    bins : int
    """

    side: str
    distance: Floats
    observed: Floats
    expected: Floats
    seconds: Floats
    rate: Floats
    rate_error: Floats
    expected_rate: Floats
    chi_square: float
    p_value: float
    bins: int


@dataclass(frozen=True, slots=True)
class ReachAgreement:
    """The decay told by how often orders come at each spread, and by how far they walk; the law says they are one.

    Attributes
    ----------
    from_arrivals, from_arrivals_error, from_depth, from_depth_error : float
        Per unit of price, with robust errors.
    p_value : float
        Two-sided, of their difference over its error (the two are independent under the model).
    """

    from_arrivals: float
    from_arrivals_error: float
    from_depth: float
    from_depth_error: float
    p_value: float


def reach_agreement(fit: IntensityFit) -> ReachAgreement:
    """The two decays behind a fit of one decay, and the test that they agree.

    Raises
    ------
    ValueError
        When the fit has a decay for each side, or one of the two sources does not tell a decay.
    """
    if fit.names[-1] != "fill_decay":
        raise ValueError("fit must have one fill_decay; it was made with decay_by_side")
    found = [fit_intensity(fit.cells, evidence=evidence) for evidence in ("arrivals", "depth")]
    decays = [one.fill_decay for one in found]
    errors = [float(one.standard_errors()[-1]) for one in found]
    score = (decays[0] - decays[1]) / float(np.hypot(errors[0], errors[1]))
    return ReachAgreement(decays[0], errors[0], decays[1], errors[1], float(2.0 * ndtr(-abs(score))))


def segment_rates(fit: IntensityFit) -> tuple[IntensitySession, Floats]:
    """The fit's session, and (2, s) orders per second that reach the best quote in each segment, asks first."""
    session = fit.session
    if session is None:
        raise ValueError("fit must be of trades and quotes; one of order lifetimes has no single stream of orders")
    beta = fit.coefficients[2 : 2 + fit.covariate_means.size]
    condition = np.where(session.observed[:, None], session.covariates - fit.covariate_means, 0.0) @ beta
    decays = fit.coefficients[2 + fit.covariate_means.size :] * session.tick
    felt = session.felt_distance(fit.cells.competition)
    sides = [fit.coefficients[s] + condition - felt * decays[min(s, decays.size - 1)] for s in (0, 1)]
    return session, np.where(session.observed, np.exp(np.stack(sides)), 0.0)


def distance_table(fit: IntensityFit, side: str) -> DistanceTable:
    """Observed and expected orders by distance for "ask" (buyers) or "bid" (sellers)."""
    if side not in ("ask", "bid"):
        raise ValueError(f"side must be 'ask' or 'bid'; was {side!r}")
    place = 0 if side == "ask" else 1
    session, rates = segment_rates(fit)
    seen = session.observed
    half, state = np.unique(session.half_spread[seen], return_inverse=True)
    means = np.bincount(state, (rates[place] * session.seconds)[seen])
    seconds = np.bincount(state, session.seconds[seen])
    kept = session.side == (1 if side == "ask" else -1)
    depth = session.depth[kept]
    order_half = session.half_spread[session.segment[kept]]

    decays = fit.coefficients[2 + fit.covariate_means.size :] * session.tick
    k = float(decays[min(place, decays.size - 1)])
    last = np.ceil(session.max_ticks - half - 1e-6)
    walk = np.arange(last.max() + 1)
    reached = np.exp(-k * walk)
    share = np.where(walk < last[:, None], reached * -np.expm1(-k), np.where(walk == last[:, None], reached, 0.0))
    cell = np.floor(2.0 * (half[:, None] + walk) + 1e-6).astype(np.int64)
    order_cell = np.floor(2.0 * (order_half + depth) + 1e-6).astype(np.int64)
    size = int(max(cell[share > 0].max(), order_cell.max(initial=0))) + 1
    valid = share > 0
    expected: Floats = np.bincount(cell[valid], (means[:, None] * share)[valid], minlength=size).astype(np.float64)
    observed = np.bincount(order_cell, minlength=size).astype(np.float64)
    time_there = np.broadcast_to(seconds[:, None], share.shape)[valid]
    visible: Floats = np.bincount(cell[valid], time_there, minlength=size).astype(np.float64)
    beyond = _reached(observed, np.bincount(np.floor(2.0 * order_half + 1e-6).astype(np.int64), minlength=size))
    due = _reached(expected, np.bincount(np.floor(2.0 * half + 1e-6).astype(np.int64), means, minlength=size))
    there = np.flatnonzero(visible > 0)
    statistic, bins = _chi_square(observed[there], expected[there])
    free = bins - len(fit.names)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, error, law = beyond / visible, np.sqrt(beyond) / visible, due / visible
    return DistanceTable(
        side=side,
        distance=np.asarray(there * 0.5 * session.tick, dtype=np.float64),
        observed=observed[there],
        expected=expected[there],
        seconds=visible[there],
        rate=rate[there],
        rate_error=error[there],
        expected_rate=law[there],
        chi_square=statistic,
        p_value=float(chdtrc(free, statistic)) if free > 0 else float("nan"),
        bins=bins,
    )


def _reached(last: Floats, entry: NDArray[np.number]) -> Floats:
    """Orders that were at risk in each cell and reached it, given the cells of their last and of their first tick."""
    beyond = np.zeros(last.size)
    for offset in (0, 1):  # the two grids of half-ticks: a state of the market is on one of them
        beyond[offset::2] = np.cumsum(last[offset::2][::-1])[::-1]
        later = np.cumsum(entry[offset::2][::-1])[::-1]
        # Those whose best quote was already further were not at risk at this distance.
        beyond[offset::2] -= np.append(later[1:], 0)
    return beyond


def _chi_square(observed: Floats, expected: Floats) -> tuple[float, int]:
    """Pearson's statistic over bins merged, near to far, until each expects `LEAST_EXPECTED`."""
    merged: list[list[float]] = []
    seen = due = 0.0
    for o, e in zip(observed.tolist(), expected.tolist(), strict=True):
        seen, due = seen + o, due + e
        if due >= LEAST_EXPECTED:
            merged.append([seen, due])
            seen = due = 0.0
    if merged:
        merged[-1][0] += seen
        merged[-1][1] += due
    return sum((o - e) ** 2 / e for o, e in merged), len(merged)
