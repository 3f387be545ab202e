"""Who issued a paper at a time: companies change codes and numbers, and a code may pass to another company.

A record of the table issuers holds from its known_at until the next one of the same symbol. Papers are known by their
codes, statements by the CNPJ of the company: `companies_as_of` leads from the one to the other, each row as of its own
time, so that `data_pipeline.reference.facts.join_as_of` can go on from there.
"""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.reference.facts import codes_in, last_known, spine_of, times_in


def issuers_as_of(issuers: pa.Table, at: datetime.datetime) -> pa.Table:
    """The record of each symbol that held at a time, in order of symbol.

    Parameters
    ----------
    issuers : pyarrow.Table
        Rows of the table issuers, of one venue: B3 knows papers by their codes, CVM companies by their CNPJ.
    at : datetime
        Aware of its zone.

    Raises
    ------
    ValueError
        When `at` has no zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"at must be aware of its zone (datetime.UTC); was {at!r}")
    symbols = pc.unique(issuers["symbol"]).sort()
    moment = pa.array([at.astimezone(datetime.UTC)] * len(symbols), pa.timestamp("us", tz="UTC"))
    place = _places(pa.table({"symbol": symbols, "time": moment}), issuers, "symbol", "time")
    return issuers.take(pa.array(place[place >= 0], pa.int64()))


def companies_as_of(left: pa.Table, issuers: pa.Table, *, on: str = "symbol", at: str = "time") -> pa.Table:
    """The rows of `left`, each with the CNPJ of the company whose paper `on` was at its own time.

    Parameters
    ----------
    left : pyarrow.Table
        Any order.
    issuers : pyarrow.Table
        Rows of the table issuers of venue B3.
    on, at : str
        Columns of `left`: the paper's code, and the time, a timestamp with a zone.

    Returns
    -------
    table : pyarrow.Table
        `left` with the column cnpj, null where no record held yet or it tells no number.

    Raises
    ------
    ValueError
        When a column is missing or of another kind, or `left` has a column cnpj already.
    """
    if "cnpj" in left.column_names:
        raise ValueError("left must not have a column cnpj: rename it")
    place = _places(left, issuers, on, at)
    chosen = pa.array(place, pa.int64(), mask=place < 0)
    return left.append_column(pa.field("cnpj", pa.string()), issuers["cnpj"].take(chosen))


def _places(left: pa.Table, issuers: pa.Table, on: str, at: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    times, entities = spine_of(left, on, at)
    symbols = pc.unique(issuers["symbol"])
    order, last = last_known(
        codes_in(issuers["symbol"], symbols),
        times_in(issuers, "known_at", "issuers"),
        codes_in(entities, symbols),
        times,
    )
    place = np.full(times.size, -1, np.int64)
    place[last >= 0] = order[last[last >= 0]]
    return place
