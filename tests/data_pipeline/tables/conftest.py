"""Rows of real tables made by hand, and a writer that puts them into a store as an ingest does."""

from __future__ import annotations

import dataclasses
import hashlib
import types
from pathlib import Path

import pyarrow as pa
import pytest

from data_pipeline.feeds.reading import Batch
from data_pipeline.manifest import Source
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.commit import mark_superseded, merge_drafts
from data_pipeline.tables.files import open_files
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.publish import held_manifest, publish_manifest, sweep_orphans

DAY0 = 19_360  # 2023-01-03


def rates(rows, specs=TABLES):
    """Rows of `rates` from (days after 2023-01-03, symbol, value)."""
    days, symbols, values = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        [
            pa.array([DAY0 + day for day in days], pa.int32()).cast(pa.date32()),
            pa.array(symbols, pa.string()),
            pa.array(values, pa.float64()),
            pa.array(["% per day"] * len(rows), pa.string()),
        ],
        schema=specs["rates"].schema,
    )


def book_events(day, symbol, count, first=0):
    """Rows of `book_events`, each field another function of its number."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "session": pa.array([DAY0 + day] * count, pa.int32()).cast(pa.date32()),
            "symbol": pa.array([symbol] * count, pa.string()),
            "sequence": pa.array(numbers, pa.int64()),
            "ev": pa.array([(1 << 31) + n % 3 + 1 for n in numbers], pa.uint64()),
            "exch_ts": pa.array([1_672_750_000_000_000_000 + 1_000_003 * n for n in numbers], pa.int64()),
            "local_ts": pa.array([1_672_750_000_000_500_000 + 1_000_003 * n for n in numbers], pa.int64()),
            "px": pa.array([10 + (n % 7) / 100 for n in numbers], pa.float64()),
            "qty": pa.array([100.0 * (n % 5 + 1) for n in numbers], pa.float64()),
            "order_id": pa.array([n * 11 for n in numbers], pa.uint64()),
            "ival": pa.array([-n for n in numbers], pa.int64()),
            "fval": pa.array([n / 3 for n in numbers], pa.float64()),
        },
        schema=TABLES["book_events"].schema,
    )


def put(place, staging, *offers, specs=TABLES):
    """Ingest (name, table, venue, rows) one after the other in one commit; the committed manifest and the changes."""
    files = open_files(place)
    with files.lock():
        base = held_manifest(files)
        drafts, sources = [], {source.sha256: source for source in base.sources}
        for name, table, venue, rows in offers:
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            drafts += draft_parts([Batch(table, venue, rows)], Path(staging), sha256, tables=specs)
            sources[sha256] = Source(sha256, name, "test", "", rows.num_rows, 0, (), {"a rule": 1}, ("a note",), {})
        tables, changes = merge_drafts(files, base, drafts, Path(staging), specs=specs)
        wanted = dataclasses.replace(base, tables=tables, sources=mark_superseded(sources.values(), changes))
        committed = base if wanted == base else publish_manifest(files, Path(staging), wanted, base)
        sweep_orphans(files, committed)
    return committed, changes


@pytest.fixture(scope="session")
def make():
    """The functions above."""
    return types.SimpleNamespace(rates=rates, book_events=book_events, put=put, DAY0=DAY0)
