from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backtests.evidence.bootstrap import bootstrap_differences
from backtests.evidence.haircut import harvey_liu_haircut
from backtests.walk.result import Result, Run, account_statistics
from backtests.walk.result_files import read_run, write_run
from backtests.walk.run_kinds import INTRADAY, NUMPY_KINDS
from reports.compare_evidence import findings
from reports.compare_page import write_comparison_page
from reports.compare_sensitivity import sensitivity_chapters
from reports.formats import percent, probability

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def shift(fabricate, tmp_path_factory):
    """Make one pod of a run better by the same amount every day, beyond any doubt."""

    def better(pod, tables):
        if pod == "reversal":
            account = tables["account"]
            account["return"] = account["return"] + np.where(np.arange(account["return"].size) > 0, 0.004, 0.0)

    return fabricate(tmp_path_factory.mktemp("better"), sessions=500, edit=better)


@pytest.fixture(scope="module")
def page(shift, tmp_path_factory, read_page):
    return read_page(write_comparison_page([shift], tmp_path_factory.mktemp("page") / "c.html"))


def test_the_page_says_who_differs_and_who_cannot_be_told_apart(page):
    assert "Different in mean return beyond chance: reversal over" in page.text
    assert "The other 3 cannot be told apart." in page.text
    assert "Beats cash even as the best of 4 pods: reversal" in page.text
    assert "After 12 trials" in page.text


def test_the_numbers_of_a_pair_are_those_of_its_own_bootstrap(page, shift):
    rows = page.rows("pairs")
    assert len(rows) == 1 + 6
    run = read_run(shift)
    first, second = (run.result(name).returns[1:] for name in ("hold", "momentum"))
    found = bootstrap_differences(first, second, run.results[0].risk_free[1:]).mean
    assert rows["hold less momentum"][0] == percent(found.estimate, 2, signed=True)
    assert rows["hold less momentum"][2] == probability(found.p_value)


def test_pods_beyond_chance_have_small_values_against_cash_and_benchmark(page):
    rows = page.rows("snooping")
    assert rows["hold"][0] == "–"
    assert all("0.001" in text or "0.000" in text for text in rows["reversal"])


def test_every_form_of_the_sharpe_ratio_is_named(page, shift):
    statistics = read_run(shift).result("reversal").statistics
    rows = page.rows("sharpe")
    column = rows[""].index("reversal")
    assert rows["Deflated Sharpe, form of 2014"][column] == probability(statistics["deflated_sharpe"])
    assert rows["Years there are"][column] == f"{499 / 252:.1f}"
    cut = harvey_liu_haircut(statistics["sharpe"], 499 / 252, 12)
    assert rows["Sharpe ratio left (Harvey and Liu)"][column] == f"{cut.adjusted_sharpe:.2f}"
    assert rows["Haircut"][column] == percent(cut.haircut, 0)


def test_regimes_and_crises_are_there_with_the_rule(page):
    assert "above the 75% quantile of its own past" in page.text
    assert list(page.rows("crises")) == ["Crisis", "Covid 2020"]
    assert len(page.rows("crises")["Covid 2020"]) == 2 + 4
    assert any("sessions" in row for row in page.rows("regimes"))


def test_a_study_in_the_folder_is_shown_as_curve_and_table(fabricate, tmp_path, read_page):
    folder = fabricate(tmp_path / "run", pods=("hold", "fast"), sessions=120)
    points = [
        {"pod": pod, "value": size, "annual_return": rate - 0.02 * np.log10(size / 1e6), "standard_error": 0.01}
        for pod, rate in (("hold", 0.1), ("fast", 0.2))
        for size in (1e6, 1e7, 1e8)
    ]
    (folder / "sensitivity.json").write_text(
        json.dumps({"capital": points, "queue": [{"pod": "fast", "value": "half"}]})
    )
    path = write_comparison_page([folder], tmp_path / "c.html")
    shown = read_page(path)
    assert shown.rows("sensitivity-capital")["100.00\N{NO-BREAK SPACE}m"][1] == "+6.00%"  # the last pod's: hold
    assert shown.rows("sensitivity-queue")["half"][0] == "n/a"
    assert 'aria-label="Capacity: profit against capital"' in Path(path).read_text()
    plain = read_page(write_comparison_page([fabricate(tmp_path / "b", sessions=120)], tmp_path / "d.html"))
    assert "Capacity and sensitivity" not in plain.text


def test_the_same_runs_give_the_same_bytes(shift, tmp_path):
    one, two = (write_comparison_page([shift], tmp_path / f"{n}.html").read_bytes() for n in range(2))
    assert one == two


