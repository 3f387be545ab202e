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

Arrays in, results in the arrays `book`, `cash`, `out` and `totals`; nothing is checked and nothing is allocated here:
`kernel_arrays` names the arrays, `accounting` checks. Related columns share one array, because in a loop over sessions
numba's counting of references to many small arrays takes longer than the arithmetic. All jitted functions that call
each other are in this file, because numba's cache does not notice an edited function of another file. The helpers
of `march_session` are inlined: a call with a dozen arrays costs more than what it does for a few instruments.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NET_ASSET_VALUE, CASH, GROSS, NET, TRADED, HALF_SPREAD, IMPACT, FEES, BORROW, DIVIDENDS, INTEREST = range(11)
"""Entries of `totals`, R$: the state at the close, then what moved in the session."""

N_TOTALS = 11

WHOLE = 1e-6
"""Share counts this close to a whole number are that number: 3 * 0.1 is not 0.3 in binary."""


FILL_PRICE, CLOSE, VOLUME, SHARE_FACTOR, CASH_GROSS, CASH_NET = range(6)
"""Fields of `market` (T, 6, N): R$ per share, shares, and events per share held before the session."""

LOT_SIZE, SHORTABLE = range(2)
"""Rows of `fixed` (2, N); a lot size of 0 means that fractions of a share trade and are kept."""

SPREAD, VOLATILITY, DAILY_VOLUME = range(3)
"""Rows of `costs` (3, N); the daily volume counts today's shares, so share events restate it in place."""

TEMPORARY_IMPACT, CROWD_IMPACT, FEE = range(3)
"""Entries of `prices` (3,), the costs that all instruments share."""

PARTICIPATION, GROSS_LIMIT, BORROW_CASH, BORROW_RATE, DELISTING_SESSIONS, DELISTING_RECOVERY = range(6)
"""Entries of `rules` (6,)."""

SHARES, REMAINING, AGE, MARK, STALE = range(5)
"""Rows of `book` (5, N), the state between closes: shares held, shares still to trade of the parent orders, sessions
since their decision, last known close restated for events, sessions without a trade up to now. All are whole numbers
but the mark, and float64 holds them exactly."""

(
    QUANTITY,
    COST_SPREAD,
    COST_IMPACT,
    COST_FEES,
    FRACTION_QUANTITY,
    FRACTION_PRICE,
    DELISTED_QUANTITY,
    DELISTED_PRICE,
    REDUCING,
) = range(9)
"""Rows of `out` (9, N), what the session did: fills and their costs, fractions of shares paid out after a share event,
positions closed because the instrument stopped trading; the last row is working space."""

N_OUT = 9


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


@njit(cache=True, inline="always")
def _apply_events(
    market: Floats, fixed: Floats, t: int, costs: Floats, book: Floats, out: Floats
) -> tuple[float, float]:
    """Dividends and fraction proceeds of the session's events; positions, orders, marks and daily volumes restated."""
    dividends = 0.0
    proceeds = 0.0
    for i in range(book.shape[1]):
        out[FRACTION_QUANTITY, i] = 0.0
        out[FRACTION_PRICE, i] = np.nan
        gross = market[t, CASH_GROSS, i]
        factor = market[t, SHARE_FACTOR, i]
        if gross == 0.0 and factor == 1.0:
            continue
        held = book[SHARES, i]
        dividends += held * (market[t, CASH_NET, i] if held > 0.0 else gross)
        book[MARK, i] = max(book[MARK, i] - gross, 0.0) / factor
        if factor == 1.0:
            continue
        costs[DAILY_VOLUME, i] *= factor
        lot = fixed[LOT_SIZE, i]
        restated = held * factor
        kept = restated if lot == 0.0 else np.copysign(np.floor(abs(restated) + WHOLE), restated)
        if abs(restated - kept) > WHOLE:
            out[FRACTION_QUANTITY, i] = kept - restated
            out[FRACTION_PRICE, i] = book[MARK, i]
            proceeds += (restated - kept) * book[MARK, i]
        closes = held != 0.0 and held + book[REMAINING, i] == 0.0
        book[SHARES, i] = kept
        book[REMAINING, i] = -kept if closes else book[REMAINING, i] * factor
    return dividends, proceeds


