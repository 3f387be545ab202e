"""The walk-forward's folds: windows, chosen parameters, scores, and what each calibrated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reports.formats import basis_points, day, integer, is_number, number, percent, plain, short_hash, significant
from reports.read_run import PodResult, RunView
from reports.tables import Cell, Grid


def fold_tables(run: RunView) -> list[tuple[str, Grid]]:
    """Per pod, each fold's windows, chosen parameters, and the score in training beside the one out of sample."""
    return [(pod.name, _fold_table(pod, *grid_names(run, pod))) for pod in run.pods]


def choice_words(run: RunView) -> str:
    """How the folds chose their parameters."""
    if run.configuration.get("selection") == "nested":
        return (
            "Each fold chooses its parameters inside the training window by purged cross-validation in "
            f"{integer(run.configuration.get('inner_folds'))} folds: the score in training is that of sessions that "
            "the inner fit did not see. The test window then shows what the choice was worth."
        )
    return (
        "Each fold chooses its parameters by a screening of the training window, on the sessions that it was fitted "
        "to; the test window then shows what that choice was worth."
    )


def grid_names(run: RunView, pod: PodResult) -> tuple[list[str], list[str]]:
    """Parameters that the pod's grid varies (or that differ between its folds), and the others."""
    members = [parameters_of(value) for value in pod.folds["parameters"]]
    for settings in run.configuration.get("pods", ()):
        if settings.get("name") == pod.name:
            members += [dict(member.get("parameters") or {}) for member in settings.get("grid") or ()]
    names = list(dict.fromkeys(name for member in members for name in member))
    chosen = [name for name in names if len({plain(member.get(name)) for member in members}) > 1]
    return chosen, [name for name in names if name not in chosen]


def _fold_table(pod: PodResult, chosen: Sequence[str], fixed: Sequence[str]) -> Grid:
    rows = []
    for row in pod.folds.to_dict("records"):
        rows.append(
            (
                integer(row["fold"]),
                Cell(f"{day(row['train_start'])} to {day(row['train_end'])}", "w"),
                Cell(f"{day(row['test_start'])} to {day(row['test_end'])}", "w"),
                Cell(_named(parameters_of(row["parameters"]), chosen) or "the only set", "w"),
                Cell(integer(row["trials"]), "n"),
                Cell(number(row["training_score"], 2), "n"),
                Cell(number(out_of_sample_score(pod, row["fold"]), 2), "n"),
                Cell(short_hash(row["policy_hash"], 8), "mono w", str(row["policy_hash"] or "")),
            )
        )
    fixed_text = _named(parameters_of(pod.folds["parameters"].iloc[0]), fixed) if len(pod.folds) else ""
    numeric = [Cell(name, "n") for name in ("Trials", "Score in training", "Sharpe in test")]
    return Grid(
        key=f"folds-{pod.name}",
        head=("Fold", "Training window", "Test window", "Chosen parameters", *numeric, "Policy"),
        rows=rows,
        words=8,
        style="wide",
        empty="No fold.",
        note=f"Score in training: annual Sharpe ratio over CDI. In every fold: {fixed_text}." if fixed_text else "",
    )


def parameters_of(value: Any) -> dict[str, Any]:
    """The parameters of a fold, a JSON object."""
    content = json.loads(value)
    return content if isinstance(content, dict) else {}


def _named(parameters: Mapping[str, Any], names: Sequence[str]) -> str:
    return plain({name: parameters[name] for name in names if name in parameters}) if names else ""


def out_of_sample_score(pod: PodResult, fold: Any) -> float:
    """Annual Sharpe ratio over CDI of the pod's sessions in one fold's test window."""
    from backtests.evidence.statistics import SESSIONS_PER_YEAR, sharpe_sample

    inside = pod.account["fold"].to_numpy() == fold
    excess = pod.column("return")[inside] - pod.column("risk_free")[inside]
    return sharpe_sample(excess).sharpe * SESSIONS_PER_YEAR**0.5 if len(excess) > 1 else float("nan")


CALIBRATED = (
    "temporary_impact", "temporary_impact_error", "crowd_impact", "crowd_impact_error", "crowd_rate",
    "crowd_rate_error", "median_half_spread", "median_volatility",
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
        eta0, eta0_error, eta1, eta1_error, crowd, crowd_error, spread, volatility = key[2:]
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
        rows.append((str(key[0]), Cell(key[1], "w"), who, *(Cell(n, "n") for n in numbers)))
    numeric = ("η0 ± s.e.", "η1 ± s.e.", "Crowd rate ± s.e.", "Half-spread, bps", "Volatility")
    return Grid(
        key="calibration",
        head=("Fold", "Training window", "Pods", *(Cell(name, "n") for name in numeric)),
        rows=rows,
        words=8,
        style="wide",
        empty="Nothing was calibrated in this run.",
        note="s.e.: standard error. η0, η1 in units of σ·p per daily volume a session. Half-spread and daily "
        "volatility: medians over the instruments. Crowd rate: daily volumes per session.",
    )


def note_table(pods: Sequence[PodResult]) -> Grid:
    """What the calibrations noted: sentences that differ only in their numbers are said once, with the range."""
    folds: dict[str, set[int]] = {}
    numbers: dict[str, list[list[str]]] = {}
    for pod in pods:
        for row in pod.folds.to_dict("records"):
            for sentence in re.split(r"(?<=\.)\s+", str(row["calibration_notes"] or "").strip()):
                if sentence:
                    pattern = NUMBER.sub("\0", sentence)
                    folds.setdefault(pattern, set()).add(int(row["fold"]))
                    numbers.setdefault(pattern, []).append(NUMBER.findall(sentence))
    rows = [
        (fold_ranges(sorted(folds[pattern])), Cell(_with_ranges(pattern, numbers[pattern]), "long"))
        for pattern in sorted(folds, key=lambda p: (-len(folds[p]), min(folds[p]), p))
    ]
    return Grid(key="calibration-notes", head=("Folds", "Note"), rows=rows, words=2, empty="No calibration had a note.")


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?\b")
"""A number of its own in a sentence, and not the digit of a name like eta1."""


def fold_ranges(folds: Sequence[int]) -> str:
    """Folds in words.

    >>> fold_ranges([0, 1, 2, 5])
    '0–2, 5'
    """
    runs: list[list[int]] = []
    for fold in folds:
        if runs and fold == runs[-1][-1] + 1:
            runs[-1].append(fold)
        else:
            runs.append([fold])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _with_ranges(pattern: str, found: Sequence[Sequence[str]]) -> str:
    """The sentence with its numbers; one that differs between folds as lowest to highest."""
    parts = pattern.split("\0")
    text = parts[0]
    for part, values in zip(parts[1:], zip(*found, strict=True), strict=True):
        low, high = min(values, key=float), max(values, key=float)
        text += (low if low == high else f"{low} to {high}") + part
    return text


def _hashable(value: Any) -> Any:
    return None if value is None or value != value else value
