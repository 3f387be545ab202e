from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.evidence.trials import effective_trials, silhouettes


def grouped(seed, groups, copies, noise, sessions=600):
    rng = np.random.default_rng(seed)
    base = np.repeat(rng.standard_normal((sessions, groups)), copies, axis=1)
    return base + noise * rng.standard_normal(base.shape)


def test_independent_trials_are_as_many_as_they_are_counted():
    found = effective_trials(np.random.default_rng(0).standard_normal((50_000, 8)))
    assert found.trials == 8
    assert found.average_correlation == pytest.approx(8, abs=0.1)
    assert found.effective_rank == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("groups", [3, 6])
def test_copies_count_once_by_rank_and_by_clusters(groups):
    found = effective_trials(grouped(1, groups, 5, 0.01))
    assert found.clusters == groups
    assert found.effective_rank == pytest.approx(groups, rel=0.02)


def test_an_equal_correlation_in_closed_form():
    # eigenvalues 1 + (N - 1) r once and 1 - r N - 1 times
    trials, correlation = 6, 0.5
    rng = np.random.default_rng(2)
    common = rng.standard_normal((200_000, 1))
    returns = correlation**0.5 * common + (1 - correlation) ** 0.5 * rng.standard_normal((200_000, trials))
    share = np.array([1 + 5 * correlation] + [1 - correlation] * 5) / trials
    found = effective_trials(returns)
    assert found.effective_rank == pytest.approx(np.exp(-np.sum(share * np.log(share))), rel=0.01)
    assert found.average_correlation == pytest.approx(correlation + (1 - correlation) * trials, rel=0.01)


def test_silhouettes_by_hand():
    distance = np.array([[0.0, 1.0, 4.0, 5.0], [1.0, 0.0, 4.5, 6.0], [4.0, 4.5, 0.0, 9.0], [5.0, 6.0, 9.0, 0.0]])
    found = silhouettes(distance, np.array([0, 0, 1, 2]))
    assert found == pytest.approx([(4 - 1) / 4, (4.5 - 1) / 4.5, 0.0, 0.0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_no_estimate_is_above_the_count(seed, trials):
    found = effective_trials(grouped(seed, trials, 1, 0.5, sessions=40))
    assert 1 <= found.clusters <= trials
    assert 1 - 1e-9 <= found.effective_rank <= trials + 1e-9
    assert 1 - 1e-9 <= found.average_correlation <= trials + 1e-9


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.zeros((30, 1)), "at least 2 trials"),
        (np.column_stack([np.arange(30.0), np.zeros(30)]), "returns must disperse in every column"),
    ],
)
def test_bad_input_is_one_clear_error(returns, message):
    with pytest.raises(ValueError, match=message):
        effective_trials(returns)
