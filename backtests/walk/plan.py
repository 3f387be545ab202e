"""What a walk-forward is asked to do, and its description: the part of every result's key that is not data or code."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backtests.daily.accounting import TradingRules
from backtests.errors import WindowError
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.combinatorial import CombinatorialSettings, Split, make_splits
from backtests.walk.folds import FoldSettings
from backtests.walk.provenance import ROOMS
from backtests.walk.sensitivity import Sensitivity, varied
from data_pipeline.disk import plain_json
from mfg_core.daily.calibration import ExecutionPrior
from risk.limits import LimitSet
from strategies.pod import Pod

ExecutorKind = Literal["mean_field", "twap", "immediate"]
EXECUTORS: tuple[ExecutorKind, ...] = ("mean_field", "twap", "immediate")


ChoiceKind = Literal["screen", "nested"]
CHOICES: tuple[ChoiceKind, ...] = ("screen", "nested")


@dataclass(frozen=True, slots=True)
class ChoiceRule:
    """How a training window chooses parameters (`backtests.walk.choice`).

    Attributes
    ----------
    kind : "screen" or "nested"
    folds : int
        Inner folds of a nested choice.
    purge, embargo : int
        Sessions kept out of inner training beside a tested fold, as `CombinatorialSettings` has them.
    """

    kind: ChoiceKind = "screen"
    folds: int = 5
    purge: int = 1
    embargo: int = 0


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One pod of a run.

    Attributes
    ----------
    name : str
        Its name in results; the name of its folder.
    grid : tuple of Pod
        One pod per parameter set; each fold's training window chooses one. The order breaks ties.
    execution : "mean_field", "twap" or "immediate"
    limits : LimitSet or None
        None: nothing is limited.
    label_sessions : int
        How far beyond a training session its pods' `fit` looks for what that session led to (a return over the next
        5 sessions: 5; nothing is fitted to later sessions: 0). The run's purge must be at least as long.
    """

    name: str
    grid: tuple[Pod, ...]
    execution: ExecutorKind = "mean_field"
    limits: LimitSet | None = None
    label_sessions: int = 0

    def __post_init__(self) -> None:
        """Check the name, the grid and the executor."""
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name of a pod must be usable as a folder's name; was {self.name!r}")
        if not self.grid:
            raise ValueError(f"grid of pod {self.name!r} must hold at least one parameter set; was empty")
        if self.execution not in EXECUTORS:
            raise ValueError(
                f"execution of pod {self.name!r} must be one of {', '.join(EXECUTORS)}; was {self.execution!r}"
            )
        if isinstance(self.label_sessions, bool) or not isinstance(self.label_sessions, int) or self.label_sessions < 0:
            raise ValueError(
                f"label_sessions of pod {self.name!r} must be a whole number of sessions; was {self.label_sessions!r}"
            )


