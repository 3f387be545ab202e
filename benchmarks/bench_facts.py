"""Joining facts to rows as of their times, beside DuckDB's ASOF join and pandas.merge_asof.

    python benchmarks/bench_facts.py [--facts N] [--rows N] [--entities N]

One field of `entities` companies, each fact about a day and public some time after it, in the order of the days: there
the three must find the same values, which is checked. DuckDB and pandas take the fact that was public last; where an
older period comes out late (1 fact in 20 of the second table) that is not the one about the latest period, and the
share of rows in which they differ is shown. CPU and wall seconds of one run, imports not counted; DuckDB on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.reference.facts import join_as_of
from data_pipeline.tables.catalog import FACTS, TIME

DAY_NS = 86_400_000_000_000
FIRST_DAY = 10_000
DAYS = 9_000
Values = NDArray[np.float64]


def main() -> None:
    options = _options()
    rng = np.random.default_rng(7)
    left = _left(rng, options.rows, options.entities)
    for late in (0.0, 0.05):
        facts = _facts(rng, options.facts, options.entities, late)
        print(f"{options.facts:,} facts, {late:.0%} of them late; {options.rows:,} rows")
        own = _timed("fairfield join_as_of", _own, left, facts)
        for name, run in (("DuckDB ASOF", _duckdb), ("pandas merge_asof", _pandas)):
            found = _timed(name, run, left, facts)
            wrong = int((~((found == own) | (np.isnan(found) & np.isnan(own)))).sum())
            if late == 0.0 and wrong:
                raise SystemExit(f"{name} finds other values in {wrong} rows: one of the two is wrong")
            print(f"    {name}: {wrong / own.size:.2%} of rows unlike ours")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=1_000)
    return parser.parse_args()


def _names(codes: NDArray[np.int64], entities: int) -> pa.Array:
    names = pa.array([f"{code:014d}" for code in range(entities)])
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names).cast(pa.string())


def _left(rng: np.random.Generator, rows: int, entities: int) -> pa.Table:
    times = (FIRST_DAY * DAY_NS) + rng.integers(0, (DAYS + 200) * DAY_NS, rows)
    return pa.table({"symbol": _names(rng.integers(0, entities, rows), entities), "time": pa.array(times).cast(TIME)})


def _facts(rng: np.random.Generator, count: int, entities: int, late: float) -> pa.Table:
    place = rng.permutation(entities * DAYS)[:count] if count <= entities * DAYS else None
    if place is None:
        raise SystemExit(f"--facts must be at most {entities * DAYS:,} for {entities:,} entities")
    place.sort()
    entity, event = place // DAYS, FIRST_DAY + place % DAYS
    # public 40 days after the day it is about; what is late, two years after that
    known = (event + 40) * DAY_NS + np.where(rng.random(count) < late, 700 * DAY_NS, 0)
    columns = {
        "known_on": pa.array((known // DAY_NS).astype(np.int32)).cast(pa.date32()),
        "symbol": _names(entity, entities),
        "field": pa.array(["profit"]).take(pa.array(np.zeros(count, np.int64))),
        "event_start": pa.nulls(count, pa.date32()),
        "event_time": pa.array(event.astype(np.int32)).cast(pa.date32()),
        "known_at": pa.array(known).cast(TIME),
        "version": pa.array(np.ones(count, np.int32)),
        "value": pa.array(rng.normal(size=count)),
        "unit": pa.array(["R$"]).take(pa.array(np.zeros(count, np.int64))),
        "source": pa.array(["bench"]).take(pa.array(np.zeros(count, np.int64))),
    }
    return pa.table(columns, schema=FACTS.schema)


def _timed(name: str, run: Callable[[pa.Table, pa.Table], Values], left: pa.Table, facts: pa.Table) -> Values:
    wall, cpu = time.perf_counter(), time.process_time()
    found = run(left, facts)
    print(f"  {name:22s} {time.process_time() - cpu:6.2f} s CPU {time.perf_counter() - wall:6.2f} s wall")
    return found


def _own(left: pa.Table, facts: pa.Table) -> Values:
    return np.asarray(join_as_of(left, facts)["profit"].to_numpy(), dtype=np.float64)


def _duckdb(left: pa.Table, facts: pa.Table) -> Values:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("spine", left.append_column("row", pa.array(np.arange(left.num_rows))))
        connection.register("facts", facts)
        found = connection.execute(
            "select s.row, f.value from spine s asof left join facts f "
            "on s.symbol = f.symbol and s.time >= f.known_at order by s.row"
        ).fetchnumpy()
    value = found["value"]
    return np.asarray(np.ma.filled(value, np.nan), dtype=np.float64)


def _pandas(left: pa.Table, facts: pa.Table) -> Values:
    right = facts.select(["symbol", "known_at", "value"]).to_pandas().sort_values("known_at", kind="stable")
    frame = left.to_pandas().reset_index().sort_values("time")
    merged = pd.merge_asof(frame, right, left_on="time", right_on="known_at", by="symbol")
    return np.asarray(merged.sort_values("index")["value"], dtype=np.float64)


if __name__ == "__main__":
    main()
