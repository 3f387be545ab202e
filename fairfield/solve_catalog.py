"""The names of `fairfield solve` resolved: a checked configuration in, a game and a fixed-point method out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError
from fairfield.solve_config import GameSection, ParametersSection, SolveConfig, SolveSection

if TYPE_CHECKING:
    from mfg_core.iteration.methods import FixedPointMethod
    from mfg_core.market.market_making import MarketMakingGame

MARKET_KEYS = tuple(ParametersSection.model_fields)
OWN_KEYS = {
    "market_making": MARKET_KEYS,
    "maker_types": MARKET_KEYS,
    "regimes": (*MARKET_KEYS, "switching_rates", "initial_regime"),
    "entry_exit": (
        *MARKET_KEYS,
        *("outside_value", "exit_rate", "entry_rate", "sensitivity", "initial_active", "liquidation_penalty"),
    ),
    "epidemic": ("contact_rate", "recovery_rate", "infection_cost", "initial_infected", "horizon"),
}
"""Keys of [game] that belong to each kind."""

LOOSEST = 1e-2
"""Largest relative tolerance: beyond it every check would pass and nothing be known."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A game with the names of its parts."""

    game: Any
    names: tuple[str, ...]


def make_problem(config: SolveConfig) -> Problem:
    """The game that a configuration describes.

    Raises
    ------
    ConfigError
        When a key is missing or not of this kind of game, or a value breaks a rule of the game.
    """
    section = config.game
    _refuse_foreign_keys(config)
    if section.kind == "epidemic" and section.calibration is not None:
        raise ConfigError("game.calibration must be left out for the kind epidemic")
    own = {name: getattr(section, name) for name in OWN_KEYS[section.kind] if name not in MARKET_KEYS}
    if section.kind == "market_making":
        return Problem(_market(section, {}, "game"), ("market",))
    if section.kind == "maker_types":
        from mfg_core.market.maker_types import MixedMarketMakingGame

        makers = tuple(_market(part, _given(section), f"makers[{i}]") for i, part in enumerate(config.makers))
        shares = tuple(part.share for part in config.makers)
        game = _build(MixedMarketMakingGame, {"makers": makers, "shares": shares}, "makers")
        return Problem(game, tuple(part.name for part in config.makers))
    if section.kind == "regimes":
        from mfg_core.market.regimes import RegimeSwitchingGame

        lengths = {len(row) for row in section.switching_rates or []}
        if len(lengths) > 1:
            raise ConfigError(f"game.switching_rates must have rows of one length; was {section.switching_rates}")
        regimes = tuple(_market(part, _given(section), f"regimes[{i}]") for i, part in enumerate(config.regimes))
        return Problem(
            _build(RegimeSwitchingGame, {"regimes": regimes, **own}, "game"),
            tuple(part.name for part in config.regimes),
        )
    if section.kind == "entry_exit":
        from mfg_core.market.entry_exit import EntryExitGame

        return Problem(_build(EntryExitGame, {"market": _market(section, {}, "game"), **own}, "game"), ("market",))
    from mfg_core.family.epidemic import EpidemicGame

    return Problem(_build(EpidemicGame, {**own, "horizon": section.horizon}, "game"), ("population",))


def make_method(section: SolveSection, kind_of_game: str) -> FixedPointMethod | None:
    """The fixed-point method that a configuration names, None (the default of `solve_mfg`) where it says nothing of it.

    Parameters without a method are Anderson's; its damping, left out, is that of `solve_mfg` for this kind of game.

    Raises
    ------
    ConfigError
        When a parameter is not the method's or breaks a rule.
    """
    from mfg_core import Anderson, FictitiousPlay, NewtonKrylov, Picard
    from mfg_core.market.entry_exit import ENTRY_EXIT_DAMPING

    kinds: dict[str, type[FixedPointMethod]] = {
        "anderson": Anderson,
        "picard": Picard,
        "fictitious_play": FictitiousPlay,
        "newton_krylov": NewtonKrylov,
    }
    chosen = section.method or "anderson"
    kind = kinds[chosen]
    known = [field.name for field in dataclasses.fields(kind)]
    given = {
        name: value
        for name, value in section.model_dump(exclude={"rtol", "atol", "method"}).items()
        if value is not None
    }
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                f"solve.{name} must be left out for the method {chosen}, whose parameters are "
                f"{', '.join(known)}; was {value}"
            )
    if section.method is None and not given:
        return None
    if kind_of_game == "entry_exit" and kind is Anderson:
        given.setdefault("damping", ENTRY_EXIT_DAMPING)
    try:
        return kind(**given)
    except ValueError as error:
        raise ConfigError(f"solve.{error}") from None


