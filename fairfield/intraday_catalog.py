"""An event run's configuration to its plan: names of pods, queue models and bounds are resolved only here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.catalog import combinatorial_settings, find_kind, known_parameters, study_of
from fairfield.config import PodSection
from fairfield.errors import ConfigError
from fairfield.intraday_config import BoundSection, IntradayPodSection, IntradayRunConfig, LatencySection, QueueSection

if TYPE_CHECKING:
    from backtests.intraday.settings import FillSettings, Latency
    from backtests.walk.intraday_plan import FillCase, IntradayPlan, IntradayPodPlan
    from strategies.intraday.pod import IntradayPod

DEFAULT_BOUNDS = (
    BoundSection(name="trade_through", kind="trade_through"),
    BoundSection(name="assumed_high", kind="assumed", guess="high"),
    BoundSection(name="assumed_low", kind="assumed", guess="low"),
    BoundSection(name="probabilistic", kind="probabilistic"),
)
"""What a configuration without bounds has: prints beyond the price alone, two guesses of the queue, and the book's."""


def intraday_pod_kinds() -> dict[str, Callable[..., Any]]:
    """Every kind of intraday pod that a configuration file can name."""
    from strategies.intraday.library_maker import LibraryMaker
    from strategies.intraday.makers import AvellanedaStoikov, ConstantSpread, SingleMaker, SkewedSpread
    from strategies.intraday.mean_field_maker import MeanFieldMaker
    from strategies.intraday.regime_switch import RegimeSwitch
    from strategies.intraday.worked_order import WorkedOrder

    return {
        "mean_field_maker": MeanFieldMaker,
        "library_maker": LibraryMaker,
        "single_maker": SingleMaker,
        "avellaneda_stoikov": AvellanedaStoikov,
        "constant_spread": ConstantSpread,
        "skewed_spread": SkewedSpread,
        "regime_switch": RegimeSwitch,
        "worked_order": WorkedOrder,
    }


def make_intraday_plan(config: IntradayRunConfig, folder: Path = Path()) -> IntradayPlan:
    """The intraday walk-forward that a configuration asks for.

    Parameters
    ----------
    config : IntradayRunConfig
    folder : Path
        The configuration's own, where paths among the parameters of pods start.

    Raises
    ------
    ConfigError
        When a name is unknown or a combination of values makes no sense.
    """
    from backtests.walk.folds import FoldSettings
    from backtests.walk.intraday_plan import IntradayPlan, MarketCalibrationSettings, TradingDay
    from backtests.walk.sensitivity import IntradaySensitivity
    from strategies.intraday.rule import Instrument

    market, windows = config.intraday, config.walkforward
    stop = _seconds(market.session_stop)
    try:
        return IntradayPlan(
            name=config.run.name,
            store=market.store,
            venue=market.venue,
            instruments=tuple(Instrument(venue=market.venue, **item.model_dump()) for item in market.instruments),
            day=TradingDay(
                start=_seconds(market.session_start),
                liquidate=_seconds(market.liquidate_at) if market.liquidate_at else stop,
                stop=stop,
                clock=market.clock,
                liquidation=market.liquidation,
            ),
            folds=FoldSettings(
                train=windows.train,
                test=windows.test,
                purge=windows.purge,
                embargo=windows.embargo if isinstance(windows.embargo, int) else 0,
                anchored=windows.window == "anchored",
            ),
            combinatorial=combinatorial_settings(windows),
            pods=tuple(_pod_plan(pod, folder) for pod in config.pods),
            benchmark=config.benchmark,
            fills=_fills(config, market.queue),
            guess=market.queue.guess,
            selection=windows.selection,
            inner_folds=windows.inner_folds,
            bounds=_bounds(config),
            order_lots=market.order_lots,
            capital=config.account.capital,
            start=market.start,
            end=market.end,
            calibration=MarketCalibrationSettings(**market.calibration.model_dump()),
            sample_every=market.sample_every,
            risk_free_annual=config.account.risk_free_annual,
            seed=config.run.seed,
            sensitivity=study_of(IntradaySensitivity, config.sensitivity),
        )
    except (TypeError, ValueError) as error:  # a rule of a room that a value of the file breaks
        raise ConfigError(str(error)) from error


def _seconds(at: time) -> float:
    return at.hour * 3600.0 + at.minute * 60.0 + at.second + at.microsecond / 1e6


