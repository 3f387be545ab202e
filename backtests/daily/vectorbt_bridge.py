"""Our accounts as vectorbt portfolios: for users who know its plots and statistics, and as a second way to count.

vectorbt is imported inside the functions only (2.5 s), and its engine is always the numba one: its engines break exact
ties differently, so leaving the choice to "auto" would let the installed extras decide a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.daily.account import Account
from backtests.daily.accounting import event_grid
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.disk import write_atomic

Floats = NDArray[np.float64]

ENGINE = "numba"

CASH_FLOWS = "(cash flows)"
"""Name of the extra column that carries what vectorbt has no word for."""


def to_vectorbt(account: Account, panel: DailyPanel) -> Any:
    """A `vectorbt.Portfolio` made of the account's own fills, whose value is the account's at every close.

    Each fill is an order with its costs as fixed fees. Splits are taken out by counting shares as of the first
    session. vectorbt knows no dividends, interest, loan fees or payments for fractions of shares: those are the
    fixed fees (a receipt is a negative fee) of sales in an extra column, `CASH_FLOWS`, whose price is always 1.
    So `value()` and everything made from it (returns, drawdowns, Sharpe) is the account's to rounding, and the
    orders and trades of each instrument are its fills; `cash()` and the extra column mean nothing.

    Parameters
    ----------
    account : Account
    panel : DailyPanel
        The panel that the account was simulated on.

    Raises
    ------
    ValueError
        When the panel is not the account's.
    """
    import pandas as pd
    import vectorbt as vbt

    growth = _share_growth(account, panel)
    size, price, fees, extra = _orders(account, growth)
    flows = account.dividends + account.interest - account.cost_borrow + extra
    marks = np.where(np.isfinite(account.price), account.price, 1.0) * growth
    n = len(account.instruments)
    # Selling 1 (more by an outflow) at 1 is never refused for lack of proceeds, and leaves the value alone.
    flow_size = np.where(flows == 0.0, np.nan, -(1.0 + np.maximum(-flows, 0.0)))
    index = pd.DatetimeIndex(account.sessions.astype("datetime64[ns]"), name="session")
    columns = pd.Index([*account.instruments, CASH_FLOWS], name="instrument")

    def frame(values: Floats, last: Floats) -> Any:
        return pd.DataFrame(np.column_stack([values, last]), index=index, columns=columns)

    ones = np.ones(len(index))
    return vbt.Portfolio.from_orders(
        close=frame(marks, ones),
        size=frame(size, flow_size),
        size_type="amount",
        direction="both",
        price=frame(price, ones),
        fees=0.0,
        fixed_fees=frame(fees, -flows),
        slippage=0.0,
        init_cash=float(account.net_asset_value[0]),
        cash_sharing=True,
        group_by=np.zeros(n + 1, dtype=np.int64),
        call_seq=_call_sequence(size),
        update_value=False,
        freq="1D",
        engine=ENGINE,
    )


def export_portfolio(account: Account, panel: DailyPanel, output: Path) -> None:
    """Write the account's portfolio to a file that `vectorbt.Portfolio.load(output)` reads; whole or not at all.

    It is vectorbt's own pickle: load it with the version of vectorbt that wrote it, and only from whom you trust.

    Raises
    ------
    ValueError
        When the panel is not the account's.
    OSError
        When the file cannot be written.
    """
    write_atomic(output, to_vectorbt(account, panel).dumps())


def _share_growth(account: Account, panel: DailyPanel) -> Floats:
    """Shares at each session (T, N) that one share of the account's first session has become."""
    first = int(np.searchsorted(panel.sessions, account.sessions[0]))
    last = first + account.sessions.size - 1
    if panel.instruments != account.instruments or not np.array_equal(
        panel.sessions[first : last + 1], account.sessions
    ):
        raise ValueError("panel must be the one that the account was simulated on; its sessions or instruments differ")
    factor = event_grid(panel, first, last).share_factor
    factor[0] = 1.0
    return np.asarray(np.cumprod(factor, axis=0))


def _orders(account: Account, growth: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Size, price and fixed fees (T, N) of one order per cell, and the cash (T,) that those orders leave out.

    vectorbt takes one order per instrument and session, at a positive price. Where the account has several fills in a
    cell (a fraction paid out, then an order), or one at price zero, the order has their total size at the mark or at
    the last fill's price, and the difference in cash is passed on.
    """
    shape = account.shares.shape
    size, value, fees = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    price = np.where(np.isfinite(account.price), account.price, 1.0) * growth
    log = account.fills
    cells = (log.row, log.instrument)
    np.add.at(size, cells, log.shares / growth[cells])
    np.add.at(value, cells, log.shares * log.price)
    np.add.at(fees, cells, log.cost_half_spread + log.cost_impact + log.cost_fees)
    positive = log.price > 0.0
    price[log.row[positive], log.instrument[positive]] = (log.price * growth[cells])[positive]
    ordered = np.abs(size) > 0.0
    extra = -np.where(ordered, value - size * price, value).sum(axis=1) - np.where(ordered, 0.0, fees).sum(axis=1)
    # A difference of rounding size is no cash flow.
    extra[np.abs(extra) < 1e-9 * (1.0 + np.abs(value).sum(axis=1))] = 0.0
    return np.where(ordered, size, np.nan), price, fees, extra


def _call_sequence(size: Floats) -> NDArray[np.int64]:
    """Order of execution in each session (T, N + 1): cash flows, then sales, then purchases."""
    rows = size.shape[0]
    rank = np.column_stack([np.where(np.nan_to_num(size) > 0.0, 2, 1), np.zeros(rows, dtype=np.int64)])
    return np.argsort(rank, axis=1, kind="stable").astype(np.int64)