@njit(cache=True, inline="always")
def _send_children(
    market: Floats,
    fixed: Floats,
    t: int,
    fractions: Floats,
    rules: Floats,
    book: Floats,
    out: Floats,
) -> bool:
    """Child orders of the session in QUANTITY, and in REDUCING the part of them that makes a position smaller.

    The answer is whether there are any.
    """
    horizon = fractions.shape[0]
    found = False
    for i in range(book.shape[1]):
        out[QUANTITY, i] = 0.0
        out[REDUCING, i] = 0.0
        out[COST_SPREAD, i] = 0.0
        out[COST_IMPACT, i] = 0.0
        out[COST_FEES, i] = 0.0
        remaining = book[REMAINING, i]
        if remaining == 0.0:
            continue
        held = book[SHARES, i]
        lot = fixed[LOT_SIZE, i]
        k = int(book[AGE, i]) % horizon
        book[AGE, i] = k + 1
        volume = market[t, VOLUME, i]
        if not (volume > 0.0 and np.isfinite(market[t, FILL_PRICE, i])):
            continue
        sent = child_order(remaining, fractions[k, i], k == horizon - 1, lot, held)
        if abs(sent) > rules[PARTICIPATION] * volume:
            sent = np.copysign(whole_lots(rules[PARTICIPATION] * volume, lot), sent)
        if sent < 0.0 and fixed[SHORTABLE, i] == 0.0 and held + sent < 0.0:
            sent = min(-held, 0.0)
        out[QUANTITY, i] = sent
        if sent * held < 0.0:
            out[REDUCING, i] = np.copysign(min(abs(sent), abs(held)), sent)
        found |= sent != 0.0
    return found


@njit(cache=True, inline="always")
def _impact_coefficient(price: float, rate: float, costs: Floats, prices: Floats, i: int) -> float:
    """Money per squared share: 1/2 eta(m) sigma p / V, with m the crowd's `rate`."""
    eta = prices[TEMPORARY_IMPACT] + prices[CROWD_IMPACT] * abs(rate)
    per_share: float = 0.5 * eta * costs[VOLATILITY, i] * price / costs[DAILY_VOLUME, i]
    return per_share


@njit(cache=True, inline="always")
def _gross_factor(market: Floats, t: int, rules: Floats, book: Floats, cash: float, out: Floats) -> float:
    """Largest factor in [0, 1] on the position-increasing parts that keeps gross within its limit, before costs."""
    value = cash
    kept = 0.0
    added = 0.0
    for i in range(book.shape[1]):
        sent = out[QUANTITY, i]
        if book[SHARES, i] == 0.0 and sent == 0.0:
            continue
        price = market[t, FILL_PRICE, i] if sent != 0.0 else book[MARK, i]
        value += book[SHARES, i] * price
        kept += abs(book[SHARES, i] + out[REDUCING, i]) * price
        added += abs(sent - out[REDUCING, i]) * price
    room = rules[GROSS_LIMIT] * value - kept
    if added == 0.0 or added <= room:
        return 1.0
    factor: float = max(room, 0.0) / added
    return factor


