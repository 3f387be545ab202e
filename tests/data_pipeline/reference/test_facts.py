"""Facts as of a time, against a plain search, DuckDB and pandas; and deaf to everything known later."""

from __future__ import annotations

import datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.reference.facts import facts_as_of, join_as_of
from data_pipeline.tables.catalog import FACTS, TIME

UTC = datetime.UTC
EPOCH = datetime.datetime(2023, 1, 1, tzinfo=UTC)
HOURS = st.integers(0, 600)


def moment(hours):
    return EPOCH + datetime.timedelta(hours=hours)


def fact(entity="A", field="profit", day=0, known=48, value=1.0, version=1, start=None):
    at = moment(known)
    return {
        "known_on": at.date(),
        "symbol": entity,
        "field": field,
        "event_start": start,
        "event_time": EPOCH.date() + datetime.timedelta(days=day),
        "known_at": at,
        "version": version,
        "value": float(value),
        "unit": "R$",
        "source": "test",
    }


def table(rows):
    return pa.Table.from_pylist(rows, schema=FACTS.schema)


def spine(*pairs):
    return pa.table(
        {"symbol": [entity for entity, _ in pairs], "time": pa.array([moment(hours) for _, hours in pairs], TIME)}
    )


FACT = st.builds(
    fact,
    st.sampled_from("ABC"),
    st.sampled_from(["profit", "sales"]),
    st.integers(0, 12),
    HOURS,
    st.integers(-9, 9),
    st.integers(1, 3),
    st.sampled_from([None, datetime.date(2022, 1, 1), datetime.date(2022, 10, 1)]),
)
FACTS_LIST = st.lists(
    FACT,
    max_size=30,
    unique_by=lambda row: tuple(row[key] for key in FACTS.key),
)
SPINE = st.lists(st.tuples(st.sampled_from("ABCD"), HOURS), min_size=1, max_size=12)


def plain(rows, entity, field, at, limit=None):
    """The row that holds, by looking at all of them."""
    seen = [row for row in rows if (row["symbol"], row["field"]) == (entity, field) and row["known_at"] <= at]
    if not seen:
        return None
    last = datetime.date.max
    best = max(seen, key=lambda row: (row["event_time"], row["event_start"] or last, row["known_at"], row["version"]))
    end = datetime.datetime.combine(best["event_time"], datetime.time(), UTC) + datetime.timedelta(days=1)
    return None if limit is not None and at - end > limit else best


@given(FACTS_LIST, SPINE, st.sampled_from([None, 1, 24, 24 * 7]))
def test_each_row_gets_what_a_plain_search_finds(rows, pairs, hours):
    limit = None if hours is None else datetime.timedelta(hours=hours)
    joined = join_as_of(spine(*pairs), table(rows), fields=["profit", "sales"], staleness=limit, known=True)
    assert joined.num_rows == len(pairs)
    for row, (entity, when) in zip(joined.to_pylist(), pairs, strict=True):
        for field in ("profit", "sales"):
            best = plain(rows, entity, field, moment(when), limit)
            assert row[field] == (None if best is None else best["value"])
            assert row[f"{field}.known_at"] == (None if best is None else best["known_at"])


@given(FACTS_LIST, HOURS)
def test_facts_as_of_gives_the_whole_row_in_the_order_asked_for(rows, when):
    found = facts_as_of(table(rows), ["C", "A", "C"], ["sales", "profit"], moment(when))
    assert found.schema.equals(FACTS.schema)
    expected = [plain(rows, entity, field, moment(when)) for entity in ("C", "A") for field in ("sales", "profit")]
    assert found.to_pylist() == [row for row in expected if row is not None]


