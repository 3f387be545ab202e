"""Numbers, dates and hashes as the reader sees them; what is not a number is "n/a", never "nan" or "inf"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import numpy as np

MISSING = "n/a"
MINUS = "\N{MINUS SIGN}"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
NO_BREAK = "\N{NO-BREAK SPACE}"


def is_number(value: Any) -> bool:
    """Whether `value` is a finite real number (booleans and text are not)."""
    if isinstance(value, bool | np.bool_) or value is None:
        return False
    if isinstance(value, int | float | np.integer | np.floating):
        return math.isfinite(float(value))
    return False


def number(value: Any, digits: int = 2, *, signed: bool = False) -> str:
    """A fixed-point number with a true minus sign and thin spaces between thousands.

    >>> number(-1234.5, 1).replace(THIN_SPACE, " "), number(float("nan")), number(-0.001, 2)
    ('−1 234.5', 'n/a', '0.00')
    """
    if not is_number(value):
        return MISSING
    text = f"{float(value):,.{digits}f}".replace(",", THIN_SPACE)
    negative = text.startswith("-")
    text = text.removeprefix("-")
    if not any(digit in text for digit in "123456789"):
        return text
    return (MINUS if negative else "+" if signed else "") + text


def percent(value: Any, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction as a percentage.

    >>> percent(0.1234), percent(-0.05, 0), percent(None)
    ('12.3%', '−5%', 'n/a')
    """
    return f"{number(100.0 * float(value), digits, signed=signed)}%" if is_number(value) else MISSING


def basis_points(value: Any, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction in basis points, without the unit (the row's label has it)."""
    return number(1e4 * float(value), digits, signed=signed) if is_number(value) else MISSING


def significant(value: Any, digits: int = 3) -> str:
    """A number of unknown size: plain between 1e-3 and 1e6, else in scientific notation.

    >>> significant(0.012345), significant(3.2e-9), significant(250.0), significant(0)
    ('0.0123', '3.2e−9', '250', '0')
    """
    if not is_number(value):
        return MISSING
    x = float(value)
    if x == 0.0:
        return "0"
    if 1e-3 <= abs(x) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(x))))
        text = number(x, decimals)
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}".replace("-", MINUS)


def money(value: Any) -> str:
    """An amount of R$ with three or four digits that count and its size in words.

    >>> [money(value).replace(NO_BREAK, " ") for value in (51_234_567.0, -2_500, 12.3)]
    ['51.23 m', '−2.5 k', '12.30']
    """
    if not is_number(value):
        return MISSING
    x = float(value)
    for size, digits, word in ((1e9, 2, "bn"), (1e6, 2, "m"), (1e3, 1, "k")):
        if abs(x) >= size:
            return f"{number(x / size, digits)}{NO_BREAK}{word}"
    return number(x, 2)


def integer(value: Any) -> str:
    """A count."""
    return number(value, 0)


def probability(value: Any) -> str:
    """A probability with three digits; a tiny one as "< 0.001".

    >>> probability(0.0499), probability(1e-9).replace(NO_BREAK, " "), probability(float("nan"))
    ('0.050', '< 0.001', 'n/a')
    """
    if not is_number(value):
        return MISSING
    return f"<{NO_BREAK}0.001" if 0.0 <= float(value) < 0.0005 else number(value, 3)


def day(value: Any) -> str:
    """A date as YYYY-MM-DD.

    >>> day(np.datetime64("2024-02-29")), day(None)
    ('2024-02-29', 'n/a')
    """
    if value is None or value != value:
        return MISSING
    if isinstance(value, np.datetime64):
        return MISSING if np.isnat(value) else str(value.astype("datetime64[D]"))
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value)[:10]


def short_hash(value: Any, length: int = 10) -> str:
    """The beginning of a hash; the provenance table has all of it."""
    return str(value)[:length] if value else MISSING


def plain(value: Any) -> str:
    """Any value of a configuration file or a record on one line ("inf" is how JSON files here spell infinity)."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value)).replace("-", MINUS)
    if isinstance(value, float | np.floating):
        return significant(value, 6)
    if isinstance(value, dict):
        return ", ".join(f"{key} = {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, str):
        return {"inf": "∞", "-inf": f"{MINUS}∞"}.get(value, value)
    if isinstance(value, Iterable):
        return ", ".join(plain(inner) for inner in value) or "none"
    return str(value)


def words(name: str) -> str:
    """A snake_case or CamelCase name as words, its first letter large.

    >>> words("half_spread"), words("VaR")
    ('Half spread', 'VaR')
    """
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def clip_text(text: str, length: int) -> str:
    """`text` cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: max(1, length - 1)] + "…"
