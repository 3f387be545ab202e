"""Raw files into the store: all of a call becomes visible at once, or nothing does.

    paths -> files -> (parse, spill) each -> merge by month -> publish parts -> replace manifest.json -> sweep

The replacement of `manifest.json` is the commit: before it the new parts are orphans that the next ingest sweeps,
after it the old ones are.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from data_pipeline.atomic import disk_errors, exclusive_lock, publish, write_atomically
from data_pipeline.cotahist import Header, read_header
from data_pipeline.errors import DataError
from data_pipeline.feed_files import (
    Document,
    Feed,
    details_by_folder,
    merge_cdi_feeds,
    merge_event_feeds,
    read_document,
    read_feed,
)
from data_pipeline.ingest_report import IngestReport, Refusal
from data_pipeline.manifest import MANIFEST, Manifest, Source, read_manifest
from data_pipeline.merge import Month, SessionChange, Spilled, merge_month, spill
from data_pipeline.raw_file import sha256_of_file

Progress = Callable[[str, int], None]
"""Called with a file's name and the rows of it read so far, and with ("merging 2023-01", rows) for each month."""

_SUFFIXES = (".zip", ".txt", ".json")
_LOCK = ".lock"
_STAGING = ".staging"
_PART_FOLDERS = ("cotahist", "quarantine", "events", "cdi")
_PART = re.compile(r"part-[0-9a-f]{16}\.parquet")
"""Names of the store's own files: nothing else is ever removed."""


@dataclass(slots=True)
class _Harvest:
    """What the files of one call gave, before anything of it is committed."""

    spilled: list[Spilled] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[Path, Refusal] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def ingest(
    paths: Iterable[Path | str] | Path | str, store_path: Path | str, progress: Progress | None = None
) -> IngestReport:
    """Put raw files into the store (made if there is none) and report what became of each.

    A file that cannot be used is refused with its reason while the others go in; see `IngestReport.complete`. A file
    already in the store changes nothing. Of two versions of a session the one from the file made later holds.

    Parameters
    ----------
    paths : path or iterable of paths
        COTAHIST files (.zip, .txt), company events and CDI (.json), or folders of them at any depth.
    store_path : path
        Folder of the store.
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    DataError
        When a path does not exist, a folder holds no such file, the store's folder holds other things or a store of
        another schema version, another ingest is writing to it, or the disk is full. The store is then as it was.
    """
    store = Path(store_path)
    files = _expand([paths] if isinstance(paths, str | Path) else paths, store)
    _refuse_foreign_folder(store)
    with disk_errors(store):
        store.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(store / _LOCK), _staging(store) as staging:
            manifest = read_manifest(store) if (store / MANIFEST).exists() else Manifest()
            _sweep(store, manifest)
            try:
                harvest = _read_files(files, staging, manifest, progress)
                committed, replaced, kept, notes = _settle(store, staging, manifest, harvest, progress)
                if committed != manifest:
                    _commit(store, staging, committed)
            finally:
                # what is named by the manifest on disk stays, whether that is the old one or the new one
                _sweep(store, read_manifest(store) if (store / MANIFEST).exists() else Manifest())
    known = {source.sha256 for source in manifest.sources}
    taken = {s.sha256 for s in harvest.spilled} | {feed.source.sha256 for feed in harvest.feeds}
    accepted = tuple(s for s in committed.sources if s.sha256 in taken and s.sha256 not in known)
    refused = tuple(harvest.refused[path] for path in files if path in harvest.refused)
    return IngestReport(accepted, tuple(harvest.unchanged), replaced, kept, refused, notes)


def _expand(paths: Iterable[Path | str], store: Path) -> list[Path]:
    files: list[Path] = []
    own = store.resolve()
    for path in map(Path, paths):
        if path.is_dir():
            named = (p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
            # a store that lies in the folder of its raw files is no raw file
            found = sorted(p for p in named if own not in p.resolve().parents)
            if not found:
                raise DataError(f"{path} holds no {', '.join(_SUFFIXES)} file: name the folder of the raw files")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"{path} does not exist: name a raw file or a folder of raw files")
    if not files:
        raise DataError("no path was given: name a raw file or a folder of raw files")
    return list(dict.fromkeys(files))


def _refuse_foreign_folder(store: Path) -> None:
    """Raise DataError when the folder is a file or holds anything but a store or what a stopped ingest left of one."""
    if store.exists() and not store.is_dir():
        raise DataError(f"{store} is a file, not a folder: name a new or an empty folder for the store")
    if not store.is_dir() or (store / MANIFEST).exists():
        return
    for path in store.rglob("*"):
        place = path.relative_to(store).parts
        left_over = place[0] in (_LOCK, _STAGING) or place[0].startswith(f".{MANIFEST}.")
        if not left_over and (place[0] not in _PART_FOLDERS or (path.is_file() and not _PART.fullmatch(path.name))):
            raise DataError(f"{store} holds other files ({path.name}) and no store: name a new or an empty folder")


