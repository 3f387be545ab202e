"""Any CSV or Parquet table of facts to the table facts, by a small mapping given as options.

An option names the column of the file that holds a column of facts ("entity=ticker", "value=score"), or, behind an
equals sign, a constant ("field==sentiment"). entity, field, event_time, known_at and value must be there, by their own
names where no option says another; event_start, version (1), unit ("") and source (the file's name) need not.

known_at is a time with its zone (2023-05-10T18:30:00-03:00). A time without one needs the option `timezone`; a date
is taken as known when it is over in that zone (Sao Paulo's where none is given): nobody says at which hour of the day.
Every data set should have a `venue` of its own: of two files of one venue the later one replaces what the earlier said
about an entity on a day. It is made of the file's name where it is not given.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import names_in
from data_pipeline.feeds.reference.tables import (
    Kind,
    distinct_rows,
    header_of,
    is_parquet,
    parquet_names,
    read_columns,
    refuse_null,
)
from data_pipeline.feeds.reference.text import SAO_PAULO, nanoseconds
from data_pipeline.tables.catalog import FACTS, TIME

BATCH_ROWS: Final = 65_536
RULE_REPEATED: Final = "repeated_facts_left_out"
RULE_CONTRADICTED: Final = "repeated_facts_with_other_values"
_KINDS: Final[dict[str, Kind]] = {
    "entity": "text",
    "field": "text",
    "event_start": "day",
    "event_time": "day",
    "known_at": "text",
    "version": "count",
    "value": "number",
    "unit": "text",
    "source": "text",
}
FACT_COLUMNS: Final = tuple(_KINDS)
"""Columns that an option may map to another name, or to a constant."""
_NEEDED: Final = ("entity", "field", "event_time", "known_at", "value")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOST_VERSIONS: Final = 1_000_000


class FactsTableFeed:
    """Tables of facts by a mapping."""

    name = "facts_table"

    def recognises(self, head: RawHead) -> bool:
        """Whether the columns that a fact needs are there by their own names."""
        return self.recognises_with(head, {})

    def recognises_with(self, head: RawHead, options: Mapping[str, str]) -> bool:
        """Whether they are there by the names that the options give, or as constants."""
        names = parquet_names(head.path) if is_parquet(head.start) else header_of(head.start)
        needed = {options.get(ours, ours).strip().lower() for ours in _NEEDED if _constant(options, ours) is None}
        return needed <= set(names) and bool(needed)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Facts in the file's order.

        Parameters
        ----------
        files, tally
        options : mapping
            Columns or constants by name, `timezone`, `venue`.

        Raises
        ------
        DataError
            When a column is missing, a value absent or none of its kind, or a time has no zone.
        ValueError
            When the timezone is not known.
        """
        (path,) = files
        zone = _zone(options)
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            columns = _columns(path, name, shown, options)
            tally.rows += len(columns["value"])
            rows = _table(columns, shown, zone)
            rows = distinct_rows(rows, FACTS.key, tally, RULE_REPEATED, RULE_CONTRADICTED)
            venue = options.get("venue") or _venue_of(path)
            for start in range(0, rows.num_rows, BATCH_ROWS):
                yield Batch("facts", venue, rows.slice(start, BATCH_ROWS))


def _columns(path: Path, name: str, shown: str, options: Mapping[str, str]) -> dict[str, pa.Array]:
    """Every column of facts, from the file or from a constant."""
    said = {ours: options.get(ours, ours).strip().lower() for ours in _KINDS if not _constant(options, ours)}
    optional = [theirs for ours, theirs in said.items() if ours not in _NEEDED and ours not in options]
    found = read_columns(path, {theirs: _KINDS[ours] for ours, theirs in said.items()}, optional, name)
    columns = {ours: found[theirs] for ours, theirs in said.items() if theirs in found}
    count = len(next(iter(columns.values()))) if columns else 0
    for ours in _KINDS:
        constant = _constant(options, ours)
        if constant is not None:
            columns[ours] = _repeated(constant, ours, count, shown)
    given = {"version": pa.array([1] * count, pa.int64()), "event_start": pa.nulls(count, pa.date32())}
    given |= {"unit": pa.array(["-"] * count, pa.string()), "source": pa.array([path.name] * count, pa.string())}
    columns = {**given, **columns}
    refuse_null(columns, _NEEDED, shown)
    return {
        ours: pc.fill_null(column, "-") if ours in ("unit", "source") else column for ours, column in columns.items()
    }


