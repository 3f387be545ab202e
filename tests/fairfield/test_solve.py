"""`fairfield solve`: the artefact, its bytes, the checks that it prints, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import fairfield
from fairfield.cli import app
from fairfield.solve_artefact import publish_folder
from fairfield.solve_catalog import make_method, make_problem
from fairfield.solve_config import load_solve_config
from mfg_core import Anderson, EntryExitGame, MarketMakingGame, rebuild_policies, rebuild_policy, solve_mfg
from mfg_core.market.entry_exit import ENTRY_EXIT_DAMPING

CONFIGURATIONS = Path(fairfield.__file__).parent / "configurations"
GAME = {
    "ask_arrival": "2.0",
    "bid_arrival": "2.0",
    "fill_decay": "1.5",
    "running_penalty": "0.1",
    "terminal_penalty": "0.3",
    "horizon": "1.0",
    "max_inventory": "6",
}


def configuration(folder: Path, *, rest: str = "[solve]\nrtol = 1e-6\n", **changes: str | None) -> Path:
    keys = {name: value for name, value in (GAME | changes).items() if value is not None}
    path = folder / "game.toml"
    path.write_text(
        "[game]\n" + "".join(f"{name} = {value}\n" for name, value in keys.items()) + rest, encoding="utf-8"
    )
    return path


def solve(*arguments: object):
    return CliRunner().invoke(app, ["solve", *(str(argument) for argument in arguments)])


def refused(said, *words: str) -> None:
    assert not isinstance(said.exception, Exception), repr(said.exception)
    assert said.exit_code == 1
    sentences = [line for line in said.stderr.splitlines() if line.startswith("fairfield: ")]
    assert len(sentences) == 1, said.stderr
    for word in words:
        assert word in sentences[0], sentences[0]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_solving_writes_a_folder_that_proves_itself_and_prints_every_check(tmp_path):
    said = solve(configuration(tmp_path), "--output", tmp_path / "out")
    assert said.exit_code == 0, said.output
    assert sorted(contents(tmp_path / "out")) == ["equilibrium.html", "equilibrium.json", "equilibrium.npz"]
    lines = said.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == ["pass"] * 12
    assert lines[-2:] == [f"folder: {tmp_path / 'out'}", f"page:   {tmp_path / 'out' / 'equilibrium.html'}"]
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    assert record["hashes"]["arrays"] == contents(tmp_path / "out")["equilibrium.npz"]
    assert record["configuration"]["game"]["fill_decay"] == 1.5
    assert {check["outcome"] for check in record["checks"]} == {"pass"}


def test_a_terminal_sees_how_long_it_takes_and_a_pipe_sees_nothing(tmp_path, monkeypatch):
    path = configuration(tmp_path)
    assert solve(path, "--output", tmp_path / "out").stderr == ""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("fairfield.stages.console", terminal)
    assert solve(path, "--output", tmp_path / "out").exit_code == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.file.getvalue())
    assert re.search(r"solving 0:00:\d\d", shown)
    assert re.search(r"drawing 0:00:\d\d", shown)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_solve_that_is_interrupted_or_killed_leaves_nothing_half_written(tmp_path):
    path = configuration(tmp_path)
    slow = """
import time, mfg_core
from fairfield.cli import main

def solve_mfg(*arguments, **options):
    print("solving", flush=True)
    time.sleep(60)