@njit(cache=True, inline="always")
def _cash_factor(
    market: Floats,
    fixed: Floats,
    t: int,
    costs: Floats,
    prices: Floats,
    crowd_rate: Floats,
    rules: Floats,
    book: Floats,
    cash: float,
    out: Floats,
    gross_factor: float,
) -> float:
    """Largest factor in [0, 1] on the position-increasing purchases that leaves cash at zero or above, costs included.

    Covering a short is never refused, even when it takes the cash below zero. Cash after the trades is
    `left - linear f - quadratic f^2` in that factor f.
    """
    if rules[BORROW_CASH] != 0.0:
        return 1.0
    left = cash
    linear = 0.0
    quadratic = 0.0
    for i in range(book.shape[1]):
        sent = out[QUANTITY, i]
        if sent == 0.0:
            continue
        price = market[t, FILL_PRICE, i]
        rate = costs[SPREAD, i] + prices[FEE]
        curvature = _impact_coefficient(price, crowd_rate[int(book[AGE, i]) - 1], costs, prices, i)
        first = out[REDUCING, i]
        rest = sent - first
        if sent < 0.0:
            first += whole_lots(rest * gross_factor, fixed[LOT_SIZE, i])
            rest = 0.0
        left -= price * (first + rate * abs(first)) + curvature * first * first
        linear += rest * price * (1.0 + rate) + 2.0 * curvature * abs(first) * rest
        quadratic += curvature * rest * rest
    if linear + quadratic <= left:
        return 1.0
    if left <= 0.0:
        return 0.0
    factor: float = 2.0 * left / (linear + np.sqrt(linear * linear + 4.0 * quadratic * left))
    return factor


@njit(cache=True, inline="always")
def _fill(
    market: Floats,
    fixed: Floats,
    t: int,
    costs: Floats,
    prices: Floats,
    crowd_rate: Floats,
    book: Floats,
    cash: Floats,
    out: Floats,
    totals: Floats,
    gross_factor: float,
    cash_factor: float,
) -> None:
    """Fills of the session's children after scaling: shares, cash and costs."""
    for i in range(book.shape[1]):
        sent = out[QUANTITY, i]
        if sent == 0.0:
            continue
        factor = min(gross_factor, cash_factor) if sent > 0.0 else gross_factor
        lot = fixed[LOT_SIZE, i]
        if factor < 1.0:
            sent = out[REDUCING, i] + whole_lots(factor * (sent - out[REDUCING, i]), lot)
            out[QUANTITY, i] = sent
            if sent == 0.0:
                continue
        price = market[t, FILL_PRICE, i]
        traded = abs(sent) * price
        out[COST_SPREAD, i] = traded * costs[SPREAD, i]
        curvature = _impact_coefficient(price, crowd_rate[int(book[AGE, i]) - 1], costs, prices, i)
        out[COST_IMPACT, i] = curvature * sent * sent
        out[COST_FEES, i] = traded * prices[FEE]
        cash[0] -= sent * price + out[COST_SPREAD, i] + out[COST_IMPACT, i] + out[COST_FEES, i]
        book[SHARES, i] += sent
        book[REMAINING, i] -= sent
        if abs(book[REMAINING, i]) < lot and book[SHARES, i] + book[REMAINING, i] != 0.0:
            book[REMAINING, i] = 0.0
        totals[TRADED] += traded
        totals[HALF_SPREAD] += out[COST_SPREAD, i]
        totals[IMPACT] += out[COST_IMPACT, i]
        totals[FEES] += out[COST_FEES, i]


@njit(cache=True, inline="always")
def _mark(market: Floats, t: int, rules: Floats, book: Floats, cash: Floats, out: Floats, totals: Floats) -> None:
    """Marks at the close, positions of dead instruments closed, and the value totals."""
    value = 0.0
    gross = 0.0
    for i in range(book.shape[1]):
        out[DELISTED_QUANTITY, i] = 0.0
        out[DELISTED_PRICE, i] = np.nan
        if np.isfinite(market[t, CLOSE, i]):
            book[MARK, i] = market[t, CLOSE, i]
            book[STALE, i] = 0.0
        else:
            book[STALE, i] += 1.0
        held = book[SHARES, i]
        if held == 0.0:
            continue
        if book[STALE, i] >= rules[DELISTING_SESSIONS]:
            # A short is closed at the last price: booking the recovery as its gain would flatter it.
            price = book[MARK, i] * (rules[DELISTING_RECOVERY] if held > 0.0 else 1.0)
            cash[0] += held * price
            out[DELISTED_QUANTITY, i] = -held
            out[DELISTED_PRICE, i] = price
            book[SHARES, i] = 0.0
            book[REMAINING, i] = 0.0
            continue
        value += held * book[MARK, i]
        gross += abs(held) * book[MARK, i]
    totals[NET] = value
    totals[GROSS] = gross
    totals[CASH] = cash[0]
    totals[NET_ASSET_VALUE] = value + cash[0]


