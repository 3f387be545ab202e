"""A session of which most is missing, from the file to the backtest: refused by name, or flagged in the report."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

CUT = "2023-09-14"


@pytest.fixture(scope="module")
def truncated(world, tmp_path_factory) -> Path:
    """The world's raw files and store, with five sixths of the rows of one session missing."""
    folder = tmp_path_factory.mktemp("truncated")
    shutil.copytree(world.raw, folder / "raw")
    (path,) = (folder / "raw").rglob("COTAHIST_A*.ZIP")
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        rows = archive.read(name).split(b"\r\n")[:-1]
    cut = b"01" + CUT.replace("-", "").encode()
    places = [k for k, row in enumerate(rows) if row.startswith(cut)]
    assert len(places) > 24
    gone = {place for k, place in enumerate(places) if k % 6}
    kept = [row for k, row in enumerate(rows) if k not in gone]
    kept[-1] = kept[-1][:31] + b"%011d" % len(kept) + kept[-1][42:]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\r\n".join(kept) + b"\r\n")
    assert world.fairfield("ingest", folder / "raw", "--store", folder / "store").exit_code == 0
    return folder


def configured(world, folder: Path, action: str) -> Path:
    text = world.config.read_text(encoding="utf-8")
    assert '[data]\nstore = "store"\n' in text
    path = folder / f"{action}.toml"
    path.write_text(
        text.replace('[data]\nstore = "store"\n', f'[data]\nstore = "store"\nbelow_minimum = "{action}"\n'),
        encoding="utf-8",
    )
    return path


def test_the_quality_page_turns_red_for_it(world, truncated):
    answer = world.fairfield("quality", "--store", truncated / "store")
    assert "data quality: red" in answer.output
    assert f"1 session(s) have a score below 0.5, the worst {CUT}" in answer.output


def test_a_run_that_refuses_names_it_and_writes_nothing(world, truncated):
    said = world.refused(world.fairfield("backtest", configured(world, truncated, "refuse")), "below_minimum")
    assert f"1 session(s) of the run have a data-quality score below 0.5: {CUT} (0." in said
    assert not list(truncated.glob("runs/tiny-*"))


def test_a_run_that_flags_shows_it_in_its_report(world, truncated):
    answer = world.fairfield("backtest", configured(world, truncated, "flag"))
    assert answer.exit_code == 0, answer.output
    (run,) = truncated.glob("runs/tiny-*")
    (flagged,) = json.loads((run / "quality.json").read_text())["flagged_sessions"]
    assert (flagged["session"], flagged["windows"]) == (CUT, "training and test")
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Sessions of the run below the minimum" in report
    assert "1 session(s) of the run, 1 of them tested on, have a poor score" in report
