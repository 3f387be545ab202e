"""Gaps between orders in the fit's own time: their distance from the exponential law, and what clustering they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mfg_core.intraday.intensity_cells import cells_of_session
from mfg_core.intraday.intensity_distances import segment_rates
from mfg_core.intraday.intensity_fit import IntensityFit, fit_intensity
from mfg_core.intraday.intensity_kernels import hawkes_log_likelihood
from mfg_core.intraday.intensity_session import IntensitySession

Floats = NDArray[np.float64]


def rescaled_gaps(session: IntensitySession, rate: Floats, sign: int) -> Floats:
    """Integral of `rate` (s,) between consecutive orders of one side; from the start to the first one included."""
    total = np.concatenate([[0.0], np.cumsum(rate * session.seconds)])
    chosen = session.side == sign
    at = session.segment[chosen]
    return np.diff(total[at] + rate[at] * (session.time[chosen] - session.edges[at]), prepend=0.0)


def ks_distance(gaps: Floats) -> float:
    """Kolmogorov-Smirnov distance of 1 - exp(-gaps) to the uniform law on (0, 1)."""
    uniform = np.sort(-np.expm1(-gaps))
    step = np.arange(gaps.size + 1) / gaps.size
    return float(max((step[1:] - uniform).max(), (uniform - step[:-1]).max()))


def hawkes_branching(gaps: Floats) -> tuple[float, float, float]:
    """(branching ratio, decay, log-likelihood above Poisson) of an exponential Hawkes process with these gaps."""
    time = np.cumsum(gaps)
    if time.size < 3 or time[-1] <= 0:
        return 0.0, float("nan"), 0.0
    end = float(time[-1])
    rate = time.size / end
    poisson = time.size * np.log(rate) - time.size

    def loss(point: Floats) -> float:
        base, odds, decay = np.exp(np.clip(point, -30.0, 30.0))
        branching = odds / (1.0 + odds)
        return -float(hawkes_log_likelihood(time, end, rate * base, branching, rate * decay))

    # The likelihood can have one maximum for fast and one for slow clustering.
    starts = [np.array([np.log(0.7), np.log(0.3 / 0.7), np.log(decay)]) for decay in (0.1, 1.0, 10.0, 100.0)]
    options = {"xatol": 1e-4, "fatol": 1e-5, "maxiter": 1000}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(found, key=lambda one: float(one.fun))
    gain = -float(best.fun) - poisson
    if gain <= 0:
        return 0.0, float("nan"), 0.0
    return float(1.0 / (1.0 + np.exp(-best.x[1]))), float(rate * np.exp(best.x[2])), gain


def simulated_p_values(
    fit: IntensityFit,
    session: IntensitySession,
    rates: Floats,
    statistics: Sequence[float],
    replicates: int,
    rng: np.random.Generator,
) -> list[float]:
    """Share of data sets simulated from the fit whose own refitted gaps lie further from the law."""
    as_far = np.ones(2)
    by_side = fit.names[-1] != "fill_decay"
    for _ in range(replicates):
        drawn = _simulated_session(fit, session, rates, rng)
        cells = cells_of_session(
            drawn, decay_by_side=by_side, competition=fit.cells.competition, symmetric=fit.cells.symmetric
        )
        again = fit_intensity(cells, evidence=fit.evidence, session=drawn)
        _, new_rates = segment_rates(again)
        for s, sign in ((0, 1), (1, -1)):
            as_far[s] += ks_distance(rescaled_gaps(drawn, new_rates[s], sign)) >= statistics[s]
    return [float(count) / (replicates + 1) for count in as_far]


def _simulated_session(
    fit: IntensityFit, session: IntensitySession, rates: Floats, rng: np.random.Generator
) -> IntensitySession:
    """The same states of the market with orders drawn from the fit."""
    decays = fit.coefficients[2 + fit.covariate_means.size :] * session.tick
    parts = []
    for s, sign in ((0, 1), (1, -1)):
        total = np.concatenate([[0.0], np.cumsum(rates[s] * session.seconds)])
        clock = np.sort(rng.uniform(0.0, total[-1], rng.poisson(total[-1])))
        segment = np.clip(np.searchsorted(total, clock, side="left") - 1, 0, rates.shape[1] - 1)
        time = session.edges[segment] + (clock - total[segment]) / rates[s, segment]
        depth = np.floor(rng.exponential(1.0 / decays[min(s, decays.size - 1)], clock.size))
        last = np.ceil(session.max_ticks - session.half_spread[segment] - 1e-6)
        side = np.full(clock.size, sign, dtype=np.int8)
        parts.append((segment, time, side, np.minimum(depth, last), depth < last))
    segment, time, side, depth, closed = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(time, kind="stable")
    return replace(
        session,
        segment=segment[order],
        time=time[order],
        side=side[order],
        depth=depth[order],
        closed=closed[order],
    )
