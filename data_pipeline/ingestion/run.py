"""The two rounds of an ingest: every file is read, then what was read is settled against the store."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from data_pipeline.errors import DataError
from data_pipeline.ingestion.feed_files import Feed, details_by_folder, merge_cdi_feeds, merge_event_feeds, read_feed
from data_pipeline.ingestion.files import FeedFiles, QuoteFile, RawFiles
from data_pipeline.ingestion.merge import Month, Spilled, held_of
from data_pipeline.ingestion.report import FILES_JOIN, refused_replacement
from data_pipeline.ingestion.staging import Staging
from data_pipeline.ingestion.tasks import (
    Drafted,
    DraftWork,
    MergeWork,
    Refused,
    SpillWork,
    draft_task,
    merge_task,
    read_drafted,
    read_month,
    read_spilled,
    spill_task,
)
from data_pipeline.manifest import Manifest, Source
from data_pipeline.tables.commit import TableChange, mark_superseded, merge_drafts
from data_pipeline.tables.files import StoreFiles
from data_pipeline.tables.state import TablePartition
from data_pipeline.tasks.executor import Executor
from data_pipeline.tasks.report import TaskFailure
from data_pipeline.tasks.worker import Task

Answer = TypeVar("Answer")
_DISK: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG))
"""What says that the staging folder cannot be written, not that a raw file is bad."""
_IN_PARTS: Final = frozenset(("binance_capture", "binance_dump", "tardis", "hftbacktest"))
"""Feeds of which files of different names may each hold what the other lacks of one symbol and session: hours of a day,
single and aggregated trades, pictures of 5 and of 25 levels. Only a file of the same name, or one call with all of
them, replaces what one gave; another only when that is asked for."""


@dataclass(slots=True)
class Harvest:
    """What the files of one call gave, before anything of it is committed."""

    spilled: list[Spilled] = field(default_factory=list)
    drafted: list[tuple[FeedFiles, Drafted]] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    @property
    def taken(self) -> set[str]:
        """Identities of what was read."""
        own = {source.sha256 for source in self.spilled} | {files.identity for files, _ in self.drafted}
        return own | {feed.source.sha256 for feed in self.feeds}


@dataclass(frozen=True, slots=True)
class Settled:
    """The manifest after the call, every new part lying in the staging folder, and what changed on the way."""

    manifest: Manifest
    months: tuple[Month, ...]
    tables: tuple[TableChange, ...]
    notes: tuple[str, ...]


def read_all(raw: RawFiles, manifest: Manifest, staging: Staging, executor: Executor) -> Harvest:
    """What is new among the files, read; a file that cannot be used is refused and the others go on.

    Raises
    ------
    OSError
        When the staging folder cannot be written.
    """
    harvest = Harvest(refused=dict(raw.refused))
    quotes = [quote for quote in raw.quotes if _is_news(quote.sha256, quote.path.name, manifest, harvest)]
    sets = [files for files in raw.sets if _is_news(files.identity, files.name, manifest, harvest)]
    # workers may run in another folder
    spills = [spill_task(SpillWork(q.path.absolute(), str(q.header.generated), q.sha256, staging.work)) for q in quotes]
    drafts = [draft_task(DraftWork(files.absolute(), staging.parts)) for files in sets]
    staging.forget_lost(drafts, read_drafted)
    staging.forget_lost(spills, read_spilled)
    report = executor.run(_largest_first([*drafts, *spills], [*(f.paths for f in sets), *((q.path,) for q in quotes)]))
    failed = {failure.key: failure for failure in report.failed}
    for quote, task in zip(quotes, spills, strict=True):
        _collect(quote, task, failed, staging, harvest)
    for files, task in zip(sets, drafts, strict=True):
        answer = _answer(task, failed, staging, read_drafted)
        if isinstance(answer, Refused):
            harvest.refused[files.paths[0]] = answer.reason
        else:
            harvest.drafted.append((files, answer))
    _read_documents(raw, manifest, harvest)
    return harvest


def _largest_first(tasks: Sequence[Task], paths: Sequence[Sequence[Path]]) -> list[Task]:
    """The tasks by the size of their files: no large one is left when the others are done."""
    sizes = {task.key: sum(path.stat().st_size for path in own) for task, own in zip(tasks, paths, strict=True)}
    return sorted(tasks, key=lambda task: -sizes[task.key])


def _collect(
    quote: QuoteFile, task: Task, failed: Mapping[str, TaskFailure], staging: Staging, harvest: Harvest
) -> None:
    answer = _answer(task, failed, staging, read_spilled)
    if isinstance(answer, Refused):
        harvest.refused[quote.path] = answer.reason
    else:
        harvest.spilled.append(answer)


def _answer(
    task: Task, failed: Mapping[str, TaskFailure], staging: Staging, read: Callable[[bytes], Answer | Refused]
) -> Answer | Refused:
    """What the task said; a task that was given up refuses its file."""
    failure = failed.get(task.key)
    if failure is None:
        return read(staging.ledger.read(task.key))
    _raise_disk_error(failure)
    return Refused(f"{task.name}: {failure.reason}")


def _raise_disk_error(failure: TaskFailure) -> None:
    if failure.errno in _DISK:
        raise OSError(failure.errno, failure.reason)


def _is_news(identity: str, name: str, manifest: Manifest, harvest: Harvest) -> bool:
    """Whether the file must be read; else it is noted as unchanged."""
    source = manifest.source(identity)
    if identity in harvest.seen or (source is not None and _is_settled(source, manifest)):
        harvest.unchanged.append(name)
        return False
    harvest.seen.add(identity)
    return True


def _is_settled(source: Source, manifest: Manifest) -> bool:
    """Whether each session of a known file is its own or belongs to a version made later.

    It is not when another file made on the same day took its place since: then the latest ingested holds again.
    """
    if source.superseded:
        return False
    holders = {day: entry.source for p in manifest.partitions for day, entry in p.sessions.items()}
    made = {s.sha256: s.generated for s in manifest.sources}
    own, generated = source.sha256, source.generated
    return all(holders[day] == own or made[holders[day]] > generated for day in source.sessions)


def _read_documents(raw: RawFiles, manifest: Manifest, harvest: Harvest) -> None:
    """The JSON files: small, and read together, since one names the company that another is about."""
    companies = details_by_folder(raw.documents)
    for document in raw.documents:
        if _is_news(document.sha256, document.path.name, manifest, harvest):
            try:
                harvest.feeds.append(read_feed(document, companies.get(document.path.parent, [])))
            except DataError as error:
                harvest.refused[document.path] = str(error)


def settle(
    files: StoreFiles,
    manifest: Manifest,
    staging: Staging,
    harvest: Harvest,
    executor: Executor,
    *,
    replace: bool = False,
) -> Settled:
    """What was read, settled against the store: months and partitions as they will be.

    Files that may not take the place of others (see `_IN_PARTS`; with `replace` they may) go from `harvest.drafted`
    to `harvest.refused`.

    Raises
    ------
    DataError
        When a month cannot be merged: a part of the store is missing or damaged.
    OSError
        When the staging folder cannot be written.
    """
    months = _merge_months(files, manifest, staging, harvest.spilled, executor)
    tables, changes = _merge_tables(files, manifest, staging, harvest, replace)
    cdi, notes = merge_cdi_feeds(files, staging.parts, manifest, harvest.feeds)
    news = (
        *_quote_sources(harvest.spilled, months),
        *(_feed_source(given, drafted) for given, drafted in harvest.drafted),
        *(feed.source for feed in harvest.feeds),
    )
    by_hash = {source.sha256: source for source in (*manifest.sources, *news)}
    partitions = {p.month: p for p in (*manifest.partitions, *(month.partition for month in months))}
    committed = Manifest(
        sources=mark_superseded(by_hash.values(), changes),
        partitions=tuple(partitions[month] for month in sorted(partitions)),
        events=merge_event_feeds(files, staging.parts, manifest, harvest.feeds),
        cdi=cdi,
        tables=tables,
        generation=manifest.generation,
    )
    return Settled(committed, months, changes, notes)


def _merge_tables(
    files: StoreFiles, manifest: Manifest, staging: Staging, harvest: Harvest, replace: bool
) -> tuple[tuple[TablePartition, ...], tuple[TableChange, ...]]:
    """The tables with all drafts, but for those of files that may not replace what others gave."""
    names = {source.sha256: source.file for source in manifest.sources}
    names |= {given.identity: given.name for given, _ in harvest.drafted}
    bound = set() if replace else {given.identity for given, _ in harvest.drafted if given.feed in _IN_PARTS}

    def may_replace(change: TableChange) -> bool:
        if bound.isdisjoint(change.offered_by):
            return True
        offered = {file for sha256 in change.offered_by for file in names[sha256].split(FILES_JOIN)}
        # a part may be of several sources: one of them is replaced, by the same files or by those and more
        return any(offered.issuperset(names.get(sha256, "").split(FILES_JOIN)) for sha256 in change.held_by)

    while True:
        drafts = [draft for _, drafted in harvest.drafted for draft in drafted.drafts]
        tables, changes = merge_drafts(files, manifest, drafts, staging.parts, may_replace=may_replace)
        refused = {change.offered_by[0]: change for change in reversed(changes) if change.refused}
        if not refused:
            return tables, changes
        for given, _ in harvest.drafted:
            if given.identity in refused:
                change = refused[given.identity]
                held = [names.get(sha256, sha256[:16]) for sha256 in change.held_by]
                harvest.refused[given.paths[0]] = refused_replacement(given.name, held, change)
        harvest.drafted = [one for one in harvest.drafted if one[0].identity not in refused]


def _merge_months(
    files: StoreFiles, manifest: Manifest, staging: Staging, spilled: Sequence[Spilled], executor: Executor
) -> tuple[Month, ...]:
    works = []
    for name in sorted({month for source in spilled for month in source.months}):
        offered = tuple(source for source in spilled if name in source.months)
        works.append(MergeWork(files.name, name, held_of(manifest, name), offered, staging.work, staging.parts))
    tasks = [merge_task(work) for work in works]
    staging.forget_lost(tasks, read_month)
    report = executor.run(tasks)
    failed = {failure.key: failure for failure in report.failed}
    months = []
    for task in tasks:
        answer = _answer(task, failed, staging, read_month)
        if isinstance(answer, Refused):
            raise DataError(answer.reason)
        months.append(answer)
    return tuple(months)


def _quote_sources(spilled: Iterable[Spilled], months: Iterable[Month]) -> list[Source]:
    quarantined: Counter[str] = Counter()
    for month in months:
        quarantined.update(month.quarantined)
    return [
        Source(s.sha256, s.file, "cotahist", s.generated, s.rows, quarantined[s.sha256], s.sessions, s.rule_counts)
        for s in spilled
    ]


def _feed_source(given: FeedFiles, drafted: Drafted) -> Source:
    tables: Counter[str] = Counter()
    for draft in drafted.drafts:
        tables[draft.table] += draft.part.rows
    return Source(
        sha256=given.identity,
        file=given.name,
        kind=given.feed,
        generated="",
        rows=drafted.rows,
        quarantined=0,
        sessions=(),
        rule_counts=drafted.rule_counts,
        notes=drafted.notes,
        tables=dict(sorted(tables.items())),
    )
