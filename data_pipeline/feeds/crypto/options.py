"""What the crypto feeds have in common around their files: options, and which files are read together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CLOCK: Final = re.compile(r"^[-_T ]?\d{6}(?!\d)")
_PART: Final = re.compile(r"(?<![0-9A-Za-z])\d{1,4}(?![0-9A-Za-z])")
_DATE: Final = re.compile(r"(20\d\d)[-_]?(\d\d)[-_]?(\d\d)")


@dataclass(frozen=True, slots=True)
class LocalClock:
    """Whether receiver's times are moved later where latencies are negative, and the smallest latency then; whether the
    book goes on where updates of it are lost."""

    shift: bool = False
    base_latency_ns: int = 0
    keep_after_break: bool = False


def read_options(options: Mapping[str, str], feed: str) -> LocalClock:
    """The options of a feed with two clocks.

    Raises
    ------
    ValueError
        For an unknown option or value.
    """
    unknown = sorted(set(options) - {"local_clock", "base_latency_ns", "after_break"})
    if unknown:
        raise ValueError(
            f"options of {feed} must be local_clock, base_latency_ns or after_break; was {', '.join(unknown)}"
        )
    word = options.get("local_clock", "as recorded")
    if word not in ("as recorded", "shift"):
        raise ValueError(f"local_clock must be 'as recorded' or 'shift'; was {word!r}")
    base = options.get("base_latency_ns", "0")
    if not (base.isdecimal() and len(base) < 16):
        raise ValueError(f"base_latency_ns must be a whole number, 0 or more; was {base!r}")
    after = options.get("after_break", "empty")
    if after not in ("empty", "keep"):
        raise ValueError(f"after_break must be 'empty' or 'keep'; was {after!r}")
    return LocalClock(word == "shift", int(base), after == "keep")


def days_together(paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Files of one folder whose names agree up to what follows the date (hour, part), in order of name.

    Several files of one symbol and session must be read together: read one by one, each would replace the rows of the
    one before. A name without a date stands alone.
    """
    sets: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(paths):
        found = _DATE.search(path.name)
        if found is None:
            key = path.name
        else:
            rest = _PART.sub("#", _CLOCK.sub("#", path.name[found.end() :]))
            key = path.name[: found.start()] + "".join(found.groups()) + rest
        sets.setdefault((path.parent, key), []).append(path)
    return [tuple(group) for group in sets.values()]
