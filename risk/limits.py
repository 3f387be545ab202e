"""Limits as data: amber, hard and kill levels, what each does, and the pure step from one close to the next."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Action(StrEnum):
    """What a level does to the pod for as long as it holds."""

    NOTE = "NOTE"
    BLOCK = "BLOCK"
    HALVE = "HALVE"
    FLATTEN = "FLATTEN"
    REARM = "REARM"


class PodStatus(StrEnum):
    """The pod's condition in one word; where several actions hold, the last in this order names it."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALVED = "HALVED"
    FLAT = "FLAT"


LEVELS = ("amber", "hard", "kill")
"""Names of the levels, mildest first."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: a measure (large is bad) and the values from which it is amber, hard and kill.

    Attributes
    ----------
    name : str
        Name of the limit, unique in a set.
    measure : str
        Key of the measure that it reads.
    amber, hard, kill : float
        Levels, positive, increasing; infinity = that level never holds. A level begins to hold when the measure is
        at or above it and ends when the measure falls below `LimitSet.clear_fraction` of it.
    action_hard, action_kill : Action
        What those levels do; amber is always a note.
    """

    name: str
    measure: str
    amber: float = math.inf
    hard: float = math.inf
    kill: float = math.inf
    action_hard: Action = Action.BLOCK
    action_kill: Action = Action.FLATTEN

    def __post_init__(self) -> None:
        """Check the levels and the actions."""
        for level, value in zip(LEVELS, self.thresholds, strict=True):
            if not value > 0:
                raise ValueError(f"{level} of limit {self.name!r} must be positive (infinity: never); was {value}")
        finite = [value for value in self.thresholds if value < math.inf]
        if any(low >= high for low, high in pairwise(finite)):
            raise ValueError(f"amber, hard and kill of limit {self.name!r} must increase; were {self.thresholds}")
        for action in (self.action_hard, self.action_kill):
            if action not in (Action.NOTE, Action.BLOCK, Action.HALVE, Action.FLATTEN):
                raise ValueError(
                    f"actions of limit {self.name!r} must be NOTE, BLOCK, HALVE or FLATTEN; was {action!r}"
                )

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """(amber, hard, kill)."""
        return (self.amber, self.hard, self.kill)

    def action(self, level: int) -> Action:
        """What `level` (0 none, 1 amber, 2 hard, 3 kill) does."""
        return (Action.NOTE, Action.NOTE, self.action_hard, self.action_kill)[level]


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits of one pod and the two rules that they share.

    Attributes
    ----------
    limits : tuple of Limit
    clear_fraction : float
        A level is cleared when the measure falls below this fraction of it (hysteresis), in (0, 1].
    rearm_sessions : int
        Sessions after a FLATTEN at which the pod is armed again with its high-water mark set to the net asset
        value of that close; 0 = never.
    """

    limits: tuple[Limit, ...]
    clear_fraction: float = 0.9
    rearm_sessions: int = 63

    def __post_init__(self) -> None:
        """Check the names and the two rules."""
        names = [limit.name for limit in self.limits]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"names of limits must differ; {repeated[0]!r} is used twice")
        if not 0 < self.clear_fraction <= 1:
            raise ValueError(f"clear_fraction must be in (0, 1]; was {self.clear_fraction}")
        if self.rearm_sessions < 0:
            raise ValueError(f"rearm_sessions must not be negative (0: never); was {self.rearm_sessions}")

    def with_levels(self, name: str, amber: float | None, hard: float | None, kill: float | None) -> LimitSet:
        """The same set with other levels for the limit `name`; None = that level never holds.

        Raises
        ------
        ValueError
            When no limit has that name (the names are listed) or the levels break a rule.
        """
        if name not in [limit.name for limit in self.limits]:
            known = ", ".join(limit.name for limit in self.limits)
            raise ValueError(f"name must be one of the limits {known}; was {name!r}")
        never = [math.inf if level is None else level for level in (amber, hard, kill)]
        changed = (
            replace(limit, amber=never[0], hard=never[1], kill=never[2]) if limit.name == name else limit
            for limit in self.limits
        )
        return replace(self, limits=tuple(changed))


def default_limits(rearm_sessions: int = 63) -> LimitSet:
    """The shipped limits of a pod.

    The drawdown ladder (capital halved at 5 %, all out at 7.5 %) and the day-loss ladder are those reported of
    multi-manager funds; the others stand at 80 %, 100 % and 120 % of the hard level, which is ours to choose. Measures
    are fractions of the net asset value: `var_99`, `es_975` (forecasts at this close, one session), `gross`, `net`
    (absolute), `largest_issuer` (all classes of one issuer together), and `hhi` of the gross weights
    (0.25 = four effective names). `drawdown` and `day_loss` are computed by `evaluate`.
    """

    def scaled(name: str, measure: str, hard: float, action_kill: Action) -> Limit:
        return Limit(name, measure, 0.8 * hard, hard, 1.2 * hard, Action.BLOCK, action_kill)

    return LimitSet(
        limits=(
            Limit("drawdown", "drawdown", 0.035, 0.05, 0.075, Action.HALVE, Action.FLATTEN),
            Limit("day_loss", "day_loss", 0.01, 0.02, 0.03, Action.BLOCK, Action.FLATTEN),
            scaled("var_99", "var_99", 0.04, Action.HALVE),
            scaled("es_975", "es_975", 0.04, Action.HALVE),
            Limit("largest_issuer", "largest_issuer", 0.20, 0.25),
            Limit("hhi", "hhi", 0.20, 0.25),
            scaled("gross", "gross", 2.0, Action.HALVE),
            scaled("net", "net", 1.5, Action.HALVE),
        ),
        rearm_sessions=rearm_sessions,
    )


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
