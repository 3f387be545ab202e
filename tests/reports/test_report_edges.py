import json
import re

import numpy as np
import pytest

from backtests.walk.result_files import sealed
from data_pipeline.errors import DataError
from reports.report import write_report

EVIL = '<b onclick="x">&\'{{ 7*7 }}</b>'


def test_a_run_with_one_pod_and_nothing_to_tell_is_legible(tmp_path, fabricate, read_page):
    folder = fabricate(tmp_path, pods=("alone",), sessions=90, policy=False, breaches=False, exceptions=False)
    page = read_page(write_report(folder))
    assert "No limit is breached at this close." in page.text
    assert "No limit was breached in this run." in page.text
    assert "No day was worse than its VaR forecast." in page.text
    assert "No execution policy was solved in this run" in page.text
    assert "no policy was solved" in page.text
    assert "correlation" not in page.tables
    assert "Annual difference" not in page.rows("pods")


def test_numbers_that_do_not_exist_are_not_available(tmp_path, fabricate, read_page):
    def edit(pod, tables):
        if pod == "cash":
            account = tables["account"]
            for name in ("return", "risk_free", "drawdown", "turnover", "gross", "net"):
                account[name][:] = 0.0
            account["net_asset_value"][:] = 5e7
            for name in ("var_99", "es_975", "hhi", "largest_issuer_weight"):
                tables["risk"][name][:] = np.nan
            tables["risk"]["var_exception"][:] = False
            tables["risk"]["largest_issuer"][:] = ""
            for name in ("positions", "orders", "fills"):
                tables[name] = {column: values[:0] for column, values in tables[name].items()}
            for name in ("training_score", "temporary_impact", "temporary_impact_error", "crowd_rate"):
                tables["folds"][name][:] = np.nan

    folder = fabricate(tmp_path, pods=("hold", "cash"), sessions=300, edit=edit)
    page = read_page(write_report(folder))
    assert page.rows("pods")["Sharpe ratio (over CDI)"][1] == "n/a"
    assert page.rows("pods")["Calmar ratio (CDI not deducted)"][1] == "n/a"
    assert page.rows("var")["cash"][3:5] == ["n/a", "n/a"]
    assert page.rows("fills")["cash"][6] == "n/a"
    assert "No positions at this close: all cash." in page.text
    assert not re.search(r"\b(nan|inf|None|NaT)\b", page.text, re.IGNORECASE)


def test_names_are_escaped_and_long_ones_are_cut(tmp_path, fabricate, read_page):
    long = "X" * 300
    folder = fabricate(tmp_path, sessions=120, pods=("hold", "<i>pod & co"), instruments=(EVIL, long, "PETR4"))
    quality = json.loads((folder / "quality.json").read_text())
    quality["reasons"] = [EVIL]
    quality["gaps"][0]["kind"] = EVIL
    (folder / "quality.json").write_text(json.dumps(quality))
    header = json.loads((folder / "run.json").read_text())
    files = {path: (folder / path).read_bytes() for path in header.pop("files")}
    header.pop("seal")
    (folder / "run.json").write_text(json.dumps(sealed(header, files)))
    source = write_report(folder).read_text(encoding="utf-8")
    page = read_page(folder / "report.html")
    assert "<b onclick" not in source
    assert "<i>pod" not in source
    assert "{{ 7*7 }}" in page.text
    assert "<i>pod & co" in page.text
    assert {tag for tag, attrs in page.tags if "onclick" in attrs} == set()
    cells = [row[0] for row in page.tables["positions-hold"]]
    assert max(len(cell) for cell in cells) <= 20


def test_an_exception_to_a_forecast_of_nothing_has_no_ratio(tmp_path, fabricate, read_page):
    def edit(pod, tables):
        tables["risk"]["var_99"][80] = 0.0
        tables["risk"]["var_exception"][:] = np.arange(90) == 80

    page = read_page(write_report(fabricate(tmp_path, pods=("hold",), sessions=90, edit=edit)))
    assert [row[4] for row in page.tables["exceptions"][1:]] == ["n/a"]


def test_eight_pods_have_eight_lines(tmp_path, fabricate, read_page):
    names = [f"pod {i}" for i in range(8)]
    page = read_page(write_report(fabricate(tmp_path, pods=names, sessions=150)))
    styles = {attrs["class"] for tag, attrs in page.tags if tag == "path" and re.fullmatch(r"s[0-7b]", attrs["class"])}
    assert styles >= {"sb", *(f"s{i}" for i in range(1, 8))}


@pytest.mark.parametrize("name", ["run.json", "comparison.json", "quality.json", "pods/hold/account.parquet"])
def test_a_missing_file_is_named(tmp_path, fabricate, name):
    folder = fabricate(tmp_path, pods=("hold",), sessions=90)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name.rpartition("/")[2]):
        write_report(folder)


@pytest.mark.parametrize("name", ["run.json", "pods/hold/statistics.json", "pods/hold/fills.parquet"])
def test_a_damaged_file_is_named(tmp_path, fabricate, name):
    folder = fabricate(tmp_path, pods=("hold",), sessions=90)
    (folder / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=name.rpartition("/")[2]):
        write_report(folder)


def test_a_run_of_another_layout_is_refused(tmp_path, fabricate):
    folder = fabricate(tmp_path, pods=("hold",), sessions=90)
    header = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(header | {"schema_version": 99}))
    with pytest.raises(DataError, match="99"):
        write_report(folder)


def test_a_policy_that_was_changed_is_refused(tmp_path, fabricate):
    folder = fabricate(tmp_path, pods=("hold",), sessions=90)
    archive = next((folder / "policies").glob("*.npz"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="damaged or changed"):
        write_report(folder)


def test_no_folder_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="no such run folder"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(("date", "words"), [("1999-01-01", "within the run"), ("soon", "YYYY-MM-DD")])
def test_a_date_that_is_not_of_the_run_is_refused(run_folder, date, words):
    with pytest.raises(DataError, match=words):
        write_report(run_folder, date=date)


def test_the_first_days_of_a_run_have_a_report_too(tmp_path, run_folder, read_page):
    for date in ("2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"):
        page = read_page(write_report(run_folder, date=date, output=tmp_path / "early.html"))
        assert not re.search(r"\b(nan|inf|None|NaT)\b", page.text, re.IGNORECASE)


def test_nothing_is_left_when_the_page_cannot_be_written(tmp_path, run_folder):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OSError, match="file"):
        write_report(run_folder, output=blocker / "report.html")
