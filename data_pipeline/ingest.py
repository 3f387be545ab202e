"""Raw files into the store: all of a call becomes visible at once, or nothing does.

    paths -> files by kind -> one task each (spill | draft) -> one task a month (merge) -> publish -> sweep

The tasks run on an executor, here or on a cluster, into a staging folder whose ledger says what is finished: an ingest
that was stopped goes on from there when the same files are given again. What they write does not depend on who did
them or in which order. The replacement of `manifest.json` is the commit: before it the new parts are orphans that the
next ingest sweeps, after it the old ones are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data_pipeline.atomic import disk_errors
from data_pipeline.errors import DataError
from data_pipeline.ingestion.files import RawFiles, find_files, sort_files
from data_pipeline.ingestion.report import IngestReport, Refusal, named_change, unused_notes
from data_pipeline.ingestion.run import Harvest, Settled, read_all, settle
from data_pipeline.ingestion.staging import Staging
from data_pipeline.ingestion.tasks import rows_of
from data_pipeline.manifest import MANIFEST, Manifest
from data_pipeline.tables.files import LOCK, LocalFiles, Place, StoreFiles, open_files
from data_pipeline.tables.publish import held_manifest, is_own_part, publish_manifest, sweep_orphans
from data_pipeline.tasks.errors import ClusterLostError
from data_pipeline.tasks.executor import LocalProcesses, Workforce
from data_pipeline.tasks.report import Progress as TaskProgress
from data_pipeline.tasks.report import TaskEvent, ignore_progress

Progress = Callable[[str, int], None]
"""Called with a file's name and the rows of it read so far, and with ("merging 2023-01", rows) for each month."""

_STAGING: Final = ".staging"


def ingest(
    paths: Iterable[Path | str] | Path | str,
    store_path: Place,
    progress: Progress | None = None,
    *,
    executor: Workforce | None = None,
    options: Mapping[str, str] | None = None,
    staging: Path | str | None = None,
    on_task: TaskProgress = ignore_progress,
    replace: bool = False,
) -> IngestReport:
    """Put raw files into the store (made if there is none) and report what became of each.

    A file that cannot be used is refused with its reason while the others go in; see `IngestReport.complete`. A file
    already in the store changes nothing. Of two versions of a session of daily quotes the one from the file made later
    holds; of two files that give the same symbol and session of another table, the one ingested later, but for crypto
    files of different names: the later one is refused (see `replace`). Stopped by Ctrl-C or killed, it goes on from
    the files that it had finished when it is called again for the same store.

    Parameters
    ----------
    paths : path or iterable of paths
        Raw files of the formats that docs/data.md lists, or folders of them at any depth.
    store_path : path or str
        Folder of the store, or its URL (s3://bucket/store).
    progress : callable, optional
        See `Progress`.
    executor : Workforce, optional
        Who reads the files and merges the months: `LocalProcesses(n)` or `DaskCluster(address)`; this process by
        default. The store has the same bytes from any of them.
    options : mapping, optional
        Facts that the files of some formats lack, such as the venue or the symbol; a reader that needs one says so.
        "symbol" is for every format that knows it, "lobster.symbol" for that one alone; the others do not see it.
    staging : path, optional
        Folder for what is not committed yet, on a disk that the executor's workers share; inside the store's folder
        by default, for a store at a URL in the user's cache.
    on_task : callable, optional
        Called after each event of a task, see `data_pipeline.tasks.report`.
    replace : bool, optional
        Whether a crypto file takes the place of rows that a file of another name gave of the same symbol and session.
        By default it is refused: hours of a day, single and aggregated trades, or pictures of 5 and of 25 levels hold
        what the other lacks.

    Raises
    ------
    DataError
        When a path does not exist, a folder holds no such file, an option is known to no format of the files, the
        store's folder holds other things or a store of another schema version, another command is writing to it, or
        the disk is full. The store is then as it was.
    RunInterruptedError, ClusterLostError
        On Ctrl-C, or when the executor's cluster is gone: the same call goes on from what is finished.
    """
    files = open_files(store_path)
    own = files.root.resolve() if isinstance(files, LocalFiles) else None
    found = find_files([paths] if isinstance(paths, str | Path) else paths, own)
    _refuse_foreign_folder(files)
    with disk_errors(files.name), files.lock(), _staging(files, staging) as area:
        base = held_manifest(files)
        _sweep(files, base)
        try:
            raw = sort_files(found, options or {}, area.unpacked)
            listen = _Listener(area, progress, on_task)
            with (executor or LocalProcesses(0)).over(area.ledger, listen) as pool:
                harvest = read_all(raw, base, area, pool)
                settled = settle(files, base, area, harvest, pool, replace=replace)
            if settled.manifest != base:
                publish_manifest(files, area.parts, settled.manifest, base)
        finally:
            # what is named by the manifest on disk stays, whether that is the old one or the new one
            _sweep(files, held_manifest(files))
    return _report(raw, base, harvest, settled, options or {})


