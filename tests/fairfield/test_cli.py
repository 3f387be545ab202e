"""The commands one after the other, as a new user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "synthetic",
    "fetch",
    "ingest",
    "quality",
    "backtest",
    "audit",
    "compare",
    "report",
    "demo",
    "export",
    "export-vectorbt",
    "bars",
    "solve",
    "calibrate",
    "synthetic-book",
    "store",
    "sql",
)
HEAVY = ("numpy", "pandas", "pyarrow", "numba", "vectorbt", "scipy", "jinja2", "pydantic", "exchange_calendars")


def test_every_step_succeeds_and_writes_its_page(world) -> None:
    assert {name: said.exit_code for name, said in world.said.items()} == dict.fromkeys(world.said, 0)
    for page in (world.root / "store-quality.html", world.run / "report.html"):
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
        assert f": {page}\n" in world.said["quality"].stdout + world.said["backtest"].stdout


def test_ingest_groups_the_event_files_and_names_the_quotes(world) -> None:
    lines = world.said["ingest"].stdout.splitlines()
    events = len(list((world.raw / "events").glob("*.json")))
    assert [line for line in lines if "company event" in line] == [lines[0]]
    assert lines[0].startswith(f"accepted {events} company event files: ")
    assert any(line.startswith("accepted COTAHIST_A2023.ZIP: ") for line in lines)
    assert lines[-1].startswith("accepted in all: ")
    assert len(lines) == 4


def test_a_second_ingest_says_unchanged_and_changes_no_byte(world) -> None:
    before = world.contents(world.store)
    again = world.fairfield("ingest", world.raw, "--store", world.store)
    assert again.exit_code == 0
    assert all(line.startswith("unchanged") for line in again.stdout.splitlines())
    assert world.contents(world.store) == before


def test_a_backtest_ends_with_the_table_of_what_is_on_disk(world) -> None:
    from backtests.walk.result_files import read_run

    lines = world.said["backtest"].stdout.splitlines()
    for result in read_run(world.run).results:
        (row,) = [line for line in lines if line.split()[0] == result.pod]
        sharpe, _, error, excess, drawdown, cost, unit = row.split()[1:]
        found = result.statistics
        assert (float(sharpe), float(error)) == (round(found["sharpe"], 2), round(found["sharpe_standard_error"], 2))
        assert float(excess[:-1]) == pytest.approx(100 * found["excess_return"], abs=0.005)
        assert float(drawdown[:-1]) == pytest.approx(100 * found["max_drawdown"], abs=0.005)
        assert (float(cost), unit) == (round(1e4 * found["annual_cost"]), "bps")
    assert lines[-2:] == [f"run:    {world.run}", f"report: {world.run / 'report.html'}"]


def test_a_second_backtest_resumes_into_the_same_folder_and_bytes(world) -> None:
    before = world.contents(world.root / "runs")
    again = world.fairfield("backtest", world.config)
    assert again.exit_code == 0
    assert again.stdout == world.said["backtest"].stdout
    assert world.contents(world.root / "runs") == before


def test_a_session_of_trades_in_the_same_store_does_not_reach_a_run_on_daily_bars(world, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path / "store")
    shutil.copy(world.config, tmp_path / "tiny.toml")
    assert world.fairfield("synthetic-book", tmp_path / "book", "--feed", "b3_trades", "--seconds", 60).exit_code == 0
    assert world.fairfield("ingest", tmp_path / "book", "--store", tmp_path / "store").exit_code == 0
    assert world.fairfield("backtest", tmp_path / "tiny.toml").exit_code == 0
    (run,) = (tmp_path / "runs").glob("tiny-*")
    assert run.name == world.run.name
    assert world.contents(run) == world.contents(world.run)


def test_the_order_of_the_raw_files_cannot_reach_the_run(world, tmp_path: Path) -> None:
    quotes, others = sorted(world.raw.glob("*.ZIP")), sorted(world.raw.rglob("*.json"))
    for path in (*reversed(others), *quotes):
        assert world.fairfield("ingest", path, "--store", tmp_path / "store").exit_code == 0
    shutil.copy(world.config, tmp_path / "tiny.toml")
    assert world.fairfield("backtest", tmp_path / "tiny.toml", "--workers", 2).exit_code == 0
    (run,) = (tmp_path / "runs").glob("tiny-*")
    assert run.name == world.run.name
    assert world.contents(run) == world.contents(world.run)


def test_a_cluster_gives_the_same_run_and_the_wrong_address_a_sentence(world, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    text = world.config.read_text(encoding="utf-8").replace('store = "store"', f'store = "{world.store}"')
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    done = world.fairfield("backtest", tmp_path / "tiny.toml", "--cluster", "local:2")
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").glob("tiny-*")
    assert world.contents(run) == world.contents(world.run)
    said = world.fairfield("backtest", tmp_path / "tiny.toml", "--cluster", "machine")
    world.refused(said, "cluster must be tcp://host:port or local:N with N processes; was 'machine'")
    said = world.fairfield("backtest", tmp_path / "tiny.toml", "--cluster", "local:2", "--workers", 2)
    world.refused(said, "--workers must not be given with a cluster")


def test_report_and_compare_write_pages_of_a_run(world, tmp_path: Path) -> None:
    assert world.fairfield("report", world.run, "--output", tmp_path / "now.html").exit_code == 0
    assert (tmp_path / "now.html").read_bytes() == (world.run / "report.html").read_bytes()
    dated = world.fairfield("report", world.run, "--date", "2023-11-30", "--output", tmp_path / "then.html")
    assert dated.stdout == f"report: {tmp_path / 'then.html'}\n"
    assert "2023-11-30" in (tmp_path / "then.html").read_text(encoding="utf-8")
    compared = world.fairfield("compare", world.run, "--output", tmp_path / "both.html")
    assert compared.exit_code == 0
    assert [line.split()[0] for line in compared.stdout.splitlines()] == ["pod", "hold", "reversal", "page:"]
    assert (tmp_path / "both.html").is_file()


def test_runs_of_other_days_are_compared_on_the_shared_ones_and_it_is_said(world, tmp_path: Path) -> None:
    text = world.config.read_text(encoding="utf-8").replace('store = "store"', f'store = "{world.store}"')
    for name, start in (("late", 'store = "'), ("later", 'end = 2023-11-30\nstore = "')):
        (tmp_path / f"{name}.toml").write_text(
            text.replace('name = "tiny"', f'name = "{name}"').replace('store = "', start), encoding="utf-8"
        )
    assert world.fairfield("backtest", tmp_path / "later.toml").exit_code == 0
    (other,) = (tmp_path / "runs").glob("later-*")
    both = world.fairfield("compare", world.run, other, "--output", tmp_path / "both.html")
    assert both.exit_code == 0, both.output
    first = both.stdout.splitlines()[0]
    assert "sessions that all runs share" in first
    assert "to 2023-11-30" in first
    assert "data_hash" in both.stdout
    world.refused(world.fairfield("compare", world.run, world.run, "--output", tmp_path / "x.html"), "there twice")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(world, command: str) -> None:
    said = world.fairfield(command, "--help")
    assert said.exit_code == 0
    assert "Usage" in said.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fairfield.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("terminal", [{"TERM": "dumb", "NO_COLOR": "1"}, {"COLUMNS": "30"}])
def test_a_pipe_gets_whole_lines_without_control_codes(world, terminal: dict[str, str]) -> None:
    made_by = json.loads((world.run / "run.json").read_text())["provenance"]["code_hash"]
    # the code of the finished run: one edited since would make another run, with another name
    code = f"import backtests.walk.walkforward as walk\nwalk.code_hash = lambda rooms: {made_by!r}\n"
    code += "from fairfield.cli import main\nmain()"
    command = [sys.executable, "-c", code, "backtest", str(world.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | terminal)
    assert done.stdout == world.said["backtest"].stdout
    assert done.stderr == ""
