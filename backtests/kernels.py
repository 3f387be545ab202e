"""The accounting kernel: one session of one portfolio, and a whole path of given weights, compiled.

Everything that moves cash or shares happens in `march_session`, in this order:

1. interest on the cash held overnight (negative cash pays it) and the loan fee of shares held short overnight;
2. cash events (a holder of the previous close gets the cash net of withholding, a short pays it gross), then share
   events; the fraction of a share that an event leaves is paid out in cash at the previous close restated for the
   event (B3 auctions the fractions and pays the proceeds);
3. child orders: the schedule's fraction of what remains of each parent order, in whole lots, at most
   `participation` of the volume that the instrument trades in this very session; no trade, no fill;
4. fills at the session's price: first everything that makes a position smaller and every sale, then the rest, scaled by
   one common factor so that the gross limit holds and cash does not fall below its floor, costs included;
5. marks at the close (an instrument that did not trade keeps its last close, restated for events), and the closing of
   positions whose instrument has not traded for `delisting_sessions` sessions.

Arrays in, results in the arrays of `Book` and `Outcome`; nothing is checked and nothing is allocated here: `accounting`
does both. All jitted functions that call each other are in this file, because numba's cache does not notice an edited
function of another file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NET_ASSET_VALUE, CASH, GROSS, NET, TRADED, HALF_SPREAD, IMPACT, FEES, BORROW, DIVIDENDS, INTEREST = range(11)
"""Rows of `Outcome.totals`."""

N_TOTALS = 11

WHOLE = 1e-6
"""Share counts this close to a whole number are that number: 3 * 0.1 is not 0.3 in binary."""


class Market(NamedTuple):
    """T sessions of N instruments: prices in R$ per share, volume in shares, events per share held before them.

    (T, N), but `risk_free` (T,), `lot_size` and `shortable` (N,). `lot_size` 0 means that fractions of a share trade
    and are kept.
    """

    fill_price: Floats
    close: Floats
    volume: Floats
    share_factor: Floats
    cash_gross: Floats
    cash_net: Floats
    risk_free: Floats
    lot_size: Floats
    shortable: NDArray[np.bool_]


class Costs(NamedTuple):
    """The numbers of a `TradingCosts`, per instrument (N,) or one for all.

    `daily_volume` counts shares of the session before and is restated in place by share events: it needs its own copy.
    """

    half_spread: Floats
    volatility: Floats
    daily_volume: Floats
    temporary_impact: float
    crowd_impact: float
    fee: float


class Schedule(NamedTuple):
    """`fractions` (h, N) of the remainder sent k sessions after the decision, `crowd_rate` (h,) in daily volumes."""

    fractions: Floats
    crowd_rate: Floats


class Rules(NamedTuple):
    """The numbers of a `TradingRules`."""

    participation: float
    gross_limit: float
    borrow_cash: bool
    borrow_rate: float
    delisting_sessions: int
    delisting_recovery: float


class Book(NamedTuple):
    """State of one account, changed in place: (N,) arrays and cash (1,).

    `shares` held, `remaining` shares of the parent orders, `age` sessions since the decision, `mark` last known close
    restated for events, `stale` sessions without a trade up to now.
    """

    shares: Floats
    remaining: Floats
    age: NDArray[np.int64]
    mark: Floats
    stale: NDArray[np.int64]
    cash: Floats


class Outcome(NamedTuple):
    """What one session did, overwritten each time: (N,) arrays and the (N_TOTALS,) money totals.

    `fraction_*` are the fractions of shares paid out after a share event, `delisted_*` the positions closed because
    the instrument stopped trading; `reducing` is working space.
    """

    quantity: Floats
    half_spread: Floats
    impact: Floats
    fees: Floats
    fraction_quantity: Floats
    fraction_price: Floats
    delisted_quantity: Floats
    delisted_price: Floats
    reducing: Floats
    totals: Floats


@njit(cache=True)
def whole_lots(quantity: float, lot: float) -> float:
    """`quantity` cut towards zero to whole lots; unchanged when `lot` is 0."""
    if lot == 0.0:
        return quantity
    lots = np.floor(abs(quantity) / lot + WHOLE)
    return np.copysign(lots * lot, quantity) if lots > 0.0 else 0.0


@njit(cache=True)
def child_order(remaining: float, fraction: float, is_last: bool, lot: float, shares: float) -> float:
    """Shares to send now out of `remaining`: the nearest whole lots to `fraction` of it.

    A parent that closes the position takes the odd shares with it. The last session of a schedule sends at least one
    lot, so that a schedule whose fractions stay below 1 ends.
    """
    if lot == 0.0:
        return remaining * fraction
    limit = whole_lots(remaining, lot)
    if fraction >= 1.0:
        wanted = limit
    else:
        wanted = np.copysign(np.floor(abs(remaining) * fraction / lot + 0.5) * lot, remaining)
        if is_last and wanted == 0.0:
            wanted = np.copysign(lot, remaining)
    if abs(wanted) > abs(limit):
        wanted = limit
    if shares + remaining == 0.0 and abs(remaining - wanted) < lot:
        wanted = remaining
    return wanted


@njit(cache=True)
def _apply_events(market: Market, t: int, costs: Costs, book: Book, out: Outcome) -> tuple[float, float]:
    """Dividends and fraction proceeds of the session's events; positions, orders, marks and daily volumes restated."""
    dividends = 0.0
    proceeds = 0.0
    for i in range(book.shares.size):
        out.fraction_quantity[i] = 0.0
        out.fraction_price[i] = np.nan
        gross = market.cash_gross[t, i]
        factor = market.share_factor[t, i]
        if gross == 0.0 and factor == 1.0:
            continue
        held = book.shares[i]
        dividends += held * (market.cash_net[t, i] if held > 0.0 else gross)
        book.mark[i] = max(book.mark[i] - gross, 0.0) / factor
        if factor == 1.0:
            continue
        costs.daily_volume[i] *= factor
        lot = market.lot_size[i]
        restated = held * factor
        kept = restated if lot == 0.0 else np.copysign(np.floor(abs(restated) + WHOLE), restated)
        if abs(restated - kept) > WHOLE:
            out.fraction_quantity[i] = kept - restated
            out.fraction_price[i] = book.mark[i]
            proceeds += (restated - kept) * book.mark[i]
        closes = held != 0.0 and held + book.remaining[i] == 0.0
        book.shares[i] = kept
        book.remaining[i] = -kept if closes else book.remaining[i] * factor
    return dividends, proceeds


