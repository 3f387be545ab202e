"""The one layout of a market event: 64 bytes, two clocks, the same as hftbacktest's, so that arrays go both ways.

`ev` holds the kind in its low byte and flags above it (hftbacktest 2, module `types`). An event valid for the
exchange's order has EXCH, one valid for the receiver's order has LOCAL; one array is in both orders at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np

EVENT_DTYPE: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
"""One event: kind and flags, exchange and receiver's time in ns since 1970 UTC, price, quantity, order number."""

DEPTH, TRADE, DEPTH_CLEAR, SNAPSHOT, BEST_QUOTE = 1, 2, 3, 4, 5
"""A level's new quantity (0: it is gone); a trade; a side emptied from its best price up to `px`, the whole side where
`px` is not finite, both sides without a side flag; a level of a picture; a side's best quote (quantity 0: none)."""
ADD, CANCEL, MODIFY, FILL = 10, 11, 12, 13
"""Order-by-order events, as in hftbacktest: ADD puts `qty` of `order_id` at `px`; MODIFY gives the order a new price
and what is left of it; CANCEL takes it out whole, however much was left. FILL reports `qty` of a resting order executed
at `px`, with its side, and changes no book: a MODIFY (what is left) or a CANCEL (nothing left) follows."""
KIND_MASK = 0xFF
"""`ev & KIND_MASK` is the kind."""
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
"""Flags: in the exchange's order, in the receiver's, of the bid side (or a buying aggressor), of the ask side."""
