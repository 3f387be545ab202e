"""Adjustment factors of splits and cash events, point in time: what each event does to the rows before it.

Let a share event give S new shares per old share and a cash event D reais (gross) per old share, ex at session e,
and let P be the last close before e, less what went ex since. Back-adjusted prices of rows before e are multiplied by

    F = (1 - D / P) / S,

volumes by S, and the total return of session e is (S * close[e] + D * (1 - withholding)) / close[e - 1] - 1.
Prices are adjusted by the gross cash, the drop that the exchange itself takes from the price on the ex day; returns
hold the cash that an owner receives, so with withholding (JCP) the two differ by the tax.

All events of one instrument with one ex session form a group, whose shares multiply and whose cash adds (all cash is
per share held before the session). What was public at the close of its ex session goes into dense cumulative
products, made once per panel; what became public later is applied per view, by `known_session`, as the ratio of the
group's factor to that of its prompt part. So a view does not depend on a late event, in any bit, before it was known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError

if TYPE_CHECKING:
    from data_pipeline.daily.panel import CorporateEvent


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Every event of one instrument at one ex session.

    Attributes
    ----------
    instrument, ex_session : int
        Place on the panel.
    events : tuple of CorporateEvent
        In panel order.
    reference : float
        Last close before the ex session, R$ per share; NaN where the instrument had not traded before. Events between
        that close and this ex session, as far as they were public at its close, are taken off it: a dividend of the
        shares that a split in the same silence has made is a part of the split price.
    """

    instrument: int
    ex_session: int
    events: tuple[CorporateEvent, ...]
    reference: float

    def known_at(self, now: int) -> tuple[CorporateEvent, ...]:
        """Return the events of the group that were public at the close of row `now`."""
        return tuple(event for event in self.events if event.known_session <= now)

    @property
    def prompt(self) -> tuple[CorporateEvent, ...]:
        """The events of the group that were public at the close of their ex session."""
        return self.known_at(self.ex_session)


