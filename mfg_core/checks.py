"""Parameter checks: each raises a ValueError that names the parameter, the rule and the value."""

from __future__ import annotations

import math
from numbers import Integral, Real


def require_real(name: str, value: object) -> float:
    """`value` as a float; ValueError unless it is a real number other than nan."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        raise ValueError(f"{name} must be a real number below 1.8e308; was a larger integer") from None
    if math.isnan(number):
        raise ValueError(f"{name} must be a real number; was {value!r}")
    return number


def require_finite(name: str, value: object) -> float:
    """`value` as a finite float."""
    number = require_real(name, value)
    if math.isinf(number):
        raise ValueError(f"{name} must be finite; was {value!r}")
    return number


def require_positive(name: str, value: object) -> float:
    """`value` as a finite float above zero."""
    number = require_real(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be finite and positive; was {value!r}")
    return number


def require_nonnegative(name: str, value: object) -> float:
    """`value` as a finite float, zero or above."""
    number = require_real(name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be finite and not negative; was {value!r}")
    return number


def require_count(name: str, value: object, least: int = 1) -> int:
    """`value` as an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be an integer of at least {least}; was {value!r}")
    return int(value)
