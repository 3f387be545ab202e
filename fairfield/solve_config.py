"""The configuration of `fairfield solve`: TOML in; a game, a method and a tolerance out, or one sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator

from fairfield.config import Section, read_config
from fairfield.errors import ConfigError

if TYPE_CHECKING:
    from mfg_core.market_making import MarketMakingGame
    from mfg_core.methods import FixedPointMethod

Number = Annotated[float, Field(allow_inf_nan=True)]


def _competition(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    option = isinstance(value, dict) and set(value) == {"crowd_decay"}
    if not (number or value == "share" or option):
        raise ValueError('must be a number from 0 to 1, "share" or { crowd_decay = number }')
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


class GameSection(ParametersSection):
    """What is solved."""

    kind: Literal["market_making"] = "market_making"


class SolveSection(Section):
    """The tolerance and the fixed-point method with its parameters (its defaults where left out)."""

    rtol: float = 1e-9
    atol: float = 1e-12
    method: Literal["anderson", "picard", "fictitious_play", "newton_krylov"] = "anderson"
    depth: int | None = None
    damping: float | None = None
    weight: float | None = None
    max_sweeps: int | None = None
    max_steps: int | None = None


class UnitsSection(Section):
    """Words for what time, price and inventory are counted in; they change no number."""

    time: str = Field(default="units of time", min_length=1, max_length=40)
    price: str = Field(default="price units", min_length=1, max_length=40)
    inventory: str = Field(default="units", min_length=1, max_length=40)


class ChecksSection(Section):
    """`edge_mass`: share of the makers that may stand at the inventory limits; 1 when these limits are meant."""

    edge_mass: float = Field(default=1e-3, ge=0.0, le=1.0)


class SolveConfig(Section):
    """A whole configuration file of `fairfield solve`."""

    title: str | None = Field(default=None, min_length=1, max_length=120)
    game: GameSection
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
    return read_config(path, SolveConfig)


def make_game(config: SolveConfig) -> MarketMakingGame:
    """The game that a configuration describes.

    Raises
    ------
    ConfigError
        When a parameter is missing or breaks a rule of the game.
    """
    return market_making_game(config.game, "game")


def market_making_game(section: ParametersSection, place: str) -> MarketMakingGame:
    """The market-making game of a section of the file."""
    from mfg_core.competition import OutsideOption, Share
    from mfg_core.market_making import MarketMakingGame

    given = {name: getattr(section, name) for name in ParametersSection.model_fields}
    given = {name: value for name, value in given.items() if value is not None}
    for field in dataclasses.fields(MarketMakingGame):
        if field.default is dataclasses.MISSING and field.name not in given:
            raise ConfigError(f"the key {place}.{field.name} is missing")
    try:
        if given.get("competition") == "share":
            given["competition"] = Share()
        elif isinstance(given.get("competition"), dict):
            given["competition"] = OutsideOption(**given["competition"])
        return MarketMakingGame(**given)
    except ValueError as error:
        raise ConfigError(f"{place}.{error}") from None


def make_method(section: SolveSection) -> FixedPointMethod:
    """The fixed-point method that a configuration names.

    Raises
    ------
    ConfigError
        When a parameter is not the method's or breaks a rule.
    """
    from mfg_core import Anderson, FictitiousPlay, NewtonKrylov, Picard

    kinds: dict[str, type[FixedPointMethod]] = {
        "anderson": Anderson,
        "picard": Picard,
        "fictitious_play": FictitiousPlay,
        "newton_krylov": NewtonKrylov,
    }
    kind = kinds[section.method]
    known = [field.name for field in dataclasses.fields(kind)]
    names = ("depth", "damping", "weight", "max_sweeps", "max_steps")
    given = {name: value for name in names if (value := getattr(section, name)) is not None}
    for name in given:
        if name not in known:
            raise ConfigError(
                f"solve.{name} must be left out for the method {section.method}, whose parameters are "
                f"{', '.join(known)}; was {given[name]}"
            )
    try:
        return kind(**given)
    except ValueError as error:
        raise ConfigError(f"solve.{error}") from None
