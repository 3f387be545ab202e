"""Quotes of a maker without a crowd, exponential utility: exact for a horizon, for a long one, and the first formula.

The maker of Guéant, Lehalle & Fernandez-Tapia (2013), "Dealing with the inventory risk", and of Avellaneda & Stoikov
(2008). Intensities A exp(-k distance), one unit a fill, inventory from -Q to Q, mid with volatility sigma, utility
-exp(-gamma wealth), all in price units and seconds. A cost of each fill (fee, adverse selection) is added to a quote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_finite, require_nonnegative, require_positive

Floats = NDArray[np.float64]

_TAYLOR = 8
"""Terms of exp of a matrix whose norm is at most 2^-4: the rest is below 2^-36 / 9! = 4e-17 of it."""

_LEAST_LOG = -575.0
"""Smallest log of a component beside the largest one: far enough from where floating point loses digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneMaker:
    """The problem.

    Parameters
    ----------
    ask_arrival, bid_arrival : float
        A > 0 of each side, fills a second at the mid.
    fill_decay : float
        k > 0, per unit of price.
    volatility : float
        sigma >= 0, price per square root of a second.
    risk_aversion : float
        gamma >= 0, per unit of price: of the money of one unit of inventory.
    fill_cost : float
        Price per fill.
    """

    ask_arrival: float
    bid_arrival: float
    fill_decay: float
    volatility: float
    risk_aversion: float
    fill_cost: float = 0.0

    def __post_init__(self) -> None:
        """Check every parameter."""
        for name, check in (
            ("ask_arrival", require_positive),
            ("bid_arrival", require_positive),
            ("fill_decay", require_positive),
            ("volatility", require_nonnegative),
            ("risk_aversion", require_nonnegative),
            ("fill_cost", require_finite),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))

    @property
    def margin(self) -> float:
        """Half-spread when a fill changes nothing else: log(1 + gamma/k)/gamma + cost, 1/k + cost at gamma = 0."""
        ratio = self.risk_aversion / self.fill_decay
        risky = math.log1p(ratio) / ratio if ratio > 0.0 else 1.0
        return risky / self.fill_decay + self.fill_cost

    @property
    def log_gain_factor(self) -> float:
        """log of eta / A in proposition 1: -(1 + k/gamma) log(1 + gamma/k) - k cost."""
        return -self.fill_decay * self.margin - math.log1p(self.risk_aversion / self.fill_decay)


def finite_horizon_quotes(maker: LoneMaker, max_inventory: int, to_close: Floats) -> Floats:
    """(2Q+1, n, 2) bid and ask half-spreads at the times to the close (n,); nan where a side is not quoted.

    delta_bid(q) = margin + log(v_q / v_q+1)/k with v' = M v, v(T) = 1 (theorem 1): tridiagonal, alpha q^2 on the
    diagonal, -eta beside it, alpha = k gamma sigma^2 / 2. v is exp(-M (T - t)) 1, where c - M has no negative entry, so
    that nothing cancels and every component has full relative precision: binary powers of one short step, and a Taylor
    series for what is left of each time.

    Raises
    ------
    ValueError
        When v spans more than floating point does.
    """
    states = np.arange(-require_count("max_inventory", max_inventory), max_inventory + 1, dtype=np.float64)
    alpha = 0.5 * maker.fill_decay * maker.risk_aversion * maker.volatility**2
    factor = math.exp(maker.log_gain_factor)
    positive = np.diag(alpha * (max_inventory**2 - states**2))
    positive += np.diag(np.full(2 * max_inventory, maker.bid_arrival * factor), 1)
    positive += np.diag(np.full(2 * max_inventory, maker.ask_arrival * factor), -1)
    times = np.asarray(to_close, dtype=np.float64)
    if times.ndim != 1 or not np.all((times >= 0.0) & np.isfinite(times)):
        raise ValueError("to_close must be one-dimensional, finite and not negative")
    logs = _log_of_exponential(positive, times)
    if not np.all(logs > _LEAST_LOG):
        raise ValueError(
            f"risk_aversion {maker.risk_aversion:g} with max_inventory {max_inventory} makes quotes beyond the range "
            "of floating point; lower one of them"
        )
    decay = maker.fill_decay
    quotes = np.full((states.size, times.size, 2), np.nan)
    quotes[:-1, :, 0] = maker.margin + (logs[:-1] - logs[1:]) / decay
    quotes[1:, :, 1] = maker.margin + (logs[1:] - logs[:-1]) / decay
    return quotes


