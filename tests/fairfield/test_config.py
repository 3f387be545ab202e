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
        (
            "[run]",
            "[walkforward]\ngroups = 6\n[run]",
            'groups belongs to window = "combinatorial"; window is "rolling"',
        ),
        ("[run]", "[walkforward]\nembargo = 0.01\n[run]", "embargo must be whole sessions with window"),
        ("[run]", '[walkforward]\nselection = "best"\n[run]', r"walkforward\.selection"),
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


def test_a_combinatorial_window_makes_a_plan_with_paths_beside_a_rolling_account(tmp_path: Path) -> None:
    from backtests.walk.combinatorial import CombinatorialSettings
    from fairfield.catalog import make_plan
    from fairfield.config import RunConfig

    def plan_of(lines: str):
        text = MINIMAL.replace("[run]", f"[walkforward]\n{lines}\n[run]", 1)
        config: RunConfig = load_config(written(tmp_path, text))
        return make_plan(config)

    plan = plan_of('window = "combinatorial"\nembargo = 0.01\npurge = 3\nselection = "nested"')
    assert plan.combinatorial == CombinatorialSettings(6, 2, 3, 0.01)
    assert (plan.folds.anchored, plan.folds.purge, plan.folds.embargo) == (False, 3, 0)
    assert (plan.selection, plan.inner_folds) == ("nested", 5)
    named = plan_of('window = "combinatorial"\ngroups = 8\ntest_groups = 3\nembargo = 4')
    assert named.combinatorial == CombinatorialSettings(8, 3, 1, 4)
    assert named.folds.embargo == 4
    assert plan_of('window = "anchored"').combinatorial is None
    with pytest.raises(ConfigError, match=r"test_groups must be below groups \(6\), or nothing trains; was 6"):
        plan_of('window = "combinatorial"\ntest_groups = 6')


def test_a_pod_declares_how_far_its_labels_reach(tmp_path: Path) -> None:
    from fairfield.catalog import make_plan

    text = MINIMAL.replace('kind = "equal_weight"', 'kind = "equal_weight"\nlabel_sessions = 5')
    with pytest.raises(ConfigError, match="purge must be at least the 5 sessions that the labels of pod 'hold' reach"):
        make_plan(load_config(written(tmp_path, text)))
    longer = text.replace("[run]", "[walkforward]\npurge = 5\n[run]", 1)
    assert make_plan(load_config(written(tmp_path, longer))).pods[0].label_sessions == 5
