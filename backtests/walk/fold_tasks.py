"""The work of a walk-forward as functions of picklable arguments, run in worker processes.

    calibrate_fold   training window -> costs, game, equilibrium -> policy file          (one per fold or split)
    select_pod       training window, costs -> score of every parameter set -> the best  (one per pod and fold or split)
    run_account      test windows in order -> one account                                (one per pod)
    run_blocks       the groups that a split tests -> an account from flat in each       (one per pod and split)

Each returns the bytes that the ledger keeps. Only the last two ever look at a tested session.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.walk.choice import score_choices
from backtests.walk.combinatorial import Split
from backtests.walk.folds import Fold
from backtests.walk.plan import ChoiceRule, ExecutorKind, PodPlan, WalkForwardPlan, parameters_json
from backtests.walk.policy_files import PolicyArtefact, read_policy, require_hashes, write_policy
from backtests.walk.result import COLUMNS, Table
from backtests.walk.training import Training, separated, training_hash, training_view
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from data_pipeline.disk import canonical_json, npz_bytes, plain_json
from mfg_core.daily.calibration import ExecutionCalibration
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Executor, Immediate, MeanFieldSchedule, Twap

if TYPE_CHECKING:
    from backtests.daily.simulator import Segment

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the data and the policies lie, and the hash of the code; the same for every task of a run."""

    panel: Path
    policies: Path
    code_hash: str


@dataclass(frozen=True, slots=True)
class CalibrationTask:
    """Argument of `calibrate_fold`."""

    place: Workplace
    plan: WalkForwardPlan
    fold: Training


@dataclass(frozen=True, slots=True)
class SelectionTask:
    """Argument of `select_pod`; the costs of the fold's policy are charged in the screening."""

    place: Workplace
    pod: PodPlan
    fold: Training
    policy: str
    choice: ChoiceRule