@njit(cache=True)
def march_session(
    market: Floats,
    risk_free: Floats,
    fixed: Floats,
    t: int,
    costs: Floats,
    prices: Floats,
    fractions: Floats,
    crowd_rate: Floats,
    rules: Floats,
    book: Floats,
    cash: Floats,
    out: Floats,
    totals: Floats,
) -> None:
    """Session t: `book` and `cash` (1,) go from the close before to this one (module docstring).

    `risk_free` (T,); `fractions` (h, N) of the remainder sent k sessions after the decision; `crowd_rate` (h,) in
    daily volumes per session; `totals` (N_TOTALS,), R$.
    """
    totals[:] = 0.0
    lent = 0.0
    for i in range(book.shape[1]):
        if book[SHARES, i] < 0.0:
            lent -= book[SHARES, i] * book[MARK, i]
    interest = cash[0] * risk_free[t]
    borrow = lent * rules[BORROW_RATE]
    dividends, proceeds = _apply_events(market, fixed, t, costs, book, out)
    cash[0] += interest - borrow + dividends + proceeds
    totals[INTEREST] = interest
    totals[BORROW] = borrow
    totals[DIVIDENDS] = dividends
    if _send_children(market, fixed, t, fractions, rules, book, out):
        gross = _gross_factor(market, t, rules, book, cash[0], out)
        paid = _cash_factor(market, fixed, t, costs, prices, crowd_rate, rules, book, cash[0], out, gross)
        _fill(market, fixed, t, costs, prices, crowd_rate, book, cash, out, totals, gross, paid)
    _mark(market, t, rules, book, cash, out, totals)


@njit(cache=True)
def place_targets(targets: Floats, t: int, in_shares: bool, value: float, fixed: Floats, book: Floats) -> None:
    """Parent orders to the positions `targets[t]`, in whole lots; a target of zero closes.

    Targets are shares, or weights of `value` at the marks. The order is cut towards zero, so a position never
    overshoots its target. A weight in an instrument that never traded gets none.
    """
    for i in range(book.shape[1]):
        book[AGE, i] = 0.0
        target = targets[t, i]
        if target == 0.0:
            book[REMAINING, i] = -book[SHARES, i]
            continue
        if not in_shares:
            target = target * value / book[MARK, i] if book[MARK, i] > 0.0 else book[SHARES, i]
        book[REMAINING, i] = whole_lots(target - book[SHARES, i], fixed[LOT_SIZE, i])


@njit(cache=True)
def march_target_path(
    market: Floats,
    risk_free: Floats,
    fixed: Floats,
    costs: Floats,
    prices: Floats,
    fractions: Floats,
    crowd_rate: Floats,
    rules: Floats,
    book: Floats,
    cash: Floats,
    out: Floats,
    totals: Floats,
    targets: Floats,
    in_shares: bool,
    path: Floats,
    orders: NDArray[np.int64],
) -> None:
    """A whole path: the positions `targets[t]` are decided at close t and traded from the next session on.

    Targets are weights or shares; a NaN at the head of a row keeps the last ones. Row t of `path` (T, N_TOTALS) is
    the account at close t; `orders` (N,) counts the fills of each instrument.
    """
    for t in range(targets.shape[0]):
        march_session(market, risk_free, fixed, t, costs, prices, fractions, crowd_rate, rules, book, cash, out, totals)
        if totals[TRADED] > 0.0:
            for i in range(orders.size):
                if out[QUANTITY, i] != 0.0:
                    orders[i] += 1
        for k in range(N_TOTALS):
            path[t, k] = totals[k]
        if not np.isnan(targets[t, 0]):
            place_targets(targets, t, in_shares, totals[NET_ASSET_VALUE], fixed, book)