@njit(cache=True)
def _send_children(market: Market, t: int, schedule: Schedule, rules: Rules, book: Book, out: Outcome) -> bool:
    """Child orders of the session in `out.quantity`, and in `out.reducing` the part that makes a position smaller.

    The answer is whether there are any.
    """
    horizon = schedule.crowd_rate.size
    found = False
    for i in range(book.shares.size):
        out.quantity[i] = 0.0
        out.reducing[i] = 0.0
        out.half_spread[i] = 0.0
        out.impact[i] = 0.0
        out.fees[i] = 0.0
        remaining = book.remaining[i]
        if remaining == 0.0:
            continue
        held = book.shares[i]
        lot = market.lot_size[i]
        k = book.age[i] % horizon
        book.age[i] = k + 1
        volume = market.volume[t, i]
        if not (volume > 0.0 and np.isfinite(market.fill_price[t, i])):
            continue
        sent = child_order(remaining, schedule.fractions[k, i], k == horizon - 1, lot, held)
        if abs(sent) > rules.participation * volume:
            sent = np.copysign(whole_lots(rules.participation * volume, lot), sent)
        if sent < 0.0 and not market.shortable[i] and held + sent < 0.0:
            sent = min(-held, 0.0)
        out.quantity[i] = sent
        if sent * held < 0.0:
            out.reducing[i] = np.copysign(min(abs(sent), abs(held)), sent)
        found |= sent != 0.0
    return found


@njit(cache=True)
def _impact_coefficient(price: float, crowd_rate: float, costs: Costs, i: int) -> float:
    """Money per squared share: 1/2 eta(m) sigma p / V."""
    eta = costs.temporary_impact + costs.crowd_impact * abs(crowd_rate)
    per_share: float = 0.5 * eta * costs.volatility[i] * price / costs.daily_volume[i]
    return per_share


