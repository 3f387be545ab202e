"""The limits at work: the pure step from one close to the next, and what it leaves of the wanted positions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from risk.limit_set import LEVELS, Action, Limit, LimitSet, default_limits

__all__ = [
    "Action",
    "Breach",
    "Limit",
    "LimitSet",
    "LimitState",
    "PodStatus",
    "apply_actions",
    "default_limits",
    "evaluate",
    "hash_positions",
    "initial_state",
]


class PodStatus(StrEnum):
    """The pod's condition in one word; where several actions hold, the last in this order names it."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALVED = "HALVED"
    FLAT = "FLAT"


@dataclass(frozen=True, slots=True)
class Breach:
    """One stretch of sessions in which one level of one limit held.

    Attributes
    ----------
    id : int
        1, 2, ... in the order of opening, per pod.
    session : object
        Session of the opening, as given to `evaluate`.
    limit, level : str
        Name of the limit; "amber", "hard" or "kill".
    value, threshold : float
        The measure at the opening and the level.
    kind : str
        "active" when only the pod's own orders brought the measure there, else "passive" (the market did).
    action : Action
        What the level does; REARM for the record of a re-armed pod, in which value is the new high-water mark,
        threshold the old one, and limit the one that flattened the pod.
    positions_hash : str
        `hash_positions` at the opening, or "".
    cleared_session : object or None
        Session in which it ended; None while it holds.
    """

    id: int
    session: Any
    limit: str
    level: str
    value: float
    threshold: float
    kind: str
    action: Action
    positions_hash: str
    cleared_session: Any = None


@dataclass(frozen=True, slots=True)
class LimitState:
    """What the limits know of a pod after a close; made by `initial_state` and `evaluate`.

    Attributes
    ----------
    net_asset_value, high_water_mark, drawdown, day_loss : float
        Of the last evaluated close. The mark starts at the starting net asset value and is re-based when the
        pod is armed again; drawdown = 1 - net_asset_value / high_water_mark; day_loss >= 0.
    levels : tuple of int
        Per limit, the highest level that holds: 0 none, 1 amber, 2 hard, 3 kill.
    open_breaches : tuple of Breach
        The breaches that are not cleared.
    reducing : bool
        Only orders that shrink a position are allowed.
    capital_fraction : float
        1, 0.5 (halved) or 0 (flat): the factor on the wanted targets.
    flat_sessions : int
        Sessions since the pod was flattened; -1 when it is not flat.
    flattened_by : str
        The limit that flattened it, or "".
    breach_count : int
        Breaches recorded so far.
    """

    net_asset_value: float
    high_water_mark: float
    drawdown: float
    day_loss: float
    levels: tuple[int, ...]
    open_breaches: tuple[Breach, ...] = ()
    reducing: bool = False
    capital_fraction: float = 1.0
    flat_sessions: int = -1
    flattened_by: str = ""
    breach_count: int = 0

    @property
    def status(self) -> PodStatus:
        """ACTIVE, REDUCING, HALVED or FLAT; a halved pod may also be `reducing`."""
        if self.capital_fraction == 0.0:
            return PodStatus.FLAT
        if self.capital_fraction < 1.0:
            return PodStatus.HALVED
        return PodStatus.REDUCING if self.reducing else PodStatus.ACTIVE


def initial_state(limits: LimitSet, net_asset_value: float) -> LimitState:
    """State before the first session: nothing holds, the high-water mark is the starting net asset value."""
    if not 0 < net_asset_value < math.inf:
        raise ValueError(f"net_asset_value must be finite and positive; was {net_asset_value}")
    return LimitState(net_asset_value, net_asset_value, 0.0, 0.0, (0,) * len(limits.limits))


