"""One session laid out for the fit: for how long each state of the market was observed, and the orders it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_finite, require_positive
from mfg_core.intraday.intensity_covariates import Covariate, stacked
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.market_orders import MarketOrders, group_orders, sign_trades

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

INSIDE_RULES = ("exclude", "at_touch")
SLACK = 1e-6
"""Ticks by which a price may miss the grid by rounding."""


@dataclass(frozen=True, slots=True)
class ExposureCounts:
    """Where every trade, order and second went; the excluded ones are in no fit.

    Attributes
    ----------
    trades, unsigned_trades : int
        All, and those without a side.
    signed_by_rule : int
        Trades whose side the sign rule supplied.
    orders : int
        Orders made of the signed trades.
    used : int
        Orders in the fit.
    outside_session : int
        Orders before the book's first row, at it, or after the session's end.
    without_mid : int
        Orders while a side was empty or the ask not above the bid.
    wide_spread : int
        Orders while the best quote was more than `max_ticks` from the mid.
    without_covariate : int
        Orders while a covariate was not known.
    inside_spread : int
        Orders whose furthest price was better than the best quote they met, or behind the mid: hidden or stale
        liquidity. They are excluded, or counted as reaching the best quote and no further (in `used` too).
    beyond : int
        Used orders that reached the last, open distance.
    seconds, seconds_used : float
        From the first row to the session's end, and those of them in the fit.
    """

    trades: int
    unsigned_trades: int
    signed_by_rule: int
    orders: int
    used: int
    outside_session: int
    without_mid: int
    wide_spread: int
    without_covariate: int
    inside_spread: int
    beyond: int
    seconds: float
    seconds_used: float


@dataclass(frozen=True, slots=True, eq=False)
class IntensitySession:
    """Segments of constant state and the orders that met them; distances are in ticks.

    Attributes
    ----------
    edges : (s+1,) float64
        Segment i is (edges[i], edges[i+1]]: an order at the time of a change belongs to the state before it.
    half_spread : (s,) float64
        Distance of the best quote from the mid; nan in segments that the fit leaves out.
    covariates : (s, p) float64
    block : (s,) int64
        Of equal lengths of time.
    segment : (n,) int64
        Of each order used.
    time : (n,) float64
    side : (n,) int8
    depth : (n,) float64
        Whole ticks beyond the best quote.
    closed : (n,) bool
        False in the last distance, which has no far end.
    tick : float
    max_ticks : int
    covariate_names : tuple of str
    counts : ExposureCounts
    """

    edges: Floats
    half_spread: Floats
    covariates: Floats
    block: NDArray[np.int64]
    segment: Rows
    time: Floats
    side: NDArray[np.int8]
    depth: Floats
    closed: NDArray[np.bool_]
    tick: float
    max_ticks: int
    covariate_names: tuple[str, ...]
    counts: ExposureCounts

    @property
    def seconds(self) -> Floats:
        """(s,) length of each segment."""
        return np.diff(self.edges)

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(s,) segments in the fit."""
        return np.isfinite(self.half_spread)

    @property
    def mean_half_spread(self) -> float:
        """Time mean of the best quote's distance over the segments in the fit."""
        seen = self.observed
        return float(self.half_spread[seen] @ self.seconds[seen] / self.seconds[seen].sum())

    def felt_distance(self, competition: float) -> Floats:
        """(s,) distance that decides how many orders reach the best quote: h - competition (h - mean h)."""
        if competition == 0.0:
            return self.half_spread
        return self.half_spread - competition * (self.half_spread - self.mean_half_spread)


