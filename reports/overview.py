"""What the reader sees first: what run this is, its lights, the limits in use, and the profit and loss of the day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports.formats import MISSING, day, integer, is_number, money, number, percent, short_hash, words
from reports.read_run import PodResult, RunView, days
from reports.tables import Cell, Grid, light

STATES = {
    "ACTIVE": ("ok", "Active"),
    "REDUCING": ("warn", "Reducing only"),
    "HALVED": ("warn", "Capital halved"),
    "FLAT": ("bad", "Flat"),
}
"""What each state of a pod means on the lights."""

LEVELS = {"amber": "warn", "hard": "bad", "kill": "bad"}
QUALITY = {"green": ("ok", "green"), "amber": ("warn", "amber"), "red": ("bad", "red")}
ACTIONS = {"FLATTEN": "flattened", "HALVE": "halved capital", "BLOCK": "blocked added risk"}
"""What limits do to a pod, the hardest first."""

CLOSEST = 4
"""How many limits a pod's card shows: those that are used most."""


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one limit is used: the bar's parts are percentages of its width."""

    name: str
    words: str
    filled: str
    style: str
    marks: tuple[str, ...]
    fraction: float


@dataclass(frozen=True, slots=True)
class Card:
    """One pod's light, its limits and its open breaches in words."""

    name: str
    state: Markup
    uses: tuple[Use, ...]
    sentence: str


def header(run: RunView) -> dict[str, Any]:
    """Title, dates and the chips under them."""
    sessions = max((pod.sessions for pod in run.pods), key=len)
    chips = [quality_light(run.quality), _state_chip(run.pods), _policy_chip(run)]
    hashes = [(words(key), short_hash(value)) for key, value in sorted(run.provenance.items()) if _is_hash(value)]
    return {
        "name": run.name,
        "date": day(run.date),
        "first": day(sessions[0]),
        "n_sessions": integer(len(sessions)),
        "pods": len(run.pods),
        "benchmark": run.benchmark or MISSING,
        "complete": run.complete,
        "chips": chips,
        "hashes": hashes[:5],
    }


def quality_light(quality: Mapping[str, Any]) -> Markup:
    """The light of the data, with the words of the quality file."""
    level, verdict = QUALITY.get(str(quality.get("light", "")).lower(), ("none", "not known"))
    reasons = quality.get("reasons") or []
    detail = str(reasons[0]) if level != "ok" and reasons else ""
    return light(level, f"Data quality: {verdict}", detail)


def cards(run: RunView) -> list[Card]:
    """One card per pod, the pods with the worst light first."""
    order = {"bad": 0, "warn": 1, "ok": 2, "none": 3}
    made = [(order[_state(pod)[0]], -len(_open(pod)), i, _card(run, pod)) for i, pod in enumerate(run.pods)]
    return [card for *_, card in sorted(made, key=lambda item: item[:3])]


def breach_counts(pods: Sequence[PodResult]) -> Grid:
    """How often each pod's limits noted and acted."""
    columns = ("FLATTEN", "HALVE", "BLOCK", "NOTE", "REARM")
    rows = [
        (
            pod.name,
            *(integer(int((pod.breaches["action"] == action).sum())) for action in columns),
            integer(len(_open(pod))),
        )
        for pod in pods
    ]
    head = ("Pod", "Flattened", "Capital halved", "Risk blocked", "Only noted", "Re-armed", "Open now")
    return Grid(key="breach-counts", head=head, rows=rows, style="sticky")