class _Listener:
    """Passes the events of tasks on, and says of each file and month how many rows of it are read."""

    def __init__(self, staging: Staging, progress: Progress | None, on_task: TaskProgress) -> None:
        self._ledger, self._progress, self._on_task = staging.ledger, progress, on_task

    def __call__(self, event: TaskEvent) -> None:
        self._on_task(event)
        if self._progress is None:
            return
        if event.kind == "running":
            self._progress(event.name, event.amount)
        elif event.kind in ("finished", "skipped"):
            self._progress(event.name, rows_of(self._ledger.read(event.key)))


def _refuse_foreign_folder(files: StoreFiles) -> None:
    """Raise DataError when the place is a file or holds anything but a store or what a stopped ingest left of one."""
    if isinstance(files, LocalFiles) and files.root.exists() and not files.root.is_dir():
        raise DataError(f"{files.name} is a file, not a folder: name a new or an empty folder for the store")
    if files.exists(MANIFEST):
        return
    for path in files.list():
        first, _, _ = path.partition("/")
        if first not in (LOCK, _STAGING) and not _is_left_over(first) and not is_own_part(path):
            name = path.rpartition("/")[2]
            raise DataError(f"{files.name} holds other files ({name}) and no store: name a new or an empty folder")


def _is_left_over(name: str) -> bool:
    """Whether a file is what a killed process had begun to write in the manifest's place."""
    return name.startswith(f".{MANIFEST}.") and name.endswith(".tmp")


def _sweep(files: StoreFiles, manifest: Manifest) -> None:
    if isinstance(files, LocalFiles):
        for path in files.root.glob(f".{MANIFEST}.*.tmp"):
            path.unlink()
    sweep_orphans(files, manifest)


@contextmanager
def _staging(files: StoreFiles, folder: Path | str | None) -> Iterator[Staging]:
    """The staging folder, with what a stopped ingest finished in it; it stays only when this one is stopped too."""
    area = Staging(_staging_folder(files, folder).absolute())
    if not area.is_of_this_boot():
        shutil.rmtree(area.root, ignore_errors=True)
    area.begin()
    try:
        yield area
    except (KeyboardInterrupt, ClusterLostError):
        raise
    except BaseException:
        shutil.rmtree(area.root, ignore_errors=True)
        raise
    shutil.rmtree(area.root, ignore_errors=True)


def _staging_folder(files: StoreFiles, folder: Path | str | None) -> Path:
    if folder is None and isinstance(files, LocalFiles):
        return files.root / _STAGING
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairfield"
    store = hashlib.sha256(files.name.encode()).hexdigest()[:16]
    return Path(folder or cache) / f"staging-{store}"


def _report(
    raw: RawFiles,
    base: Manifest,
    harvest: Harvest,
    settled: Settled,
    options: Mapping[str, str],
) -> IngestReport:
    known = {source.sha256 for source in base.sources}
    new = harvest.taken - known
    changes = [change for month in settled.months for change in month.changes if not change.identical]
    asked = {name for _, drafted in harvest.drafted for name in drafted.asked}
    unused = [name for name in options if name.rpartition(".")[2] not in asked] if new and not harvest.refused else []
    return IngestReport(
        accepted=tuple(source for source in settled.manifest.sources if source.sha256 in new),
        unchanged=tuple(harvest.unchanged),
        replaced=tuple(change for change in changes if change.replaced),
        kept=tuple(change for change in changes if not change.replaced),
        refused=tuple(Refusal(raw.shown(p), harvest.refused[p]) for p in raw.files if p in harvest.refused),
        notes=(*_unpacked(raw), *settled.notes, *unused_notes(unused)),
        tables=tuple(named_change(change, settled.manifest) for change in settled.tables if not change.identical),
    )


def _unpacked(raw: RawFiles) -> list[str]:
    counts = Counter(raw.inside.values())
    return [f"{name} was unpacked: {count:,} file{'s' * (count > 1)}" for name, count in counts.items()]
