"""The daily CDI rate from the central bank's JSON.

Banco Central do Brasil, SGS series 12 ("Taxa de juros - CDI", % per day):
`[{"data": "02/01/2023", "valor": "0.050788"}]`.
The calendar is the banks': it has days on which the exchange is closed, whose return cash earns all the same.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.text import FIRST_YEAR, LAST_YEAR
from data_pipeline.schema import CDI_SCHEMA

RULE_SORTED = "CDI days out of order were sorted"
RULE_NO_VALUE = "CDI days without a value were left out"
RULE_REPEATED = "CDI days that were repeated count once"

_LIMITS = (
    # before the Real (July 1994) the rate passed 3 % a day; since 1995 an annual rate is always above 0.5
    (datetime.date(1995, 1, 1), Decimal(5)),
    (datetime.date.max, Decimal("0.5")),
)


def is_rates(document: Any) -> bool:
    """Whether a JSON document has the shape of an SGS answer."""
    return isinstance(document, list) and bool(document) and all(_is_entry(entry) for entry in document[:1])


def parse_cdi(document: Sequence[Any], name: str) -> tuple[pa.Table, dict[str, int]]:
    """Table of `schema.CDI_SCHEMA`, increasing in date, and the counts of the rules that acted.

    Parameters
    ----------
    document : sequence
        The decoded JSON: objects with `data` (dd/mm/yyyy) and `valor` (decimal point, % per day).
    name : str
        File name for messages.

    Raises
    ------
    DataError
        With the record's index (0-based): another shape, an impossible date or number, two values of one day, or a
        value that cannot be a daily percentage (the annual series 4389 looks the same otherwise).
    """
    rows: dict[datetime.date, Decimal] = {}
    counts: Counter[str] = Counter()
    latest = datetime.date.min
    for index, entry in enumerate(document):
        where = f"{name} record {index}"
        day, percent = parse_day(entry, where)
        if percent is None:
            counts[RULE_NO_VALUE] += 1
            continue
        if day in rows:
            if rows[day] != percent:
                raise DataError(f"{where}: the day {day} has two values, {rows[day]} and {percent}: fetch it again")
            counts[RULE_REPEATED] += 1
            continue
        limit = next(value for until, value in _LIMITS if day < until)
        if not 0 <= percent <= limit:
            raise DataError(
                f"{where}: valor must be the CDI in % per day, between 0 and {limit}; was {percent} on {day}: "
                "series 12 is per day, series 4389 per year"
            )
        counts[RULE_SORTED] += day < latest
        latest = max(latest, day)
        rows[day] = percent
    days = sorted(rows)
    table = _cdi_table({day: _daily(rows[day]) for day in days})
    return table, {rule: count for rule, count in counts.items() if count}


def joined_cdi(held: pa.Table, rates: pa.Table) -> pa.Table:
    """The days of a table of the CDI and those of series 12 in rows of the table rates, increasing.

    Raises
    ------
    DataError
        When both have a day and tell it differently.
    """
    if not rates.num_rows:
        return held
    returns: dict[datetime.date, float] = dict(zip(*(column.to_pylist() for column in held.columns), strict=True))
    for day, percent in zip(rates["session"].to_pylist(), rates["value"].to_pylist(), strict=True):
        # the shortest text of the double is the published one
        daily = _daily(Decimal(repr(percent)))
        if returns.setdefault(day, daily) != daily:
            raise DataError(
                f"the CDI of {day} is {returns[day]!r} in the table of the CDI and {daily!r} in the rates (series 12): "
                "ingest the bank's JSON of that day as sgs_12.json, which sets both"
            )
    return _cdi_table(dict(sorted(returns.items())))


def _daily(percent: Decimal) -> float:
    # shifting the decimal point before rounding gives the double nearest to the published rate
    return float(percent.scaleb(-2))


def _cdi_table(returns: dict[datetime.date, float]) -> pa.Table:
    columns = [pa.array(list(returns), pa.date32()), pa.array(list(returns.values()), pa.float64())]
    return pa.table(columns, schema=CDI_SCHEMA)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and "data" in entry and "valor" in entry


def parse_day(entry: Any, where: str) -> tuple[datetime.date, Decimal | None]:
    """Day and value of one object of an SGS answer; no value where the service has none for the day.

    Raises
    ------
    DataError
        As `parse_entry`.
    """
    if isinstance(entry, dict) and "valor" in entry and entry["valor"] in (None, ""):
        return parse_entry({**entry, "valor": "0"}, where)[0], None
    return parse_entry(entry, where)


def parse_entry(entry: Any, where: str) -> tuple[datetime.date, Decimal]:
    """Day and value of one object of an SGS answer; the value as it is printed, not yet rounded to a double.

    Raises
    ------
    DataError
        When it has another shape, an impossible date, or a value that is no finite number in text.
    """
    if not _is_entry(entry):
        raise DataError(f"{where}: must be an object with data and valor; was {entry!r}")
    try:
        day = datetime.datetime.strptime(entry["data"], "%d/%m/%Y").date()
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: data must be a date dd/mm/yyyy; was {entry['data']!r}") from error
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise DataError(f"{where}: data must be in the years {FIRST_YEAR} to {LAST_YEAR}; was {entry['data']!r}")
    try:
        # a JSON number would already have been rounded to a double
        value = Decimal(entry["valor"] if isinstance(entry["valor"], str) else "not text")
    except InvalidOperation as error:
        raise DataError(
            f"{where}: valor must be text with a decimal point ('0.050788'); was {entry['valor']!r}"
        ) from error
    if not value.is_finite():
        raise DataError(f"{where}: valor must be a finite number; was {entry['valor']!r}")
    return day, value
