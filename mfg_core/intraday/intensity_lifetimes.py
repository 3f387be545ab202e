"""Fill intensity from order-by-order events: each resting order is at risk at its distance until filled or gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_finite, require_positive
from mfg_core.intraday.intensity_cells import IntensityCells
from mfg_core.intraday.intensity_exposure import BookPath
from mfg_core.intraday.intensity_fit import IntensityFit, fit_intensity
from mfg_core.intraday.intensity_kernels import NO_MID, time_at_distance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ON_GRID = 1e-4
"""Ticks by which a price may miss the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class RestingOrders:
    """Each limit order's stay at one price.

    Attributes
    ----------
    entry, exit : (k,) float64
        Seconds on the clock of the book, exit >= entry; of a filled order the exit is its first fill.
    price : (k,) float64
    side : (k,) int8
        +1 a bid, -1 an ask.
    filled : (k,) bool
        False when it was withdrawn, or still there at the end: its fill was not seen (a censored lifetime).
    """

    entry: Floats
    exit: Floats
    price: Floats
    side: NDArray[np.int8]
    filled: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check the arrays and store read-only copies."""
        for name in self.__slots__:
            given = np.asarray(getattr(self, name))
            kind = np.dtype("int8" if name == "side" else "bool" if name == "filled" else "float64")
            values = given.astype(kind)
            if values.shape != (np.size(self.entry),):
                raise ValueError(f"{name} must be one-dimensional and as long as entry; was of shape {values.shape}")
            if not np.array_equal(values, given):
                raise ValueError(f"{name} must hold numbers of type {kind}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        for good, rule in (
            (np.isfinite(self.entry) & np.isfinite(self.exit), "entry and exit must be finite"),
            (self.exit >= self.entry, "exit must not be before entry"),
            (np.isfinite(self.price) & (self.price > 0), "price must be positive and finite"),
            (np.abs(self.side) == 1, "side must be 1 (a bid) or -1 (an ask)"),
        ):
            if not good.all():
                raise ValueError(f"{rule}; was not at order {int(np.argmin(good))}")


def calibrate_intensity_events(
    book: BookPath,
    orders: RestingOrders,
    *,
    tick: float,
    max_ticks: int,
    session_end: float,
    blocks: int = 50,
) -> IntensityFit:
    """A and k of lambda(delta) = A exp(-k delta) from the lifetimes of resting orders.

    An order alive at distance delta is filled at rate lambda(delta); withdrawals end its watch without a fill
    (independent censoring). So fills at each distance are Poisson given the order-seconds spent there:
    l = sum over distances of n log lambda - T lambda. One market order fills many resting ones, so fills cluster:
    use the robust errors.

    Parameters
    ----------
    book : BookPath
        With its quotes on the grid of ticks, since distances are counted in half-ticks.
    orders : RestingOrders
    tick : float
    max_ticks : int
        Distances up to here are in the fit.
    session_end : float
    blocks : int
        As in `calibrate_intensity`.

    Raises
    ------
    ValueError
        When a quote or a price is off the grid, an argument is out of range, or the data cannot tell a parameter.

    Notes
    -----
    This is the intensity of an order with its place in the queue, lower than that of a quote with priority that
    `calibrate_intensity` gives. Orders at or behind the mid, or further than max_ticks, are not at risk; their
    fills are counted in the notes. People withdraw orders when a fill looks bad or likely, which the model does not
    know.
    """
    tick, session_end = require_positive("tick", tick), require_finite("session_end", session_end)
    max_ticks, blocks = require_count("max_ticks", max_ticks), require_count("blocks", blocks, least=2)
    if book.time.size == 0 or not session_end > book.time[0]:
        raise ValueError(f"session_end must be after the first row of the book; was {session_end}")
    if orders.entry.size == 0:
        raise ValueError("orders must hold at least one order")
    start, mid2 = float(book.time[0]), _half_ticks(book, tick)
    level = _on_grid("price", orders.price, tick)
    cuts = np.linspace(start, session_end, blocks + 1)
    exposure = _exposure(book, orders, mid2, level, cuts, max_ticks)

    row = book.row_before(orders.exit)
    inside = orders.filled & (row >= 0) & (orders.exit <= session_end)
    mid = np.where(row >= 0, mid2[row], NO_MID)
    seen = inside & (mid != NO_MID)
    distance = np.where(seen, -orders.side * (2 * level - mid), 0)
    used = seen & (distance >= 1) & (distance <= 2 * max_ticks)
    count = np.zeros_like(exposure)
    block = np.clip(np.searchsorted(cuts, orders.exit[used], side="left") - 1, 0, blocks - 1)
    np.add.at(count, (block, (orders.side[used] > 0).astype(np.int64), distance[used] - 1), 1.0)
    return fit_intensity(_cells(exposure, count, tick), evidence="arrivals", notes=_notes(orders, used, seen, distance))


def _half_ticks(book: BookPath, tick: float) -> Ints:
    quoted = np.isfinite(book.mid)
    mid2 = np.full(book.time.size, NO_MID, dtype=np.int64)
    mid2[quoted] = _on_grid("bid", book.bid[quoted], tick) + _on_grid("ask", book.ask[quoted], tick)
    return mid2


def _on_grid(name: str, price: Floats, tick: float) -> Ints:
    level = np.round(price / tick)
    off = np.abs(price / tick - level) > ON_GRID
    if off.any():
        raise ValueError(f"{name} must be a whole number of ticks of {tick}; was {price[int(np.argmax(off))]}")
    return level.astype(np.int64)


def _exposure(
    book: BookPath, orders: RestingOrders, mid2: Ints, level: Ints, cuts: Floats, max_ticks: int
) -> NDArray[np.float64]:
    start, end = cuts[0], cuts[-1]
    alive = (orders.exit > start) & (orders.entry < end)
    enter, leave = np.maximum(orders.entry[alive], start), np.minimum(orders.exit[alive], end)
    lowest = int(level.min())
    kind = np.where(orders.side[alive] > 0, 2, 1)
    rows = book.time < end
    steps = [
        (book.time[rows], 0, 0, np.where(mid2[rows] == NO_MID, NO_MID, mid2[rows] - 2 * lowest)),
        (enter, kind, level[alive] - lowest, 1),
        (leave, kind, level[alive] - lowest, -1),
        (cuts, 3, np.minimum(np.arange(cuts.size), cuts.size - 2), 0),
    ]
    time = np.concatenate([step[0] for step in steps])
    columns = [
        np.concatenate([np.broadcast_to(np.asarray(step[i], dtype=np.int64), step[0].shape) for step in steps])
        for i in (1, 2, 3)
    ]
    # Stable: rows of the book at one time keep their order, and the last one holds.
    order = np.argsort(time, kind="stable")
    exposure = np.zeros((cuts.size - 1, 2, 2 * max_ticks))
    alive_orders = np.zeros((2, int(level.max()) - lowest + 1), dtype=np.int64)
    kinds, places, changes = (column[order] for column in columns)
    time_at_distance(time[order], kinds, places, changes, alive_orders, exposure)
    return exposure


def _cells(exposure: NDArray[np.float64], count: NDArray[np.float64], tick: float) -> IntensityCells:
    block, side, column = np.nonzero((exposure > 0) | (count > 0))
    nothing = np.zeros(block.size)
    return IntensityCells(
        distance=(column + 1) / 2.0,
        exposure=exposure[block, side, column],
        count=count[block, side, column],
        depth=nothing,
        closed=nothing,
        design=np.column_stack([side == 0, side == 1]).astype(np.float64),
        decay=np.ones((block.size, 1)),
        block=block.astype(np.int64),
        names=("log_ask_arrival", "log_bid_arrival", "fill_decay"),
        tick=tick,
    )


def _notes(orders: RestingOrders, used: NDArray[np.bool_], seen: NDArray[np.bool_], distance: Ints) -> tuple[str, ...]:
    fills = int(orders.filled.sum())
    lost = fills - int(used.sum())
    if not lost:
        return ()
    unseen, behind = fills - int(seen.sum()), int((seen & (distance < 1)).sum())
    return (
        f"{lost} of {fills} fills left out: {unseen} outside the session or without a mid, "
        f"{behind} at or behind the mid, {lost - behind - unseen} beyond max_ticks.",
    )