def observe_session(
    book: BookPath,
    trades: Trades,
    *,
    tick: float,
    max_ticks: int,
    session_end: float,
    covariates: Sequence[Covariate] = (),
    sign_rule: str | None = None,
    inside: str = "exclude",
    within: float = 0.0,
    blocks: int = 50,
) -> IntensitySession:
    """Segments of constant spread and covariates from the book's first row to the session's end, with their orders.

    The parameters are those of `calibrate_intensity`.
    """
    tick, session_end = require_positive("tick", tick), require_finite("session_end", session_end)
    max_ticks, blocks = require_count("max_ticks", max_ticks), require_count("blocks", blocks, least=2)
    if inside not in INSIDE_RULES:
        raise ValueError(f"inside must be one of {', '.join(INSIDE_RULES)}; was {inside!r}")
    if book.time.size == 0 or not session_end > book.time[0]:
        raise ValueError(f"session_end must be after the first row of the book; was {session_end}")
    side = trades.side if sign_rule is None else sign_trades(book, trades, sign_rule)
    orders = group_orders(trades, side, within=within)

    start = float(book.time[0])
    cuts = np.linspace(start, session_end, blocks + 1)
    changes = np.concatenate([book.time, cuts, *(covariate.time for covariate in covariates)])
    edges = np.unique(changes[(changes >= start) & (changes <= session_end)])
    left = edges[:-1]
    half: Floats = np.round(book.half_spread[book.row_at(left)] / tick, 6)
    values = stacked(covariates, left)
    narrow: NDArray[np.bool_] = np.isfinite(half) & (np.nan_to_num(half) <= max_ticks)
    known = np.asarray(np.isfinite(values).all(axis=1))
    state = np.where(narrow & known, half, np.nan)

    segment = np.searchsorted(edges, orders.time, side="left") - 1
    inside_session = (segment >= 0) & (orders.time <= session_end)
    at = np.where(inside_session, segment, 0)
    lost_mid = inside_session & np.isnan(half[at])
    lost_wide = inside_session & ~lost_mid & ~narrow[at]
    lost_covariate = inside_session & narrow[at] & ~known[at]
    reach = _reach(book, orders, at, half, inside_session, tick)
    alive = inside_session & np.isfinite(state[at])
    hidden = alive & (reach < half[at] - SLACK)
    used = alive & ~hidden if inside == "exclude" else alive
    open_from = np.ceil(max_ticks - half[at][used] - SLACK)
    depth = np.maximum(np.floor(reach[used] - half[at][used] + SLACK), 0.0)
    seconds = np.diff(edges)
    counts = ExposureCounts(
        trades=trades.time.size,
        unsigned_trades=int((side == 0).sum()),
        signed_by_rule=int(((side != 0) & (trades.side == 0)).sum()),
        orders=orders.time.size,
        used=int(used.sum()),
        outside_session=int((~inside_session).sum()),
        without_mid=int(lost_mid.sum()),
        wide_spread=int(lost_wide.sum()),
        without_covariate=int(lost_covariate.sum()),
        inside_spread=int(hidden.sum()),
        beyond=int((depth >= open_from).sum()),
        seconds=float(edges[-1] - edges[0]),
        seconds_used=float(seconds[np.isfinite(state)].sum()),
    )
    return IntensitySession(
        edges=edges,
        half_spread=state,
        covariates=values,
        block=np.clip(np.searchsorted(cuts, left, side="right") - 1, 0, blocks - 1).astype(np.int64),
        segment=at[used],
        time=orders.time[used],
        side=orders.side[used],
        depth=np.minimum(depth, open_from),
        closed=depth < open_from,
        tick=tick,
        max_ticks=max_ticks,
        covariate_names=tuple(covariate.name for covariate in covariates),
        counts=counts,
    )


def _reach(
    book: BookPath, orders: MarketOrders, at: Rows, half: Floats, inside_session: NDArray[np.bool_], tick: float
) -> Floats:
    """Distance in ticks of each order's furthest price from the mid before it; -inf where there is none.

    Counted from the best quote it met, so that the rounding of a mid does not move an order to another tick.
    """
    row = np.maximum(book.row_before(orders.time), 0)
    touch = np.where(orders.side > 0, book.ask[row], book.bid[row])
    reach = half[at] + orders.side * (orders.furthest - touch) / tick
    return np.where(inside_session & np.isfinite(reach), reach, -np.inf)
