"""What a calibration reads: the path of the best quotes and the trades of one session, as checked arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BookPath:
    """Best quotes of one session: row i holds from time[i] until time[i+1].

    Attributes
    ----------
    time : (n,) float64
        Seconds, finite and nondecreasing. Of several rows at one time the last one holds afterwards.
    bid, ask : (n,) float64
        Prices, positive and finite, nan where a side is empty. A row whose ask is not above its bid is kept, and
        counted by those who cannot use it.
    """

    time: Floats
    bid: Floats
    ask: Floats

    def __post_init__(self) -> None:
        """Check the arrays and store read-only copies."""
        _store_columns(self, "BookPath")
        for name in ("bid", "ask"):
            _check_prices(name, getattr(self, name), empty=True)

    @property
    def mid(self) -> Floats:
        """(n,) half-way between the quotes, nan where a side is empty or the ask is not above the bid."""
        return np.where(self.ask > self.bid, 0.5 * (self.bid + self.ask), np.nan)

    @property
    def half_spread(self) -> Floats:
        """(n,) half the distance of the quotes, nan where `mid` is."""
        return np.where(self.ask > self.bid, 0.5 * (self.ask - self.bid), np.nan)

    def row_before(self, time: Floats) -> NDArray[np.intp]:
        """Row in force just before each time (rows stamped with that very time do not count); -1 before the first."""
        return np.asarray(np.searchsorted(self.time, time, side="left") - 1)

    def row_at(self, time: Floats) -> NDArray[np.intp]:
        """Row in force at each time, rows stamped with that very time included; -1 before the first."""
        return np.asarray(np.searchsorted(self.time, time, side="right") - 1)

    def without(self, gaps: Floats) -> BookPath:
        """The same path with no quotes inside the spans `gaps` (g, 2), which must not overlap: halts, lost data."""
        spans = np.asarray(gaps, dtype=np.float64).reshape(-1, 2)
        if not (np.diff(spans.ravel()) >= 0).all():
            raise ValueError(f"gaps must be spans in order of time that do not overlap; was {spans.tolist()}")
        after = self.row_at(spans[:, 1])
        resumed = [np.where(after >= 0, side[after], np.nan) for side in (self.bid, self.ask)]
        outside = np.searchsorted(spans.ravel(), self.time, side="right") % 2 == 0
        time = np.concatenate([spans[:, 0], self.time[outside], spans[:, 1]])
        # At one time the start of a gap outranks rows of the feed, and they outrank what a gap's end carries on.
        rank = np.repeat([2, 1, 0], [len(spans), int(outside.sum()), len(spans)])
        order = np.lexsort((np.arange(time.size), rank, time))
        nothing = np.full(len(spans), np.nan)
        bid, ask = (
            np.concatenate([nothing, side[outside], held])[order]
            for side, held in zip((self.bid, self.ask), resumed, strict=True)
        )
        return BookPath(time[order], bid, ask)


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades of one session in their order.

    Attributes
    ----------
    time : (m,) float64
        Seconds on the clock of the book, finite and nondecreasing.
    price, size : (m,) float64
        Positive and finite.
    side : (m,) int8
        +1 the buyer was the aggressor, -1 the seller was, 0 unknown.
    """

    time: Floats
    price: Floats
    size: Floats
    side: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Check the arrays and store read-only copies."""
        _store_columns(self, "Trades")
        for name in ("price", "size"):
            _check_prices(name, getattr(self, name), empty=False)


def _store_columns(owner: BookPath | Trades, kind: str) -> None:
    for name in owner.__slots__:
        values = np.array(getattr(owner, name), dtype=np.float64)
        if values.ndim != 1 or values.size != np.size(owner.time):
            raise ValueError(
                f"{name} must be one-dimensional and as long as time ({np.size(owner.time)}) in {kind}; "
                f"was of shape {values.shape}"
            )
        if name == "side":
            if not np.isin(values, (-1, 0, 1)).all():
                row = int(np.argmin(np.isin(values, (-1, 0, 1))))
                raise ValueError(f"side must be -1, 0 or 1; was {values[row]} at row {row}")
            values = values.astype(np.int8)
        values.flags.writeable = False
        object.__setattr__(owner, name, values)
    time = owner.time
    good = np.isfinite(time) & (np.diff(time, prepend=time[:1]) >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"time must be finite and nondecreasing in {kind}; was {time[row]} at row {row}")


def _check_prices(name: str, values: Floats, *, empty: bool) -> None:
    good = (values > 0) & np.isfinite(values)
    if empty:
        good |= np.isnan(values)
    if not good.all():
        row = int(np.argmin(good))
        allowed = ", or nan where the side is empty" if empty else ""
        raise ValueError(f"{name} must be positive and finite{allowed}; was {values[row]} at row {row}")