def test_an_intraday_run_is_compared_with_a_daily_one(fabricate, tmp_path, read_page):
    daily = fabricate(tmp_path, pods=("hold",), sessions=200)
    sessions = read_run(daily).results[0].sessions
    returns = np.r_[0.0, 0.002 * np.random.default_rng(1).standard_normal(199)]
    tables = {}
    for name, columns in INTRADAY.tables.items():
        size = 200 if name == "account" else 0
        tables[name] = {column: np.zeros(size).astype(NUMPY_KINDS[what]) for column, what in columns.items()}
    tables["account"] |= {"session": sessions, "return": returns, "net_asset_value": 1e6 * np.cumprod(1 + returns)}
    made = Result("maker", tables, account_statistics(tables, 3, 0.01, kind=INTRADAY), {"code_hash": "c"}, INTRADAY)
    makers = write_run(tmp_path, Run("makers", "maker", (made,), {"seed": 1}, {"code_hash": "c"}, (), {}, {}))
    page = read_page(write_comparison_page([daily, makers], tmp_path / "c.html"))
    assert "On the 199 sessions" in page.text  # the first only opens the accounts
    assert "hold less maker" in page.rows("pairs")
    assert page.rows("pods")["Trials deflated for"] == ["15"] * 2
    alone = read_page(write_comparison_page([makers], tmp_path / "d.html"))
    assert "There is one pod only." in alone.text


def test_capital_lost_is_said_first(fabricate, tmp_path, read_page):
    def lose(pod, tables):
        if pod == "hold":
            account = tables["account"]
            account["return"] = np.r_[account["return"][:50], -1.0, np.zeros(69)]
            account["net_asset_value"] = np.r_[account["net_asset_value"][:50], np.zeros(70)]

    folder = fabricate(tmp_path, pods=("hold", "fast"), sessions=120, edit=lose)
    page = read_page(write_comparison_page([folder], tmp_path / "c.html"))
    assert page.text.index("All capital was lost: hold.") < page.text.index("beyond chance")
    assert page.rows("sharpe")["Sharpe ratio, annual"][0] == "n/a"


def test_forty_pods_have_a_page_of_bounded_size(fabricate, tmp_path, read_page):
    pods = [f"pod{i:02d}" for i in range(40)]

    def better(pod, tables):
        if pod == "pod33":
            account = tables["account"]
            account["return"] = account["return"] + np.where(np.arange(account["return"].size) > 0, 0.01, 0.0)

    folder = fabricate(tmp_path, pods=pods, sessions=250, policy=False, edit=better)
    path = write_comparison_page([folder], tmp_path / "c.html")
    page = read_page(path)
    assert path.stat().st_size < 300_000
    assert "The first 12 of the 40 pods." in page.text
    assert len(page.rows("pairs")) == 1 + 39
    assert "Of 40 pods only the pairs with pod00 are tested" in page.text
    assert "Different in mean return beyond chance: pod33 over pod00" in page.text
    assert len(page.rows("pods")["Annual return"]) == 40


def pair(first, second, p_value, difference=0.1):
    return {
        "first": first, "second": second, "annual_difference": difference, "sharpe_difference": difference,
        "p_value": p_value, "p_value_adjusted": p_value, "sharpe_p_value": p_value, "sharpe_p_value_adjusted": p_value,
    }  # fmt: skip


def record(pairs, draws=2000, survivors=()):
    found = {
        "pods": ["a", "b"], "best": "a", "p_value": 0.04, "p_value_lower": 0.03, "p_value_upper": 0.05,
        "reality_check_p_value": 0.2, "survivors": list(survivors),
    }  # fmt: skip
    return {"pairs": pairs, "method": {"draws": draws}, "benchmark": "hold",
            "snooping": {"benchmark": found, "cash": {"unavailable": "no reason"}}}  # fmt: skip


def test_the_better_one_is_named_first_whatever_the_sign():
    facts = findings(record([pair("a", "b", 0.01, -0.2)]), {})
    assert facts[0].words == "Different in mean return beyond chance: b over a by 20.0% a year (p 0.010)."
    assert facts[1].words.startswith("Different in Sharpe ratio beyond chance: b over a by 0.20")


def test_few_sessions_call_no_difference_more_than_chance():
    pairs = [pair("a", "b", 0.001)]
    short, long = ({name: {"observations": n} for name in "ab"} for n in (19, 20))
    words = [fact.words for fact in findings(record(pairs), short)]
    assert words[0] == "19 sessions are too few to call any difference more than chance."
    assert not any("Different in" in text for text in words)
    assert findings(record(pairs), long)[0].words.startswith("Different in mean return beyond chance: a over b")


def test_too_few_draws_for_so_many_pairs_are_an_alarm():
    pairs = [pair(str(i), str(i + 1), 1.0) for i in range(12)]
    assert "99 bootstrap draws are too few for 12 pairs" in findings(record(pairs, draws=99), {})[-1].words
    assert "too few" not in findings(record(pairs, draws=2000), {})[-1].words


def test_a_survivor_is_no_good_news_when_more_was_tried_than_is_shown():
    statistics = {"a": {"trials": 2}, "b": {"trials": 2}}
    shown = findings(record([], survivors=["a"]), statistics)[0]
    assert (shown.level, shown.words) == ("ok", "Beats hold even as the best of 2 pods: a.")
    many = findings(record([], survivors=[f"p{i}" for i in range(9)]), {})[0]
    assert many.words == "Beats hold even as the best of 2 pods: p0, p1, p2, p3, p4, p5 and 3 more."
    behind = findings(record([], survivors=["a"]), {"a": {"trials": 400}})[0]
    assert behind.level == "none"
    assert "not the 400 trials behind them" in behind.detail
    assert findings(record([]), statistics)[1].detail == "no reason"


def test_nothing_to_study_has_no_chapters():
    assert sensitivity_chapters({"capital": ()}, "hold") == []
