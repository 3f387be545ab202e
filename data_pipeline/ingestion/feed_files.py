"""JSON feeds beside the quotes: recognised by their content, read, and merged into the store's two small tables."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference import company_feed, rates
from data_pipeline.manifest import Manifest, Part, Source
from data_pipeline.raw_file import open_raw
from data_pipeline.schema import CDI_SCHEMA
from data_pipeline.store import read_part, write_part
from data_pipeline.tables.files import StoreFiles

_MOST_JSON: Final = 256 << 20
"""Bytes of a JSON document: decades of a daily series are a few."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON file as read from disk."""

    path: Path
    sha256: str
    content: Any


@dataclass(frozen=True, slots=True)
class Feed:
    """What one JSON file gives: its entry in the manifest and its rows (None for a company's details)."""

    source: Source
    table: pa.Table | None


def read_document(path: Path, sha256: str) -> Document:
    """The decoded JSON file.

    Raises
    ------
    DataError
        When the file is empty, a web page, or no JSON in UTF-8.
    """
    with open_raw(path) as raw:
        text = raw.whole(_MOST_JSON)
    try:
        return Document(path, sha256, json.loads(text.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not JSON in UTF-8 ({error}): fetch it again") from error


def details_by_folder(documents: Iterable[Document]) -> dict[Path, list[company_feed.Company]]:
    """Companies that the GetDetailsCompany files among `documents` describe, by the folder they lie in."""
    companies: dict[Path, list[company_feed.Company]] = {}
    for document in documents:
        if company_feed.document_kind(document.content) == "details":
            try:
                found = company_feed.parse_details(document.content, document.path.name)
            except DataError:
                continue  # refused by name when the file itself has its turn
            companies.setdefault(document.path.parent, []).append(found)
    return companies


def read_feed(document: Document, companies: Sequence[company_feed.Company]) -> Feed:
    """The rows of a JSON file, given the companies described in its folder.

    Raises
    ------
    DataError
        When its kind is unknown, a record is wrong, or a cash history belongs to no company.
    """
    name = document.path.name
    kind = company_feed.document_kind(document.content)
    if rates.is_rates(document.content):
        table, counts = rates.parse_cdi(document.content, name)
        return Feed(_source(document, "cdi", table.num_rows, counts), table)
    if kind == "details":
        company = company_feed.parse_details(document.content, name)
        return Feed(_source(document, "company_details", len(company.isins), {}), None)
    if kind == "supplement":
        found = company_feed.parse_supplement(document.content, name)
    elif kind == "cash_dividends":
        found = company_feed.parse_cash_dividends(document.content, _company_of(document.path, companies), name)
    else:
        raise DataError(
            f"{name} is JSON of an unknown kind: it must be the central bank's series 12, or B3's "
            "GetListedSupplementCompany, GetListedCashDividends or GetDetailsCompany"
        )
    return Feed(_source(document, "company_events", found.table.num_rows, found.rule_counts), found.table)


def _source(document: Document, kind: str, rows: int, counts: Mapping[str, int]) -> Source:
    return Source(document.sha256, document.path.name, kind, "", rows, 0, (), counts)


def _company_of(path: Path, companies: Sequence[company_feed.Company]) -> company_feed.Company:
    """The company a GetListedCashDividends file belongs to: the one named by the file, or the folder's only one."""
    named = [company for company in companies if company.issuer.lower() in path.stem.lower()]
    chosen = named or companies
    if len(chosen) != 1:
        has = "none" if not chosen else ", ".join(company.issuer for company in chosen)
        raise DataError(
            f"{path.name} does not say which company it is about: ingest it together with that company's "
            f"GetDetailsCompany file in the same folder (found {has}); where there are several, put the issuer's code "
            "in its name"
        )
    return chosen[0]


def merge_event_feeds(files: StoreFiles, staging: Path, manifest: Manifest, feeds: Sequence[Feed]) -> Part | None:
    """Part of the store's events and those of `feeds`, written below `staging`; the committed part without news."""
    tables = [feed.table for feed in feeds if feed.source.kind == "company_events"]
    if not tables:
        return manifest.events
    if manifest.events is not None:
        tables.append(read_part(files, manifest.events))
    return write_part(company_feed.merge_events(tables), staging, "events")


def merge_cdi_feeds(
    files: StoreFiles, staging: Path, manifest: Manifest, feeds: Sequence[Feed]
) -> tuple[Part | None, tuple[str, ...]]:
    """Part of the store's CDI and that of `feeds`, the latest file holding, and a note per file that changed days."""
    news = [feed for feed in feeds if feed.source.kind == "cdi"]
    if not news:
        return manifest.cdi, ()
    rows: dict[datetime.date, float] = {}
    if manifest.cdi is not None:
        rows.update(_pairs(read_part(files, manifest.cdi)))
    notes = []
    for feed in sorted(news, key=lambda feed: (feed.source.file, feed.source.sha256)):
        given = dict(_pairs(feed.table))
        changed = sum(day in rows and rows[day] != value for day, value in given.items())
        if changed:
            notes.append(f"replaced the CDI of {changed} days by {feed.source.file}")
        rows.update(given)
    days = sorted(rows)
    merged = pa.table([pa.array(days, pa.date32()), pa.array([rows[day] for day in days])], schema=CDI_SCHEMA)
    return write_part(merged, staging, "cdi"), tuple(notes)


def _pairs(table: pa.Table | None) -> Iterator[tuple[datetime.date, float]]:
    if table is not None:
        yield from zip(table["date"].to_pylist(), table["daily_return"].to_pylist(), strict=True)
