"""Event runs from the command line: raw files, store, backtest, report; and configurations that cannot be used."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from backtests.walk.result_files import read_run
from fairfield.cli import app
from fairfield.errors import ConfigError
from fairfield.intraday_catalog import intraday_pod_kinds, make_intraday_plan
from fairfield.intraday_config import load_intraday_config
from fairfield.intraday_stage import is_intraday, write_synthetic_sessions
from fairfield.stages import CONFIGURATIONS
from reports.intraday_figures import activity_table, choice_tables, statistic_table
from reports.intraday_pictures import mark_out_chart
from reports.intraday_words import facts
from strategies.intraday.makers import ConstantSpread, SkewedSpread
from strategies.intraday.regime_switch import RegimeSwitch

SHIPPED = CONFIGURATIONS / "market_makers.toml"

SMALL = """
benchmark = "constant"
[run]
name = "small"
workers = 1
[intraday]
store = "store"
venue = "NASDAQ"
clock = "UTC"
session_start = 10:00:05
liquidate_at = 10:02:50
session_stop = 10:03:00
max_position = 4
[[intraday.instruments]]
symbol = "SYN"
tick_size = 0.01
lot_size = 100.0
[intraday.fees]
maker_per_lot = -0.2
taker_per_lot = 0.3
[intraday.calibration]
blocks = 10
feature_seconds = 10.0
[walkforward]
train = 2
test = 5
[account]
capital = 1e5
[[pods]]
name = "constant"
kind = "constant_spread"
[[pods]]
name = "skewed"
kind = "skewed_spread"
"""


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("makers")
    written = run("synthetic-book", folder, "--feed", "lobster", "--sessions", 7, "--seconds", 180)
    assert written.exit_code == 0, written.output
    assert run("ingest", folder / "raw", "--store", folder / "store").exit_code == 0
    (folder / "small.toml").write_text(SMALL.replace('clock = "UTC"\n', ""), encoding="utf-8")
    found = run("backtest", folder / "small.toml")
    assert found.exit_code == 0, found.output
    return folder, found.output


def test_raw_files_become_a_run_with_a_report(made):
    folder, output = made
    assert "data: 5 tested sessions 2021-03-17 to 2021-03-23 of SYN at NASDAQ" in output
    (place,) = (folder / "runs").glob("small-*")
    page = (place / "report.html").read_text(encoding="utf-8")
    for words in ("Every pod under every fill model", "trade through", "poisson, expected",
                  "Where the money came from", "After the fills",
                  "Folds and calibration", "Only 5 test sessions.", "−0.2 a lot"):  # fmt: skip
        assert words in page, words
    assert "<script" not in page
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"<code.*?</code>", "", page.split("Provenance</h2>")[0]))
    totals = json.loads((place / "pods" / "constant" / "statistics.json").read_bytes())["fill_cases"]
    assert set(totals) == {"main", "trade_through", "assumed_high", "assumed_low", "probabilistic"}


def test_a_combinatorial_window_shows_paths_beside_the_rolling_account(made):
    folder, _ = made
    scheme = 'window = "combinatorial"\ngroups = 7\ntest_groups = 2\nembargo = 0.1\n'
    text = (
        SMALL.replace('clock = "UTC"\n', "")
        .replace('name = "small"', 'name = "paths"')
        .replace("[walkforward]\n", f"[walkforward]\n{scheme}")
    )
    (folder / "paths.toml").write_text(text, encoding="utf-8")
    found = run("backtest", folder / "paths.toml")
    assert found.exit_code == 0, found.output
    (place,) = (folder / "runs").glob("paths-*")
    page = (place / "report.html").read_text(encoding="utf-8")
    for words in (
        'href="#paths"',
        "6 paths from 21 splits of 7 groups (Lopez de Prado 2018), 2021-03-15 to 2021-03-23",
        "labels purged over 0 sessions, embargo 1 session.",
        "every session of every group adds its profit under the main assumptions",
        "nobody could have traded a path",
        "Growth of 1 along 6 paths of skewed",
        "ran from 2021-03-16 to 2021-03-23",
    ):
        assert words in page, words
    record = json.loads((place / "evidence" / "paths.json").read_bytes())["pods"]["constant"]
    assert f"{record['final_value']['median']:,.2f}".replace(",", "\N{NARROW NO-BREAK SPACE}") in page
    assert f"{record['sharpe']['highest'] / 252**0.5:.3f}".replace("-", "−") in page
    assert "CDI" not in page[page.index('<section id="paths"') : page.index('<section id="folds"')]
    (rolling,) = (folder / "runs").glob("small-*")
    assert 'id="paths"' not in (rolling / "report.html").read_text(encoding="utf-8")
    tables = [(one / "pods" / "constant" / "account.parquet").read_bytes() for one in (place, rolling)]
    assert tables[0] == tables[1]


def test_the_mark_outs_of_pods_without_resting_fills_have_no_line_and_no_name(made):
    folder, _ = made
    (place,) = (folder / "runs").glob("small-*")
    run_of = read_run(place)

    def without(*pods):
        results = []
        for result in run_of.results:
            statistics = json.loads(json.dumps(result.statistics))
            if result.pod in pods:
                main = statistics["fill_cases"]["main"]
                main["mark_outs"] = [row for row in main["mark_outs"] if row["role"] != "maker"]
            results.append(dataclasses.replace(result, statistics=statistics))
        return str(mark_out_chart(dataclasses.replace(run_of, results=tuple(results))))

    assert [">constant<" in without(), ">skewed<" in without()] == [True, True]
    assert [">constant<" in without("skewed"), ">skewed<" in without("skewed")] == [True, False]
    assert ">constant<" not in without("skewed", "constant")
    lines = [without(*pods).count("scale(.1)") for pods in ((), ("skewed",), ("skewed", "constant"))]
    assert lines == [2, 1, 0]


def test_few_sessions_call_nothing_more_than_chance(made):
    folder, _ = made
    (place,) = (folder / "runs").glob("small-*")
    run_of = read_run(place)

    def words(sessions):
        results = [
            dataclasses.replace(
                result,
                tables=result.tables
                | {"account": {k: np.resize(v, sessions + 1) for k, v in result.tables["account"].items()}},
                statistics=dict(result.statistics) | {"deflated_sharpe": 0.99},
            )
            for result in run_of.results
        ]
        record = {"annual_difference": 0.5, "p_value": 0.0005}
        comparison = run_of.comparison | {"differences": {"skewed": record}}
        return " ".join(
            fact.words for fact in facts(dataclasses.replace(run_of, results=tuple(results), comparison=comparison))
        )

    assert "5 sessions are too few to call any difference from constant more than chance." in words(5)
    assert "beyond chance" not in words(19)
    assert "Differs from constant beyond chance: skewed" in words(20)
    assert "5 sessions are too few for evidence beyond the best of" in words(5)
    assert "Beyond the best of" not in words(19)
    assert "Beyond the best of" in words(20)


def test_the_page_counts_refused_requests_and_never_rounds_a_length_down(made):
    folder, _ = made
    (place,) = (folder / "runs").glob("small-*")
    run_of = read_run(place)
    statistics = json.loads(json.dumps(run_of.results[0].statistics))
    statistics["min_track_record_sessions"] = 1.2
    statistics["fill_cases"]["main"]["orders"]["ends"] |= {"rejected_form": 3, "rejected_limit": 4}
    run_of = dataclasses.replace(run_of, results=(dataclasses.replace(run_of.results[0], statistics=statistics),))
    assert ("Sessions needed for 95 % (2012 form)", "2") in statistic_table(run_of).rows
    assert ("Refused: form or limit", "7") in activity_table(run_of).rows


def test_scores_of_training_are_per_session_as_every_ratio_of_the_page(made):
    folder, _ = made
    (place,) = (folder / "runs").glob("small-*")
    run_of = read_run(place)
    tables = {name: dict(table) for name, table in run_of.results[0].tables.items()}
    tables["folds"]["training_score"] = np.full_like(tables["folds"]["training_score"], 2.0 * 252**0.5)
    run_of = dataclasses.replace(run_of, results=(dataclasses.replace(run_of.results[0], tables=tables),))
    ((_, grid),) = choice_tables(run_of)
    assert {row[3].text for row in grid.rows} == {"2.000"}


def test_the_windows_of_an_event_run_have_the_keys_of_a_daily_one(tmp_path):
    from backtests.walk.combinatorial import CombinatorialSettings

    def plan_of(lines):
        path = tmp_path / "run.toml"
        path.write_text(SMALL.replace("[walkforward]\n", f"[walkforward]\n{lines}\n"), encoding="utf-8")
        return make_intraday_plan(load_intraday_config(path))

    plan = plan_of('window = "combinatorial"\nembargo = 0.01')
    assert plan.combinatorial == CombinatorialSettings(6, 2, 0, 0.01)
    assert (plan.folds.anchored, plan.folds.purge, plan.folds.embargo) == (False, 0, 0)
    named = plan_of('window = "combinatorial"\ngroups = 8\ntest_groups = 3\nembargo = 4\npurge = 2')
    assert named.combinatorial == CombinatorialSettings(8, 3, 2, 4)
    assert named.folds.gap == 6
    assert plan_of('window = "anchored"').combinatorial is None
    with pytest.raises(ConfigError, match='groups belongs to window = "combinatorial"; window is "rolling"'):
        plan_of("groups = 3")
    with pytest.raises(ConfigError, match='embargo must be whole sessions with window = "rolling"'):
        plan_of("embargo = 0.5")


def test_the_report_is_written_again_with_the_same_bytes_and_has_no_date(made, tmp_path):
    folder, _ = made
    (place,) = (folder / "runs").glob("small-*")
    first = (place / "report.html").read_bytes()
    again = run("report", place, "--output", tmp_path / "page.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "page.html").read_bytes() == first
    dated = run("report", place, "--date", "2021-03-18")
    assert dated.exit_code != 0
    assert "the report of an event run is of the whole run" in dated.output


def test_the_configuration_beside_the_files_fits_them(made):
    folder, _ = made
    plan = make_intraday_plan(load_intraday_config(folder / "market_makers.toml"))
    assert (plan.venue, plan.instruments[0].symbol, plan.instruments[0].lot_size) == ("NASDAQ", "SYN", 100.0)
    assert plan.day.stop == 36_000.0 + 180.0
    assert plan.day.liquidate == plan.day.stop - 30.0
    assert plan.store == folder / "store"


SWITCH = """kind = "regime_switch"
parameters = {window = 3}
[pods.makers.active]
kind = "skewed_spread"
parameters = {skew = 2.0}
[pods.makers.passive]
kind = "constant_spread"
parameters = {market_spreads = 3}
"""


def test_the_makers_of_a_regime_switch_are_tables_of_their_own(tmp_path):
    (tmp_path / "run.toml").write_text(SMALL.replace('kind = "skewed_spread"', SWITCH))
    plan = make_intraday_plan(load_intraday_config(tmp_path / "run.toml"))
    (pod,) = plan.pods[1].grid
    assert pod == RegimeSwitch(
        name="skewed",
        window=3,
        active=SkewedSpread(skew=2.0),
        passive=ConstantSpread(market_spreads=3),
    )
    (tmp_path / "run.toml").write_text(
        SMALL.replace('kind = "skewed_spread"', SWITCH.split("[pods.makers.passive]")[0])
    )
    assert make_intraday_plan(load_intraday_config(tmp_path / "run.toml")).pods[1].grid[0].passive is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "makers.active",
            "makers.activ",
            "pod skewed, makers.activ: only a regime_switch has makers, active and passive",
        ),
        ('"regime_switch"', '"constant_spread"', "only a regime_switch has makers.*; kind constant_spread"),
        ("skew = 2.0", "skw = 2.0", r"pod skewed, makers.active: unknown parameter skw; did you mean skew\?"),
        ("skew = 2.0", "skew = -2.0", "pod skewed, makers.active: skew of pod 'skewed_spread' must be"),
        ('"skewed_spread"', '"worked_order"', "makers.active: unknown kind worked_order"),
        ("window = 3", 'active = "skewed_spread"', "makers.active: active is among the parameters, too"),
    ],
)
def test_makers_that_make_no_sense_are_refused_by_their_place(tmp_path, old, new, message):
    (tmp_path / "run.toml").write_text(SMALL.replace('kind = "skewed_spread"', SWITCH.replace(old, new)))
    with pytest.raises(ConfigError, match=message):
        make_intraday_plan(load_intraday_config(tmp_path / "run.toml"))


def test_the_shipped_configuration_has_every_kind_of_case():
    assert is_intraday(SHIPPED)
    assert not is_intraday(CONFIGURATIONS / "demo.toml")
    plan = make_intraday_plan(load_intraday_config(SHIPPED))
    assert [case.name for case in plan.cases] == [
        "main", "trade_through", "assumed_high", "assumed_low", "probabilistic",
    ]  # fmt: skip
    assert [case.guess for case in plan.cases] == [None, None, "high", "low", None]
    assert plan.fills.fees.maker == pytest.approx(2e-4)
    assert plan.fills.latency.entry_ns == 5_000_000
    assert {case.settings.fees for case in plan.cases} == {plan.fills.fees}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('venue = "NASDAQ"', 'venu = "NASDAQ"', r"unknown key intraday.venu; did you mean venue\?"),
        ("max_position = 4", "max_position = 0", "intraday.max_position: .*greater than or equal to 1"),
        (
            "liquidate_at = 10:02:50",
            "liquidate_at = 10:04:00",
            "intraday: session_start, liquidate_at and session_stop",
        ),
        ('kind = "skewed_spread"', 'kind = "skewed"', "pod skewed: unknown kind skewed; did you mean skewed_spread"),
        (
            'kind = "skewed_spread"',
            'kind = "skewed_spread"\nparameters = {skw = 1.0}',
            "unknown parameter skw; did you",
        ),
        ('kind = "skewed_spread"', 'kind = "skewed_spread"\nparameters = {skew = -1.0}', "pod skewed: .*skew"),
        ('name = "skewed"', 'name = "constant"', "pod names must differ; 'constant' is used twice"),
        ("max_position = 4", 'max_position = 4\nbounds = [{name = "main"}]', "names of intraday.bounds must differ"),
        (
            "max_position = 4",
            'max_position = 4\nbounds = [{name = "x", kind = "exact", guess = "low"}]',
            "queue of case 'x' must be assumed",
        ),
        (
            "max_position = 4",
            "max_position = 4\norder_lots = 5",
            "order_lots must be at least 1 and within max_position",
        ),
        ("train = 2", "train = 1", "walkforward.train"),
        ("train = 2", 'train = 2\nselection = "nest"', "walkforward.selection"),
        ("feature_seconds = 10.0", "feature_seconds = 600.0", "feature_seconds .* must be at most the 165 s"),
        ("tick_size = 0.01", "tick_size = 0.0", "intraday.instruments.0.tick_size"),
        ("feature_seconds = 10.0", "feature_seconds = 1e-9", "feature_seconds: .*greater than or equal to 0.01"),
        ("tick_size = 0.01", "tick_size = 1e300", "intraday.instruments.0.tick_size: .*less than"),
        ("capital = ", "capital = 1e-300 #", "account.capital: .*greater than or equal to 0.01"),
        ("max_position = 4", "max_position = 999999999999", "intraday.max_position: .*less than or equal to 1000000"),
        (
            'clock = "UTC"',
            'clock = "Nowhere/City"',
            "clock must be a time zone .* was 'Nowhere/City'",
        ),
        ('clock = "UTC"', 'clock = "../etc"', "clock must be a time zone"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, old, new, message):
    path = tmp_path / "config.toml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        make_intraday_plan(load_intraday_config(path))


def test_every_kind_of_pod_can_be_made_with_its_defaults():
    for kind, maker in intraday_pod_kinds().items():
        pod = maker(name="x", **({"library": "somewhere"} if kind == "library_maker" else {}))
        assert pod.name == "x", kind
        assert pod.parameters, kind


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("sampled", "entry_ms,response_ms\n1.5,2\n3,4\n", None),
        ("recorded", "time,entry_ms,response_ms\n2021-03-15T10:00:00Z,1.5,2\n2021-03-15T10:00:01.5,3,4\n", None),
        ("sampled", "", "the first line must be entry_ms,response_ms; was nothing"),
        ("sampled", "entry_ms,response_ms\n", "at least one row of delays"),
        ("sampled", "time,entry_ms,response_ms\n", "the first line must be entry_ms,response_ms"),
        ("sampled", "entry_ms,response_ms\n1\n", "line 2: must have 2 values; had 1"),
        ("sampled", "entry_ms,response_ms\n1,2\n\n-1,2\n", "line 4: entry_ms must be from 0 to 60000; was '-1'"),
        ("sampled", "entry_ms,response_ms\nnan,2\n", "line 2: entry_ms must be .*was 'nan'"),
        ("recorded", "time,entry_ms,response_ms\nnoon,1,2\n", "line 2: time must be a UTC time"),
        ("recorded", "time,entry_ms,response_ms\n,1,2\n", "line 2: time must be a UTC time"),
        (
            "recorded",
            "time,entry_ms,response_ms\n2021-03-15T10:00:00,1,2\n2021-03-15T10:00:00,1,2\n",
            "line 3: time must be after",
        ),
    ],
)
def test_delays_of_a_file_are_the_latency(tmp_path, kind, text, message):
    (tmp_path / "delays.csv").write_text(text, encoding="utf-8")
    path = tmp_path / "config.toml"
    section = f'[intraday.latency]\nkind = "{kind}"\nfile = "delays.csv"\n[intraday.fees]'
    path.write_text(SMALL.replace("[intraday.fees]", section), encoding="utf-8")
    if message is not None:
        with pytest.raises(ConfigError, match=message):
            make_intraday_plan(load_intraday_config(path))
        return
    latency = make_intraday_plan(load_intraday_config(path)).fills.latency
    assert latency.kind == kind
    assert latency.entry.tolist() == [1_500_000, 3_000_000]
    assert latency.response.tolist() == [2_000_000, 4_000_000]
    assert np.diff(latency.times).tolist() == ([1_500_000_000] if kind == "recorded" else [])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('kind = "sampled"', "file must be given for the kinds sampled and recorded, and for them alone"),
        ('file = "delays.csv"', "file must be given for the kinds sampled and recorded, and for them alone"),
        ('kind = "sampled"\nfile = "delays.csv"\nentry_ms = 1.0', "entry_ms and response_ms must be left out"),
        ('kind = "sampled"\nfile = "missing.csv"', "missing.csv: the delays cannot be read"),
    ],
)
def test_a_latency_of_two_sources_is_refused(tmp_path, section, message):
    path = tmp_path / "config.toml"
    path.write_text(SMALL.replace("[intraday.fees]", f"[intraday.latency]\n{section}\n[intraday.fees]"), "utf-8")
    with pytest.raises(ConfigError, match=message):
        make_intraday_plan(load_intraday_config(path))


def test_a_library_maker_reads_its_folder_beside_the_configuration_and_its_game(tmp_path):
    path = tmp_path / "config.toml"
    pod = 'kind = "library_maker"\nparameters = {library = "policies/abc", risk_aversion = 0.2, interval_ms = 250}'
    path.write_text(SMALL.replace('kind = "skewed_spread"', pod), encoding="utf-8")
    (maker,) = make_intraday_plan(load_intraday_config(path), tmp_path).pods[1].grid
    assert maker.library == str(tmp_path / "policies/abc")
    assert (maker.maker.risk_aversion, maker.interval_ms) == (0.2, 250)
    path.write_text(SMALL.replace('kind = "skewed_spread"', pod.replace("risk_aversion", "risk_avrsion")), "utf-8")
    with pytest.raises(ConfigError, match="pod skewed: unknown parameter risk_avrsion"):
        make_intraday_plan(load_intraday_config(path), tmp_path)


def test_sessions_are_written_in_feeds_that_a_backtest_reads(tmp_path):
    with pytest.raises(ConfigError, match="--sessions must be with --feed binance, lobster, b3_trades; was b3_orders"):
        write_synthetic_sessions(tmp_path, feed="b3_orders")
