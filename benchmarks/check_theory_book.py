"""A simulated book of known A and k: calibrated, solved, and its pod under each fill model beside the theory of each.

    python benchmarks/check_theory_book.py [--sessions N] [--seed N]

Buyers and sellers that reach a distance d of the mid come at A exp(-k d); each moves the mid by a tick in its
direction with probability p, so a fill costs p ticks. The pod quotes alone (competition 0); its theory is the mean
value of its rounded quotes in the market of each fill model, by the linear Bellman equation. Inventory moves with the
mid, which adds noise and no mean: the values here count each fill's distance from the mid less p ticks.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from dataclasses import replace

import numpy as np

from backtests.intraday.poisson import estimate
from backtests.intraday.poisson_panels import lone_market
from backtests.intraday.poisson_value import expected_value
from backtests.intraday.settings import FillSettings, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import BUY, KIND_MASK, TRADE
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.replay import replay
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_events import book_events
from mfg_core import BookPath, EdgeMassWarning, MarketMakingGame, Trades, calibrate_intensity, solve_mfg
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quote_table import QuotingStyle, quoting_rule_of, tabulate
from strategies.intraday.rule import ON_OWN, ON_TRADE, Instrument

TICK, SIZE, SECONDS = 0.01, 100, 600.0
BOOK = BookConfig(
    seconds=SECONDS,
    tick=TICK,
    mid=100.0,
    half_spreads=(1, 1),
    spread_switches=0.0,
    levels=230,
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=10.0,
    shift_probability=0.3,
    mid_moves=0.0,
    cancels=0.0,
    hidden_trades=0.0,
    size=SIZE,
)
MODELS = {
    "assumed, none ahead": QueueModel("assumed", assumed_lots=0.0),
    "trade-through": QueueModel("trade_through"),
    "pessimistic": QueueModel("pessimistic"),
    "exact": QueueModel("exact"),
}


def game_of(ask: float, bid: float, decay: float) -> MarketMakingGame:
    """The pod's problem with these intensities."""
    return MarketMakingGame(
        ask_arrival=ask,
        bid_arrival=bid,
        fill_decay=decay,
        running_penalty=5e-4,
        terminal_penalty=5e-3,
        horizon=SECONDS,
        max_inventory=20,
        competition=0.0,
        adverse_selection=BOOK.adverse_selection,
    )


def calibrated(events):
    """(ask arrival, bid arrival, decay) and their standard errors, from one session."""
    rows, _ = replay(events, tick_grid(TICK), levels=1)
    path = BookPath(1e-9 * rows.times, rows.bid[:, 0], rows.ask[:, 0])
    trades = events[(events["ev"] & KIND_MASK) == TRADE]
    side = np.where(trades["ev"] & BUY, 1, -1)
    seen = Trades(1e-9 * trades["exch_ts"], trades["px"], trades["qty"], side)
    fit = calibrate_intensity(path, seen, tick=TICK, max_ticks=60, session_end=BOOK.start + SECONDS)
    return np.array([fit.ask_arrival, fit.bid_arrival, fit.fill_decay]), np.sqrt(np.diag(fit.game_covariance()))


def rounded(quoting):
    """The quotes as they stand in the book: outwards to ticks, never better than the market's own best."""

    def quotes(t, inventory):
        return tuple(np.maximum(np.ceil(np.round(side / TICK, 9)), 0.0) * TICK for side in quoting(t, inventory))

    return quotes


def pod_rule(equilibrium):
    """The equilibrium's quotes in the shared rule, called at every trade: the mid moves only then."""
    instrument = Instrument("SYN", "synthetic", TICK, float(SIZE))

    def quotes(t):
        return np.stack(equilibrium.policy.quotes(t[None, :], equilibrium.states[:, None]), axis=-1)

    table = tabulate(quotes, SECONDS, 1e-3 * TICK)
    training = IntradayTraining(
        instrument, MarketTruth(1.0, 1.0, 10.0, 0.0, TICK), (), SECONDS, order_lots=1, max_position=20
    )
    rule = quoting_rule_of("equilibrium", training, [table], QuotingStyle())
    return instrument, replace(rule, interval_ns=1_000_000_000, calls=ON_OWN | ON_TRADE)


