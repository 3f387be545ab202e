"""Stoikov's adjusted microprice: the mid plus what spread and imbalance say of its next moves.

Stoikov (2018), "The micro-price: a high-frequency estimator of future prices", Quantitative Finance 18: the states are
(spread in ticks, imbalance in equal classes); G1 is the mean next move of the mid from each state, B the chance of each
state right after that move; the adjustment is G1 + B G1 + B^2 G1 + ..., the limit of the expected mid after its first,
second, ... move. Each transition is counted with its mirror image (bid and ask exchanged, the move reversed), which
makes the sum converge and the adjustment of a balanced book nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.replay import BookRows
from data_pipeline.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Microprice:
    """An estimated adjustment.

    Attributes
    ----------
    adjustment : (spreads, classes) float64
        What is added to the mid, in price, by spread (1 tick first) and imbalance class (ask-heavy first); nan for a
        state that the estimate never saw.
    tick_size : float
    """

    adjustment: Floats
    tick_size: float

    def price(self, rows: BookRows) -> Floats:
        """(n,) adjusted microprice; nan where a side is empty, the book is locked or crossed, or the spread is wider
        than any that was estimated."""
        mid, state = _states(rows, *self.adjustment.shape)
        found = np.where(state >= 0, self.adjustment.ravel()[np.maximum(state, 0)], np.nan)
        return mid + found


def estimate_microprice(rows: BookRows, *, spreads: int = 3, classes: int = 10) -> Microprice:
    """The adjustment that the rows of a past tell; use it on later rows only.

    Parameters
    ----------
    rows : BookRows
        After every change of the best quotes, of a book with a tick size.
    spreads, classes : int
        Widest spread in ticks, and number of imbalance classes (even, so that mirror images are classes too).

    Raises
    ------
    ValueError
        When `spreads` is below 1, `classes` not even and positive, or the book's grid a list of prices.
    DataError
        When the mid never moves between two of these states.
    """
    if not rows.grid.denominator:
        raise ValueError("rows must be of a book with a tick size, which a list of prices has not: give tick_grid")
    if spreads < 1 or classes < 2 or classes % 2:
        raise ValueError(f"spreads must be 1 or more and classes even; was {spreads} and {classes}")
    mid, state = _states(rows, spreads, classes)
    chosen = state >= 0
    # pairs of neighbours in time; where a state between is none, nothing is said of the step over it
    pair = chosen[:-1] & chosen[1:]
    before, after, move = state[:-1][pair], state[1:][pair], np.diff(mid)[pair]
    mirror = _mirror(np.arange(spreads * classes), classes)
    before, after = np.r_[before, mirror[before]], np.r_[after, mirror[after]]
    move = np.r_[move, -move]
    moved = move != 0
    if not moved.any():
        raise DataError("a microprice cannot be estimated: the mid never moves between two books of these spreads")
    size = spreads * classes
    visits = np.bincount(before, minlength=size)
    stay, jump = np.zeros((size, size)), np.zeros((size, size))
    np.add.at(stay, (before[~moved], after[~moved]), 1.0)
    np.add.at(jump, (before[moved], after[moved]), 1.0)
    gain = np.bincount(before[moved], weights=move[moved], minlength=size)
    seen = visits > 0
    scale = np.where(seen, visits, 1)[:, None]
    waits = np.eye(size) - stay / scale  # (I - Q)
    # states that the mid never leaves make I - Q singular: the shortest solution gives them no adjustment
    first = np.linalg.lstsq(waits, gain / scale[:, 0], rcond=1e-10)[0]
    step = np.linalg.lstsq(waits, jump / scale, rcond=1e-10)[0]
    # I - B takes constants to nothing: of all solutions the one that turns around in the mirror is the sum's limit
    total = np.linalg.lstsq(np.eye(size) - step, first, rcond=1e-10)[0]
    total = 0.5 * (total - total[mirror])
    return Microprice(np.where(seen, total, np.nan).reshape(spreads, classes), rows.grid.tick_size)


def _states(rows: BookRows, spreads: int, classes: int) -> tuple[Floats, NDArray[np.int64]]:
    """Mid and the number of the state, -1 where there is none."""
    bid, ask = rows.ticks[:, 0, 0], rows.ticks[:, 1, 0]
    bid_quantity, ask_quantity = rows.bid_quantity[:, 0], rows.ask_quantity[:, 0]
    good = rows.state == 0
    spread = np.where(good, ask - bid, 0)
    good &= spread <= spreads
    total = np.where(good, bid_quantity + ask_quantity, 1.0)
    share = np.where(good, bid_quantity, 0.0) / total
    place = np.minimum((share * classes).astype(np.int64), classes - 1)
    state = np.where(good, (spread - 1) * classes + place, -1)
    mid = np.where(good, 0.5 * (rows.bid[:, 0] + rows.ask[:, 0]), np.nan)
    return mid, state


def _mirror(state: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return state // classes * classes + classes - 1 - state % classes
