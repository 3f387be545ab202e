"""A policy library on disk: whole or absent, proven, resumed, and answering as the solved policies do."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import strategies.policy_library_build as building
from data_pipeline.errors import DataError
from mfg_core import MarketMakingGame, OutsideOption, RegimeSwitchingGame, SolveError, solve_mfg
from mfg_core.library.policy_grid import SwitchingRegimes
from mfg_core.library.quote_block import TimeNodes
from mfg_core.study.batch import solve_many
from strategies.policy_library import COLUMNS, open_policy_library
from strategies.policy_library_build import build_policy_library
from strategies.policy_library_plan import LibraryTolerances, core_hash

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")

GAME = MarketMakingGame(
    ask_arrival=1.2,
    bid_arrival=0.9,
    fill_decay=1.0,
    running_penalty=0.2,
    terminal_penalty=0.2,
    horizon=2.0,
    max_inventory=3,
)
REGIMES = {"calm": GAME, "stressed": replace(GAME, running_penalty=0.5, competition=OutsideOption(0.4))}
AXES = {"fill_decay": (0.9, 1.0, 1.2), "arrival_scale": (0.8, 1.0)}
EASY = LibraryTolerances(rtol=1e-6, atol=1e-9, time=1e-3, off_grid=3)


def build(folder, **changes):
    arguments = {"regimes": REGIMES, "axes": AXES, "tolerances": EASY, "chunk": 5} | changes
    return build_policy_library(folder, **arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def copied(built, tmp_path):
    """A library that a test may damage."""
    return Path(shutil.copytree(built.path, tmp_path / built.hash))


def test_every_policy_answers_as_its_solve(built):
    t, x = np.linspace(0, 2, 57)[:, None], np.arange(-3, 4)
    for regime in REGIMES:
        for decay in AXES["fill_decay"]:
            base = REGIMES[regime]
            game = replace(
                base, fill_decay=decay, ask_arrival=0.8 * base.ask_arrival, bid_arrival=0.8 * base.bid_arrival
            )
            exact = solve_mfg(game, rtol=1e-6, atol=1e-9).policy.quotes(t, x)
            found = built.quotes(t, x, regime, fill_decay=decay, arrival_scale=0.8)
            # The measured error is that at six points in each pair of steps, a few per cent less than the largest; the
            # two solves, one of them from a neighbour, differ by their tolerances.
            atol = 1.05 * built.description["worst"]["time_error"] + 2 * 1e-6 * 4.0
            np.testing.assert_allclose(found, exact, rtol=0.0, atol=atol)
    assert built.description["worst"]["time_error"] * 0.9 <= EASY.time


def test_the_description_says_what_the_library_is(built):
    assert built.size == 12
    assert built.hash == hashlib.sha256((built.path / "library.json").read_bytes()).hexdigest()
    description = json.loads((built.path / "library.json").read_text())
    assert description["regimes"]["stressed"]["competition"] == {"kind": "OutsideOption", "crowd_decay": 0.4}
    assert description["regimes"]["calm"]["max_half_spread"] == "inf"
    assert description["axes"][1] == {"name": "arrival_scale", "values": [0.8, 1.0]}
    assert description["mfg_core_sha256"] == core_hash()
    off = description["off_grid_error"]
    assert off["games"] == 3
    assert 0 < off["mean_of_largest"] <= off["largest"] < 0.1
    for name in ("residual", "exploitability", "discretisation_error", "edge_mass", "time_error"):
        assert description["worst"][name] == built.certificates[name].max()
    order = [(0.9, 0.8), (0.9, 1.0), (1.0, 0.8), (1.0, 1.0), (1.2, 0.8)]  # the first chunk
    games = [replace(GAME, fill_decay=k, ask_arrival=s * 1.2, bid_arrival=s * 0.9) for k, s in order]
    for row, solved in enumerate(solve_many(games, rtol=1e-6, atol=1e-9).equilibria):
        for name in ("residual", "iterations", "exploitability", "mass_error", "discretisation_error"):
            assert built.certificates[name][row] == getattr(solved.certificate, name)
    assert np.all(built.certificates["residual"] <= built.certificates["residual_tolerance"])
    assert not built.block.block.flags.writeable
    built.verify()


def test_the_off_grid_error_is_that_of_a_direct_solve(built):
    off = built.description["off_grid_error"]
    at = off["parameters"]
    base = REGIMES[off["regime"]]
    scale = at["arrival_scale"]
    game = replace(
        base, fill_decay=at["fill_decay"], ask_arrival=scale * base.ask_arrival, bid_arrival=scale * base.bid_arrival
    )
    times = built.block.nodes.times(2.0)[:, None]
    exact = solve_mfg(game, rtol=1e-6, atol=1e-9).policy.quotes(times, np.arange(-3, 4))
    found = built.quotes(times, np.arange(-3, 4), off["regime"], **at)
    assert np.nanmax(np.abs(np.stack(found) - exact)) == pytest.approx(off["largest"], rel=1e-6, abs=1e-9)


def test_the_same_build_gives_the_same_bytes_with_any_workers(built, tmp_path):
    again = build(tmp_path, workers=2)
    assert again.hash == built.hash
    for name in ("library.json", "quotes.npy", "certificates.npy"):
        assert (again.path / name).read_bytes() == (built.path / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [built.hash]


def test_an_interrupted_build_goes_on_and_shows_nothing_before_its_end(built, tmp_path, monkeypatch):
    nodes = built.block.nodes
    solves = []

    def counted(games, **tolerance):
        solves.extend(games)
        return solve_many(games, **tolerance)

    def interrupt(done, total):
        if done == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(building, "solve_many", counted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, nodes=nodes, progress=interrupt)
    assert len(solves) == 10
    assert all(path.name.startswith(".build-") for path in tmp_path.iterdir())
    told = []
    finished = build(tmp_path, nodes=nodes, progress=lambda done, total: told.append((done, total)))
    assert len(solves) == 12 + EASY.off_grid
    assert told == [(5, 12), (10, 12), (12, 12)]
    assert finished.hash == built.hash
    assert [path.name for path in tmp_path.iterdir()] == [built.hash]


def test_a_crash_while_publishing_leaves_no_library(tmp_path, monkeypatch):
    def full(temporary, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building, "publish", full)
    with pytest.raises(DataError, match="no space left on the disk"):
        build(tmp_path, nodes=TimeNodes(32, 2))
    assert all(path.name.startswith(".build-") for path in tmp_path.iterdir())


def test_a_damaged_chunk_is_named(tmp_path, built):
    def interrupt(done, total):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, nodes=built.block.nodes, progress=interrupt)
    chunk = next(tmp_path.glob(".build-*/chunk-0-5.npz"))
    chunk.write_bytes(chunk.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"chunk-0-5.npz: damaged .* delete this file and build again"):
        build(tmp_path, nodes=built.block.nodes)


def test_a_chunk_damaged_anywhere_is_named_or_whole(tmp_path, built):
    """Each byte of a chunk with some bits turned: refused by name, or a byte that means nothing."""
    path, buffer = tmp_path / "chunk-0-1.npz", io.BytesIO()
    np.savez(buffer, quotes=np.arange(12.0).reshape(1, 3, 2, 2), columns=np.ones((1, len(COLUMNS))))
    whole = buffer.getvalue()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            quotes, columns = building._read_chunk(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(quotes.ravel(), np.arange(12.0))
            np.testing.assert_array_equal(columns, 1.0)
    assert refused > 0.2 * len(whole)
    for size in range(0, len(whole), 31):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="delete this file and build again"):
            building._read_chunk(path)


def test_a_library_damaged_anywhere_is_refused(copied):
    for name in ("library.json", "quotes.npy", "certificates.npy"):
        path = copied / name
        whole = path.read_bytes()
        header = range(min(len(whole), 160))
        for place in (*header, *range(160, len(whole), 997), len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            with pytest.raises(DataError, match="library"):
                open_policy_library(copied).verify()
        for size in (0, 1, 100, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match="library"):
                open_policy_library(copied).verify()
        path.write_bytes(whole)
    open_policy_library(copied).verify()


KILLED = """
import os, signal, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from test_policy_library import build
build(sys.argv[2], chunk=4, progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 8 else None)
"""


def test_a_build_killed_at_once_is_taken_up_again(built, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert sorted(path.name for path in left.iterdir()) == ["chunk-0-4.npz", "chunk-4-8.npz", "lock"]
    kept = [path.stat().st_mtime_ns for path in sorted(left.glob("chunk-*"))]
    told = []

    def progress(done, total):
        told.append([path.stat().st_mtime_ns for path in sorted(left.glob("chunk-[04]-*"))])

    library = build(tmp_path, chunk=4, progress=progress)
    assert told == [kept] * 3  # the lock of the dead is free, and its chunks are used
    assert [path.name for path in tmp_path.iterdir()] == [library.hash]


@pytest.mark.parametrize("writes", range(4))
def test_a_disk_that_fills_up_stops_a_build_in_words_and_it_goes_on_later(writes, built, tmp_path, monkeypatch):
    whole, done = Path.write_bytes, []

    def fill(path, content):
        if len(done) == writes:
            whole(path, content[:10])
            raise OSError(28, "No space left on device")
        done.append(path)
        return whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(DataError, match="no space left on the disk: free some and run the command again"):
            build(tmp_path, nodes=built.block.nodes)
    assert all(path.name.startswith(".build-") for path in tmp_path.iterdir())
    assert build(tmp_path, nodes=built.block.nodes).hash == built.hash


def test_another_builder_waits(tmp_path, built):
    met = []

    def try_too(done, total):
        with pytest.raises(DataError, match="another process builds this library"):
            build(tmp_path, nodes=built.block.nodes)
        met.append(done)

    build(tmp_path, nodes=built.block.nodes, progress=try_too, chunk=5)
    assert met == [5, 10, 12]


def test_a_time_grid_that_is_too_coarse_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nodes must have more than 4 steps, .* at regime calm, fill_decay="):
        build(tmp_path, nodes=TimeNodes(4, 1), tolerances=replace(EASY, time=1e-5))


def test_a_game_that_cannot_be_solved_is_named(tmp_path):
    with pytest.raises(SolveError, match=r"regime base, running_penalty=1e\+06: the skew .* Lower competition"):
        build(tmp_path, regimes=GAME, axes={"running_penalty": (0.1, 1e6)}, nodes=TimeNodes(8, 1))


def rewrite(folder, change):
    """The folder with a changed description, named as its content says."""
    description = json.loads((folder / "library.json").read_text())
    change(description)
    text = json.dumps(description).encode()
    (folder / "library.json").write_bytes(text)
    return folder.rename(folder.with_name(hashlib.sha256(text).hexdigest()))


def test_damage_is_found_and_named(copied):
    quotes = copied / "quotes.npy"
    whole = quotes.read_bytes()
    quotes.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"quotes.npy: damaged \(\d+ bytes, expected \d+\); delete the folder"):
        open_policy_library(copied)
    quotes.write_bytes(b"X" + whole[1:])
    with pytest.raises(DataError, match=r"quotes.npy: damaged"):
        open_policy_library(copied)
    quotes.write_bytes(whole.replace(b"'fortran_order': False", b"'fortran_order': True "))
    with pytest.raises(DataError, match=r"quotes.npy: damaged"):
        open_policy_library(copied)
    quotes.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"quotes.npy: damaged \(sha256"):
        open_policy_library(copied).verify()
    quotes.unlink()
    with pytest.raises(DataError, match=r"quotes.npy: missing"):
        open_policy_library(copied)


def test_a_wrong_description_is_refused(copied, tmp_path):
    with pytest.raises(DataError, match="no policy library here"):
        open_policy_library(tmp_path)
    renamed = copied.rename(tmp_path / ("0" * 64))
    with pytest.raises(DataError, match="damaged, or the folder was renamed"):
        open_policy_library(renamed)
    newer = rewrite(renamed, lambda description: description.update(schema_version=2))
    with pytest.raises(DataError, match=r"schema_version must be 1; was 2: build the library again"):
        open_policy_library(newer)
    other = rewrite(newer, lambda description: description.update(kind="cake"))
    with pytest.raises(DataError, match="not the description of a policy library"):
        open_policy_library(other)
    (other / "library.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        open_policy_library(other)


def test_ten_thousand_policies_open_in_under_50_ms(copied):
    """The arrays are as large as those of 10,000 policies of 21 inventories and 65 times; the file is mostly a hole."""
    shape = (10_000, 21, 65, 2)
    np.lib.format.open_memmap(copied / "quotes.npy", mode="w+", dtype=np.float32, shape=shape).flush()
    columns = np.tile([2.0, -np.inf, np.inf, *np.zeros(len(COLUMNS) - 3)], (10_000, 1))
    np.save(copied / "certificates.npy", columns)

    def change(description):
        description["axes"] = [{"name": name, "values": list(range(1, 101))} for name in ("fill_decay", "horizon")]
        description["time_nodes"] = {"steps": 64, "grading": 1}
        description["regimes"] = {"base": description["regimes"]["calm"]}
        for name, array_shape in (("quotes.npy", shape), ("certificates.npy", columns.shape)):
            description["files"][name] |= {"bytes": (copied / name).stat().st_size, "shape": list(array_shape)}

    path = rewrite(copied, change)
    spent = []
    for _ in range(5):
        begin = time.perf_counter()
        library = open_policy_library(path)
        spent.append(time.perf_counter() - begin)
    assert library.size == 10_000
    assert library.quotes(1.0, 0, fill_decay=2.5, horizon=3.5) == (0.0, 0.0)
    # The quickest of five: what the machine does beside is not what is tested.
    assert min(spent) < 0.05


def test_arguments_that_make_no_sense_are_refused(tmp_path):
    for changes, message in (
        ({"dtype": "float16"}, "dtype must be float32 or float64; was 'float16'"),
        ({"chunk": 0}, "chunk must be an integer of at least 1; was 0"),
        ({"seed": -1}, "seed must be an integer of at least 0; was -1"),
        ({"axes": {"eta": (1, 2)}}, "axes must be arrival_scale or a float parameter"),
    ):
        with pytest.raises(ValueError, match=message):
            build(tmp_path, **changes)
    with pytest.raises(ValueError, match="time must be finite and positive"):
        LibraryTolerances(time=0.0)


SWITCHING = SwitchingRegimes(
    regimes={"calm": GAME, "stressed": replace(GAME, running_penalty=0.5, bid_arrival=1.4)},
    switching_rates=((-0.3, 0.3), (0.8, -0.8)),
    initial_regime=(1.0, 0.0),
)
FINER = replace(EASY, rtol=1e-7)


def test_policies_of_switching_regimes_are_looked_up_by_regime(tmp_path):
    decays = (0.9, 1.0, 1.2)
    library = build(tmp_path, regimes=SWITCHING, axes={"fill_decay": decays}, chunk=2, tolerances=FINER)
    assert library.size == 6
    assert library.description["switching"] == {"rates": [[-0.3, 0.3], [0.8, -0.8]], "initial": [1.0, 0.0]}
    t, x = np.linspace(0, 2, 23)[:, None], np.arange(-3, 4)
    apart = []
    for decay in decays:
        games = tuple(replace(game, fill_decay=decay) for game in SWITCHING.regimes.values())
        whole = RegimeSwitchingGame(
            regimes=games, switching_rates=SWITCHING.switching_rates, initial_regime=SWITCHING.initial_regime
        )
        solved = solve_mfg(whole, rtol=1e-7)
        for number, name in enumerate(SWITCHING.regimes):
            found = library.quotes(t, x, name, fill_decay=decay)
            exact = solved.policy.quotes(t, x, number)
            np.testing.assert_allclose(found, exact, atol=1.05 * library.description["worst"]["time_error"])
            alone = solve_mfg(games[number], rtol=1e-6).policy.quotes(t, x)
            apart.append(np.nanmax(np.abs(np.stack(alone) - found)))
    assert min(apart) > 0.05  # a game of its own, that knows no switch, has other quotes
    off = library.description["off_grid_error"]
    assert 0 < off["largest"] < 0.1
    again = build(
        tmp_path / "again", regimes=SWITCHING, axes={"fill_decay": decays}, chunk=2, tolerances=FINER, workers=2
    )
    assert again.hash == library.hash
    # The solves of switching games start from nothing, so that chunks of another size hold the same quotes.
    other = build(tmp_path / "other", regimes=SWITCHING, axes={"fill_decay": decays}, chunk=3, tolerances=FINER)
    np.testing.assert_array_equal(other.block.block, library.block.block)
    np.testing.assert_array_equal(library.prepare("stressed", fill_decay=1.0).table, library.block.block[4])


def test_switching_regimes_that_make_no_game_are_refused(tmp_path):
    with pytest.raises(ValueError, match="horizon must be the same in all regimes"):
        build(tmp_path, regimes=replace(SWITCHING, regimes={"a": GAME, "b": replace(GAME, horizon=1.0)}))
    with pytest.raises(ValueError, match="initial_regime must"):
        build(tmp_path, regimes=replace(SWITCHING, initial_regime=(0.5, 0.6)))
