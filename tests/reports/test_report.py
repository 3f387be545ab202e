import json
import re
import shutil
import time
from itertools import product

import numpy as np
import pandas as pd
import pytest

from reports.report import write_report

MINUS, THIN = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"
SECTIONS = (
    "summary", "lights", "profit", "pods", "curves", "months", "var", "concentration", "breaches", "costs", "folds",
    "search", "game",
    "quality", "positions", "method", "provenance",
)  # fmt: skip


def signed(value, digits=2):
    text = f"{100 * value:+.{digits}f}%"
    return (text if re.search("[1-9]", text) else text[1:]).replace("-", MINUS)


def plain(value, digits=2):
    return f"{value:,.{digits}f}".replace("-", MINUS).replace(",", THIN)


def statistics(folder, pod):
    return json.loads((folder / "pods" / pod / "statistics.json").read_text())


def table(folder, pod, name):
    return pd.read_parquet(folder / "pods" / pod / f"{name}.parquet")


PODS = ("hold", "momentum", "reversal", "low_volatility")


def test_the_page_has_every_section_in_reading_order(report):
    found = [attrs["id"] for tag, attrs in report.tags if tag == "section" and "id" in attrs]
    assert found == list(SECTIONS)


def test_the_page_stands_alone(run_folder, report):
    source = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in report.tags}
    assert not [name for _, attrs in report.tags for name in attrs if name.startswith("on")]
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", source)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", without_pictures)
    links = [attrs["href"] for tag, attrs in report.tags if "href" in attrs]
    ids = {attrs["id"] for _, attrs in report.tags if "id" in attrs}
    assert all(link.startswith("data:image/png;base64,") or link[1:] in ids for link in links)


def test_the_page_prints_and_darkens(run_folder):
    source = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "@page{size:A4" in source
    assert "@media (prefers-color-scheme:dark)" in source


def test_the_pod_table_holds_the_numbers_of_statistics_json(run_folder, report):
    rows = report.rows("pods")
    for column, pod in enumerate(PODS):
        record = statistics(run_folder, pod)
        expected = {
            "Annual return": signed(record["annual_return"]),
            "Annual excess over CDI": signed(record["excess_return"]),
            "Annual volatility": plain(100 * record["annual_volatility"]) + "%",
            "Sharpe ratio (over CDI)": plain(record["sharpe"]),
            "± standard error": plain(record["sharpe_standard_error"]),
            "Probabilistic Sharpe (1 less p)": plain(record["probabilistic_sharpe"], 3),
            "Deflated Sharpe (1 less p)": plain(record["deflated_sharpe"], 3),
            "Trials deflated for": plain(record["trials"], 0),
            "Sharpe that luck alone shows": plain(record["deflated_sharpe_threshold"]),
            "Sortino ratio (over CDI)": plain(record["sortino"]),
            "Calmar ratio (CDI not deducted)": plain(record["calmar"]),
            "Largest drawdown": plain(100 * record["max_drawdown"]) + "%",
            "Turnover, times NAV a year": plain(record["annual_turnover"], 1),
            "Costs, bps of NAV a year": plain(1e4 * record["annual_cost"], 1),
        }
        assert {label: rows[label][column] for label in expected} == expected


def test_the_differences_are_those_of_comparison_json(run_folder, report):
    rows = report.rows("pods")
    found = json.loads((run_folder / "comparison.json").read_text())["differences"]
    for column, pod in enumerate(PODS[1:], start=1):
        record = found[pod]
        assert rows["Annual difference"][column] == signed(record["annual_difference"])
        low, high = signed(record["low"], 1), signed(record["high"], 1)
        assert rows["95% bootstrap interval"][column] == f"{low} to {high}"
        assert rows["p value of no difference"][column] == plain(record["p_value"], 3)
    assert rows["Annual difference"][0] == "–"


def test_profit_to_date_is_compounded_from_the_first_session_of_its_period(run_folder, report):
    rows = report.rows("profit")
    for pod in PODS:
        account = table(run_folder, pod, "account")
        dates = pd.to_datetime(account["session"])
        last = dates.iloc[-1]
        month = account["return"][(dates.dt.year == last.year) & (dates.dt.month == last.month)]
        year = account["return"][dates.dt.year == last.year]
        expected = [account["return"].iloc[-1], (1 + month).prod() - 1, (1 + year).prod() - 1]
        assert rows[pod][2:5] == [signed(value) for value in expected]
        assert rows[pod][5] == signed((1 + account["return"]).prod() - 1, 1)


def test_months_and_years_are_compounded(run_folder, report):
    for pod in PODS:
        account = table(run_folder, pod, "account")
        dates = pd.to_datetime(account["session"])
        monthly = (1 + account["return"]).groupby([dates.dt.year, dates.dt.month]).prod() - 1
        yearly = (1 + account["return"]).groupby(dates.dt.year).prod() - 1
        rows = report.rows(f"months-{pod}")
        for year, month in product(sorted(yearly.index), range(1, 13)):
            value = monthly.get((year, month))
            shown = rows[str(year)][month - 1]
            assert shown == ("" if value is None else plain(100 * value, 1).replace(f"{MINUS}0.0", "0.0"))
        assert [rows[str(y)][12] for y in yearly.index] == [plain(100 * v, 1) for v in yearly]


