"""SQL over a store: DuckDB on the committed Parquet files, and on nothing else.

Each table is a view. What the manifest knows of a file (its venue, its dates, its range of symbols) is told to the
scanner, so that a query for one symbol and day opens one file of ten thousand.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from data_pipeline.errors import DataError
from data_pipeline.schema import CDI_SCHEMA, EVENT_SCHEMA, QUARANTINE_SCHEMA, QUOTE_SCHEMA
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.reading import VENUE, nearest
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.versions import refuse_other_versions

if TYPE_CHECKING:
    from data_pipeline.store import Store

DAILY_VIEWS: Final = ("daily_quotes", "quarantine", "company_events", "cdi")
"""Views of the older tables: COTAHIST records, refused ones, company events and the CDI."""
_PART: Final = re.compile(r"part-[0-9a-f]{16}\.parquet")
_PIECE_ROWS: Final = 131_072
VIEWS: Final = (*DAILY_VIEWS, *TABLES)
_SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def run_query(store: Store, query: str) -> pa.Table:
    """The rows that one SELECT gives.

    Views: `VIEWS`; those of `data_pipeline.tables.catalog` have the column `venue` besides their own. The query can
    neither write nor reach any other file, the network, the settings or Python's variables. Times are UTC.

    Raises
    ------
    ValueError
        When the query is not one SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE), or DuckDB refuses it; a misspelt
        table or column is answered with the nearest ones.
    DataError
        When a table is of another version than the program's, or a file is missing or damaged.
    """
    with _answer(store, query) as found, _in_words(store):
        return found.to_arrow_table()


def stream_query(store: Store, query: str) -> Iterator[pa.Table]:
    """The rows of `run_query`, piece by piece, so that a large answer is never held whole; the first piece is empty."""
    with _answer(store, query) as found:
        with _in_words(store):
            reader = found.to_arrow_reader(_PIECE_ROWS)
        yield reader.schema.empty_table()
        while True:
            with _in_words(store):
                batch = next(reader, None)
            if batch is None:
                return
            yield pa.Table.from_batches([batch])


@contextmanager
def _answer(store: Store, query: str) -> Iterator[Any]:
    """DuckDB's answer to the query, not yet drawn, while its connection is open."""
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="fairfield-sql-") as spill,
        duckdb.connect(":memory:", config={"temp_directory": spill}) as connection,
    ):
        try:
            statements = connection.extract_statements(query)
        except duckdb.Error as error:
            raise ValueError(f"query must be SQL that DuckDB understands; {_sentence(error)}") from error
        kinds = [statement.type for statement in statements]
        if len(kinds) != 1 or kinds[0] not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise ValueError("query must be one SELECT: a store is read by SQL, never written")
        for name, rows in _views(store, query):
            connection.register(name, rows)
        for setting in _SETTINGS:
            connection.execute(setting)
        with _in_words(store):
            found = connection.sql(query)
        yield found


@contextmanager
def _in_words(store: Store) -> Iterator[None]:
    """Tells a query that cannot be answered from a store that cannot be read."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if not isinstance(error, duckdb.Error) or _PART.search(str(error)):
            # the scanner's own fault names the part that it could not read
            raise DataError(
                f"{store.name} could not be read: {_sentence(error)}; open it again, or run `fairfield store verify`"
            ) from error
        raise ValueError(f"query must be one that DuckDB can answer; {_explained(error)}") from error


def _views(store: Store, query: str) -> Iterable[tuple[str, Any]]:
    """Every view by name; those that the query cannot mean are empty, so that nothing is opened for them."""
    words = {word.lower() for word in re.findall(r"\w+", query)}
    for name in VIEWS:
        if name not in words:
            yield name, view_schema(name).empty_table()
        elif name in TABLES:
            yield name, _table_view(store, TABLES[name], _coded(TABLES[name], query))
        elif name == "company_events":
            yield name, store.events()
        elif name == "cdi":
            yield name, store.cdi()
        else:
            yield name, _month_view(store, name)


def view_schema(name: str) -> pa.Schema:
    """Columns of a view."""
    if name in TABLES:
        return TABLES[name].schema.append(pa.field(VENUE, pa.string(), nullable=False))
    return dict(zip(DAILY_VIEWS, (QUOTE_SCHEMA, QUARANTINE_SCHEMA, EVENT_SCHEMA, CDI_SCHEMA), strict=True))[name]


def _coded(spec: TableSpec, query: str) -> tuple[str, ...]:
    """Text columns that are read as codes, several times cheaper to group by and to show.

    Not the symbol where the query may compare it with a text: codes have no statistics, which close row groups.
    """
    return tuple(c.name for c in spec.columns if c.words or (c.name == spec.symbol and "'" not in query))


def _table_view(store: Store, spec: TableSpec, coded: tuple[str, ...]) -> Any:
    partitions = store.document.table(spec.name)
    refuse_other_versions(store.name, partitions)
    found = [
        (
            part.path,
            (pc.field(VENUE) == pa.scalar(p.venue))
            & _between(spec.date, *days_of(p.period))
            & _between(spec.symbol, part.first, part.last),
        )
        for p in partitions
        for part in p.parts
    ]
    return _dataset(store, view_schema(spec.name), found, coded)


def _month_view(store: Store, name: str) -> Any:
    months = [(p.month, p.part if name == "daily_quotes" else p.quarantine) for p in store.manifest.partitions]
    found = [(part.path, _between("session", *days_of(month))) for month, part in months if part is not None]
    return _dataset(store, view_schema(name), found)


def _dataset(store: Store, schema: pa.Schema, found: list[tuple[str, Any]], coded: tuple[str, ...] = ()) -> Any:
    if not found:
        return schema.empty_table()
    for name in coded:
        field = schema.field(name).with_type(pa.dictionary(pa.int32(), pa.string()))
        schema = schema.set(schema.get_field_index(name), field)
    layout, system, root = ds.ParquetFileFormat(dictionary_columns=coded), *store.files.arrow()
    fragments = [layout.make_fragment(f"{root}/{path}", system, partition_expression=known) for path, known in found]
    return ds.FileSystemDataset(fragments, schema, layout, system)


def _between(name: str, first: Any, last: Any) -> Any:
    return (pc.field(name) >= pa.scalar(first)) & (pc.field(name) <= pa.scalar(last))


def days_of(period: str) -> tuple[datetime.date, datetime.date]:
    """First and last day of a day, month or year in ISO form."""
    first = np.datetime64(period)
    unit: Any = np.datetime_data(first.dtype)[0]
    following = first + np.timedelta64(1, unit)
    days = first.astype("datetime64[D]"), following.astype("datetime64[D]") - np.timedelta64(1, "D")
    return days[0].item(), days[1].item()


def _sentence(error: Exception) -> str:
    """DuckDB's words without the picture of the query."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


def _explained(error: Exception) -> str:
    words = _sentence(error)
    missing = re.search(r"Table with name (\S+) does not exist", words)
    if missing is None:
        return words
    return f"there is no table {missing[1]}{nearest(missing[1], VIEWS)}: the tables are {', '.join(VIEWS)}"


__all__ = ["DAILY_VIEWS", "VIEWS", "days_of", "run_query", "stream_query", "view_schema"]
