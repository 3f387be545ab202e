"""The walk-forward's folds: windows, chosen parameters, scores, and what each calibrated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reports.formats import basis_points, day, integer, is_number, number, percent, plain, short_hash, significant
from reports.read_run import PodResult
from reports.tables import Cell, Grid


def fold_tables(pods: Sequence[PodResult]) -> list[tuple[str, Grid]]:
    """Per pod, each fold's windows, chosen parameters, and the score in training beside the one out of sample."""
    return [(pod.name, _fold_table(pod)) for pod in pods]


def _fold_table(pod: PodResult) -> Grid:
    rows = []
    for row in pod.folds.to_dict("records"):
        rows.append(
            (
                integer(row["fold"]),
                Cell(f"{day(row['train_start'])} to {day(row['train_end'])}", "w"),
                Cell(f"{day(row['test_start'])} to {day(row['test_end'])}", "w"),
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
        rows.append(
            (str(key[0]), Cell(key[1], "w"), who, *(Cell(n, "n") for n in numbers), Cell(str(notes or "–"), "long"))
        )
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
