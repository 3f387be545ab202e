"""Names in a configuration file to objects: the only place where a pod has a name in text."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from fairfield.config import PodSection, RunConfig, WalkForwardSection
from fairfield.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from backtests.walk.combinatorial import CombinatorialSettings
    from backtests.walk.plan import PodPlan, WalkForwardPlan
    from risk.limits import LimitSet
    from strategies.pod import Pod

Study = TypeVar("Study")


def pod_kinds() -> dict[str, Callable[..., Pod]]:
    """Every kind of pod that a configuration file can name."""
    from strategies.equal_weight import EqualWeight
    from strategies.low_volatility import LowVolatility
    from strategies.momentum import TimeSeriesMomentum
    from strategies.reversal import ShortTermReversal

    return {
        "equal_weight": EqualWeight,
        "time_series_momentum": TimeSeriesMomentum,
        "short_term_reversal": ShortTermReversal,
        "low_volatility": LowVolatility,
    }


def make_plan(config: RunConfig) -> WalkForwardPlan:
    """The walk-forward that a configuration asks for.

    Raises
    ------
    ConfigError
        When a name is unknown or a combination of values makes no sense.
    """
    from backtests.daily.accounting import TradingRules
    from backtests.walk.folds import FoldSettings
    from backtests.walk.plan import WalkForwardPlan
    from backtests.walk.sensitivity import Sensitivity

    windows, execution, costs, account = config.walkforward, config.execution, config.costs, config.account
    try:
        rules = TradingRules(
            fill_price=execution.fill_price,
            participation_limit=execution.participation_limit,
            allow_short=account.allow_short,
            gross_limit=account.gross_limit,
            borrow_cash=account.borrow_cash,
            borrow_annual=costs.borrow_annual,
            delisting_sessions=account.delisting_sessions,
            delisting_recovery=account.delisting_recovery,
        )
        limits = _limits(config) if config.limits.enabled else None
        return WalkForwardPlan(
            name=config.run.name,
            pods=tuple(_pod_plan(pod, config, limits) for pod in config.pods),
            benchmark=config.benchmark,
            folds=FoldSettings(
                train=windows.train,
                test=windows.test,
                purge=windows.purge,
                embargo=windows.embargo if isinstance(windows.embargo, int) else 0,
                anchored=windows.window == "anchored",
            ),
            combinatorial=combinatorial_settings(windows),
            selection=windows.selection,
            inner_folds=windows.inner_folds,
            capital=account.capital,
            rules=rules,
            horizon=execution.horizon,
            risk_aversion=execution.risk_aversion,
            terminal_penalty=execution.terminal_penalty,
            fee=costs.fee_bps / 1e4,
            var_window=config.limits.var_window,
            seed=config.run.seed,
            risk_free_source=_risk_free_source(config),
            minimum_quality=config.data.minimum_quality,
            below_minimum=config.data.below_minimum,
            sensitivity=study_of(Sensitivity, config.sensitivity),
        )
    except (TypeError, ValueError) as error:  # a rule of a room that a value of the file breaks
        raise ConfigError(str(error)) from error


def study_of(kind: Callable[..., Study], section: BaseModel) -> Study:
    """The study that a [sensitivity] section asks for, of either kind of run."""
    try:
        return kind(**{name: tuple(items) for name, items in section.model_dump().items()})
    except ValueError as error:
        raise ConfigError(f"sensitivity.{error}") from error


def combinatorial_settings(windows: WalkForwardSection) -> CombinatorialSettings | None:
    """Groups of the configuration, six and two of them tested where it names none; None for other windows."""
    from backtests.walk.combinatorial import CombinatorialSettings

    if windows.window != "combinatorial":
        return None
    groups, tested = windows.groups or 6, windows.test_groups or 2
    return CombinatorialSettings(groups, tested, windows.purge, windows.embargo)


def _risk_free_source(config: RunConfig) -> str:
    annual = config.data.risk_free_annual
    return "CDI of the store" if annual is None else f"CDI where the store has it, else {annual:.4%} a year, base 252"


def _limits(config: RunConfig) -> LimitSet:
    from risk.limits import default_limits

    limits = default_limits(config.limits.rearm_sessions)
    known = [limit.name for limit in limits.limits]
    for name, level in config.limits.levels.items():
        if name not in known:
            raise ConfigError(f"limits.levels: unknown limit {name}{_nearest(name, known)}")
        limits = limits.with_levels(name, level.amber, level.hard, level.kill)
    return limits


def _pod_plan(section: PodSection, config: RunConfig, limits: LimitSet | None) -> PodPlan:
    from backtests.walk.plan import PodPlan
    from strategies.pod import parameter_grid

    kind = find_kind(section, pod_kinds())
    pod = kind(name=section.name, **known_parameters(section, kind))
    return PodPlan(
        name=section.name,
        grid=parameter_grid(pod, section.grid),
        execution=section.execution or config.execution.method,
        limits=limits if section.limits else None,
        label_sessions=section.label_sessions,
    )


def find_kind(section: PodSection, kinds: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The class that makes the section's pod: a shipped kind, or `module:Class` of the user's own.

    Raises
    ------
    ConfigError
        When there is no such kind, or it cannot be imported.
    """
    if section.kind in kinds:
        return kinds[section.kind]
    module_name, colon, class_name = section.kind.partition(":")
    if not colon:
        raise ConfigError(f"pod {section.name}: unknown kind {section.kind}{_nearest(section.kind, list(kinds))}")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except Exception as error:  # a file of the user's own: importing it can raise anything
        words = f"{type(error).__name__}: {error}"
        raise ConfigError(f"pod {section.name}: kind {section.kind} cannot be imported: {words}") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ConfigError(f"pod {section.name}: kind {section.kind} must name a dataclass in that module")
    maker: Callable[..., Any] = found
    return maker


def known_parameters(section: PodSection, kind: Any) -> dict[str, Any]:
    """The section's parameters as the pod's own types, or an error with the nearest name."""
    fields = {item.name: item for item in dataclasses.fields(kind) if item.name != "name"}
    for name in (*section.parameters, *section.grid):
        if name not in fields:
            raise ConfigError(f"pod {section.name}: unknown parameter {name}{_nearest(name, list(fields))}")
    given = list(section.parameters.items())
    given += [(name, value) for name, values in section.grid.items() for value in values]
    try:
        types = typing.get_type_hints(kind)
    except NameError:  # a class of the user's own whose annotations are for the type checker only
        types = {}
    for name, value in given:
        _require_type(section.name, name, types.get(name), value)
    return dict(section.parameters)


def _require_type(pod: str, name: str, wanted: Any, value: Any) -> None:
    """Refuse a value of another type than the pod's parameter has; a whole number will do for a fraction."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(wanted)
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if words is not None and not fits:
        raise ConfigError(f"pod {pod}: {name} must be {words}; was {value!r}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
