"""The configuration file is checked whole before anything runs, and every refusal names its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairfield.config import load_config
from fairfield.errors import ConfigError

MINIMAL = """
benchmark = "hold"
[run]
name = "r"
[data]
store = "store"
[[pods]]
name = "hold"
kind = "equal_weight"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_file_takes_the_documented_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL))
    assert config.execution.method == "mean_field"
    assert config.walkforward.purge == 1
    assert config.pods[0].parameters == {}


def test_relative_paths_start_at_the_file_itself(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL))
    assert config.data.store == tmp_path / "store"
    assert config.run.output == tmp_path / "runs"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "r"', 'name = "r"\nworkres = 2', r"unknown key run\.workres; did you mean workers\?"),
        ("[data]", "[dta]\nx = 1\n[data]", r"unknown key dta; did you mean data\?"),
        ('kind = "equal_weight"', 'knd = "equal_weight"', r"unknown key pods\[0\]\.knd; did you mean kind\?"),
        ('kind = "equal_weight"', "", r"the key pods\.0\.kind is missing"),
        ('store = "store"', "", "exactly one of store and closes must be given"),
        ('name = "r"', 'name = "r"\nworkers = 0', r"run\.workers: .*greater than or equal to 1; was 0"),
        ('benchmark = "hold"', 'benchmark = "other"', "benchmark must be one of the pods"),
        ("[run]", "[walkforward]\ntrain = nan\n[run]", r"walkforward\.train"),
        ("[run]", "[run", "not valid TOML"),
        ("[[pods]]", '[[pods]]\nname = "hold"\nkind = "x"\n[[pods]]', "'hold' is used twice"),
        ("[run]", "[limits.levels.drawdown]\nambre = 0.1\n[run]", r"limits\.levels\.drawdown\.ambre"),
    ],
)
def test_a_wrong_file_is_answered_with_one_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path, MINIMAL.replace(old, new, 1)))
    assert "\n" not in str(caught.value).strip() or "TOML" in str(caught.value)
    assert "c.toml" in str(caught.value)


def test_a_missing_file_and_a_wrong_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "absent.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "São"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 at byte 9"):
        load_config(path)
