"""The plain side of the accounting kernel: checks, units and arrays; `kernels` moves the cash and the shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backtests.daily import kernels
from backtests.daily.kernel_arrays import Market, Schedule, kernel_costs, march_target_path, opening_book
from data_pipeline.daily.adjust import gross_cash, group_events, net_cash, share_multiplier
from data_pipeline.daily.panel import DailyPanel
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Executor, schedule_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TradingRules:
    """What an account may do, and the market practice that it is kept by.

    Attributes
    ----------
    fill_price : "vwap" or "close"
        Price of every fill of a session. A panel of closes only needs "close" (then an order decided at one close
        trades at the next).
    participation_limit : float
        Largest part of the volume that an instrument trades in a session which one fill may be, in (0, 1].
    whole_lots : bool
        False lets fractions of a share trade (to compare with engines that know no lots).
    allow_short : bool
        Whether shares that are not held may be sold.
    shortable : tuple of str or None
        Tickers that may be sold short; None means all, when `allow_short`.
    gross_limit : float
        Orders never take the sum of |position values| above this multiple of net asset value at the session's prices.
    borrow_cash : bool
        False: purchases that open or enlarge a position are scaled down so that cash stays at zero or above, costs
        included.
    borrow_annual : float
        Loan fee of short positions, per year of `sessions_per_year` sessions.
    delisting_sessions : int
        A position whose instrument has not traded for this many sessions in a row is closed.
    delisting_recovery : float
        Part of the last price that a long position gets then; the default is the mean delisting return of -30 %
        for performance delistings (Shumway 1997, Journal of Finance 52).
    sessions_per_year : int
        Sessions that `borrow_annual` is spread over.

    Notes
    -----
    Left out, and the same for every pod: settlement two sessions after the trade, the collateral of a short sale, and
    the days between the ex session of a cash event and its payment (the cash is booked on the ex session).
    """

    fill_price: Literal["vwap", "close"] = "vwap"
    participation_limit: float = 0.1
    whole_lots: bool = True
    allow_short: bool = True
    shortable: tuple[str, ...] | None = None
    gross_limit: float = 1.0
    borrow_cash: bool = False
    borrow_annual: float = 0.03
    delisting_sessions: int = 60
    delisting_recovery: float = 0.7
    sessions_per_year: int = 252

    def __post_init__(self) -> None:
        """Check every rule."""
        if self.fill_price not in ("vwap", "close"):
            raise ValueError(f"fill_price must be 'vwap' or 'close'; was {self.fill_price!r}")
        _require(0.0 < self.participation_limit <= 1.0, "participation_limit", "in (0, 1]", self.participation_limit)
        _require(0.0 < self.gross_limit < math.inf, "gross_limit", "positive and finite", self.gross_limit)
        _require(0.0 <= self.borrow_annual < math.inf, "borrow_annual", "zero or positive", self.borrow_annual)
        _require(self.delisting_sessions >= 1, "delisting_sessions", "at least 1", self.delisting_sessions)
        _require(0.0 <= self.delisting_recovery <= 1.0, "delisting_recovery", "in [0, 1]", self.delisting_recovery)
        _require(self.sessions_per_year >= 1, "sessions_per_year", "at least 1", self.sessions_per_year)

    def kernel_rules(self) -> Floats:
        """The numbers that the kernel reads, (6,), see `kernels.PARTICIPATION`."""
        numbers = (
            self.participation_limit,
            self.gross_limit,
            self.borrow_cash,
            self.borrow_annual / self.sessions_per_year,
            self.delisting_sessions,
            self.delisting_recovery,
        )
        return np.array(numbers, dtype=np.float64)


def _require(good: bool, name: str, rule: str, value: object) -> None:
    if not good:
        raise ValueError(f"{name} must be {rule}; was {value}")


@dataclass(frozen=True, slots=True)
class EventGrid:
    """The events of a panel on rows first..last, per share held before the session: (T, N) each.

    `share_factor` is 1 and the cash arrays are 0 where nothing happens.
    """

    share_factor: Floats
    cash_gross: Floats
    cash_net: Floats


def event_grid(panel: DailyPanel, first: int, last: int) -> EventGrid:
    """Every event of the panel with an ex session in rows first..last, whenever it became known.

    An account receives what its positions are due on the day; only a pod's view waits for the news.
    """
    shape = (last - first + 1, len(panel.instruments))
    factor, gross, net = np.ones(shape), np.zeros(shape), np.zeros(shape)
    events = tuple(event for event in panel.events if first <= event.ex_session <= last)
    for group in group_events(events, panel.close):
        place = group.ex_session - first, group.instrument
        factor[place] = share_multiplier(group.events)
        gross[place] = gross_cash(group.events)
        net[place] = net_cash(group.events)
    return EventGrid(factor, gross, net)


def market_of(panel: DailyPanel, rules: TradingRules, first: int, last: int) -> Market:
    """Rows first..last of the panel as the kernel reads them: (T, N) copies.

    Raises
    ------
    ValueError
        When the rules fill at a VWAP that the panel does not have, or name an unknown ticker.
    """
    rows = slice(first, last + 1)
    price = panel.vwap if rules.fill_price == "vwap" else panel.close
    if rules.fill_price == "vwap" and np.all(np.isnan(panel.vwap[rows])) and not np.all(np.isnan(panel.close[rows])):
        raise ValueError("fill_price must be 'close' for a panel without volume-weighted prices; was 'vwap'")
    events = event_grid(panel, first, last)
    lots = panel.lot_size.astype(np.float64) if rules.whole_lots else np.zeros(len(panel.instruments))
    fields = (
        price[rows],
        panel.close[rows],
        panel.volume[rows],
        events.share_factor,
        events.cash_gross,
        events.cash_net,
    )
    fixed = np.array([lots, _shortable(panel.instruments, rules)], dtype=np.float64)
    return Market(np.stack(fields, axis=1), np.array(panel.risk_free[rows], dtype=np.float64), fixed)


def _shortable(instruments: tuple[str, ...], rules: TradingRules) -> NDArray[np.bool_]:
    if not rules.allow_short:
        return np.zeros(len(instruments), dtype=np.bool_)
    if rules.shortable is None:
        return np.ones(len(instruments), dtype=np.bool_)
    unknown = sorted(set(rules.shortable) - set(instruments))
    if unknown:
        raise ValueError(f"shortable must name instruments of the panel; {unknown[0]!r} is not one")
    return np.array([name in rules.shortable for name in instruments], dtype=np.bool_)


def kernel_schedule(executor: Executor, n_instruments: int) -> Schedule:
    """The executor's checked schedule, its fractions given per instrument."""
    fractions, crowd_rate = schedule_of(executor, n_instruments)
    return Schedule(fractions, crowd_rate)


