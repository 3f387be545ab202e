"""Corporate events: found by changes of the distribution number (DISMES), sized from a company's file or from prices.

DISMES says that something was distributed, never how much; the rights state of ESPECI stays for many sessions and
dates nothing; a jump alone proves nothing (AMER3 fell 77 % on 2023-01-12 with DISMES unchanged: a crash). So:

1. A candidate is a change of DISMES between two consecutive spot rows of one instrument under one ISIN. It shows at
   the next trade, however late, and may step by more than one.
2. A company event (data com = `last_date_prior`) inside the gap between the two rows explains the candidate: the
   file's size is taken, with confidence 1.
3. Otherwise a candidate whose rights state holds B (split, bonus) or G (reverse split) is sized by `sizing`; the
   posterior probability of the factor is its confidence, and below `SIZED_FROM` the event stays unsized.
4. Anything else (dividends, interest on equity, spin-offs, capital returns, subscriptions) is unsized: the size of
   such a right cannot be read off an opening price.

A detection is public at the close of its ex session. An event of a file is public at the first close on or after
the day of approval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.sizing import (
    FactorEstimate,
    estimate_factor,
    opening_scale,
    overnight_scale,
)
from data_pipeline.daily.spot import SpotRows, rights_state

SIZED_FROM: Final = 0.5
"""Least posterior probability at which a factor is applied."""

OVERNIGHT_ROWS: Final = 60
"""Past rows that the overnight scale is taken from."""

NEW_STATE_PRIOR: Final = 0.03
"""Prior probability of no share event when DISMES changed and B or G has just appeared."""
OLD_STATE_PRIOR: Final = 0.9
"""The same when B or G was there before: the state outlasts its event, the change is probably something else."""

_CASH_LETTERS: Final = frozenset("DJ")
_BLOCKING_LETTERS: Final = {
    "R": "a return of capital or income",
    "A": "an amortisation",
    "C": "a spin-off",
    "S": "a subscription right",
    "X": "an unnamed right",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One change of DISMES: something was distributed between two consecutive trades of an instrument.

    Attributes
    ----------
    instrument : int
        Index in `SpotRows.instruments`.
    row : int
        Row of the first trade without the right.
    previous_session, session : datetime64[D]
        Sessions of the last trade with the right and the first without.
    previous_distribution, distribution : int
        DISMES before and after.
    state : str
        Rights state at the first trade without the right ("EB", "EDJ", "" ...).
    new_letters : str
        Letters of the state, without its leading E, that the row before did not have; sorted.
    ratio : float
        Previous close over opening, both per share: near the share factor when there is nothing else.
    scale : float
        Noise scale of log(ratio), see `sizing`.
    """

    instrument: int
    row: int
    previous_session: np.datetime64
    session: np.datetime64
    previous_distribution: int
    distribution: int
    state: str
    new_letters: str
    ratio: float
    scale: float

    @property
    def share_letters(self) -> str:
        """Return which of B and G the state holds."""
        return "".join(letter for letter in "BG" if letter in _letters(self.state))


@dataclass(frozen=True, slots=True)
class SizedCandidate:
    """A candidate with the size that prices give it; share_factor is 1.0 while the size is unknown.

    Attributes
    ----------
    candidate : Candidate
    share_factor : float
        New shares per old share.
    kind : str
        "split", "bonus", "reverse_split", "spin_off", "capital_return" or "unsized".
    confidence : float
        Posterior probability of the most probable factor; 0.0 where none was estimated.
    source : str
        The evidence in words.
    """

    candidate: Candidate
    share_factor: float
    kind: str
    confidence: float
    source: str


def share_event_kind(factor: float) -> str:
    """Return the kind of a pure share event by its factor: a bonus is a split into fewer than two for one."""
    if factor < 1.0:
        return "reverse_split"
    return "split" if factor >= 2.0 else "bonus"


def find_candidates(rows: SpotRows, sessions: NDArray[np.datetime64]) -> tuple[Candidate, ...]:
    """Return every change of DISMES, by session, then instrument.

    Parameters
    ----------
    rows : SpotRows
        Spot rows, renamed instruments already joined.
    sessions : (S,) datetime64[D]
        Sessions of the market, increasing; they count the sessions between two trades.
    """
    changed = changed_distribution(rows)
    instrument = rows.instrument_of_row()
    overnight = overnight_log_returns(rows)
    # a row at which something was distributed says nothing about ordinary nights
    overnight[changed] = np.nan
    found = [_candidate(rows, int(row), int(instrument[row]), overnight, sessions) for row in np.flatnonzero(changed)]
    return tuple(sorted(found, key=lambda c: (c.session, c.instrument)))


def changed_distribution(rows: SpotRows) -> NDArray[np.bool_]:
    """Return which rows have another DISMES than the row before of the same instrument and ISIN, (R,)."""
    changed = np.zeros(rows.size, dtype=np.bool_)
    changed[1:] = (rows.distribution[1:] != rows.distribution[:-1]) & (rows.isin[1:] == rows.isin[:-1])
    changed[rows.offsets[:-1]] = False
    return changed


def overnight_log_returns(rows: SpotRows) -> NDArray[np.float64]:
    """Return log(open / previous close) of each row, (R,); NaN in an instrument's first row."""
    result = np.full(rows.size, np.nan)
    result[1:] = np.log(rows.open[1:] / rows.close[:-1])
    result[rows.offsets[:-1]] = np.nan
    return result


