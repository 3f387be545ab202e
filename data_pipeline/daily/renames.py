"""Renames: a company changes its ticker and with it its ISIN, and the same share trades on under the new name.

A new instrument is matched with one that stopped, by what is visible at the close of its first session: the old one
traded in the session just before and not in this one, both are the same number and class of share (ticker suffix,
ISIN characters 7-11), and the new one counts its distributions from 100, as a fresh ISIN does. B3's files hold no
field that links the two names. The confidence is the posterior probability of "the same share" against "a new,
unrelated share", with

- the first opening against the last close: noise of `sizing`, or a usual split factor (a rename may bundle a split),
  against a price that could be anything (uniform over +-3 in log);
- the first session's traded value against the old one's median: log ratio of scale 1, against uniform over +-8;
- the silence of the old one: certain, against its own habit of skipping sessions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.events import OVERNIGHT_ROWS, overnight_log_returns
from data_pipeline.daily.sizing import opening_scale, overnight_scale, student_density, usual_factors
from data_pipeline.daily.spot import SpotRows, rights_state

CHAINED_FROM: Final = 0.8
"""Least confidence at which two names become one column: a wrong join costs more than a missed one."""

LISTED_FROM: Final = 0.05
"""Least confidence at which a match is reported at all."""

FIRST_DISTRIBUTION: Final = 100
"""DISMES of a security that has never distributed anything."""

RENAME_PRIOR: Final = 0.2
"""Prior probability that a fresh share is the continuation of a given silent one."""
BUNDLED_PRIOR: Final = 0.1
"""Prior probability that a rename comes with a split."""
UNRELATED_PRICE: Final = 1.0 / 6.0
UNRELATED_VALUE: Final = 1.0 / 16.0
VALUE_SCALE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Rename:
    """One new name matched with an old one.

    Attributes
    ----------
    old, new : str
        Tickers.
    old_isin, new_isin : str
    session : datetime64[D]
        First session of the new name; the rename is known from then on.
    share_factor : float
        New shares per old share; 1.0 for a plain rename.
    price_ratio : float
        First opening over last close.
    confidence : float
        In [0, 1].
    source : str
        The evidence in words.
    """

    old: str
    new: str
    old_isin: str
    new_isin: str
    session: np.datetime64
    share_factor: float
    price_ratio: float
    confidence: float
    source: str


def detect_renames(rows: SpotRows, sessions: NDArray[np.datetime64]) -> tuple[Rename, ...]:
    """Return the likely matches of new instruments with those that stopped, by session, then names.

    Parameters
    ----------
    rows : SpotRows
        Not yet chained.
    sessions : (S,) datetime64[D]
        Sessions of the market, increasing.

    Notes
    -----
    Uses rows up to the first session of the new name only. Matches below `CHAINED_FROM` are returned too: they are
    for the quality page (LLIS3 -> VSTE3 of 2023, bundled with a reverse split that nothing in the file marks, is one).
    """
    if rows.size == 0:
        return ()
    firsts = rows.offsets[:-1]
    stopped = _last_rows_before_a_pause(rows, sessions)
    overnight = overnight_log_returns(rows)
    found: list[Rename] = []
    for session in np.unique(rows.session[firsts]):
        if session <= sessions[0]:
            continue
        new_rows = [
            int(row) for row in firsts[rows.session[firsts] == session] if rows.distribution[row] == FIRST_DISTRIBUTION
        ]
        found.extend(_match_session(rows, new_rows, stopped.get(session, ()), overnight, sessions))
    return tuple(sorted(found, key=lambda r: (r.session, r.new, r.old)))


def renames_to_chain(renames: Sequence[Rename]) -> tuple[Rename, ...]:
    """Return the renames that are sure enough to join two columns, each name used once on each side.

    The earlier match keeps the name, however likely a later one is: at the earlier session nobody knew of the later.
    """
    chosen: list[Rename] = []
    for rename in sorted(renames, key=lambda r: (r.session, -r.confidence, r.new)):
        taken = any(rename.old == other.old or rename.new == other.new for other in chosen)
        if rename.confidence >= CHAINED_FROM and not taken:
            chosen.append(rename)
    return tuple(sorted(chosen, key=lambda r: (r.session, r.new)))


def _last_rows_before_a_pause(rows: SpotRows, sessions: NDArray[np.datetime64]) -> dict[np.datetime64, tuple[int, ...]]:
    """Return, by session, the rows of instruments that traded in the session before and not in this one."""
    position = np.searchsorted(sessions, rows.session)
    following = np.full(rows.size, sessions.size, dtype=np.int64)
    following[:-1] = position[1:]
    following[rows.offsets[1:] - 1] = sessions.size
    pauses: dict[np.datetime64, list[int]] = defaultdict(list)
    for row in np.flatnonzero((following > position + 1) & (position + 1 < sessions.size)):
        pauses[sessions[position[row] + 1]].append(int(row))
    return {session: tuple(members) for session, members in pauses.items()}


def _match_session(
    rows: SpotRows,
    new_rows: Sequence[int],
    old_rows: Sequence[int],
    overnight: NDArray[np.float64],
    sessions: NDArray[np.datetime64],
) -> list[Rename]:
    """Return the matches of one session that are worth listing."""
    instrument = np.searchsorted(rows.offsets, [*new_rows, *old_rows], side="right") - 1
    owner = dict(zip([*new_rows, *old_rows], (int(i) for i in instrument), strict=True))
    pairs = [
        (*_odds(rows, new, old, owner[old], overnight, sessions), new, old)
        for new in new_rows
        for old in old_rows
        if _same_share(rows, new, old)
    ]
    totals: dict[int, float] = defaultdict(float)
    for odds, _factor, new, _old in pairs:
        totals[new] += odds
    scored = [(odds / (1.0 + totals[new]), factor, new, old) for odds, factor, new, old in pairs]
    return [
        _rename(rows, new, old, owner, factor, confidence)
        for confidence, factor, new, old in scored
        if confidence >= LISTED_FROM
    ]


def _same_share(rows: SpotRows, new: int, old: int) -> bool:
    return bool(
        rows.ticker[new][4:] == rows.ticker[old][4:]
        and rows.isin[new][6:11] == rows.isin[old][6:11]
        and rows.isin[new] != rows.isin[old]
    )


def _odds(
    rows: SpotRows,
    new: int,
    old: int,
    old_instrument: int,
    overnight: NDArray[np.float64],
    sessions: NDArray[np.datetime64],
) -> tuple[float, float]:
    """Return the odds of "the same share" against "unrelated", and the most probable share factor."""
    start = max(int(rows.offsets[old_instrument]), old + 1 - OVERNIGHT_ROWS)
    price, factor = _price_density(rows, new, old, overnight[start : old + 1])
    usual_value = float(np.median(rows.traded_value[start : old + 1]))
    value = student_density(math.log(rows.traded_value[new] / usual_value), VALUE_SCALE)
    span = int(np.diff(np.searchsorted(sessions, rows.session[[start, old]]))[0]) + 1
    skipped = (span - (old + 1 - start) + 1) / (span + 1)
    prior = RENAME_PRIOR / (1.0 - RENAME_PRIOR)
    return prior * price / UNRELATED_PRICE * value / UNRELATED_VALUE / skipped, factor


def _price_density(rows: SpotRows, new: int, old: int, overnight: NDArray[np.float64]) -> tuple[float, float]:
    """Return the density of the first opening under the most probable share factor, and that factor.

    Only the best factor counts: a match whose factor is unsure would put a false jump into the joined column.
    """
    scale = opening_scale(
        overnight_scale(overnight),
        1,
        float(min(rows.close[old], rows.open[new])),
        float(rows.high[new]),
        float(rows.low[new]),
        cash=False,
    )
    ratio = math.log(rows.close[old] / rows.open[new])
    letters = "".join(letter for letter in "BG" if letter in rights_state(rows.specification[new])[1:])
    bundled = 1.0 - BUNDLED_PRIOR if letters else BUNDLED_PRIOR
    densities = {
        factor: bundled * weight * student_density(ratio - math.log(factor), scale)
        for factor, weight in usual_factors(letters or "BG").items()
    }
    densities[1.0] = densities.get(1.0, 0.0) + (1.0 - bundled) * student_density(ratio, scale)
    best = max(densities, key=lambda factor: densities[factor])
    certainty = densities[best] / sum(densities.values())
    return densities[best] * certainty, best


def _rename(rows: SpotRows, new: int, old: int, owner: dict[int, int], factor: float, confidence: float) -> Rename:
    price_ratio = float(rows.open[new] / rows.close[old])
    bundle = "" if factor == 1.0 else f", bundled share factor {factor:.6g}"
    source = (
        f"{rows.instruments[owner[old]]} stopped the session before, first opening {price_ratio:.4g} of its last "
        f"close, DISMES starts at {rows.distribution[new]}{bundle}"
    )
    return Rename(
        old=rows.instruments[owner[old]],
        new=rows.instruments[owner[new]],
        old_isin=str(rows.isin[old]),
        new_isin=str(rows.isin[new]),
        session=rows.session[new],
        share_factor=factor,
        price_ratio=price_ratio,
        confidence=round(confidence, 6),
        source=source,
    )
