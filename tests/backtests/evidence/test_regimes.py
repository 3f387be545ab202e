from __future__ import annotations

import math

import numpy as np
import pytest

from backtests.evidence.comparison import compare_pods
from backtests.evidence.regimes import (
    CALM,
    CRISES,
    STRESSED,
    UNKNOWN,
    RegimeRule,
    crisis_results,
    label_regimes,
    regime_breakdown,
)


def two_volatilities(seed=0, sessions=400):
    rng = np.random.default_rng(seed)
    return np.where(np.arange(sessions) % 200 < 130, 0.005, 0.02) * rng.standard_normal(sessions)


def test_labels_equal_the_plain_definition():
    market = two_volatilities(sessions=150)
    rule = RegimeRule(decay=0.9, quantile=0.7, warm_up=30)
    labels = label_regimes(market, rule)
    volatilities = []
    for t in range(150):
        if t < 30:
            assert labels[t] == UNKNOWN
        else:
            bound = sorted(volatilities)[math.ceil(0.7 * t) - 1]
            assert labels[t] == (STRESSED if volatilities[-1] > bound else CALM)
        weights = [0.9**k for k in range(t + 1)]
        volatilities.append(math.sqrt(sum(w * market[t - k] ** 2 for k, w in enumerate(weights)) / sum(weights)))


@pytest.mark.parametrize("at", [60, 100, 250])
def test_a_label_uses_nothing_of_its_own_day_or_later(at):
    market = two_volatilities()
    other = market.copy()
    other[at:] *= 50.0
    assert np.array_equal(label_regimes(market)[: at + 1], label_regimes(other)[: at + 1])


def test_the_wild_days_are_the_stressed_ones():
    labels = label_regimes(two_volatilities(), RegimeRule(quantile=0.6))  # 65 % of the days are calm
    wild = np.arange(400) % 200 >= 135  # five days after the change
    assert (labels[wild & (np.arange(400) >= 200)] == STRESSED).mean() > 0.9
    calm = (np.arange(400) % 200 > 60) & (np.arange(400) % 200 < 130) & (np.arange(400) > 200)
    assert (labels[calm] == CALM).mean() > 0.8


def test_the_parts_compound_to_the_whole_after_the_warm_up():
    rng = np.random.default_rng(1)
    returns = {"pod": 0.01 * rng.standard_normal(300), "other": 0.002 * rng.standard_normal(300)}
    cash = np.full(300, 0.0003)
    labels = label_regimes(returns["pod"])
    found = regime_breakdown(returns, cash, labels)
    assert found["calm"]["sessions"] + found["stressed"]["sessions"] == 240
    for name, values in returns.items():
        both = (1 + found["calm"]["pods"][name]["return"]) * (1 + found["stressed"]["pods"][name]["return"])
        assert both == pytest.approx(np.prod(1 + values[60:]))
        excess = (values - cash)[labels == CALM]
        assert found["calm"]["pods"][name]["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * 252**0.5)
        assert found["calm"]["pods"][name]["annual_excess"] == pytest.approx(252 * excess.mean())


def test_a_regime_of_few_sessions_has_no_ratios():
    values = {"pod": 0.01 * np.random.default_rng(2).standard_normal(30)}
    labels = np.where(np.arange(30) < 19, STRESSED, CALM).astype(np.int8)
    found = regime_breakdown(values, np.zeros(30), labels)["stressed"]["pods"]["pod"]
    assert found["sharpe"] is None
    assert found["annual_excess"] is not None


def test_crises_are_in_order_and_compound_by_hand():
    assert all(window.first <= window.last for window in CRISES)
    assert [window.first for window in CRISES] == sorted(window.first for window in CRISES)
    sessions = np.arange("2017-05-15", "2018-05-24", dtype="datetime64[D]")
    returns = {"pod": np.linspace(-0.01, 0.01, sessions.size)}
    found = crisis_results(sessions, returns)
    assert [(item["name"], item["whole"]) for item in found] == [("Joesley 2017", True), ("Truckers 2018", False)]
    assert found[0]["pods"]["pod"]["return"] == pytest.approx(returns["pod"][3])
    assert found[1]["sessions"] == 3
    assert found[1]["pods"]["pod"]["return"] == pytest.approx(np.prod(1 + returns["pod"][-3:]) - 1)
    assert found[1]["pods"]["pod"]["worst"] == returns["pod"][-3]


def test_the_comparison_has_regimes_when_it_knows_the_days():
    rng = np.random.default_rng(3)
    returns = {name: 0.01 * rng.standard_normal(200) for name in ("hold", "fast")}
    days = np.busday_offset("2020-01-02", np.arange(200), roll="forward").astype("datetime64[D]")
    record = compare_pods(returns, np.zeros(200), "hold", {name: {} for name in returns}, sessions=days, draws=20)
    assert record["regimes"]["market"] == "hold"
    labels = label_regimes(returns["hold"])
    assert record["regimes"]["stressed"]["sessions"] == (labels == STRESSED).sum()
    assert [item["name"] for item in record["crises"]] == ["Covid 2020"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RegimeRule(decay=1.0), r"decay and quantile must be in \(0, 1\)"),
        (lambda: RegimeRule(warm_up=1), "warm_up must be at least 2 closes; was 1"),
        (lambda: label_regimes([0.1, math.nan]), "market must be one-dimensional and finite"),
    ],
)
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
