import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from data_pipeline.disk import plain_json
from data_pipeline.errors import DataError
from reports.compare_page import write_comparison_page
from reports.quality_page import write_quality_page


@pytest.fixture
def quality(run_folder):
    return json.loads((run_folder / "quality.json").read_text())


def test_the_quality_page_shows_every_list_and_total(tmp_path, quality, read_page):
    page = read_page(write_quality_page(quality, tmp_path / "quality.html"))
    assert "Data quality: amber" in page.text
    assert all(reason in page.text for reason in quality["reasons"])
    assert page.rows("quality-totals")["Rows"] == ["50\N{NARROW NO-BREAK SPACE}000"]
    assert page.tables["quality-gaps"][1:] == [[quality["gaps"][0]["session"], "missing"]]
    outlier = dict(zip(page.tables["quality-outliers"][0], page.tables["quality-outliers"][1], strict=True))
    assert outlier["Return"] == "\N{MINUS SIGN}41.0%"
    event = dict(zip(page.tables["quality-events"][0], page.tables["quality-events"][1], strict=True))
    assert (event["Share factor"], event["Confidence"]) == ("0.1", "0.90")
    assert "No rename." in page.text
    assert not {"script", "link"} & {tag for tag, _ in page.tags}


def test_the_quality_page_tells_what_was_found_before_what_was_not(tmp_path, quality, read_page):
    text = write_quality_page(quality, tmp_path / "quality.html").read_text()
    counts = [
        int(count.replace("\N{NARROW NO-BREAK SPACE}", "")) for count in re.findall(r"\(([\d\u202f]+)\)</a>", text)
    ]
    assert 0 in counts
    assert max(counts) > 0
    assert all(counts[: counts.index(0)])
    assert not any(counts[counts.index(0) :])


def test_the_quality_page_says_how_much_it_leaves_out(tmp_path, quality, read_page):
    quality["gaps"] = [{"session": "2020-01-02", "kind": "missing"}] * 500
    quality["totals"]["gaps"] = 900
    page = read_page(write_quality_page(quality, tmp_path / "quality.html"))
    assert len(page.tables["quality-gaps"]) == 201
    assert "700 more are not shown." in page.text


@pytest.mark.parametrize("record", [{}, {"light": "none", "reasons": ["no summary was given"]}, {"light": "green"}])
def test_a_record_with_nothing_in_it_is_a_page(tmp_path, record, read_page):
    page = read_page(write_quality_page(record, tmp_path / "quality.html"))
    assert ("green" if record.get("light") == "green" else "not known") in page.text


def test_a_page_of_a_synthetic_panel_s_own_record(tmp_path, read_page):
    """The record as data_pipeline makes it, not as the fixture imagines it."""
    from data_pipeline.daily.panel import DailyPanel
    from data_pipeline.quality.daily import panel_quality

    sessions = np.array(["2023-01-02", "2023-01-03", "2023-01-05"], dtype="datetime64[D]")
    close = np.array([[10.0, 5.0], [10.5, np.nan], [10.2, 5.5]])
    nan = np.full_like(close, np.nan)
    volume = np.where(np.isnan(close), 0.0, 1000.0)
    panel = DailyPanel(
        sessions, ("AAAA3", "BBBB3"), close, close, close, close, close, nan, nan, volume, volume * 10.0, nan,
        np.array([100, 100]), np.zeros(3),
    )  # fmt: skip
    record = plain_json(panel_quality(panel))
    page = read_page(write_quality_page(record, tmp_path / "quality.html"))
    assert [row[1] for row in page.tables["quality-gaps"][1:]] == ["missing"]
    assert page.tables["quality-gaps"][1][0] == "2023-01-04"
    assert f"Data quality: {record['light']}" in page.text


def test_data_without_cdi_do_not_look_complete(tmp_path, quality, read_page):
    """The list of carried sessions is empty for them, which is no sign of health."""
    quality["provenance"]["risk_free"] = "constant 0.1 a year, base 252"
    page = read_page(write_quality_page(quality, tmp_path / "quality.html"))
    assert page.rows("quality-totals")["Sessions without CDI"] == ["all"]
    assert "Every session has its CDI." not in page.text
    assert "cash earns a flat rate (constant 0.1 a year, base 252)" in page.text


def test_runs_are_compared_side_by_side(tmp_path, fabricate, run_folder, read_page):
    other = fabricate(tmp_path / "other", pods=("hold", "trend"), sessions=400, seed=11)
    page = read_page(write_comparison_page([run_folder, other], tmp_path / "compare.html"))
    head = [cell.strip() for cell in page.tables["pods"][0][1:]]
    assert len(head) == 6
    assert head[1:4] == ["momentum", "reversal", "low_volatility"]
    assert head[0].startswith("hold · ")
    assert head[4].startswith("hold · ")
    assert head[0] != head[4]
    expected = json.loads((other / "pods" / "trend" / "statistics.json").read_text())["sharpe"]
    assert page.rows("pods")["Sharpe ratio (over CDI)"][5] == f"{expected:.2f}".replace("-", "\N{MINUS SIGN}")
    assert "On the 399 sessions" in page.text  # the first only opens the accounts
    assert page.rows("differing")["seed"] == ["7", "11"]


def test_compared_runs_are_measured_on_common_sessions_and_deflated_for_all_trials(
    tmp_path, fabricate, run_folder, read_page
):
    other = fabricate(tmp_path / "other", pods=("hold", "trend"), sessions=400, seed=11)
    rows = read_page(write_comparison_page([run_folder, other], tmp_path / "compare.html")).rows("pods")
    account = pd.read_parquet(run_folder / "pods" / "momentum" / "account.parquet").iloc[1:400]
    excess = account["return"] - account["risk_free"]
    expected = excess.mean() / excess.std() * 252**0.5
    assert rows["Sharpe ratio (over CDI)"][1] == f"{expected:.2f}".replace("-", "\N{MINUS SIGN}")
    assert rows["Trials deflated for"] == ["24"] * 6


def test_comparing_one_run_or_the_same_twice(tmp_path, run_folder, read_page):
    page = read_page(write_comparison_page([run_folder], tmp_path / "compare.html"))
    assert "differing" not in page.tables
    with pytest.raises(DataError, match="given twice"):
        write_comparison_page([run_folder, run_folder], tmp_path / "compare.html")
    with pytest.raises(ValueError, match="at least one"):
        write_comparison_page([], tmp_path / "compare.html")


def test_runs_without_common_sessions_have_no_common_picture(tmp_path, fabricate, read_page):
    def later(pod, tables):
        for table in tables.values():
            for column, values in table.items():
                if values.dtype.kind == "M":
                    table[column] = values + np.timedelta64(3650, "D")

    first = fabricate(tmp_path / "a", pods=("hold",), sessions=100)
    second = fabricate(tmp_path / "b", pods=("trend",), sessions=100, seed=5, edit=later)
    page = read_page(write_comparison_page([first, second], tmp_path / "compare.html"))
    assert "no two sessions in common" in page.text


def test_importing_reports_is_cheap():
    heavy = (
        "import sys, reports; print(sorted({'pandas', 'numba', 'jinja2', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_found_where_they_are_used():
    reports = importlib.import_module("reports")
    assert reports.__all__ == ["write_comparison_page", "write_quality_page", "write_report"]
    assert reports.write_quality_page is write_quality_page
    with pytest.raises(AttributeError, match="nothing"):
        reports.nothing  # noqa: B018
