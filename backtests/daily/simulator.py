"""The day loop: a pod decides at a close, the limits act, the executor trades from the next session on.

    close t      view at t -> decision -> checked -> limits -> parent orders
    session t+1  events and interest -> child orders -> fills -> marks (`kernels.march_session`)

One account runs through all segments; each segment (a fold's test window) brings its own fitted decider, costs and
executor. Parent orders that are not finished at a border go on under the next segment's executor and costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backtests.daily import kernels
from backtests.daily.account import Account, Fills, Orders, RiskForecasts
from backtests.daily.accounting import (
    TradingRules,
    event_grid,
    kernel_schedule,
    last_known_close,
    market_of,
    parent_orders,
)
from backtests.daily.decisions import DecisionError, wanted_shares
from backtests.daily.gate import Gate
from backtests.daily.kernel_arrays import Costs, Schedule, empty_outcome, kernel_costs, march_session, opening_book
from backtests.daily.measures import Issuers, Measures, issuers_of, measure, past_returns
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from mfg_core.daily.costs import TradingCosts
from risk.limits import Breach, LimitSet
from strategies.execution import Executor
from strategies.pod import Decider, Targets

Floats = NDArray[np.float64]

_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive sessions under one fitted decider: rows `first` to `last` of the panel, both included.

    Attributes
    ----------
    first, last : int
        The decider decides at the closes of these rows; fills of these sessions use `costs` and `executor` (those of
        the first row come from the segment before).
    decider : Decider
    costs : TradingCosts
    executor : Executor
    fold : int
        Written beside every session.
    costs_row : int or None
        Row whose shares `costs.daily_volume` counts (the end of the training window), so that a split in between is
        known; None means the row before `first`.
    """

    first: int
    last: int
    decider: Decider
    costs: TradingCosts
    executor: Executor
    fold: int = 0
    costs_row: int | None = None


def simulate(
    panel: DailyPanel,
    segments: Sequence[Segment],
    *,
    rules: TradingRules,
    capital: float,
    limits: LimitSet | None = None,
    pod: str = "pod",
    issuers: tuple[str, ...] | None = None,
    var_window: int = 252,
) -> Account:
    """The account of a pod that starts with `capital` in cash at the close of the first segment's first row.

    Parameters
    ----------
    panel : DailyPanel
    segments : sequence of Segment
        Each begins in the row after the one before ends.
    rules : TradingRules
    capital : float
        R$.
    limits : LimitSet or None
        None: nothing is limited (the measures are still recorded).
    pod : str
        Name in messages and results.
    issuers : tuple of str or None
        Issuer of each instrument; None takes the ticker's first four characters.
    var_window : int
        Past sessions that are the scenarios of the risk forecast (none with fewer than 100 usable ones).

    Raises
    ------
    ValueError
        When the segments do not join, an argument breaks its rule, or (as `DecisionError`) a decision cannot be
        carried out.
    """
    _check(panel, segments, capital, issuers, var_window)
    run = _Run(panel, segments, rules, capital, limits, pod, issuers_of(panel.instruments, issuers), var_window)
    for segment in segments:
        run.enter(segment)
        for row in range(segment.first, segment.last + 1):
            run.session(row)
    return run.account()


def _check(
    panel: DailyPanel, segments: Sequence[Segment], capital: float, issuers: tuple[str, ...] | None, var_window: int
) -> None:
    n = len(panel.instruments)
    if not segments:
        raise ValueError("segments must hold at least one segment; was empty")
    if not 0.0 < capital < np.inf:
        raise ValueError(f"capital must be positive and finite; was {capital}")
    if var_window < 1:
        raise ValueError(f"var_window must be at least 1; was {var_window}")
    if issuers is not None and len(issuers) != n:
        raise ValueError(f"issuers must have one entry for each of {n} instruments; had {len(issuers)}")
    for segment in segments:
        if not 0 <= segment.first <= segment.last < panel.sessions.size:
            raise ValueError(
                f"first and last of segment {segment.fold} must be rows of the panel, in [0, {panel.sessions.size}), "
                f"in order; were {segment.first} and {segment.last}"
            )
        if segment.costs.half_spread.size != n:
            raise ValueError(
                f"costs of segment {segment.fold} must have {n} instruments; had {segment.costs.half_spread.size}"
            )
        if segment.costs_row is not None and not 0 <= segment.costs_row <= segment.first:
            raise ValueError(
                f"costs_row of segment {segment.fold} must be in [0, first = {segment.first}]; was {segment.costs_row}"
            )
    for before, after in itertools.pairwise(segments):
        if after.first != before.last + 1:
            raise ValueError(
                f"segments must join: segment {before.fold} ends at row {before.last}, segment {after.fold} begins at "
                f"row {after.first}"
            )


@dataclass(slots=True)
class _Log:
    """Rows of the orders and the fills, collected as arrays per session."""

    orders: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats, str]] = field(default_factory=list)
    fills: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats, str]] = field(default_factory=list)
    breaches: dict[int, Breach] = field(default_factory=dict)