def breach_table(
    pods: Sequence[PodResult],
    key: str,
    *,
    only_open: bool = False,
    notes: bool | None = None,
    first: int = 0,
    most: int = 20,
) -> Grid:
    """Recorded breaches with what was done, the newest first: `most` of them after the `first` newest.

    `notes` keeps those that were only noted (True) or those that acted on the pod (False). Open breaches are in the
    order of their level, the hardest first.
    """
    found: list[tuple[Any, ...]] = []
    for pod in pods:
        frame = _open(pod) if only_open else pod.breaches
        if notes is not None:
            frame = frame[(frame["action"] == "NOTE") == notes]
        begun, cleared = days(frame["session"]), days(frame["cleared_session"])
        for i, row in enumerate(frame.to_dict("records")):
            found.append((begun[i], pod.name, cleared[i], row))
    hardest = list(reversed(LEVELS)) if only_open else []
    found.sort(
        key=lambda item: (
            hardest.index(str(item[3]["level"])) if item[3]["level"] in hardest else 0,
            -item[0].astype(int),
            item[1],
            str(item[3]["limit"]),
            str(item[3]["level"]),
        )
    )
    rows = [
        (
            day(begun),
            name,
            limit_words(str(row["limit"])),
            light("none", "re-armed")
            if row["action"] == "REARM"
            else light(LEVELS.get(str(row["level"]), "none"), str(row["level"])),
            Cell(action_words(str(row["action"])), "w"),
            _recorded(row, "value"),
            _recorded(row, "threshold"),
            str(row["kind"]),
            Cell(day(cleared) if not np.isnat(cleared) else "open", "w"),
        )
        for begun, name, cleared, row in found[first : first + most]
    ]
    left = len(found) - first - most
    return Grid(
        key=key,
        head=("Session", "Pod", "Limit", "Level", "Action", "Value", "Threshold", "Kind", "Cleared"),
        rows=[tuple(Cell(c, "n") if i in (5, 6) else c for i, c in enumerate(row)) for row in rows],
        words=9,
        style="sticky",
        empty="No limit is breached at this close."
        if only_open
        else "No limit acted in this run."
        if notes is False and any(len(pod.breaches) for pod in pods)
        else "No limit was breached in this run.",
        note=f"{left} earlier ones are in the pods' breaches.parquet." if left > 0 and (first or notes) else "",
    )


def _recorded(row: Mapping[str, Any], column: str) -> str:
    """A breach's number: the record of a re-armed pod holds high-water marks in money, all others measures."""
    return money(row[column]) if row["action"] == "REARM" else measure_text(str(row["limit"]), row[column])


def action_words(action: str) -> str:
    """What an action did, as a sentence part."""
    return {
        "NOTE": "noted",
        "BLOCK": "orders that add risk are blocked",
        "HALVE": "capital halved",
        "FLATTEN": "all positions sold, pod flat",
        "REARM": "pod allowed to trade again",
    }.get(action, action)


def profit_table(run: RunView) -> Grid:
    """Profit and loss of the day, the month, the year and the run, and where each pod stands at the close."""
    rows = []
    for pod in run.pods:
        nav, returns = pod.column("net_asset_value"), pod.column("return")
        before = nav[-2] if len(nav) > 1 else nav[-1] / (1.0 + returns[-1])
        parts = [since(pod.sessions, unit) for unit in ("D", "M", "Y")]
        compounded = [float(np.prod(1.0 + returns[part]) - 1.0) for part in parts]
        rows.append(
            (
                pod.name,
                money(nav[-1]),
                money(nav[-1] - before),
                *(percent(value, 2, signed=True) for value in compounded),
                percent(float(np.prod(1.0 + returns) - 1.0), 1, signed=True),
                percent(pod.column("drawdown")[-1]),
                percent(measure(pod, "gross")),
                percent(measure(pod, "net")),
                forecast_text(pod, "var_99"),
                forecast_text(pod, "es_975"),
            )
        )
    cash = cash_returns(run.pods[0])
    parts = [since(run.pods[0].sessions, unit) for unit in ("D", "M", "Y")]
    rows.append(
        (
            "CDI",
            "",
            "",
            *(percent(float(np.prod(1.0 + cash[part]) - 1.0), 2, signed=True) for part in parts),
            percent(float(np.prod(1.0 + cash) - 1.0), 1, signed=True),
            *[""] * 5,
        )
    )
    return Grid(
        key="profit",
        head=(
            "Pod",
            "NAV, R$",
            "Day, R$",
            "Day",
            "Month",
            "Year",
            "Run",
            "Drawdown",
            "Gross",
            "Net",
            "VaR 99%",
            "ES 97.5%",
        ),
        rows=rows,
        style="wide sticky",
        note="After costs; day, month, year and run to date. CDI is what cash alone would have earned. Drawdown is the "
        "fall from the highest value so far. Gross and net exposure at this close, VaR and ES as forecast for this "
        "session at the close before (positive = loss), all as parts of net asset value (NAV).",
    )


