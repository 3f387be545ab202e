"""Whether rows can be rows of a table: types, nulls, ranges, finite numbers, words, dates and names."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.tables.spec import Column, TableSpec

FIRST_DAY: Final = datetime.date(1800, 1, 1)
LAST_DAY: Final = datetime.date(2261, 12, 31)
"""Days that a partition may be of; nanoseconds since 1970 in 64 bits end in 2262."""
LONGEST_SYMBOL: Final = 200
_VENUE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")


def check_venue(venue: str) -> None:
    """Raise ValueError when `venue` is no name of a venue."""
    if not isinstance(venue, str) or not _VENUE.fullmatch(venue):
        raise ValueError(f"venue must be upper-case letters, digits and underscores (B3, BINANCE_USDM); was {venue!r}")


def check_schema(spec: TableSpec, rows: pa.Table) -> None:
    """Raise ValueError when the columns are not those of the table, by name, type and order."""
    found, wanted = rows.schema, spec.schema
    if found.names != wanted.names:
        lacking = ", ".join(n for n in wanted.names if n not in found.names) or "none"
        foreign = ", ".join(n for n in found.names if n not in wanted.names) or "none"
        raise ValueError(
            f"rows of {spec.name} must have the columns {', '.join(wanted.names)} in this order; "
            f"lacking: {lacking}; foreign: {foreign}"
        )
    for own, field in zip(found, wanted, strict=True):
        if own.type != field.type:
            raise ValueError(f"column {field.name} of {spec.name} must be of type {field.type}; was {own.type}")


def check_rows(spec: TableSpec, rows: pa.Table, first_row: int = 0) -> None:
    """Raise DataError for the first value that the table does not allow.

    Parameters
    ----------
    spec : TableSpec
    rows : pyarrow.Table
        In its schema.
    first_row : int
        Number of the first of these rows in what the feed gave, for the message.

    Raises
    ------
    DataError
        That names table, column, row (from 0) and value.
    """
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"rows of {spec.name} from row {first_row} on are no valid Arrow data: {error}") from error
    for column in spec.columns:
        _check_column(spec, column, rows[column.name], first_row)
    for one, other in spec.paired:
        unequal = pc.not_equal(pc.list_value_length(rows[one]), pc.list_value_length(rows[other]))
        _refuse_where(spec, other, rows[other], unequal, first_row, f"as long as {one}")
    _refuse_where(spec, spec.symbol, rows[spec.symbol], _bad_symbol(rows[spec.symbol]), first_row, _SYMBOL_RULE)
    days = rows[spec.date]
    _refuse_where(spec, spec.date, days, _outside(days, FIRST_DAY, LAST_DAY), first_row, f"{FIRST_DAY} to {LAST_DAY}")


_SYMBOL_RULE: Final = f"1 to {LONGEST_SYMBOL} characters without line breaks"


def _check_column(spec: TableSpec, column: Column, values: pa.ChunkedArray, first_row: int) -> None:
    if not column.nullable and values.null_count:
        _refuse_where(spec, column.name, values, pc.is_null(values), first_row, "given (it may not be null)")
    if pa.types.is_list(column.type):
        _check_lists(spec, column, values, first_row)
        return
    if pa.types.is_floating(column.type) and column.finite:
        _refuse_where(spec, column.name, values, pc.invert(pc.is_finite(values)), first_row, "a finite number")
    if column.low is not None or column.high is not None:
        bad = _outside(values, column.low, column.high)
        _refuse_where(spec, column.name, values, bad, first_row, _range_words(column))
    if column.words:
        bad = pc.invert(pc.is_in(values, pa.array(column.words, column.type)))
        bad = pc.and_(bad, pc.is_valid(values))
        _refuse_where(spec, column.name, values, bad, first_row, f"one of {', '.join(column.words)}")


def _check_lists(spec: TableSpec, column: Column, values: pa.ChunkedArray, first_row: int) -> None:
    """Items of a list column are numbers: none may be null, infinite or not a number."""
    items = pc.list_flatten(values)
    bad = pc.invert(pc.fill_null(pc.is_finite(items), False)) if pa.types.is_floating(items.type) else pc.is_null(items)
    if not pc.any(bad).as_py():
        return
    parent = pc.list_parent_indices(values).filter(bad)[0].as_py()
    _raise(spec, column.name, first_row + int(parent), "a list of finite numbers", values[int(parent)].as_py())


def _outside(values: pa.ChunkedArray, low: Any, high: Any) -> pa.ChunkedArray | None:
    """Mask of the values below `low` or above `high`; None when there are none (the usual case, by one pass)."""
    ends = pc.min_max(values)
    below = low is not None and ends["min"].as_py() is not None and ends["min"].as_py() < low
    above = high is not None and ends["max"].as_py() is not None and ends["max"].as_py() > high
    if not below and not above:
        return None
    mask = pc.less(values, _scalar(low, values.type)) if below else pc.greater(values, _scalar(high, values.type))
    return pc.fill_null(mask, False)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(value) if isinstance(value, float) and pa.types.is_integer(kind) else pa.scalar(value, kind)


def _bad_symbol(symbols: pa.ChunkedArray) -> pa.ChunkedArray | None:
    distinct = pc.unique(symbols)
    lengths = pc.utf8_length(distinct)
    wrong = pc.or_(
        pc.or_(pc.equal(lengths, 0), pc.greater(lengths, LONGEST_SYMBOL)),
        pc.match_substring_regex(distinct, r"[\x00-\x1f\x7f]"),
    )
    return pc.is_in(symbols, distinct.filter(wrong)) if pc.any(wrong).as_py() else None


def _range_words(column: Column) -> str:
    if column.high is None:
        return f"at least {column.low:g}"
    return f"at most {column.high:g}" if column.low is None else f"from {column.low:g} to {column.high:g}"


def _refuse_where(
    spec: TableSpec, name: str, values: pa.ChunkedArray, bad: pa.ChunkedArray | None, first_row: int, rule: str
) -> None:
    if bad is None:
        return
    place = pc.index(bad, pa.scalar(True)).as_py()
    if place >= 0:
        # as text: nanosecond times have no exact form in Python's datetime
        value = values[place]
        shown = value.as_py() if not pa.types.is_temporal(values.type) else str(value)
        _raise(spec, name, first_row + int(place), rule, shown)


def _raise(spec: TableSpec, name: str, row: int, rule: str, value: Any) -> None:
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    raise DataError(f"{spec.name}.{name} must be {rule}; was {shown} in row {row:,} of the file's rows")