class _Run:
    """State of one simulation between closes."""

    def __init__(
        self,
        panel: DailyPanel,
        segments: Sequence[Segment],
        rules: TradingRules,
        capital: float,
        limits: LimitSet | None,
        pod: str,
        issuers: Issuers,
        var_window: int,
    ) -> None:
        self.panel, self.rules, self.pod, self.issuers = panel, rules, pod, issuers
        self.capital, self.var_window = capital, var_window
        self.first, self.last = segments[0].first, segments[-1].last
        self.market = market_of(panel, rules, self.first, self.last)
        self.book = opening_book(capital, last_known_close(panel.close[: self.first + 1]))
        self.out = empty_outcome(len(panel.instruments))
        self.kernel_rules = rules.kernel_rules()
        self.gate = Gate(limits, capital)
        length, n = self.last - self.first + 1, len(panel.instruments)
        self.totals = np.zeros((length, kernels.N_TOTALS))
        self.shares, self.price = np.zeros((length, n)), np.full((length, n), np.nan)
        self.fold = np.zeros(length, dtype=np.int64)
        self.status: list[str] = []
        self.forecasts: list[Measures] = []
        self.log = _Log()
        self.wanted_weights: Floats | None = None

    def enter(self, segment: Segment) -> None:
        """Take over the segment's decider, costs and schedule."""
        self.segment = segment
        known = segment.first - 1 if segment.costs_row is None else segment.costs_row
        # Events of the segment's own sessions restate the volume in the kernel; the first row of all is not marched.
        before = segment.first if segment.first == self.first else segment.first - 1
        factor = event_grid(self.panel, known + 1, before).share_factor.prod(axis=0) if before > known else 1.0
        self.costs: Costs = kernel_costs(segment.costs, factor)
        self.schedule: Schedule = kernel_schedule(segment.executor, len(self.panel.instruments))

    def session(self, row: int) -> None:
        """March one session and decide at its close."""
        at = row - self.first
        if at > 0:
            march_session(self.market, at, self.costs, self.schedule, self.kernel_rules, self.book, self.out)
            self._log_fills(at, self.market.volume[at])
        else:
            self.out.totals[[kernels.NET_ASSET_VALUE, kernels.CASH]] = self.capital
        self.totals[at] = self.out.totals
        self.shares[at], self.price[at] = self.book.shares, self.book.mark
        self.fold[at] = self.segment.fold
        self._close(row, at)

    def _close(self, row: int, at: int) -> None:
        value = float(self.out.totals[kernels.NET_ASSET_VALUE])
        weights = self._weights(self.book.shares, value)
        view = MarketView(self.panel, row, weights=weights, net_asset_value=value)
        returns = past_returns(view, self.var_window)
        measures = measure(weights, returns, self.issuers)
        self.forecasts.append(measures)

        def passive() -> Measures:
            if at == 0 or not self.out.quantity.any():
                return measures
            return measure(self._weights(self.book.shares - self.out.quantity, value), returns, self.issuers)

        breaches = self.gate.close(view.session, value, measures, passive, self.book.shares)
        self.log.breaches.update((breach.id, breach) for breach in breaches)
        self.status.append(self.gate.status)
        if value <= 0.0:
            self._place(row, np.zeros_like(weights), "limits")
            return
        self._decide(row, view, returns)

    def _decide(self, row: int, view: MarketView, returns: Floats) -> None:
        """Parent orders after this close: a new decision, a limit that acts, or nothing new."""
        decision = self.segment.decider.decide(view)
        if decision is not None and not isinstance(decision, Targets):
            raise DecisionError(
                f"pod {self.pod!r} at {view.session}: decide must return Targets or None; was {type(decision).__name__}"
            )
        value, gate = view.net_asset_value, self.gate
        if decision is not None:
            wanted = wanted_shares(
                decision, view, self.book.shares, self.book.mark, pod=self.pod, gross_limit=self.rules.gross_limit
            )
            self.wanted_weights = self._weights(wanted, value)
        elif gate.restores and self.wanted_weights is not None:
            wanted = self._shares(self.wanted_weights, value)
        elif gate.acts:
            wanted = gate.undo_halving(self.book.shares + self.book.remaining)
        else:
            return

        def resulting(shares: Floats) -> Measures:
            return measure(self._weights(shares, value), returns, self.issuers)

        allowed = gate.allow(self.book.shares, wanted, resulting)
        if decision is None and np.array_equal(allowed, self.book.shares + self.book.remaining):
            return
        self._place(row, allowed, "limits" if decision is None else "decision")

    def _place(self, row: int, wanted: Floats, reason: str) -> None:
        orders = parent_orders(wanted, self.book.shares, self.market.lot_size)
        changed = np.flatnonzero((orders != 0.0) | (self.book.remaining != 0.0))
        self.book.place(orders)
        rows = np.full(changed.size, row - self.first)
        self.log.orders.append((rows, changed, orders[changed], reason))

    def _weights(self, shares: Floats, value: float) -> Floats:
        weights = np.zeros_like(shares)
        held = shares != 0.0
        if value > 0.0:
            weights[held] = shares[held] * self.book.mark[held] / value
        return weights

    def _shares(self, weights: Floats, value: float) -> Floats:
        shares = np.zeros_like(weights)
        held = weights != 0.0
        shares[held] = weights[held] * value / self.book.mark[held]
        return shares

    def _log_fills(self, at: int, volume: Floats) -> None:
        out = self.out.grid
        for quantity, price, reason in (
            (out[kernels.FRACTION_QUANTITY], out[kernels.FRACTION_PRICE], "fraction"),
            (out[kernels.QUANTITY], self.market.fill_price[at], "order"),
            (out[kernels.DELISTED_QUANTITY], out[kernels.DELISTED_PRICE], "delisted"),
        ):
            done = np.flatnonzero(quantity)
            if done.size == 0:
                continue
            zero = np.zeros(done.size)
            numbers = [quantity[done], price[done], zero, zero, zero, zero]
            if reason == "order":
                costs = out[kernels.COST_SPREAD : kernels.COST_FEES + 1, done]
                numbers[2:] = [*costs, np.abs(quantity[done]) / volume[done]]
            self.log.fills.append((np.full(done.size, at), done, np.array(numbers), reason))

    def account(self) -> Account:
        """The finished account."""
        totals = self.totals
        value = totals[:, kernels.NET_ASSET_VALUE]
        before = np.concatenate(([self.capital], value[:-1]))
        safe_before, safe_value = (np.where(array > 0.0, array, np.nan) for array in (before, value))
        highest = np.maximum.accumulate(np.maximum(value, self.capital))
        returns = np.where(before > 0.0, value / safe_before - 1.0, 0.0)
        return Account(
            pod=self.pod,
            instruments=self.panel.instruments,
            sessions=np.array(self.panel.sessions[self.first : self.last + 1]),
            net_asset_value=value.copy(),
            returns=returns,
            cash=totals[:, kernels.CASH].copy(),
            gross=np.nan_to_num(totals[:, kernels.GROSS] / safe_value),
            net=np.nan_to_num(totals[:, kernels.NET] / safe_value),
            turnover=np.nan_to_num(totals[:, kernels.TRADED] / safe_before),
            cost_half_spread=totals[:, kernels.HALF_SPREAD].copy(),
            cost_impact=totals[:, kernels.IMPACT].copy(),
            cost_fees=totals[:, kernels.FEES].copy(),
            cost_borrow=totals[:, kernels.BORROW].copy(),
            dividends=totals[:, kernels.DIVIDENDS].copy(),
            interest=totals[:, kernels.INTEREST].copy(),
            drawdown=1.0 - value / highest,
            state=np.array(self.status),
            risk_free=np.array(self.panel.risk_free[self.first : self.last + 1]),
            fold=self.fold,
            shares=self.shares,
            price=self.price,
            orders=self._orders(),
            fills=self._fills(),
            breaches=tuple(self.log.breaches[key] for key in sorted(self.log.breaches)),
            risk=_forecast_table(self.forecasts, returns),
        )

    def _orders(self) -> Orders:
        logs = self.log.orders
        reasons = [np.full(row.size, reason, dtype="U8") for row, _, _, reason in logs]
        rows = np.concatenate([_NO_ROWS, *(log[0] for log in logs)])
        columns = np.concatenate([_NO_ROWS, *(log[1] for log in logs)])
        shares = np.concatenate([np.empty(0), *(log[2] for log in logs)])
        return Orders(rows, columns, shares, np.concatenate([np.empty(0, dtype="U8"), *reasons]))

    def _fills(self) -> Fills:
        logs = self.log.fills
        rows = np.concatenate([_NO_ROWS, *(log[0] for log in logs)])
        columns = np.concatenate([_NO_ROWS, *(log[1] for log in logs)])
        numbers = np.concatenate([np.empty((6, 0)), *(log[2] for log in logs)], axis=1)
        reasons = np.concatenate([np.empty(0, dtype="U8"), *(np.full(log[0].size, log[3], dtype="U8") for log in logs)])
        order = np.lexsort((np.arange(rows.size), columns, rows))
        shares, price, half_spread, impact, fees, participation = numbers[:, order]
        return Fills(
            rows[order], columns[order], shares, price, half_spread, impact, fees, participation, reasons[order]
        )


def _forecast_table(forecasts: list[Measures], returns: Floats) -> RiskForecasts:
    """Each session beside the forecast of the close before it."""
    count = len(forecasts)

    def column(name: str, first: float) -> Floats:
        return np.array([first, *(getattr(item, name) for item in forecasts[: count - 1])], dtype=np.float64)

    var = column("var_99", np.nan)
    return RiskForecasts(
        var_99=var,
        es_975=column("es_975", np.nan),
        var_exception=np.asarray(-returns > var),
        hhi=column("hhi", 0.0),
        largest_issuer=np.array(["", *(item.largest_issuer for item in forecasts[: count - 1])]),
        largest_issuer_weight=column("largest_issuer_weight", 0.0),
        gross=column("gross", 0.0),
        net=column("net", 0.0),
    )
