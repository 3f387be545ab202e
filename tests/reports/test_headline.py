from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.headline import headline
from reports.overview import cards, forecast_text, limit_drawdown, measure
from reports.read_run import view_run


@pytest.fixture(scope="module")
def run(run_folder):
    return view_run(run_folder)


def with_statistics(run, **changes):
    """The run with other statistics: per name, one value for each pod."""
    pods = tuple(
        replace(pod, statistics={**pod.statistics, **{name: values[i] for name, values in changes.items()}})
        for i, pod in enumerate(run.pods)
    )
    return replace(run, pods=pods)


def facts(run):
    return [f"{fact.words} {fact.detail}" for fact in headline(run)]


def found(run, words):
    return [fact for fact in headline(run) if words in fact.words]


@pytest.mark.parametrize(("highest", "beats"), [(0.95, False), (0.951, True), (0.99, True), (0.2, False)])
def test_a_pod_beats_cash_only_above_the_bound(run, highest, beats):
    edited = with_statistics(run, deflated_sharpe=[0.1, highest, 0.0, 0.1])
    first = headline(edited)[0]
    assert first.words.startswith("Beats CDI") == beats
    assert first.level == ("ok" if beats else "warn")
    assert "momentum" in first.words + first.detail


def test_a_pod_behind_cash_is_named_and_a_certain_one_is_red(run):
    maybe = with_statistics(run, excess_return=[0.1, 0.1, -0.02, 0.1], probabilistic_sharpe=[0.9, 0.9, 0.3, 0.9])
    sure = with_statistics(run, excess_return=[0.1, 0.1, -0.02, 0.1], probabilistic_sharpe=[0.9, 0.9, 0.012, 0.9])
    one_of_four = with_statistics(
        run, excess_return=[0.1, 0.1, -0.02, 0.1], probabilistic_sharpe=[0.9, 0.9, 0.013, 0.9]
    )
    nobody = with_statistics(run, excess_return=[0.1] * 4)
    assert [f.level for f in found(maybe, "Earned less than CDI: reversal")] == ["warn"]
    assert [f.level for f in found(one_of_four, "Earned less than CDI: reversal")] == ["warn"]
    assert [f.level for f in found(sure, "Earned less than CDI: reversal")] == ["bad"]
    assert "(with confidence)" in found(sure, "Earned less")[0].words
    assert found(nobody, "Earned less") == []


def test_a_difference_must_pass_the_bound_divided_by_the_comparisons(run):
    def differing(p_value):
        other = {"annual_difference": 0.01, "p_value": 0.6}
        record = {
            "momentum": other,
            "reversal": {"annual_difference": -0.1, "p_value": p_value},
            "low_volatility": other,
        }
        return replace(run, comparison={**run.comparison, "differences": record})

    assert found(differing(0.02), "No pod's return differs")
    different = found(differing(0.016), "Differs from hold beyond chance: reversal")
    assert [fact.level for fact in different] == ["bad"]


def test_a_rejected_value_at_risk_says_on_which_side(run):
    record = {"kupiec_p_value": 0.5, "zone": "green", "exceptions": 3, "expected": 3.0}
    low = {"kupiec_p_value": 0.01, "zone": "red", "exceptions": 12, "expected": 3.0}
    cautious = {"kupiec_p_value": 0.01, "zone": "green", "exceptions": 0, "expected": 9.0}
    fine = with_statistics(run, var_backtest=[record] * 4)
    assert [f.level for f in found(fine, "No pod's VaR")] == ["ok"]
    too_low = found(with_statistics(run, var_backtest=[record, low, record, record]), "VaR 99% is rejected: momentum")
    assert ("too low" in too_low[0].words, too_low[0].level) == (True, "bad")
    careful = found(with_statistics(run, var_backtest=[record, cautious, record, record]), "VaR 99% is rejected")
    assert ("too cautious" in careful[0].words, careful[0].level) == (True, "warn")


def test_missing_cash_rates_and_dividends_are_said(run):
    flat = replace(run, provenance={**run.provenance, "source": {"risk_free": "constant 0.1 a year, base 252"}})
    assert found(flat, "CDI stands for a flat rate here: constant 0.1")
    priced = replace(run, quality={**run.quality, "rule_counts": {"events_sized_from_prices": 3}})
    paid = replace(run, quality={**run.quality, "rule_counts": {"events_from_company_file": 3}})
    assert found(priced, "price returns")
    assert not found(paid, "price returns")


def test_an_account_that_is_lost_is_said(run):
    edited = with_statistics(run, lost=[False, True, False, False])
    assert found(edited, "All capital was lost: momentum")[0].level == "bad"


def rearmed(pod, row, mark):
    """The pod with a record of a re-arming at session number `row`."""
    template = pod.breaches.iloc[[0]].copy()
    record = template.assign(
        session=pod.account["session"].iloc[row], action="REARM", level="kill", value=mark, threshold=2 * mark,
        cleared_session=pod.account["session"].iloc[row],
    )  # fmt: skip
    return replace(pod, breaches=pd.concat([pod.breaches, record], ignore_index=True))


def test_the_drawdown_limit_counts_from_the_last_re_arming(run):
    """Otherwise a re-armed pod shows more than the level that would have flattened it, and is active all the same."""
    pod = run.pods[1]
    nav = pod.column("net_asset_value")
    row = int(np.argmax(nav)) + 1
    assert row < len(nav) - 1
    expected = 1.0 - nav[-1] / nav[row:].max()
    assert limit_drawdown(rearmed(pod, row, float(nav[row]))) == pytest.approx(expected, rel=1e-12)
    assert limit_drawdown(rearmed(pod, row, float(nav[row]))) != pytest.approx(pod.column("drawdown")[-1], rel=1e-6)
    without = replace(pod, breaches=pod.breaches[pod.breaches["action"] != "REARM"])
    assert limit_drawdown(without) == pod.column("drawdown")[-1]


def test_a_single_small_position_does_not_fill_the_limit_of_concentration(run):
    pod = run.pods[1]
    risk = pod.risk.assign(hhi=1.0, gross=0.02)
    small = replace(pod, risk=risk)
    assert measure(small, "hhi") == pytest.approx(0.02**2)
    assert measure(replace(pod, risk=risk.assign(gross=1.4)), "hhi") == 1.0


def test_a_flat_pod_says_since_when_although_its_breach_is_cleared(run):
    pod = next(pod for pod in run.pods if (pod.breaches["action"] == "FLATTEN").any())
    flattened = pod.breaches[pod.breaches["action"] == "FLATTEN"]
    state = pod.account["state"].to_numpy().copy()
    state[-1] = "FLAT"
    cleared = pod.breaches.assign(cleared_session=pod.account["session"].iloc[-1])
    flat = replace(pod, account=pod.account.assign(state=state), breaches=cleared)
    edited = replace(run, pods=(flat,))
    newest = str(np.max(flattened["session"].to_numpy().astype("datetime64[D]")))
    card = next(card for card in cards(edited) if card.name == pod.name)
    assert card.sentence.startswith(f"Flat since {newest}.")
    assert any(f"{pod.name} since {newest}" in sentence for sentence in facts(edited))


@pytest.mark.parametrize(("gross", "words"), [(0.0, "empty book"), (0.8, "too few days")])
def test_a_forecast_that_does_not_exist_says_why(run, gross, words):
    pod = run.pods[1]
    without = replace(pod, risk=pod.risk.assign(var_99=np.nan, gross=gross))
    assert forecast_text(without, "var_99") == words
