"""The market maker of the mean-field equilibrium: solved on the training's market, or taken from a policy library."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strategies.checks import require
from strategies.intraday.maker_pod import (
    TIME_TOLERANCE,
    FittedQuotes,
    Floats,
    MakerStyle,
    arrivals,
    horizon_of,
    largest_inventory,
    money_of_price,
    require_number,
)
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import quoting_rule_of, tabulate
from strategies.intraday.rule import Rule

if TYPE_CHECKING:
    from mfg_core.market.competition import Competition
    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

CALIBRATED, SHARE, OUTSIDE = "calibrated", "share", "outside"
FROM_RISK, FROM_LIQUIDATION = "from_risk", "from_liquidation"
RTOL, ATOL = 1e-6, 1e-9
"""Tolerances of the solve, the first relative to 1/fill_decay and the quotes: far below a tick."""
MAX_WORK = 2e10
"""Most work of a solve: it grows with rates times the horizon, and a session of six hours is 60 of ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanFieldMaker(MakerStyle):
    """Quotes of the market-making equilibrium in the training's market, with its certificate in the rule's notes.

    Attributes
    ----------
    risk_aversion : float
        Per unit of money, at least 0; read by `running_penalty` and `exponential_utility`.
    competition : float or str
        The crowd's weight, 0 to 1; "calibrated" takes the training's. "share": a side's flow is given and shared.
        "outside": the same weight, written as an outside option (`OutsideOption`), so the same game.
    running_penalty : float or "from_risk"
        Price per order^2 and second; from risk: risk_aversion sigma^2 / 2 on the money of an order.
    terminal_penalty : float or "from_liquidation"
        Price per order^2; from liquidation: what crossing the market's mean half-spread costs at `typical_inventory`.
    typical_inventory : float
        Orders; 0 is half of the largest inventory.
    exponential_utility : bool
        The game's risk aversion too, beside the penalties; otherwise makers maximise their mean wealth less them.
    horizon_seconds : float
        0 is the session; longer before the close the first quotes hold.
    symmetric, with_costs : bool
        One arrival for both sides; fee and adverse selection in the quotes.
    min_half_spread_ticks, max_half_spread_ticks : float
        Bounds of the game's quotes, infinite for none.
    """

    name: str = "mean_field_maker"
    risk_aversion: float = 0.01
    competition: float | str = CALIBRATED
    running_penalty: float | str = FROM_RISK
    terminal_penalty: float | str = FROM_LIQUIDATION
    typical_inventory: float = 0.0
    exponential_utility: bool = False
    horizon_seconds: float = 0.0
    symmetric: bool = False
    with_costs: bool = True
    min_half_spread_ticks: float = -math.inf
    max_half_spread_ticks: float = math.inf

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_number(self.name, "risk_aversion", self.risk_aversion, low=0.0)
        require_number(self.name, "horizon_seconds", self.horizon_seconds, low=0.0)
        require_number(self.name, "typical_inventory", self.typical_inventory, low=0.0)
        low, high = self.min_half_spread_ticks, self.max_half_spread_ticks
        require(high > 0.0, self.name, "max_half_spread_ticks", "positive", high)
        require(low < high, self.name, "min_half_spread_ticks", f"below max_half_spread_ticks {high:g}", low)
        for what, word in (("running_penalty", FROM_RISK), ("terminal_penalty", FROM_LIQUIDATION)):
            value = getattr(self, what)
            if isinstance(value, str):
                require(value == word, self.name, what, f"{word!r} or a number", value)
            else:
                require_number(self.name, what, value, low=0.0)
        if isinstance(self.competition, str):
            words = (CALIBRATED, SHARE, OUTSIDE)
            require(self.competition in words, self.name, "competition", f"from 0 to 1, or {', '.join(words)}",
                    self.competition)  # fmt: skip
        else:
            require(0.0 <= self.competition <= 1.0, self.name, "competition", "in [0, 1]", self.competition)

    def game(self, training: IntradayTraining) -> MarketMakingGame:
        """The game that is solved: prices in price units, inventory in orders, time in seconds."""
        from mfg_core.intraday.inventory_penalties import running_penalty_from_risk, terminal_penalty_from_liquidation
        from mfg_core.market.market_making import MarketMakingGame

        truth, money, tick = training.truth, money_of_price(training), training.instrument.tick_size
        weight = crowd_weight(self.competition, training)
        # The truth's arrivals are at the mid of a market that quotes `half_spread`, the game's at a crowd's that
        # quotes the mid.
        held_back = math.exp(-truth.fill_decay * weight * truth.half_spread)
        ask, bid = (held_back * one for one in arrivals(training, self.symmetric))
        running, terminal, largest = self.running_penalty, self.terminal_penalty, largest_inventory(training)
        if isinstance(running, str):
            running = running_penalty_from_risk(self.risk_aversion, truth.volatility**2, lot=money)
        if isinstance(terminal, str):
            typical = self.typical_inventory or 0.5 * largest
            terminal = terminal_penalty_from_liquidation(truth.half_spread, typical_inventory=typical)
        return MarketMakingGame(
            ask_arrival=ask,
            bid_arrival=bid,
            fill_decay=truth.fill_decay,
            running_penalty=running,
            terminal_penalty=terminal,
            horizon=horizon_of(training, self.horizon_seconds),
            max_inventory=largest,
            competition=_form(self.competition, weight, truth.fill_decay),
            min_half_spread=self.min_half_spread_ticks * tick,
            max_half_spread=self.max_half_spread_ticks * tick,
            adverse_selection=truth.adverse_selection if self.with_costs else 0.0,
            maker_fee=training.fee if self.with_costs else 0.0,
            risk_aversion=self.risk_aversion * money if self.exponential_utility else 0.0,
        )

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted."""
        from mfg_core.errors import SolveError

        try:
            equilibrium = solve_without_edge_warning(self.game(training), rtol=RTOL, atol=ATOL)
        except SolveError as error:
            raise SolveError(
                f"pod {self.name!r}: {error}. A shorter horizon_seconds often helps: long before the close the quotes "
                "hardly move, and those of the horizon's start hold there"
            ) from error
        tolerance = TIME_TOLERANCE * training.instrument.tick_size
        return equilibrium_quotes(equilibrium, tolerance, 1e-3 * self.interval_ms, self.name)

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)


def equilibrium_quotes(
    equilibrium: MarketMakingEquilibrium, tolerance: float, resolution: float, name: str = "policy"
) -> FittedQuotes:
    """A solved policy as a table (see `tabulate`), with its certificate as notes."""
    game = equilibrium.game

    def at(times: Floats) -> Floats:
        return np.stack(equilibrium.policy.quotes(times[None, :], equilibrium.states[:, None]), axis=-1)

    low, high = game.min_half_spread, game.max_half_spread
    table = tabulate(at, game.horizon, tolerance, resolution=resolution, low=low, high=high, name=name)
    return FittedQuotes(table, equilibrium_notes(equilibrium))


def equilibrium_notes(equilibrium: MarketMakingEquilibrium) -> dict[str, Any]:
    """Game, certificate and edge mass, JSON types."""
    from mfg_core.policy_table import policy_metadata

    described: Mapping[str, Any] = policy_metadata(equilibrium)
    return {
        "game": described["game"],
        "certificate": described["certificate"],
        "edge_mass": float(equilibrium.edge_mass.max()),
        "crowd_half_spread": 0.5 * float(equilibrium.full_spread[0]),
    }


def solve_without_edge_warning(
    game: MarketMakingGame, *, rtol: float = 1e-9, atol: float = 1e-12
) -> MarketMakingEquilibrium:
    """The equilibrium, with the work that a whole session may take (`MAX_WORK`), by the default's two methods.

    Makers at the ends of the grid are no flaw of it where the position limit puts them there.
    """
    from mfg_core import Anderson, EdgeMassWarning, NewtonKrylov, solve_mfg
    from mfg_core.certificate import Status
    from mfg_core.errors import SolveError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        equilibrium: MarketMakingEquilibrium = solve_mfg(
            game, rtol=rtol, atol=atol, method=Anderson(max_work=MAX_WORK), throw=False
        )
        proof = equilibrium.certificate
        if proof.status is Status.SWEEPS:  # as the default does: replies barely contract
            equilibrium = solve_mfg(game, rtol=rtol, atol=atol, method=NewtonKrylov(max_work=MAX_WORK))
        elif not proof.converged:
            raise SolveError(proof.status.value, residual=proof.residual, tolerance=proof.tolerance)
    return equilibrium


def crowd_weight(competition: float | str, training: IntradayTraining) -> float:
    """The crowd's weight in the exponent; of shared flow 1."""
    if isinstance(competition, str):
        return 1.0 if competition == SHARE else training.truth.competition
    return float(competition)


def _form(competition: float | str, weight: float, decay: float) -> Competition:
    from mfg_core import OutsideOption, Share

    if competition == SHARE:
        return Share()
    return OutsideOption(weight * decay) if competition == OUTSIDE else weight