@given(FACTS_LIST, FACTS_LIST, SPINE, st.integers(0, 600), st.randoms())
def test_nothing_that_is_known_later_changes_what_was_joined(rows, others, pairs, cut, random):
    """Facts known after the cut are changed, dropped and added; rows of the spine up to the cut stay the same."""
    limit = moment(cut)
    before = [row for row in rows if row["known_at"] <= limit]
    later = [row | {"value": random.random()} for row in rows if row["known_at"] > limit and random.random() < 0.5]
    later += [row for row in others if row["known_at"] > limit]
    early = [pair for pair in pairs if pair[1] <= cut]
    whole = join_as_of(spine(*early), table(rows), fields=["profit", "sales"], known=True)
    perturbed = join_as_of(spine(*early), table(before + later), fields=["profit", "sales"], known=True)
    assert perturbed.equals(whole)
    assert facts_as_of(table(rows), "ABC", ["profit"], limit).equals(
        facts_as_of(table(before + later), "ABC", ["profit"], limit)
    )


@given(FACTS_LIST, SPINE)
@settings(max_examples=25)
def test_duckdb_finds_the_same_values(rows, pairs):
    left = spine(*pairs).append_column("row", pa.array(range(len(pairs))))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("facts", table(rows))
        connection.register("spine", left)
        found = connection.execute(
            """
            select row, value from (
                select s.row, f.value, row_number() over (
                    partition by s.row
                    order by f.event_time desc, coalesce(f.event_start, date '9999-12-31') desc,
                             f.known_at desc, f.version desc
                ) as place
                from spine s join facts f on f.symbol = s.symbol and f.known_at <= s.time and f.field = 'profit'
            ) where place = 1
            """
        ).fetchall()
    joined = join_as_of(left, table(rows), fields=["profit"])
    assert dict(found) == {row["row"]: row["profit"] for row in joined.to_pylist() if row["profit"] is not None}


def test_pandas_merge_asof_finds_the_same_where_events_and_knowledge_run_together():
    rng = np.random.default_rng(5)
    rows = [
        fact(entity, "profit", day=int(number), known=int(24 * number + 30), value=rng.normal())
        for entity in "ABC"
        for number in np.sort(rng.choice(300, 60, replace=False))
    ]
    pairs = [(str(rng.choice(list("ABCD"))), int(hours)) for hours in rng.integers(0, 7_500, 2_000)]
    left = spine(*pairs)
    joined = join_as_of(left, table(rows), fields=["profit"])["profit"].to_numpy()
    facts = table(rows).to_pandas()[["symbol", "known_at", "value"]].sort_values("known_at")
    frame = left.to_pandas().reset_index().sort_values("time")
    merged = pd.merge_asof(frame, facts, left_on="time", right_on="known_at", by="symbol")
    expected = merged.sort_values("index")["value"].to_numpy()
    np.testing.assert_array_equal(joined.astype(float), expected)
    assert np.isfinite(expected).sum() > 1_000


def test_a_restatement_holds_from_when_it_was_public():
    rows = [fact(known=48, value=10), fact(known=96, value=7, version=2)]
    joined = join_as_of(spine(("A", 47), ("A", 48), ("A", 95), ("A", 96)), table(rows))
    assert joined["profit"].to_pylist() == [None, 10.0, 10.0, 7.0]


def test_a_late_restatement_of_an_older_period_does_not_replace_the_newer_one():
    rows = [fact(day=0, known=48, value=1), fact(day=5, known=200, value=2), fact(day=0, known=300, value=9, version=2)]
    assert join_as_of(spine(("A", 250), ("A", 400)), table(rows))["profit"].to_pylist() == [2.0, 2.0]


