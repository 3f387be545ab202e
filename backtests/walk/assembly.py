"""From finished accounts to a run: the table of folds, the count of trials, statistics and comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.comparison import compare_pods
from backtests.evidence.statistics import SESSIONS_PER_YEAR, trial_variance_over
from backtests.walk.blocks import Block
from backtests.walk.combinatorial import Split
from backtests.walk.fold_tasks import FoldPolicy, Selection
from backtests.walk.folds import Fold
from backtests.walk.kept_tables import KeptTables
from backtests.walk.overfit_record import all_returns, grid_record, haircut_record
from backtests.walk.path_record import PathScheme, joined_blocks, path_files
from backtests.walk.plan import WalkForwardPlan, describe
from backtests.walk.result import COLUMNS, NUMPY_KINDS, Result, Run, Table, account_statistics
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.disk import canonical_json, plain_json, pretty_json, sha256_hex

NO_QUALITY = {"light": "none", "reasons": ["no data-quality summary was given to the backtest"]}


@dataclass(frozen=True, slots=True, eq=False)
class RunParts:
    """What the tasks of a run left in the ledger.

    Attributes
    ----------
    policies : mapping from fold
    choices, split_choices : mapping from (pod, fold) or (pod, split)
    accounts : mapping from pod to its tables, most of which stay in the ledger
    trials : mapping from pod to (T, P) float64
        Daily excess returns of every parameter set over the test windows.
    blocks : mapping from (pod, group, split)
    """

    policies: Mapping[int, FoldPolicy]
    choices: Mapping[tuple[str, int], Selection]
    accounts: Mapping[str, KeptTables]
    trials: Mapping[str, NDArray[np.float64]]
    split_choices: Mapping[tuple[str, int], Selection] = field(default_factory=dict)
    blocks: Mapping[tuple[str, int, int], Block] = field(default_factory=dict)


def assemble_run(
    plan: WalkForwardPlan,
    panel: DailyPanel,
    folds: Sequence[Fold],
    provenance: Mapping[str, Any],
    parts: RunParts,
    quality: Mapping[str, Any] | None,
) -> Run:
    """Everything that the run folder holds, from what the ledger holds."""
    configuration = describe(plan)
    provenance = dict(provenance) | {"configuration_hash": sha256_hex(canonical_json(configuration))}
    variance = count_trials(list(parts.choices.values()), sum(len(fold.test) for fold in folds) - 1)[1]
    counted = provenance["trials"]
    results = []
    for pod in plan.pods:
        table = folds_table(pod.name, panel, folds, parts.policies, parts.choices)
        tables = parts.accounts[pod.name].having("folds", table)
        statistics = account_statistics(tables, counted["of_data"], variance, periods_per_year=plan.sessions_per_year)
        statistics |= _search_record(plan, counted, statistics, parts.trials[pod.name])
        results.append(Result(pod.name, tables, statistics, provenance))
    comparison = compare_pods(
        {result.pod: result.returns[1:] for result in results},
        results[0].risk_free[1:],
        plan.benchmark,
        {result.pod: result.statistics for result in results},
        seed=plan.seed,
        draws=plan.bootstrap_draws,
        periods_per_year=plan.sessions_per_year,
    )
    comparison |= {"all_trials": _grid_record(plan, all_returns(parts.trials))}
    limits = next((pod.limits.limits for pod in plan.pods if pod.limits is not None), ())
    return Run(
        name=plan.name,
        benchmark=plan.benchmark,
        results=tuple(results),
        configuration=configuration,
        provenance=provenance,
        limits=tuple(plain_json(limit) for limit in limits),
        comparison=comparison,
        quality=quality or NO_QUALITY,
    )


def evidence_files(
    plan: WalkForwardPlan, panel: DailyPanel, splits: Sequence[Split], parts: RunParts
) -> dict[str, bytes]:
    """Files of the run beside its tables: every choice with its scores and, of a combinatorial run, the paths."""
    choices = {
        pod.name: {
            "folds": choice_list(parts.choices, pod.name),
            "splits": choice_list(parts.split_choices, pod.name),
        }
        for pod in plan.pods
    }
    files = {"evidence/choices.json": pretty_json({"selection": plan.selection, "pods": choices})}
    if plan.combinatorial is not None:
        scheme = PathScheme(
            settings=plan.combinatorial,
            days=panel.sessions,
            rows=plan.tested_rows(panel.sessions.size),
            pods=tuple(pod.name for pod in plan.pods),
            capital=plan.capital,
            sessions_per_year=plan.sessions_per_year,
        )
        files |= path_files(scheme, splits, joined_blocks(scheme, parts.blocks))
    return files


def choice_list(choices: Mapping[tuple[str, int], Selection], pod: str) -> list[dict[str, Any]]:
    """The choices of one pod in JSON types, in the order of their training windows."""
    found = {key: choice for (name, key), choice in choices.items() if name == pod}
    return [plain_json(found[key]) for key in sorted(found)]


def _search_record(
    plan: WalkForwardPlan, counted: Mapping[str, Any], statistics: Mapping[str, Any], returns: NDArray[np.float64]
) -> dict[str, Any]:
    """What `statistics.json` says of the search that a pod's account came from."""
    year = plan.sessions_per_year
    names = ("of_study", "of_data", "recorded")
    return {
        "trial_count": {name: counted[name] for name in names} | {"earlier": counted["of_data"] - counted["of_study"]},
        "overfitting": _grid_record(plan, returns),
        "haircut": haircut_record(statistics.get("sharpe"), statistics["observations"], counted["of_data"], year),
    }


