"""How well a fitted intensity describes the orders: time-rescaled gaps, dispersion of counts, clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwo

from mfg_core.checks import require_count, require_positive
from mfg_core.intraday.intensity_distances import (
    DistanceTable,
    ReachAgreement,
    distance_table,
    reach_agreement,
    segment_rates,
)
from mfg_core.intraday.intensity_fit import IntensityFit
from mfg_core.intraday.intensity_gaps import hawkes_branching, ks_distance, rescaled_gaps, simulated_p_values
from mfg_core.intraday.intensity_session import IntensitySession

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalTest:
    """Gaps between orders of one side in the fit's own time: unit exponential when the model holds.

    Attributes
    ----------
    side : str
    gaps : (n,) float64
        Integrated intensity between consecutive orders, in their order (Ogata 1988; Brown et al. 2002).
    uniform : (n,) float64
        1 - exp(-gap), sorted; plot against `expected_uniform` for the picture.
    statistic : float
        Kolmogorov-Smirnov distance to the uniform law.
    p_value : float
        By `replicates` simulations of the fitted model, each fitted again, when there are any: honest although the
        test looks at the data of the fit. Else Kolmogorov's, as if the parameters were known: then too large, so a
        small one is still a rejection.
    replicates : int
    ties : int
        Gaps of length zero: orders with one time stamp, which no intensity explains.
    branching_by_variance : float
        1 - 1/sqrt(dispersion) of the longest window that fits twice (Hawkes process: share of orders set off by
        others; Hardiman & Bouchaud 2014); 0 when the counts are not overdispersed. It takes any unexplained change of
        the rate for clustering.
    branching, branching_decay : float
        Maximum likelihood of a Hawkes process with an exponential kernel in the rescaled time, and its decay per
        second at the mean rate.
    likelihood_gain : float
        Log-likelihood of that process less that of the Poisson process: a diagnostic, not a test, because without
        clustering the decay means nothing.
    """

    side: str
    gaps: Floats
    uniform: Floats
    statistic: float
    p_value: float
    replicates: int
    ties: int
    branching_by_variance: float
    branching: float
    branching_decay: float
    likelihood_gain: float

    @property
    def expected_uniform(self) -> Floats:
        """(n,) (i - 1/2)/n, the quantiles that `uniform` should lie on."""
        return np.asarray((np.arange(self.uniform.size) + 0.5) / max(self.uniform.size, 1))


@dataclass(frozen=True, slots=True, eq=False)
class IntensityQuality:
    """The checks of one fit.

    Attributes
    ----------
    ask, bid : ArrivalTest
    windows : (w,) float64
        Seconds.
    dispersion : (2, w) float64
        Mean of (count - mean)^2/mean over windows, asks first: 1 when orders are Poisson, above it overdispersed.
    dispersion_score : (2, w) float64
        (dispersion - 1) over its standard deviation under the model. Both nan where fewer than two windows fit.
    ask_distances, bid_distances : DistanceTable
    agreement : ReachAgreement or None
        None where one of the two sources tells no decay.
    notes : tuple of str
    """

    ask: ArrivalTest
    bid: ArrivalTest
    windows: Floats
    dispersion: Floats
    dispersion_score: Floats
    ask_distances: DistanceTable
    bid_distances: DistanceTable
    agreement: ReachAgreement | None
    notes: tuple[str, ...]


def intensity_quality(
    fit: IntensityFit,
    *,
    windows: Sequence[float] = (1.0, 10.0, 60.0),
    replicates: int = 0,
    rng: np.random.Generator | None = None,
) -> IntensityQuality:
    """Goodness of fit of a fit to trades and quotes.

    Parameters
    ----------
    fit : IntensityFit
        From `calibrate_intensity`.
    windows : sequence of float
        Seconds, increasing; lengths over which orders are counted for the dispersion.
    replicates : int
        Simulated data sets for the p value of the gaps; 0 takes Kolmogorov's.
    rng : numpy Generator
        Needed when `replicates` is positive.

    Raises
    ------
    ValueError
        When an argument is out of range, or the fit is one of order lifetimes.
    """
    replicates = require_count("replicates", replicates, least=0)
    lengths = np.array([require_positive("windows", w) for w in windows])
    if lengths.size == 0 or not (np.diff(lengths) > 0).all():
        raise ValueError(f"windows must be increasing lengths in seconds; was {windows!r}")
    if replicates and rng is None:
        raise ValueError("rng must be given when replicates is positive")
    session, rates = segment_rates(fit)
    gaps = [rescaled_gaps(session, rates[s], sign) for s, sign in ((0, 1), (1, -1))]
    statistics = [ks_distance(g) for g in gaps]
    if replicates and rng is not None:
        p_values = simulated_p_values(fit, session, rates, statistics, replicates, rng)
    else:
        p_values = [float(kstwo.sf(d, g.size)) for d, g in zip(statistics, gaps, strict=True)]
    dispersion, score = _dispersion(session, rates, lengths)
    tests = []
    for s, side in enumerate(("ask", "bid")):
        branching, decay, gain = hawkes_branching(gaps[s])
        orders = gaps[s].size
        tests.append(
            ArrivalTest(
                side=side,
                gaps=gaps[s],
                uniform=np.sort(-np.expm1(-gaps[s])),
                statistic=statistics[s],
                p_value=p_values[s],
                replicates=replicates,
                ties=int((gaps[s] == 0).sum()),
                branching_by_variance=_branching_by_variance(dispersion[s]),
                branching=branching,
                branching_decay=decay * orders / session.counts.seconds_used,
                likelihood_gain=gain,
            )
        )
    try:
        agreement = reach_agreement(fit)
    except ValueError:
        # One source is silent (a spread that never changes, orders that never walk): nothing to compare.
        agreement = None
    return IntensityQuality(
        ask=tests[0],
        bid=tests[1],
        windows=lengths,
        dispersion=dispersion,
        dispersion_score=score,
        ask_distances=distance_table(fit, "ask"),
        bid_distances=distance_table(fit, "bid"),
        agreement=agreement,
        notes=_notes(tests, dispersion, lengths, agreement, replicates),
    )


def _branching_by_variance(dispersion: Floats) -> float:
    known = dispersion[np.isfinite(dispersion)]
    return float(1.0 - 1.0 / np.sqrt(max(known[-1], 1.0))) if known.size else float("nan")


def _dispersion(session: IntensitySession, rates: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Pearson's dispersion (2, w) over equal windows, and its score; windows that expect nothing are left out."""
    index, score = np.full((2, lengths.size), np.nan), np.full((2, lengths.size), np.nan)
    start, end = session.edges[0], session.edges[-1]
    for side, sign in ((0, 1), (1, -1)):
        total = np.concatenate([[0.0], np.cumsum(rates[side] * session.seconds)])
        times = session.time[session.side == sign]
        for place, length in enumerate(lengths):
            cuts = start + length * np.arange(int((end - start) / length) + 1)
            mean = np.diff(np.interp(cuts, session.edges, total))
            # Like the segments, a window holds its end and not its start.
            count = np.diff(np.searchsorted(times, cuts, side="right"))
            seen = mean > 0
            if seen.sum() < 2:
                continue
            pearson = (count[seen] - mean[seen]) ** 2 / mean[seen]
            index[side, place] = pearson.mean()
            # Var (N - m)^2/m = 2 + 1/m for a Poisson count.
            score[side, place] = (pearson - 1.0).sum() / np.sqrt((2.0 + 1.0 / mean[seen]).sum())
    return index, score


def _notes(
    tests: Sequence[ArrivalTest],
    dispersion: Floats,
    lengths: Floats,
    agreement: ReachAgreement | None,
    replicates: int,
) -> tuple[str, ...]:
    notes = []
    if not replicates:
        notes.append("The p values of the gaps treat the fitted parameters as known, so they are too large.")
    for s, test in enumerate(tests):
        known = np.flatnonzero(np.isfinite(dispersion[s]))
        longest = int(known[-1]) if known.size else 0
        if test.p_value < 0.01 or dispersion[s, longest] > 2.0:
            notes.append(
                f"{test.side}: orders are not Poisson given the fit (gaps p = {test.p_value:.2g}, dispersion "
                f"{dispersion[s, longest]:.3g} over {lengths[longest]:g} s, about {test.branching:.0%} set off by "
                "others): use the robust errors; the game takes them as Poisson."
            )
    if agreement is not None and agreement.p_value < 0.01:
        notes.append(
            f"Arrivals by spread give a decay of {agreement.from_arrivals:.4g} and depth one of "
            f"{agreement.from_depth:.4g} per unit of price (p = {agreement.p_value:.2g}): the exponential law does not "
            "hold over both; say which evidence the quotes should rest on."
        )
    return tuple(notes)
