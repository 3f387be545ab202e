"""Bars of the whole store: a task for each venue and session, one commit, and which bars are stale.

    trades, quotes, book_events -> draft_session (on an executor) -> one commit by the driver

A session's bars name what they were made from, by a hash of the rules and of the parts that were read, as their
source. When those parts change, the hash does: the bars are stale and are made again. Made again from the same, they
are the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from data_pipeline.book.bar_rules import bar_rule
from data_pipeline.book.bar_session import BAR_TABLES, session_bars
from data_pipeline.disk import canonical_json, sha256_hex
from data_pipeline.errors import DataError
from data_pipeline.ingestion.tasks import code_hash
from data_pipeline.manifest import Manifest, Source
from data_pipeline.raw_file import sha256_of_file
from data_pipeline.tables.catalog import BARS
from data_pipeline.tables.commit import merge_drafts
from data_pipeline.tables.files import LocalFiles, Place, StoreFiles, open_files
from data_pipeline.tables.parts import DraftPart, draft_parts
from data_pipeline.tables.publish import held_manifest, publish_manifest, sweep_orphans
from data_pipeline.tables.state import TablePart, TablePartition
from data_pipeline.tasks.executor import LocalProcesses, Workforce
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError, task_key
from data_pipeline.tasks.report import Progress, ignore_progress
from data_pipeline.tasks.worker import Task

if TYPE_CHECKING:
    from data_pipeline.store import Store

_PREFIX: Final = "bars-"
KIND: Final = "bars"
"""Kind of the manifest's sources that stand for computed bars."""


@dataclass(frozen=True, slots=True)
class SessionBars:
    """The bars of one venue and session.

    Attributes
    ----------
    venue, session : str
    rules : tuple of str
        Rules of the bars that are there.
    state : "fresh", "stale" or "missing"
        Stale: the trades or quotes that they were made from are not those of the store any more.
    """

    venue: str
    session: str
    rules: tuple[str, ...]
    state: Literal["fresh", "stale", "missing"]


@dataclass(frozen=True, slots=True)
class BarsReport:
    """What `compute_bars` did: sessions made, sessions that were fresh already, and rows written."""

    made: tuple[tuple[str, str], ...]
    fresh: tuple[tuple[str, str], ...]
    rows: int


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The parts of one venue and session that bars are made from."""

    venue: str
    session: str
    parts: tuple[tuple[str, str], ...]

    def digest(self, rules: Sequence[str]) -> str:
        """What stands for these inputs under these rules."""
        return sha256_hex(canonical_json({"bars": BARS.version, "rules": sorted(rules), "parts": self.parts}))


@dataclass(frozen=True, slots=True)
class BarsWork:
    """Argument of `draft_session`; `place` is the store's folder or URL."""

    place: str
    inputs: _Inputs
    rules: tuple[str, ...]
    source: str
    staging: Path


def bars_states(
    store: Store, *, venue: str | None = None, start: str | None = None, end: str | None = None
) -> tuple[SessionBars, ...]:
    """Each venue and session with trades or market events, and whether its bars are those of what the store has."""
    manifest = store.manifest
    return tuple(_state(manifest, inputs) for inputs in _inputs(manifest.tables, venue, start, end))


