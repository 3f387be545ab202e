"""How the mid moved after own fills, fill by fill and on average, with errors that respect clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import NO_MID, SessionOutcome
from backtests.intraday.profit import HORIZONS, SECOND, checked_horizons, fill_mids
from backtests.intraday.quote_path import QuotePath

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROLES: Final = ("maker", "taker")
SIDES: Final = ("bought", "sold", "both")


@dataclass(frozen=True, slots=True, eq=False)
class FillMarkOuts:
    """Moves of the mid after own fills, in ticks and in the fill's favour: below 0 is adverse selection.

    Attributes
    ----------
    horizons : (h,) float64
        Seconds.
    moves : (n, h) float64
        Ticks, fill by fill, from the mid just before it; nan where the session ends before the horizon, or a mid is
        missing.
    edge : (n,) float64
        Ticks by which the fill was better than the mid just before it; nan without one.
    weight : (n,) int64
        Lots.
    block : (n, h) int64
        Block of time of each fill, over which the errors add up.
    maker, side : (n,) bool, int64
    after_end, without_mid : (h,) int64
        Fills left out because the session ends before the horizon, and because a mid is missing.
    """

    horizons: Floats
    moves: Floats
    edge: Floats
    weight: Ints
    block: Ints
    maker: NDArray[np.bool_]
    side: Ints
    after_end: Ints
    without_mid: Ints


@dataclass(frozen=True, slots=True, eq=False)
class MarkOutMeans:
    """Means over lots; axes are role (maker, taker), side (bought, sold, both) and horizon; ticks.

    Attributes
    ----------
    horizons : (h,) float64
    move, move_error : (2, 3, h) float64
        The mid's move in the fill's favour, and its standard error; nan without fills (the error: in one block).
    edge : (2, 3, h) float64
        Distance from the mid before, over the same fills.
    kept, kept_error : (2, 3, h) float64
        edge + move: what is left of it at the horizon (the realised half-spread of Huang & Stoll 1996).
    fills : (2, 3, h) int64
    """

    horizons: Floats
    move: Floats
    move_error: Floats
    edge: Floats
    kept: Floats
    kept_error: Floats
    fills: Ints


def fill_mark_outs(
    outcome: SessionOutcome,
    path: QuotePath,
    horizons: Sequence[float] = HORIZONS,
    *,
    start: int | None = None,
    blocks: int = 50,
) -> FillMarkOuts:
    """Each fill's moves of the mid.

    Parameters
    ----------
    outcome : SessionOutcome
    path : QuotePath
        Its `until` ends the session: fills whose horizon ends later are left out there, and counted.
    horizons : sequence of float
        Seconds, rising.
    start : int, optional
        First time of the session, ns; that of the path by default.
    blocks : int
        The time from `start` to the path's end is cut into at most so many equal blocks, none shorter than two
        horizons: moves of fills that are close in time overlap.
    """
    at = np.array(checked_horizons(horizons))
    if blocks < 2:
        raise ValueError(f"blocks must be at least 2; was {blocks}")
    fills = outcome.fills
    times = fills["exch_ts"].astype(np.int64)
    own_mids, _ = fill_mids(outcome, path)
    known = (fills["mid2"] != NO_MID) | (path.before(times) != NO_MID)
    before = np.where(known, own_mids, 0)
    moves, block = np.full((times.size, at.size), np.nan), np.zeros((times.size, at.size), dtype=np.int64)
    after_end, without = np.zeros(at.size, dtype=np.int64), np.zeros(at.size, dtype=np.int64)
    first = start if start is not None else int(path.times[0]) if path.times.size else 0
    span = max(path.until - first, 1)
    for place, horizon in enumerate(at):
        later = times + round(float(horizon) * SECOND)
        after = path.at(later)
        inside = later <= path.until
        good = inside & known & (after != NO_MID)
        moves[good, place] = 0.5 * (fills["side"] * (after - before))[good]
        after_end[place], without[place] = int((~inside).sum()), int((inside & ~good).sum())
        count = max(1, min(blocks, int(span / (2.0 * horizon * SECOND))))
        block[:, place] = np.clip((times - first) / span * count, 0, count - 1).astype(np.int64)
    edge = np.where(known, fills["side"] * (0.5 * before - fills["tick"]), np.nan)
    return FillMarkOuts(
        at,
        moves,
        edge,
        fills["lots"].astype(np.int64),
        block,
        fills["maker"] == 1,
        fills["side"].astype(np.int64),
        after_end,
        without,
    )


def mark_out_means(sessions: Sequence[FillMarkOuts]) -> MarkOutMeans:
    """Means over all fills of one or several sessions, each lot counting once; blocks never join two sessions.

    Raises
    ------
    ValueError
        When there is no session, or the horizons differ.
    """
    if not sessions or any(not np.array_equal(one.horizons, sessions[0].horizons) for one in sessions):
        raise ValueError("sessions must be at least one, all with the same horizons")
    horizons = sessions[0].horizons
    offsets = np.cumsum([0, *(int(one.block.max(initial=0)) + 1 for one in sessions)])
    block = np.concatenate([one.block + offset for one, offset in zip(sessions, offsets, strict=False)])
    moves, edge, weight = (np.concatenate([getattr(one, n) for one in sessions]) for n in ("moves", "edge", "weight"))
    maker, side = (np.concatenate([getattr(one, n) for one in sessions]) for n in ("maker", "side"))
    shape = (len(ROLES), len(SIDES), horizons.size)
    move, error, edges, kept, kept_error = (np.full(shape, np.nan) for _ in range(5))
    counts = np.zeros(shape, dtype=np.int64)
    for role, of_role in enumerate((maker, ~maker)):
        for place, of_side in enumerate((side > 0, side < 0, side != 0)):
            for column in range(horizons.size):
                chosen = of_role & of_side & np.isfinite(moves[:, column])
                counts[role, place, column] = chosen.sum()
                if not chosen.any():
                    continue
                values, lots, blocks = moves[chosen, column], weight[chosen], block[chosen, column]
                cell = (role, place, column)
                move[cell], error[cell] = weighted_mean(values, lots, blocks)
                edges[cell] = np.average(edge[chosen], weights=lots)
                kept[cell], kept_error[cell] = weighted_mean(edge[chosen] + values, lots, blocks)
    return MarkOutMeans(horizons, move, error, edges, kept, kept_error, counts)


def weighted_mean(values: Floats, weight: Ints, block: Ints) -> tuple[float, float]:
    """Weighted mean and its standard error when values of one block may depend on each other; nan in one block.

    The ratio estimator's linearised error (Liang & Zeger 1986): deviations are summed over blocks, then squared.
    """
    mean = float(np.average(values, weights=weight))
    _, place = np.unique(block, return_inverse=True)
    sums = np.bincount(place, weight * (values - mean))
    if sums.size < 2:
        return mean, np.nan
    return mean, float(np.sqrt(sums @ sums * sums.size / (sums.size - 1)) / weight.sum())
