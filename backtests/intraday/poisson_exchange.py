"""The event engine against theory: the equilibrium's pod on an exchange whose fill rates are the game's own.

The exchange (`data_pipeline.synthetic.maker_market`) prints so that a resting quote is reached at exactly
A exp(-k (quote - c crowd_t)). So what the engine makes of it, with no latency and nothing ahead in the queue, must be
the solver's value, but for the tick and the step of the clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import CANCELLED, EXPIRED, FILLED, OPEN, REPLACED, SessionOutcome
from backtests.intraday.poisson import PathMean
from backtests.intraday.poisson_panels import levels_at, market_of
from backtests.intraday.settings import Fees, FillSettings, OwnLimits, QueueModel, TradingSpan
from data_pipeline.synthetic.maker_market import MakerMarketConfig, simulate_maker_market
from mfg_core import Exponential, MarketMakingEquilibrium, MarketMakingGame
from mfg_core.checks import require_count
from mfg_core.study.many_makers import estimate
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quote_table import QuotingStyle, quoting_rule_of, tabulate
from strategies.intraday.rule import Instrument, Rule

Floats: TypeAlias = NDArray[np.float64]
Simulate: TypeAlias = Callable[..., SessionOutcome]
"""An engine: (events, rule, instrument, span, settings, source="best") -> SessionOutcome."""

TICKS: Final = 128
"""Ticks in 1/fill_decay, at least."""
CLOCK_STEPS: Final = 1000
"""Calls of the rule on the clock in a session."""
CROWD_STEPS: Final = 4000
"""Pieces of the crowd's path on the exchange, linear each."""
TABLE_ERROR: Final = 1e-6
"""Of the pod's table against the equilibrium's policy, in units of 1/fill_decay."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownExchange:
    """An equilibrium as a market in events and the pod that plays it there.

    Attributes
    ----------
    game : MarketMakingGame
    config : MakerMarketConfig
        Of the first session; the others differ in the seed.
    times, crowd : (n,), (n, 2) float64
        The path that prints follow.
    instrument : Instrument
    rule : Rule
    span : TradingSpan
    settings : FillSettings
        No latency, nothing ahead in the queue, fees and adverse selection as money per lot.
    """

    game: MarketMakingGame
    config: MakerMarketConfig
    times: Floats
    crowd: Floats
    instrument: Instrument
    rule: Rule
    span: TradingSpan
    settings: FillSettings

    def events(self, seed: int) -> NDArray[Any]:
        """The events of one session."""
        return simulate_maker_market(replace(self.config, seed=seed), self.times, self.crowd)


@dataclass(frozen=True, slots=True, eq=False)
class ExchangeCheck:
    """What the sessions made, from a flat start.

    Attributes
    ----------
    values : (sessions,) float64
        Profit of the engine less running and terminal penalties, price units.
    controlled : (sessions,) float64
        The same less (fills - expected fills)/k, the mean of which is 0: expected fills are the integrals of the fill
        rates of the orders that stood.
    promised : float
        V(0, 0) of the solver.
    fills : int
    rounding_loss : float
        What whole ticks cost the pod on average, to leading order: quotes are rounded outwards by e, uniform below a
        tick, and one that is off by e earns (k e)^2 / 2 less of the 1/k that a fill is worth.
    """

    values: Floats
    controlled: Floats
    promised: float
    fills: int
    rounding_loss: float

    @property
    def gap(self) -> PathMean:
        """Mean of the values less V(0, 0), with its standard error."""
        return estimate(self.values - self.promised)

    @property
    def controlled_gap(self) -> PathMean:
        """The same of the controlled values."""
        return estimate(self.controlled - self.promised)


def known_exchange(
    equilibrium: MarketMakingEquilibrium, *, tick: float | None = None, interval_ns: int | None = None
) -> KnownExchange:
    """The exchange of an equilibrium with an exponential intensity, and its pod.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium
    tick : float, optional
        Price step; a power of ten at most 1/`TICKS` of 1/fill_decay otherwise.
    interval_ns : int, optional
        Step of the pod's clock; a part of `CLOCK_STEPS` of the horizon otherwise.
    """
    game = equilibrium.game
    if not isinstance(game.intensity_shape, Exponential):
        raise ValueError(  # noqa: TRY004 - of the right type, and what it holds is not for this
            f"intensity_shape must be Exponential() for prints of exponential reach; was {game.intensity_shape!r}"
        )
    unit = 1.0 / game.fill_decay
    step = 10.0 ** math.floor(math.log10(unit / TICKS)) if tick is None else tick
    quotes = np.concatenate([equilibrium.policy.ask[:, 1:], equilibrium.policy.bid[:, :-1]], axis=1)
    furthest = float(np.abs(quotes).max())
    times = np.linspace(0.0, game.horizon, CROWD_STEPS + 1)
    config = MakerMarketConfig(
        ask_arrival=game.ask_arrival,
        bid_arrival=game.bid_arrival,
        fill_decay=game.fill_decay,
        seconds=game.horizon,
        tick=step,
        mid=1000.0 * (unit + furthest),
        lowest=step * math.floor(quotes.min() / step),
        quote_distance=2.0 * furthest + 4.0 * unit,
    )
    instrument = Instrument("KNOWN", "synthetic", step, 1.0)
    stop = config.start_ns + round(1e9 * game.horizon)
    return KnownExchange(
        game=game,
        config=config,
        times=times,
        crowd=levels_at(market_of(equilibrium), times)[:, :, 0],
        instrument=instrument,
        rule=_rule(equilibrium, instrument, interval_ns or max(round(1e9 * game.horizon / CLOCK_STEPS), 1)),
        span=TradingSpan(config.start_ns, stop, stop, liquidation="mark"),
        settings=FillSettings(
            queue=QueueModel("assumed", assumed_lots=0.0),
            fees=Fees(maker_per_lot=game.fill_cost),
            limits=OwnLimits(max_position=game.max_inventory),
        ),
    )


def simulate_exchange(
    equilibrium: MarketMakingEquilibrium,
    *,
    sessions: int,
    seed: int,
    exchange: KnownExchange | None = None,
    simulate: Simulate | None = None,
) -> ExchangeCheck:
    """Independent sessions of the equilibrium's pod in the event engine, or in another `simulate` of its contract."""
    known = known_exchange(equilibrium) if exchange is None else exchange
    engine = _compiled_engine() if simulate is None else simulate
    values, controlled, fills = np.empty(require_count("sessions", sessions)), np.empty(sessions), 0
    for session in range(sessions):
        events = known.events(seed + session)
        outcome = engine(events, known.rule, known.instrument, known.span, known.settings, source="best")
        values[session] = session_value(outcome, known)
        count = int(outcome.fills["lots"].sum())
        controlled[session] = values[session] - (count - expected_fills(outcome, known)) / known.game.fill_decay
        fills += count
    promised = float(equilibrium.value[0, known.game.max_inventory])
    off = known.game.fill_decay * known.config.tick
    loss = fills / sessions * off**2 / 6.0 / known.game.fill_decay
    return ExchangeCheck(values, controlled, promised, fills, loss)


