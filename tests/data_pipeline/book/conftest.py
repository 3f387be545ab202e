"""Event arrays for the tests of the book."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.book.events import (
    ADD,
    BEST_QUOTE,
    BUY,
    CANCEL,
    DEPTH,
    DEPTH_CLEAR,
    EVENT_DTYPE,
    EXCH,
    FILL,
    LOCAL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)

_KINDS = {
    "l2": ((DEPTH, 12), (SNAPSHOT, 3), (DEPTH_CLEAR, 1), (TRADE, 2), (BEST_QUOTE, 1), (ADD, 1)),
    "l3": ((ADD, 8), (MODIFY, 4), (CANCEL, 5), (FILL, 2), (DEPTH_CLEAR, 1), (TRADE, 1), (DEPTH, 1)),
    "best": ((BEST_QUOTE, 8), (TRADE, 2), (DEPTH, 1)),
}


def random_events(seed: int, size: int, source: str = "l2", *, tick: float = 0.01, spread: int = 40) -> np.ndarray:
    """Events that no venue would send: crossed books, orders twice, cancels of nothing, clears between two ticks."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(*zip(*_KINDS[source], strict=True))
    events = np.zeros(size, dtype=EVENT_DTYPE)
    kind = rng.choice(kinds, size)
    side = rng.choice([BUY, SELL], size)
    side = np.where((kind == DEPTH_CLEAR) & (rng.random(size) < 0.2), 0, side)
    clock = rng.choice([EXCH | LOCAL, EXCH | LOCAL, EXCH, LOCAL], size)
    events["ev"] = kind | side | clock
    events["exch_ts"] = 1_700_000_000_000_000_000 + np.cumsum(rng.choice([0, 0, 1, 1000], size))
    events["local_ts"] = events["exch_ts"] + 500
    level = np.where(side == BUY, 10_000, 10_003) + rng.integers(-spread, spread, size)
    # one in a hundred lies pages away
    level = np.where(rng.random(size) < 0.01, level + 5_000 * rng.integers(-1, 40, size), level)
    events["px"] = level / round(1 / tick)
    clear = kind == DEPTH_CLEAR
    events["px"][clear] += rng.choice([0.0, 0.004, np.nan], int(clear.sum()))
    events["qty"] = rng.integers(0, 4, size)
    events["order_id"] = rng.integers(1, 2 + size // 8, size).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return events


@pytest.fixture(scope="session")
def make_events():
    """`random_events(seed, size, source)`."""
    return random_events
