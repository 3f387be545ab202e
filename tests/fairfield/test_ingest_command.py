from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_pipeline.tasks.executor import LocalProcesses
from fairfield.cli import app
from fairfield.ingest_stage import _Bar, _workforce

TRADES = (
    "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
    "deribit,BTC,1583020800000000,1583020800000999,1,buy,100,1\n"
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    path.write_text(TRADES)
    return path


def run(*words: object):
    return CliRunner().invoke(app, ["ingest", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--option", "venue"), "--option must be name=value, like venue=BINANCE_USDM; was 'venue'"),
        (("--option", "day=1", "--option", "day=2"), "--option day must be given once; was '1' and '2'"),
        (("--workers", 2, "--cluster", "local:2"), "--workers must not be given with a cluster"),
        (("--cluster", "machine"), "cluster must be tcp://host:port or local:N with N processes; was 'machine'"),
    ],
)
def test_bad_options_are_one_sentence(raw, tmp_path, words, answer):
    said = run(raw, "--store", tmp_path / "store", *words)
    assert said.exit_code == 1
    assert answer in said.stderr
    assert "Traceback" not in said.output
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_files_go_in_by_processes_with_facts_and_an_own_staging_folder(raw, tmp_path):
    store, staging = tmp_path / "store", tmp_path / "scratch"
    said = run(raw, "--store", store, "--workers", 1, "--option", "vanue=X", "--staging", staging)
    assert said.exit_code == 1
    assert "option vanue is known to no format of these files" in said.stderr
    said = run(raw, "--store", store, "--workers", 1, "--staging", staging)
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("accepted trades.csv: 1 rows, 1 to trades")
    assert said.stderr == ""
    assert list(staging.iterdir()) == []
    assert not (store / ".staging").exists()
    assert "unchanged trades.csv" in run(raw, "--store", f"file://{store}").stdout


def test_few_bytes_are_read_here_and_many_by_a_process_per_core(raw, monkeypatch):
    assert _workforce([raw], None, None, None, None) == LocalProcesses(0)
    monkeypatch.setattr("fairfield.ingest_stage._SMALL", 10)
    monkeypatch.setattr("data_pipeline.tasks.executor.usable_cores", lambda: 7)
    assert _workforce([raw.parent], None, None, None, None) == LocalProcesses(7)
    assert _workforce([raw.parent], 3, None, None, None) == LocalProcesses(3)


def test_the_bar_shows_all_rows_once_and_those_of_the_file_at_hand():
    class Shown:
        def update(self, task, description):
            self.words = description

    shown = Shown()
    bar = _Bar(shown, None)
    for what, rows in (("a.csv", 500), ("b.csv", 2_000), ("a.csv", 1_000), ("merging 2023-01", 3_000)):
        bar.rows(what, rows)
    assert shown.words == "3,000 rows; merging 2023-01: 3,000"