def _constant(options: Mapping[str, str], ours: str) -> str | None:
    said = options.get(ours, "")
    return said[1:] if said.startswith("=") else None


def _repeated(constant: str, ours: str, count: int, shown: str) -> pa.Array:
    kind = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "day": pa.date32()}[_KINDS[ours]]
    try:
        return pa.array([constant] * count, pa.string()).cast(kind)
    except pa.ArrowInvalid as error:
        raise DataError(f"{shown}: option {ours} must be a {_KINDS[ours]}; was {constant!r}") from error


def _table(columns: dict[str, pa.Array], shown: str, zone: ZoneInfo | None) -> pa.Table:
    said = columns["known_at"].dictionary_encode()
    times = pa.array([_known(text, shown, zone) for text in said.dictionary.to_pylist()], pa.int64())
    known = times.take(said.indices).cast(TIME)
    version = pc.fill_null(columns["version"], 1)
    wrong = pc.index(pc.and_(pc.greater_equal(version, 1), pc.less_equal(version, _MOST_VERSIONS)), False).as_py()
    if wrong >= 0:
        raise DataError(f"{shown} row {wrong + 1}: version must be 1 or more; was {version[wrong]}")
    backwards = pc.fill_null(pc.greater(columns["event_start"], columns["event_time"]), False)
    if pc.any(backwards).as_py():
        raise DataError(f"{shown}: event_start must not be after event_time")
    for ours in ("entity", "field"):
        if pc.any(pc.equal(columns[ours], "")).as_py():
            raise DataError(f"{shown}: {ours} must not be empty")
    arrays = columns | {"symbol": columns["entity"], "known_at": known, "known_on": known.cast(pa.date32())}
    arrays["version"] = version
    return pa.table({name: arrays[name] for name in FACTS.schema.names}).cast(FACTS.schema)


def _known(text: str, shown: str, zone: ZoneInfo | None) -> int:
    try:
        if _DATE.fullmatch(text):
            day = datetime.date.fromisoformat(text) + datetime.timedelta(days=1)
            return nanoseconds(datetime.datetime.combine(day, datetime.time(), zone or SAO_PAULO), shown)
        moment = datetime.datetime.fromisoformat(text.replace(" ", "T").replace("Z", "+00:00"))
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{shown}: known_at must be a time yyyy-mm-ddThh:mm:ss with its zone; was {text[:40]!r}"
        ) from error
    if moment.tzinfo is None:
        if zone is None:
            raise DataError(
                f"{shown}: known_at {text[:40]!r} has no zone: write it (2023-05-10T18:30:00-03:00) or give the option "
                "timezone (America/Sao_Paulo)"
            )
        moment = moment.replace(tzinfo=zone)
    return nanoseconds(moment, shown)


def _zone(options: Mapping[str, str]) -> ZoneInfo | None:
    name = options.get("timezone")
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"timezone must be a name like America/Sao_Paulo; was {name!r}") from error


def _venue_of(path: Path) -> str:
    """The file's name without what follows its first dot and without dates and numbers at its end."""
    stem = re.sub(r"[^A-Z0-9]+", "_", path.name.split(".")[0].upper()).strip("_")
    stem = re.sub(r"(_?\d+)+$", "", stem)[:40]
    return stem if re.match(r"[A-Z]", stem) else "FACTS"


FACTS_TABLE: Final = FactsTableFeed()