def test_correlations_are_those_of_the_returns(run_folder, report):
    returns = pd.DataFrame({pod: table(run_folder, pod, "account")["return"].iloc[1:] for pod in PODS})
    matrix = returns.corr()
    for pod, cells in list(report.rows("correlation").items())[1:]:
        for other, cell in zip(PODS, cells, strict=False):
            if PODS.index(other) < PODS.index(pod):
                assert cell == plain(matrix.loc[pod, other])


def test_costs_of_a_year_are_its_money_over_its_mean_value(run_folder, report):
    account = table(run_folder, "momentum", "account")
    years = pd.to_datetime(account["session"]).dt.year
    body = report.tables["costs"][1:]
    start = [row[0] for row in body].index("momentum")
    for offset, year in enumerate(sorted(years.unique())):
        part = account[years == year]
        mean = part["net_asset_value"].mean()
        columns = ("cost_half_spread", "cost_impact", "cost_fees", "cost_borrow")
        parts = [1e4 * part[name].sum() / mean for name in columns]
        assert body[start + offset][1] == str(year)
        assert body[start + offset][2] == plain(part["turnover"].sum(), 1)
        assert body[start + offset][3:8] == [plain(v, 1) for v in [*parts, sum(parts)]]


def test_slippage_is_the_fill_against_the_close_at_its_decision(run_folder, report):
    orders, fills = table(run_folder, "hold", "orders"), table(run_folder, "hold", "fills")
    paid = basis = 0.0
    for fill in fills.to_dict("records"):
        same = orders[(orders["instrument"] == fill["instrument"]) & (orders["decision_session"] < fill["session"])]
        close = same.sort_values("decision_session")["price"].iloc[-1]
        paid += fill["shares"] * (fill["price"] - close)
        basis += abs(fill["shares"]) * close
    row = dict(zip(report.tables["fills"][0], report.tables["fills"][1], strict=True))
    assert row["Slippage"] == f"+{plain(1e4 * paid / basis, 1)}"
    assert row["Covered"] == "100%"
    assert row["Fills"] == plain(len(fills), 0)


def test_exceptions_are_counted_listed_and_marked(run_folder, report):
    rows = report.rows("var")
    listed = report.tables["exceptions"][1:]
    for pod in PODS:
        record = statistics(run_folder, pod)["var_backtest"]
        risk = table(run_folder, pod, "risk")
        assert rows[pod][1] == str(int(risk["var_exception"].sum())) == str(record["exceptions"])
        assert rows[pod][2] == plain(record["expected"], 1)
    assert len(listed) == min(12, sum(int(table(run_folder, pod, "risk")["var_exception"].sum()) for pod in PODS))
    marks = [1 for tag, attrs in report.tags if tag == "path" and attrs.get("class") == "x"]
    assert len(marks) == sum(int(table(run_folder, pod, "risk")["var_exception"].sum()) for pod in PODS)


def test_every_recorded_breach_is_on_the_page_actions_first_newest_first(run_folder, report):
    recorded = pd.concat([table(run_folder, pod, "breaches") for pod in PODS])
    acted = report.tables["breaches"][1:] + report.tables.get("older-breaches", [[]])[1:]
    noted = report.tables["noted-breaches"][1:]
    assert len(acted) == (recorded["action"] != "NOTE").sum() > 0
    assert len(noted) == (recorded["action"] == "NOTE").sum() > 0
    for rows in (acted, noted):
        dates = [row[0] for row in rows]
        assert dates == sorted(dates, reverse=True)
    assert {row[3].split()[-1] for row in acted} == {"hard", "kill"}
    assert {row[3].split()[-1] for row in noted} == {"amber"}
    counts = report.rows("breach-counts")
    for pod in PODS:
        actions = table(run_folder, pod, "breaches")["action"]
        expected = [str((actions == name).sum()) for name in ("FLATTEN", "HALVE", "BLOCK", "NOTE", "REARM")]
        assert counts[pod][:5] == expected


def test_cash_is_beside_the_pods(run_folder, report):
    """The account opens in its first session: cash earns from the second on, like the pods."""
    earned = table(run_folder, "hold", "account")["risk_free"].iloc[1:]
    assert report.rows("profit")["CDI"][5] == signed((1 + earned).prod() - 1, 1)
    assert report.rows("pods")["CDI, annual return"] == [signed((1 + earned).prod() ** (252 / len(earned)) - 1)] * 4
    assert f"CDI {plain((1 + earned).prod())}" in report.text


def test_the_positions_are_the_largest_of_the_last_session(run_folder, report):
    held = table(run_folder, "reversal", "positions")
    last = held[held["session"] == held["session"].max()].sort_values("weight", key=abs, ascending=False)
    shown = report.tables["positions-reversal"][1:]
    assert [row[0] for row in shown] == last["instrument"].head(10).tolist()
    assert [row[4] for row in shown] == [plain(100 * w, 1) + "%" for w in last["weight"].head(10)]


