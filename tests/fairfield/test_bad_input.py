"""A hostile world: each bad input gets one sentence on standard error, a non-zero exit, and nothing is damaged."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

MAIN = (sys.executable, "-c", "from fairfield.cli import main; main()")

PODS = """
import time
from dataclasses import dataclass
import numpy as np
from strategies import Targets
from strategies.pod import parameters_of

@dataclass(frozen=True)
class Bad:
    name: str = "bad"
    how: str = "nan"
    lookback: int = 2

    @property
    def parameters(self):
        return parameters_of(self)

    def fit(self, training):
        if self.how == "slow":
            time.sleep(0.3)
        return self

    def decide(self, view):
        if self.how == "nan":
            return Targets(weights=np.full(len(view.instruments), np.nan))
        if self.how == "unknown":
            return Targets(weights={"XXXX3": 1.0})
        if self.how == "raises":
            raise RuntimeError("my own bug")
        return Targets(weights={})
"""


@pytest.fixture
def configured(world, tmp_path):
    """Writes the world's configuration into the test's own folder, changed, with its store named in full."""

    def write(*changes: tuple[str, str], store: Path = world.store) -> Path:
        text = world.config.read_text(encoding="utf-8").replace('store = "store"', f'store = "{store}"')
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "mypods.py").write_text(PODS, encoding="utf-8")
        path = tmp_path / "c.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def bad_pod(how: str) -> tuple[tuple[str, str], ...]:
    return (
        ('kind = "short_term_reversal"', f'kind = "mypods:Bad"\n[pods.parameters]\nhow = "{how}"'),
        ("signal_sessions = [5, 10]", ""),
    )


def truncated(source: Path) -> bytes:
    return source.read_bytes()[:200_000]


def damaged(source: Path) -> bytes:
    content = bytearray(source.read_bytes())
    content[100_000:100_100] = bytes(100)
    return bytes(content)


def cut_text(source: Path) -> bytes:
    with zipfile.ZipFile(source) as archive:
        return archive.read(archive.namelist()[0])[: 247 * 50 + 100]


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("COTAHIST_A2021.ZIP", truncated, "damaged zip"),
        ("COTAHIST_A2021.ZIP", damaged, "COTAHIST_A2021.ZIP"),
        ("COTAHIST_A2021.ZIP", lambda _: b"<!DOCTYPE html><p>404", "HTML"),
        ("COTAHIST_A2021.TXT", cut_text, "truncated"),
        ("COTAHIST_A2021.TXT", lambda _: b"", "is empty"),
        ("events.json", lambda _: b"[" * 100_000, "not JSON"),
        ("events.json", lambda _: b"{}", "unknown kind"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name_and_the_rest_goes_in(world, tmp_path, name, make, words):
    source = world.raw / "COTAHIST_A2023.ZIP"
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / name).write_bytes(make(source))
    alone = world.fairfield("ingest", folder, "--store", tmp_path / "alone")
    world.refused(alone, f"refused {name}", words, "1 file refused", "nothing else was given")
    assert not (tmp_path / "alone" / "manifest.json").exists()
    shutil.copy(world.raw / "cdi.json", folder)
    mixed = world.fairfield("ingest", folder, "--store", tmp_path / "store")
    world.refused(mixed, f"refused {name}", words, "everything else is in")
    assert mixed.stdout.startswith("accepted cdi.json: ")


def test_folders_that_are_no_raw_files_or_no_store_are_refused_and_left_alone(world, tmp_path):
    (tmp_path / "empty").mkdir()
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "letter.txt").write_text("dear")
    other = tmp_path / "other"
    shutil.copytree(world.store, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    (tmp_path / "file").write_text("x")
    before = world.contents(tmp_path)
    to = ("--store", tmp_path / "store")
    world.refused(world.fairfield("ingest", tmp_path / "empty", *to), "holds no raw file (.zip, .txt, .json, ")
    world.refused(world.fairfield("ingest", tmp_path / "absent", *to), "does not exist")
    for command in (("ingest", world.raw), ("quality",)):
        world.refused(world.fairfield(*command, "--store", other), "schema version 99")
    world.refused(world.fairfield("ingest", world.raw, "--store", letters), "holds other files (letter.txt)")
    world.refused(world.fairfield("ingest", world.raw, "--store", tmp_path / "file"), "is a file, not a folder")
    for nowhere in (tmp_path / "absent", tmp_path / "empty", letters, tmp_path / "file"):
        world.refused(world.fairfield("quality", "--store", nowhere), "holds no store")
    assert world.contents(tmp_path) == before


def test_a_newer_version_of_a_session_replaces_it_and_an_older_one_does_not(world, tmp_path):
    with zipfile.ZipFile(world.raw / "COTAHIST_A2023.ZIP") as archive:
        lines = archive.read(archive.namelist()[0]).splitlines(keepends=True)
    # a daily file of the first session, one share fewer, made before and after the yearly one
    first = [line for line in lines[1:-1] if line[2:10] == lines[1][2:10]][:-1]
    trailer = lines[-1][:31] + f"{len(first) + 2:011d}".encode() + lines[-1][42:]
    for name, made in (("older.txt", b"20230101"), ("newer.txt", b"20240601")):
        header = lines[0][:23] + made + lines[0][31:]
        (tmp_path / name).write_bytes(b"".join([header, *first, trailer]))
    store = tmp_path / "store"
    shutil.copytree(world.store, store)
    before = world.contents(store / "cotahist")
    older = world.fairfield("ingest", tmp_path / "older.txt", "--store", store)
    assert older.exit_code == (1 if "refused" in older.stderr else 0)
    assert world.contents(store / "cotahist") == before
    newer = world.fairfield("ingest", tmp_path / "newer.txt", "--store", store)
    assert newer.exit_code == 0, newer.output
    assert "replaced 1 sessions" in newer.stdout
    assert "COTAHIST_A2023.ZIP by newer.txt" in newer.stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("workers = 1", "wokers = 1", "unknown key run.wokers; did you mean workers?"),
        ('kind = "equal_weight"', 'kind = "equal_wieght"', "unknown kind equal_wieght; did you mean equal_weight?"),
        ('kind = "equal_weight"', 'kind = "absent:Pod"', "cannot be imported: ModuleNotFoundError"),
        ("universe_window = 42", "univers_window = 42", "did you mean universe_window?"),
        ("universe_window = 42", "universe_window = 42.0", "universe_window must be a whole number; was 42.0"),
        ("universe_window = 42", "universe_window = true", "universe_window must be a whole number; was True"),
        ("universe_window = 42", 'min_traded_value = "1e6"', "min_traded_value must be a number; was '1e6'"),
        ("universe_window = 42", "min_traded_value = nan", "must be a number, a text, true or false; was nan"),
        ("[5, 10]", '[5, "x"]', "signal_sessions must be a whole number; was 'x'"),
        ("signal_sessions =", "signal_session =", "did you mean signal_sessions?"),
        ("[account]", "[limits.levels.drawdwn]\n[account]", "unknown limit drawdwn; did you mean drawdown?"),
        ("[account]", "[limits.levels.drawdown]\namber=0.5\nhard=0.1\n[account]", "must increase"),
        ("train = 150", 'train = "150"', "walkforward.train"),
        ("train = 150", "train = true", "walkforward.train"),
        ("train = 150", "train = 5000", "the data have 248"),
        ("train = 150", "train = 245", "of the 248 sessions of the data"),
        ("signal_sessions = [5, 10]", "signal_sessions = [5, 300]", "must cover the 301 sessions"),
        ("[account]", "[costs]\nfee_bps = 1e6\n[account]", "costs.fee_bps"),
        ("[data]", "[data]\nstart = 2030-01-01", "no session from 2030-01-01 to its end"),
        ('name = "tiny"', 'name = "../tiny"', "run.name"),
    ],
)
def test_a_wrong_configuration_is_answered_before_anything_is_written(world, tmp_path, configured, old, new, words):
    path = configured((old, new))
    before = set(world.contents(tmp_path))
    world.refused(world.fairfield("backtest", path), words)
    assert {name for name in world.contents(tmp_path) if "__pycache__" not in name} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbfname = 1", "byte-order mark"),
        ("name = 1".encode("utf-16"), "not UTF-8 at byte 0"),
        ("# São".encode("latin-1"), "not UTF-8 at byte 3"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a\x00", "not valid TOML"),
        (b"# " + b"a" * (1 << 20), "larger than 1,048,576 bytes"),
        (b"run = 3\ndata = 1", "must be a table of keys; was 3"),
        (None, "is a folder"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(world, tmp_path, content, words):
    path = tmp_path / "c.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert "c.toml" in world.refused(world.fairfield("backtest", path), words)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nan", ("pod 'reversal' at 2023-", "weights must be finite; was nan")),
        ("unknown", ("pod 'reversal' at 2023-", "'XXXX3' is not one")),
        ("raises", ("parameters of reversal", "RuntimeError: my own bug", "mypods.py")),
    ],
)
def test_a_pod_that_decides_nonsense_or_raises_is_named(world, tmp_path, configured, how, words):
    result = world.fairfield("backtest", configured(*bad_pod(how)))
    world.refused(result, *words)
    assert not list((tmp_path / "runs").glob("tiny-*"))


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_with_two_workers_keeps_what_is_finished_and_the_next_run_goes_on(
    world, tmp_path, configured, whole_group
):
    path = configured(*bad_pod("slow"))
    ledger = tmp_path / "runs" / ".ledger"
    running = subprocess.Popen(
        [*MAIN, "backtest", str(path), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 600
    while not list(ledger.glob("??/*.entry")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    assert list(ledger.glob("??/*.entry")), running.poll()
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=180)
    assert running.returncode == 130, said
    assert said.startswith("fairfield: stopped: ")
    assert "run the same command again" in said
    assert said.count("\n") == 1
    kept = {str(entry) for entry in ledger.glob("??/*.entry")}
    assert kept
    assert not [name for name in world.contents(tmp_path) if name.endswith(".tmp")]
    stamps = {entry: Path(entry).stat().st_mtime_ns for entry in kept}
    assert world.fairfield("backtest", path).exit_code == 0
    assert {entry: Path(entry).stat().st_mtime_ns for entry in kept} == stamps


def test_ctrl_c_in_an_ingest_leaves_the_old_store(world, tmp_path, monkeypatch):
    import data_pipeline.ingestion.tasks

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    store = tmp_path / "store"
    assert world.fairfield("ingest", world.raw / "cdi.json", "--store", store).exit_code == 0
    before = world.contents(store)
    monkeypatch.setattr(data_pipeline.ingestion.tasks, "merge_month", interrupted)
    words = "tasks are finished and kept in", "run the same command again to go on from there"
    world.refused(world.fairfield("ingest", world.raw, "--store", store), *words, status=130)
    kept = world.contents(store)
    assert {name: kept[name] for name in kept if not name.startswith(".staging")} == before


def test_two_backtests_into_one_folder_at_once_are_refused(world, tmp_path, configured):
    from data_pipeline.tasks.ledger import Ledger

    path = configured()
    with Ledger(tmp_path / "runs" / ".ledger").exclusive():
        world.refused(world.fairfield("backtest", path), "another run is writing here")


def test_a_disk_that_takes_no_more_leaves_what_was_there(world, tmp_path, configured):
    """The size that the system allows a file stands for the disk: both end a write in its middle."""
    config = configured()
    store = tmp_path / "store"
    assert world.fairfield("ingest", world.raw / "cdi.json", "--store", store).exit_code == 0
    run = tmp_path / "run"
    shutil.copytree(world.run, run)
    commands = {
        ("ingest", world.raw, "--store", store): (store, 20_000),
        ("report", run): (run, 20_000),
        ("backtest", config): (tmp_path / "runs", 1_000),
    }
    for command, (folder, size) in commands.items():
        before = world.contents(folder) if folder.exists() else {}
        done = subprocess.run(
            [*MAIN, *map(str, command)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda size=size: (
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
            ),
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("fairfield: "), done.stderr
        assert "Traceback" not in done.stderr
        after = world.contents(folder)
        assert not [name for name in after if name.endswith(".tmp") or "staging" in name]
        if command[0] != "backtest":
            assert after == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_named(world, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    world.refused(world.fairfield("ingest", world.raw, "--store", closed / "store"), "closed/store", "permission")
    world.refused(world.fairfield("report", world.run, "--output", closed / "r.html"), "closed/r.html", "permission")


def test_a_read_only_disk_is_named_by_the_page_and_not_by_a_temporary_file(world, tmp_path, monkeypatch):
    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", read_only)
        disk.setattr("os.replace", read_only)
        result = world.fairfield("report", world.run, "--output", tmp_path / "r.html")
    assert world.refused(result) == f"fairfield: {tmp_path / 'r.html'}: the disk is read-only; choose another folder"


def test_an_output_that_is_a_folder_is_named(world, tmp_path):
    world.refused(
        world.fairfield("report", world.run, "--output", tmp_path), f"{tmp_path}: Is a directory: name a file"
    )


RUN_FILES = ("run.json", "quality.json", "comparison.json", "pods/hold/account.parquet", "pods/hold/statistics.json")


@pytest.mark.parametrize("name", [*RUN_FILES, "policies"])
def test_a_run_with_a_missing_or_an_edited_file_has_no_report(world, tmp_path, name):
    for damage in ("missing", "edited"):
        run = tmp_path / damage
        shutil.copytree(world.run, run)
        path = sorted((run / name).glob("*.json"))[0] if (run / name).is_dir() else run / name
        if damage == "missing":
            path.unlink()
        elif path.suffix == ".parquet":
            path.write_bytes((run / "pods" / "reversal" / path.name).read_bytes())
        else:
            content = json.loads(path.read_text())
            content["sharpe"] = 9.9
            path.write_text(json.dumps(content))
        before = world.contents(run)
        for command in (("report", run), ("compare", run, "--output", tmp_path / "c.html")):
            words = {"missing": ("missing", "no such"), "edited": ("changed",)}[damage]
            sentence = world.refused(world.fairfield(*command), path.name)
            assert any(word in sentence for word in words)
        assert world.contents(run) == before
        assert not (tmp_path / "c.html").exists()


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("1999-01-04", "date must be within the run"),
        ("2030-01-02", "date must be within the run"),
        ("2023-02-30", "--date must be a day like 2023-06-30; was '2023-02-30'"),
        ("tuesday", "--date must be a day like"),
        ("", "--date must be a day like"),
    ],
)
def test_a_report_of_a_day_that_is_not_of_the_run_is_refused(world, date, words):
    before = world.contents(world.run)
    world.refused(world.fairfield("report", world.run, "--date", date), words)
    assert world.contents(world.run) == before


def test_days_of_the_quality_page_are_checked(world, tmp_path):
    page = ("--store", world.store, "--output", tmp_path / "q.html")
    world.refused(world.fairfield("quality", *page, "--start", "june"), "--start must be a day like")
    backwards = world.fairfield("quality", *page, "--start", "2023-06-02", "--end", "2023-06-01")
    world.refused(backwards, "--end must not be before --start 2023-06-02; was 2023-06-01")
    assert not list(tmp_path.iterdir())


def test_a_reader_that_leaves_early_gets_no_traceback(world):
    running = subprocess.Popen(
        [*MAIN, "quality", "--store", str(world.store)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    said = running.stderr.read()
    running.stderr.close()
    running.wait(timeout=180)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