def _candidate(
    rows: SpotRows, row: int, instrument: int, overnight: NDArray[np.float64], sessions: NDArray[np.datetime64]
) -> Candidate:
    state = rights_state(rows.specification[row])
    new = _letters(state) - _letters(rights_state(rows.specification[row - 1]))
    start = max(int(rows.offsets[instrument]), row - OVERNIGHT_ROWS)
    elapsed = max(1, int(np.diff(np.searchsorted(sessions, rows.session[row - 1 : row + 1]))[0]))
    scale = opening_scale(
        overnight_scale(overnight[start:row]),
        elapsed,
        float(min(rows.close[row - 1], rows.open[row])),
        float(rows.high[row]),
        float(rows.low[row]),
        cash=bool(new & _CASH_LETTERS),
    )
    return Candidate(
        instrument=instrument,
        row=row,
        previous_session=rows.session[row - 1],
        session=rows.session[row],
        previous_distribution=int(rows.distribution[row - 1]),
        distribution=int(rows.distribution[row]),
        state=state,
        new_letters="".join(sorted(new)),
        ratio=float(rows.close[row - 1] / rows.open[row]),
        scale=scale,
    )


def _letters(state: str) -> set[str]:
    return set(state[1:]) if state.startswith("E") else set()


def size_candidates(candidates: Sequence[Candidate], issuers: Sequence[str]) -> tuple[SizedCandidate, ...]:
    """Return each candidate with the size that prices give it, in the same order.

    Parameters
    ----------
    candidates : sequence of Candidate
        From `find_candidates`.
    issuers : sequence of str
        Issuer of each candidate (characters 3-6 of the ISIN). Classes of one issuer that go ex in the same session
        with the same B or G share one factor, and their evidence is pooled.
    """
    if len(issuers) != len(candidates):
        raise ValueError(f"issuers must be as many as candidates ({len(candidates)}); was {len(issuers)}")
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    keys = [(c.session, issuer, c.share_letters) for c, issuer in zip(candidates, issuers, strict=True)]
    for key, candidate in zip(keys, candidates, strict=True):
        if candidate.share_letters and not _blocking(candidate):
            groups[key].append(candidate)
    estimates = {key: _estimate(members) for key, members in groups.items()}
    return tuple(
        _sized(candidate, None if _blocking(candidate) else estimates.get(key), len(groups.get(key, ())))
        for key, candidate in zip(keys, candidates, strict=True)
    )


def _estimate(members: Sequence[Candidate]) -> FactorEstimate:
    letters = members[0].share_letters
    is_new = any(set(letters) & set(member.new_letters) for member in members)
    observations = [(math.log(member.ratio), member.scale) for member in members]
    return estimate_factor(observations, letters, NEW_STATE_PRIOR if is_new else OLD_STATE_PRIOR)


def _blocking(candidate: Candidate) -> str:
    return "".join(letter for letter in candidate.new_letters if letter in _BLOCKING_LETTERS)


def _sized(candidate: Candidate, estimate: FactorEstimate | None, classes: int) -> SizedCandidate:
    evidence = _evidence(candidate)
    if estimate is None:
        kind, reason = _unsized_kind(candidate)
        return SizedCandidate(candidate, 1.0, kind, 0.0, f"{evidence}: {reason}")
    confidence = round(estimate.probability, 6)
    pooled = f", {classes} classes pooled" if classes > 1 else ""
    if estimate.factor == 1.0 or confidence < SIZED_FROM:
        reason = f"no usual factor is probable (best {describe_factor(estimate.factor)} at {confidence:.2f}{pooled})"
        return SizedCandidate(candidate, 1.0, "unsized", confidence, f"{evidence}: {reason}")
    kind = share_event_kind(estimate.factor)
    source = f"{evidence}: {describe_factor(estimate.factor)} at {confidence:.2f}{pooled}"
    return SizedCandidate(candidate, estimate.factor, kind, confidence, source)


def _evidence(candidate: Candidate) -> str:
    step = f"DISMES {candidate.previous_distribution} -> {candidate.distribution}"
    state = f"state {candidate.state}" if candidate.state else "no state"
    return f"{step}, {state}, opening {1.0 / candidate.ratio:.4g} of the previous close"


def _unsized_kind(candidate: Candidate) -> tuple[str, str]:
    blocking = _blocking(candidate)
    if {"R", "C"} <= set(blocking):
        return "capital_return", "a return of capital, its value is not in the prices"
    if blocking:
        kind = "spin_off" if blocking == "C" else "unsized"
        return kind, f"{_BLOCKING_LETTERS[blocking[0]]}, its value is not in the prices"
    if set(candidate.new_letters) & _CASH_LETTERS:
        return "unsized", "cash of unknown value"
    return "unsized", "no right named"


def describe_factor(factor: float) -> str:
    """Return a share factor in words.

    Examples
    --------
    >>> describe_factor(0.1), describe_factor(2.0), describe_factor(1.05)
    ('1 for 10', '2 for 1', '1.05 for 1')
    """
    return f"1 for {1.0 / factor:.6g}" if factor < 1.0 else f"{factor:.6g} for 1"
