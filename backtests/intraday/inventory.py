"""The inventory through a session: how large, how long at the limits, how fast it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.profit import SECOND

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InventoryFigures:
    """Averages over the session's time, exact on the exchange's clock; lots and seconds.

    Attributes
    ----------
    seconds : float
        Length of the session.
    mean, mean_absolute, deviation : float
        Of the position; the deviation is around the mean.
    highest, lowest, final : int
    at_limit, flat : float
        Share of the time with abs(position) at `limit` or more, and with no position.
    holding_seconds : float
        Mean time that a lot is held: time integral of abs(position) over the lots that entered (Little's law); nan
        without any.
    half_life_seconds : float
        log 2 over the rate at which a first-order autoregression of the position, on a grid of `step` seconds, reverts
        to its mean; nan where it does not revert (its coefficient is not between 0 and 1).
    sign_changes : int
        Times that the position went from one side to the other, with or without a stop at 0.
    """

    seconds: float
    mean: float
    mean_absolute: float
    deviation: float
    highest: int
    lowest: int
    final: int
    at_limit: float
    flat: float
    holding_seconds: float
    half_life_seconds: float
    sign_changes: int


def inventory_figures(
    outcome: SessionOutcome, start: int, stop: int, *, limit: int, step: float = 1.0
) -> InventoryFigures:
    """Figures of the position between two times of the exchange.

    Parameters
    ----------
    outcome : SessionOutcome
    start, stop : int
        ns since 1970 UTC; the position is 0 before the first fill. Fills after `stop` do not count.
    limit : int
        Largest position allowed, lots.
    step : float
        Seconds of the grid for the half-life.

    Raises
    ------
    ValueError
        When the times or the step make no sense, or there are fills before `start`.
    """
    if not start < stop or limit < 1 or not step > 0:
        raise ValueError(f"start must be before stop, limit at least 1, step positive; were {start, stop, limit, step}")
    fills = outcome.fills[outcome.fills["exch_ts"] <= stop]
    if fills.size and fills["exch_ts"][0] < start:
        raise ValueError(f"start must not be after the first fill at {fills['exch_ts'][0]}; was {start}")
    times, position = np.r_[start, fills["exch_ts"], stop], np.r_[0, fills["position"]]
    stay = np.diff(times).astype(np.float64)
    span = float(stop - start)
    mean = float(stay @ position) / span
    absolute = float(stay @ np.abs(position)) / span
    same_side = np.where(position[1:] * position[:-1] > 0, np.abs(position[:-1]), 0)
    entered = int(np.maximum(np.abs(position[1:]) - same_side, 0).sum())
    signs = np.sign(position[position != 0])
    return InventoryFigures(
        seconds=span / SECOND,
        mean=mean,
        mean_absolute=absolute,
        deviation=float(np.sqrt(stay @ (position - mean) ** 2 / span)),
        highest=int(position.max()),
        lowest=int(position.min()),
        final=int(position[-1]),
        at_limit=float(stay[np.abs(position) >= limit].sum()) / span,
        flat=float(stay[position == 0].sum()) / span,
        holding_seconds=absolute * span / SECOND / entered if entered else float("nan"),
        half_life_seconds=_half_life(times, position, step),
        sign_changes=int((signs[1:] != signs[:-1]).sum()),
    )


def inventory_path(
    outcome: SessionOutcome, start: int, stop: int, points: int = 400
) -> tuple[Floats, Ints, Ints, Ints]:
    """Seconds since `start`, and last, lowest and highest position of each of `points` equal pieces: for a picture."""
    edges = start + np.arange(points + 1) * ((stop - start) / points)
    fills = outcome.fills[outcome.fills["exch_ts"] <= stop]
    times, position = fills["exch_ts"], np.r_[0, fills["position"]]
    upto = np.searchsorted(times, edges, side="right")
    upto[0] = 0  # the flat position before a fill at `start` itself was there too
    last = position[upto[1:]]
    low, high = (np.empty(points, dtype=np.int64) for _ in range(2))
    for piece, (first, end) in enumerate(pairwise(upto.tolist())):
        seen = position[first : end + 1]
        low[piece], high[piece] = seen.min(), seen.max()
    return (edges[1:] - start) / SECOND, last, low, high


def _half_life(times: Ints, position: Ints, step: float) -> float:
    grid = np.arange(times[0], times[-1], round(step * SECOND))
    values = position[np.searchsorted(times[1:-1], grid, side="right")].astype(np.float64)
    if values.size < 3:
        return float("nan")
    now, after = values[:-1] - values[:-1].mean(), values[1:] - values[1:].mean()
    spread = float(now @ now)
    slope = float(now @ after) / spread if spread > 0 else 0.0
    return step * float(np.log(2.0)) / -float(np.log(slope)) if 0 < slope < 1 else float("nan")