def evaluate(
    limits: LimitSet,
    measures: Mapping[str, float],
    previous: LimitState,
    *,
    net_asset_value: float,
    session: Any,
    passive_measures: Mapping[str, float] | None = None,
    positions: ArrayLike | None = None,
) -> tuple[LimitState, tuple[Breach, ...]]:
    """State of the pod after this close, and the breaches that opened or were cleared in it.

    Parameters
    ----------
    limits : LimitSet
    measures : mapping of str to float
        Every measure that a limit reads but `drawdown` and `day_loss`, which come from the net asset values (a given
        value is not read). NaN = not measurable at this close (a warm-up): that limit keeps its level.
    previous : LimitState
        State after the close before.
    net_asset_value : float
        At this close, finite; zero or negative is a drawdown of 100 % or more.
    session : object
        Written into the records (a date or a row number).
    passive_measures : mapping of str to float, optional
        The measures that this close would have shown without the pod's own fills of the session: a breach whose
        passive measure is below the level is "active". A breach of a measure that is not given is "passive".
    positions : (N,) array, optional
        Hashed into the records of the breaches that open.

    Returns
    -------
    state : LimitState
    breaches : tuple of Breach
        Records opened in this session, and records cleared in it (same id, cleared_session set): keep the last of
        each id.

    Notes
    -----
    A FLATTEN holds until `rearm_sessions` closes later, whatever the measure does meanwhile. At that close the
    high-water mark becomes the net asset value, so that the old loss does not flatten the pod again, every open
    breach is cleared, and the limits start afresh.
    """
    if not -math.inf < net_asset_value < math.inf:
        raise ValueError(f"net_asset_value must be finite; was {net_asset_value} in session {session}")
    flat_sessions = previous.flat_sessions + 1 if previous.flat_sessions >= 0 else -1
    # A pod that lost everything has no mark to start again from: it stays flat.
    rearmed = 0 < limits.rearm_sessions <= flat_sessions and net_asset_value > 0
    if rearmed:
        flat_sessions = -1
    mark = net_asset_value if rearmed else max(previous.high_water_mark, net_asset_value)
    before = previous.net_asset_value
    own = {
        # The difference first: at exactly 7.5 % it must not round to below it.
        "drawdown": (mark - net_asset_value) / mark,
        "day_loss": max(0.0, (before - net_asset_value) / before) if before > 0 else 0.0,
    }
    old = (0,) * len(limits.limits) if rearmed else previous.levels
    values = [_measure(limit, own, measures) for limit in limits.limits]
    levels = tuple(map(_level, limits.limits, values, old, repeat(limits.clear_fraction)))

    flattened_by = _first_holding(limits, levels, Action.FLATTEN)
    if flat_sessions < 0 and flattened_by:
        flat_sessions = 0
    elif flat_sessions >= 0:
        flattened_by = previous.flattened_by
    state = LimitState(
        net_asset_value=net_asset_value,
        high_water_mark=mark,
        drawdown=own["drawdown"],
        day_loss=own["day_loss"],
        levels=levels,
        open_breaches=previous.open_breaches,
        reducing=bool(_first_holding(limits, levels, Action.BLOCK)),
        capital_fraction=0.0 if flattened_by else 0.5 if _first_holding(limits, levels, Action.HALVE) else 1.0,
        flat_sessions=flat_sessions,
        flattened_by=flattened_by,
        breach_count=previous.breach_count,
    )
    if not rearmed and levels == old:
        return state, ()
    digest = "" if positions is None else hash_positions(positions)
    records = _cleared(previous, limits, levels, session, everything=rearmed)
    still_open = {breach.id for breach in previous.open_breaches} - {breach.id for breach in records}
    if rearmed:
        records.append(_rearm_record(previous, mark, session, digest))
    count = previous.breach_count + rearmed
    opened = [
        Breach(
            id=count + place,
            session=session,
            limit=limits.limits[i].name,
            level=LEVELS[k],
            value=values[i],
            threshold=limits.limits[i].thresholds[k],
            kind=_kind(limits.limits[i], k, passive_measures),
            action=limits.limits[i].action(k + 1),
            positions_hash=digest,
        )
        for place, (i, k) in enumerate(_begun(limits, old, levels), start=1)
    ]
    kept = tuple(breach for breach in previous.open_breaches if breach.id in still_open)
    state = replace(state, open_breaches=(*kept, *opened), breach_count=count + len(opened))
    return state, (*records, *opened)


