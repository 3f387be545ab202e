"""What an intraday walk-forward is asked to do: sessions, instruments, pods, fills; and its description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast

from backtests.errors import WindowError
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.intraday.settings import FillSettings
from backtests.walk.combinatorial import CombinatorialSettings, Split, make_splits
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import CHOICES, ChoiceKind, ChoiceRule, describe_pod
from backtests.walk.sensitivity import IntradaySensitivity, varied
from data_pipeline.disk import plain_json, sha256_hex
from strategies.intraday.pod import IntradayPod
from strategies.intraday.rule import Instrument

MAIN = "main"
"""Name of the assumptions that the account and its statistics are made with."""


@dataclass(frozen=True, slots=True)
class IntradayPodPlan:
    """One pod of a run.

    Attributes
    ----------
    name : str
        Its name in results; the name of its folder.
    grid : tuple of IntradayPod
        One pod per parameter set; each fold's training sessions choose one. The order breaks ties.
    """

    name: str
    grid: tuple[IntradayPod, ...]

    def __post_init__(self) -> None:
        """Check the name and the grid."""
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name of a pod must be usable as a folder's name; was {self.name!r}")
        if not self.grid:
            raise ValueError(f"grid of pod {self.name!r} must hold at least one parameter set; was empty")


@dataclass(frozen=True, slots=True)
class FillCase:
    """A named set of assumptions about fills, simulated beside the main one and reported with it.

    Attributes
    ----------
    name : str
    settings : FillSettings
    guess : "low", "high" or None
        Of the queue "assumed": its lots are this guess of the training sessions (`queue_guess`), not the settings'.
    """

    name: str
    settings: FillSettings
    guess: Literal["low", "high"] | None = None

    def __post_init__(self) -> None:
        """Check that a guess is of an assumed queue."""
        if self.guess is not None and self.settings.queue.kind != "assumed":
            raise ValueError(
                f"queue of case {self.name!r} must be assumed when its lots are guessed; was {self.settings.queue.kind}"
            )

    @property
    def needs_book(self) -> bool:
        """Whether the queue is that of a book: of trades alone it would be empty, and every order the first."""
        return self.settings.queue.kind not in ("trade_through", "assumed")

    def with_guess(self, low: float, high: float) -> FillCase:
        """The case with the guessed lots in its settings."""
        if self.guess is None:
            return self
        queue = replace(self.settings.queue, assumed_lots=low if self.guess == "low" else high)
        return replace(self, settings=replace(self.settings, queue=queue))


@dataclass(frozen=True, slots=True)
class TradingDay:
    """When pods trade, seconds after midnight of `clock`.

    Attributes
    ----------
    start, liquidate, stop : float
        Rules act from `start` to `liquidate`; positions are closed between `liquidate` and `stop`.
    clock : str or None
        IANA name; None: the venue's own, else UTC.
    liquidation : "cross" or "mark"
        See `TradingSpan`.
    """

    start: float
    liquidate: float
    stop: float
    clock: str | None = None
    liquidation: Literal["cross", "mark"] = "cross"

    def __post_init__(self) -> None:
        """Check the order of the times."""
        if not 0.0 <= self.start < self.liquidate <= self.stop <= 172_800.0:
            raise ValueError(
                "start, liquidate and stop must be seconds after midnight in this order, start before liquidate; "
                f"were {self.start:g}, {self.liquidate:g}, {self.stop:g}"
            )
        if self.liquidation not in ("cross", "mark"):
            raise ValueError(f"liquidation must be cross or mark; was {self.liquidation!r}")

    @property
    def seconds(self) -> float:
        """Seconds in which rules act."""
        return self.liquidate - self.start


@dataclass(frozen=True, slots=True)
class MarketCalibrationSettings:
    """How a training session is measured; see `mfg_core.calibrate_market_making`.

    Attributes
    ----------
    competition : float
        Weight of the crowd's mean quote in the intensities; 0: the maker is alone.
    symmetric : bool
        One arrival rate for both sides.
    fill_share : float
        Share of the orders that reach a quote and fill it.
    adverse_seconds : float
        Horizon of the mark-outs that give the adverse selection.
    feature_seconds : float
        Length of the intervals of the training features.
    """

    max_ticks: int = 20
    competition: float = 0.5
    symmetric: bool = False
    fill_share: float = 1.0
    evidence: Literal["all", "arrivals", "depth"] = "all"
    inside: Literal["exclude", "at_touch"] = "exclude"
    join_within: float = 0.0
    blocks: int = 50
    adverse_seconds: float = 10.0
    feature_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check the numbers that the calibration does not check by these names."""
        if not 0.0 <= self.competition <= 1.0:
            raise ValueError(f"competition must be in [0, 1]; was {self.competition}")
        if not 0.0 < self.fill_share <= 1.0:
            raise ValueError(f"fill_share must be in (0, 1]; was {self.fill_share}")
        if self.max_ticks < 1 or self.blocks < 2:
            raise ValueError(f"max_ticks must be at least 1 and blocks 2; were {self.max_ticks} and {self.blocks}")
        if not self.adverse_seconds > 0 or not self.feature_seconds > 0:
            raise ValueError(
                "adverse_seconds and feature_seconds must be positive; "
                f"were {self.adverse_seconds} and {self.feature_seconds}"
            )