def compute_bars(
    place: Place,
    rules: Sequence[str] = (),
    *,
    venue: str | None = None,
    start: str | None = None,
    end: str | None = None,
    executor: Workforce | None = None,
    staging: Path | None = None,
    progress: Progress = ignore_progress,
) -> BarsReport:
    """Make the bars of these rules, and make again those that are stale; all become visible at once, or none.

    Parameters
    ----------
    place : path or str
        Folder or URL of the store.
    rules : sequence of str
        See `bar_rules.bar_rule`; those that a session has bars of already are kept. Without any, only what is stale.
    venue, start, end : str, optional
        Limits, ISO dates both included.
    executor : Workforce, optional
        `LocalProcesses(n)` or `DaskCluster(address)`; this process by default. Results do not depend on it.
    staging : path, optional
        Folder that all workers share, for what is not committed yet: a call that was stopped is gone on from there.
        By default inside the store's folder; for a store at a URL one that is removed in any case.
    progress : callable, optional
        Called after each task.

    Raises
    ------
    ValueError
        For a rule of another form.
    DataError
        When the store has no trades there, a task fails (its session and symbol are named), or another command is
        writing to the store. The store is then as it was.
    """
    from data_pipeline.store import Store

    wanted = {bar_rule(text).text for text in rules}
    files = open_files(place)
    Store.open(files)  # a store that is not there must not be made by its lock
    with files.lock(), _staging(files, staging) as area:
        base = Store.open(files).manifest
        works: list[BarsWork] = []
        fresh: list[tuple[str, str]] = []
        for inputs in _inputs(base.tables, venue, start, end):
            state = _state(base, inputs)
            own = tuple(sorted(wanted | set(state.rules)))
            if state.state == "fresh" and set(own) == set(state.rules):
                fresh.append((inputs.venue, inputs.session))
            elif own:
                works.append(BarsWork(files.name, inputs, own, inputs.digest(own), area / "parts"))
        if not works and not fresh and wanted:
            raise DataError(f"{files.name} has no trades of that venue and time: ingest them first")
        drafts = _run(works, area, executor or LocalProcesses(0), progress)
        if works:
            _commit(files, base, works, drafts, area)
    made = tuple((work.inputs.venue, work.inputs.session) for work in works)
    return BarsReport(made, tuple(fresh), sum(draft.part.rows for draft in drafts))


def draft_session(work: BarsWork) -> bytes:
    """JSON of the parts that the bars of a session are in; runs wherever an executor runs it."""
    from data_pipeline.store import Store

    store = Store.open(work.place)
    rules = [bar_rule(text) for text in work.rules]
    inputs = work.inputs
    batches = session_bars(store, inputs.venue, inputs.session, rules)
    drafts = draft_parts(batches, work.staging, work.source)
    return json.dumps([[d.table, d.venue, d.period, d.version, list(d.part)] for d in drafts]).encode()


def _read_drafts(payload: bytes, staging: Path) -> list[DraftPart]:
    found = []
    for table, venue, period, version, (*values, sources) in json.loads(payload):
        part = TablePart._make((*values, tuple(sources)))
        found.append(DraftPart(table, venue, period, version, part, staging))
    return found


def _inputs(
    partitions: Sequence[TablePartition], venue: str | None, start: str | None, end: str | None
) -> Iterator[_Inputs]:
    """The venues and sessions with trades, or with events that may be some, in order."""
    named = {p.name: p for p in partitions}
    for where, session in sorted({(p.venue, p.period) for p in partitions if p.table in ("trades", "book_events")}):
        inside = (start is None or session >= start) and (end is None or session <= end)
        if not inside or venue not in (None, where):
            continue
        used = [named[table, where, session] for table in BAR_TABLES if (table, where, session) in named]
        parts = tuple((q.table, part.sha256) for q in used for part in q.parts)
        yield _Inputs(where, session, parts)


def _state(manifest: Manifest, inputs: _Inputs) -> SessionBars:
    """Whether the session's bars are those of its inputs, by what their source says and what their parts name."""
    where = f"{inputs.venue} {inputs.session}"
    record = next((s for s in manifest.sources if s.kind == KIND and s.file == where), None)
    if record is None:
        return SessionBars(inputs.venue, inputs.session, (), "missing")
    rules = tuple(record.notes[0].split(" "))
    held = [p for p in manifest.tables if p.name == ("bars", inputs.venue, inputs.session)]
    named = {source for p in held for part in p.parts for source in part.sources}
    # a session whose trades fill no bar has none, and its source says so
    whole = named == {record.sha256} if record.rows else not named
    fresh = whole and record.sha256 == inputs.digest(rules)
    return SessionBars(inputs.venue, inputs.session, rules, "fresh" if fresh else "stale")


