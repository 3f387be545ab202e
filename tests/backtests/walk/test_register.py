"""The register counts distinct trials, whoever writes them, however often, and shows when it was tampered with."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.walk.register import Register, Trial, TrialWindow, unregistered_runs
from data_pipeline.errors import DataError

YEAR = TrialWindow("a" * 64, "2023-01-02", "2023-12-28", ("PETR4", "VALE3"))
NEXT = TrialWindow("b" * 64, "2024-01-02", "2024-12-30", ("PETR4", "VALE3"))
OTHER = TrialWindow("c" * 64, "2023-01-02", "2023-12-28", ("BTCUSDT",))


def trials(count: int, window: TrialWindow = YEAR, kind: str = "pods.Momentum") -> list[Trial]:
    return [Trial(kind, {"sessions": n}, window) for n in range(count)]


def test_a_repeated_trial_is_counted_once(tmp_path):
    register = Register(tmp_path / "trials")
    first = register.record("first", trials(3))
    assert register.record("first", trials(3)) == first
    second = register.record("second", trials(5))
    assert (register.count(first).of_study, register.count(first).of_data) == (3, 5)
    found = register.count(second)
    assert (found.of_study, found.of_data, found.recorded, found.earlier) == (5, 5, 5, 0)
    assert len(list(register.folder.iterdir())) == 2


def test_what_differs_in_kind_parameters_conditions_or_data_is_another_trial():
    base = Trial("pods.Momentum", {"n": 1}, YEAR, {"fee": 1e-4})
    changed = [
        dataclasses.replace(base, kind="pods.Reversal"),
        dataclasses.replace(base, parameters={"n": 2}),
        dataclasses.replace(base, conditions={"fee": 2e-4}),
        dataclasses.replace(base, window=NEXT),
    ]
    assert len({base.key, *(trial.key for trial in changed)}) == 5
    longer = dataclasses.replace(YEAR, last="2024-03-01")
    assert dataclasses.replace(base, window=longer).key == base.key


def test_only_trials_that_share_a_session_and_an_instrument_count_for_a_study(tmp_path):
    register = Register(tmp_path)
    register.record("next year", trials(7, NEXT))
    register.record("another market", trials(11, OTHER))
    mine = register.record("mine", trials(2))
    assert dataclasses.astuple(register.count(mine))[:3] == (2, 2, 20)
    register.record("across", trials(4, dataclasses.replace(NEXT, digest="d" * 64, first="2023-12-28")))
    assert register.count(mine).of_data == 6
    assert register.count(mine).earlier == 4


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([YEAR, NEXT, OTHER])), min_size=1, max_size=12))
def test_the_count_is_that_of_a_plain_set(tmp_path_factory, chosen):
    """The second way: a Python set of what was tried."""
    folder = tmp_path_factory.mktemp("register")
    register, seen = Register(folder), set()
    for number, window in chosen:
        name = register.record(f"study {number}", [Trial("kind", {"n": number}, window)])
        seen.add((number, window.digest))
    found = register.count(name)
    last = chosen[-1][1]
    related = {digest for digest in (YEAR.digest, NEXT.digest, OTHER.digest) if digest == last.digest}
    assert found.recorded == len(seen)
    assert found.of_data == sum(digest in related for _, digest in seen)


def test_the_state_does_not_depend_on_the_order_or_the_number_of_records(tmp_path):
    states = set()
    for order in itertools.permutations(range(3)):
        register = Register(tmp_path / "".join(map(str, order)))
        for part in order:
            name = register.record(f"part {part}", trials(3)[part : part + 1])
        states.add(register.count(name).state)
    whole = Register(tmp_path / "whole")
    states.add(whole.count(whole.record("all", trials(3))).state)
    assert len(states) == 1
    more = whole.record("more", trials(4))
    assert whole.count(more).state not in states


def _write(folder: Path, number: int) -> None:
    register = Register(folder)
    for part in range(10):
        register.record("shared", trials(20))
        register.record(f"writer {number}", [Trial("kind", {"writer": number, "part": part}, YEAR)])


def test_several_writers_on_one_folder_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    register = Register(tmp_path)
    assert register.count(register.record("last", trials(1))).recorded == 20 + 20
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".json"]


def test_a_writer_that_died_leaves_what_nobody_reads(tmp_path):
    register = Register(tmp_path)
    name = register.record("mine", trials(2))
    (tmp_path / f".{'e' * 64}.json.17-ab.tmp").write_bytes(b'{"format":1,')
    assert register.count(name).recorded == 2


def test_a_record_that_was_edited_is_refused(tmp_path):
    register = Register(tmp_path)
    name = register.record("mine", trials(2))
    path = tmp_path / f"{name}.json"
    path.write_bytes(path.read_bytes().replace(b'"sessions":1', b'"sessions":0'))
    with pytest.raises(DataError, match=r"was changed after it was written: put the file back"):
        register.count(name)
    path.unlink()
    with pytest.raises(DataError, match="missing from the register of trials"):
        register.count(name)


def test_runs_beside_a_deleted_register_are_named(tmp_path):
    register = Register(tmp_path / ".trials")
    name = register.record("kept", trials(2))
    for folder, provenance in (
        ("kept", {"trials": {"record": name}}),
        ("old", {}),
        ("lost", {"trials": {"record": "f"}}),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(json.dumps({"provenance": provenance}))
    assert unregistered_runs(tmp_path, register) == ("lost", "old")
    assert unregistered_runs(tmp_path, Register(tmp_path / "new")) == ("kept", "lost", "old")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": ""}, "digest of a trial's window must be the hash of its data"),
        ({"first": "2023-1-2"}, "first of a trial's window must be a day written YYYY-MM-DD; was '2023-1-2'"),
        ({"last": 20231228}, "last of a trial's window must be a day"),
        ({"last": "2022-12-30"}, "first of a trial's window must not be after last"),
        ({"instruments": ()}, "instruments of a trial's window must be at least one"),
    ],
)
def test_windows_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(YEAR, **change)


def test_a_study_without_trials_is_refused(tmp_path):
    with pytest.raises(ValueError, match="trials of study 'empty' must be at least one"):
        Register(tmp_path).record("empty", [])
    assert list(tmp_path.iterdir()) == []
