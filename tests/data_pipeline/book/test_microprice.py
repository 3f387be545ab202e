"""The adjusted microprice against a closed form, the mean of later mids, and its symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.book.grid import NO_BID, listed_grid, tick_grid
from data_pipeline.book.microprice import estimate_microprice
from data_pipeline.book.replay import BookRows
from data_pipeline.errors import DataError


def market(seed: int, size: int, *, up: float = 0.8) -> BookRows:
    """A spread of one tick; the mid moves by a tick in a tenth of the steps, up with the chance `up` from a bid-heavy
    book and down with it from an ask-heavy one; the book after a step is heavy on either side alike."""
    rng = np.random.default_rng(seed)
    heavy = rng.random(size) < 0.5
    moves = np.where(rng.random(size) < 0.1, np.where(rng.random(size) < np.where(heavy, up, 1 - up), 1, -1), 0)
    bid = 1000 + np.r_[0, np.cumsum(moves)[:-1]]
    ticks = np.stack([bid, bid + 1], axis=1)[:, :, None]
    quantities = np.where(heavy[:, None], [[3.0, 1.0]], [[1.0, 3.0]])[:, :, None]
    return BookRows(np.arange(size), ticks, quantities, tick_grid(0.01))


def test_the_adjustment_is_the_expected_next_move_where_the_state_after_it_is_drawn_anew() -> None:
    rows = market(1, 200_000)
    found = estimate_microprice(rows, spreads=1, classes=2)
    # a state lasts one step, so the first move comes from the state now with chance 1/10, else from either alike:
    # 0.1 x 0.6 ticks, then nothing on average
    np.testing.assert_allclose(found.adjustment, [[-0.0006, 0.0006]], atol=0.0001)
    later = market(2, 200_000)
    ahead = later.bid[100:, 0] + 0.005
    error = ahead - found.price(later)[:-100]
    heavy = later.bid_quantity[:-100, 0] > later.ask_quantity[:-100, 0]
    for chosen in (heavy, ~heavy):
        assert abs(error[chosen].mean()) < 4 * error[chosen].std() / np.sqrt(chosen.sum() / 100)


def test_exchanging_bid_and_ask_turns_the_adjustment_around() -> None:
    found = estimate_microprice(market(3, 5_000, up=0.6), spreads=2, classes=4).adjustment
    np.testing.assert_allclose(found[0], -found[0, ::-1], atol=1e-12)
    assert np.isnan(found[1]).all()  # a spread of two ticks was never seen


def test_books_without_a_state_have_no_price() -> None:
    found = estimate_microprice(market(4, 2_000), spreads=1, classes=2)
    rows = market(5, 4)
    rows.ticks[0, 0, 0] = NO_BID
    rows.ticks[1, 1, 0] = rows.ticks[1, 0, 0]
    rows.ticks[2, 1, 0] += 1
    np.testing.assert_array_equal(np.isnan(found.price(rows)), [True, True, True, False])


def test_what_cannot_be_estimated_is_said() -> None:
    with pytest.raises(DataError, match="mid never moves"):
        estimate_microprice(BookRows(*(getattr(market(6, 1), k) for k in ("times", "ticks", "quantities", "grid"))))
    with pytest.raises(ValueError, match="classes even"):
        estimate_microprice(market(7, 10), classes=3)
    rows = market(7, 10)
    listed = BookRows(rows.times, rows.ticks, rows.quantities, listed_grid(np.arange(2000) / 100))
    with pytest.raises(ValueError, match="a list of prices has not"):
        estimate_microprice(listed)


def test_states_that_the_mid_never_leaves_have_no_adjustment() -> None:
    moving, still = market(8, 400), 200
    ticks = np.concatenate([moving.ticks, np.tile([[[500], [502]]], (still, 1, 1))])
    quantities = np.concatenate([moving.quantities, np.ones((still, 2, 1))])
    rows = BookRows(np.arange(400 + still), ticks, quantities, moving.grid)
    # the join of the two markets is one huge move into the states that nothing leaves
    found = estimate_microprice(rows, spreads=2, classes=2).adjustment
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[1], [0.0, 0.0], atol=1e-12)


def diffusing_market(seed: int, size: int) -> BookRows:
    """A book whose imbalance wanders, whose spread opens and closes, and whose mid follows the imbalance."""
    rng = np.random.default_rng(seed)
    lean, spread, bid = 5, 1, 1000
    found = np.empty((size, 4))
    for row, (kind, first, second, third) in enumerate(rng.random((size, 4)).tolist()):
        found[row] = bid, bid + spread, lean + 1, 10 - lean
        if kind < 0.7:
            lean = min(9, max(0, lean + (1 if first < 0.5 else -1)))
            continue
        up = first < (lean + 0.5) / 10
        if spread == 2:
            bid, spread = bid + up, 1
        elif second < 0.5:
            bid, spread = bid - (not up), 2
        else:
            bid += 1 if up else -1
        lean = int(third * 10) if second < 0.5 else 9 - lean
    return BookRows(np.arange(size), found[:, :2, None].astype(np.int64), found[:, 2:, None], tick_grid(0.01))


def test_the_microprice_is_a_martingale_and_the_mid_is_not() -> None:
    found = estimate_microprice(diffusing_market(1, 60_000), spreads=2, classes=10)
    rows = diffusing_market(1, 60_000)
    state = (rows.ticks[:, 1, 0] - rows.ticks[:, 0, 0] - 1) * 10 + rows.bid_quantity[:, 0].astype(np.int64) - 1
    mirror = state // 10 * 10 + 9 - state % 10
    # the definition: no drift from any state, over the sample and its mirror image
    step = np.diff(found.price(rows))
    for number in range(20):
        drift = step[state[:-1] == number].sum() - step[mirror[:-1] == number].sum()
        assert abs(drift) < 1e-9
    # and on data that the estimate has not seen
    later, ahead = diffusing_market(2, 60_000), 20
    state = (later.ticks[:, 1, 0] - later.ticks[:, 0, 0] - 1) * 10 + later.bid_quantity[:, 0].astype(np.int64) - 1
    middle = 0.5 * (later.bid[:, 0] + later.ask[:, 0])
    scores = []
    for price in (found.price(later), middle):
        moves = [(price[ahead:] - price[:-ahead])[state[:-ahead] == number] for number in range(20)]
        # moves over 20 rows overlap: a twentieth of them are independent
        scores.append(max(abs(move.mean()) / (move.std() / np.sqrt(move.size / ahead)) for move in moves))
    assert scores[0] < 3.5 < scores[1]
