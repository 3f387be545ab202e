"""What is believed of impact and spreads before the data, and how data and belief are weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ExecutionPrior:
    """What is believed before the data: means, standard deviations, and how far the data's proxy may be off.

    Attributes
    ----------
    temporary_impact, temporary_impact_std : float
        eta_0. At a participation of 10 % of the daily volume, Almgren, Thum, Hauptmann & Li (2005: temporary
        0.142 (q/V)^0.6 and permanent 0.314 (q/V)(Theta/V)^(1/4) / 2, with 200 daily volumes outstanding) is a cost of
        1/2 eta q/V with eta = 1.9; the square-root law with unit prefactor (Toth et al. 2011: mean cost 2/3
        (q/V)^(1/2)) one with eta = 4.2. The prior is their middle, and the distance to each its standard deviation.
    temporary_impact_proxy_error : float
        Standard deviation of the systematic error of the regression (the flow is a proxy: see `regress_impact`),
        added to its sampling error. On exchanges simulated with known impacts of 1 and 3 the slopes are 0.2 and 0.5:
        noise in the proxy attenuates them, and an estimate from daily bars that is precise may still be 2.5 too low.
        A precise regression therefore moves the value by a fifth of the way from the prior.
    crowd_impact, crowd_impact_std, crowd_impact_proxy_error : float
        The same for eta_1. There is no published figure in this unit; the prior is ours: a crowd that trades one daily
        volume per session makes trading half as dear again, give or take as much. The slope hardly answers to the
        truth (0.3 on simulated exchanges without a crowd term, 0.4 with one of 3: on days on which all closes lie at
        one end of their range, volatility is high too, and no standardisation tried removes that), so it moves the
        value by a tenth of the way at most.
    spread_per_volatility : float
        Half-spread over daily volatility where neither quotes nor enough bars tell. Ours: 0.05, 10 basis points for a
        share that moves 2 % a day; spreads are proportional to volatility (Wyart et al. 2008).
    crowd_rate : float
        Mean |m|, daily volumes per session, when the volumes cannot tell. Ours: 0.2.
    """

    temporary_impact: float = 3.0
    temporary_impact_std: float = 1.2
    temporary_impact_proxy_error: float = 2.5
    crowd_impact: float = 1.5
    crowd_impact_std: float = 1.5
    crowd_impact_proxy_error: float = 4.5
    spread_per_volatility: float = 0.05
    crowd_rate: float = 0.2

    def __post_init__(self) -> None:
        """Check the figures."""
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 < value < np.inf and not (name.endswith("proxy_error") and value == 0):
                raise ValueError(f"{name} must be finite and positive; was {value}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A calibrated number, its error, and what the data alone said.

    Attributes
    ----------
    value, standard_error : float
        After the prior, with the proxy's systematic error in it.
    sampled, sampling_error : float
        From the data alone; NaN when there were too few.
    source : str
        "data and prior", "data" or "prior".
    """

    value: float
    standard_error: float
    sampled: float
    sampling_error: float
    source: str


def weigh(
    sampled: float, error: float, mean: float, std: float, proxy_error: float, symbol: str, notes: list[str]
) -> Estimate:
    """Precision-weighted mean of data and prior; the prior alone when the data say nothing or nonsense.

    `sampled` (NaN: nothing; not positive: nonsense, refused with a sentence in `notes` that names it by `symbol`) has
    the sampling `error` and, on top, the systematic `proxy_error`; the prior has `mean` and `std`.
    """
    if not np.isfinite(sampled):
        return Estimate(mean, std, np.nan, np.nan, "prior")
    if sampled <= 0:
        notes.append(f"{symbol} estimate {sampled:.3g} (se {error:.2g}) refused: prior {mean:.3g} used.")
        return Estimate(mean, std, sampled, error, "prior")
    data, belief = 1.0 / (error**2 + proxy_error**2), 1.0 / std**2
    value = (data * sampled + belief * mean) / (data + belief)
    return Estimate(value, (data + belief) ** -0.5, sampled, error, "data and prior")