@dataclass(frozen=True, slots=True)
class WalkForwardPlan:
    """A whole walk-forward.

    Attributes
    ----------
    name : str
        First part of the run folder's name.
    pods : tuple of PodPlan
    benchmark : str
        The pod that the others are compared with.
    folds : FoldSettings
        `step` must leave the test windows touching: one account runs through them.
    combinatorial : CombinatorialSettings or None
        Beside the account: a distribution of out-of-sample paths over the same sessions.
    selection : "screen" or "nested"
        How a training window chooses among a pod's parameter sets.
    inner_folds : int
        Folds inside the training window of a nested choice.
    capital : float
        R$ that each pod starts with.
    rules : TradingRules
        Fill price, participation, lots, short sales, ...
    horizon : int
        Sessions in which an order is to be done ("mean_field" and "twap"; also the game's horizon).
    risk_aversion, terminal_penalty : float
        Of the execution game.
    fee : float
        Exchange and clearing fees as a fraction of the traded value.
    prior : ExecutionPrior
        Of the calibration.
    rtol : float
        Tolerance of the equilibrium.
    var_window : int
        Past sessions of the risk forecasts.
    seed : int
        Of the bootstrap.
    bootstrap_draws : int
    sessions_per_year : int
    minimum_quality : float
        Data-quality score in [0, 1] below which a session is refused or flagged.
    below_minimum : "refuse" or "flag"
        What becomes of such a session.
    risk_free_source : str
        Where the panel's risk-free return comes from, in words.
    sensitivity : Sensitivity or None
        Values of execution assumptions under which every pod has a further account.
    """

    name: str
    pods: tuple[PodPlan, ...]
    benchmark: str
    folds: FoldSettings
    capital: float
    rules: TradingRules = field(default_factory=TradingRules)
    horizon: int = 3
    risk_aversion: float = 1.0
    terminal_penalty: float = 5.0
    fee: float = 3e-4
    prior: ExecutionPrior = field(default_factory=ExecutionPrior)
    rtol: float = 1e-9
    var_window: int = 252
    seed: int = 1
    bootstrap_draws: int = 2000
    sessions_per_year: int = SESSIONS_PER_YEAR
    risk_free_source: str = "CDI"
    minimum_quality: float = 0.5
    below_minimum: Literal["refuse", "flag"] = "flag"
    combinatorial: CombinatorialSettings | None = None
    selection: ChoiceKind = "screen"
    inner_folds: int = 5
    sensitivity: Sensitivity | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name must be usable as a folder's name; was {self.name!r}")
        names = [pod.name for pod in self.pods]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if not names or repeated:
            raise ValueError(f"pods must be at least one, each with its own name; were {names}")
        if self.benchmark not in names:
            raise ValueError(f"benchmark must be one of the pods {', '.join(names)}; was {self.benchmark!r}")
        if not 0.0 < self.capital < math.inf:
            raise ValueError(f"capital must be positive and finite; was {self.capital}")
        if not 0.0 <= self.minimum_quality <= 1.0:
            raise ValueError(f"minimum_quality must be in [0, 1]; was {self.minimum_quality}")
        if self.below_minimum not in ("refuse", "flag"):
            raise ValueError(f"below_minimum must be refuse or flag; was {self.below_minimum!r}")
        for name in ("horizon", "var_window", "bootstrap_draws", "sessions_per_year"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; was {getattr(self, name)}")
        if self.folds.stride != self.folds.test:
            raise ValueError(
                f"step must be equal to test ({self.folds.test}), so that the test windows join into one account; "
                f"was {self.folds.stride}"
            )
        if self.selection not in CHOICES:
            raise ValueError(f"selection must be one of {', '.join(CHOICES)}; was {self.selection!r}")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2; was {self.inner_folds}")
        self._check_pods()

    def _check_pods(self) -> None:
        purges = [self.folds.purge] + ([self.combinatorial.purge] if self.combinatorial else [])
        for pod in self.pods:
            if pod.label_sessions > min(purges):
                raise ValueError(
                    f"purge must be at least the {pod.label_sessions} sessions that the labels of pod {pod.name!r} "
                    f"reach ahead (its label_sessions); was {min(purges)}"
                )
            for member in pod.grid:
                if member.lookback > self.folds.train:
                    raise ValueError(
                        f"the training window must cover the {member.lookback} sessions that pod {pod.name!r} reads; "
                        f"was {self.folds.train}: lengthen it or shorten the pod's windows"
                    )

    @property
    def lookback(self) -> int:
        """Sessions that the longest decision of any pod reads."""
        return max(member.lookback for pod in self.pods for member in pod.grid)

    def tested_rows(self, n_sessions: int) -> range:
        """Rows that the combinatorial groups share out: all but the first decision's warm-up, of the slowest pod."""
        return range(self.lookback - 1, n_sessions)

    def splits(self, n_sessions: int) -> tuple[Split, ...]:
        """The combinatorial splits of `n_sessions`, none without such settings.

        Raises
        ------
        WindowError
            When the groups do not fit, or a split has no training range longer than the longest warm-up.
        """
        if self.combinatorial is None:
            return ()
        splits = make_splits(self.tested_rows(n_sessions), self.combinatorial)
        for split in splits:
            longest = max(len(piece) for piece in split.train)
            if longest < self.lookback + 2:
                raise WindowError(
                    f"groups must leave a training range of {self.lookback + 2} sessions, two more than the longest "
                    f"lookback of a pod, in every split; the longest of the split that tests groups "
                    f"{', '.join(str(group + 1) for group in split.groups)} has {longest}: take fewer groups, test "
                    "fewer of them, or add data"
                )
            if min(len(test) for test in split.tests) < 2:
                raise WindowError(f"groups must hold at least 2 sessions each; {n_sessions} sessions are too few")
        return splits

    def choice_rule(self, embargo: int | None = None) -> ChoiceRule:
        """How parameters are chosen in a fold, or in a split with `embargo` sessions after a test."""
        if embargo is None or self.combinatorial is None:
            return ChoiceRule(self.selection, self.inner_folds, self.folds.purge, self.folds.embargo)
        return ChoiceRule(self.selection, self.inner_folds, self.combinatorial.purge, embargo)

    @property
    def trials(self) -> int:
        """Parameter sets over all pods (each is tried once per fold)."""
        return sum(len(pod.grid) for pod in self.pods)


def describe(plan: WalkForwardPlan) -> dict[str, Any]:
    """The plan in JSON types: everything in it that can change a byte of the result."""
    names = (
        "name",
        "benchmark",
        "folds",
        "capital",
        "rules",
        "seed",
        "bootstrap_draws",
        "sessions_per_year",
        "risk_free_source",
        "minimum_quality",
        "below_minimum",
        "combinatorial",
        "selection",
        "inner_folds",
    )
    described: dict[str, Any] = {name: plain_json(getattr(plan, name)) for name in names}
    described["execution"] = describe_execution(plan)
    described["var_window"] = plan.var_window
    described["sensitivity"] = plain_json(plan.sensitivity) if plan.sensitivity and varied(plan.sensitivity) else None
    described["pods"] = [
        {
            "name": pod.name,
            "execution": pod.execution,
            "limits": plain_json(pod.limits),
            "label_sessions": pod.label_sessions,
            "grid": [describe_pod(member) for member in pod.grid],
        }
        for pod in plan.pods
    ]
    return described


def describe_execution(plan: WalkForwardPlan) -> dict[str, Any]:
    """What the calibration and the execution game of a fold depend on beside its data."""
    names = ("horizon", "risk_aversion", "terminal_penalty", "fee", "prior", "rtol")
    return {name: plain_json(getattr(plan, name)) for name in names}


def describe_pod(pod: Pod) -> dict[str, Any]:
    """A parameter set in JSON types; a pod from outside the project's rooms brings the hash of its own source file.

    Of a class that was written in a notebook it is that of the class; of one without source (piped in) there is none.
    """
    kind = type(pod)
    described: dict[str, Any] = {
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": parameters_json(pod.parameters),
    }
    if kind.__module__.partition(".")[0] not in ROOMS:
        described["source"] = _source_hash(kind)
    return described


def _source_hash(kind: type[Pod]) -> str | None:
    """SHA-256 of the file that a class is in, or of its own text where there is no such file; None without either."""
    try:
        content = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        try:
            content = inspect.getsource(kind).encode()
        except (OSError, TypeError):
            return None
    return hashlib.sha256(content).hexdigest()


def parameters_json(parameters: Mapping[str, float | int | str | bool]) -> dict[str, Any]:
    """Parameters in JSON types; an infinite one is the text "inf" or "-inf", which JSON has no number for."""
    return {
        name: str(value) if isinstance(value, float) and math.isinf(value) else plain_json(value)
        for name, value in parameters.items()
    }