def session_value(outcome, game, start: int) -> float:
    """Distances of the fills from the mid less p ticks each, less the penalties; price units of one lot."""
    fills = outcome.fills
    earned = TICK * np.sum(-fills["side"] * (fills["tick"] - 0.5 * fills["mid2"]) * fills["lots"])
    times = np.concatenate([[start], fills["exch_ts"], [start + round(1e9 * SECONDS)]])
    held = np.concatenate([[0], fills["position"]]).astype(np.float64)
    cost = game.fill_cost * fills["lots"].sum() + game.terminal_penalty * outcome.position**2
    return float(earned - cost - game.running_penalty * np.sum(held**2 * 1e-9 * np.diff(times)))


def expected_fills(outcome, rows, start: int, beyond: float) -> float:
    """Integral of the rates at which prints go `beyond` the orders' prices, while they stood."""
    orders = outcome.orders[outcome.orders["arrived"] >= 0]
    ended = np.where(orders["ended"] < 0, start + round(1e9 * SECONDS), orders["ended"])
    # The mid moves only with trades, and then every order is sent anew.
    mid = 0.5 * rows.ticks[np.searchsorted(rows.times, orders["arrived"], side="right") - 1, :, 0].sum(axis=1)
    away = -orders["side"] * (orders["tick"] - mid) * TICK + beyond
    return float(BOOK.ask_arrival * np.exp(-BOOK.fill_decay * away) @ (1e-9 * (ended - orders["arrived"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    warnings.simplefilter("ignore", EdgeMassWarning)
    begun = time.process_time()
    learned, errors = calibrated(book_events(simulate_book(replace(BOOK, seed=words.seed, symbol="training"))))
    truth = np.array([BOOK.ask_arrival, BOOK.bid_arrival, BOOK.fill_decay])
    for name, found, error, true in zip(("A of asks", "A of bids", "k"), learned, errors, truth, strict=True):
        print(f"{name}: {found:.4f} ± {error:.4f}, truth {true:g}")
    equilibrium = solve_mfg(game_of(*learned))
    known = game_of(*truth)
    policy, size = equilibrium.policy.quotes, known.max_inventory
    print(f"V(0, 0) promised by the calibrated game {equilibrium.value[0, size]:.4f}")
    print(f"best value in the true market {solve_mfg(known).value[0, size]:.4f}")
    print(f"the calibrated policy there {expected_value(lone_market(known), policy)[size]:.4f}")
    theory = {}
    for name, share in (("assumed, none ahead", 1.0), ("trade-through", math.exp(-BOOK.fill_decay * TICK))):
        market = lone_market(replace(known, ask_arrival=share, bid_arrival=share))
        theory[name] = float(expected_value(market, rounded(policy), rtol=1e-6, atol=1e-6)[size])
        print(f"in whole ticks, {name}: {theory[name]:.4f}")
    instrument, rule = pod_rule(equilibrium)
    start = round(1e9 * BOOK.start)
    stop = start + round(1e9 * SECONDS)
    span = TradingSpan(start, stop, stop, liquidation="mark")
    values = {name: np.empty(words.sessions) for name in MODELS}
    fills = dict.fromkeys(MODELS, 0.0)
    beyond = {"assumed, none ahead": 0.0, "trade-through": TICK}
    for session in range(words.sessions):
        events = book_events(simulate_book(replace(BOOK, seed=words.seed, symbol=f"session {session}")))
        rows, _ = replay(events, tick_grid(TICK), source="l3", levels=1)
        for name, queue in MODELS.items():
            settings = FillSettings(queue=queue, limits=OwnLimits(max_position=size))
            outcome = simulate_session(events, rule, instrument, span, settings, source="l3")
            # Fills less expected fills have mean 0 and are most of the noise; trade-through's serve the queued models.
            if name in beyond:
                counted = float(outcome.fills["lots"].sum())
                surprise = counted - expected_fills(outcome, rows, start, beyond[name])
            values[name][session] = session_value(outcome, known, start) - surprise / BOOK.fill_decay
            fills[name] += float(outcome.fills["lots"].sum()) / words.sessions
    print("\n| fill model | fills a session | engine | theory | standard errors off |")
    print("|---|---|---|---|---|")
    for name in MODELS:
        mean = estimate(values[name])
        off = f"{(mean.mean - theory[name]) / mean.standard_error:+.2f}" if name in theory else ""
        told = f"{theory[name]:.3f}" if name in theory else ""
        print(f"| {name} | {fills[name]:.1f} | {mean.mean:.3f} ± {mean.standard_error:.3f} | {told} | {off} |")
    print(f"\n{time.process_time() - begun:.1f} CPU seconds")


if __name__ == "__main__":
    main()
