"""The configuration of an event run: a TOML file with an [intraday] table in, a checked `IntradayRunConfig` out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from fairfield.config import FilePath, RunSection, Section, Value, WalkForwardSection, read_config

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$"


class InstrumentSection(Section):
    """An instrument of the store: its price step, the quantity of one lot, money per unit of price and quantity."""

    symbol: str = Field(min_length=1, max_length=40)
    tick_size: float = Field(ge=1e-12, lt=1e9)
    lot_size: float = Field(default=1.0, gt=0.0)
    multiplier: float = Field(default=1.0, gt=0.0)


class QueueSection(Section):
    """Where own orders stand in their level and how large fills may be: `backtests.intraday.settings.QueueModel`.

    `guess`: the lots of "assumed" are guessed in training.
    """

    kind: Literal["pessimistic", "probabilistic", "exact", "trade_through", "assumed"] = "pessimistic"
    shape: Literal["log", "power"] = "power"
    exponent: float = Field(default=3.0, gt=0.0)
    version: Literal[1, 2, 3] = 1
    assumed_lots: float = Field(default=0.0, ge=0.0)
    sizes: Literal["traded", "whole"] = "traded"
    guess: Literal["low", "high"] | None = None


class BoundSection(QueueSection):
    """A named queue model that every session is simulated under as well."""

    name: str = Field(pattern=NAME)


class LatencySection(Section):
    """Milliseconds from a decision to the exchange, and from its answer back; the feed's own are in the events.

    "constant" has the two numbers; "sampled" and "recorded" a `file`: CSV with the columns entry_ms and response_ms, of
    which each request draws a row, or with `time` (UTC) before them, between whose rows delays are interpolated.
    """

    kind: Literal["constant", "sampled", "recorded"] = "constant"
    entry_ms: float = Field(default=0.0, ge=0.0, le=60_000.0)
    response_ms: float = Field(default=0.0, ge=0.0, le=60_000.0)
    file: FilePath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> LatencySection:
        if (self.kind == "constant") != (self.file is None):
            raise ValueError(
                "file must be given for the kinds sampled and recorded, and for them alone; kind was "
                f"{self.kind!r} {'without' if self.file is None else 'with'} a file"
            )
        if self.file is not None and {"entry_ms", "response_ms"} & self.model_fields_set:
            raise ValueError(f"entry_ms and response_ms must be left out where a file has them; kind was {self.kind!r}")
        return self


class FeesSection(Section):
    """What a fill costs: basis points of its value and money per lot; a rebate is negative."""

    maker_bps: float = Field(default=0.0, gt=-1e4, lt=1e4)
    taker_bps: float = Field(default=0.0, gt=-1e4, lt=1e4)
    maker_per_lot: float = 0.0
    taker_per_lot: float = 0.0


class IntradayCalibrationSection(Section):
    """How training sessions are measured: see `backtests.walk.intraday_plan.MarketCalibrationSettings`."""

    max_ticks: int = Field(default=20, ge=1, le=100_000)
    competition: float = Field(default=0.5, ge=0.0, le=1.0)
    symmetric: bool = False
    fill_share: float = Field(default=1.0, gt=0.0, le=1.0)
    evidence: Literal["all", "arrivals", "depth"] = "all"
    inside: Literal["exclude", "at_touch"] = "exclude"
    join_within: float = Field(default=0.0, ge=0.0)
    blocks: int = Field(default=50, ge=2, le=10_000)
    adverse_seconds: float = Field(default=10.0, gt=0.0)
    feature_seconds: float = Field(default=60.0, ge=0.01)


class IntradaySection(Section):
    """What is traded, when, and how orders are filled.

    `start` and `end` are the first and last session; `session_start`, `liquidate_at` and `session_stop` times of the
    day by `clock` (the venue's own when left out, else UTC): pods act from the first to the second, positions are
    closed until the third. `bounds` are further queue models that are reported beside the main one; without them
    those of `fairfield.intraday_catalog.DEFAULT_BOUNDS`.
    """

    store: FilePath
    venue: str = Field(min_length=1, max_length=40)
    instruments: list[InstrumentSection] = Field(min_length=1)
    start: date | None = None
    end: date | None = None
    session_start: time
    liquidate_at: time | None = None
    session_stop: time
    clock: str | None = Field(default=None, min_length=1, max_length=60)
    liquidation: Literal["cross", "mark"] = "cross"
    order_lots: int = Field(default=1, ge=1)
    max_position: int = Field(default=10, ge=1, le=1_000_000)
    sample_every: int = Field(default=10, ge=1)
    queue: QueueSection = QueueSection()
    bounds: list[BoundSection] | None = None
    latency: LatencySection = LatencySection()
    fees: FeesSection = FeesSection()
    calibration: IntradayCalibrationSection = IntradayCalibrationSection()

    @model_validator(mode="after")
    def _order(self) -> IntradaySection:
        if self.clock is not None and not _is_time_zone(self.clock):
            raise ValueError(f"clock must be a time zone as America/Sao_Paulo or UTC; was {self.clock!r}")
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start must not be after end; was {self.start} and {self.end}")
        last = self.liquidate_at or self.session_stop
        if not self.session_start < last <= self.session_stop:
            raise ValueError(
                "session_start, liquidate_at and session_stop must be times in this order; "
                f"were {self.session_start}, {last} and {self.session_stop}"
            )
        return self


class SessionWindowsSection(WalkForwardSection):
    """Training and test windows, in sessions of the store: the keys of daily runs, with values for fewer sessions."""

    train: int = Field(default=20, ge=2)
    test: int = Field(default=5, ge=1)
    purge: int = Field(default=0, ge=0)


class IntradayAccountSection(Section):
    """What each pod starts with, and what its capital earns a year beside its profit."""

    capital: float = Field(default=1e6, ge=0.01, le=1e15)
    risk_free_annual: float = Field(default=0.0, ge=0.0, lt=2.0)


class MakerSection(Section):
    """A market maker that another pod uses: its kind and its parameters."""

    kind: str
    parameters: dict[str, Value] = Field(default_factory=dict)


class IntradayPodSection(Section):
    """One pod: its kind, its parameters, and the grid from which each fold's training sessions choose.

    `makers` are those that a `regime_switch` uses: `[pods.makers.active]`, `[pods.makers.passive]`.
    """

    name: str = Field(pattern=NAME)
    kind: str
    parameters: dict[str, Value] = Field(default_factory=dict)
    makers: dict[str, MakerSection] = Field(default_factory=dict)
    grid: dict[str, list[Value]] = Field(default_factory=dict)


class IntradaySensitivitySection(Section):
    """Execution assumptions that are varied one at a time, a further account of every pod for each value.

    Fits, choices and calibrations stay those of the run. `latency_ms` is each way; `order_lots` takes the largest
    position along.
    """

    latency_ms: list[float] = Field(default_factory=list)
    fee_factor: list[float] = Field(default_factory=list)
    order_lots: list[int] = Field(default_factory=list)
    max_position: list[int] = Field(default_factory=list)


class IntradayRunConfig(Section):
    """A whole configuration file of an event run."""

    run: RunSection
    intraday: IntradaySection
    walkforward: SessionWindowsSection = SessionWindowsSection()
    account: IntradayAccountSection = IntradayAccountSection()
    sensitivity: IntradaySensitivitySection = IntradaySensitivitySection()
    benchmark: str
    pods: list[IntradayPodSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> IntradayRunConfig:
        names = [pod.name for pod in self.pods]
        _require_distinct("pod names", names)
        if self.benchmark not in names:
            raise ValueError(f"benchmark must be one of the pods {names}; was {self.benchmark!r}")
        _require_distinct("symbols of intraday.instruments", [item.symbol for item in self.intraday.instruments])
        _require_distinct("names of intraday.bounds", ["main", *(b.name for b in self.intraday.bounds or ())])
        return self


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False
    return True


def _require_distinct(what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} must differ; {repeated[0]!r} is used twice")


def load_intraday_config(path: Path) -> IntradayRunConfig:
    """The checked configuration of an event run in the TOML file `path`; its paths start at the file's own folder.

    Raises
    ------
    ConfigError
        As `fairfield.config.read_config`.
    """
    config = read_config(path, IntradayRunConfig)
    base = path.resolve().parent
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"output": base / config.run.output.expanduser()}),
            "intraday": config.intraday.model_copy(update=_places(config.intraday, base)),
        }
    )


def _places(market: IntradaySection, base: Path) -> dict[str, object]:
    """The paths of the section from the configuration's own folder on."""
    places: dict[str, object] = {"store": base / market.store.expanduser()}
    if market.latency.file is not None:
        file = base / market.latency.file.expanduser()
        places["latency"] = market.latency.model_copy(update={"file": file})
    return places
