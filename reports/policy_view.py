"""The walk-forward's folds, and the game that the last fold solved: policy, crowd, certificate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtests.policy_files import PolicyArtefact
from data_pipeline.errors import DataError
from reports import charts
from reports.charts import Series
from reports.formats import (
    basis_points,
    clip_text,
    day,
    integer,
    is_number,
    number,
    percent,
    plain,
    short_hash,
    significant,
    words,
)
from reports.read_run import PodResult, RunView
from reports.tables import Cell, Grid

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """One solved policy in pictures and numbers."""

    digest: str
    title: str
    sentence: str
    pictures: tuple[tuple[str, Markup, str], ...]
    certificate: Grid
    parameters: Grid


def fold_tables(pods: Sequence[PodResult]) -> list[tuple[str, Grid]]:
    """Per pod, each fold's windows, chosen parameters, and the score in training beside the one out of sample."""
    return [(pod.name, _fold_table(pod)) for pod in pods]


def _fold_table(pod: PodResult) -> Grid:
    rows = []
    for row in pod.folds.to_dict("records"):
        rows.append(
            (
                integer(row["fold"]),
                f"{day(row['train_start'])} to {day(row['train_end'])}",
                f"{day(row['test_start'])} to {day(row['test_end'])}",
                Cell(parameter_text(row["parameters"]), "long"),
                Cell(integer(row["trials"]), "n"),
                Cell(number(row["training_score"], 2), "n"),
                Cell(number(out_of_sample_score(pod, row["fold"]), 2), "n"),
                Cell(short_hash(row["policy_hash"], 8), "mono", str(row["policy_hash"] or "")),
            )
        )
    numeric = [Cell(name, "n") for name in ("Trials", "Score in training", "Sharpe in test")]
    return Grid(
        key=f"folds-{pod.name}",
        head=("Fold", "Training window", "Test window", "Chosen parameters", *numeric, "Policy"),
        rows=rows,
        words=8,
        style="wide",
        empty="No fold.",
    )


def parameter_text(value: Any) -> str:
    """The parameters of a fold (a JSON object) as "name = value" pairs."""
    try:
        content = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return str(value)
    return plain(content)


def out_of_sample_score(pod: PodResult, fold: Any) -> float:
    """Annual Sharpe ratio over CDI of the pod's sessions in one fold's test window."""
    from backtests.statistics import SESSIONS_PER_YEAR, sharpe_sample

    inside = pod.account["fold"].to_numpy() == fold
    excess = pod.column("return")[inside] - pod.column("risk_free")[inside]
    return sharpe_sample(excess).sharpe * SESSIONS_PER_YEAR**0.5 if len(excess) > 1 else float("nan")


CALIBRATED = (
    "temporary_impact", "temporary_impact_error", "crowd_impact", "crowd_impact_error", "crowd_rate",
    "crowd_rate_error", "median_half_spread", "median_volatility", "calibration_notes",
)  # fmt: skip


