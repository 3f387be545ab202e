"""Text of Brazilian reference data as values: numbers with a decimal comma or point, dates, times, encodings."""

from __future__ import annotations

import datetime
import re
from typing import Final
from zoneinfo import ZoneInfo

from data_pipeline.errors import DataError

SAO_PAULO: Final = ZoneInfo("America/Sao_Paulo")
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Years outside are a damaged date; nanoseconds since 1970 hold 1678 to 2261."""
_POINT: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?")
_COMMA: Final = re.compile(r"-?(\d{1,3}(\.\d{3}){1,4}|\d{1,15})(,\d{1,15})?")
_ISO: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})( 00:00:00(\.0+)?)?")
_BRAZILIAN: Final = re.compile(r"(\d{2})/(\d{2})/(\d{4})")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def point_number(said: str, where: str, what: str, *, scale: int = 0) -> float:
    """A number with a decimal point, times 10**scale: the double nearest to it.

    Raises
    ------
    DataError
        When it is none.
    """
    if not _POINT.fullmatch(said):
        raise DataError(f"{where}: {what} must be a number like 1234.56; was {said[:40]!r}")
    return float(f"{said}e{scale}")


def comma_number(said: str, where: str, what: str, *, scale: int = 0) -> float:
    """A Brazilian number, "1.234,56", times 10**scale: the double nearest to it.

    Raises
    ------
    DataError
        When it is none.
    """
    if not _COMMA.fullmatch(said):
        raise DataError(f"{where}: {what} must be a number like 1.234,56; was {said[:40]!r}")
    return float(f"{said.replace('.', '').replace(',', '.')}e{scale}")


def any_number(said: str, where: str, what: str, *, scale: int = 0) -> float:
    """A number with a comma as Brazilian, without one as having a decimal point (1.234 is a little above 1).

    Raises
    ------
    DataError
        When it is none.
    """
    return (comma_number if "," in said else point_number)(said, where, what, scale=scale)


def day_of(said: str, where: str, what: str) -> datetime.date:
    """A date yyyy-mm-dd (a midnight behind it is allowed) or dd/mm/yyyy.

    Raises
    ------
    DataError
        When it is none, or outside of `FIRST_YEAR` to `LAST_YEAR`.
    """
    iso, brazilian = _ISO.fullmatch(said), _BRAZILIAN.fullmatch(said)
    try:
        if iso:
            day = datetime.date(int(iso[1]), int(iso[2]), int(iso[3]))
        elif brazilian:
            day = datetime.date(int(brazilian[3]), int(brazilian[2]), int(brazilian[1]))
        else:
            raise ValueError(said)
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise ValueError(said)
    except ValueError as error:
        raise DataError(f"{where}: {what} must be a date yyyy-mm-dd or dd/mm/yyyy; was {said[:40]!r}") from error
    return day


def nanoseconds(moment: datetime.datetime, where: str) -> int:
    """Nanoseconds since 1970 UTC of an aware time.

    Raises
    ------
    DataError
        When its year is outside of `FIRST_YEAR` to `LAST_YEAR`.
    """
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise DataError(f"{where}: a time must be in the years {FIRST_YEAR} to {LAST_YEAR}; was {moment}")
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def end_of_day(day: datetime.date) -> int:
    """Nanoseconds since 1970 UTC of the midnight in Sao Paulo that ends `day`: the first moment after it."""
    midnight = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), SAO_PAULO)
    return nanoseconds(midnight, str(day))


def decoded(content: bytes) -> str:
    """UTF-8 (a byte-order mark dropped) where the bytes are that, else ISO-8859-1, which any bytes are."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
