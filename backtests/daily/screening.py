"""Cheap parameter screening: every parameter set of a pod over one training window, in one vectorbt call.

The pod decides on views of the training window as it would in a simulation. Its weights are then traded by vectorbt at
the next close, in fractions of shares, with one flat cost per traded value. No lots, participation, impact, limits or
cash events apart from the total return: a ranking of parameter sets, not a backtest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.daily.decisions import per_instrument
from backtests.daily.vectorbt_bridge import ENGINE
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from mfg_core.daily.costs import TradingCosts
from strategies.pod import Pod
from strategies.weighting import SESSIONS_PER_YEAR

Floats = NDArray[np.float64]

CELLS_PER_CALL = 1_000_000
"""Cells (sessions x instruments x parameter sets) in one vectorbt call, which keeps some ten arrays of them."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Scores of the parameter sets over one training window, in the order given.

    Attributes
    ----------
    sharpe : (P,) float64
        Annual Sharpe ratio over cash, net of the flat costs; NaN where a set never traded.
    returns : (T - 1, P) float64
        Daily excess returns that the scores come from (for deflation by the number of trials).
    """

    sharpe: Floats
    returns: Floats

    @property
    def best(self) -> int:
        """Index of the highest score; the first set when none has one."""
        return 0 if np.isnan(self.sharpe).all() else int(np.nanargmax(self.sharpe))


def screen(panel: DailyPanel, train: range, pods: Sequence[Pod], costs: TradingCosts) -> Screening:
    """Sharpe ratios of `pods` (one pod under several parameter sets) on the rows `train` of the panel.

    Every pod is fitted on the whole training window and then replayed over it, so the scores are in-sample: choose by
    them, never report them as results.

    Raises
    ------
    ValueError
        When there are no pods, or the window has no session after the longest lookback.
    """
    if len(pods) == 0:
        raise ValueError("pods must hold at least one pod; was empty")
    longest = max(pods, key=lambda pod: pod.lookback)
    if len(train) < longest.lookback + 2:
        raise ValueError(
            f"train must have at least {longest.lookback + 2} sessions, two more than the lookback of pod "
            f"{longest.name!r}; had {len(train)}"
        )
    prices = _excess_prices(panel, train)
    flat = costs.half_spread + costs.fee
    # Every set is scored on the same sessions, those after the longest warm-up.
    start = longest.lookback - 1
    per_call = max(1, CELLS_PER_CALL // prices.size)
    weights = [weight_path(pod, panel, train, start) for pod in pods]
    parts = [_excess_returns(prices[start:], weights[at : at + per_call], flat) for at in range(0, len(pods), per_call)]
    returns = np.concatenate(parts, axis=1)
    # One set per contiguous row: NumPy's order of summation, and so the last bit, must not depend on the others.
    rows = np.ascontiguousarray(returns.T)
    deviation = rows.std(axis=1, ddof=1)
    moved = deviation > 0.0
    ratio = np.where(moved, rows.mean(axis=1) / np.where(moved, deviation, 1.0), np.nan)
    sharpe = np.asarray(ratio * np.sqrt(SESSIONS_PER_YEAR))
    return Screening(sharpe, returns)


def weight_path(pod: Pod, panel: DailyPanel, train: range, start: int = 0) -> Floats:
    """Weights (T - start, N) that the pod, fitted on all of `train`, decides at its closes from `start` on.

    A row of NaN means no new decision. Between decisions the view shows the last weights, not drifted.
    """
    decider = pod.fit(MarketView(panel, train[-1], first=train[0]))
    n = len(panel.instruments)
    path, held = np.full((len(train) - start, n), np.nan), np.zeros(n)
    for at in range(path.shape[0]):
        view = MarketView(panel, train[start + at], first=train[0], weights=held, net_asset_value=1.0)
        targets = decider.decide(view)
        if targets is None:
            continue
        if targets.weights is None:
            raise ValueError(f"pod {pod.name!r} must decide weights to be screened; it gave orders at {view.session}")
        place = f"pod {pod.name!r} at {view.session}"
        path[at] = held = per_instrument(targets.weights, panel.instruments, "weights", place)
    return path


def _excess_prices(panel: DailyPanel, train: range) -> Floats:
    """Total-return prices (T, N) counted in units of the cash account, 1 at the first session.

    A share that was silent makes up for it at its next close: the move since its last close is taken from the adjusted
    closes (gross cash). While it is silent its price stands still.
    """
    view = MarketView(panel, train[-1], first=train[0])
    growth = 1.0 + np.nan_to_num(view.returns(len(train), since_last_close=True), nan=0.0)
    cash = 1.0 + view.risk_free(len(train))
    cash[0] = 1.0
    return np.asarray(np.cumprod(growth / cash[:, None], axis=0))


def _excess_returns(prices: Floats, weights: Sequence[Floats], flat: Floats) -> Floats:
    """Daily returns (T - 1, P) of the weight paths, decided at one close and traded at the next, by vectorbt."""
    import vectorbt as vbt

    sets, n = len(weights), prices.shape[1]
    wanted = np.full((prices.shape[0], sets * n), np.nan)
    wanted[1:] = np.concatenate(weights, axis=1)[:-1]
    portfolio = vbt.Portfolio.from_orders(
        close=np.tile(prices, (1, sets)),
        size=wanted,
        size_type="targetpercent",
        direction="both",
        fees=np.tile(flat, sets)[None, :],
        init_cash=1e9,
        cash_sharing=True,
        group_by=np.repeat(np.arange(sets), n),
        call_seq="auto",
        freq="1D",
        engine=ENGINE,
    )
    value = np.asarray(portfolio.value(), dtype=np.float64).reshape(prices.shape[0], sets)
    return np.asarray(value[1:] / value[:-1] - 1.0)
