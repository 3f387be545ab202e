"""What a book says at each of its moments: mid, microprice, spread, imbalance; nan where it does not say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.replay import BookRows

Floats = NDArray[np.float64]


def mid(rows: BookRows) -> Floats:
    """(n,) halfway between best bid and ask; nan where a side is empty or the book is crossed."""
    return np.where(_orderly(rows), 0.5 * (rows.bid[:, 0] + rows.ask[:, 0]), np.nan)


def spread(rows: BookRows) -> Floats:
    """(n,) best ask less best bid, negative where the book is crossed; nan where a side is empty."""
    return rows.ask[:, 0] - rows.bid[:, 0]


def imbalance(rows: BookRows, levels: int = 1) -> Floats:
    """(n,) (bid - ask quantity) / (bid + ask quantity) over the best `levels`; nan where there is none of either.

    Raises
    ------
    ValueError
        When the rows have fewer levels.
    """
    held = rows.quantities.shape[2]
    if not 1 <= levels <= held:
        raise ValueError(f"levels must be from 1 to the {held} of the rows; was {levels}")
    bid, ask = rows.bid_quantity[:, :levels].sum(axis=1), rows.ask_quantity[:, :levels].sum(axis=1)
    return _share(bid - ask, bid + ask)


def microprice(rows: BookRows) -> Floats:
    """(n,) (bid x ask quantity + ask x bid quantity) / (both quantities): the side with less behind it is nearer.

    Between bid and ask; nan where a side is empty or the book is crossed. The weighted mid of Stoikov (2018, "The
    micro-price", section 2); `data_pipeline.book.microprice` has his adjusted one.
    """
    bid_quantity, ask_quantity = rows.bid_quantity[:, 0], rows.ask_quantity[:, 0]
    bid, ask = rows.bid[:, 0], rows.ask[:, 0]
    # from the bid up, so that no rounding leaves the interval [bid, ask] by more than an ulp
    inside = bid + (ask - bid) * _share(bid_quantity, bid_quantity + ask_quantity)
    return np.where(_orderly(rows), inside, np.nan)


def _orderly(rows: BookRows) -> NDArray[np.bool_]:
    return np.asarray(rows.state <= 1)


def _share(part: Floats, whole: Floats) -> Floats:
    out: Floats = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
