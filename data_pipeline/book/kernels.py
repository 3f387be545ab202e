"""The compiled loop that turns changes of price levels into the path of the best quotes."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True)
def best_levels(
    step: Any, is_bid: Any, rank: Any, change: Any, bids: Any, asks: Any, best_bid: Any, best_ask: Any
) -> int:
    """Highest bid and lowest ask rank after each step, and how often a level fell below zero (it is then put to zero).

    step (n,) int64, not decreasing: changes of one step happen together; is_bid (n,) bool; rank (n,) int64, a price's
    place among all prices; change (n,) int64, of orders or levels; bids, asks (ranks,) int64, zero on entry: what
    stands at each price; best_bid, best_ask (steps,) int64: -1 where the side is empty. Steps without a change repeat
    the last one.
    """
    ranks = bids.size
    high, low = -1, ranks
    below = 0
    row = 0
    for s in range(best_bid.size):
        while row < step.size and step[row] == s:
            r = rank[row]
            side = bids if is_bid[row] else asks
            side[r] += change[row]
            if side[r] < 0:
                side[r] = 0
                below += 1
            if side[r] > 0:
                if is_bid[row]:
                    high = max(high, r)
                else:
                    low = min(low, r)
            row += 1
        while high >= 0 and bids[high] == 0:
            high -= 1
        while low < ranks and asks[low] == 0:
            low += 1
        best_bid[s] = high
        best_ask[s] = low if low < ranks else -1
    return below


@njit(cache=True)
def first_row_beyond(start: Any, side: Any, price: Any, worst_bid: Any, worst_ask: Any, row: Any) -> None:
    """Row from which on each order stands behind everything that is shown: the first after its start where the worst
    shown price of its side is better than its own.

    start (k,) int64; side (k,) int64, +1 a bid; price (k,) int64; worst_bid, worst_ask (n,) int64; row (k,) int64:
    n where the order stays in view.
    """
    rows = worst_bid.size
    for i in range(start.size):
        row[i] = rows
        for r in range(start[i], rows):
            if (side[i] > 0 and worst_bid[r] > price[i]) or (side[i] < 0 and worst_ask[r] < price[i]):
                row[i] = r
                break
