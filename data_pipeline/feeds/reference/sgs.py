"""Series of the Banco Central do Brasil (SGS) to the table rates: JSON or CSV as its service gives them.

JSON is `[{"data": "02/01/2023", "valor": "0.050788"}]`, values as text with a decimal point; CSV is `data;valor` with a
decimal comma. Neither says which series it is: the file's name must ("sgs_12.json", "bcdata.sgs.12.json"), or the
option `series`. The CDI (12 a day, 4389 a year) and the Selic (11, 1178) differ by a few hundredths of a percentage
point, so no look at the values tells them apart: a name that says the one for the number of the other is refused.

The calendar is the banks' (Anbima): it has days on which the exchange is closed. All are kept; who aligns them with
sessions must not lose those days (data_pipeline.daily.risk_free).
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import content_of, names_in
from data_pipeline.feeds.reference.rates import is_rates, parse_day
from data_pipeline.feeds.reference.text import comma_number, decoded
from data_pipeline.tables.catalog import RATES

RULE_NO_VALUE: Final = "days_without_a_value_left_out"
RULE_REPEATED: Final = "repeated_days_left_out"
WINDOW_YEARS: Final = 10
"""Longest span of one request for a daily series (the service's rule since March 2025)."""
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class SgsSeries:
    """A series that is known.

    Attributes
    ----------
    code : str
    name, unit : str
    low, high : float
        Range of values that can be true since `REAL`; before it only `low`, capped at 0, is asked for.
    known_after : int
        Days after the date of a value from which it was surely public: a month's inflation bears the month's first
        day and comes out in the middle of the next one.
    """

    code: str
    name: str
    unit: str
    low: float
    high: float
    known_after: int


REAL: Final = datetime.date(1995, 1, 1)
"""First full half year of the currency that made rates plausible."""
SERIES: Final = {
    series.code: series
    for series in (
        SgsSeries("12", "CDI", "% per day", 0.0, 0.5, 1),
        SgsSeries("4389", "CDI", "% per year (252)", 0.5, 100.0, 1),
        SgsSeries("11", "Selic", "% per day", 0.0, 0.5, 1),
        SgsSeries("1178", "Selic", "% per year (252)", 0.5, 100.0, 1),
        SgsSeries("432", "Selic target", "% per year (252)", 0.5, 100.0, 1),
        SgsSeries("433", "IPCA", "% per month", -3.0, 10.0, 45),
        SgsSeries("189", "IGP-M", "% per month", -5.0, 10.0, 45),
        SgsSeries("1", "PTAX, US dollar, sell", "R$ per US$", 0.5, 50.0, 1),
    )
}
_NAMED: Final = re.compile(r"(?:sgs|serie|series|bcb)[ ._-]*0*(\d{1,6})(?!\d)", re.IGNORECASE)
_BEGINS: Final = re.compile(r"0*(\d{1,6})(?=[._-])")
_CSV_HEADER: Final = re.compile(r'\s*"?data"?\s*;\s*"?valor"?\s*', re.IGNORECASE)
_CONFUSED: Final = {"cdi": {"11", "1178", "432"}, "selic": {"12", "4389"}}
_FAILURE_KEYS: Final = ("message", "mensagem", "error", "erro", "detail", "title")
_TAGS: Final = re.compile(r"<[^<>]*>")


class SgsFeed:
    """SGS answers, JSON and CSV."""

    name = "bcb_sgs"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content has the shape of an answer and the name tells a series.

        An answer whose name tells none is the CDI of old: data_pipeline.ingestion.feed_files takes it for series 12.
        """
        start = decoded(head.start).lstrip()
        shaped = bool(re.match(r'\[\s*\{\s*"(data|valor)"', start)) or bool(_CSV_HEADER.match(start.split("\n", 1)[0]))
        return shaped and _code_in(head.member or head.path.name) is not None

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Rows of rates, increasing in date.

        Parameters
        ----------
        files, tally
        options : mapping
            "series": the code, where the name does not tell it; "unit": of a series that is not in `SERIES`.

        Raises
        ------
        DataError
            When the file is an error page, damaged, of no or an unknown series, gives a day two values, or has a
            value that the series cannot have.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            series = _series(shown, name or path.name, options)
            content = content_of(path, name, MOST_BYTES)
            failure = sgs_failure(content)
            if failure is not None:
                raise DataError(f"{shown} is no answer of the SGS: {failure}")
            yield Batch("rates", "BCB", _rows(_entries(content, shown), series, tally, shown))


def is_daily_cdi(head: RawHead) -> bool:
    """Whether the file's name tells series 12, which the store's table of the CDI takes too."""
    return _code_in(head.member or head.path.name) == "12"


def sgs_failure(content: bytes) -> str | None:
    """Why the bytes are no answer of the SGS, though they may have come with status 200; None for an answer.

    The service gives XML or HTML pages and JSON objects with a message where it is overloaded or the span is longer
    than ten years.
    """
    text = decoded(content).strip("\0 \r\n\t")
    if not text:
        return "it is empty; fetch it again"
    if text.startswith("<"):
        words = " ".join(_TAGS.sub(" ", text[:4_000]).split())[:120]
        return f"it is a page that says {words!r}; fetch it again later"
    if text.startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return "it is damaged JSON; fetch it again"
        said = [str(document[key]) for key in _FAILURE_KEYS if key in document]
        return f"it says {': '.join(said)[:200]!r}; ask for at most {WINDOW_YEARS} years at once and fetch it again"
    if not text.startswith("[") and not _CSV_HEADER.match(text.split("\n", 1)[0]):
        return f"it begins with {text[:40]!r}; fetch it again"
    return None


def sgs_windows(
    start: datetime.date, end: datetime.date, years: int = WINDOW_YEARS
) -> tuple[tuple[datetime.date, datetime.date], ...]:
    """Spans of at most `years` years that follow each other from `start` to `end`, first and last days included.

    They are cut where a calendar year ends whose number divides by `years` after it, so that requests of different days
    have all spans but the first and the last in common.

    Raises
    ------
    ValueError
        When end is before start, or years below 1.

    Examples
    --------
    >>> [(str(a), str(b)) for a, b in sgs_windows(datetime.date(2012, 5, 2), datetime.date(2023, 1, 31))]
    [('2012-05-02', '2019-12-31'), ('2020-01-01', '2023-01-31')]
    """
    if end < start:
        raise ValueError(f"end must be start ({start}) or later; was {end}")
    if years < 1:
        raise ValueError(f"years must be 1 or more; was {years}")
    cuts = [datetime.date(year, 1, 1) for year in range(start.year + 1, end.year + 1) if year % years == 0]
    ends = [cut - datetime.timedelta(days=1) for cut in cuts]
    return tuple(zip([start, *cuts], [*ends, end], strict=True))


def rates_known(rows: pa.Table, at: datetime.date) -> pa.Table:
    """The rows of the table rates that were surely public on the morning of `at`.

    Raises
    ------
    ValueError
        When a series is not in `SERIES`: nobody says when its values come out.
    """
    symbols = rows["symbol"].to_pylist()
    unknown = next((symbol for symbol in symbols if symbol not in SERIES), None)
    if unknown is not None:
        raise ValueError(f"rows must be of the series {', '.join(SERIES)}; was {unknown}")
    days = rows["session"].cast(pa.int32()).to_numpy()
    lags = pa.array([SERIES[symbol].known_after for symbol in symbols], pa.int32()).to_numpy()
    return rows.filter(pa.array(days + lags <= (at - datetime.date(1970, 1, 1)).days))


def _code_in(name: str) -> str | None:
    name = name.rpartition("/")[2]
    # a number behind the service's name is meant before one that merely begins the file's
    found = _NAMED.search(name) or _BEGINS.match(name)
    return found[1] if found else None


def _series(shown: str, name: str, options: Mapping[str, str]) -> SgsSeries:
    code = options.get("series") or _code_in(name)
    if code is None:
        raise DataError(f"{shown} does not say its series: put the code in its name (sgs_12.json) or in option series")
    for word, others in _CONFUSED.items():
        if word in name.lower() and code in others:
            raise DataError(
                f"{shown} is named {word} and has the number of another series, {code} ({SERIES[code].name}): "
                "the CDI is 12 and 4389, the Selic 11, 1178 and 432; name it for what it is"
            )
    if code in SERIES:
        return SERIES[code]
    unit = options.get("unit")
    if not unit:
        raise DataError(f"{shown}: series {code} is not known ({', '.join(SERIES)} are): give the option unit")
    return SgsSeries(code, code, unit, -1e15, 1e15, 0)


def _entries(content: bytes, shown: str) -> Iterator[tuple[str, datetime.date, Decimal | None]]:
    text = decoded(content).strip("\0 \r\n\t")
    if not text.startswith("["):
        for number, line in enumerate(text.splitlines()[1:], 2):
            cells = [cell.strip().strip('"') for cell in line.split(";")]
            where = f"{shown} line {number}"
            if not line.strip():
                continue
            if len(cells) != 2:
                raise DataError(f"{where}: must be a date and a value; was {line[:40]!r}")
            said = cells[1]
            if said:
                comma_number(said, where, "valor")
                said = said.replace(".", "").replace(",", ".")
            yield where, *parse_day({"data": cells[0], "valor": said}, where)
        return
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is no whole JSON ({error}): fetch it again") from error
    if not is_rates(document):
        raise DataError(f"{shown} must be a list of objects with data and valor: fetch it again")
    for index, entry in enumerate(document):
        where = f"{shown} record {index}"
        yield where, *parse_day(entry, where)


def _rows(
    entries: Iterator[tuple[str, datetime.date, Decimal | None]], series: SgsSeries, tally: Tally, shown: str
) -> pa.Table:
    values: dict[datetime.date, float] = {}
    for where, day, said in entries:
        tally.rows += 1
        if said is None:
            tally.add(RULE_NO_VALUE, 1)
            continue
        value = float(said)
        low, high = (series.low, series.high) if day >= REAL else (min(series.low, 0.0), 1e9)
        if not low <= value <= high:
            raise DataError(
                f"{where}: series {series.code} ({series.name}, {series.unit}) must be {low:g} to {high:g}; was "
                f"{said:.20g} on {day}: is it another series?"
            )
        if not 1900 <= day.year <= 2200:
            raise DataError(f"{where}: data must be a day of 1900 to 2200; was {day}")
        if values.get(day, value) != value:
            raise DataError(f"{where}: the day {day} has two values, {values[day]} and {value}: fetch it again")
        if day in values:
            tally.add(RULE_REPEATED, 1)
        values[day] = value
    if not values:
        raise DataError(f"{shown} has no value of series {series.code}: ask for another span of days")
    days = sorted(values)
    return pa.table(
        {
            "session": pa.array(days, pa.date32()),
            "symbol": pa.array([series.code] * len(days), pa.string()),
            "value": pa.array([values[day] for day in days], pa.float64()),
            "unit": pa.array([series.unit] * len(days), pa.string()),
        },
        schema=RATES.schema,
    )


SGS: Final = SgsFeed()