def _pod_plan(section: IntradayPodSection, folder: Path) -> IntradayPodPlan:
    from backtests.walk.intraday_plan import IntradayPodPlan
    from strategies.pod import parameter_grid

    common = PodSection(
        name=section.name, kind=section.kind, parameters=dict(section.parameters), grid=dict(section.grid)
    )
    kind = find_kind(common, intraday_pod_kinds())
    try:
        if section.kind == "library_maker":
            return IntradayPodPlan(name=section.name, grid=(_library_maker(common, folder),))
        pod = kind(name=section.name, **_makers(section, folder), **known_parameters(common, kind))
        return IntradayPodPlan(name=section.name, grid=parameter_grid(pod, section.grid))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pod {section.name}: {error}") from error


def _makers(section: IntradayPodSection, folder: Path) -> dict[str, Any]:
    """The makers that a pod uses, made: by the name of its parameter."""
    kinds = {name: one for name, one in intraday_pod_kinds().items() if callable(getattr(one, "quotes", None))}
    made: dict[str, Any] = {}
    for name, maker in section.makers.items():
        where = f"{section.name}, makers.{name}"
        if section.kind != "regime_switch" or name not in ("active", "passive"):
            raise ConfigError(f"pod {where}: only a regime_switch has makers, active and passive; kind {section.kind}")
        if name in section.parameters:
            raise ConfigError(f"pod {where}: {name} is among the parameters, too: keep one of the two")
        common = PodSection.model_construct(name=where, kind=maker.kind, parameters=dict(maker.parameters), grid={})
        inner = find_kind(common, kinds)
        try:
            made[name] = (
                _library_maker(common, folder)
                if maker.kind == "library_maker"
                else inner(name=maker.kind, **known_parameters(common, inner))
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"pod {where}: {error}") from error
    return made


def _library_maker(section: PodSection, folder: Path) -> IntradayPod:
    """The maker of a policy library; parameters of the mean-field maker are those of the game that is looked up."""
    from strategies.intraday.library_maker import LibraryMaker
    from strategies.intraday.mean_field_maker import MeanFieldMaker

    if section.grid:
        raise ConfigError(f"pod {section.name}: a library_maker has no grid: name one pod for each set of parameters")
    own = {item.name for item in dataclasses.fields(LibraryMaker)}
    inner = {item.name for item in dataclasses.fields(MeanFieldMaker)} - own
    parts = [
        {name: value for name, value in section.parameters.items() if (name in inner) is of_game}
        for of_game in (False, True)
    ]
    values, game = (
        known_parameters(section.model_copy(update={"parameters": part}), maker)
        for part, maker in zip(parts, (LibraryMaker, MeanFieldMaker), strict=True)
    )
    if "library" in values:
        values["library"] = str(folder / Path(str(values["library"])).expanduser())
    return LibraryMaker(name=section.name, maker=MeanFieldMaker(**game), **values)


def _fills(config: IntradayRunConfig, queue: QueueSection) -> FillSettings:
    """Assumptions about fills with a queue model; latency, fees and limits are the run's."""
    from backtests.intraday.settings import Fees, FillSettings, OwnLimits, QueueModel

    market = config.intraday
    fees = market.fees
    return FillSettings(
        queue=QueueModel(queue.kind, queue.shape, queue.exponent, queue.version, queue.assumed_lots),
        latency=_latency(market.latency),
        fees=Fees(fees.maker_bps / 1e4, fees.taker_bps / 1e4, fees.maker_per_lot, fees.taker_per_lot),
        limits=OwnLimits(max_position=market.max_position),
        sizes=queue.sizes,
        seed=config.run.seed,
    )


def _latency(section: LatencySection) -> Latency:
    from backtests.intraday.settings import Latency
    from fairfield.latency_file import read_latency

    if section.file is not None:
        return read_latency(section.file, section.kind)
    return Latency(entry_ns=round(1e6 * section.entry_ms), response_ns=round(1e6 * section.response_ms))


def _bounds(config: IntradayRunConfig) -> tuple[FillCase, ...]:
    from backtests.walk.intraday_plan import FillCase

    bounds = DEFAULT_BOUNDS if config.intraday.bounds is None else config.intraday.bounds
    return tuple(FillCase(bound.name, _fills(config, bound), bound.guess) for bound in bounds)