@njit(cache=True)
def _gross_factor(market: Market, t: int, rules: Rules, book: Book, out: Outcome) -> float:
    """Largest factor in [0, 1] on the position-increasing parts that keeps gross within its limit, before costs."""
    value = 0.0 + book.cash[0]
    kept = 0.0
    added = 0.0
    for i in range(book.shares.size):
        sent = out.quantity[i]
        if book.shares[i] == 0.0 and sent == 0.0:
            continue
        price = market.fill_price[t, i] if sent != 0.0 else book.mark[i]
        value += book.shares[i] * price
        kept += abs(book.shares[i] + out.reducing[i]) * price
        added += abs(sent - out.reducing[i]) * price
    room = rules.gross_limit * value - kept
    if added == 0.0 or added <= room:
        return 1.0
    factor: float = max(room, 0.0) / added
    return factor


@njit(cache=True)
def _cash_factor(
    market: Market,
    t: int,
    costs: Costs,
    schedule: Schedule,
    rules: Rules,
    book: Book,
    out: Outcome,
    gross_factor: float,
) -> float:
    """Largest factor in [0, 1] on the position-increasing purchases that leaves cash at zero or above, costs included.

    Covering a short is never refused, even when it takes the cash below zero. Cash after the trades is
    `cash0 - linear f - quadratic f^2` in that factor f.
    """
    if rules.borrow_cash:
        return 1.0
    cash = book.cash[0]
    linear = 0.0
    quadratic = 0.0
    for i in range(book.shares.size):
        sent = out.quantity[i]
        if sent == 0.0:
            continue
        price = market.fill_price[t, i]
        rate = costs.half_spread[i] + costs.fee
        k = schedule.crowd_rate[book.age[i] - 1]
        curvature = _impact_coefficient(price, k, costs, i)
        first = out.reducing[i]
        rest = sent - first
        if sent < 0.0:
            first += whole_lots(rest * gross_factor, market.lot_size[i])
            rest = 0.0
        cash -= price * (first + rate * abs(first)) + curvature * first * first
        linear += rest * price * (1.0 + rate) + 2.0 * curvature * abs(first) * rest
        quadratic += curvature * rest * rest
    if linear + quadratic <= cash:
        return 1.0
    if cash <= 0.0:
        return 0.0
    factor: float = 2.0 * cash / (linear + np.sqrt(linear * linear + 4.0 * quadratic * cash))
    return factor


@njit(cache=True)
def _fill(
    market: Market, t: int, costs: Costs, schedule: Schedule, book: Book, out: Outcome, gross: float, cash: float
) -> None:
    """Fills of the session's children after scaling: shares, cash and costs."""
    totals = out.totals
    for i in range(book.shares.size):
        sent = out.quantity[i]
        if sent == 0.0:
            continue
        factor = min(gross, cash) if sent > 0.0 else gross
        lot = market.lot_size[i]
        if factor < 1.0:
            sent = out.reducing[i] + whole_lots(factor * (sent - out.reducing[i]), lot)
            out.quantity[i] = sent
            if sent == 0.0:
                continue
        price = market.fill_price[t, i]
        traded = abs(sent) * price
        crowd_rate = schedule.crowd_rate[book.age[i] - 1]
        out.half_spread[i] = traded * costs.half_spread[i]
        out.impact[i] = _impact_coefficient(price, crowd_rate, costs, i) * sent * sent
        out.fees[i] = traded * costs.fee
        book.cash[0] -= sent * price + out.half_spread[i] + out.impact[i] + out.fees[i]
        book.shares[i] += sent
        book.remaining[i] -= sent
        if abs(book.remaining[i]) < lot and book.shares[i] + book.remaining[i] != 0.0:
            book.remaining[i] = 0.0
        totals[TRADED] += traded
        totals[HALF_SPREAD] += out.half_spread[i]
        totals[IMPACT] += out.impact[i]
        totals[FEES] += out.fees[i]


