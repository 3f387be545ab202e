"""A small synthetic exchange taken once through the real commands; tests copy what they damage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

CONFIGURATION = """
benchmark = "hold"
[run]
name = "tiny"
workers = 1
[data]
store = "store"
[walkforward]
train = 150
test = 50
[account]
gross_limit = 1.5
[[pods]]
name = "hold"
kind = "equal_weight"
limits = false
[pods.parameters]
universe_window = 42
[[pods]]
name = "reversal"
kind = "short_term_reversal"
[pods.grid]
signal_sessions = [5, 10]
"""


@dataclass(frozen=True)
class World:
    """Folders of the exchange's raw files, its store and a finished run; what each command said; ways to ask more."""

    root: Path
    raw: Path
    store: Path
    config: Path
    run: Path
    said: dict[str, Result]
    fairfield: Callable[..., Result]
    contents: Callable[[Path], dict[str, str]]
    refused: Callable[..., str]


def fairfield(*arguments: object) -> Result:
    """The command in this process; a traceback is an exception here, which `answering` did not foresee."""
    from fairfield.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path; folders have an empty one."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def refused(result: Result, *words: str, status: int = 1) -> str:
    """The one sentence of a command that answered as it should; fails the test otherwise."""
    assert not isinstance(result.exception, Exception), repr(result.exception)
    assert result.exit_code == status, result.output
    sentences = [line for line in result.stderr.splitlines() if line.startswith("fairfield: ")]
    assert len(sentences) == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr, result.stderr
    return sentences[0]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    said = {"synthetic": fairfield("synthetic", root / "exchange", "--years", 1, "--instruments", 24)}
    said["ingest"] = fairfield("ingest", root / "exchange" / "raw", "--store", root / "store")
    said["quality"] = fairfield("quality", "--store", root / "store")
    config = root / "tiny.toml"
    config.write_text(CONFIGURATION, encoding="utf-8")
    said["backtest"] = fairfield("backtest", config)
    assert said["backtest"].exit_code == 0, said["backtest"].output
    (run,) = (root / "runs").glob("tiny-*")
    return World(root, root / "exchange" / "raw", root / "store", config, run, said, fairfield, contents, refused)
