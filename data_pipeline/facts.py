"""Facts as somebody could have read them: never one that became public later.

A fact (table facts) has the time it is about and the time it was public. What holds for an entity and a field at t is,
of the rows with known_at <= t, the one about the latest time; of several about that time (restatements) the one that
was public last. Of spans that end on the same day the shortest is meant, of rows public at the same moment the highest
version. Joining rows to facts never looks at anything else, so later knowledge cannot change what was joined before.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
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
    wanted = list(dict.fromkeys(entities)), list(dict.fromkeys(fields))
    rows = _rows_of(source, wanted[0], wanted[1], at)
    asked = [(entity, field) for entity in wanted[0] for field in wanted[1]]
    place = _places(
        rows,
        [entity for entity, _ in asked],
        [field for _, field in asked],
        np.full(len(asked), _nanoseconds(at), np.int64),
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
        When a column is missing, `at` is no time with a zone or absent in a row, a field's name is a column of `left`
        already, or staleness is not above 0.
    """
    times = _times_of(left, at)
    if on not in left.column_names:
        raise ValueError(f"on must be a column of left ({', '.join(left.column_names)}); was {on!r}")
    names = sorted(pc.unique(facts["field"]).to_pylist()) if fields is None else list(dict.fromkeys(fields))
    clash = [name for name in names if name in left.column_names]
    if clash:
        raise ValueError(f"fields must not be columns of left; {clash[0]!r} is one: rename it")
    joined = left
    entities = left[on].to_pylist()
    for name in names:
        rows = facts.filter(pc.equal(facts["field"], name))
        place = _places(rows, entities, [name] * len(entities), times, _limit(staleness))
        chosen = pa.array(place, pa.int64(), mask=place < 0)
        joined = joined.append_column(pa.field(name, pa.float64()), rows["value"].take(chosen))
        if known:
            joined = joined.append_column(pa.field(f"{name}.known_at", TIME), rows["known_at"].take(chosen))
    return joined


def _rows_of(source: pa.Table | TableSource, entities: list[str], fields: list[str], at: datetime.datetime) -> pa.Table:
    if isinstance(source, pa.Table):
        rows = source.filter(pc.is_in(source["symbol"], pa.array(entities, pa.string())))
    else:
        # known_on is the UTC date of known_at: what is public up to `at` lies in its date or before
        last = str(at.astimezone(datetime.UTC).date())
        rows = source.table(FACTS.name, symbols=entities, end=last)
    return rows.filter(pc.is_in(rows["field"], pa.array(fields, pa.string())))


def _places(rows: pa.Table, entities: Sequence[str], fields: Sequence[str], times: Ints, limit: int | None) -> Ints:
    """Row of `rows` that holds for each entity, field and time; -1 where none does."""
    count = len(times)
    if not rows.num_rows or not count:
        return np.full(count, -1, np.int64)
    codes: dict[tuple[str, str], int] = {}
    group = np.array(
        [
            codes.setdefault(pair, len(codes))
            for pair in zip(rows["symbol"].to_pylist(), rows["field"].to_pylist(), strict=True)
        ],
        np.int64,
    )
    wanted = np.array([codes.get(pair, -1) for pair in zip(entities, fields, strict=True)], np.int64)
    known = rows["known_at"].cast(pa.int64()).to_numpy()
    event = rows["event_time"].cast(pa.int32()).to_numpy().astype(np.int64)
    preferred = _preference(rows, known, event)

    # in order of knowledge, the best row so far: a running maximum of its rank, begun anew in each group
    order = np.lexsort((preferred, known, group))
    rank = np.empty(rows.num_rows, np.int64)
    rank[np.argsort(preferred, kind="stable")] = np.arange(rows.num_rows)
    best = np.maximum.accumulate(group[order] * rows.num_rows + rank[order]) - group[order] * rows.num_rows
    row_of_rank = np.argsort(rank)

    # group and time as one increasing number, so that one search finds the last row known at each time
    moments = np.unique(np.concatenate([known, times]))
    span = moments.size
    keys = group[order] * span + np.searchsorted(moments, known[order])
    last = np.searchsorted(keys, wanted * span + np.searchsorted(moments, times), side="right") - 1
    found = (wanted >= 0) & (last >= 0)
    found[found] = group[order][last[found]] == wanted[found]
    place = np.full(count, -1, np.int64)
    place[found] = row_of_rank[best[last[found]]]
    if limit is not None:
        age = times[found] - (event[place[found]] + 1) * _DAY_NS
        place[np.flatnonzero(found)[age > limit]] = -1
    return place


def _preference(rows: pa.Table, known: Ints, event: Ints) -> Ints:
    """Number of each row in the order of what holds over what, all rows of all groups together."""
    start = pc.fill_null(rows["event_start"].cast(pa.int32()), np.iinfo(np.int32).max).to_numpy()
    version = rows["version"].to_numpy()
    order = np.lexsort((np.arange(rows.num_rows), version, known, start, event))
    place = np.empty(rows.num_rows, np.int64)
    place[order] = np.arange(rows.num_rows)
    return place


def _times_of(left: pa.Table, at: str) -> Ints:
    if at not in left.column_names:
        raise ValueError(f"at must be a column of left ({', '.join(left.column_names)}); was {at!r}")
    kind = left.schema.field(at).type
    if not (pa.types.is_timestamp(kind) and kind.tz):
        raise ValueError(f"at must be a timestamp with a zone; {at!r} is {kind}: say which moment it is, in UTC")
    if left[at].null_count:
        raise ValueError(f"at must be given in every row; {at!r} is null in {left[at].null_count}")
    return np.asarray(left[at].cast(TIME).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _nanoseconds(at: datetime.datetime) -> int:
    since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _limit(staleness: datetime.timedelta | None) -> int | None:
    if staleness is None:
        return None
    if staleness <= datetime.timedelta(0):
        raise ValueError(f"staleness must be above 0; was {staleness}")
    return (staleness.days * 86_400 + staleness.seconds) * 1_000_000_000 + staleness.microseconds * 1_000