@contextmanager
def _staging(store: Path) -> Iterator[Path]:
    staging = store / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sweep(store: Path, manifest: Manifest) -> None:
    """Remove the parts that the manifest does not name, and the folders they leave empty."""
    named = {store / part.path for part in manifest.parts()}
    for leftover in store.glob(f".{MANIFEST}.*.tmp"):
        leftover.unlink()
    for folder in _PART_FOLDERS:
        # children come after their folder in sorted order, so the reverse empties a folder before it is looked at
        for path in (*sorted((store / folder).rglob("*"), reverse=True), store / folder):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif _PART.fullmatch(path.name) and path not in named:
                path.unlink()


def _read_files(files: list[Path], staging: Path, manifest: Manifest, progress: Progress | None) -> _Harvest:
    harvest = _Harvest()
    quotes: list[tuple[Header, Path, str]] = []
    documents: list[Document] = []
    for path in files:
        try:
            sha256 = sha256_of_file(path)
            if path.suffix.lower() == ".json":
                documents.append(read_document(path, sha256))
            elif _is_news(sha256, path.name, manifest, harvest):
                quotes.append((read_header(path), path, sha256))
        except DataError as error:
            harvest.refused[path] = Refusal(path.name, str(error))
    # versions of a session settle in order of their making, whatever the order of the paths
    for header, path, sha256 in sorted(quotes, key=lambda quote: (quote[0].generated, quote[1].name, quote[2])):
        _spill_one(path, header, sha256, staging, harvest, progress)
    companies = details_by_folder(documents)
    for document in documents:
        name = document.path.name
        if _is_news(document.sha256, name, manifest, harvest):
            try:
                harvest.feeds.append(read_feed(document, companies.get(document.path.parent, [])))
            except DataError as error:
                harvest.refused[document.path] = Refusal(name, str(error))
    return harvest


def _is_news(sha256: str, name: str, manifest: Manifest, harvest: _Harvest) -> bool:
    """Whether the file must be read; else it is noted as unchanged."""
    source = manifest.source(sha256)
    if sha256 in harvest.seen or (source is not None and _is_settled(source, manifest)):
        harvest.unchanged.append(name)
        return False
    harvest.seen.add(sha256)
    return True


def _is_settled(source: Source, manifest: Manifest) -> bool:
    """Whether each session of a known file is its own or belongs to a version made later.

    It is not when another file made on the same day took its place since: then the latest ingested holds again.
    """
    holders = {day: entry.source for p in manifest.partitions for day, entry in p.sessions.items()}
    made = {s.sha256: s.generated for s in manifest.sources}
    own, generated = source.sha256, source.generated
    return all(holders[day] == own or made[holders[day]] > generated for day in source.sessions)


def _spill_one(
    path: Path, header: Header, sha256: str, staging: Path, harvest: _Harvest, progress: Progress | None
) -> None:
    folder = staging / "spill" / sha256
    tick = None if progress is None else lambda rows: progress(path.name, rows)
    try:
        harvest.spilled.append(spill(path, header, sha256, folder, tick))
    except DataError as error:
        shutil.rmtree(folder, ignore_errors=True)
        harvest.refused[path] = Refusal(path.name, str(error))


def _settle(
    store: Path, staging: Path, manifest: Manifest, harvest: _Harvest, progress: Progress | None
) -> tuple[Manifest, tuple[SessionChange, ...], tuple[SessionChange, ...], tuple[str, ...]]:
    """The manifest after the call, with every new part lying in `staging`; sessions replaced and kept; notes."""
    months: list[Month] = []
    for name in sorted({month for source in harvest.spilled for month in source.months}):
        offered = [source for source in harvest.spilled if name in source.months]
        months.append(merge_month(store, staging, manifest, name, offered))
        if progress is not None:
            progress(f"merging {name}", months[-1].partition.part.rows)
    news = (*_quote_sources(harvest.spilled, months), *(feed.source for feed in harvest.feeds))
    by_hash = {source.sha256: source for source in (*manifest.sources, *news)}
    partitions = {p.month: p for p in (*manifest.partitions, *(month.partition for month in months))}
    cdi, notes = merge_cdi_feeds(store, staging, manifest, harvest.feeds)
    committed = Manifest(
        sources=tuple(sorted(by_hash.values(), key=lambda s: (s.kind, s.file, s.sha256))),
        partitions=tuple(partitions[month] for month in sorted(partitions)),
        events=merge_event_feeds(store, staging, manifest, harvest.feeds),
        cdi=cdi,
    )
    changes = [change for month in months for change in month.changes]
    replaced = tuple(c for c in changes if c.replaced and not c.identical)
    kept = tuple(c for c in changes if not c.replaced and not c.identical)
    return committed, replaced, kept, notes


def _quote_sources(spilled: list[Spilled], months: list[Month]) -> list[Source]:
    return [
        Source(
            sha256=s.sha256,
            file=s.file,
            kind="cotahist",
            generated=s.generated,
            rows=s.rows,
            quarantined=sum(month.quarantined.get(s.sha256, 0) for month in months),
            sessions=s.sessions,
            rule_counts=s.rule_counts,
        )
        for s in spilled
    ]


def _commit(store: Path, staging: Path, manifest: Manifest) -> None:
    for part in manifest.parts():
        draft = staging / part.path
        if draft.exists():
            (store / part.path).parent.mkdir(parents=True, exist_ok=True)
            publish(draft, store / part.path)
    write_atomically(store / MANIFEST, manifest.to_bytes())