@dataclass(frozen=True, slots=True)
class IntradayPlan:
    """A whole intraday walk-forward.

    Attributes
    ----------
    name : str
        First part of the run folder's name.
    store : Path or str
        The store that sessions are read from; its place is no part of the result, its rows are.
    venue : str
    instruments : tuple of Instrument
        Each with its own position; a pod's profit is that of all of them.
    day : TradingDay
    folds : FoldSettings
        Counted in sessions; the test windows must touch.
    combinatorial : CombinatorialSettings or None
        Beside the account: a distribution of out-of-sample paths over all sessions.
    pods : tuple of IntradayPodPlan
    benchmark : str
        The pod that the others are compared with.
    fills : FillSettings
        The main assumptions, with the fees, the latency and the limits of every pod.
    guess : "low", "high" or None
        Of the main assumptions, as a `FillCase` has it.
    selection : "screen" or "nested"
        How training sessions choose among a pod's parameter sets: each set fitted on all of them and scored on the
        same, or fitted without a fold of them, scored on it, and all folds together.
    inner_folds : int
        Folds of the training sessions of a nested choice.
    bounds : tuple of FillCase
        Assumptions that every test session is simulated under as well. Fees and limits are those of `fills`.
    order_lots : int
        What each order is for.
    capital : float
        Money that each pod starts with: returns are profits over it and what it has become.
    start, end : date or None
        First and last session that may be used.
    calibration : MarketCalibrationSettings
    sample_every : int
        A sample of the state is kept at every so many calls on the clock.
    risk_free_annual : float
        What the capital earns beside the pod's profit.
    seed : int
        Of the bootstrap, and with the session's name of sampled latencies: the same for every pod.
    sensitivity : IntradaySensitivity or None
        Values of execution assumptions under which every pod has a further account.
    """

    name: str
    store: Path | str
    venue: str
    instruments: tuple[Instrument, ...]
    day: TradingDay
    folds: FoldSettings
    pods: tuple[IntradayPodPlan, ...]
    benchmark: str
    fills: FillSettings = field(default_factory=FillSettings)
    bounds: tuple[FillCase, ...] = ()
    order_lots: int = 1
    capital: float = 1_000_000.0
    start: date | None = None
    end: date | None = None
    calibration: MarketCalibrationSettings = field(default_factory=MarketCalibrationSettings)
    sample_every: int = 10
    risk_free_annual: float = 0.0
    seed: int = 1
    bootstrap_draws: int = 2000
    sessions_per_year: int = SESSIONS_PER_YEAR
    guess: Literal["low", "high"] | None = None
    sensitivity: IntradaySensitivity | None = None
    selection: ChoiceKind = "screen"
    inner_folds: int = 5
    combinatorial: CombinatorialSettings | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        if self.selection not in CHOICES:
            raise ValueError(f"selection must be one of {', '.join(CHOICES)}; was {self.selection!r}")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2; was {self.inner_folds}")
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name must be usable as a folder's name; was {self.name!r}")
        _require_distinct("pods", [pod.name for pod in self.pods])
        _require_distinct("instruments", [item.symbol for item in self.instruments])
        for item in self.instruments:
            if item.venue != self.venue:
                raise ValueError(f"venue of instrument {item.symbol} must be {self.venue!r}; was {item.venue!r}")
        if self.benchmark not in [pod.name for pod in self.pods]:
            names = ", ".join(pod.name for pod in self.pods)
            raise ValueError(f"benchmark must be one of the pods {names}; was {self.benchmark!r}")
        self._check_fills()
        if self.calibration.feature_seconds > self.day.seconds:
            raise ValueError(
                f"feature_seconds of the calibration must be at most the {self.day.seconds:g} s in which rules act "
                f"(session start to liquidation); was {self.calibration.feature_seconds:g}"
            )
        if not 0.0 < self.capital < math.inf:
            raise ValueError(f"capital must be positive and finite; was {self.capital}")
        if not 0.0 <= self.risk_free_annual < 2.0:
            raise ValueError(f"risk_free_annual must be in [0, 2); was {self.risk_free_annual}")
        for name in ("order_lots", "sample_every", "bootstrap_draws", "sessions_per_year"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; was {getattr(self, name)}")
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start must not be after end; were {self.start} and {self.end}")

    def _check_fills(self) -> None:
        FillCase(MAIN, self.fills, self.guess)
        if self.bounds:
            _require_distinct("bounds", [MAIN, *(case.name for case in self.bounds)])
        for case in self.bounds:
            for name in ("fees", "limits"):
                if getattr(case.settings, name) != getattr(self.fills, name):
                    raise ValueError(
                        f"{name} of the bound {case.name!r} must be those of the main fills: a bound is about "
                        "fills only"
                    )
        if not 1 <= self.order_lots <= min(self.fills.limits.max_position, self.fills.limits.max_order):
            raise ValueError(
                f"order_lots must be at least 1 and within max_position {self.fills.limits.max_position} and max_order "
                f"{self.fills.limits.max_order}; was {self.order_lots}"
            )

        for most in self.sensitivity.max_position if self.sensitivity else ():
            if not self.order_lots <= most <= self.fills.limits.max_position:
                raise ValueError(
                    f"max_position of the sensitivity must be from order_lots {self.order_lots} to the run's "
                    f"{self.fills.limits.max_position}: quotes beyond were not made; was {most}"
                )

    @property
    def cases(self) -> tuple[FillCase, ...]:
        """The main assumptions and the bounds."""
        return FillCase(MAIN, self.fills, self.guess), *self.bounds

    def of_trades_alone(self) -> tuple[IntradayPlan, tuple[str, ...]]:
        """The plan with those bounds that trades alone allow, and the names of the others.

        Raises
        ------
        WindowError
            When the main assumptions need a book.
        """
        if not self.cases[0].needs_book:
            left = tuple(case.name for case in self.bounds if case.needs_book)
            return replace(self, bounds=tuple(case for case in self.bounds if not case.needs_book)), left
        raise WindowError(
            "kind of the main queue must be trade_through, or assumed with a guess or lots, where the store has trades "
            f"alone: there is no book to stand in; was {self.fills.queue.kind}"
        )

    def splits(self, n_sessions: int) -> tuple[Split, ...]:
        """The combinatorial splits of `n_sessions`, none without such settings.

        Raises
        ------
        WindowError
            When the groups do not fit, or a split has fewer than two sessions to train on.
        """
        splits = make_splits(range(n_sessions), self.combinatorial) if self.combinatorial else ()
        for split in splits:
            count = sum(len(piece) for piece in split.train)
            if count < 2:
                raise WindowError(
                    "groups must leave at least 2 training sessions in every split; the split that tests groups "
                    f"{', '.join(str(group + 1) for group in split.groups)} has {count}: test fewer of them, or add "
                    "data"
                )
        return splits

    def choice_rule(self, n_sessions: int, *, of_split: bool) -> ChoiceRule:
        """How a fold, or a split of `n_sessions`, chooses among a pod's parameter sets."""
        scheme = self.combinatorial
        if scheme is None or not of_split:
            return ChoiceRule(self.selection, self.inner_folds, self.folds.purge, self.folds.embargo)
        return ChoiceRule(self.selection, self.inner_folds, scheme.purge, scheme.embargo_sessions(n_sessions))

    @property
    def trials(self) -> int:
        """Parameter sets over all pods (each is tried once per fold)."""
        return sum(len(pod.grid) for pod in self.pods)


def describe_intraday(plan: IntradayPlan) -> dict[str, Any]:
    """The plan in JSON types: everything in it, but the store's rows, that can change a byte of the result."""
    names = ("name", "venue", "instruments", "day", "folds", "benchmark", "order_lots", "capital", "calibration")
    numbers = ("sample_every", "risk_free_annual", "seed", "bootstrap_draws", "sessions_per_year", "selection",
               "inner_folds", "combinatorial")  # fmt: skip
    described: dict[str, Any] = {"kind": "intraday"}
    described |= {name: plain_json(getattr(plan, name)) for name in (*names, *numbers)}
    described["start"], described["end"] = (None if day is None else day.isoformat() for day in (plan.start, plan.end))
    described["fills"] = {
        case.name: describe_fills(case.settings) | ({"guess": case.guess} if case.guess else {}) for case in plan.cases
    }
    described["pods"] = [
        {"name": pod.name, "grid": [describe_member(member) for member in pod.grid]} for pod in plan.pods
    ]
    described["sensitivity"] = plain_json(plan.sensitivity) if plan.sensitivity and varied(plan.sensitivity) else None
    return described


def describe_member(pod: IntradayPod) -> dict[str, Any]:
    """A parameter set in JSON types, as `backtests.walk.plan.describe_pod` tells daily ones."""
    return describe_pod(cast(Any, pod))


def describe_fills(settings: FillSettings) -> dict[str, Any]:
    """Assumptions about fills in JSON types; recorded or sampled latencies by their number and hash."""
    latency = settings.latency
    record: dict[str, Any] = {"kind": latency.kind}
    if latency.kind == "constant":
        record |= {"entry_ns": latency.entry_ns, "response_ns": latency.response_ns}
    else:
        parts = (latency.times, latency.entry, latency.response)
        record |= {"rows": int(latency.entry.size), "sha256": sha256_hex(b"".join(part.tobytes() for part in parts))}
    described: dict[str, Any] = {
        name: plain_json(getattr(settings, name)) for name in ("queue", "fees", "limits", "sizes", "seed")
    }
    return described | {"latency": record}


def _require_distinct(what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or repeated:
        raise ValueError(f"{what} must be at least one, each with its own name; were {list(names)}")