def session_value(outcome: SessionOutcome, known: KnownExchange) -> float:
    """Profit less eta times the integral of the squared position and gamma times its last square."""
    game, span = known.game, known.span
    times = np.concatenate([[span.start], outcome.fills["exch_ts"], [span.stop]])
    held = np.concatenate([[0], outcome.fills["position"]]).astype(np.float64)
    running = game.running_penalty * float(np.sum(held**2 * 1e-9 * np.diff(times)))
    return outcome.profit - running - game.terminal_penalty * outcome.position**2


def expected_fills(outcome: SessionOutcome, known: KnownExchange) -> float:
    """Integral of the fill rates of the orders while they stood."""
    game, orders = known.game, outcome.orders
    stood = (orders["arrived"] >= 0) & np.isin(orders["end"], (OPEN, FILLED, CANCELLED, REPLACED, EXPIRED))
    orders = orders[stood]
    ended = np.where(orders["ended"] < 0, known.span.stop, orders["ended"])
    first, last = (1e-9 * (one - known.span.start) for one in (orders["arrived"], ended))
    total = 0.0
    for side, arrival, sign in ((0, game.ask_arrival, 1), (1, game.bid_arrival, -1)):
        pull = np.exp(game.fill_decay * known.crowd[:, side])
        summed = np.concatenate([[0.0], np.cumsum(0.5 * (pull[1:] + pull[:-1]) * np.diff(known.times))])
        own = orders["side"] == -sign
        away = sign * (orders["tick"][own] - known.config.mid_tick) * known.config.tick
        stay = np.interp(last[own], known.times, summed) - np.interp(first[own], known.times, summed)
        total += arrival * float(np.exp(-game.fill_decay * away) @ stay)
    return total


def _compiled_engine() -> Simulate:
    from backtests.intraday.simulator import simulate_session

    return simulate_session


def _rule(equilibrium: MarketMakingEquilibrium, instrument: Instrument, interval_ns: int) -> Rule:
    game, policy = equilibrium.game, equilibrium.policy

    def quotes(t: Floats) -> Floats:
        return np.stack(policy.quotes(t[None, :], equilibrium.states[:, None]), axis=-1)

    table = tabulate(
        quotes, game.horizon, TABLE_ERROR / game.fill_decay, low=game.min_half_spread, high=game.max_half_spread
    )
    truth = MarketTruth(game.ask_arrival, game.bid_arrival, game.fill_decay, volatility=0.0, half_spread=0.0)
    training = IntradayTraining(
        instrument, truth, (), game.horizon, order_lots=1, max_position=game.max_inventory, fee=game.maker_fee
    )
    return replace(quoting_rule_of("equilibrium", training, [table], QuotingStyle()), interval_ns=interval_ns)
