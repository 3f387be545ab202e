"""What happened in each interval of a session: flow of buyers and sellers, moves of the mid, spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_positive

Floats = NDArray[np.float64]

FEATURES: Final = ("session", "seconds", "bought", "sold", "squared_ticks", "seconds_quoted", "spread_seconds")
"""Names of the arrays: number of the session; length of the interval; lots taken by buyers and by sellers; sum of the
squared moves of the mid, ticks^2; seconds with both sides there; integral of the spread over them, ticks x seconds."""


def interval_features(
    *,
    quote_times: Floats,
    bid: Floats,
    ask: Floats,
    trade_times: Floats,
    size: Floats,
    side: NDArray[np.integer],
    start: float,
    end: float,
    interval_seconds: float,
    tick_size: float,
    lot_size: float,
    session: int = 0,
) -> dict[str, Floats]:
    """Each whole interval (start + j s, start + (j + 1) s] of one session, arrays (n,) by the names in `FEATURES`.

    The sums are those that the engine's `flow` shows a rule at the intervals' ends: of several rows at one time the
    last one holds, the mid moves between rows that stand bid below ask, trades without a side count for neither, and
    trades at `start` itself are in the first interval.

    Parameters
    ----------
    quote_times, bid, ask : (q,) float64
        Best prices from each time on, seconds, not decreasing; nan where a side is empty.
    trade_times, size, side : (m,)
        Seconds, quantity, and +1 bought, -1 sold, 0 neither.
    start, end : float
        Of the session, seconds on the same clock; a part of an interval before `end` is left out.
    interval_seconds, tick_size, lot_size : float
    session : int
        Its number, for `join_features`.

    Raises
    ------
    ValueError
        When a size is not positive, or the session is shorter than one interval.
    """
    step, tick = require_positive("interval_seconds", interval_seconds), require_positive("tick_size", tick_size)
    lots = size / require_positive("lot_size", lot_size)
    count = int(np.floor((end - start) / step * (1.0 + 1e-12)))
    if count < 1:
        raise ValueError(f"end must be at least one interval of {step:g} s after start {start:g}; was {end:g}")
    edges: Floats = start + step * np.arange(count + 1, dtype=np.float64)
    moves_at, moves, spread_until = _quotes(quote_times, bid, ask, start, tick, edges)
    return {
        "session": np.full(count, float(session)),
        "seconds": np.full(count, step),
        "bought": _sums(trade_times, np.where(side > 0, lots, 0.0), edges),
        "sold": _sums(trade_times, np.where(side < 0, lots, 0.0), edges),
        "squared_ticks": _sums(moves_at, moves**2, edges),
        "seconds_quoted": np.diff(spread_until[0]),
        "spread_seconds": np.diff(spread_until[1]),
    }


def join_features(sessions: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """The sessions one after the other, numbered 0, 1, ... in this order."""
    joined = {name: np.concatenate([one[name] for one in sessions]) for name in FEATURES[1:]}
    sizes = [one["seconds"].size for one in sessions]
    return {"session": np.repeat(np.arange(len(sizes), dtype=np.float64), sizes), **joined}


def window_signals(features: Mapping[str, Floats], window: int) -> tuple[Floats, Floats]:
    """(toxicity, volatility) over each `window` intervals of one session that follow each other.

    Toxicity is sum |bought - sold| / sum (bought + sold), from 0 to 1, 0 without trades (Easley, López de Prado &
    O'Hara 2012, who take intervals of equal volume; here of equal time); volatility sqrt(sum squared moves / seconds),
    ticks per square root of a second. The same as the quoting rule computes while it trades.
    """
    imbalance = np.abs(features["bought"] - features["sold"])
    toxicity, volatility = [], []
    for session in np.unique(features["session"]):
        rows = features["session"] == session
        if np.count_nonzero(rows) < window:
            continue
        turned, volume, squared, seconds = (
            np.lib.stride_tricks.sliding_window_view(values[rows], window).sum(axis=1)
            for values in (
                imbalance,
                features["bought"] + features["sold"],
                features["squared_ticks"],
                features["seconds"],
            )
        )
        toxicity.append(np.divide(turned, volume, out=np.zeros_like(turned), where=volume > 0.0))
        volatility.append(np.sqrt(squared / seconds))
    empty = [np.empty(0)]
    return np.concatenate(toxicity or empty), np.concatenate(volatility or empty)


def _sums(times: Floats, values: Floats, edges: Floats) -> Floats:
    """Sum of the values in each (edge, next edge]."""
    places = np.searchsorted(times, edges, side="right")
    places[0] = np.searchsorted(times, edges[0], side="left")
    return np.asarray(np.diff(np.concatenate([[0.0], np.cumsum(values)])[places]))


def _quotes(
    times: Floats, bid: Floats, ask: Floats, start: float, tick: float, edges: Floats
) -> tuple[Floats, Floats, Floats]:
    """Times and sizes (ticks) of the mid's moves after `start`; (2, edges) seconds quoted, spread x seconds so far."""
    last = np.ones(times.size, dtype=np.bool_)
    last[:-1] = times[1:] != times[:-1]
    before = np.searchsorted(times, start, side="right") - 1
    last[: max(before, 0)] = False
    at, low, high = np.maximum(times[last], start), np.rint(bid[last] / tick), np.rint(ask[last] / tick)
    two_sided = low < high
    mid_at, mid = at[two_sided], 0.5 * (low + high)[two_sided]
    held = np.diff(np.append(at, max(edges[-1], at[-1] if at.size else start)))
    spread = np.where(two_sided, high - low, 0.0)
    until = []
    for rate in (two_sided.astype(np.float64), spread):
        total = np.concatenate([[0.0], np.cumsum(rate * held)])
        place = np.searchsorted(at, edges, side="right") - 1
        inside = np.maximum(place, 0)
        here = total[inside] + rate[inside] * (edges - at[inside]) if at.size else np.zeros(edges.size)
        until.append(np.where(place >= 0, here, 0.0))
    return mid_at[1:], np.diff(mid), np.stack(until)
