"""Facts as somebody could have read them: never one that became public later.

A fact (table facts) has the time it is about and the time it was public. What holds for an entity and a field at t is,
of the rows with known_at <= t, the one about the latest time; of several about that time (restatements) the one that
was public last. Of spans that end on the same day the shortest is meant, of rows public at the same moment the highest
version. Joining rows to facts never looks at anything else, so later knowledge cannot change what was joined before.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.tables.catalog import FACTS, TIME

Ints = NDArray[np.int64]
_DAY_NS = 86_400_000_000_000


class TableSource(Protocol):
    """What gives rows of a table by symbols and dates: the store."""

    def table(
        self,
        name: str,
        *,
        venue: str | None = None,
        symbols: Iterable[str] | str | None = None,
        start: np.datetime64 | str | None = None,
        end: np.datetime64 | str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of the table `name`."""
        ...


def facts_as_of(
    source: pa.Table | TableSource,
    entities: Iterable[str],
    fields: Iterable[str],
    at: datetime.datetime,
    *,
    staleness: datetime.timedelta | None = None,
) -> pa.Table:
    """The rows that hold at a time: at most one per entity and field, in the order of both.

    Parameters
    ----------
    source : pyarrow.Table or store
        Rows of the table facts, or a store that has them.
    entities, fields : iterable of str
    at : datetime
        Aware of its zone.
    staleness : timedelta, optional
        A fact whose event_time (a day, from its end) is longer ago does not hold any more.

    Returns
    -------
    table : pyarrow.Table
        In the schema of facts.

    Raises
    ------
    ValueError
        When `at` has no zone, or staleness is not above 0.
    """
    if at.tzinfo is None:
        raise ValueError(f"at must be aware of its zone (datetime.UTC); was {at!r}")
    wanted, names = list(dict.fromkeys(entities)), list(dict.fromkeys(fields))
    rows = _rows_of(source, wanted, names, at)
    facts = _Facts.of(rows)
    entity, field = codes_in(pa.array(wanted, pa.string()), facts.entities), codes_in(pa.array(names), facts.fields)
    many = len(facts.fields)
    asked = np.where((entity[:, None] < 0) | (field < 0), -1, entity[:, None] * many + field).ravel()
    place = _places(
        facts,
        np.arange(rows.num_rows),
        facts.entity * many + facts.field,
        asked,
        np.full(asked.size, nanoseconds_of(at), np.int64),
        _limit(staleness),
    )
    return rows.take(pa.array(place[place >= 0], pa.int64()))


def join_as_of(
    left: pa.Table,
    facts: pa.Table,
    *,
    on: str = "symbol",
    at: str = "time",
    fields: Sequence[str] | None = None,
    staleness: datetime.timedelta | None = None,
    known: bool = False,
) -> pa.Table:
    """The rows of `left`, each with the facts that held for its entity at its own time.

    Parameters
    ----------
    left : pyarrow.Table
        Any order.
    facts : pyarrow.Table
        Rows of the table facts.
    on, at : str
        Columns of `left`: the entity, and the time, a timestamp with a zone. A date is no time: say which moment of it
        (a session's close) first.
    fields : sequence of str, optional
        All fields of `facts` in order of name when not given.
    staleness : timedelta, optional
        As in `facts_as_of`, counted to each row's own time.
    known : bool
        Whether to add `<field>.known_at` too.

    Returns
    -------
    table : pyarrow.Table
        `left` with a float64 column per field, null where none holds.

    Raises
    ------
    ValueError
        When a column is missing, `on` is no text, `at` or the facts' known_at is no time with a zone or absent in a
        row, a field's name is a column of `left` already, or staleness is not above 0.
    """
    times, entities = spine_of(left, on, at)
    told = _Facts.of(facts)
    names = sorted(told.fields.to_pylist()) if fields is None else list(dict.fromkeys(fields))
    clash = [name for name in names if name in left.column_names]
    if clash:
        raise ValueError(f"fields must not be columns of left; {clash[0]!r} is one: rename it")
    joined = left
    wanted, limit = codes_in(entities, told.entities), _limit(staleness)
    for name, code in zip(names, codes_in(pa.array(names, pa.string()), told.fields), strict=True):
        rows = np.flatnonzero(told.field == code)
        place = _places(told, rows, told.entity[rows], wanted, times, limit)
        chosen = pa.array(place, pa.int64(), mask=place < 0)
        joined = joined.append_column(pa.field(name, pa.float64()), facts["value"].take(chosen).cast(pa.float64()))
        if known:
            public = facts["known_at"].take(chosen).cast(TIME)
            joined = joined.append_column(pa.field(f"{name}.known_at", TIME), public)
    return joined


