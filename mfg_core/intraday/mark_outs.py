"""How the mid moves after fills: adverse selection, and the split of the effective spread, with clustered errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfg_core.checks import require_count, require_finite
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.market_orders import MarketOrders, group_orders, sign_trades

Floats = NDArray[np.float64]

SIDES = ("ask", "bid", "both")


@dataclass(frozen=True, slots=True, eq=False)
class MarkOuts:
    """Means over market orders; rows are "ask" (buyers, who fill asks), "bid" and "both", columns the horizons.

    Attributes
    ----------
    horizons : (h,) float64
        Seconds after the order.
    impact, impact_error : (3, h) float64
        Mean move of the mid in the order's direction, from just before the order to the horizon: xi of the game,
        what a maker filled at a distance d from the mid before loses of d. Price; nan without orders.
    realised, realised_error : (3, h) float64
        Mean distance of the order's average price from the mid at the horizon: what the maker keeps.
    effective : (3, h) float64
        Mean distance of the order's average price from the mid just before it, over the same orders; it equals
        realised + impact (Huang & Stoll 1996).
    orders : (3, h) int64
        Orders that the means rest on.
    blocks : (h,) int64
        Blocks of time over which the errors add up the deviations.
    after_end, without_mid : (h,) int64
        Orders left out because the horizon ends after the session, or a mid is missing at either end.
    notes : tuple of str
    """

    horizons: Floats
    impact: Floats
    impact_error: Floats
    realised: Floats
    realised_error: Floats
    effective: Floats
    orders: NDArray[np.int64]
    blocks: NDArray[np.int64]
    after_end: NDArray[np.int64]
    without_mid: NDArray[np.int64]
    notes: tuple[str, ...]


def mark_outs(
    book: BookPath,
    trades: Trades,
    horizons: ArrayLike,
    *,
    session_end: float,
    sign_rule: str | None = None,
    within: float = 0.0,
    blocks: int = 50,
) -> MarkOuts:
    """Moves of the mid after market orders at each horizon, by side.

    Parameters
    ----------
    book : BookPath
        The mid before an order is that of the last row stamped before it; the mid at a horizon is that in force then.
    trades : Trades
        Grouped into orders as in `calibrate_intensity`; every order counts once, whatever its size.
    horizons : (h,) array_like
        Seconds, positive.
    session_end : float
        An order whose horizon ends later is left out at that horizon, and counted.
    sign_rule, within
        See `calibrate_intensity`.
    blocks : int
        The session is cut into at most this many equal blocks, none shorter than two horizons; deviations from the
        mean are added up over each block before they are squared, because moves of orders close in time overlap.

    Raises
    ------
    ValueError
        When an argument is out of range or the book is empty.
    """
    at = np.atleast_1d(np.asarray(horizons, dtype=np.float64))
    if at.ndim != 1 or at.size == 0 or not (np.isfinite(at) & (at > 0)).all():
        raise ValueError(f"horizons must be positive and finite seconds; was {horizons!r}")
    session_end, blocks = require_finite("session_end", session_end), require_count("blocks", blocks, least=2)
    if book.time.size == 0 or not session_end > book.time[0]:
        raise ValueError(f"session_end must be after the first row of the book; was {session_end}")
    side = trades.side if sign_rule is None else sign_trades(book, trades, sign_rule)
    orders = group_orders(trades, side, within=within)
    figures = [_at_horizon(book, orders, float(h), session_end, blocks) for h in at]
    columns = [np.stack([figure[name] for figure in figures], axis=-1) for name in range(5)]
    counts = np.array([figure[5] for figure in figures], dtype=np.int64)
    used_blocks = np.array([figure[6] for figure in figures], dtype=np.int64)
    notes = [
        f"At {h:g} s the errors rest on {n} blocks of time only." if n else f"No order has a mid {h:g} s later."
        for h, n in zip(at, used_blocks, strict=True)
        if n < 10
    ]
    unsigned = int((side == 0).sum())
    if unsigned:
        notes.insert(0, f"{unsigned} of {side.size} trades have no known side and are left out.")
    return MarkOuts(
        horizons=at,
        impact=columns[0],
        impact_error=columns[1],
        realised=columns[2],
        realised_error=columns[3],
        effective=columns[4],
        orders=counts[:, :3].T,
        blocks=used_blocks,
        after_end=counts[:, 3],
        without_mid=counts[:, 4],
        notes=tuple(notes),
    )


Figures = tuple[Floats, Floats, Floats, Floats, Floats, tuple[int, ...], int]


def _at_horizon(book: BookPath, orders: MarketOrders, horizon: float, session_end: float, blocks: int) -> Figures:
    mid = book.mid
    before, after = book.row_before(orders.time), book.row_at(orders.time + horizon)
    in_time = orders.time + horizon <= session_end
    start = np.where(before >= 0, mid[before], np.nan)
    end = np.where(after >= 0, mid[after], np.nan)
    good = in_time & np.isfinite(start + end)
    sign = orders.side[good].astype(np.float64)
    impact = sign * (end - start)[good]
    effective = sign * (orders.average - start)[good]
    span = session_end - float(book.time[0])
    count = max(1, min(blocks, int(span / (2.0 * horizon))))
    block = np.clip((orders.time[good] - book.time[0]) / span * count, 0, count - 1).astype(np.int64)
    impacts, errors, kept, kept_errors, touched = (np.full(3, np.nan) for _ in range(5))
    for place, chosen in enumerate((sign > 0, sign < 0, sign != 0)):
        if chosen.any():
            impacts[place], errors[place] = clustered_mean(impact[chosen], block[chosen])
            kept[place], kept_errors[place] = clustered_mean((effective - impact)[chosen], block[chosen])
            touched[place] = effective[chosen].mean()
    counts = (
        int((sign > 0).sum()),
        int((sign < 0).sum()),
        int(sign.size),
        int((~in_time).sum()),
        int((in_time & ~good).sum()),
    )
    return impacts, errors, kept, kept_errors, touched, counts, int(np.unique(block).size)


def clustered_mean(values: Floats, block: NDArray[np.int64]) -> tuple[float, float]:
    """Mean of `values` and its standard error when values of one block may depend on each other; nan in one block."""
    mean = float(values.mean())
    _, place = np.unique(block, return_inverse=True)
    sums = np.bincount(place, values - mean)
    if sums.size < 2:
        return mean, np.nan
    return mean, float(np.sqrt(sums @ sums * sums.size / (sums.size - 1)) / values.size)
