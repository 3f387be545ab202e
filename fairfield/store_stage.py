"""`fairfield store`: what is in a store, whether it is whole, and its upkeep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fairfield.tables import aligned

if TYPE_CHECKING:
    from data_pipeline.manifest import Manifest
    from data_pipeline.tables.state import TablePartition

INFO_HEAD = ("table", "venue", "first", "last", "partitions", "parts", "rows", "MiB")


def show_info(place: str) -> None:
    """Print the tables of a store with venues, dates, rows and bytes, and the raw files it was made of."""
    from data_pipeline.manifest import read_manifest

    manifest = read_manifest(place)
    print(f"{place}: schema version {manifest.schema_version}, commit {manifest.generation}")
    print(f"content {manifest.content_hash}")
    rows = [*_daily_rows(manifest), *_table_rows(manifest.tables)]
    for line in aligned(INFO_HEAD, rows) if rows else ["no rows yet"]:
        print(line)
    for line in _source_lines(manifest):
        print(line)


def _daily_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    """The older tables; their manifest does not hold bytes."""
    months = manifest.partitions
    rows: list[tuple[str, ...]] = []
    if months:
        sessions = sorted(day for p in months for day in p.sessions)
        count = sum(p.part.rows for p in months)
        rows.append(("daily_quotes", "B3", sessions[0], sessions[-1], *_counts(len(months), len(months), count), ""))
    refused = [p for p in months if p.quarantine is not None]
    if refused:
        counts = _counts(len(refused), len(refused), manifest.quarantined_rows)
        rows.append(("quarantine", "B3", refused[0].month, refused[-1].month, *counts, ""))
    for name, part in (("company_events", manifest.events), ("cdi", manifest.cdi)):
        if part is not None:
            rows.append((name, "", "", "", *_counts(1, 1, part.rows), ""))
    return rows


def _table_rows(partitions: Iterable[TablePartition]) -> list[tuple[str, ...]]:
    found: dict[tuple[str, str], list[TablePartition]] = {}
    for p in partitions:
        found.setdefault((p.table, p.venue), []).append(p)
    return [
        (
            table,
            venue,
            held[0].period,
            held[-1].period,
            *_counts(len(held), sum(len(p.parts) for p in held), sum(p.rows for p in held)),
            f"{sum(p.bytes for p in held) / 2**20:,.1f}",
        )
        for (table, venue), held in found.items()
    ]


def _counts(partitions: int, parts: int, rows: int) -> tuple[str, str, str]:
    return f"{partitions:,}", f"{parts:,}", f"{rows:,}"


def _source_lines(manifest: Manifest) -> list[str]:
    kinds = Counter(source.kind for source in manifest.sources)
    rows: Counter[str] = Counter()
    for source in manifest.sources:
        rows[source.kind] += source.rows
    lost = sum(source.superseded for source in manifest.sources)
    lines = [f"{count:,} raw files of {kind}: {rows[kind]:,} records" for kind, count in sorted(kinds.items())]
    return [*lines, f"{lost:,} of them are of parts in which a later file replaced rows"] if lost else lines


def verify_store(place: str) -> None:
    """Read every byte of a store, compare it with the manifest, and say so."""
    from data_pipeline.store import Store

    store = Store.open(place)
    store.verify()
    count = len(store.manifest.parts())
    print(f"{place}: {count:,} parts are as they were written; content {store.content_hash}")


def compact_store(place: str) -> None:
    """Join small parts, and say what became of them."""
    from data_pipeline.tables.maintenance import compact

    done = compact(place, progress=print)
    swept = f"; {done.orphans:,} leftover files removed" if done.orphans else ""
    if done.partitions:
        joined = f"{done.parts_before:,} parts are now {done.parts_after:,}"
        print(f"{place}: {joined}, in {done.partitions:,} partitions; the content is the same{swept}")
    else:
        print(f"{place}: nothing to join, {done.parts_before:,} parts{swept}")


def unlock_store(place: str, *, force: bool) -> None:
    """Remove the lock of a killed process, and say whose it was."""
    from data_pipeline.tables.maintenance import unlock

    holder = unlock(place, force=force)
    print(f"{place}: {'no lock was left there' if holder is None else f'the lock of {holder} is removed'}")


def migrate_store(place: str) -> None:
    """Bring a store to this program's version, and say by which steps."""
    from data_pipeline.tables.migration import migrate

    lines = migrate(place)
    for line in lines or (f"{place} is of this program's version already",):
        print(line)
