"""What an ingest did, file by file and session by session."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from data_pipeline.ingestion.merge import SessionChange
from data_pipeline.manifest import Manifest, Source
from data_pipeline.tables.commit import TableChange

_SMALL = {"company_events": "company event", "company_details": "company detail"}
"""Kinds of which there is a file per company."""

FILES_JOIN = " + "
"""Between the names of files that are read together."""

_MOST_FILES = 20
"""Accepted files of a kind, notes and replacements that are told one by one."""

_MOST_NAMES = 5
"""Unchanged files, and symbols whose rows were replaced, that are named one by one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not ingested, and why (one sentence with file, line and column where there are such)."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class NamedChange:
    """Rows of a table that took the place of others; `held_by` and `offered_by` are file names."""

    held_by: tuple[str, ...]
    offered_by: tuple[str, ...]
    change: TableChange


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Outcome of one call of `ingest`.

    Attributes
    ----------
    accepted : tuple of Source
        Files that were read and committed.
    unchanged : tuple of str
        Names of files that the store already had, byte for byte.
    replaced : tuple of SessionChange
        Sessions whose rows changed because a newer version came.
    kept : tuple of SessionChange
        Sessions offered by an older version than the one held; the held rows stayed.
    refused : tuple of Refusal
        Files that could not be used.
    notes : tuple of str
        Other things worth saying.
    tables : tuple of NamedChange
        Rows of tables other than the daily quotes that took the place of others.
    """

    accepted: tuple[Source, ...]
    unchanged: tuple[str, ...]
    replaced: tuple[SessionChange, ...]
    kept: tuple[SessionChange, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()
    tables: tuple[NamedChange, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every file was used: False when any was refused."""
        return not self.refused

    def lines(self) -> Iterator[str]:
        """The report in sentences, one a line; many files of a kind are told together, refused ones each by name."""
        kinds: dict[str, list[Source]] = {kind: [] for kind in _SMALL}
        for source in self.accepted:
            kinds.setdefault(source.kind, []).append(source)
        for kind, sources in kinds.items():
            if len(sources) > (1 if kind in _SMALL else _MOST_FILES):
                yield from _together(kind, sources)
            else:
                for source in sources:
                    yield from _alone(source)
        if len(self.accepted) > 1:
            rows = sum(source.rows for source in self.accepted)
            yield f"accepted in all: {len(self.accepted):,} files, {rows:,} rows"
        if len(self.unchanged) > _MOST_NAMES:
            yield f"unchanged: {len(self.unchanged):,} files, already in the store"
        else:
            for name in self.unchanged:
                yield f"unchanged {name}: already in the store"
        yield from _grouped(self.replaced, "replaced")
        yield from _grouped(self.kept, "kept")
        yield from map(_replaced, self.tables[:_MOST_FILES])
        if len(self.tables) > _MOST_FILES:
            rest = self.tables[_MOST_FILES:]
            before, after = sum(t.change.rows_held for t in rest), sum(t.change.rows_offered for t in rest)
            yield f"replaced in {len(rest):,} more places: {before:,} rows before, {after:,} after"
        yield from self.notes
        for refusal in self.refused:
            words = refusal.reason if refusal.file in refusal.reason else f"{refusal.file}: {refusal.reason}"
            yield f"refused {words}"


def _alone(source: Source) -> Iterator[str]:
    yield f"accepted {source.file}: {_content([source])}"
    for note in source.notes:
        named = any(file in note for file in source.file.split(FILES_JOIN))
        yield f"  {note}" if named else f"  {source.file}: {note}"


def _together(kind: str, sources: Sequence[Source]) -> Iterator[str]:
    """Many files of one kind; what is noted of several is told once, with how many."""
    yield f"accepted {len(sources):,} {_SMALL.get(kind, kind)} files: {_content(sources)}"
    notes: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        for note in source.notes:
            words = reduce(lambda said, file: said.replace(file, "the file"), source.file.split(FILES_JOIN), note)
            notes[words].append(source.file)
    for words, files in list(notes.items())[:_MOST_FILES]:
        yield f"  {files[0]}: {words}" if len(files) == 1 else f"  {len(files):,} files: {words}"
    if len(notes) > _MOST_FILES:
        yield f"  and {len(notes) - _MOST_FILES:,} other notes (in the store's manifest)"