def _rows_of(source: pa.Table | TableSource, entities: list[str], fields: list[str], at: datetime.datetime) -> pa.Table:
    if isinstance(source, pa.Table):
        rows = source.filter(pc.is_in(source["symbol"], pa.array(entities, pa.string())))
    else:
        # known_on is the UTC date of known_at: what is public up to `at` lies in its date or before
        last = str(at.astimezone(datetime.UTC).date())
        rows = source.table(FACTS.name, symbols=entities, end=last)
        # of equal facts from two documents the last by name holds, however the store's parts are cut
        rows = rows.take(pc.sort_indices(rows["source"]))
    return rows.filter(pc.is_in(rows["field"], pa.array(fields, pa.string())))


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """Columns of a table of facts as numbers: entities and fields by their place in the lists of all of them."""

    entities: pa.Array
    fields: pa.Array
    entity: Ints
    field: Ints
    known: Ints
    event: Ints
    start: Ints
    version: Ints

    @classmethod
    def of(cls, rows: pa.Table) -> _Facts:
        missing = [name for name in (*FACTS.key, "value") if name not in rows.column_names]
        if missing:
            raise ValueError(f"facts must have the columns of the table facts; lacks {missing[0]}")
        absent = [name for name in FACTS.key if name != "event_start" and rows[name].null_count]
        if absent:
            raise ValueError(f"facts must have {absent[0]} in every row; null in {rows[absent[0]].null_count}")
        entities, fields = pc.unique(_text(rows["symbol"], "symbol")), pc.unique(_text(rows["field"], "field"))
        start = pc.fill_null(rows["event_start"].cast(pa.date32()).cast(pa.int32()), np.iinfo(np.int32).max)
        return cls(
            entities,
            fields,
            codes_in(_text(rows["symbol"], "symbol"), entities),
            codes_in(_text(rows["field"], "field"), fields),
            times_in(rows, "known_at", "facts"),
            _integers(rows["event_time"].cast(pa.date32()).cast(pa.int32())),
            _integers(start),
            _integers(rows["version"]),
        )


def _places(facts: _Facts, rows: Ints, group: Ints, wanted: Ints, times: Ints, limit: int | None) -> Ints:
    """Which fact, of those in `rows`, holds for each wanted group and time; -1 where none does."""
    # what holds over what, all groups together: the sort is stable, so of equal facts the last one holds
    period = (facts.event[rows] << 32) + facts.start[rows]
    keys = (facts.known[rows], period)
    version = facts.version[rows]
    # few data sets have versions at one moment of knowledge: a key that is the same everywhere is not sorted by
    alike = not version.size or bool((version == version[0]).all())
    best_last = np.lexsort(keys if alike else (version, *keys))
    rank = np.empty(rows.size, np.int64)
    rank[best_last] = np.arange(rows.size)
    order, last = last_known(group, facts.known[rows], wanted, times)
    # in order of knowledge, the best row so far: a running maximum of its rank, begun anew in each group
    above = group[order] * rows.size
    best = np.maximum.accumulate(above + rank[order]) - above
    place = np.full(times.size, -1, np.int64)
    found = np.flatnonzero(last >= 0)
    place[found] = rows[best_last[best[last[found]]]]
    if limit is not None:
        age = times[found] - (facts.event[place[found]] + 1) * _DAY_NS
        place[found[age > limit]] = -1
    return place


