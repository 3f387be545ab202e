"""The game that the last fold solved: its policy, its crowd, its certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtests.walk.policy_files import PolicyArtefact
from data_pipeline.errors import DataError
from reports import charts
from reports.charts import Series
from reports.formats import clip_text, is_number, percent, plain, short_hash, significant, words
from reports.read_run import RunView
from reports.tables import Grid

Floats = NDArray[np.float64]

NEEDED = (
    "times", "riccati", "friction", "log_remaining", "crowd_inventory", "states", "density", "session_fractions",
    "session_crowd_rate",
)  # fmt: skip
"""Arrays of an execution policy that the page needs."""

SESSIONS = "sessions after the decision"


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """One solved policy in pictures (title, picture, words) and tables."""

    digest: str
    title: str
    sentence: str
    pictures: tuple[tuple[str, Markup, str], ...]
    tables: tuple[Grid, ...]


def last_policies(run: RunView) -> list[tuple[PolicyArtefact, str, list[str], int]]:
    """The policies of the last fold shown, those that most pods use first: each with its hash, its pods, its fold."""
    users: dict[str, list[str]] = {}
    folds: dict[str, int] = {}
    for pod in run.pods:
        if len(pod.folds) and pod.folds["policy_hash"].iloc[-1] in run.policies:
            digest = str(pod.folds["policy_hash"].iloc[-1])
            users.setdefault(digest, []).append(pod.name)
            folds[digest] = int(pod.folds["fold"].iloc[-1])
    ordered = sorted(users.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(run.policies[digest], digest, names, folds[digest]) for digest, names in ordered]


def policy_page(policy: PolicyArtefact, digest: str, pods: Sequence[str], fold: int, *, everybody: bool) -> PolicyPage:
    """One solved policy: what it does against equal parts and at once, and the crowd that it answers."""
    paths = game_paths(policy)
    who = "all pods" if everybody else ", ".join(pods)
    return PolicyPage(
        digest=digest,
        title=f"Policy {short_hash(digest)} of fold {fold}, calibrated for {who}",
        sentence="Every trader of a crowd that must finish the same kind of order chooses its speed against the "
        "others; the policy is the speed from which nobody gains by deviating.",
        pictures=(_remaining(paths), _rate(paths), _crowd(paths), _friction(paths)),
        tables=(schedule_table(paths), certificate_table(policy.certificate), game_table(policy.parameters)),
    )


def game_paths(policy: PolicyArtefact) -> dict[str, Floats]:
    """The arrays of a policy file that the page draws, and two made of them: `gain` and `remaining`, each (nt+1,).

    `gain` is the part of an inventory traded per session, 2 a/eta; `remaining` the part of an order still held.

    Raises
    ------
    DataError
        When the policy is not that of an execution game.
    """
    absent = [name for name in NEEDED if name not in policy.arrays]
    if absent:
        raise DataError(
            f"the policy of the last fold must be that of an execution game, with the array {absent[0]}; it has "
            f"{', '.join(sorted(policy.arrays))}: run the backtest again"
        )
    paths = {name: np.asarray(policy.arrays[name], dtype=np.float64) for name in NEEDED}
    return paths | {"gain": 2.0 * paths["riccati"] / paths["friction"], "remaining": np.exp(paths["log_remaining"])}


def schedule_table(paths: Mapping[str, Floats]) -> Grid:
    """The part of an order that goes in each session, by policy, beside the crowd's own rate."""
    sent, crowd = paths["session_fractions"], paths["session_crowd_rate"]
    left = np.cumprod(np.concatenate([[1.0], 1.0 - sent]))
    equal = percent(1.0 / len(sent))
    rows = [
        (str(k + 1), percent(left[k] * sent[k]), equal, percent(float(k == 0)), significant(crowd[k]))
        for k in range(len(sent))
    ]
    rows.append(("left", percent(left[-1]), percent(0.0), percent(0.0), ""))
    head = ("Session", "Mean field", "Equal", "At once", "Crowd")
    note = (
        "Part of the first order sent in each session. Crowd: its rate in daily volumes per session; below zero it "
        "works its inventory down."
    )
    return Grid(key="schedule", head=head, rows=rows, style="wide", note=note)


def certificate_table(certificate: Mapping[str, Any]) -> Grid:
    """The proof that came with a solve."""
    lines = (
        ("residual", "Residual, undamped"),
        ("tolerance", "Tolerance"),
        ("exploitability", "Exploitability"),
        ("mass_error", "Mass error"),
        ("discretisation_error", "Error of the time grid"),
        ("iterations", "Iterations"),
        ("converged", "Converged"),
    )
    rows = [(label, plain_number(certificate[name])) for name, label in lines if name in certificate]
    sentence = str(certificate.get("status_sentence") or "")
    note = f"{sentence} Exploitability is what one trader would gain by the best deviation, in the game's own unit."
    return Grid(key="certificate", head=("Certificate", ""), rows=rows, style="wide", note=note.strip())


def game_table(parameters: Mapping[str, Any]) -> Grid:
    """The game's parameters."""
    rows = [(words(name), plain_number(value)) for name, value in parameters.items()]
    note = "Inventory in daily volumes, time in sessions, money in σ·p·V."
    return Grid(key="game", head=("Game", ""), rows=rows, style="wide", empty="No parameters.", note=note)


def plain_number(value: Any) -> str:
    """A number with three digits that count, anything else in words."""
    return significant(value, 3) if is_number(value) and not isinstance(value, int) else clip_text(plain(value), 120)


def _remaining(paths: Mapping[str, Floats]) -> tuple[str, Markup, str]:
    times = paths["times"]
    lines = [
        Series("mean field", paths["remaining"], "s0"),
        Series("equal parts", 1.0 - times / times[-1], "s1"),
        Series("at once", np.maximum(0.0, 1.0 - times), "sb"),
    ]
    title = "Part of the order still to trade"
    picture = charts.curves(times, lines, title, SESSIONS, _whole_percent, include=[0.0, 1.0])
    return title, picture, "The mean-field policy against equal parts (TWAP) and everything in the first session."


def _rate(paths: Mapping[str, Floats]) -> tuple[str, Markup, str]:
    times = paths["times"]
    lines = [
        Series("mean field", paths["gain"] * paths["remaining"], "s0"),
        Series("equal parts", np.full(len(times), 1.0 / times[-1]), "s1"),
    ]
    title = "Trading rate"
    picture = charts.curves(times, lines, title, SESSIONS, _whole_percent, include=[0.0])
    return title, picture, "Part of the first order per session, at each moment."


def _crowd(paths: Mapping[str, Floats]) -> tuple[str, Markup, str]:
    title = "The crowd's inventory"
    picture = charts.density_map(
        paths["times"], paths["states"], paths["density"], paths["crowd_inventory"], title, SESSIONS
    )
    return (
        title,
        picture,
        "In daily volumes. Darkness is the density over its peak at that moment; the line is the mean.",
    )


def _friction(paths: Mapping[str, Floats]) -> tuple[str, Markup, str]:
    title = "Temporary impact η while the crowd trades"
    lines = [Series("impact η", paths["friction"], "s0")]
    picture = charts.curves(paths["times"], lines, title, SESSIONS, include=[0.0])
    return title, picture, "In units of σ·p per daily volume a session; it falls as the crowd slows down."


def _whole_percent(value: float) -> str:
    return percent(value, 0)
