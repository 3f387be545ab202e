from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, rankdata

from backtests.evidence.overfitting import probability_of_backtest_overfitting


def plain_splits(matrix, blocks):
    """Inside score, outside score and relative rank of the winner by split, one split after another."""
    parts = np.split(matrix, np.linspace(0, len(matrix), blocks + 1).round().astype(int)[1:-1])
    rows = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[b] for b in chosen])
        outside = np.concatenate([parts[b] for b in range(blocks) if b not in chosen])
        scores = [half.mean(axis=0) / half.std(axis=0, ddof=1) for half in (inside, outside)]
        best = int(np.argmax(scores[0]))
        rows.append((scores[0][best], scores[1][best], rankdata(scores[1])[best] / (matrix.shape[1] + 1)))
    return np.array(rows).T


def draw(seed, sessions=1000, trials=100, skill=0.0):
    returns = np.random.default_rng(seed).standard_normal((sessions, trials))
    returns[:, 0] += skill
    return returns


@pytest.mark.parametrize(("sessions", "blocks"), [(160, 8), (203, 6), (40, 2)])
def test_every_split_equals_the_plain_reference(sessions, blocks):
    returns = 0.01 * draw(3, sessions, 7) + 0.0004
    inside, outside, relative = plain_splits(returns, blocks)
    found = probability_of_backtest_overfitting(returns, blocks)
    assert found.inside == pytest.approx(inside, rel=1e-10)
    assert found.outside == pytest.approx(outside, rel=1e-10)
    assert found.logits == pytest.approx(np.log(relative / (1 - relative)), abs=1e-12)
    assert found.probability == np.mean(relative <= 0.5)
    assert found.probability_of_loss == np.mean(outside < 0)
    line = linregress(inside, outside)
    assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept))
    assert found.degradation == pytest.approx(inside.mean() - outside.mean())


def test_a_callable_score_gives_what_the_compiled_one_gives():
    returns = draw(4, 96, 9)

    def sharpe(part):
        return part.mean(axis=0) / part.std(axis=0, ddof=1)

    for name, function in (("sharpe", sharpe), ("mean", lambda part: part.mean(axis=0))):
        compiled = probability_of_backtest_overfitting(returns, 6, name)
        called = probability_of_backtest_overfitting(returns, 6, function)
        assert called.logits == pytest.approx(compiled.logits)
        assert called.outside == pytest.approx(compiled.outside)


@pytest.mark.parametrize(("blocks", "splits"), [(8, 70), (16, 12_870)])
def test_the_number_of_splits_as_published(blocks, splits):
    assert probability_of_backtest_overfitting(draw(0, 64, 3), blocks).splits == splits


def test_columns_of_equal_mean_are_overfitted_for_certain():
    """Whoever is above its mean in one half is below it in the other (Bailey et al. 2017, section 5)."""
    for seed in range(5):
        returns = draw(seed)
        found = probability_of_backtest_overfitting(returns - returns.mean(axis=0), 8)
        assert found.probability == 1.0
        assert found.probability_of_loss == 1.0
        by_mean = probability_of_backtest_overfitting(returns - returns.mean(axis=0), 8, "mean")
        assert by_mean.slope == pytest.approx(-1.0)  # the mean outside is the negative of that inside
        assert by_mean.probability == 1.0


def test_the_best_of_noise_is_below_the_middle_half_of_the_time():
    """Halves are independent, so the winner's rank outside is uniform: 1/2 for an even number of trials."""
    found = np.array([probability_of_backtest_overfitting(draw(seed), 8).probability for seed in range(100)])
    assert found.mean() == pytest.approx(0.5, abs=4 * found.std() / 10)
    assert found.std() == pytest.approx(0.16, abs=0.04)  # one draw says little: seen 0.16 elsewhere too


@pytest.mark.parametrize(("skill", "seen"), [(0.1, 0.27), (0.2, 0.03)])
def test_planted_skill_is_found(skill, seen):
    found = np.array(
        [probability_of_backtest_overfitting(draw(seed, skill=skill), 8).probability for seed in range(40)]
    )
    assert found.mean() == pytest.approx(seen, abs=4 * found.std() * math.sqrt(1 / 20 + 1 / 40))


def test_twins_share_their_ranks_and_the_order_of_columns_does_not_matter():
    returns = draw(5, 120, 6)
    found = probability_of_backtest_overfitting(np.hstack([returns, returns]), 6)
    once = probability_of_backtest_overfitting(returns, 6)
    # a place r of n without ties becomes the places 2 r - 1 and 2 r of 2 n, mean 2 r - 1/2
    rank = 7 / (1 + np.exp(-once.logits))
    relative = (2 * rank - 0.5) / 13
    assert found.logits == pytest.approx(np.log(relative / (1 - relative)))
    order = np.random.default_rng(6).permutation(12)
    shuffled = probability_of_backtest_overfitting(np.hstack([returns, returns])[:, order], 6)
    assert np.array_equal(shuffled.logits, found.logits)


def test_a_trial_that_does_not_trade_in_a_half_scores_zero_there():
    rng = np.random.default_rng(7)
    losers = 0.01 * rng.standard_normal((80, 3)) - 0.1
    found = probability_of_backtest_overfitting(np.column_stack([losers, np.zeros(80)]), 4)
    assert (found.inside == 0.0).all()
    assert found.probability == 0.0
    assert math.isnan(found.slope)
    with pytest.raises(ValueError, match="column 3 is a constant other than zero"):
        probability_of_backtest_overfitting(np.column_stack([losers, np.full(80, 1e-4)]), 4)


def test_a_stop_after_which_only_rounding_is_left_scores_zero():
    returns = draw(8, 80, 3) * 0.01
    returns[40:, 1] = 1e-19 * np.random.default_rng(9).standard_normal(40)
    clean = returns.copy()
    clean[40:, 1] = 0.0
    assert np.array_equal(
        probability_of_backtest_overfitting(returns, 4).logits, probability_of_backtest_overfitting(clean, 4).logits
    )


def test_a_transposed_matrix_is_refused_where_it_shows():
    returns = draw(10, 100, 20)
    with pytest.raises(ValueError, match=r"20 sessions of 100 trials looks transposed: pass returns.T"):
        probability_of_backtest_overfitting(returns.T, 4)
    with pytest.raises(ValueError, match="its columns are dates: transpose it"):
        probability_of_backtest_overfitting(pd.DataFrame(returns, index=pd.date_range("2020", periods=100)).T, 4)
    meant = probability_of_backtest_overfitting(returns.T, 4, more_trials_than_sessions=True)
    assert (meant.observations, meant.trials) == (20, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 7}, "blocks must be even, from 2 to 20; was 7"),
        ({"blocks": 22}, "blocks must be even, from 2 to 20; was 22"),
        ({"blocks": 20}, "at least 2 sessions per block, 40; had 30"),
        ({"score": "sortino"}, "score must be 'sharpe', 'mean' or a callable; was 'sortino'"),
        ({"score": lambda part: part.mean()}, "one finite number per trial, 3"),
        ({"returns": np.zeros((30, 1))}, "at least 2 trials"),
        ({"returns": np.full((30, 3), np.nan)}, "was nan in row 0, column 0"),
    ],
)
def test_bad_input_is_one_clear_error(change, message):
    given = {"returns": draw(11, 30, 3), "blocks": 4} | change
    with pytest.raises(ValueError, match=message):
        probability_of_backtest_overfitting(**given)
