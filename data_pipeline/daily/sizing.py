"""How many new shares an old share became, judged from prices: a posterior over the usual factors.

At an ex session, r = log(previous close / open) is log S of the true share factor S plus noise. The noise is taken
as Student t with 3 degrees of freedom (overnight returns have heavy tails; Blattberg and Gonedes, 1974) and scale

    s^2 = n max(o, 0.5 %)^2 + tick^2 / (6 p^2) + (0.3 log(high / low))^2 + 1 %^2 [+ 3 %^2 with a new cash right]

with o the root mean square of the share's own past overnight log returns, n the sessions since its previous trade,
p the lower of the two prices with their rounding to the cent (R$ 0.01), and half of the Parkinson (1980) volatility
of the ex session for an opening that did not find its price. Usual factors have prior weights by how common they are;
"no share event" has the rest of the prior. Classes of one issuer that go ex together share one factor, so
their likelihoods multiply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_OVERNIGHT: Final = 0.005
NO_HISTORY_OVERNIGHT: Final = 0.05
"""Overnight scale of a share with fewer than `MIN_HISTORY` past overnight returns."""
MIN_HISTORY: Final = 5
OPENING_NOISE: Final = 0.01
CASH_NOISE: Final = 0.03
PARKINSON_HALF: Final = 0.3
TICK: Final = 0.01
MAX_OVERNIGHT: Final = 0.3
"""Past overnight log returns are cut to this size: one crash must not blind the rule for a quarter."""

_COMMON, _KNOWN, _RARE = 4.0, 2.0, 1.0

REVERSE_RATIOS: Final[Mapping[float, float]] = MappingProxyType(
    dict.fromkeys((2.0, 5.0, 10.0, 20.0, 50.0, 100.0), _COMMON)
    | dict.fromkeys((3.0, 4.0, 8.0, 15.0, 25.0, 30.0, 40.0, 200.0, 500.0, 1000.0), _KNOWN)
    | dict.fromkeys((6.0, 7.0, 12.0, 35.0, 60.0, 70.0, 75.0, 80.0, 120.0, 125.0, 150.0, 250.0, 300.0, 400.0), _RARE)
)
"""Old shares per new share of a reverse split (GRUPAMENTO), with prior weight."""

SPLIT_FACTORS: Final[Mapping[float, float]] = MappingProxyType(
    dict.fromkeys((2.0, 3.0, 4.0, 5.0, 10.0), _COMMON)
    | dict.fromkeys((1.05, 1.1, 1.2, 1.25, 1.5, 6.0, 8.0, 20.0, 50.0, 100.0), _KNOWN)
    | dict.fromkeys((1.01, 1.02, 1.03, 1.04, 1.06, 1.08, 1.15, 1.3, 4.0 / 3.0), _RARE)
    | dict.fromkeys((7.0, 9.0, 12.0, 15.0, 25.0, 30.0, 40.0, 200.0, 500.0, 1000.0), _RARE)
)
"""New shares per old share of a split (DESDOBRAMENTO) or bonus (BONIFICACAO), with prior weight."""


@dataclass(frozen=True, slots=True)
class FactorEstimate:
    """The most probable share factor.

    Attributes
    ----------
    factor : float
        New shares per old share.
    probability : float
        Its posterior probability.
    """

    factor: float
    probability: float


def usual_factors(letters: str) -> Mapping[float, float]:
    """Return the usual share factors and their prior probabilities for a rights state with B, G or both.

    B is a split or bonus (factor above 1), G a reverse split (below 1). With both, a company groups and splits in
    one step to gather odd lots, and the net factor can also be 1.

    Examples
    --------
    >>> max(usual_factors("G"))
    0.5
    """
    weights: dict[float, float] = {}
    if "G" in letters:
        weights |= {1.0 / ratio: weight for ratio, weight in REVERSE_RATIOS.items()}
    if "B" in letters:
        weights |= SPLIT_FACTORS
    if "G" in letters and "B" in letters:
        weights[1.0] = _COMMON
    total = sum(weights.values())
    return {factor: weight / total for factor, weight in weights.items()}


def overnight_scale(past: NDArray[np.float64]) -> float:
    """Return the root mean square of past overnight log returns, cut to `MAX_OVERNIGHT`; a prior when too few."""
    known = past[np.isfinite(past)]
    if known.size < MIN_HISTORY:
        return NO_HISTORY_OVERNIGHT
    return max(MIN_OVERNIGHT, float(np.sqrt(np.mean(np.clip(known, -MAX_OVERNIGHT, MAX_OVERNIGHT) ** 2))))


def opening_scale(overnight: float, sessions: int, lower_price: float, high: float, low: float, cash: bool) -> float:
    """Return the scale s of the module's formula."""
    variance = (
        sessions * overnight**2
        + (TICK / lower_price) ** 2 / 6.0
        + (PARKINSON_HALF * math.log(high / low)) ** 2
        + OPENING_NOISE**2
        + (CASH_NOISE**2 if cash else 0.0)
    )
    return math.sqrt(variance)


def student_density(deviation: float, scale: float) -> float:
    """Return the density of scale * t_3 at `deviation`."""
    z = deviation / scale
    return 2.0 / (math.pi * math.sqrt(3.0) * scale * (1.0 + z * z / 3.0) ** 2)


def estimate_factor(
    observations: Sequence[tuple[float, float]], letters: str, no_event_probability: float
) -> FactorEstimate:
    """Return the most probable usual factor.

    Parameters
    ----------
    observations : sequence of (log ratio, scale)
        log(previous close / open) of each class of the issuer, and its noise scale.
    letters : str
        "B", "G" or "BG".
    no_event_probability : float
        Prior probability that there was no share event at all.

    Examples
    --------
    >>> estimate = estimate_factor([(math.log(16.0 / 154.0), 0.05)], "G", 0.03)
    >>> estimate.factor, estimate.probability > 0.9
    (0.1, True)
    """
    priors = {factor: (1.0 - no_event_probability) * weight for factor, weight in usual_factors(letters).items()}
    priors[1.0] = priors.get(1.0, 0.0) + no_event_probability
    posterior = {
        factor: prior * math.prod(student_density(ratio - math.log(factor), scale) for ratio, scale in observations)
        for factor, prior in priors.items()
    }
    best = max(posterior, key=lambda factor: posterior[factor])
    return FactorEstimate(best, posterior[best] / sum(posterior.values()))
