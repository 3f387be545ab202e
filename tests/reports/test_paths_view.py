"""Trials, overfitting and paths on the page, from a run that really went through combinatorial cross-validation."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from backtests.audit.lookahead import random_panel
from backtests.walk.combinatorial import CombinatorialSettings
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import PodPlan, WalkForwardPlan
from backtests.walk.walkforward import run_walkforward
from reports.formats import number
from reports.paths_view import path_grid, path_pictures, register_words, search_table
from reports.read_run import view_run
from reports.report import write_report
from strategies.equal_weight import EqualWeight


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pods = tuple(
        EqualWeight(universe_window=20, rebalance_every=n, min_traded_value=0.0, max_weight=1.0, name="hold")
        for n in (5, 10)
    )
    plan = WalkForwardPlan(
        "paths",
        (PodPlan("hold", pods, "immediate"),),
        "hold",
        FoldSettings(80, 40),
        1e7,
        bootstrap_draws=20,
        combinatorial=CombinatorialSettings(4, 2),
        selection="nested",
        inner_folds=2,
    )
    return run_walkforward(plan, random_panel(4, sessions=150, instruments=4), tmp_path_factory.mktemp("r"), workers=0)


def test_the_page_shows_trials_and_paths_and_says_what_they_are(folder, read_page):
    page = read_page(write_report(folder))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section" and "id" in attrs]
    assert sections.index("folds") < sections.index("search") < sections.index("paths") < sections.index("game")
    text = (folder / "report.html").read_text(encoding="utf-8")
    for words in (
        "it counts from this run on",
        "3 paths from 6 splits of 4 groups",
        "nobody could have traded a path",
        "by purged cross-validation in 2 folds",
        "what it holds at its last close is marked there, its sale not paid",
        "limits and high-water mark anew",
        "labels purged over 1 session, embargo 0 sessions",
    ):
        assert words in text


def test_the_tables_have_the_numbers_of_the_files(folder):
    run = view_run(folder)
    record = json.loads((folder / "evidence/paths.json").read_text())["pods"]["hold"]
    rows = {row[0]: row[1:] for row in path_grid(run).rows if not hasattr(row, "words")}
    assert rows["Sharpe ratio (over CDI)"][:5] == tuple(
        number(record["sharpe"][level], 2)
        for level in ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    )
    statistics = json.loads((folder / "pods/hold/statistics.json").read_text())
    assert rows["Sharpe ratio (over CDI)"][6] == number(statistics["sharpe"], 2)
    search = {row[0]: row[1] for row in search_table(run).rows if not hasattr(row, "words")}
    assert search["Of this run"] == search["Deflated for"] == "4"
    assert search["Parameter sets"] == "2"
    haircut = statistics["haircut"]["bonferroni"]["adjusted_sharpe"]
    assert search["Whatever their dependence (Bonferroni)"] == number(haircut, 2)


def test_the_account_is_compared_with_the_paths_over_its_own_sessions(folder):
    """Second way: each path cut to the account's sessions with pandas; the paths begin long before the account."""
    run = view_run(folder)
    frame = pd.read_parquet(folder / "evidence/paths.parquet")
    account = run.pods[0].sessions
    assert frame["session"].min() < account[0]
    shared = frame[(frame["session"] > account[0]) & (frame["session"] <= account[-1])]
    excess = shared["return"] - shared["risk_free"]
    by_path = excess.groupby(shared["path"])
    ratios = by_path.mean() / by_path.std() * 252**0.5
    rows = {row[0]: row[1:] for row in path_grid(run).rows if not hasattr(row, "words")}
    assert rows["Sharpe ratio (over CDI)"][5] == number(ratios.median(), 2)
    assert rows["Sharpe ratio (over CDI)"][5] != rows["Sharpe ratio (over CDI)"][2]
    assert rows["Final value, R$"][5:] == ("–", "–")


def test_many_paths_are_drawn_by_their_quantiles(folder):
    run = view_run(folder)
    ((name, few),) = path_pictures(run)
    assert name == "hold"
    assert "path 3" in few
    table = dict(run.paths.table)
    table = {key: values.repeat(4) for key, values in table.items()}
    table["path"] = table["path"] * 4 - [3, 2, 1, 0] * (len(table["path"]) // 4)
    ((_, many),) = path_pictures(replace(run, paths=replace(run.paths, table=table)))
    assert "lower quartile" in many
    assert "path 3" not in many


def test_as_of_an_earlier_session_no_path_is_shown(folder, tmp_path):
    run = view_run(folder, view_run(folder).pods[0].sessions[30])
    assert run.paths is None
    assert path_grid(run) is None
    assert path_pictures(run) == []
    page = write_report(folder, date=run.date, output=tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="paths"' not in page


def test_what_the_register_does_not_know_is_said(folder):
    run = view_run(folder)
    counted = dict(run.provenance["trials"])

    def words(**changes):
        return register_words(replace(run, provenance={"trials": counted | changes}))

    assert "holds 7 trials of other runs and sweeps" in words(of_data=11)
    assert "1 run lies beside this one without being in it (old-1): the register was deleted" in words(
        not_registered=["old-1"]
    )
    assert "6 runs lie beside this one without being in it (a, b, c, d, e, ...)" in words(not_registered=list("abcdef"))
    assert "only its own are known" in register_words(replace(run, provenance={}))