def _grid_record(plan: WalkForwardPlan, returns: NDArray[np.float64]) -> dict[str, Any]:
    year = plan.sessions_per_year
    return grid_record(returns, draws=plan.bootstrap_draws, seed=plan.seed, periods_per_year=year)


def count_trials(choices: Sequence[Selection], test_sessions: int) -> tuple[int, float]:
    """Number of trials of a run, and the variance of their Sharpe ratios per session over `test_sessions`.

    Every parameter set of every pod in every fold is a trial: each was scored on a training window and could have
    been the one that is shown. The variance of the scores is that of the trials' true ratios plus the noise of
    estimation, about 1/T over T sessions. Only the noise depends on the length, so that of the training windows is
    taken out and that of the test is put in; without a visible difference between trials the noise alone is left.
    With fewer than two scores nothing is known of what trials differ by, and the noise of the test is left too: other
    studies on the same data may have tried many.
    """
    scored = [(score, choice.observations) for choice in choices for score in choice.scores if math.isfinite(score)]
    trials = sum(len(choice.scores) for choice in choices)
    if len(scored) < 2:
        return trials, 1.0 / test_sessions
    ratios, observations = np.array(scored, dtype=np.float64).T
    spread = float(np.var(ratios, ddof=1)) / SESSIONS_PER_YEAR
    return trials, trial_variance_over(test_sessions, spread, float(np.mean(1.0 / observations)))


def folds_table(
    pod: str,
    panel: DailyPanel,
    folds: Sequence[Fold],
    policies: Mapping[int, FoldPolicy],
    choices: Mapping[tuple[str, int], Selection],
) -> Table:
    """The table of folds of one pod: windows, chosen parameters, calibration, policy."""
    rows = []
    for fold in folds:
        choice, policy = choices[pod, fold.index], policies[fold.index]
        record: dict[str, Any] = {
            "fold": fold.index,
            "train_start": panel.sessions[fold.train.start],
            "train_end": panel.sessions[fold.train.stop - 1],
            "test_start": panel.sessions[fold.test.start],
            "test_end": panel.sessions[fold.test.stop - 1],
            "parameters": canonical_json(choice.parameters).decode(),
            "trials": len(choice.scores),
            "training_score": choice.scores[choice.chosen],
            "calibration_notes": policy.calibration["notes"],
            "policy_hash": policy.policy_hash,
        }
        rows.append(record | {name: policy.calibration[name] for name in COLUMNS["folds"] if name not in record})
    return {
        column: np.array([math.nan if row[column] is None else row[column] for row in rows], dtype=NUMPY_KINDS[kind])
        for column, kind in COLUMNS["folds"].items()
    }