@dataclass(frozen=True, slots=True)
class AccountTask:
    """Argument of `run_account`: the chosen parameter set and the policy of each fold."""

    place: Workplace
    plan: WalkForwardPlan
    pod: PodPlan
    folds: tuple[Fold, ...]
    chosen: tuple[int, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlocksTask:
    """Argument of `run_blocks`: the chosen parameter set and the policy of a split."""

    place: Workplace
    plan: WalkForwardPlan
    pod: PodPlan
    split: Split
    chosen: int
    policy: str


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """What the ledger keeps of a calibration."""

    policy_hash: str
    calibration: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What the ledger keeps of a selection.

    `scores` are annual Sharpe ratios of every parameter set, NaN where none exists, over `observations` sessions of
    the training window: in-sample ones of a screening, those out of the inner folds' samples of a nested choice.
    `inner_scores` (inner fold, parameter set) are the latter fold by fold; empty for a screening.
    """

    chosen: int
    parameters: Mapping[str, Any]
    scores: tuple[float, ...]
    observations: int
    inner_scores: tuple[tuple[float, ...], ...] = ()


def calibrate_fold(task: CalibrationTask) -> bytes:
    """Calibrate the costs on the training window, solve the execution game, write the policy file."""
    from mfg_core import policy_arrays, policy_metadata, solve_mfg
    from strategies.execution import mean_field_schedule

    panel, plan = _panel(task.place.panel), task.plan
    view = training_view(panel, task.fold)
    calibration = calibrate_view(view, plan, task.fold.ranges)
    game = calibration.execution_game(
        horizon=float(plan.horizon), risk_aversion=plan.risk_aversion, terminal_penalty=plan.terminal_penalty
    )
    equilibrium = solve_mfg(game, rtol=plan.rtol)
    schedule = mean_field_schedule(equilibrium)
    metadata = policy_metadata(equilibrium)
    summary = plain_json(calibration.summary())
    costs = costs_of_all(calibration.costs, view.members)
    artefact = PolicyArtefact(
        arrays=dict(policy_arrays(equilibrium))
        | {
            "session_fractions": schedule.fractions,
            "session_crowd_rate": schedule.crowd_rate,
            "costs_half_spread": costs.half_spread,
            "costs_volatility": costs.volatility,
            "costs_daily_volume": costs.daily_volume,
        },
        parameters=metadata["game"],
        certificate=metadata["certificate"] | {"status": metadata["certificate"]["status_sentence"]},
        calibration=summary
        | {
            "temporary_impact": costs.temporary_impact,
            "crowd_impact": costs.crowd_impact,
            "fee": costs.fee,
            "instruments": view.instruments,
        },
        window={
            "first": panel.sessions[task.fold.ranges[0].start],
            "last": view.session,
            "sessions": sum(len(piece) for piece in task.fold.ranges),
        },
        hashes={"data": training_hash(panel, task.fold.ranges), "code": task.place.code_hash},
        model={"kind": metadata["kind"], "version": metadata["version"], "rtol": plan.rtol},
    )
    digest = write_policy(task.place.policies, artefact)
    return canonical_json({"policy_hash": digest, "calibration": summary})


def calibrate_view(
    view: MarketView, plan: WalkForwardPlan, ranges: Sequence[range] | None = None
) -> ExecutionCalibration:
    """The calibration on the members of a view's universe, prices and volumes in shares of its last session.

    Fields that the data do not have at all (a panel of closes) are left out. Of several `ranges` (the first begins
    with the view, the last ends with it) the rows between them are left out, and nothing reaches from one into the
    next.

    Raises
    ------
    ValueError
        When the universe has no member yet.
    """
    from mfg_core.daily.calibration import VOLUME_WINDOW, calibrate_execution

    members = view.members
    if not members.any():
        raise ValueError(
            f"the universe must have a member by the end of the training window, {view.session}; it has none: lower "
            "min_median_value or min_presence, or lengthen the training window"
        )

    # so many empty rows that no window of volumes reaches across a seam
    kept = separated(ranges or (range(view.n_sessions),), VOLUME_WINDOW)
    session = kept >= 0

    def rows(name: str) -> Floats:
        values = view.history(name, view.n_sessions)[:, members]
        return values if session.all() else np.where(session[:, None], values[kept], np.nan)

    optional: dict[str, Floats] = {}
    bars = {"opening": rows("open"), "high": rows("high"), "low": rows("low")}
    quotes = {"bid": rows("bid"), "ask": rows("ask")}
    for group in (bars, quotes):
        if not any(np.isnan(values).all() for values in group.values()):
            optional |= group
    volume = rows("volume")
    if np.nansum(volume) > 0.0:
        optional["volume"] = volume
    return calibrate_execution(
        close=rows("close"),
        traded_value=rows("traded_value"),
        fee=plan.fee,
        prior=plan.prior,
        session=None if session.all() else session,
        **optional,
    )


def costs_of_all(costs: TradingCosts, members: NDArray[np.bool_]) -> TradingCosts:
    """Costs of every instrument from those of the members (N,) of the universe.

    Whoever joins later gets pooled costs, dear on purpose like those of instruments with too few sessions: the 90th
    percentile of spread and volatility, the 10th of the volume.
    """
    if members.all():
        return costs

    def spread_out(values: Floats, quantile: float) -> Floats:
        whole = np.full(members.size, np.quantile(values, quantile))
        whole[members] = values
        return whole

    return dataclasses.replace(
        costs,
        half_spread=spread_out(costs.half_spread, 0.9),
        volatility=spread_out(costs.volatility, 0.9),
        daily_volume=spread_out(costs.daily_volume, 0.1),
    )


def read_fold_policy(payload: bytes) -> FoldPolicy:
    """The ledger's record of a calibration."""
    record = json.loads(payload)
    return FoldPolicy(record["policy_hash"], record["calibration"])


def select_pod(task: SelectionTask) -> bytes:
    """Score every parameter set on the training window, as the rule of choice says, and take the best; it must fit.

    The highest score wins, the first in the grid among equals; a set without a score (NaN) never beats one that has
    a score. When no set has one, the first is chosen and the record says so by its scores.
    """
    panel = _panel(task.place.panel)
    costs = policy_costs(_fold_policy(task.place, panel, task.fold, task.policy))
    found = score_choices(panel, task.fold.ranges, task.pod.grid, costs, task.choice)
    chosen = best_index(found.scores)
    pod = task.pod.grid[chosen]
    pod.fit(training_view(panel, task.fold))
    record = {
        "chosen": chosen,
        "parameters": parameters_json(pod.parameters),
        "scores": found.scores,
        "observations": found.observations,
        "inner_scores": found.inner_scores,
    }
    return canonical_json(record)


def best_index(scores: Sequence[float]) -> int:
    """Index of the first highest score; NaN loses to every number; 0 when all are NaN.

    >>> best_index([float("nan"), 1.0, 2.0, 2.0])
    2
    """
    ranked = [-math.inf if math.isnan(score) else score for score in scores]
    return max(range(len(ranked)), key=lambda index: (ranked[index], -index))


def read_selection(payload: bytes) -> Selection:
    """The ledger's record of a selection."""
    record = json.loads(payload)
    return Selection(
        record["chosen"],
        record["parameters"],
        _numbers(record["scores"]),
        record["observations"],
        tuple(_numbers(row) for row in record["inner_scores"]),
    )


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def run_account(task: AccountTask) -> bytes:
    """One continuous account over all test windows: fold by fold the fitted decider, its costs and its executor.

    Positions and orders are carried over the borders of folds; nothing is sold because a fold ends. Beside it go the
    returns of the whole grid, each set fitted on the same training windows and replayed cheaply over the same tests:
    what the choice could have been, for the statistics of overfitting.
    """
    from backtests.daily.screening import replay
    from backtests.daily.simulator import simulate

    panel, segments = account_segments(task)
    plan, trials = task.plan, []
    for fold, segment in zip(task.folds, segments, strict=True):
        deciders = [member.fit(training_view(panel, fold)) for member in task.pod.grid]
        trials.append(replay(panel, deciders, fold.test, segment.costs, pod=task.pod.name))
    account = simulate(
        panel,
        segments,
        rules=plan.rules,
        capital=plan.capital,
        limits=task.pod.limits,
        pod=task.pod.name,
        var_window=plan.var_window,
    )
    tables = account.tables()
    orders = tables["orders"]
    price = account.price[account.orders.row, account.orders.instrument]
    tables["orders"] = {name: price if name == "price" else orders[name] for name in COLUMNS["orders"]}
    return tables_bytes(tables, np.concatenate(trials))


def account_segments(task: AccountTask) -> tuple[DailyPanel, list[Segment]]:
    """The panel, and every test window with its chosen pod, fitted, its costs and its executor."""
    from backtests.daily.simulator import Segment

    panel, segments = _panel(task.place.panel), []
    for fold, chosen, digest in zip(task.folds, task.chosen, task.policies, strict=True):
        policy = _fold_policy(task.place, panel, fold, digest)
        segments.append(
            Segment(
                first=fold.test.start,
                last=fold.test.stop - 1,
                decider=task.pod.grid[chosen].fit(training_view(panel, fold)),
                costs=policy_costs(policy),
                executor=make_executor(task.pod.execution, task.plan.horizon, policy),
                fold=fold.index,
                costs_row=fold.train.stop - 1,
            )
        )
    return panel, segments


def run_blocks(task: BlocksTask) -> bytes:
    """An account from flat in each group that the split tests: `backtests.walk.blocks.account_blocks`."""
    from backtests.walk.blocks import account_blocks

    panel, plan, split = _panel(task.place.panel), task.plan, task.split
    policy = _fold_policy(task.place, panel, split, task.policy)
    decider = task.pod.grid[task.chosen].fit(training_view(panel, split))
    executor = make_executor(task.pod.execution, plan.horizon, policy)
    return account_blocks(panel, plan, task.pod, split, decider, policy_costs(policy), executor)


def _fold_policy(place: Workplace, panel: DailyPanel, fold: Training, digest: str) -> PolicyArtefact:
    """The policy file, proven to be of this fold's training rows and of this code."""
    policy = read_policy(place.policies, digest)
    require_hashes(policy, digest, data=_training_digest(place.panel, tuple(fold.ranges)), code=place.code_hash)
    return policy


def policy_costs(policy: PolicyArtefact) -> TradingCosts:
    """The costs that were calibrated with a policy."""
    return TradingCosts(
        half_spread=policy.arrays["costs_half_spread"],
        volatility=policy.arrays["costs_volatility"],
        daily_volume=policy.arrays["costs_daily_volume"],
        temporary_impact=policy.calibration["temporary_impact"],
        crowd_impact=policy.calibration["crowd_impact"],
        fee=policy.calibration["fee"],
    )


def make_executor(kind: ExecutorKind, horizon: int, policy: PolicyArtefact) -> Executor:
    """The executor of that kind; every kind trades beside the crowd of the policy's equilibrium."""
    crowd = tuple(policy.arrays["session_crowd_rate"].tolist())
    if kind == "mean_field":
        return MeanFieldSchedule(tuple(policy.arrays["session_fractions"].tolist()), crowd)
    return Twap(horizon, crowd) if kind == "twap" else Immediate(crowd)


def tables_bytes(tables: Mapping[str, Table], trials: Floats) -> bytes:
    """Tables as the ledger keeps them: text as fixed-width Unicode, dates as datetime64[D]; and the grid's returns."""
    arrays: dict[str, NDArray[Any]] = {"trials": trials}
    for name, table in tables.items():
        for column, values in table.items():
            text = COLUMNS[name][column] == "text"
            arrays[f"{name}.{column}"] = np.asarray(values).astype(np.str_) if text else values
    return npz_bytes(arrays)


def read_tables(payload: bytes, names: Iterable[str]) -> dict[str, dict[str, NDArray[Any]]]:
    """Those tables of `tables_bytes`, columns in file order."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        return {name: {column: archive[f"{name}.{column}"] for column in COLUMNS[name]} for name in names}


def read_trials(payload: bytes) -> Floats:
    """Daily excess returns (T, P) of every parameter set of a pod over the test windows, from `tables_bytes`."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        return np.asarray(archive["trials"])


@lru_cache(maxsize=256)
def _training_digest(folder: Path, ranges: tuple[range, ...]) -> str:
    """The hash of a training window, once per process: every pod of a fold asks for it."""
    return training_hash(_panel(folder), ranges)


@lru_cache(maxsize=1)
def _panel(folder: Path) -> DailyPanel:
    """The run's panel, memory-mapped and checked once per process."""
    from data_pipeline.daily.panel_files import load_panel

    return load_panel(folder)
