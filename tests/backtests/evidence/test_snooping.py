from __future__ import annotations

import math

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap

from backtests.evidence import snooping
from backtests.evidence.bootstrap import stationary_rows
from backtests.evidence.snooping import bootstrap_variance, resampled_means, superior_predictive_ability


def market(seed, sessions=250, trials=8, spread=True):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(sessions)
    scale = np.linspace(0.4, 2.5, trials) if spread else np.ones(trials)
    returns = 0.01 * (common[:, None] + scale * rng.standard_normal((sessions, trials)))
    return returns, 0.01 * (common + 0.5 * rng.standard_normal(sessions))


def plain_test(difference, rows):
    """Hansen (2005) and White (2000) as they are written, one draw and one trial after another."""
    sessions, trials = difference.shape
    block = 4.0
    mean = [sum(difference[:, k]) / sessions for k in range(trials)]
    deviation = []
    for k in range(trials):
        centred = difference[:, k] - mean[k]
        total = 0.0
        for lag in range(sessions):
            covariance = sum(centred[t] * centred[t + lag] for t in range(sessions - lag)) / sessions
            stay = 1 - 1 / block
            weight = (1 - lag / sessions) * stay**lag + lag / sessions * stay ** (sessions - lag)
            total += (1 if lag == 0 else 2) * weight * covariance
        deviation.append(math.sqrt(total))
    root = math.sqrt(sessions)
    statistic = max(0.0, max(root * m / w for m, w in zip(mean, deviation, strict=True)))
    bound = math.sqrt(2 * math.log(math.log(sessions)))
    centres = {
        "lower": [max(m, 0.0) for m in mean],
        "consistent": [m if root * m >= -bound * w else 0.0 for m, w in zip(mean, deviation, strict=True)],
        "upper": mean,
    }
    exceeding = dict.fromkeys([*centres, "plain"], 1)
    for drawn in rows:
        star = [sum(difference[t, k] for t in drawn) / sessions for k in range(trials)]
        for name, centre in centres.items():
            largest = max(root * (star[k] - centre[k]) / deviation[k] for k in range(trials))
            exceeding[name] += max(largest, 0.0) >= statistic
        exceeding["plain"] += max(star[k] - mean[k] for k in range(trials)) >= max(mean)
    return statistic, {name: count / (1 + len(rows)) for name, count in exceeding.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_p_value_equals_the_plain_reference(seed):
    returns, benchmark = market(seed, sessions=60, trials=4)
    returns[:, 2] -= 0.01  # a clear loser, so that the three centres differ
    found = superior_predictive_ability(returns, benchmark, block_length=4.0, draws=120, seed=seed)
    rows = stationary_rows(60, 4.0, 120, np.random.default_rng(seed))
    statistic, p_values = plain_test(returns - benchmark[:, None], rows)
    assert found.statistic == pytest.approx(statistic)
    assert (found.lower, found.consistent, found.upper, found.reality_check) == pytest.approx(
        tuple(p_values[name] for name in ("lower", "consistent", "upper", "plain"))
    )


def test_the_reality_check_is_that_of_arch_draw_by_draw(monkeypatch):
    """arch centres as White does for its upper value and does not divide by standard errors in the statistic."""
    returns, benchmark = market(2)
    theirs = SPA(-benchmark, -returns, block_size=6, reps=300, seed=5)
    theirs.compute()
    drawn = StationaryBootstrap(6, np.arange(250), seed=5)
    rows = np.array([data[0][0] for data in drawn.bootstrap(300)])
    taken = iter(np.split(rows, [250]))
    monkeypatch.setattr(snooping, "stationary_rows", lambda length, block, draws, rng: next(taken))
    ours = superior_predictive_ability(returns, benchmark, block_length=6.0, draws=300)
    assert ours.reality_check * 301 - 1 == pytest.approx(theirs.pvalues["upper"] * 300)


def test_the_variance_is_that_of_arch_and_of_the_draws():
    returns, benchmark = market(3)
    difference = returns - benchmark[:, None]
    theirs = SPA(-benchmark, -returns, block_size=6, reps=10, seed=0)
    theirs.compute()
    variance = bootstrap_variance(difference, 6.0)
    assert variance == pytest.approx(theirs._loss_diff_var, rel=1e-12)
    means = resampled_means(difference, 6.0, 4000, 0)
    # a variance of 4,000 draws is known to sqrt(2 / 4,000) = 2.2 %
    assert 250 * means.var(axis=0) == pytest.approx(variance, rel=0.09)


def test_the_three_values_are_in_order_and_a_loser_never_rejects():
    for seed in range(40):
        returns, benchmark = market(seed, sessions=80, trials=5)
        returns -= 0.004 * np.random.default_rng(seed).random(5)
        found = superior_predictive_ability(returns, benchmark, draws=99, seed=seed)
        assert found.lower <= found.consistent <= found.upper
    beaten = superior_predictive_ability(returns - 0.05, benchmark, draws=99)
    assert (beaten.statistic, beaten.lower, beaten.upper) == (0.0, 1.0, 1.0)


def test_no_merit_is_rejected_as_often_as_it_says():
    rejected = np.zeros(3)
    runs = 300
    for seed in range(runs):
        returns, benchmark = market(seed, sessions=150, trials=6)
        found = superior_predictive_ability(returns, benchmark, block_length=2.0, draws=199, seed=seed)
        rejected += [found.consistent <= 0.05, found.reality_check <= 0.05, bool(found.survivors())]
    # 4 standard errors of 5 % over 300 runs are 5 %
    assert (rejected / runs < 0.10).all()
    assert rejected[0] / runs > 0.01


def test_merit_is_found_and_named_and_noise_of_another_pod_does_not_hide_it():
    returns, benchmark = market(4, sessions=500, trials=6)
    returns[:, [1, 3]] += [0.003, 0.004]
    wild = np.column_stack([returns, 0.3 * np.random.default_rng(5).standard_normal(500)])
    found = superior_predictive_ability(wild, benchmark, draws=999)
    assert found.survivors() == (1, 3)
    assert found.best == 1
    assert found.consistent < 0.01
    # without standard errors the widest trial decides: White's test cannot see the two
    assert found.reality_check > 0.3


def test_step_down_removes_the_found_before_it_judges_the_rest():
    returns, benchmark = market(6, sessions=400, trials=5, spread=False)
    returns[:, 0] += 0.01
    found = superior_predictive_ability(returns, benchmark, draws=400, seed=1)
    without = superior_predictive_ability(returns[:, 1:], benchmark, block_length=found.block_length, draws=400, seed=1)
    rest = found.adjusted_p_values[1:]
    assert found.adjusted_p_values[0] == 1 / 401
    assert rest == pytest.approx(without.adjusted_p_values)


def test_a_trial_that_is_the_benchmark_counts_and_does_not_beat_it():
    returns, benchmark = market(7)
    found = superior_predictive_ability(np.column_stack([returns, benchmark]), benchmark, draws=199)
    assert found.adjusted_p_values[-1] > 0.05
    alone = superior_predictive_ability(benchmark[:, None], benchmark, draws=19)
    assert (alone.consistent, alone.reality_check) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_bytes():
    returns, benchmark = market(8, trials=70)
    one, two = (superior_predictive_ability(returns, benchmark, draws=300, seed=3) for _ in range(2))
    assert one.adjusted_p_values.tobytes() == two.adjusted_p_values.tobytes()
    assert one.statistic == two.statistic


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"returns": np.zeros((20, 2))}, r"returns must be \(sessions, trials\).*were \(20, 2\) and \(30,\)"),
        ({"returns": np.zeros((5, 2)), "benchmark": np.zeros(5)}, "at least 10 sessions; had 5"),
        ({"benchmark": np.full(30, math.nan)}, "must be finite in every session"),
        ({"returns": np.full((30, 2), 0.01)}, "column 0 of returns differs from benchmark by a constant"),
        ({"block_length": 31.0}, r"block_length must be in \[1, 30\] sessions; was 31.0"),
        ({"draws": 0}, "draws must be positive; was 0"),
    ],
)
def test_bad_input_is_one_clear_error(change, message):
    given = {"returns": 0.01 * np.random.default_rng(0).standard_normal((30, 2)), "benchmark": np.zeros(30)} | change
    with pytest.raises(ValueError, match=message):
        superior_predictive_ability(**given)
