"""Whether the two sides of a market are alike: one decay, one arrival rate. Wald tests with robust covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from mfg_core.intraday.intensity_cells import cells_of_session
from mfg_core.intraday.intensity_fit import IntensityFit, fit_intensity


@dataclass(frozen=True, slots=True)
class SideTest:
    """Whether both sides have one decay: the decay of each with its robust error, and the p value of the difference."""

    ask: float
    ask_error: float
    bid: float
    bid_error: float
    p_value: float


def side_test(fit: IntensityFit) -> SideTest | None:
    """Wald's test, with robust covariance, of one decay for both sides."""
    if fit.session is None:
        return None
    cells = cells_of_session(fit.session, decay_by_side=True, competition=fit.cells.competition)
    try:
        both = fit_intensity(cells, evidence=fit.evidence)
    except ValueError:
        return None
    ask, bid = both.coefficients[-2:]
    errors = both.standard_errors()[-2:]
    variance = errors @ errors - 2.0 * both.covariance[-2, -1]
    return SideTest(
        float(ask), float(errors[0]), float(bid), float(errors[1]), float(chdtrc(1.0, (ask - bid) ** 2 / variance))
    )


def imbalance_p_value(fit: IntensityFit) -> float:
    """P value of Wald's test, with robust covariance, that both sides have one arrival rate."""
    if fit.cells.symmetric and fit.session is not None:
        cells = cells_of_session(fit.session, competition=fit.cells.competition)
        fit = fit_intensity(cells, evidence=fit.evidence)
    contrast = np.zeros(len(fit.names))
    contrast[:2] = 1.0, -1.0
    difference, variance = contrast @ fit.coefficients, contrast @ fit.covariance @ contrast
    return float(chdtrc(1.0, difference**2 / variance))
