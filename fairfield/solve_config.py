"""The configuration of `fairfield solve`: TOML in, a checked `SolveConfig` out, or one sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationError

from fairfield.config import FilePath, Section, read_config
from fairfield.errors import ConfigError

ESTIMATED = (
    "ask_arrival",
    "bid_arrival",
    "fill_decay",
    "adverse_selection",
    "running_penalty",
    "terminal_penalty",
    "competition",
)
"""Parameters that a calibration estimates."""

Number = Annotated[float, Field(allow_inf_nan=True)]
Words = Annotated[str, Field(min_length=1, max_length=40)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _competition(value: Any) -> Any:
    option = isinstance(value, dict) and set(value) == {"crowd_decay"} and _is_number(value["crowd_decay"])
    if not (_is_number(value) or value == "share" or option):
        raise ValueError('must be a number from 0 to 1, "share" or { crowd_decay = number }')
    return value


def _shape(value: Any) -> Any:
    table = isinstance(value, dict) and len(value) == 1 and _is_number(next(iter(value.values())))
    if not (value in ("exponential", "logistic") or (table and set(value) <= {"logistic", "power"})):
        raise ValueError('must be "exponential", "logistic", { logistic = offset } or { power = exponent }')
    return value


class ParametersSection(Section):
    """Parameters of a `MarketMakingGame`; what is left out has the game's default. The game itself checks values."""

    ask_arrival: Number | None = None
    bid_arrival: Number | None = None
    fill_decay: Number | None = None
    running_penalty: Number | None = None
    terminal_penalty: Number | None = None
    horizon: Number | None = None
    max_inventory: int | None = None
    competition: Annotated[Any, PlainValidator(_competition)] = None
    min_half_spread: Number | None = None
    max_half_spread: Number | None = None
    initial_mean: Number | None = None
    initial_std: Number | None = None
    adverse_selection: Number | None = None
    maker_fee: Number | None = None
    risk_aversion: Number | None = None
    intensity_shape: Annotated[Any, PlainValidator(_shape)] = None


class GameSection(ParametersSection):
    """What is solved: `kind` says which of the keys below belong to it, beside the parameters of the market.

    In the kinds with several markets the parameters here are those that the `[[makers]]` or `[[regimes]]` leave out.
    `calibration` names the calibration.json of `fairfield calibrate`, whose parameters stand for those left out here;
    after loading it is the file's SHA-256.
    """

    kind: Literal["market_making", "maker_types", "regimes", "entry_exit", "epidemic"] = "market_making"
    calibration: FilePath | None = None
    switching_rates: list[list[Number]] | None = None
    initial_regime: list[Number] | None = None
    outside_value: Number | None = None
    exit_rate: Number | None = None
    entry_rate: Number | None = None
    sensitivity: Number | None = None
    initial_active: Number | None = None
    liquidation_penalty: Number | None = None
    contact_rate: Number | None = None
    recovery_rate: Number | None = None
    infection_cost: Number | None = None
    initial_infected: Number | None = None


class MakerSection(ParametersSection):
    """A type of makers: its name, its share of the makers and what is its own."""

    name: Words
    share: Number


class RegimeSection(ParametersSection):
    """A regime: its name and what is its own."""

    name: Words


class SolveSection(Section):
    """The tolerance and the fixed-point method with its parameters; left out, it is the default of `solve_mfg`."""

    rtol: float = 1e-9
    atol: float = 1e-12
    method: Literal["anderson", "picard", "fictitious_play", "newton_krylov"] | None = None
    depth: int | None = None
    damping: float | None = None
    weight: float | None = None
    max_directions: int | None = None
    max_sweeps: int | None = None
    max_steps: int | None = None
    max_work: float | None = None


class UnitsSection(Section):
    """Words for what time, price and inventory are counted in; they change no number."""

    time: Words = "units of time"
    price: Words = "price units"
    inventory: Words = "units"


class ChecksSection(Section):
    """`edge_mass`: share of the makers that may stand at the inventory limits; 1 when these limits are meant."""

    edge_mass: float = Field(default=1e-3, ge=0.0, le=1.0)


class SolveConfig(Section):
    """A whole configuration file of `fairfield solve`."""

    title: str | None = Field(default=None, min_length=1, max_length=120)
    game: GameSection
    makers: list[MakerSection] = Field(default_factory=list)
    regimes: list[RegimeSection] = Field(default_factory=list)
    solve: SolveSection = SolveSection()
    units: UnitsSection = UnitsSection()
    checks: ChecksSection = ChecksSection()


def load_solve_config(path: Path) -> SolveConfig:
    """The checked configuration in the TOML file `path`.

    Raises
    ------
    ConfigError
        When the file cannot be read, has an unknown key or a value that breaks a rule.
    """
    config = read_config(path, SolveConfig)
    return config if config.game.calibration is None else _calibrated(config, path)


def _calibrated(config: SolveConfig, path: Path) -> SolveConfig:
    """The configuration with the parameters of the calibration that it names, where it gives none itself."""
    assert config.game.calibration is not None
    file = path.resolve().parent / config.game.calibration.expanduser()
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: game.calibration must name a file; there is no {file}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: game.calibration must name a file; {file} is a folder") from None
    rule = f"{path}: game.calibration must be a calibration.json of fairfield calibrate; {file}"
    found = {name: value for name, value in _estimates(content, rule).items() if getattr(config.game, name) is None}
    empty = next((name for name in ESTIMATED if name in found and found[name] is None), None)
    if empty:
        raise ConfigError(f"{rule} has no value for {empty}")
    digest = hashlib.sha256(content).hexdigest()
    return config.model_copy(update={"game": config.game.model_copy(update={**found, "calibration": digest})})


def _estimates(content: bytes, rule: str) -> dict[str, Any]:
    """The parameters in the bytes of a calibration.json; `rule` opens the sentence when it is something else."""
    from fairfield.calibration_stage import FORMAT

    try:
        record = json.loads(content)
        version, parameters, chosen = (record[key] for key in ("format_version", "parameters", "configuration"))
        found = {name: parameters[name]["value"] for name in ESTIMATED}
        found |= {name: chosen["game"].get(name) for name in ("horizon", "max_inventory")}
    except (ValueError, RecursionError):
        raise ConfigError(f"{rule} is not JSON: write it again") from None
    except KeyError as error:
        raise ConfigError(f"{rule} has no {error}") from None
    except (TypeError, AttributeError):
        raise ConfigError(f"{rule} has other contents") from None
    if version != FORMAT:
        raise ConfigError(f"{rule} has format version {version!r}, not {FORMAT}: calibrate again")
    try:
        ParametersSection.model_validate(found)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise ConfigError(f"{rule} has {name} {found[name]!r}, which is not a value of it") from None
    return found