def asymptotic_quotes(maker: LoneMaker, max_inventory: int) -> Floats:
    """(2Q+1, 2) bid and ask half-spreads far from the close, by the closed formula; nan where a side is not quoted.

    delta_bid(q) = margin + (2q + 1)/2 s, delta_ask(q) = margin - (2q - 1)/2 s with
    s = sqrt(sigma^2 gamma / (2 k A) (1 + gamma/k)^(1 + k/gamma)) (section 4, and exp(k cost) in it). With sides
    that differ, A is their geometric mean and log(A_bid / A_ask)/(2k) is added to the bid and taken from the ask: with
    v_q = (A_ask / A_bid)^(q/2) w_q the equation is that of equal sides.
    """
    states = np.arange(-require_count("max_inventory", max_inventory), max_inventory + 1, dtype=np.float64)
    k = maker.fill_decay
    arrival = math.sqrt(maker.ask_arrival) * math.sqrt(maker.bid_arrival)
    slope = math.sqrt(
        maker.volatility**2 * maker.risk_aversion / (2.0 * k * arrival) * math.exp(-maker.log_gain_factor)
    )
    lean = 0.5 * math.log(maker.bid_arrival / maker.ask_arrival) / k
    quotes = np.stack(
        [maker.margin + lean + (states + 0.5) * slope, maker.margin - lean - (states - 0.5) * slope], axis=-1
    )
    quotes[-1, 0] = quotes[0, 1] = np.nan
    return quotes


def avellaneda_stoikov_quotes(maker: LoneMaker, max_inventory: int, to_close: Floats) -> Floats:
    """(2Q+1, n, 2) bid and ask half-spreads of the 2008 formulas, at the times to the close (n,).

    Reservation price mid - q gamma sigma^2 (T - t), spread gamma sigma^2 (T - t) + 2/gamma log(1 + gamma/k) around it
    (equations 29 and 30, from an expansion for small inventories); the cost is added on both sides.
    """
    states = np.arange(-require_count("max_inventory", max_inventory), max_inventory + 1, dtype=np.float64)
    risk = maker.risk_aversion * maker.volatility**2 * np.asarray(to_close, dtype=np.float64)
    bid = maker.margin + (0.5 + states[:, None]) * risk
    ask = maker.margin + (0.5 - states[:, None]) * risk
    quotes = np.stack([bid, ask], axis=-1)
    quotes[-1, :, 0] = quotes[0, :, 1] = np.nan
    return quotes


def _log_of_exponential(positive: Floats, times: Floats) -> Floats:
    """(m, n) log of exp(P t) 1 up to a constant of each column, for P (m, m) without negative entries."""
    longest = float(times.max(initial=0.0))
    doublings = max(math.ceil(math.log2(max(16.0 * longest * positive.sum(axis=1).max(), 1.0))), 0)
    step = longest / 2**doublings
    whole = np.floor(times / step) if step > 0.0 else np.zeros_like(times)
    whole = np.minimum(whole, 2.0**doublings)
    vectors = _taylor(positive, times - whole * step, np.ones((positive.shape[0], times.size)))
    power = _taylor(positive, np.full(positive.shape[0], step), np.eye(positive.shape[0]))
    for bit in range(doublings + 1):
        odd = np.floor(whole / 2.0**bit) % 2.0 == 1.0
        vectors[:, odd] = power @ vectors[:, odd]
        vectors /= vectors.max(axis=0)
        power = power @ power
        power /= power.max()
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(vectors))


def _taylor(positive: Floats, times: Floats, start: Floats) -> Floats:
    """exp(P t_j) of column j of `start`, for |P| t_j of at most 1/16."""
    total, term = start.copy(), start
    for order in range(1, _TAYLOR + 1):
        term = positive @ term * (times / order)
        total += term
    return total
