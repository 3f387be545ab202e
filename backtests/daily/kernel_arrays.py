"""The arrays of the accounting kernel under their names: what `kernels` reads and writes packed, people read apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.daily import kernels
from mfg_core.daily.costs import TradingCosts

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """T sessions of N instruments for the kernel.

    Attributes
    ----------
    grid : (T, 6, N)
        `kernels.FILL_PRICE` to `kernels.CASH_NET`: prices in R$ per share (NaN: no trade), volume in shares, and the
        events per share held before the session.
    risk_free : (T,)
        What cash earns in the session.
    fixed : (2, N)
        Lot size (0: fractions of a share trade) and whether shares may be sold short.
    """

    grid: Floats
    risk_free: Floats
    fixed: Floats

    @property
    def fill_price(self) -> Floats:
        """(T, N) price of every fill."""
        return np.asarray(self.grid[:, kernels.FILL_PRICE])

    @property
    def volume(self) -> Floats:
        """(T, N) shares traded."""
        return np.asarray(self.grid[:, kernels.VOLUME])

    @property
    def lot_size(self) -> Floats:
        """(N,) shares per lot."""
        return np.asarray(self.fixed[kernels.LOT_SIZE])

    def without_first_events(self) -> Market:
        """The same market whose first session has no events and pays no interest: an account starts at its close."""
        grid, risk_free = self.grid.copy(), self.risk_free.copy()
        grid[0, kernels.SHARE_FACTOR] = 1.0
        grid[0, kernels.CASH_GROSS] = grid[0, kernels.CASH_NET] = 0.0
        risk_free[0] = 0.0
        return Market(grid, risk_free, self.fixed)


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """A `TradingCosts` for the kernel: `grid` (3, N) and `shared` (3,), see `kernels.SPREAD` and `TEMPORARY_IMPACT`."""

    grid: Floats
    shared: Floats


def kernel_costs(costs: TradingCosts, share_factor: Floats | float = 1.0) -> Costs:
    """A private copy of the costs for the kernel, its daily volume restated by `share_factor`."""
    grid = np.array([costs.half_spread, costs.volatility, costs.daily_volume * share_factor], dtype=np.float64)
    return Costs(grid, np.array([costs.temporary_impact, costs.crowd_impact, costs.fee], dtype=np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """`fractions` (h, N) of the remainder sent k sessions after the decision, `crowd_rate` (h,) in daily volumes."""

    fractions: Floats
    crowd_rate: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """State of one account, changed in place: `grid` (5, N), see `kernels.SHARES`, and `cash` (1,)."""

    grid: Floats
    cash: Floats

    @property
    def shares(self) -> Floats:
        """(N,) shares held, signed."""
        return np.asarray(self.grid[kernels.SHARES])

    @property
    def remaining(self) -> Floats:
        """(N,) shares of the parent orders still to trade, signed."""
        return np.asarray(self.grid[kernels.REMAINING])

    @property
    def mark(self) -> Floats:
        """(N,) last known close, restated for events; NaN before the first trade."""
        return np.asarray(self.grid[kernels.MARK])

    def place(self, orders: Floats) -> None:
        """Replace the parent orders by `orders` (N,) shares; their schedules begin anew."""
        self.grid[kernels.REMAINING] = orders
        self.grid[kernels.AGE] = 0.0


def opening_book(capital: float, marks: Floats) -> Book:
    """An account that holds `capital` in cash and knows the closes `marks` (N,)."""
    grid = np.zeros((5, marks.size))
    grid[kernels.MARK] = marks
    return Book(grid, np.array([float(capital)]))


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one session did, overwritten each time: `grid` (9, N), see `kernels.QUANTITY`, and money `totals`."""

    grid: Floats
    totals: Floats

    @property
    def quantity(self) -> Floats:
        """(N,) shares filled, signed."""
        return np.asarray(self.grid[kernels.QUANTITY])


def empty_outcome(n_instruments: int) -> Outcome:
    """Room for what one session of `n_instruments` does."""
    return Outcome(np.zeros((kernels.N_OUT, n_instruments)), np.zeros(kernels.N_TOTALS))


def march_session(
    market: Market, t: int, costs: Costs, schedule: Schedule, rules: Floats, book: Book, out: Outcome
) -> None:
    """Session t: `book` goes from the close before to this one, `out` says what happened (see `kernels`)."""
    kernels.march_session(
        market.grid,
        market.risk_free,
        market.fixed,
        t,
        costs.grid,
        costs.shared,
        schedule.fractions,
        schedule.crowd_rate,
        rules,
        book.grid,
        book.cash,
        out.grid,
        out.totals,
    )


def march_target_path(
    market: Market,
    costs: Costs,
    schedule: Schedule,
    rules: Floats,
    book: Book,
    targets: Floats,
    in_shares: bool,
    path: Floats,
    orders: NDArray[np.int64],
) -> None:
    """All sessions under given targets (T, N), wholly compiled; `path` (T, N_TOTALS) and `orders` (N,) are filled."""
    out = empty_outcome(targets.shape[1])
    kernels.march_target_path(
        market.grid,
        market.risk_free,
        market.fixed,
        costs.grid,
        costs.shared,
        schedule.fractions,
        schedule.crowd_rate,
        rules,
        book.grid,
        book.cash,
        out.grid,
        out.totals,
        targets,
        in_shares,
        path,
        orders,
    )
