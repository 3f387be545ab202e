"""Variance of the mid per second within one session, from estimators that see through the noise of quotes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfg_core.checks import require_positive

Floats = NDArray[np.float64]

METHODS = ("pre_averaging", "two_scale", "realised_kernel")
LEAST_CHANGES = 100
ROUNDING = 1e-12
"""Relative difference of two prices that are one."""
BLOCKS = 40
"""Blocks of the session whose contributions tell the standard error, when they can be long enough."""


@dataclass(frozen=True, slots=True)
class IntradayVolatility:
    """Variance of the efficient price over a session, and per second.

    Attributes
    ----------
    variance, variance_error : float
        Price^2 per second, and its standard error.
    volatility, volatility_error : float
        Its root, price per sqrt(second).
    noise_variance : float
        Of one observation's distance from the efficient price, price^2; 0 when the estimate is negative (prices
        that move like a random walk, or trend).
    realised_variance, realised_error : float
        Sum of squared changes over `realised_step` seconds, per second; its error by the fourth powers
        (Barndorff-Nielsen & Shephard 2002). For comparison.
    realised_step : float
        Seconds.
    seconds : float
        From the first to the last observation.
    changes : int
        Changes of the price between observations, n.
    scale : int
        Observations over which the method averages: window, subgrid, or bandwidth.
    blocks : int
        Blocks that the standard error rests on.
    method : str
    """

    variance: float
    variance_error: float
    volatility: float
    volatility_error: float
    noise_variance: float
    realised_variance: float
    realised_error: float
    realised_step: float
    seconds: float
    changes: int
    scale: int
    blocks: int
    method: str


def intraday_volatility(
    time: ArrayLike, mid: ArrayLike, *, method: str = "pre_averaging", realised_step: float = 300.0
) -> IntradayVolatility:
    """Variance of the mid per second, robust to noise, with its standard error.

    The observed price is an efficient one plus noise of its own at every observation. Differences of prices are
    taken (not of logarithms), so the variance has the unit of the game: price^2 per second.

    Parameters
    ----------
    time : (n,) array_like
        Seconds, nondecreasing.
    mid : (n,) array_like
        Price in force from each time; nan where there is none, which is left out: the change over the hole counts.
        Of rows at one time the last counts, and so do only rows at which the price changes.
    method : {"pre_averaging", "two_scale", "realised_kernel"}
        Jacod, Li, Mykland, Podolskij & Vetter (2009), weights min(x, 1 - x), window sqrt(n)/2; Zhang, Mykland &
        Aït-Sahalia (2005); both scaled to be unbiased in small samples when volatility and noise are constant.
        Parzen's realised kernel of Barndorff-Nielsen, Hansen, Lunde & Shephard (2009), with a bias upwards of about
        12 n omega^2 / bandwidth^2.
    realised_step : float
        Seconds between the prices of the plain realised variance beside it.

    Raises
    ------
    ValueError
        When fewer than 100 changes are left, or the arguments are out of range.

    Notes
    -----
    The standard error is the observed asymptotic variance in its simplest form (Mykland & Zhang 2017): the estimator
    is a sum over time, and half the squared differences of neighbouring blocks' sums add up to its variance, with
    no assumption on how the volatility moves beyond being smooth. With 40 blocks it is itself known to a seventh.

    Taken at the changes of the price only, discrete prices carry noise that is not independent of the price
    (bounces): the estimators then hold approximately; compare them with each other and with the realised variance.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; was {method!r}")
    realised_step = require_positive("realised_step", realised_step)
    at, price = _changes_only(time, mid)
    n, seconds = price.size - 1, float(at[-1] - at[0]) if at.size else 0.0
    if n < LEAST_CHANGES:
        raise ValueError(f"mid must change at least {LEAST_CHANGES} times; changed {max(n, 0)} times")
    rough = float(np.sum(np.diff(price) ** 2))
    if method == "pre_averaging":
        scale = _window(n)
        total, terms = _pre_averaging(price, scale)
    else:
        pilot = max(_pre_averaging(price, _window(n))[0], rough * 1e-6)
        ratio = max(rough - pilot, 0.0) / (2.0 * n) / pilot
        scale = _subgrid(n, ratio) if method == "two_scale" else _bandwidth(n, ratio)
        total, terms = (_two_scale if method == "two_scale" else _realised_kernel)(price, scale)
    # Blocks five scales long or longer: what neighbours share is then small beside what they do not.
    blocks = max(4, min(BLOCKS, n // (5 * scale)))
    error = _block_error(terms, blocks)
    realised, realised_error = _realised(at, price, realised_step)
    volatility = float(np.sqrt(max(total, 0.0) / seconds))
    return IntradayVolatility(
        variance=total / seconds,
        variance_error=error / seconds,
        volatility=volatility,
        volatility_error=0.5 * error / seconds / volatility if volatility > 0 else float("nan"),
        noise_variance=max(0.0, (rough - total) / (2.0 * n)),
        realised_variance=realised / seconds,
        realised_error=realised_error / seconds,
        realised_step=realised_step,
        seconds=seconds,
        changes=n,
        scale=scale,
        blocks=blocks,
        method=method,
    )


def _changes_only(time: ArrayLike, mid: ArrayLike) -> tuple[Floats, Floats]:
    """First observation, each change of the price, and the last observation."""
    at, price = np.asarray(time, dtype=np.float64), np.asarray(mid, dtype=np.float64)
    if at.ndim != 1 or at.shape != price.shape:
        raise ValueError(f"time and mid must be one-dimensional and of one length; were {at.shape} and {price.shape}")
    if not np.isfinite(at).all() or not (np.diff(at) >= 0).all():
        raise ValueError("time must be finite and nondecreasing")
    if np.isinf(price).any():
        raise ValueError(
            f"mid must be finite, or nan where there is none; was infinite at row {np.isinf(price).argmax()}"
        )
    seen = np.isfinite(price)
    at, price = at[seen], price[seen]
    last = np.diff(at, append=np.inf) > 0
    at, price = at[last], price[last]
    # Mids of one price differ in the last bits when they come from different quotes; that is no change.
    kept = ~(np.abs(np.diff(price, prepend=np.nan)) <= ROUNDING * np.abs(price))
    # A price that stands still to the end has no variance there: the time counts.
    if at.size:
        kept[-1] = True
    return at[kept], price[kept]


def _window(n: int) -> int:
    return max(4, round(0.5 * math.sqrt(n)))


def _subgrid(n: int, ratio: float) -> int:
    """Zhang, Mykland & Aït-Sahalia (2005), equation 58, for constant volatility; `ratio` is noise to total variance."""
    return int(np.clip(round((12.0 * ratio**2) ** (1 / 3) * n ** (2 / 3)), 5, n // 10))


def _bandwidth(n: int, ratio: float) -> int:
    """Barndorff-Nielsen et al. (2009), section 2.3: 3.5134 ratio^(2/5) n^(3/5)."""
    return int(np.clip(np.ceil(3.5134 * ratio**0.4 * n**0.6), 1, n // 10))


def _pre_averaging(price: Floats, k: int) -> tuple[float, Floats]:
    """(integrated variance, its terms in order of time), by windows of k changes.

    With w = g(j/k), g(x) = min(x, 1 - x): E (sum w dY)^2 = sum w^2 sigma^2 + omega^2 sum (dw)^2, and the sum of
    squared changes gives sigma^2 + 2 omega^2; solved for sigma^2, per change.
    """
    moves = np.diff(price)
    n = moves.size
    grid = np.arange(k + 1) / k
    weights = np.minimum(grid, 1.0 - grid)
    signal, noise = float(weights @ weights), float(np.sum(np.diff(weights) ** 2))
    averaged = np.convolve(moves, weights[1:-1], mode="valid") ** 2
    factor = n / (signal - 0.5 * noise)
    total = factor * (float(averaged.mean()) - 0.5 * noise * float(np.mean(moves**2)))
    middle = (moves**2)[(k - 1) // 2 :][: averaged.size]
    return total, factor * (averaged - 0.5 * noise * middle) / averaged.size


def _two_scale(price: Floats, k: int) -> tuple[float, Floats]:
    """(integrated variance, its terms in order of time), by changes over k and over one observation.

    E (Y_{i+k} - Y_i)^2 = k sigma^2 + 2 omega^2; the same with 1 for k is taken off, and the rest is (k - 1) sigma^2.
    """
    moves = np.diff(price) ** 2
    slow = (price[k:] - price[:-k]) ** 2
    n = moves.size
    total = n / (k - 1) * float(slow.mean() - moves.mean())
    return total, n / (k - 1) * (slow - moves[(k - 1) // 2 :][: slow.size]) / slow.size


def _realised_kernel(price: Floats, bandwidth: int) -> tuple[float, Floats]:
    """(integrated variance, its terms in order of time): autocovariances under Parzen's weights, ends averaged."""
    ends = np.array([price[:2].mean()]), np.array([price[-2:].mean()])
    moves = np.diff(np.concatenate([ends[0], price[2:-2], ends[1]]))
    x = np.arange(1, bandwidth + 1) / (bandwidth + 1)
    parzen = np.where(x <= 0.5, 1.0 - 6.0 * x**2 * (1.0 - x), 2.0 * (1.0 - x) ** 3)
    past = np.convolve(moves, np.concatenate([[0.0], parzen]))[: moves.size]
    terms = moves * (moves + 2.0 * past)
    return float(terms.sum()), terms


def _block_error(terms: Floats, blocks: int) -> float:
    """Standard error of the sum of `terms`, from neighbouring blocks."""
    edges = np.linspace(0, terms.size, blocks + 1).astype(np.intp)
    sums = np.add.reduceat(terms, edges[:-1])
    return float(np.sqrt(0.5 * np.mean(np.diff(sums) ** 2) * blocks))


def _realised(time: Floats, price: Floats, step: float) -> tuple[float, float]:
    """Sum of squared changes over `step` seconds, scaled to the whole time, and its error."""
    grid = np.arange(time[0], time[-1], step)
    if grid.size < 3:
        return float("nan"), float("nan")
    moves = np.diff(price[np.searchsorted(time, grid, side="right") - 1])
    scale = (time[-1] - time[0]) / (step * moves.size)
    return float(scale * (moves @ moves)), float(scale * np.sqrt(2.0 / 3.0 * np.sum(moves**4)))