def refuse_loose(section: SolveSection, problem: Problem) -> None:
    """Refuse tolerances under which the checks could not fail.

    Raises
    ------
    ConfigError
        When `rtol` is above `LOOSEST`, or `atol` above as much of 1, the size of probabilities, or of 1/k.
    """
    from mfg_core import MarketMakingGame

    game = problem.game
    unit = 1.0 / game.fill_decay if isinstance(game, MarketMakingGame) else game.value_unit
    for name, value, most in (("rtol", section.rtol, LOOSEST), ("atol", section.atol, LOOSEST * min(1.0, unit))):
        if value > most:
            raise ConfigError(
                f"solve.{name} must be at most {most:.3g}, a hundredth of what is solved for; was {value}"
            )


def _refuse_foreign_keys(config: SolveConfig) -> None:
    kind = config.game.kind
    for name in GameSection.model_fields:
        value = getattr(config.game, name)
        if name not in ("kind", "calibration") and value is not None and name not in OWN_KEYS[kind]:
            raise ConfigError(f"game.{name} must be left out for the kind {kind}; was {value}")
    for table, owner in (("makers", "maker_types"), ("regimes", "regimes")):
        if bool(getattr(config, table)) != (kind == owner):
            rule = f"given for the kind {owner}" if kind == owner else f"left out for the kind {kind}"
            raise ConfigError(f"[[{table}]] must be {rule}")
        names = [part.name for part in getattr(config, table)]
        if len(set(names)) < len(names):
            raise ConfigError(f"names of [[{table}]] must differ; was {names}")


def _given(section: ParametersSection) -> dict[str, Any]:
    """The parameters of a market that the section gives."""
    return {name: value for name in MARKET_KEYS if (value := getattr(section, name)) is not None}


def _market(section: ParametersSection, usual: Mapping[str, Any], place: str) -> MarketMakingGame:
    """The market of a section, with what it leaves out from `usual`."""
    from mfg_core.market.competition import OutsideOption, Share
    from mfg_core.market.intensity_shapes import Exponential, Logistic, Power
    from mfg_core.market.market_making import MarketMakingGame

    given = {**usual, **_given(section)}
    try:
        if given.get("competition") == "share":
            given["competition"] = Share()
        elif isinstance(given.get("competition"), dict):
            given["competition"] = OutsideOption(**given["competition"])
        if "intensity_shape" in given:
            kinds: dict[str, Callable[..., Any]] = {"exponential": Exponential, "logistic": Logistic, "power": Power}
            shape = given["intensity_shape"]
            named = {shape: ()} if isinstance(shape, str) else {key: (value,) for key, value in shape.items()}
            given["intensity_shape"] = next(kinds[key](*arguments) for key, arguments in named.items())
    except ValueError as error:
        raise ConfigError(f"{place}.{error}") from None
    market: MarketMakingGame = _build(MarketMakingGame, given, place)
    return market


def _build(kind: type[Any], given: Mapping[str, Any], place: str) -> Any:
    """An object of the data class `kind`; what is None is left to its default."""
    held = {name: value for name, value in given.items() if value is not None}
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.init and required and field.name not in held:
            raise ConfigError(f"the key {place}.{field.name} is missing")
    try:
        return kind(**held)
    except ValueError as error:
        raise ConfigError(f"{place}.{error}") from None
