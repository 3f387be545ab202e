"""The manifest of a store: which raw files went in, and which parts on disk are the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.schema import SCHEMA_VERSION

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Source:
    """One raw file that was ingested.

    Attributes
    ----------
    sha256 : str
        Of the raw file's bytes as they lay on disk (zipped or not).
    file : str
        Name without folder.
    kind : str
        "cotahist", "company_events", "company_details" or "cdi".
    generated : str
        ISO date of the header (DATGER); empty for JSON files.
    rows, quarantined : int
        Rows read, and how many of them were put aside as impossible when the file was ingested.
    sessions : tuple of str
        ISO dates of the sessions in a COTAHIST file.
    rule_counts : mapping
        How often each named repair rule acted.
    """

    sha256: str
    file: str
    kind: str
    generated: str
    rows: int
    quarantined: int
    sessions: tuple[str, ...]
    rule_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file: path relative to the store, SHA-256 of its bytes, rows."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """Which source (sha256) gives a session, and how many good rows."""

    source: str
    rows: int


@dataclass(frozen=True, slots=True)
class Partition:
    """One month ("2023-01"): its part, its quarantined rows if any, and its sessions by ISO date."""

    month: str
    part: Part
    quarantine: Part | None
    sessions: Mapping[str, SessionEntry]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is committed. `partitions` are in order of month, `sources` in order of (kind, file, sha256)."""

    sources: tuple[Source, ...] = ()
    partitions: tuple[Partition, ...] = ()
    events: Part | None = None
    cdi: Part | None = None
    schema_version: int = field(default=SCHEMA_VERSION)

    def parts(self) -> tuple[Part, ...]:
        """Every committed part, quarantine included."""
        months = [part for p in self.partitions for part in (p.part, p.quarantine)]
        return tuple(part for part in (*months, self.events, self.cdi) if part is not None)

    @property
    def quarantined_rows(self) -> int:
        """Rows in quarantine now."""
        return sum(p.quarantine.rows for p in self.partitions if p.quarantine is not None)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the committed market data: equal rows give an equal hash, whatever files they came in."""
        parts = [p.part for p in self.partitions] + [part for part in (self.events, self.cdi) if part is not None]
        lines = sorted(f"{part.path} {part.sha256}\n" for part in parts)
        return hashlib.sha256("".join((f"schema {self.schema_version}\n", *lines)).encode()).hexdigest()

    def source(self, sha256: str) -> Source | None:
        """The source of that hash, or None."""
        return next((source for source in self.sources if source.sha256 == sha256), None)

    def to_bytes(self) -> bytes:
        """JSON text, the same bytes for equal manifests."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_manifest(store: Path) -> Manifest:
    """Manifest of the store in that folder.

    Raises
    ------
    DataError
        When there is no store, its manifest is damaged, or it is of another schema version.
    """
    path = store / MANIFEST
    if not path.is_file():
        raise DataError(f"{store} holds no store (no {MANIFEST}): run `fairfield ingest` first, or name its folder")
    try:
        document = json.loads(path.read_bytes())
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete the folder and ingest the raw files again") from error
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{store} has schema version {version}, this program reads version {SCHEMA_VERSION}: "
            "ingest the raw files into a new folder, or use the program's version that wrote it"
        )
    try:
        return _manifest(document)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete the folder and ingest the raw files again") from error


def _manifest(document: Mapping[str, Any]) -> Manifest:
    return Manifest(
        sources=tuple(Source(**{**s, "sessions": tuple(s["sessions"])}) for s in document["sources"]),
        partitions=tuple(
            Partition(
                p["month"],
                Part(**p["part"]),
                _part(p["quarantine"]),
                {day: SessionEntry(**entry) for day, entry in p["sessions"].items()},
            )
            for p in document["partitions"]
        ),
        events=_part(document["events"]),
        cdi=_part(document["cdi"]),
    )


def _part(value: Mapping[str, Any] | None) -> Part | None:
    return None if value is None else Part(**value)