LIMIT_WORDS = {
    "drawdown": "Drawdown",
    "day_loss": "Day loss",
    "var_99": "VaR 99%",
    "es_975": "ES 97.5%",
    "largest_issuer": "Largest issuer",
    "hhi": "HHI",
    "gross": "Gross exposure",
    "net": "Net exposure",
}


def limit_words(name: str) -> str:
    """A limit's name for the reader."""
    return LIMIT_WORDS.get(name, words(name))


def since(sessions: NDArray[np.datetime64], unit: str) -> NDArray[np.bool_]:
    """Which sessions lie in the same day, month or year as the last one."""
    periods = sessions.astype(f"datetime64[{unit}]")
    return np.asarray(periods == periods[-1])


def measure_text(name: str, value: Any) -> str:
    """A measure in its own form: an index of concentration is a plain number, everything else a fraction."""
    if "hhi" in name or "ratio" in name:
        return number(value, 3)
    return percent(value, 2)


def measure(pod: PodResult, name: str) -> float:
    """The pod's value of a limit's measure at the last session, NaN where the files do not have it."""
    if name == "day_loss":
        return max(0.0, -float(pod.column("return")[-1]))
    if name in ("gross", "net"):
        return abs(float(pod.column(name)[-1]))
    if name == "drawdown":
        return limit_drawdown(pod)
    if name == "hhi":
        return float(hhi_of_capital(pod)[-1]) if len(pod.risk) else float("nan")
    column = "largest_issuer_weight" if name == "largest_issuer" else name
    if column not in pod.risk.columns or len(pod.risk) == 0:
        return float("nan")
    return float(pod.column(column, "risk")[-1])


def cash_returns(pod: PodResult) -> NDArray[np.float64]:
    """(T,) what cash earned in each session; nothing in a first session in which the account only opens."""
    earned = pod.column("risk_free").copy()
    if len(earned) and pod.column("return")[0] == 0.0:
        earned[0] = 0.0
    return earned


def forecast_text(pod: PodResult, column: str) -> str:
    """The latest forecast, or why there is none."""
    value = _last_of(pod, column)
    if np.isfinite(value) or len(pod.risk) == 0:
        return percent(value, 2)
    return "empty book" if pod.column("gross", "risk")[-1] == 0.0 else "too few days"


def flat_since(pod: PodResult) -> np.datetime64 | None:
    """Session in which the pod was last flattened, None for one that is not flat."""
    if pod.account["state"].iloc[-1] != "FLAT":
        return None
    flattened = days(pod.breaches["session"])[(pod.breaches["action"] == "FLATTEN").to_numpy()]
    return np.datetime64(flattened.max(), "D") if len(flattened) else None


def limit_drawdown(pod: PodResult) -> float:
    """The drawdown that the limits see: since the pod was last re-armed, from the value that it then had."""
    nav = pod.column("net_asset_value")
    rearmed = pod.breaches[pod.breaches["action"] == "REARM"]
    if len(rearmed) == 0:
        return float(pod.column("drawdown")[-1])
    last = int(np.argmax(days(rearmed["session"])))
    mark = max(float(rearmed["value"].iloc[last]), float(nav[pod.sessions >= days(rearmed["session"])[last]].max()))
    return (mark - float(nav[-1])) / mark


def hhi_of_capital(pod: PodResult) -> NDArray[np.float64]:
    """(R,) the concentration that the limits read: HHI of the gross weights times min(gross, 1)^2, so cash dilutes."""
    gross = np.minimum(pod.column("gross", "risk"), 1.0)
    return np.asarray(pod.column("hhi", "risk") * gross**2)


