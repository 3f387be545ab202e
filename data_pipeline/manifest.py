"""The manifest of a store: which raw files went in, and which parts on disk are the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

from data_pipeline.errors import DataError
from data_pipeline.schema import QUOTES_VERSION, SCHEMA_VERSION
from data_pipeline.tables.files import Place, StoreFiles, open_files
from data_pipeline.tables.state import TablePart, TablePartition, decode, encode

MANIFEST: Final = "manifest.json"


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
        "cotahist", "company_events", "company_details", "cdi" or the name of a feed.
    generated : str
        ISO date of the header (DATGER); empty where a file says none.
    rows, quarantined : int
        Rows read, and how many of them were put aside as impossible when the file was ingested.
    sessions : tuple of str
        ISO dates of the sessions in a COTAHIST file.
    rule_counts : mapping
        How often each named repair rule acted.
    notes : tuple of str
        Sentences of the reader about the file.
    tables : mapping
        Rows that it gave to each table of `data_pipeline.tables`.
    superseded : bool
        Whether another file took the place of rows of a part since that this one gave rows to: ingested again, it is
        read again.
    """

    sha256: str
    file: str
    kind: str
    generated: str
    rows: int
    quarantined: int
    sessions: tuple[str, ...]
    rule_counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, int] = field(default_factory=dict)
    superseded: bool = False


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
    """Everything that is committed.

    `partitions` are those of the daily quotes in order of month, `tables` those of every other table in order of
    (table, venue, period), `sources` in order of (kind, file, sha256). `generation` counts the commits: it tells
    whether another writer came between, and is no part of the content.
    """

    sources: tuple[Source, ...] = ()
    partitions: tuple[Partition, ...] = ()
    events: Part | None = None
    cdi: Part | None = None
    tables: tuple[TablePartition, ...] = ()
    schema_version: int = field(default=SCHEMA_VERSION)
    generation: int = field(default=0, compare=False)

    def parts(self) -> tuple[Part | TablePart, ...]:
        """Every committed part, quarantine included."""
        months = [part for p in self.partitions for part in (p.part, p.quarantine)]
        own = tuple(part for part in (*months, self.events, self.cdi) if part is not None)
        return (*own, *(part for p in self.tables for part in p.parts))

    @property
    def quarantined_rows(self) -> int:
        """Rows in quarantine now."""
        return sum(p.quarantine.rows for p in self.partitions if p.quarantine is not None)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the committed market data: equal rows give an equal hash, in whatever files and parts."""
        return self._hash(self.tables)

    @property
    def daily_hash(self) -> str:
        """SHA-256 of what a daily panel is made of: quotes, events, CDI and the central bank's series."""
        return self._hash(p for p in self.tables if (p.table, p.venue) == ("rates", "BCB"))

    def _hash(self, tables: Iterable[TablePartition]) -> str:
        parts = [p.part for p in self.partitions] + [part for part in (self.events, self.cdi) if part is not None]
        lines = sorted(f"{part.path} {part.sha256}\n" for part in parts)
        rows = [f"{p.table} {p.version} {p.venue} {p.period} {p.digest:032x}\n" for p in tables]
        return hashlib.sha256("".join((f"schema {QUOTES_VERSION}\n", *lines, *rows)).encode()).hexdigest()

    def source(self, sha256: str) -> Source | None:
        """The source of that hash, or None."""
        return next((source for source in self.sources if source.sha256 == sha256), None)

    def to_bytes(self) -> bytes:
        """JSON text, the same bytes for equal manifests; an item a line, so that two versions compare well."""
        import orjson

        document = {
            "cdi": None if self.cdi is None else asdict(self.cdi),
            "events": None if self.events is None else asdict(self.events),
            "generation": self.generation,
            "partitions": [asdict(p) for p in self.partitions],
            "schema_version": self.schema_version,
            "sources": [asdict(s) for s in self.sources],
            "tables": encode(self.tables),
        }
        lines = [f'"{key}": {_lines(value, orjson)}' for key, value in document.items()]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _lines(value: Any, orjson: Any) -> str:
    """JSON text of a value with each item of a list on its own line."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(" " + _dump(item, orjson) for item in value) + "\n]"
    if isinstance(value, dict) and value and all(isinstance(item, list) for item in value.values()):
        return (
            "{\n" + ",\n".join(f"{_dump(key, orjson)}: {_lines(item, orjson)}" for key, item in value.items()) + "\n}"
        )
    return _dump(value, orjson)


def _dump(value: Any, orjson: Any) -> str:
    text: bytes = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return text.decode()


@dataclass(frozen=True)
class Document:
    """A manifest as it lies on disk; of a large one only what is asked for is decoded.

    Attributes
    ----------
    place : str
        Its path or URL, for messages.
    content : mapping
        The JSON document.
    """

    place: str
    content: Mapping[str, Any]

    @property
    def table_names(self) -> tuple[str, ...]:
        """Tables with rows, in order."""
        return tuple(self.content["tables"])

    def table(self, name: str, near: Callable[[str, str], bool] | None = None) -> tuple[TablePartition, ...]:
        """Partitions of one table, none when it has no rows; only those whose venue and period are `near`, if given.

        Raises
        ------
        DataError
            When the manifest is damaged.
        """
        try:
            return decode(name, self.content["tables"].get(name, ()), near)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.damaged(error) from error

    @cached_property
    def manifest(self) -> Manifest:
        """All of it, decoded.

        Raises
        ------
        DataError
            When it is damaged.
        """
        document = self.content
        tables = tuple(p for name in self.table_names for p in self.table(name))
        try:
            return Manifest(
                sources=tuple(_source(s) for s in document["sources"]),
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
                tables=tables,
                generation=document["generation"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise self.damaged(error) from error

    def damaged(self, error: object) -> DataError:
        """The error that says so."""
        return DataError(f"{self.place} is damaged ({error}): delete the folder and ingest the raw files again")


def _source(value: Mapping[str, Any]) -> Source:
    return Source(**{**value, "sessions": tuple(value["sessions"]), "notes": tuple(value["notes"])})


def _part(value: Mapping[str, Any] | None) -> Part | None:
    return None if value is None else Part(**value)


_SHAPE: Final = {"sources": list, "partitions": list, "tables": dict, "generation": int}
"""Of the values that reading needs at once, checked when a store is opened; the rest is when it is decoded."""


def read_document(place: Place | StoreFiles) -> Document:
    """The manifest of the store at that place, undecoded.

    Raises
    ------
    DataError
        When there is no store, its manifest is damaged, or it is of another schema version.
    """
    files = open_files(place)
    document = read_any_version(files)
    _refuse_other_version(files.name, document.content["schema_version"], SCHEMA_VERSION)
    wrong = [key for key, kind in _SHAPE.items() if not isinstance(document.content.get(key), kind)]
    if wrong:
        raise document.damaged(f"no {', '.join(wrong)}")
    return document


def read_any_version(place: Place | StoreFiles) -> Document:
    """The manifest of a store of whatever version, unchecked but for its `schema_version`.

    Raises
    ------
    DataError
        When there is no store or its manifest is no such document.
    """
    import orjson

    files = open_files(place)
    path = f"{files.name.rstrip('/')}/{MANIFEST}"
    try:
        content = files.read_bytes(MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{files.name} holds no store (no {MANIFEST}): run `fairfield ingest` first, or name its folder"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        document = Document(path, orjson.loads(content))
        document.content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise Document(path, {}).damaged(error) from error
    return document


def _refuse_other_version(name: str, found: object, wanted: int) -> None:
    if found == wanted:
        return
    if isinstance(found, int) and 0 < found < wanted:
        raise DataError(
            f"{name} has schema version {found}, this program reads version {wanted}: "
            f"run `fairfield store migrate --store {name}`"
        )
    raise DataError(
        f"{name} has schema version {found}, this program reads version {wanted}: "
        "ingest the raw files into a new folder, or use the program's version that wrote it"
    )


def read_manifest(store: Place | StoreFiles) -> Manifest:
    """Manifest of the store at that place.

    Raises
    ------
    DataError
        When there is no store, its manifest is damaged, or it is of another schema version.
    """
    return read_document(store).manifest