@dataclass(frozen=True, slots=True)
class ClosesAfterSilence:
    """The K closes that have one before them but no return of one session, by row.

    Sessions in which no instrument has a return are left out: the data have a hole before them.

    Attributes
    ----------
    row, column, before : (K,) int64
        Place of the close, and row of the last one before it.
    close, price_growth : (2, K) float64
        At `before` and at `row`.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    before: NDArray[np.int64]
    close: NDArray[np.float64]
    price_growth: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AdjustmentFactors:
    """Cumulative factors of what was public on its ex session, and the groups of which a part became public later.

    Attributes
    ----------
    price_growth : (T, N) float64
        Product of F over the groups' prompt parts with ex session <= row; a price of row r is worth price_growth[now] /
        price_growth[r] times itself at row `now`.
    share_growth : (T, N) float64
        Product of S over the same.
    total_return : (T, N) float64
        Simple total return from the row before, net of withholding; NaN where either close is absent, and in row 0.
    after_silence : ClosesAfterSilence
    late : tuple of EventGroup
        Groups with an event that is not in the first three arrays, by ex session.
    """

    price_growth: NDArray[np.float64]
    share_growth: NDArray[np.float64]
    total_return: NDArray[np.float64]
    after_silence: ClosesAfterSilence
    late: tuple[EventGroup, ...]


def share_multiplier(events: Iterable[CorporateEvent]) -> float:
    """Return the new shares per old share of events with one ex session."""
    product = 1.0
    for event in events:
        product *= event.share_factor
    return product


def gross_cash(events: Iterable[CorporateEvent]) -> float:
    """Return the gross cash of events with one ex session, R$ per old share."""
    return float(sum(event.cash for event in events))


def net_cash(events: Iterable[CorporateEvent]) -> float:
    """Return the cash after withholding of events with one ex session, R$ per old share."""
    return float(sum(event.cash * (1.0 - event.withholding) for event in events))


def price_multiplier(events: tuple[CorporateEvent, ...], reference: float) -> float:
    """Return the factor F for prices before the ex session, from the last close before it.

    Without a close before (NaN) there is nothing to adjust by cash and only the share factor counts.

    Raises
    ------
    DataError
        When the cash is not below the last close, which would turn the history negative.
    """
    cash = gross_cash(events)
    shares = share_multiplier(events)
    if cash == 0.0 or np.isnan(reference):
        return 1.0 / shares
    if cash >= reference:
        raise DataError(
            f"cash of instrument {events[0].instrument} at ex session {events[0].ex_session} must be below the last "
            f"close before it ({reference:g}); was {cash:g}: check the event's value and its quotation factor"
        )
    return (1.0 - cash / reference) / shares


def group_events(events: Iterable[CorporateEvent], close: NDArray[np.float64]) -> tuple[EventGroup, ...]:
    """Return the events grouped by instrument and ex session, by ex session and instrument.

    Parameters
    ----------
    events : iterable of CorporateEvent
        On the grid of `close`.
    close : (T, N) float64
        Unadjusted closes, NaN where absent; gives each group's reference close.
    """
    members: dict[tuple[int, int], list[CorporateEvent]] = {}
    for event in events:
        members.setdefault((event.ex_session, event.instrument), []).append(event)
    groups: list[EventGroup] = []
    # of each instrument, those since its last close: an event of a silent session finds the price as they left it
    silent: dict[int, list[EventGroup]] = {}
    for ex, instrument in sorted(members):
        row = _last_traded(close[:ex, instrument])
        reference = float("nan") if row is None else float(close[row, instrument])
        earlier = [group for group in silent.get(instrument, ()) if row is not None and group.ex_session > row]
        for group in earlier:
            known = group.known_at(ex)
            reference = (reference - gross_cash(known)) / share_multiplier(known)
        groups.append(EventGroup(instrument, ex, tuple(members[ex, instrument]), reference))
        silent[instrument] = [*earlier, groups[-1]]
    return tuple(groups)


def _last_traded(past: NDArray[np.float64]) -> int | None:
    traded = np.flatnonzero(~np.isnan(past))
    return int(traded[-1]) if traded.size else None


def compute_factors(close: NDArray[np.float64], events: Iterable[CorporateEvent]) -> AdjustmentFactors:
    """Return the adjustment factors of a panel's events.

    Parameters
    ----------
    close : (T, N) float64
        Unadjusted closes, R$ per share, NaN where the instrument did not trade.
    events : iterable of CorporateEvent
        On the same grid.

    Raises
    ------
    DataError
        When a cash event is not below the last close before it.

    Notes
    -----
    Cost: a few passes over the grid. Row r of each array uses rows <= r only.
    """
    price_growth = np.ones_like(close, dtype=np.float64)
    share_growth = np.ones_like(close, dtype=np.float64)
    groups = group_events(events, close)
    prompt = [(group, group.prompt) for group in groups if group.prompt]
    for group, known in prompt:
        cell = (group.ex_session, group.instrument)
        price_growth[cell] *= price_multiplier(known, group.reference)
        share_growth[cell] *= share_multiplier(known)
    np.cumprod(price_growth, axis=0, out=price_growth)
    np.cumprod(share_growth, axis=0, out=share_growth)

    total_return = np.full_like(price_growth, np.nan)
    total_return[1:] = close[1:] / close[:-1] - 1.0
    for group, known in prompt:
        if group.ex_session:
            total_return[group.ex_session, group.instrument] = _total_return(close, group, known)
    for array in (price_growth, share_growth, total_return):
        array.setflags(write=False)
    late = tuple(group for group in groups if len(group.prompt) < len(group.events))
    silence = closes_after_silence(close, total_return, price_growth)
    return AdjustmentFactors(price_growth, share_growth, total_return, silence, late)


def closes_after_silence(
    close: NDArray[np.float64], total_return: NDArray[np.float64], price_growth: NDArray[np.float64]
) -> ClosesAfterSilence:
    """Return the closes (T, N) that have one before but no return of one session."""
    absent = np.isnan(total_return)
    wanted = absent & ~np.isnan(close)
    wanted[absent.all(axis=1)] = False
    # of a flat array: in two dimensions this search takes longer than all the rest
    row, column = np.divmod(np.flatnonzero(wanted), close.shape[1])
    before = row - 1
    searching = np.flatnonzero(before >= 0)
    while searching.size:
        searching = searching[np.isnan(close[before[searching], column[searching]])]
        before[searching] -= 1
        searching = searching[before[searching] >= 0]
    known = before >= 0
    row, column, before = row[known], column[known], before[known]
    cells = np.array([before, row]), column
    return ClosesAfterSilence(row, column, before, close[cells], price_growth[cells])


def _total_return(close: NDArray[np.float64], group: EventGroup, events: tuple[CorporateEvent, ...]) -> float:
    now, before = close[group.ex_session, group.instrument], close[group.ex_session - 1, group.instrument]
    return float((share_multiplier(events) * now + net_cash(events)) / before - 1.0)


def window_price_factor(factors: AdjustmentFactors, start: int, now: int) -> NDArray[np.float64]:
    """Return (now - start + 1, N) multipliers that carry prices of rows start..now to shares of row `now`.

    Only events with ex_session <= now and known_session <= now are in it.
    """
    result: NDArray[np.float64] = factors.price_growth[now] / factors.price_growth[start : now + 1]
    for group in factors.late:
        events = _late_in_window(group, start, now)
        if events:
            missed = price_multiplier(events, group.reference) / price_multiplier(group.prompt, group.reference)
            result[: group.ex_session - start, group.instrument] *= missed
    return result


def window_share_factor(factors: AdjustmentFactors, start: int, now: int) -> NDArray[np.float64]:
    """Return (now - start + 1, N) multipliers that carry share volumes of rows start..now to shares of row `now`."""
    result: NDArray[np.float64] = factors.share_growth[now] / factors.share_growth[start : now + 1]
    for group in factors.late:
        events = _late_in_window(group, start, now)
        if events:
            missed = share_multiplier(events) / share_multiplier(group.prompt)
            result[: group.ex_session - start, group.instrument] *= missed
    return result


def window_total_return(
    factors: AdjustmentFactors, close: NDArray[np.float64], start: int, now: int
) -> NDArray[np.float64]:
    """Return a new (now - start + 1, N) array of the total returns of rows start..now as known at row `now`."""
    result = np.array(factors.total_return[start : now + 1])
    for group in factors.late:
        if start <= group.ex_session <= now and group.ex_session > 0:
            events = group.known_at(now)
            if len(events) > len(group.prompt):
                result[group.ex_session - start, group.instrument] = _total_return(close, group, events)
    return result


def return_since_last_close(close: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each close (T, N) over the last one before it, less one; NaN where either is absent.

    `close` is adjusted to one session, so that the closes on both sides of a gap are comparable.
    """
    rows = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), 0, rows), axis=0)
    before = np.take_along_axis(close, last, axis=0)[:-1]
    result = np.full_like(close, np.nan)
    result[1:] = close[1:] / before - 1.0
    return result


