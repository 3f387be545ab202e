"""Cheap parameter screening: every parameter set of a pod over given sessions, in one vectorbt call.

The pod decides on views as it would in a simulation. Its weights are then traded by vectorbt at the next close, in
fractions of shares, with one flat cost per traded value. No lots, participation, impact, limits or cash events apart
from the total return: a ranking of parameter sets, not a backtest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.daily.decisions import per_instrument
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from mfg_core.daily.costs import TradingCosts
from strategies.pod import Decider, Pod
from strategies.weighting import SESSIONS_PER_YEAR

Floats = NDArray[np.float64]

CELLS_PER_CALL = 1_000_000
"""Cells (sessions x instruments x parameter sets) in one vectorbt call, which keeps some ten arrays of them."""

INITIAL_CASH = 1e9
"""Of each set's account: returns do not depend on it, for shares come in fractions."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Scores of the parameter sets, in the order given.

    Attributes
    ----------
    sharpe : (P,) float64
        Annual Sharpe ratio over cash, net of the flat costs; NaN where a set never traded.
    returns : (T, P) float64
        Daily excess returns that the scores come from (for deflation by the number of trials).
    """

    sharpe: Floats
    returns: Floats

    @property
    def best(self) -> int:
        """Index of the highest score; the first set when none has one."""
        return 0 if np.isnan(self.sharpe).all() else int(np.nanargmax(self.sharpe))


def screen(
    panel: DailyPanel,
    train: range | Sequence[range],
    pods: Sequence[Pod],
    costs: TradingCosts,
    *,
    training: MarketView | None = None,
) -> Screening:
    """Sharpe ratios of `pods` (one pod under several parameter sets) on the rows `train` of the panel.

    Every pod is fitted on the whole training window and then replayed over it, so the scores are in-sample: choose by
    them, never report them as results. A window in several ranges is replayed range by range, each with its own
    warm-up, and scored on the sessions of all of them; a range that the longest warm-up fills is left out.

    Parameters
    ----------
    panel : DailyPanel
    train : range or sequence of range
    pods : sequence of Pod
    costs : TradingCosts
        Half-spread and fee are charged.
    training : MarketView, optional
        What the pods are fitted on; by default the one range, whose rows follow each other.

    Raises
    ------
    ValueError
        When there are no pods, no range has a session after the longest lookback, or several ranges come without
        the view that the pods are fitted on.
    """
    if len(pods) == 0:
        raise ValueError("pods must hold at least one pod; was empty")
    ranges = (train,) if isinstance(train, range) else tuple(train)
    longest = max(pods, key=lambda pod: pod.lookback)
    usable = [piece for piece in ranges if len(piece) >= longest.lookback + 2]
    if not usable:
        raise ValueError(
            f"train must have at least {longest.lookback + 2} sessions, two more than the lookback of pod "
            f"{longest.name!r}{'' if len(ranges) == 1 else ', in one of its ranges'}; had "
            f"{max(len(piece) for piece in ranges)}"
        )
    if training is None:
        if len(ranges) > 1:
            raise ValueError("training must be given with several ranges: the view that the pods are fitted on")
        training = MarketView(panel, ranges[0][-1], first=ranges[0][0])
    deciders = [pod.fit(training) for pod in pods]
    # Every set is scored on the same sessions, those after the longest warm-up.
    parts = [
        replay(panel, deciders, range(piece.start + longest.lookback - 1, piece.stop), costs, first=piece.start,
               pod=longest.name)
        for piece in usable
    ]  # fmt: skip
    return scored(np.concatenate(parts))


def scored(returns: Floats) -> Screening:
    """The annual Sharpe ratios of (T, P) daily excess returns."""
    # One set per contiguous row: NumPy's order of summation, and so the last bit, must not depend on the others.
    rows = np.ascontiguousarray(returns.T)
    deviation = rows.std(axis=1, ddof=1)
    moved = deviation > 0.0
    ratio = np.where(moved, rows.mean(axis=1) / np.where(moved, deviation, 1.0), np.nan)
    return Screening(np.asarray(ratio * np.sqrt(SESSIONS_PER_YEAR)), returns)


def replay(
    panel: DailyPanel, deciders: Sequence[Decider], rows: range, costs: TradingCosts, *, first: int = 0, pod: str = ""
) -> Floats:
    """Daily excess returns (len(rows) - 1, P) of fitted pods that decide at the closes of `rows`, from cash.

    Their views begin at row `first` and see no row after the decision.
    """
    if len(rows) < 2:
        return np.empty((0, len(deciders)))
    prices = _excess_prices(panel, range(first, rows.stop))[rows.start - first :]
    flat = costs.half_spread + costs.fee
    weights = [decided_weights(decider, panel, rows, first, pod) for decider in deciders]
    per_call = max(1, CELLS_PER_CALL // prices.size)
    parts = [_excess_returns(prices, weights[at : at + per_call], flat) for at in range(0, len(weights), per_call)]
    return np.concatenate(parts, axis=1)


def weight_path(pod: Pod, panel: DailyPanel, train: range, start: int = 0) -> Floats:
    """Weights (T - start, N) that the pod, fitted on all of `train`, decides at its closes from `start` on."""
    decider = pod.fit(MarketView(panel, train[-1], first=train[0]))
    return decided_weights(decider, panel, train[start:], train[0], pod.name)


def decided_weights(decider: Decider, panel: DailyPanel, rows: range, first: int, pod: str) -> Floats:
    """Weights (len(rows), N) that a fitted pod decides at the closes of `rows`, on views from row `first` on.

    A row of NaN means no new decision. Between decisions the view shows the last weights, not drifted.
    """
    n = len(panel.instruments)
    path, held = np.full((len(rows), n), np.nan), np.zeros(n)
    for at, row in enumerate(rows):
        view = MarketView(panel, row, first=first, weights=held, net_asset_value=1.0)
        targets = decider.decide(view)
        if targets is None:
            continue
        if targets.weights is None:
            raise ValueError(f"pod {pod!r} must decide weights to be screened; it gave orders at {view.session}")
        path[at] = held = per_instrument(
            targets.weights, panel.instruments, "weights", f"pod {pod!r} at {view.session}"
        )
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
    """Daily returns (T - 1, P) of the weight paths, decided at one close and traded at the next, by vectorbt.

    vectorbt is shown only the sessions in which a set trades, each set its own: nothing happens in the others, but it
    would sort N absent orders in each of them, in N^2 steps. Its compiled simulation is called as such: making a
    `Portfolio` around the orders took longer than they did.
    """
    from vectorbt.portfolio import nb
    from vectorbt.portfolio.enums import Direction, SizeType

    sets, n = len(weights), prices.shape[1]
    # A decision is a whole row; that of the last session is not traded any more.
    trades = [np.flatnonzero(~np.isnan(path[:-1, 0])) + 1 for path in weights]
    sessions = np.zeros((sets, max(rows.size for rows in trades)), dtype=np.int64)
    if not sessions.size:
        return np.zeros((prices.shape[0] - 1, sets))
    wanted, close = np.full((sessions.shape[1], sets * n), np.nan), np.ones((sessions.shape[1], sets * n))
    for at, (rows, path) in enumerate(zip(trades, weights, strict=True)):
        block = np.s_[: rows.size, at * n : (at + 1) * n]
        sessions[at, : rows.size], wanted[block], close[block] = rows, path[rows - 1], prices[rows]
    groups = np.full(sets, n)
    orders, _ = nb.simulate_from_orders_nb(
        wanted.shape,
        groups,
        np.full(sets, INITIAL_CASH),
        nb.build_call_seq(wanted.shape, groups),
        size=wanted,
        size_type=np.asarray(SizeType.TargetPercent),
        direction=np.asarray(Direction.Both),
        fees=np.tile(flat, sets)[None, :],
        close=close,
        auto_call_seq=True,
        max_orders=wanted.size,
        max_logs=1,
    )
    orders["idx"] = sessions[orders["col"] // n, orders["idx"]]
    value = _values(orders, prices, sets)
    return np.asarray(value[1:] / value[:-1] - 1.0)


def _values(orders: NDArray[np.void], prices: Floats, sets: int) -> Floats:
    """Value (T, P) of each set's account at every close, from vectorbt's orders.

    What `Portfolio.value` gives, whose wrapping of every step took as long as the simulation.
    """
    n = prices.shape[1]
    signed = np.where(orders["side"] == 0, orders["size"], -orders["size"])
    flows, cash = np.zeros((prices.shape[0], sets * n)), np.zeros((prices.shape[0], sets))
    flows[orders["idx"], orders["col"]] = signed
    np.add.at(cash, (orders["idx"], orders["col"] // n), -signed * orders["price"] - orders["fees"])
    held = np.cumsum(flows, axis=0).reshape(prices.shape[0], sets, n)
    return np.asarray(INITIAL_CASH + np.cumsum(cash, axis=0) + np.einsum("tpn,tn->tp", held, prices))