def apply_actions(state: LimitState, current: ArrayLike, wanted: ArrayLike) -> NDArray[np.float64]:
    """What the pod may hold of what it wants, (N,), in the unit of the arguments (shares or weights).

    A halved pod gets half of `wanted`, a flat one zero; a reducing pod may only move a position towards zero, not
    across it (a halved and reducing pod both). Nothing else is changed.

    Parameters
    ----------
    state : LimitState
    current, wanted : (N,) array
        Held and wanted positions, signed, finite.
    """
    held = np.asarray(current, dtype=np.float64)
    target = np.asarray(wanted, dtype=np.float64)
    if held.shape != target.shape:
        raise ValueError(f"current and wanted must have one shape; were {held.shape} and {target.shape}")
    if not (np.isfinite(held).all() and np.isfinite(target).all()):
        raise ValueError("current and wanted must be finite in every entry")
    if state.capital_fraction == 0.0:
        return np.zeros_like(target)
    allowed = target * state.capital_fraction
    if state.reducing:
        allowed = np.clip(allowed, np.minimum(held, 0.0), np.maximum(held, 0.0))
    return allowed


def hash_positions(positions: ArrayLike) -> str:
    """First 16 hexadecimal digits of the sha256 of the positions as little-endian float64."""
    # Adding 0.0 turns -0.0 into 0.0: equal positions have equal hashes.
    values = np.ascontiguousarray(np.asarray(positions, dtype="<f8") + 0.0)
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def _measure(limit: Limit, own: Mapping[str, float], measures: Mapping[str, float]) -> float:
    source = own if limit.measure in own else measures
    try:
        return float(source[limit.measure])
    except KeyError:
        raise ValueError(
            f"measures must hold {limit.measure!r}, which limit {limit.name!r} reads (NaN: not measurable); "
            f"had {sorted(measures)}"
        ) from None


def _level(limit: Limit, value: float, old: int, clear_fraction: float) -> int:
    if value != value:
        return old
    if value >= limit.kill or (old == 3 and value >= clear_fraction * limit.kill):
        return 3
    if value >= limit.hard or (old >= 2 and value >= clear_fraction * limit.hard):
        return 2
    if value >= limit.amber or (old >= 1 and value >= clear_fraction * limit.amber):
        return 1
    return 0


def _first_holding(limits: LimitSet, levels: tuple[int, ...], action: Action) -> str:
    """Name of the first limit of which a holding level has this action, or ""; lower levels' actions go on holding."""
    for limit, level in zip(limits.limits, levels, strict=True):
        if (level >= 2 and limit.action_hard is action) or (level == 3 and limit.action_kill is action):
            return limit.name
    return ""


def _cleared(
    previous: LimitState, limits: LimitSet, levels: tuple[int, ...], session: Any, *, everything: bool
) -> list[Breach]:
    held = {limit.name: level for limit, level in zip(limits.limits, levels, strict=True)}
    return [
        replace(breach, cleared_session=session)
        for breach in previous.open_breaches
        if everything or LEVELS.index(breach.level) >= held[breach.limit]
    ]


def _begun(limits: LimitSet, old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int]]:
    """(limit, level - 1) of every finite level that holds now and did not before."""
    return [
        (i, k) for i, limit in enumerate(limits.limits) for k in range(old[i], new[i]) if limit.thresholds[k] < math.inf
    ]


def _kind(limit: Limit, k: int, passive_measures: Mapping[str, float] | None) -> str:
    value = (passive_measures or {}).get(limit.measure, math.nan)
    return "active" if value < limit.thresholds[k] else "passive"


def _rearm_record(previous: LimitState, mark: float, session: Any, digest: str) -> Breach:
    return Breach(
        id=previous.breach_count + 1,
        session=session,
        limit=previous.flattened_by,
        level="kill",
        value=mark,
        threshold=previous.high_water_mark,
        kind="passive",
        action=Action.REARM,
        positions_hash=digest,
        cleared_session=session,
    )