def test_a_fold_shows_training_score_beside_the_sharpe_ratio_of_its_test(run_folder, report):
    account = table(run_folder, "hold", "account")
    for row, fold in zip(report.tables["folds-hold"][1:], range(4), strict=True):
        part = account[account["fold"] == fold]
        excess = part["return"] - part["risk_free"]
        assert row[0] == str(fold)
        assert row[5] == plain(0.9 + 0.1 * fold)
        assert row[6] == plain(excess.mean() / excess.std() * 252**0.5)
    assert "crowd_impact shrunk to the prior" in report.text


def test_the_policy_s_certificate_and_game_are_on_the_page(report):
    certificate, game = report.rows("certificate"), report.rows("game")
    assert certificate["Exploitability"] == [f"4.1e{MINUS}9"]
    assert certificate["Residual, undamped"] == [f"3.2e{MINUS}11"]
    assert certificate["Iterations"] == ["14"]
    assert game["Crowd impact"] == ["0.6"]
    schedule = report.tables["schedule"][1:]
    assert sum(float(row[1].rstrip("%")) for row in schedule) == pytest.approx(100.0, abs=0.21)
    assert schedule[0][2] == "33.3%"


def test_the_hashes_are_short_above_and_full_in_provenance(report):
    assert f"{'1f' * 5} " in report.text
    assert report.rows("provenance")["Data hash"] == ["1f" * 32]


def test_five_pods_and_1200_sessions_stay_under_350_kb_and_8_seconds(tmp_path, fabricate):
    folder = fabricate(tmp_path, pods=("hold", "a", "b", "c", "d"), sessions=1200)
    begun = time.process_time()
    page = write_report(folder)
    assert time.process_time() - begun < 8.0
    assert page.stat().st_size < 350_000


def test_the_page_depends_on_the_files_alone(tmp_path, run_folder):
    first = write_report(run_folder).read_bytes()
    copy = tmp_path / run_folder.name
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("report*"))
    assert write_report(copy).read_bytes() == first
    assert write_report(copy, output=tmp_path / "elsewhere.html").read_bytes() == first
    written = {path.name for path in copy.iterdir()}
    assert written == {"run.json", "comparison.json", "quality.json", "pods", "policies", "report.html"}


def scramble_after(day):
    """An edit that changes every row after `day` and adds breaches, orders and fills there."""

    def edit(pod, tables):
        rng = np.random.default_rng(99)
        for name, table_ in tables.items():
            column = {"orders": "decision_session", "folds": "test_start"}.get(name, "session")
            later = table_[column] > day
            for values in table_.values():
                if values.dtype.kind == "f":
                    values[later] = np.abs(rng.normal(0.01, 0.001, later.sum()))
                elif values.dtype.kind == "b":
                    values[later] = ~values[later]
        folds = tables["folds"]
        folds["test_end"][folds["test_end"] > day] += np.timedelta64(1, "D")
        cleared = tables["breaches"]["cleared_session"]
        cleared[cleared > day] = np.datetime64("NaT", "D")

    return edit


@pytest.mark.parametrize("date", ["2020-06-30", "2021-07-04", "2023-03-08"])
def test_a_dated_report_reads_nothing_of_later_days(tmp_path, fabricate, run_folder, date):
    changed = fabricate(tmp_path / "changed", edit=scramble_after(np.datetime64(date)))
    same = write_report(run_folder, date=date, output=tmp_path / "a.html").read_bytes()
    assert write_report(changed, date=date, output=tmp_path / "b.html").read_bytes() == same
    assert (
        write_report(changed, output=tmp_path / "c.html").read_bytes()
        != write_report(run_folder, output=tmp_path / "d.html").read_bytes()
    )


def test_a_dated_report_says_what_the_run_said_on_that_day(tmp_path, fabricate, run_folder, read_page):
    """A shorter run is what the longer one was; only the trials' variance is not known then."""
    account = table(run_folder, "hold", "account")
    date = account["session"].iloc[619]
    page = read_page(write_report(run_folder, date=date, output=tmp_path / "dated.html"))
    returns = account["return"].iloc[1:620].to_numpy()
    assert page.rows("pods")["Annual return"][0] == signed(np.prod(1 + returns) ** (252 / 619) - 1)
    assert page.rows("pods")["Trials deflated for"][0] == plain(4 * 3 * 3, 0)
    assert str(date) in page.text
    assert "nothing later was read" in page.text
    assert write_report(run_folder, date=date).name == f"report_{date}.html"
    (run_folder / f"report_{date}.html").unlink()


def test_a_report_of_the_last_day_is_the_whole_report(tmp_path, run_folder):
    last = table(run_folder, "hold", "account")["session"].iloc[-1]
    dated = write_report(run_folder, date=last, output=tmp_path / "dated.html")
    assert dated.read_bytes() == write_report(run_folder).read_bytes()