def last_known(group: Ints, known: Ints, wanted: Ints, times: Ints) -> tuple[Ints, Ints]:
    """Rows in order of group and knowledge, and the place in that order of the last one known at each time.

    Parameters
    ----------
    group, known : (R,) int64
        Group of each row, from 0, and when it was known.
    wanted, times : (N,) int64
        Group that is looked for, -1 for none, and when.

    Returns
    -------
    order : (R,) int64
    last : (N,) int64
        -1 where no row of the group was known.
    """
    moments = np.unique(known)
    # group and time as one increasing number, so that one search finds the last row known at each time
    keys = group * moments.size + np.searchsorted(moments, known)
    order = np.argsort(keys, kind="stable")
    until = np.searchsorted(moments, times, side="right")
    asked = wanted * moments.size + until
    # searched in their order, neighbours find their place in the same lines of memory
    by_key = np.argsort(asked)
    last = np.empty(asked.size, np.int64)
    last[by_key] = np.searchsorted(keys[order], asked[by_key], side="left") - 1
    none = (wanted < 0) | (last < 0)
    last[none] = -1
    some = np.flatnonzero(~none)
    last[some[group[order[last[some]]] != wanted[some]]] = -1
    return order, last


def spine_of(left: pa.Table, on: str, at: str) -> tuple[Ints, pa.ChunkedArray]:
    """Times of the rows of `left`, nanoseconds since 1970 UTC, and their entities.

    Raises
    ------
    ValueError
        When a column is missing, `on` is no text, or `at` no time with a zone or absent in a row.
    """
    for argument, name in (("at", at), ("on", on)):
        if name not in left.column_names:
            raise ValueError(f"{argument} must be a column of left ({', '.join(left.column_names)}); was {name!r}")
    return times_in(left, at, "at"), _text(left[on], "on")


def times_in(rows: pa.Table, name: str, argument: str) -> Ints:
    """Nanoseconds since 1970 UTC of a column.

    Raises
    ------
    ValueError
        When it is no time with a zone, or absent in a row.
    """
    kind = rows.schema.field(name).type
    if not (pa.types.is_timestamp(kind) and kind.tz):
        raise ValueError(
            f"{argument} must be a timestamp with a zone; {name!r} is {kind}: say which moment it is, in UTC"
        )
    if rows[name].null_count:
        raise ValueError(f"{argument} must be given in every row; {name!r} is null in {rows[name].null_count}")
    # whatever unit the times came in, all are compared in nanoseconds
    return _integers(rows[name].cast(TIME).cast(pa.int64()))


def codes_in(values: pa.ChunkedArray | pa.Array, known: pa.Array) -> Ints:
    """Place of each value in `known`, -1 where it is not in it."""
    return _integers(pc.fill_null(pc.index_in(values.cast(known.type), value_set=known), -1))


def nanoseconds_of(at: datetime.datetime) -> int:
    """Nanoseconds since 1970 UTC of a time that is aware of its zone."""
    since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _integers(values: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(values, dtype=np.int64)


def _text(values: pa.ChunkedArray, argument: str) -> pa.ChunkedArray:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    # a column without rows may have no type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_kind(kind) for is_kind in texts):
        raise ValueError(f"{argument} must be text; was {kind}")
    return values.cast(pa.string())


def _limit(staleness: datetime.timedelta | None) -> int | None:
    if staleness is None:
        return None
    if staleness <= datetime.timedelta(0):
        raise ValueError(f"staleness must be above 0; was {staleness}")
    return (staleness.days * 86_400 + staleness.seconds) * 1_000_000_000 + staleness.microseconds * 1_000