def parent_orders(wanted: Floats, shares: Floats, lot_size: Floats) -> Floats:
    """Orders (N,) that take `shares` to `wanted`: whole lots cut towards zero, everything for a target of zero.

    The plain twin of `kernels.place_targets`; a lot size of 0 means fractions of a share trade.
    """
    change = wanted - shares
    lots = np.where(lot_size > 0.0, lot_size, 1.0)
    whole = np.copysign(np.floor(np.abs(change) / lots + kernels.WHOLE) * lots, change)
    orders = np.where(lot_size > 0.0, whole, change)
    return np.where(wanted == 0.0, -shares, orders) + 0.0


def last_known_close(close: Floats) -> Floats:
    """The last close of each column that is not NaN, NaN where there is none: (T, N) to (N,)."""
    known = np.isfinite(close)
    row = close.shape[0] - 1 - np.argmax(known[::-1], axis=0)
    return np.where(known.any(axis=0), close[row, np.arange(close.shape[1])], np.nan)


@dataclass(frozen=True, slots=True)
class TargetPath:
    """The account along a path of given targets: one entry per session, money in R$.

    `orders` (N,) counts the fills of each instrument.
    """

    net_asset_value: Floats
    cash: Floats
    gross: Floats
    traded: Floats
    costs: Floats
    orders: NDArray[np.int64]


def march_targets(
    panel: DailyPanel,
    targets: Floats,
    *,
    in_shares: bool = False,
    first: int,
    costs: TradingCosts,
    executor: Executor,
    rules: TradingRules,
    capital: float,
) -> TargetPath:
    """The account that follows `targets` (T, N) from row `first` of the panel on, wholly compiled.

    Targets are weights of net asset value, or shares. Row t is decided at close first + t and traded from the next
    session on; a row of NaN keeps the last targets. For screening and for benchmarks: no view, no limits;
    `simulator.simulate` is the honest way.

    Raises
    ------
    ValueError
        When the targets do not fit the panel, or a row is neither finite nor all NaN.
    """
    targets = np.array(targets, dtype=np.float64, order="C")
    last = first + targets.shape[0] - 1
    n = len(panel.instruments)
    if targets.ndim != 2 or targets.shape[1] != n or not 0 <= first <= last < panel.sessions.size:
        raise ValueError(
            f"targets must be (sessions, {n}) inside the panel's {panel.sessions.size} sessions from row {first} on; "
            f"was {targets.shape}"
        )
    absent = np.isnan(targets)
    if np.any(absent.any(axis=1) != absent.all(axis=1)) or np.isinf(targets).any():
        row = int(np.argmax((absent.any(axis=1) != absent.all(axis=1)) | np.isinf(targets).any(axis=1)))
        raise ValueError(f"targets must be finite, or NaN in a whole row; was mixed in row {row}")
    market = market_of(panel, rules, first, last).without_first_events()
    book = opening_book(capital, last_known_close(panel.close[: first + 1]))
    totals, orders = np.zeros((targets.shape[0], kernels.N_TOTALS)), np.zeros(n, dtype=np.int64)
    march_target_path(
        market,
        kernel_costs(costs),
        kernel_schedule(executor, n),
        rules.kernel_rules(),
        book,
        targets,
        in_shares,
        totals,
        orders,
    )
    charged = totals[:, [kernels.HALF_SPREAD, kernels.IMPACT, kernels.FEES, kernels.BORROW]].sum(axis=1)
    return TargetPath(
        net_asset_value=totals[:, kernels.NET_ASSET_VALUE].copy(),
        cash=totals[:, kernels.CASH].copy(),
        gross=totals[:, kernels.GROSS].copy(),
        traded=totals[:, kernels.TRADED].copy(),
        costs=charged,
        orders=orders,
    )
