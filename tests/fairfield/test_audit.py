"""`fairfield audit` says what it found, writes its record and ends with a status."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backtests.audit.decisions import Difference
from backtests.audit.findings import Audit, Check
from fairfield import audit_stage
from fairfield.cli import app

SAME = Check("calm", "decisions", "scramble", "2023-01-05", "same")
CHANGED = Check(
    "cheat",
    "decisions",
    "truncate",
    "2023-01-05",
    "changed",
    Difference("2023-01-05", "AAAA3", "weight 0.1", "0.2"),
    ("close",),
)
UNTESTED = Check("idle", "decisions", "scramble", "2023-01-05", "untested", why="the pod never trades")


@pytest.mark.parametrize(
    ("checks", "status", "words"),
    [
        ((SAME,), 0, ["calm          1", "nothing changed"]),
        (
            (SAME, CHANGED),
            1,
            ["CHANGED", "first AAAA3 of 2023-01-05: weight 0.1 -> 0.2; read: close", "1 found something"],
        ),
        ((SAME, UNTESTED), 1, ["UNTESTED", "the pod never trades"]),
    ],
)
def test_the_status_follows_what_was_found(tmp_path, monkeypatch, checks, status, words):
    audit = Audit("daily", "made up", checks, {"data_hash": "0"})
    monkeypatch.setattr(audit_stage, "_daily", lambda *_: (tmp_path / "runs", audit))
    said = CliRunner().invoke(app, ["audit", str(tmp_path / "c.toml")])
    assert said.exit_code == status
    for part in words:
        assert part in said.stdout
    record = json.loads((tmp_path / "runs" / "audit.json").read_bytes())
    assert record["schema_version"] == 1
    assert record["passed"] == (status == 0)
    assert [check["verdict"] for check in record["checks"]] == [check.verdict for check in checks]


def test_the_table_is_a_row_for_each_pod_and_a_sentence_for_each_pod_and_test():
    """Eighty columns hold every test of a daily run; a leak that many checks find is told once, with their number."""
    tests = "parameters", "fit", "decisions", "account", "warm-up", "history"
    pod = "p" * 18
    calm = [Check(pod, test, "scramble", f"2023-01-0{cut}", "same") for test in tests for cut in (1, 2, 3)]
    costs = Check("", "costs", "scramble", "2023-01-05", "same")
    lines = audit_stage.audit_lines(Audit("daily", "x", (costs, *calm, CHANGED, CHANGED, SAME), {}))
    assert lines[0] == "costs: 1"
    assert lines[2].split() == ["pod", *tests]
    assert [line.split()[0] for line in lines[3:6]] == [pod, "cheat", "calm"]
    assert lines[3].split()[1:] == ["3"] * 6
    assert max(map(len, lines[:6])) <= 80
    assert lines[6:] == [CHANGED.words + " (and 1 more of its 2 checks)"]


def test_ctrl_c_says_that_nothing_was_kept(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audit_stage, "_daily", interrupted)
    said = CliRunner().invoke(app, ["audit", str(tmp_path / "c.toml")])
    assert (said.exit_code, said.stderr) == (
        130,
        "fairfield: interrupted: nothing was written; the next audit starts anew\n",
    )
    assert not list(tmp_path.iterdir())


def test_a_configuration_that_is_not_there_is_one_sentence(tmp_path):
    said = CliRunner().invoke(app, ["audit", str(tmp_path / "none.toml")])
    assert said.exit_code == 1
    assert "no such configuration file" in said.stderr
