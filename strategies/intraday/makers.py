"""Market makers without a crowd: the lone maker's solutions, and the constant and skewed spreads to compare with."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from strategies.checks import require
from strategies.intraday.lone_maker import asymptotic_quotes, avellaneda_stoikov_quotes, finite_horizon_quotes
from strategies.intraday.maker_pod import (
    TIME_TOLERANCE,
    FittedQuotes,
    Floats,
    MakerStyle,
    horizon_of,
    largest_inventory,
    lone_maker,
    require_number,
)
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import QuoteTable, quoting_rule_of, tabulate
from strategies.intraday.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleMaker(MakerStyle):
    """The maker of Guéant, Lehalle & Fernandez-Tapia (2013): alone, exponential utility, fitted A, k and sigma.

    Attributes
    ----------
    risk_aversion : float
        Per unit of money, at least 0.
    solution : "exact" or "asymptotic"
        Of the finite horizon, or the closed formula far from the close.
    horizon_seconds : float
        Of "exact": 0 is the session; earlier than that before the close its first quotes hold.
    symmetric : bool
        One arrival for both sides, the geometric mean.
    with_costs : bool
        Fee and adverse selection are added to the quotes.
    """

    name: str = "single_maker"
    risk_aversion: float = 0.01
    solution: str = "exact"
    horizon_seconds: float = 0.0
    symmetric: bool = False
    with_costs: bool = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_number(self.name, "risk_aversion", self.risk_aversion, low=0.0)
        require_number(self.name, "horizon_seconds", self.horizon_seconds, low=0.0)
        require(self.solution in ("exact", "asymptotic"), self.name, "solution", "exact or asymptotic", self.solution)

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted."""
        maker = lone_maker(training, self.risk_aversion, symmetric=self.symmetric, with_costs=self.with_costs)
        largest, horizon = largest_inventory(training), horizon_of(training, self.horizon_seconds)
        notes = {"solution": self.solution, **asdict(maker)}
        if self.solution == "asymptotic":
            return FittedQuotes(constant_table(asymptotic_quotes(maker, largest), horizon), notes)

        def at(times: Floats) -> Floats:
            return finite_horizon_quotes(maker, largest, horizon - times)

        tolerance = TIME_TOLERANCE * training.instrument.tick_size
        table = tabulate(at, horizon, tolerance, resolution=1e-3 * self.interval_ms, name=self.name)
        return FittedQuotes(table, notes)

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvellanedaStoikov(MakerStyle):
    """The formulas of Avellaneda & Stoikov (2008): a reservation price and a spread, both linear in the time left.

    Attributes
    ----------
    risk_aversion : float
        Per unit of money, at least 0.
    horizon_seconds : float
        T; 0 is the session. Longer before the close the quotes are those at T: over a whole session the formulas, an
        expansion for small inventories, ask for very wide quotes.
    with_costs : bool
        Fee and adverse selection are added to the quotes.
    """

    name: str = "avellaneda_stoikov"
    risk_aversion: float = 0.01
    horizon_seconds: float = 0.0
    with_costs: bool = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_number(self.name, "risk_aversion", self.risk_aversion, low=0.0)
        require_number(self.name, "horizon_seconds", self.horizon_seconds, low=0.0)

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted: linear in time, so three nodes are exact."""
        maker = lone_maker(training, self.risk_aversion, with_costs=self.with_costs)
        horizon = horizon_of(training, self.horizon_seconds)
        to_close = horizon * np.array([1.0, 0.5, 0.0])
        table = avellaneda_stoikov_quotes(maker, largest_inventory(training), to_close)
        return FittedQuotes(QuoteTable(table, np.array([0.0, horizon])), asdict(maker))

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSpread(MakerStyle):
    """The same half-spread on both sides, whatever the inventory: the plainest baseline.

    Attributes
    ----------
    market_spreads : float
        Half-spread in mean half-spreads of the market in training.
    extra_ticks : float
        Added to it.
    """

    name: str = "constant_spread"
    market_spreads: float = 1.0
    extra_ticks: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_number(self.name, "market_spreads", self.market_spreads, low=0.0)
        require_number(self.name, "extra_ticks", self.extra_ticks)

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted."""
        return skewed_table(self, training, 0.0)

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewedSpread(MakerStyle):
    """A constant spread around a price that leans against the inventory, linearly.

    Attributes
    ----------
    market_spreads, extra_ticks : float
        The half-spread at inventory 0, as in `ConstantSpread`.
    skew : float
        Half-spreads by which both quotes are moved at the largest position; 1: the reducing quote is then at the mid.
    """

    name: str = "skewed_spread"
    market_spreads: float = 1.0
    extra_ticks: float = 0.0
    skew: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_number(self.name, "market_spreads", self.market_spreads, low=0.0)
        require_number(self.name, "extra_ticks", self.extra_ticks)
        require_number(self.name, "skew", self.skew, low=0.0)

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted."""
        return skewed_table(self, training, self.skew)

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)


def skewed_table(pod: ConstantSpread | SkewedSpread, training: IntradayTraining, skew: float) -> FittedQuotes:
    """Half-spread h on both sides, moved by `skew` h times inventory / largest inventory."""
    tick = training.instrument.tick_size
    half = pod.market_spreads * training.truth.half_spread + pod.extra_ticks * tick
    rule = f"so that the half-spread is positive: with a market's of {training.truth.half_spread:g} it is {half:g}"
    require(half > 0.0, pod.name, "market_spreads and extra_ticks", rule, (pod.market_spreads, pod.extra_ticks))
    largest = largest_inventory(training)
    lean = skew * half * np.arange(-largest, largest + 1) / largest
    quotes = np.stack([half + lean, half - lean], axis=-1)
    quotes[-1, 0] = quotes[0, 1] = np.nan
    return FittedQuotes(constant_table(quotes, training.seconds), {"half_spread": half, "skew": skew})


def constant_table(quotes: Floats, horizon: float) -> QuoteTable:
    """(2Q+1, 2) half-spreads at all times."""
    return QuoteTable(np.ascontiguousarray(np.repeat(quotes[:, None, :], 3, axis=1)), np.array([0.0, horizon]))