@njit(cache=True)
def _mark(market: Market, t: int, rules: Rules, book: Book, out: Outcome) -> None:
    """Marks at the close, positions of dead instruments closed, and the value totals."""
    totals = out.totals
    value = 0.0
    gross = 0.0
    for i in range(book.shares.size):
        out.delisted_quantity[i] = 0.0
        out.delisted_price[i] = np.nan
        if np.isfinite(market.close[t, i]):
            book.mark[i] = market.close[t, i]
            book.stale[i] = 0
        else:
            book.stale[i] += 1
        held = book.shares[i]
        if held == 0.0:
            continue
        if book.stale[i] >= rules.delisting_sessions:
            # A short is closed at the last price: booking the recovery as its gain would flatter it.
            price = book.mark[i] * (rules.delisting_recovery if held > 0.0 else 1.0)
            book.cash[0] += held * price
            out.delisted_quantity[i] = -held
            out.delisted_price[i] = price
            book.shares[i] = 0.0
            book.remaining[i] = 0.0
            continue
        value += held * book.mark[i]
        gross += abs(held) * book.mark[i]
    totals[NET] = value
    totals[GROSS] = gross
    totals[CASH] = book.cash[0]
    totals[NET_ASSET_VALUE] = value + book.cash[0]


@njit(cache=True)
def march_session(
    market: Market, t: int, costs: Costs, schedule: Schedule, rules: Rules, book: Book, out: Outcome
) -> None:
    """Session t: `book` goes from the close before to this one, `out` says what happened (module docstring)."""
    out.totals[:] = 0.0
    lent = 0.0
    for i in range(book.shares.size):
        if book.shares[i] < 0.0:
            lent -= book.shares[i] * book.mark[i]
    interest = book.cash[0] * market.risk_free[t]
    borrow = lent * rules.borrow_rate
    dividends, proceeds = _apply_events(market, t, costs, book, out)
    book.cash[0] += interest - borrow + dividends + proceeds
    out.totals[INTEREST] = interest
    out.totals[BORROW] = borrow
    out.totals[DIVIDENDS] = dividends
    if _send_children(market, t, schedule, rules, book, out):
        gross = _gross_factor(market, t, rules, book, out)
        cash = _cash_factor(market, t, costs, schedule, rules, book, out, gross)
        _fill(market, t, costs, schedule, book, out, gross, cash)
    _mark(market, t, rules, book, out)


@njit(cache=True)
def place_targets(targets: Floats, t: int, in_shares: bool, value: float, lot_size: Floats, book: Book) -> None:
    """Parent orders to the positions `targets[t]`, in whole lots; a target of zero closes.

    Targets are shares, or weights of `value` at the marks. The order is cut towards zero, so a position never
    overshoots its target. A weight in an instrument that never traded gets none.
    """
    for i in range(book.shares.size):
        book.age[i] = 0
        target = targets[t, i]
        if target == 0.0:
            book.remaining[i] = -book.shares[i]
            continue
        if not in_shares:
            target = target * value / book.mark[i] if book.mark[i] > 0.0 else book.shares[i]
        book.remaining[i] = whole_lots(target - book.shares[i], lot_size[i])


@njit(cache=True)
def march_target_path(
    market: Market,
    costs: Costs,
    schedule: Schedule,
    rules: Rules,
    targets: Floats,
    in_shares: bool,
    book: Book,
    out: Outcome,
    totals: Floats,
    orders: NDArray[np.int64],
) -> None:
    """A whole path: the positions `targets[t]` are decided at close t and traded from the next session on.

    Targets are weights or shares; a NaN at the head of a row keeps the last ones. Row t of `totals` (T, N_TOTALS) is
    the account at close t; `orders` (N,) counts the fills of each instrument.
    """
    for t in range(targets.shape[0]):
        march_session(market, t, costs, schedule, rules, book, out)
        if out.totals[TRADED] > 0.0:
            for i in range(orders.size):
                if out.quantity[i] != 0.0:
                    orders[i] += 1
        for k in range(N_TOTALS):
            totals[t, k] = out.totals[k]
        if not np.isnan(targets[t, 0]):
            place_targets(targets, t, in_shares, out.totals[NET_ASSET_VALUE], market.lot_size, book)
