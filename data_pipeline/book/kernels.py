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
def first_row_beyond(start: Any, limit: Any, worst: Any, waiting: Any, row: Any) -> None:
    """The first row from each start on whose `worst` is above the limit, the number of rows where there is none.

    One pass from the last row to the first: of the rows after a place only those above all between count, they are
    kept on a stack (the next greater element), and each start searches it by halves.

    start (k,) int64, not rising; limit (k,) int64; worst (n,) int64; waiting (n,) int64 is scratch; row (k,) int64.
    """
    rows = worst.size
    depth = 0
    i = 0
    for r in range(rows - 1, -1, -1):
        while depth > 0 and worst[waiting[depth - 1]] <= worst[r]:
            depth -= 1
        waiting[depth] = r
        depth += 1
        while i < start.size and start[i] == r:
            # along the stack the rows come nearer and `worst` falls
            low, high = 0, depth
            while low < high:
                middle = (low + high) // 2
                if worst[waiting[middle]] > limit[i]:
                    low = middle + 1
                else:
                    high = middle
            row[i] = waiting[low - 1] if low > 0 else rows
            i += 1
