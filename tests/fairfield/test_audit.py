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
        ((SAME,), 0, ["calm", "nothing changed"]),
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


def test_a_configuration_that_is_not_there_is_one_sentence(tmp_path):
    said = CliRunner().invoke(app, ["audit", str(tmp_path / "none.toml")])
    assert said.exit_code == 1
    assert "no such configuration file" in said.stderr
