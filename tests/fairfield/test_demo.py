"""The demo's intraday parts on their own, and the commands that it says it runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from fairfield.cli import app
from fairfield.demo_stage import _agreement, _daily_steps, _intraday_steps, _maker_steps, _write_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The intraday steps, done in a folder whose name has a blank and an accent."""
    folder = tmp_path_factory.mktemp("uma demonstração")
    for _, work in (*_intraday_steps(folder), *_maker_steps(folder)):
        work()
    return folder


def _as_a_shell_does(word: str) -> list[str]:
    if not word.endswith("*.csv"):
        return [word]
    return sorted(map(str, Path(word).parent.glob("*.csv")))


def test_each_step_says_a_command_that_the_command_line_takes(folder: Path) -> None:
    group = typer.main.get_command(app)
    for command, _ in (*_daily_steps(folder), *_intraday_steps(folder), *_maker_steps(folder)):
        words = [path for word in shlex.split(command) for path in _as_a_shell_does(word)]
        context = group.make_context("fairfield", words[:1])
        name, found, _ = group.resolve_command(context, words)
        taken = found.make_context(name, words[1:], parent=context)
        assert taken.command.name == command.split()[0]


def test_one_book_in_three_formats_is_one_book_in_the_store(folder: Path) -> None:
    from data_pipeline.store import Store
    from fairfield.demo_stage import FORMATS_QUERY

    rows = {row["symbol"]: row for row in Store.open(folder / "store").sql(FORMATS_QUERY).to_pylist()}
    assert set(rows) == {"SYN", "SYNUSDT", "SYNT3", "SYNT4", "SYNW11"}
    lobster, binance, b3 = rows["SYN"], rows["SYNUSDT"], rows["SYNT3"]
    assert lobster["spread"] == pytest.approx(binance["spread"], abs=1e-4)
    assert lobster["trades"] > binance["trades"]  # LOBSTER alone shows what trades out of sight
    assert b3["bought"] is None  # today's trade files have no aggressor
    assert b3["spread"] is None  # and no quotes


def test_the_calibration_out_of_the_store_agrees_with_the_one_of_the_files_and_with_the_truth(folder: Path) -> None:
    from data_pipeline.synthetic.order_book import BookConfig

    found = [
        json.loads((folder / part / "calibration.json").read_bytes())["parameters"]["fill_decay"]
        for part in ("makers/result", "day")
    ]
    files, stored = found
    assert abs(files["value"] - stored["value"]) < 0.1 * files["error"]
    assert abs(stored["value"] - BookConfig().fill_decay) < 3.0 * stored["error"]
    assert f"{stored['value']:.2f} ± {stored['error']:.2f} out of the store" in _agreement(folder)[0]


def test_the_index_links_to_every_page_of_the_demo(folder: Path) -> None:
    (folder / "report.html").write_text("")  # of the daily half
    page = _write_index(folder)
    links = [unquote(link) for link in re.findall(r'href="([^"#]+)"', page.read_text(encoding="utf-8"))]
    pages = [path.relative_to(folder) for path in folder.rglob("*.html") if path != page]
    assert sorted(links) == sorted(str(path) for path in pages if "runs" not in path.parts)  # a run's page is copied
    assert {"makers.html", "makers/result/calibration.html"} <= set(links)


def test_the_red_light_of_the_session_says_why(folder: Path) -> None:
    text = (folder / "quality.html").read_text(encoding="utf-8")
    assert "Data quality: red" in text
    assert "% of the session" in text
    assert "the receiver&#39;s clock is wrong" in text