mfg_core.solve_mfg = solve_mfg
main()
"""
    command = [sys.executable, "-c", slow, "solve", str(path), "-o", str(tmp_path / "out")]
    for sign, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stdout.readline() == "solving\n"
        running.send_signal(sign)
        said = running.communicate(timeout=60)[1]
        assert running.returncode == status, said
        assert "Traceback" not in said
        assert [entry.name for entry in tmp_path.iterdir()] == ["game.toml"]


def test_the_policy_in_the_folder_answers_as_the_solved_one(tmp_path):
    assert solve(configuration(tmp_path), "--output", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    with np.load(tmp_path / "out" / "equilibrium.npz") as arrays:
        policy = rebuild_policy(arrays, record["policy"])
        value = arrays["value"]
    game = {name: float(text) for name, text in GAME.items()} | {"max_inventory": 6}
    direct = solve_mfg(MarketMakingGame(**game), rtol=1e-6)
    np.testing.assert_array_equal(policy.quotes(0.37, np.arange(-6, 7)), direct.policy.quotes(0.37, np.arange(-6, 7)))
    np.testing.assert_array_equal(value, direct.value)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("market_making", ["market"]),
        ("maker_types", ["patient", "nervous"]),  # not in the order of the alphabet, in which JSON has its keys
        ("regimes", ["calm", "stressed"]),
        ("entry_exit", ["market"]),
    ],
)
def test_the_policies_of_every_kind_are_read_back_by_name(tmp_path, kind, names):
    path = CONFIGURATIONS / f"{kind}.toml"
    assert solve(path, "--output", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    with np.load(tmp_path / "out" / "equilibrium.npz") as arrays:
        policies = rebuild_policies(arrays, record)
        config = load_solve_config(path)
        method = make_method(config.solve, kind)
        direct = solve_mfg(make_problem(config).game, rtol=config.solve.rtol, atol=config.solve.atol, method=method)
        parts = {"market_making": lambda: [direct], "maker_types": lambda: direct.makers,
                 "regimes": lambda: direct.regimes, "entry_exit": lambda: [direct.makers]}[kind]()  # fmt: skip
        assert list(policies) == names
        for (name, policy), part in zip(policies.items(), parts, strict=True):
            for t, x in ((0.0, 0), (777.7, 3), (part.times[-1], -4)):
                np.testing.assert_array_equal(policy.quotes(t, x), part.policy.quotes(t, x), err_msg=name)
        with pytest.raises(ValueError, match="format_version of the record must be 2; was 1: solve again"):
            rebuild_policies(arrays, record | {"format_version": 1})


def test_an_epidemic_has_no_quotes_to_read_back(tmp_path):
    assert solve(CONFIGURATIONS / "epidemic.toml", "--output", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    with pytest.raises(ValueError, match="was 'epidemic', which has no quotes"):
        rebuild_policies({}, record)


def test_solving_again_changes_no_byte_and_a_changed_game_goes_elsewhere(tmp_path):
    first = solve(configuration(tmp_path))
    (folder,) = (tmp_path / "equilibria").iterdir()
    assert folder.name.startswith("game-")
    before = contents(folder)
    again = solve(configuration(tmp_path, rest="# a comment is no change\n[solve]\nrtol = 1e-6\n"))
    assert again.stdout == first.stdout
    assert contents(folder) == before
    assert solve(configuration(tmp_path, fill_decay="1.6")).exit_code == 0
    assert len(list((tmp_path / "equilibria").iterdir())) == 2


def test_a_failed_check_is_shown_and_ends_with_a_failure(tmp_path):
    said = solve(configuration(tmp_path, max_inventory="1"), "--output", tmp_path / "out")
    refused(said, "a sanity check failed")
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("fail")]
    assert "edge mass" in line
    assert ">" in line
    assert "note: up to" in said.stdout
    assert "Checks failed" in (tmp_path / "out" / "equilibrium.html").read_text(encoding="utf-8")
    meant = configuration(tmp_path, max_inventory="1", rest="[solve]\nrtol = 1e-6\n[checks]\nedge_mass = 1.0\n")
    assert solve(meant, "--output", tmp_path / "out").exit_code == 0


def test_a_check_that_does_not_apply_says_why(tmp_path):
    said = solve(configuration(tmp_path, ask_arrival="2.1"), "--output", tmp_path / "out")
    assert said.exit_code == 0
    lines = [line for line in said.stdout.splitlines() if line.startswith("does not apply")]
    assert len(lines) == 2
    assert all("ask_arrival 2.1 is not bid_arrival 2" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "rest", "words"),
    [
        ({"fill_decay": "-1.5"}, "", ("game.fill_decay must be finite and positive; was -1.5",)),
        ({"fill_decay": None}, "", ("the key game.fill_decay is missing",)),
        ({"fill_decays": "1.5"}, "", ("unknown key game.fill_decays; did you mean fill_decay?",)),
        ({"max_inventory": "6.5"}, "", ("game.max_inventory", "was 6.5")),
        ({"competition": '"total"'}, "", ("game.competition", '"share"', "was 'total'")),
        ({"competition": "{ crowd_decay = 9.0 }"}, "", ("game.crowd_decay must not be above fill_decay 1.5",)),
        ({"intensity_shape": "{ power = 0.5 }"}, "", ("game.exponent must be finite and above 1; was 0.5",)),
        ({"sensitivity": "1.0"}, "", ("game.sensitivity must be left out for the kind market_making; was 1.0",)),
        ({"kind": '"maker_types"'}, "", ("[[makers]] must be given for the kind maker_types",)),
        ({}, '[[makers]]\nname = "a"\nshare = 1.0\n', ("[[makers]] must be left out for the kind market_making",)),
        ({}, '[solve]\nmethod = "picard"\ndepth = 3\n', ("solve.depth must be left out for the method picard",)),
        ({}, '[solve]\nmethod = "picard"\ndamping = 2.0\n', ("solve.damping must be in (0, 1]; was 2.0",)),
        ({}, "[solve]\nrtol = 1e-20\n", ("solve.rtol must be at least",)),
        ({}, "[solve]\nrtol = 0.02\n", ("solve.rtol must be at most 0.01", "was 0.02")),
        ({}, "[solve]\natol = 0.01\n", ("solve.atol must be at most 0.00667", "was 0.01")),
        ({}, "[solve]\nrtol = -1.0\n", ("solve.rtol must be finite and not negative",)),
    ],
)
def test_a_bad_key_is_one_sentence_with_key_rule_and_value(tmp_path, changes, rest, words):
    said = solve(configuration(tmp_path, rest=rest, **changes), "--output", tmp_path / "out")
    refused(said, str(tmp_path / "game.toml"), *words)
    assert not (tmp_path / "out").exists()


def test_a_game_that_is_not_solved_leaves_nothing_behind(tmp_path):
    path = configuration(tmp_path, rest='[solve]\nmethod = "picard"\nmax_sweeps = 1\n')
    refused(solve(path, "--output", tmp_path / "out"), str(path), "residual", "max_sweeps")
    assert [path.name for path in tmp_path.iterdir()] == ["game.toml"]


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    refused(solve(configuration(tmp_path), "--output", tmp_path / "out"), "thesis.tex")
    refused(solve(configuration(tmp_path), "--output", tmp_path / "game.toml"), "must be a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["game.toml", "out"]


def test_a_write_that_fails_leaves_the_folder_of_before(tmp_path, monkeypatch):
    assert solve(configuration(tmp_path), "--output", tmp_path / "out").exit_code == 0
    before = contents(tmp_path / "out")

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("data_pipeline.disk.write_atomically", full)
    refused(solve(configuration(tmp_path, fill_decay="1.7"), "--output", tmp_path / "out"), "disk is full")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["game.toml", "out"]


def test_a_calibration_gives_the_parameters_that_the_file_leaves_out(tmp_path):
    estimates = {name: {"value": float(GAME[name]), "error": 0.1} for name in list(GAME)[:5]}
    estimates["adverse_selection"] = {"value": 0.05, "error": 0.01}
    estimates["competition"] = {"value": 0.5, "error": 0.1}
    chosen = {"competition": "estimated", "horizon": 1.0, "max_inventory": 6}
    found = {"format_version": 2, "parameters": estimates, "configuration": {"game": chosen}}
    (tmp_path / "calibration.json").write_text(json.dumps(found))
    left_out = dict.fromkeys(GAME) | {"calibration": '"calibration.json"', "running_penalty": "0.2"}
    assert solve(configuration(tmp_path, **left_out), "--output", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    game = record["policy"]["game"]
    assert game["adverse_selection"] == 0.05
    assert game["competition"] == 0.5
    assert game["running_penalty"] == 0.2
    assert record["configuration"]["game"]["calibration"] == contents_of(tmp_path / "calibration.json")
    refused(solve(configuration(tmp_path, calibration='"none.json"')), "game.calibration", "none.json")
    damages = {
        "is not JSON": "{",
        "has no 'format_version'": "{}",
        "has other contents": "[]",
        "has format version 1, not 2: calibrate again": json.dumps(found | {"format_version": 1}),
        "has no 'bid_arrival'": json.dumps(found | {"parameters": {"ask_arrival": {"value": 1.0}}}),
        "has fill_decay 'abc'": json.dumps(found | {"parameters": estimates | {"fill_decay": {"value": "abc"}}}),
        "has no value for fill_decay": json.dumps(found | {"parameters": estimates | {"fill_decay": {"value": None}}}),
        "has ask_arrival 1000": json.dumps(found | {"parameters": estimates | {"ask_arrival": {"value": 10**400}}}),
        "has competition {'a': 1}": json.dumps(
            found | {"parameters": estimates | {"competition": {"value": {"a": 1}}}}
        ),
    }
    for words, content in damages.items():
        (tmp_path / "calibration.json").write_text(content)
        said = solve(configuration(tmp_path, **left_out), "--output", tmp_path / "other")
        refused(said, "game.calibration must be a calibration.json", "calibration.json", words)
    refused(solve(configuration(tmp_path, calibration='"."')), "game.calibration must name a file", "is a folder")
    assert not (tmp_path / "other").exists()


def test_makers_who_come_and_go_are_solved_by_the_same_method_as_from_python(tmp_path):
    own = {"kind": '"entry_exit"', "outside_value": "1.0", "exit_rate": "0.5", "entry_rate": "0.5"}
    own |= {"sensitivity": "1.0"}
    assert solve(configuration(tmp_path, **own), "--output", tmp_path / "out").exit_code == 0
    game = {name: float(text) for name, text in GAME.items()} | {"max_inventory": 6}
    rates = {"outside_value": 1.0, "exit_rate": 0.5, "entry_rate": 0.5, "sensitivity": 1.0}
    direct = solve_mfg(EntryExitGame(market=MarketMakingGame(**game), **rates), rtol=1e-6)
    with np.load(tmp_path / "out" / "equilibrium.npz") as arrays:
        np.testing.assert_array_equal(arrays["0_value"], direct.makers.value)
        np.testing.assert_array_equal(arrays["active"], direct.active)


def test_where_no_method_is_named_the_solver_chooses_and_a_named_one_is_kept():
    config = load_solve_config(CONFIGURATIONS / "entry_exit.toml")
    assert make_method(config.solve, "entry_exit") is None
    named = config.solve.model_copy(update={"method": "anderson"})
    assert make_method(named, "entry_exit") == Anderson(damping=ENTRY_EXIT_DAMPING)
    assert make_method(named, "market_making") == Anderson()
    assert make_method(config.solve.model_copy(update={"depth": 3}), "market_making") == Anderson(depth=3)


def test_rates_in_rows_of_different_lengths_are_refused_by_their_key(tmp_path):
    own = {"kind": '"regimes"', "switching_rates": "[[-1.0, 1.0], [1.0]]", "initial_regime": "[1.0, 0.0]"}
    path = configuration(tmp_path, rest='[[regimes]]\nname = "a"\n[[regimes]]\nname = "b"\n', **own)
    refused(solve(path), "game.switching_rates must have rows of one length; was [[-1.0, 1.0], [1.0]]")


def test_a_crowd_that_stays_in_one_place_is_drawn(tmp_path):
    assert solve(configuration(tmp_path, horizon="1e-3"), "--output", tmp_path / "out").exit_code == 0


def test_two_writers_of_one_folder_wait_for_each_other_and_clear_what_a_killed_one_left(tmp_path):
    folder = tmp_path / "out"
    (tmp_path / ".out.new.tmp").mkdir()
    (tmp_path / ".out.new.tmp" / "half").write_bytes(b"x")
    wanted = [{name: bytes([i]) * 100_000 for name in "abc"} for i in range(6)]
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=publish_folder, args=(folder, files)) for files in wanted]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 6
    assert {path.name: path.read_bytes() for path in folder.iterdir()} in wanted
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def contents_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["market_making", "maker_types", "regimes", "entry_exit", "epidemic"])
def test_the_shipped_configurations_are_solved_with_every_check_passed(tmp_path, name):
    said = solve(CONFIGURATIONS / f"{name}.toml", "--output", tmp_path / "out")
    assert said.exit_code == 0, said.output
    page = (tmp_path / "out" / "equilibrium.html").read_text(encoding="utf-8")
    assert "checks that apply pass" in page
    record = json.loads((tmp_path / "out" / "equilibrium.json").read_text())
    assert record["kind"] == name


def test_the_words_for_units_reach_the_axes_and_change_no_number(tmp_path):
    plain, worded = tmp_path / "plain", tmp_path / "worded"
    assert solve(configuration(tmp_path), "--output", plain).exit_code == 0
    words = '[solve]\nrtol = 1e-6\n[units]\ntime = "minutes"\nprice = "cents"\ninventory = "boxes"\n'
    assert solve(configuration(tmp_path, rest=words), "--output", worded).exit_code == 0
    assert contents(plain)["equilibrium.npz"] == contents(worded)["equilibrium.npz"]
    page = (worded / "equilibrium.html").read_text(encoding="utf-8")
    assert "inventory, boxes" in page
    assert "time, minutes" in page
    assert "fills per minute" in page
