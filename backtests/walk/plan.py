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
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.folds import FoldSettings
from backtests.walk.provenance import ROOMS
from data_pipeline.disk import plain_json
from mfg_core.daily.calibration import ExecutionPrior
from risk.limits import LimitSet
from strategies.pod import Pod

ExecutorKind = Literal["mean_field", "twap", "immediate"]
EXECUTORS: tuple[ExecutorKind, ...] = ("mean_field", "twap", "immediate")


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
    """

    name: str
    grid: tuple[Pod, ...]
    execution: ExecutorKind = "mean_field"
    limits: LimitSet | None = None

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
        for pod in self.pods:
            for member in pod.grid:
                if member.lookback > self.folds.train:
                    raise ValueError(
                        f"the training window must cover the {member.lookback} sessions that pod {pod.name!r} reads; "
                        f"was {self.folds.train}: lengthen it or shorten the pod's windows"
                    )

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
    )
    described: dict[str, Any] = {name: plain_json(getattr(plan, name)) for name in names}
    described["execution"] = describe_execution(plan)
    described["var_window"] = plan.var_window
    described["pods"] = [
        {
            "name": pod.name,
            "execution": pod.execution,
            "limits": plain_json(pod.limits),
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
    """A parameter set in JSON types; a pod from outside the project's rooms brings the hash of its own source file."""
    kind = type(pod)
    described: dict[str, Any] = {
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": parameters_json(pod.parameters),
    }
    if kind.__module__.partition(".")[0] not in ROOMS:
        source = inspect.getsourcefile(kind)
        described["source"] = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None
    return described


def parameters_json(parameters: Mapping[str, float | int | str | bool]) -> dict[str, Any]:
    """Parameters in JSON types; an infinite one is the text "inf" or "-inf", which JSON has no number for."""
    return {
        name: str(value) if isinstance(value, float) and math.isinf(value) else plain_json(value)
        for name, value in parameters.items()
    }