def _content(sources: Sequence[Source]) -> str:
    """Rows, and what became of them."""
    tables: Counter[str] = Counter()
    for source in sources:
        tables.update(source.tables)
    sessions = len({day for source in sources for day in source.sessions})
    quarantined = sum(source.quarantined for source in sources)
    span = f" in {sessions} sessions" if sessions else ""
    into = "".join(f", {rows:,} to {table}" for table, rows in tables.items())
    dropped = f", {quarantined:,} in quarantine" if quarantined else ""
    return f"{sum(source.rows for source in sources):,} rows{span}{into}{dropped}{_rules(sources)}"


def _rules(sources: Sequence[Source]) -> str:
    """What the named rules did; the parser's act on nearly every quote row and are on the quality page instead.

    Of rules that did nothing only breaks are told: that there are none is news.
    """
    counts: Counter[str] = Counter()
    for source in sources:
        if source.kind != "cotahist":
            counts.update(source.rule_counts)
    return "".join(f"; {count:,} {rule}" for rule, count in sorted(counts.items()) if count or _is_break(rule))


def _is_break(rule: str) -> bool:
    return rule.endswith("_breaks")


def _grouped(changes: tuple[SessionChange, ...], word: str) -> Iterator[str]:
    groups: dict[tuple[str, str], list[SessionChange]] = defaultdict(list)
    for change in changes:
        groups[change.held_by, change.offered_by].append(change)
    for (held, offered), group in groups.items():
        first, last = group[0].session, group[-1].session
        span = first if first == last else f"{first} to {last}"
        before, after = sum(c.rows_held for c in group), sum(c.rows_offered for c in group)
        if word == "kept":
            yield f"kept {len(group)} sessions ({span}) of {held}: {offered} is an older version of them"
            continue
        types = sorted({market for c in group for market in c.vanished_market_types})
        lost = f"; market types no longer there: {', '.join(f'{t:03d}' for t in types)}" if types else ""
        rows = f"{before:,} rows before, {after:,} after"
        yield f"replaced {len(group)} sessions ({span}) of {held} by {offered}: {rows}{lost}"


def named_change(change: TableChange, manifest: Manifest) -> NamedChange:
    """The change with the names of its files."""
    names = {source.sha256: source.file for source in manifest.sources}
    held = tuple(names.get(sha256, sha256[:16]) for sha256 in change.held_by)
    return NamedChange(held, tuple(names.get(sha256, sha256[:16]) for sha256 in change.offered_by), change)


def refused_replacement(file: str, held: Sequence[str], change: TableChange) -> str:
    """Why a file may not take the place of rows that files of other names gave."""
    shown = " and ".join(held[:_MOST_NAMES]) + (f" and {len(held) - _MOST_NAMES:,} more" if held[_MOST_NAMES:] else "")
    return (
        f"{file} would replace {change.table} of {change.venue} {change.period} ({_shown(change.symbols)}) of {shown}, "
        f"{change.rows_held:,} rows by {change.rows_offered:,}, and may hold less: ingest parts of one day in one "
        "call, keep other kinds of the same rows in a store of their own, or say that it shall (--replace)"
    )


def unused_notes(options: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each option that no reader looked for."""
    return tuple(f"option {name} was not needed by these files" for name in options)


def _replaced(named: NamedChange) -> str:
    change = named.change
    return (
        f"replaced {change.table} of {change.venue} {change.period} ({_shown(change.symbols)}) of "
        f"{' and '.join(named.held_by)} by "
        f"{' and '.join(named.offered_by)}: {change.rows_held:,} rows before, {change.rows_offered:,} after"
    )


def _shown(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - _MOST_NAMES:,} more" if len(symbols) > _MOST_NAMES else ""
    return ", ".join(symbols[:_MOST_NAMES]) + more