def _run(works: Sequence[BarsWork], area: Path, workforce: Workforce, progress: Progress) -> list[DraftPart]:
    tasks = [_task(work) for work in works]
    ledger = Ledger(area / "ledger")
    for task, work in zip(tasks, works, strict=True):
        _forget_lost(ledger, task, work)
    with workforce.over(ledger, progress) as pool:
        report = pool.run(tasks)
    if report.failed:
        first = report.failed[0]
        raise DataError(f"{len(report.failed)} of {len(tasks)} tasks failed; the first, {first.name}: {first.reason}")
    return [draft for task, work in zip(tasks, works, strict=True) for draft in _read(ledger, task, work)]


def _read(ledger: Ledger, task: Task, work: BarsWork) -> list[DraftPart]:
    return _read_drafts(ledger.read(task.key), work.staging)


def _forget_lost(ledger: Ledger, task: Task, work: BarsWork) -> None:
    """Drop what a stopped call finished and whose parts are gone or changed since: it is done again."""
    with contextlib.suppress(KeyError, LedgerDamageError):  # nothing there, or damage that the executor tells
        found = ((work.staging / draft.part.path, draft.part.sha256) for draft in _read(ledger, task, work))
        if not all(path.is_file() and sha256_of_file(path) == sha256 for path, sha256 in found):
            ledger.discard(task.key)


def _task(work: BarsWork) -> Task:
    described = {"task": KIND, "source": work.source, "venue": work.inputs.venue, "session": work.inputs.session}
    described["code"] = code_hash()
    name = f"bars {work.inputs.venue} {work.inputs.session}"
    return Task(task_key(described), name, draft_session, work, described)


def _commit(
    files: StoreFiles, base: Manifest, works: Sequence[BarsWork], drafts: Sequence[DraftPart], area: Path
) -> None:
    """Put the drafts in the place of the bars that those sessions had, whole sessions at a time."""
    remade = {("bars", work.inputs.venue, work.inputs.session) for work in works}
    rows = {draft.name: draft.part.rows for draft in drafts}
    bare = replace(base, tables=tuple(p for p in base.tables if p.name not in remade))
    tables, _ = merge_drafts(files, bare, drafts, area / "parts")
    replaced = {f"{venue} {session}" for _, venue, session in remade}
    kept = [s for s in base.sources if s.kind != KIND or s.file not in replaced]
    new = [_source(work, rows.get(("bars", work.inputs.venue, work.inputs.session), 0)) for work in works]
    sources = tuple(sorted([*kept, *new], key=lambda s: (s.kind, s.file, s.sha256)))
    publish_manifest(files, area / "parts", replace(base, tables=tables, sources=sources), base)
    sweep_orphans(files, held_manifest(files))


def _source(work: BarsWork, rows: int) -> Source:
    """What the manifest says of a session's bars: the rules, then the parts that they were made from."""
    notes = (" ".join(work.rules), *(f"{table} {sha256}" for table, sha256 in work.inputs.parts))
    where = f"{work.inputs.venue} {work.inputs.session}"
    return Source(work.source, where, KIND, "", rows, 0, (work.inputs.session,), {}, notes, {"bars": rows})


@contextmanager
def _staging(files: StoreFiles, folder: Path | None) -> Iterator[Path]:
    """A folder for what is not committed yet; hold the lock. It stays only when the call is stopped."""
    if folder is None and not isinstance(files, LocalFiles):
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as made:
            area = Path(made).absolute()
            (area / "parts").mkdir()
            yield area
        return
    folder = folder or files.root / ".staging"  # type: ignore[attr-defined]
    area = (folder / f"{_PREFIX}{sha256_hex(files.name.encode())[:16]}").absolute()
    (area / "parts").mkdir(parents=True, exist_ok=True)
    Ledger(area / "ledger").sweep()
    try:
        yield area
    except KeyboardInterrupt:
        raise
    except BaseException:
        _remove(area)
        raise
    _remove(area)


def _remove(area: Path) -> None:
    shutil.rmtree(area, ignore_errors=True)
    folder = area.parent
    if not any(folder.iterdir()):
        folder.rmdir()