def calibration_table(pods: Sequence[PodResult]) -> Grid:
    """What each fold calibrated in its training window; a calibration that several pods share is one row."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for pod in pods:
        for row in pod.folds.to_dict("records"):
            window = f"{day(row['train_start'])} to {day(row['train_end'])}"
            key = (int(row["fold"]), window, *(_hashable(row[name]) for name in CALIBRATED))
            seen.setdefault(key, []).append(pod.name)
    rows: list[tuple[str | Cell, ...]] = []
    for key, owners in sorted(seen.items(), key=lambda item: item[0][0]):
        eta0, eta0_error, eta1, eta1_error, crowd, crowd_error, spread, volatility, notes = key[2:]
        if not any(is_number(v) for v in (eta0, eta1, spread, volatility)):
            continue
        numbers = (
            f"{significant(eta0)} ± {significant(eta0_error, 2)}",
            f"{significant(eta1)} ± {significant(eta1_error, 2)}",
            f"{significant(crowd)} ± {significant(crowd_error, 2)}",
            basis_points(spread),
            percent(volatility, 2),
        )
        who = "all" if len(owners) == len(pods) else ", ".join(owners)
        rows.append((str(key[0]), key[1], who, *(Cell(n, "n") for n in numbers), Cell(str(notes or "–"), "long")))
    numeric = ("η0 ± s.e.", "η1 ± s.e.", "Crowd rate ± s.e.", "Half-spread, bps", "Volatility")
    return Grid(
        key="calibration",
        head=("Fold", "Training window", "Pods", *(Cell(name, "n") for name in numeric), "Notes"),
        rows=rows,
        words=9,
        style="wide",
        empty="Nothing was calibrated in this run.",
        note="Half-spread and daily volatility: medians over the instruments. Crowd rate: daily volumes per session.",
    )


def _hashable(value: Any) -> Any:
    return None if value is None or value != value else value


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


def certificate_table(certificate: Mapping[str, Any]) -> Grid:
    """The proof that came with a solve."""
    lines = (
        ("residual", "Residual of the undamped fixed point"),
        ("tolerance", "Tolerance"),
        ("exploitability", "Exploitability (gain of the best deviation)"),
        ("mass_error", "Mass error"),
        ("discretisation_error", "Error of the time grid"),
        ("iterations", "Iterations"),
        ("converged", "Converged"),
        ("status", "Status"),
    )
    rows = [(label, plain_number(certificate[name])) for name, label in lines if name in certificate]
    return Grid(key="certificate", head=("Certificate", ""), rows=rows, words=1, style="wide")


def plain_number(value: Any) -> str:
    """A number with three digits that count, anything else in words."""
    return significant(value, 3) if is_number(value) and not isinstance(value, int) else clip_text(plain(value), 120)


@dataclass(frozen=True, slots=True)
class GamePaths:
    """The paths of a solved execution game that the page draws; each (nt+1,) on `times`.

    `gain` is the part of the inventory traded per session, `remaining` the part of an inventory still held, `mean`
    and `rate` the crowd's mean inventory and trading rate, `friction` the temporary impact eta.
    """

    times: Floats
    gain: Floats
    remaining: Floats
    friction: Floats
    mean: Floats
    rate: Floats


def game_paths(policy: PolicyArtefact) -> GamePaths:
    """The paths of a policy file.

    Raises
    ------
    DataError
        When the file is not that of an execution game.
    """
    arrays = policy.arrays
    absent = [name for name in ("times", "riccati", "friction", "log_remaining") if name not in arrays]
    if absent:
        raise DataError(
            f"the policy must have the array {absent[0]}; it has {', '.join(sorted(arrays))}: run the backtest again"
        )
    times, remaining = arrays["times"].astype(float), np.exp(arrays["log_remaining"].astype(float))
    friction = arrays["friction"].astype(float)
    gain = 2.0 * arrays["riccati"].astype(float) / friction
    mean = float(game_parameters(policy)["initial_mean"]) * remaining
    return GamePaths(times, gain, remaining, friction, mean, -gain * mean)


def game_parameters(policy: PolicyArtefact) -> Mapping[str, Any]:
    """The game's parameters in the policy's description."""
    found = policy.parameters.get("game") or policy.parameters
    inner = found.get("parameters", found)
    if "initial_mean" not in inner:
        raise DataError(f"the policy must hold the parameters of an execution game; it has {plain(found)}")
    return inner  # type: ignore[no-any-return]


def crowd_density(paths: GamePaths, parameters: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """(nx,) inventories and the (nt+1, nx) Gaussian density of the crowd over them.

    dX = -gain X dt + sqrt(2 nu) dW from a Gaussian start stays Gaussian: mean = mu_0 R, variance = R^2 (s_0^2 +
    2 nu int R^-2 dt), R the part that remains (trapezoidal rule). A point-like law is drawn 2 % of the width wide.
    """
    spread, noise = float(parameters.get("initial_std", 0.0)), float(parameters.get("inventory_noise", 0.0))
    inverse = paths.remaining**-2
    grown = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(paths.times) * (inverse[1:] + inverse[:-1]))])
    deviation = paths.remaining * np.sqrt(spread**2 + 2.0 * noise * grown)
    low = min(0.0, float((paths.mean - 3.0 * deviation).min()))
    high = max(0.0, float((paths.mean + 3.0 * deviation).max()))
    air = 0.05 * (high - low or 1.0)
    states = np.linspace(low - air, high + air, 161)
    width = np.maximum(deviation, 0.02 * (high - low or 1.0))
    score = (states[None, :] - paths.mean[:, None]) / width[:, None]
    return states, np.exp(-0.5 * score**2) / (width[:, None] * np.sqrt(2.0 * np.pi))


def policy_page(policy: PolicyArtefact, digest: str, pods: Sequence[str], fold: int, *, everybody: bool) -> PolicyPage:
    """One solved policy in pictures: what it does against equal parts and at once, and the crowd it answers."""
    paths, parameters = game_paths(policy), game_parameters(policy)
    times, horizon = paths.times, float(paths.times[-1])
    states, density = crowd_density(paths, parameters)
    equal = 1.0 - times / horizon
    at_once = np.maximum(0.0, 1.0 - times)
    x_words = "sessions after the decision"
    fraction = lambda v: percent(v, 0)  # noqa: E731
    pictures = (
        (
            "Part of the order still to trade",
            charts.curves(
                times,
                [
                    Series("mean field", paths.remaining, "s0"),
                    Series("equal parts", equal, "s1"),
                    Series("at once", at_once, "sb"),
                ],
                "Part of an order that remains, by policy",
                x_words,
                fraction,
                include=[0.0, 1.0],
            ),
            "The mean-field policy against equal parts (TWAP) and everything in the first session.",
        ),
        (
            "Trading rate",
            charts.curves(
                times,
                [
                    Series("mean field", paths.gain * paths.remaining, "s0"),
                    Series("equal parts", np.full(len(times), 1.0 / horizon), "s1"),
                ],
                "Part of the order traded per session, by policy",
                x_words,
                fraction,
                include=[0.0],
            ),
            "Part of the first order traded per session.",
        ),
        (
            "The crowd's inventory",
            charts.density_map(
                times, states, density, paths.mean, "Density of the crowd over time and inventory", x_words
            ),
            "Inventory in daily volumes. Darkness is the square root of the density; the line is the mean.",
        ),
        (
            "Temporary impact and the crowd's rate",
            charts.curves(
                times,
                [Series("impact η", paths.friction, "s1"), Series("|crowd rate|", np.abs(paths.rate), "s0")],
                "Temporary impact and the crowd's trading rate",
                x_words,
                include=[0.0],
            ),
            "η in units of σp per daily volume a session; the rate in daily volumes per session.",
        ),
    )
    who = "all pods" if everybody else ", ".join(pods)
    return PolicyPage(
        digest=digest,
        title=f"Policy {short_hash(digest)} of fold {fold}, used by {who}",
        sentence="Every trader of a crowd that must finish the same kind of order chooses its speed against the "
        "others; the policy is the speed from which nobody gains by deviating.",
        pictures=pictures,
        certificate=certificate_table(policy.certificate),
        parameters=Grid(
            key="game",
            head=("Game", ""),
            rows=[(words(name), plain_number(value)) for name, value in parameters.items()],
            style="wide",
        ),
    )