def _card(run: RunView, pod: PodResult) -> Card:
    level, state = _state(pod)
    if not pod_limits(run, pod.name):
        level, state = "none", "No limits" if state == STATES["ACTIVE"][1] else f"{state}, no limits"
    uses = sorted((u for limit in pod_limits(run, pod.name) if (u := _use(pod, limit))), key=lambda u: -u.fraction)
    return Card(pod.name, light(level, state), tuple(uses[:CLOSEST]), _card_sentence(pod, limited=bool(uses)))


def _card_sentence(pod: PodResult, *, limited: bool) -> str:
    """What the limits did to the pod so far: the actions first, then how often they only noted."""
    since_when = flat_since(pod)
    flat = f"Flat since {day(since_when)}. " if since_when is not None else ""
    if len(pod.breaches) == 0:
        return "No breach in this run." if limited else ""
    counts = {action: int((pod.breaches["action"] == action).sum()) for action in (*ACTIONS, "NOTE")}
    acted = [f"{words} {integer(counts[action])}×" for action, words in ACTIONS.items() if counts[action]]
    rearmed = "; drawdown counts from its last re-arming" if (pod.breaches["action"] == "REARM").any() else ""
    text = f"{', '.join(acted) or 'no action'}; noted {integer(counts['NOTE'])}×{rearmed}."
    return f"{flat}In this run: {text}"


def pod_limits(run: RunView, pod: str) -> Sequence[Mapping[str, Any]]:
    """The limits that a pod was held to: its own in the configuration, else those of the run."""
    for settings in run.configuration.get("pods", ()):
        if settings.get("name") == pod and "limits" in settings:
            own = settings["limits"]
            return own.get("limits", ()) if isinstance(own, Mapping) else ()
    return run.limits


def _use(pod: PodResult, limit: Mapping[str, Any]) -> Use | None:
    levels = {level: float(limit[level]) for level in LEVELS if is_number(limit.get(level))}
    name = str(limit.get("name", limit.get("measure", "limit")))
    value = measure(pod, str(limit.get("measure", name)))
    if not levels or not np.isfinite(value):
        return None
    top = max(levels.values())
    style = next((LEVELS[level] for level in ("kill", "hard", "amber") if value >= levels.get(level, np.inf)), "")
    marks = tuple(f"{100 * v / top:.1f}" for v in levels.values() if v < top)
    return Use(
        name=limit_words(name),
        words=f"{measure_text(name, value)} of {measure_text(name, top)}",
        filled=f"{100 * min(1.0, value / top):.1f}",
        style=style,
        marks=marks,
        fraction=value / top,
    )


def _state(pod: PodResult) -> tuple[str, str]:
    state = str(pod.account["state"].iloc[-1])
    return STATES.get(state, ("none", state.title()))


def _open(pod: PodResult) -> Any:
    return pod.breaches[np.isnat(days(pod.breaches["cleared_session"]))]


def _last_of(pod: PodResult, column: str) -> float:
    values = pod.column(column, "risk")
    return float(values[-1]) if len(values) else float("nan")


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= 32 and all(c in "0123456789abcdef" for c in value)


def _state_chip(pods: Sequence[PodResult]) -> Markup:
    states = [_state(pod) for pod in pods]
    worst = next((level for level in ("bad", "warn", "ok") if any(s[0] == level for s in states)), "none")
    stopped = sum(s[0] != "ok" for s in states)
    detail = "" if stopped == 0 else f"{stopped} of {len(pods)} restricted"
    return light(worst, "Pods: all active" if stopped == 0 else "Pods:", detail)


def _policy_chip(run: RunView) -> Markup:
    kinds = sorted(
        {str(pod.get("execution", "")).replace("_", " ") for pod in run.configuration.get("pods", ())} - {""}
    )
    how = ", ".join(kinds) or "as configured"
    if not run.policies:
        return light("none", f"Execution: {how}", "no policy was solved")
    certified = [bool(p.certificate.get("converged")) for p in run.policies.values()]
    level = "ok" if all(certified) else "bad"
    return light(level, f"Execution: {how}", "policy certified" if all(certified) else "policy not certified")
