"""How bars are cut: `time:60s`, `time:4h@America/Sao_Paulo`, `volume:10000`, `tick:100`, and which trades count."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final, Literal
from zoneinfo import ZoneInfo

_UNITS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DAY: Final = 86_400 * 10**9
_FORM: Final = re.compile(
    r"(?P<kind>time|volume|tick):(?P<size>\d{1,15}(?:\.\d{1,9})?)(?P<unit>ms|s|m|h)?(?:@(?P<zone>[A-Za-z_/+\-0-9]+?))?"
    r"(?P<also>(?:\+(?:after_market|off_book))*)"
)
REGULAR: Final = ("regular", "cross", "hidden")
"""Conditions of the trades in every bar; after-market and off-book ones are in bars that name them."""


@dataclass(frozen=True, slots=True)
class BarRule:
    """One way to cut bars.

    Attributes
    ----------
    text : str
        As it is written, and as the table `bars` has it.
    kind : "time", "volume" or "tick"
    size : float
        Nanoseconds, quantity or number of trades.
    zone : str
        Whose midnight the time grid starts from.
    conditions : tuple of str
        Trades that count, by the words of the table `trades`.
    """

    text: str
    kind: Literal["time", "volume", "tick"]
    size: float
    zone: str = "UTC"
    conditions: tuple[str, ...] = REGULAR

    def origin(self, session: date) -> int:
        """Midnight of the session in the rule's zone, ns since 1970 UTC."""
        midnight = datetime.combine(session, time(), tzinfo=ZoneInfo(self.zone))
        since = midnight - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 10**9


def bar_rule(text: str) -> BarRule:
    """The rule in a text.

    `time:<number><ms|s|m|h>[@zone]` cuts a grid of equal bars from the midnight of each session in the zone (UTC when
    none is named); `volume:<quantity>` ends a bar with the trade that brings its quantity to at least that much (a
    trade is never split); `tick:<trades>` ends it with that many trades. `+after_market`, `+off_book` let those trades
    in too.

    Raises
    ------
    ValueError
        When the text is of another form.

    >>> bar_rule("time:5m").size
    300000000000
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(
            f"a bar rule must be like time:60s, time:5m@America/Sao_Paulo, volume:10000 or tick:100; was {text!r}"
        )
    kind, number, unit, zone = found["kind"], found["size"], found["unit"], found["zone"]
    also = tuple(found["also"].split("+")[1:])
    if (unit is not None) != (kind == "time") or (zone is not None and kind != "time"):
        raise ValueError(f"a time rule has a unit (ms, s, m, h) and may have a zone, others have neither; was {text!r}")
    size = float(number) if kind == "volume" else int(number) if number.isdigit() else None
    if size is None or size <= 0 or len(set(also)) != len(also):
        raise ValueError(f"the size of a bar must be a positive number, whole but for volumes; was {text!r}")
    if kind == "time":
        size *= _UNITS[unit]
        if size > _DAY or _DAY % int(size):
            raise ValueError(f"a time bar must go into a day a whole number of times; was {text!r}")
        try:
            ZoneInfo(zone or "UTC")
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(
                f"the zone must be a name of the IANA database, as America/Sao_Paulo; was {zone!r}"
            ) from error
    return BarRule(text, kind, size, zone or "UTC", REGULAR + also)  # type: ignore[arg-type]