def test_a_stale_fact_does_not_hold():
    limit = datetime.timedelta(days=3)
    joined = join_as_of(spine(("A", 24 * 4), ("A", 24 * 4 + 1)), table([fact(day=0, known=1)]), staleness=limit)
    assert joined["profit"].to_pylist() == [1.0, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_fact_is_not_known_earlier_because_its_time_came_in_another_unit(unit):
    """Other programs give microseconds; taken for nanoseconds they would all lie in 1970."""
    rows = table([fact(known=48, value=1)])
    place = rows.column_names.index("known_at")
    coarse = rows.set_column(place, "known_at", rows["known_at"].cast(pa.timestamp(unit, tz="America/Sao_Paulo")))
    joined = join_as_of(spine(("A", 47), ("A", 48)), coarse, known=True)
    assert joined["profit"].to_pylist() == [None, 1.0]
    assert joined["profit.known_at"].to_pylist() == [None, moment(48)]
    assert facts_as_of(coarse, ["A"], ["profit"], moment(47)).num_rows == 0
    assert facts_as_of(coarse, ["A"], ["profit"], moment(48)).num_rows == 1


def test_entities_may_be_dictionaries_or_absent_and_those_that_are_no_text_are_refused():
    rows = table([fact(known=1, value=1)])
    left = spine(("A", 2), ("B", 2), ("A", 2))
    packed = left.set_column(0, "symbol", left["symbol"].dictionary_encode())
    assert join_as_of(packed, rows)["profit"].to_pylist() == [1.0, None, 1.0]
    absent = left.set_column(0, "symbol", pa.array([None, "B", "A"], pa.string()))
    assert join_as_of(absent, rows)["profit"].to_pylist() == [None, None, 1.0]
    numbers = left.set_column(0, "symbol", pa.array([1, 2, 3]))
    with pytest.raises(ValueError, match="on must be text; was int64"):
        join_as_of(numbers, rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop_columns(["version"]), "facts must have the columns of the table facts; lacks version"),
        (
            lambda rows: rows.set_column(5, "known_at", pa.nulls(1, TIME)),
            "facts must have known_at in every row; null in 1",
        ),
        (
            lambda rows: rows.set_column(5, "known_at", rows["known_at"].cast(pa.timestamp("us"))),
            r"facts must be a timestamp with a zone; 'known_at' is timestamp\[us\]",
        ),
    ],
)
def test_facts_whose_knowledge_is_not_dated_are_refused(change, words):
    rows = change(table([fact()]))
    with pytest.raises(ValueError, match=words):
        join_as_of(spine(("A", 1)), rows)
    with pytest.raises(ValueError, match=words):
        facts_as_of(rows, ["A"], ["profit"], moment(1))


class Shelf:
    """A store that remembers what it was asked for."""

    def __init__(self, rows):
        self.rows, self.asked = rows, None

    def table(self, name, **wanted):
        self.asked = (name, wanted)
        return table([row for row in self.rows if row["known_on"].isoformat() <= wanted["end"]])


def test_a_store_is_asked_for_no_later_day():
    shelf = Shelf([fact(known=48, value=1), fact(known=49, value=2, version=2), fact(known=300, value=3, version=3)])
    found = facts_as_of(shelf, ["A"], ["profit"], moment(48).astimezone(datetime.timezone(datetime.timedelta(hours=9))))
    assert found["value"].to_pylist() == [1.0]
    assert shelf.asked == ("facts", {"symbols": ["A"], "end": "2023-01-03"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"on": "ticker"}, "on must be a column of left"),
        ({"at": "when"}, "at must be a column of left"),
        ({"at": "symbol"}, "at must be a timestamp with a zone; 'symbol' is string"),
        ({"fields": ["symbol"]}, "fields must not be columns of left"),
        ({"staleness": datetime.timedelta(0)}, "staleness must be above 0"),
    ],
)
def test_wrong_arguments_are_one_error(arguments, words):
    with pytest.raises(ValueError, match=words):
        join_as_of(spine(("A", 1)), table([fact()]), **arguments)


def test_times_without_a_zone_are_refused():
    with pytest.raises(ValueError, match="at must be aware of its zone"):
        facts_as_of(table([fact()]), ["A"], ["profit"], datetime.datetime(2023, 1, 5))
    naive = pa.table({"symbol": ["A"], "time": pa.array([datetime.datetime(2023, 1, 5)], pa.timestamp("ns"))})
    with pytest.raises(ValueError, match="at must be a timestamp with a zone"):
        join_as_of(naive, table([fact()]))
    missing = pa.table({"symbol": ["A"], "time": pa.array([None], TIME)})
    with pytest.raises(ValueError, match="at must be given in every row"):
        join_as_of(missing, table([fact()]))
