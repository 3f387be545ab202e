"""The configuration file: TOML in, a checked `RunConfig` out, or one sentence that names the key."""

from __future__ import annotations

import difflib
import reprlib
import tomllib
import types
import typing
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from fairfield.errors import ConfigError


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a path in quotes")
    return Path(value)


def _value(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str) or value != value:  # NaN differs from itself
        raise ValueError("must be a number, a text, true or false")
    return value


FilePath = Annotated[Path, PlainValidator(_path)]
Value = Annotated[bool | int | float | str, PlainValidator(_value)]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values keep their types, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RunSection(Section):
    """What the run is called and where it goes; `workers` never changes a result."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")
    output: FilePath = Path("runs")
    seed: int = Field(default=1, ge=0)
    workers: int = Field(default=2, ge=1, le=256)


class DataSection(Section):
    """Where prices come from: a store made by `fairfield ingest`, or a file of closes and traded values.

    `min_median_value` (R$ per session) and `min_presence` choose the panel's columns by what was ever liquid;
    a session with a data-quality score below `minimum_quality` is refused or flagged, as `below_minimum` says;
    `risk_free_annual` is what cash earns where the store has no CDI.
    """

    store: FilePath | None = None
    closes: FilePath | None = None
    start: date | None = None
    end: date | None = None
    risk_free_annual: float | None = Field(default=None, ge=0.0, lt=2.0)
    min_median_value: float = Field(default=0.0, ge=0.0)
    min_presence: float = Field(default=0.0, ge=0.0, le=1.0)
    minimum_quality: float = Field(default=0.5, ge=0.0, le=1.0)
    below_minimum: Literal["refuse", "flag"] = "flag"

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.store is None) == (self.closes is None):
            raise ValueError("exactly one of store and closes must be given")
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"start must be before end; was {self.start} and {self.end}")
        return self


class WalkForwardSection(Section):
    """Training and test windows, in sessions, and how a training window chooses parameters.

    The account always runs through rolling or anchored windows of `train` and `test`. "combinatorial" adds, beside a
    rolling account, the paths of combinatorial purged cross-validation: `groups` of sessions, `test_groups` of them
    tested in each split. `purge` is how far labels reach ahead; `embargo` keeps out what comes after a test (for
    combinatorial windows also a share of all sessions, below 1, which leaves the rolling account's gap alone).
    """

    window: Literal["rolling", "anchored", "combinatorial"] = "rolling"
    train: int = Field(default=504, ge=20)
    test: int = Field(default=126, ge=1)
    purge: int = Field(default=1, ge=0)
    embargo: int | float = Field(default=0, ge=0)
    groups: int | None = Field(default=None, ge=2)
    test_groups: int | None = Field(default=None, ge=1)
    selection: Literal["screen", "nested"] = "screen"
    inner_folds: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _scheme(self) -> WalkForwardSection:
        if self.window != "combinatorial":
            for name in ("groups", "test_groups"):
                if getattr(self, name) is not None:
                    raise ValueError(f'{name} belongs to window = "combinatorial"; window is "{self.window}"')
            if isinstance(self.embargo, float):
                raise ValueError(f'embargo must be whole sessions with window = "{self.window}"; was {self.embargo}')
        return self


class ExecutionSection(Section):
    """How targets become fills, and how urgent the crowd and we are."""

    method: Literal["mean_field", "twap", "immediate"] = "mean_field"
    horizon: int = Field(default=3, ge=1, le=60)
    risk_aversion: float = Field(default=10.0, ge=0.0)
    terminal_penalty: float = Field(default=5.0, gt=0.0)
    fill_price: Literal["vwap", "close"] = "vwap"
    participation_limit: float = Field(default=0.1, gt=0.0, le=1.0)


class CostsSection(Section):
    """Costs that are not calibrated: exchange and clearing fees, and the loan fee of a short."""

    fee_bps: float = Field(default=3.0, ge=0.0, lt=1e4)
    borrow_annual: float = Field(default=0.03, ge=0.0)


class AccountSection(Section):
    """The account of each pod."""

    capital: float = Field(default=50e6, gt=0.0)
    gross_limit: float = Field(default=1.0, gt=0.0)
    allow_short: bool = True
    borrow_cash: bool = False
    delisting_sessions: int = Field(default=60, ge=1)
    delisting_recovery: float = Field(default=0.7, ge=0.0, le=1.0)


class LevelSection(Section):
    """Amber, hard and kill levels of one measure; a missing level never triggers."""

    amber: float | None = None
    hard: float | None = None
    kill: float | None = None


class LimitsSection(Section):
    """Risk limits of every pod but those with `limits = false`; a measure without a table keeps the shipped levels.

    `var_window` is at least 100 sessions: below that a 99 % VaR is the worst day.
    """

    enabled: bool = True
    rearm_sessions: int = Field(default=63, ge=0)
    var_window: int = Field(default=252, ge=100)
    levels: dict[str, LevelSection] = Field(default_factory=dict)


class PodSection(Section):
    """One pod: its kind, its parameters, and the grid from which each fold's training window chooses.

    `label_sessions` is how far beyond a training session the pod's fit looks for what that session led to.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")
    kind: str
    limits: bool = True
    execution: Literal["mean_field", "twap", "immediate"] | None = None
    label_sessions: int = Field(default=0, ge=0)
    parameters: dict[str, Value] = Field(default_factory=dict)
    grid: dict[str, list[Value]] = Field(default_factory=dict)


class SensitivitySection(Section):
    """Execution assumptions that are varied one at a time, a further account of every pod for each value.

    Fits, choices and calibrations stay those of the run, so nothing is chosen by these accounts. `fee_factor` is times
    `costs.fee_bps`; `delay_sessions` is how long a decision waits before its orders are sent.
    """

    capital: list[float] = Field(default_factory=list)
    fee_factor: list[float] = Field(default_factory=list)
    delay_sessions: list[int] = Field(default_factory=list)
    fill_price: list[Literal["vwap", "close"]] = Field(default_factory=list)
    participation_limit: list[float] = Field(default_factory=list)


class RunConfig(Section):
    """A whole configuration file."""

    run: RunSection
    data: DataSection
    walkforward: WalkForwardSection = WalkForwardSection()
    execution: ExecutionSection = ExecutionSection()
    costs: CostsSection = CostsSection()
    account: AccountSection = AccountSection()
    limits: LimitsSection = LimitsSection()
    sensitivity: SensitivitySection = SensitivitySection()
    benchmark: str
    pods: list[PodSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> RunConfig:
        names = [pod.name for pod in self.pods]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"pod names must differ; {repeated[0]!r} is used twice")
        if self.benchmark not in names:
            raise ValueError(f"benchmark must be one of the pods {names}; was {self.benchmark!r}")
        return self


Config = TypeVar("Config", bound=BaseModel)

_LARGEST = 1 << 20
"""Bytes of a configuration file; a data file named by mistake is not read into memory."""


def load_config(path: Path) -> RunConfig:
    """The checked configuration of a run in the TOML file `path`.

    Relative paths in the file are taken from the folder that the file is in.

    Raises
    ------
    ConfigError
        As `read_config`.
    """
    return _resolved(read_config(path, RunConfig), path.resolve().parent)


def read_config(path: Path, model: type[Config]) -> Config:
    """The checked content of the TOML file `path`, which is to be a `model`.

    Raises
    ------
    ConfigError
        When the file is missing, is not TOML, has an unknown key (the nearest valid name is given) or a value
        that breaks a rule.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigError(f"{path}: larger than {_LARGEST:,} bytes: this is no configuration file")
        text = content.decode("utf-8")
        if text.startswith("\ufeff"):
            raise ConfigError(f"{path}: starts with a byte-order mark: save it as UTF-8 without one (without BOM)")
        raw = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder: name the configuration file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}: save the file as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: brackets nested too deeply") from None
    _refuse_unknown_keys(path, raw, model, "")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error)}") from None


def _resolved(config: RunConfig, base: Path) -> RunConfig:
    """The configuration with every path made absolute from the file's own folder."""
    data = config.data
    store = base / data.store.expanduser() if data.store else None
    closes = base / data.closes.expanduser() if data.closes else None
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"output": base / config.run.output.expanduser()}),
            "data": data.model_copy(update={"store": store, "closes": closes}),
        }
    )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"the key {place} is missing"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return f"{place}: {message}" if place else message
    if problem["type"] in ("model_type", "dict_type"):
        message = "must be a table of keys"
    return f"{place}: {message}; was {reprlib.repr(problem['input'])}"


def _refuse_unknown_keys(path: Path, raw: Any, expected: Any, place: str) -> None:
    """Walk the file beside the models, so that a misspelt key is answered with the nearest valid name."""
    model = _model_in(expected)
    if isinstance(raw, list):
        inner = typing.get_args(expected)[:1] or (None,)
        for index, item in enumerate(raw):
            _refuse_unknown_keys(path, item, inner[0], f"{place}[{index}]")
        return
    if not isinstance(raw, dict) or model is None:
        return
    for key, value in raw.items():
        if key not in model.model_fields:
            raise ConfigError(f"{path}: unknown key {place + '.' if place else ''}{key}{_suggest(key, model)}")
        _refuse_unknown_keys(path, value, model.model_fields[key].annotation, f"{place}.{key}" if place else key)


def _suggest(key: str, model: type[BaseModel]) -> str:
    near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; valid keys: {', '.join(sorted(model.model_fields))}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        for member in typing.get_args(annotation):
            if (found := _model_in(member)) is not None:
                return found
    return None