def fill_since_last_close(returns: NDArray[np.float64], factors: AdjustmentFactors, start: int, now: int) -> None:
    """Give each absent cell of `returns` (rows start..now) that has a close its move since the last one, in place.

    A session without any return is left alone: the data have a hole before it. The same numbers as
    `return_since_last_close` of the closes adjusted to row `now`, at the few cells that need them.
    """
    found = factors.after_silence
    rows = slice(*np.searchsorted(found.row, (start, now + 1)))
    row, column, before = found.row[rows], found.column[rows], found.before[rows]
    factor = factors.price_growth[now][column] / found.price_growth[:, rows]
    for group in factors.late:
        events = _late_in_window(group, start, now)
        if events:
            missed = price_multiplier(events, group.reference) / price_multiplier(group.prompt, group.reference)
            factor[(np.array([before, row]) < group.ex_session) & (column == group.instrument)] *= missed
    then, closes = found.close[:, rows] * factor
    moves = closes / then - 1.0
    moves[before < start] = np.nan
    returns[row - start, column] = moves


def _late_in_window(group: EventGroup, start: int, now: int) -> tuple[CorporateEvent, ...]:
    """The known events of a group that reaches into the window, when they are more than its prompt part."""
    if not start < group.ex_session <= now:
        return ()
    events = group.known_at(now)
    return events if len(events) > len(group.prompt) else ()
