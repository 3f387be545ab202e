"""The equilibrium's quotes from a policy library instead of a solve: looked up at the training's market."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mfg_core.library.policy_grid import ARRIVAL_SCALE
from mfg_core.library.quote_block import PreparedQuotes, look_up
from strategies.checks import require
from strategies.intraday.maker_pod import TIME_TOLERANCE, FittedQuotes, Floats, MakerStyle, require_number
from strategies.intraday.mean_field_maker import MeanFieldMaker
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import QuoteTable, quoting_rule_of, tabulate
from strategies.intraday.rule import Rule
from strategies.pod import Parameter, parameters_of
from strategies.policy_library import open_policy_library

if TYPE_CHECKING:
    from mfg_core.market.market_making import MarketMakingGame


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryMaker(MakerStyle):
    """The quotes that `maker` would have solved for, from a library of solved policies.

    The library's axes are read at the game that `maker` makes of the training; every other parameter of that game has
    to be the library's.

    Attributes
    ----------
    library : str
        Folder of the library; its name is its hash, which stands for it in `parameters`.
    regime : str
        Of the library; empty where it has one.
    maker : MeanFieldMaker
        Makes the game; its style is not used.
    match : float
        How far a parameter that is no axis may be from the library's, relatively. What is apart is in the notes.
    """

    name: str = "library_maker"
    library: str = ""
    regime: str = ""
    maker: MeanFieldMaker = field(default_factory=MeanFieldMaker)
    match: float = 1e-6

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require(bool(self.library), self.name, "library", "the folder of a policy library", self.library)
        require_number(self.name, "match", self.match, low=0.0)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name: of the library its hash, of the maker its own parameters as text."""
        inner = ", ".join(f"{name}={value!r}" for name, value in sorted(self.maker.parameters.items()))
        return parameters_of(self) | {"library": Path(self.library).resolve().name, "maker": inner}

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, looked up.

        Raises
        ------
        ValueError
            When the training's market lies outside of the library, or is another market than the library's.
        """
        library, game = open_policy_library(self.library), self.maker.game(training)
        regime = self.regime or library.block.regimes[0]
        known = self.regime in library.block.regimes or (not self.regime and len(library.block.regimes) == 1)
        require(known, self.name, "regime", f"one of {', '.join(library.block.regimes)}", self.regime)
        base = library.description["regimes"][regime]
        at = {name: _axis_value(name, game, base) for name in library.block.axes}
        apart = self._apart(game, base, set(at))
        try:
            prepared = library.prepare(regime, **at)
        except ValueError as error:
            raise ValueError(f"library of pod {self.name!r} must hold the training's market: {error}") from None
        tolerance = TIME_TOLERANCE * training.instrument.tick_size
        table = prepared_table(prepared, tolerance, 1e-3 * self.interval_ms, self.name)
        notes = {
            "library": library.hash,
            "regime": regime,
            "parameters": at,
            "apart": apart,
            "worst": library.description["worst"],
            "off_grid_error": library.description["off_grid_error"],
        }
        return FittedQuotes(table, notes)

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with this table."""
        fitted = self.quotes(training)
        return quoting_rule_of(self.name, training, [fitted.table], self.style, notes=fitted.notes)

    def _apart(self, game: MarketMakingGame, base: Mapping[str, Any], axes: set[str]) -> dict[str, list[Any]]:
        """Parameters that are no axes and not quite the library's: [library's, the game's]."""
        apart = {}
        scaled = {"ask_arrival", "bid_arrival"} if ARRIVAL_SCALE in axes else set()
        for one in fields(game):
            if one.name in axes | scaled:
                continue
            value, stored = getattr(game, one.name), base[one.name]
            shown = f"{stored!r}, the library's {one.name}, to within match {self.match:g} (or an axis of the library)"
            require(_close(value, stored, self.match), self.name, one.name, shown, value)
            if not _close(value, stored, 0.0):
                apart[one.name] = [stored, value]
        if scaled:
            ratio = game.ask_arrival / game.bid_arrival
            stored = base["ask_arrival"] / base["bid_arrival"]
            rule = f"{stored:g}, the library's, to within match {self.match:g}"
            require(_close(ratio, stored, self.match), self.name, "ask_arrival / bid_arrival", rule, ratio)
        return apart


def prepared_table(
    prepared: PreparedQuotes, tolerance: float, resolution: float, name: str = "prepared quotes"
) -> QuoteTable:
    """A prepared policy as a table of the quoting rule; see `tabulate`."""
    rows = prepared.table.shape[0]
    states = np.arange(rows) - rows // 2

    def at(times: Floats) -> Floats:
        # The last node is the horizon to rounding only.
        held = np.minimum(np.tile(times, rows), prepared.horizon)
        return np.stack(look_up(prepared, held, np.repeat(states, times.size)), axis=-1).reshape(rows, -1, 2)

    return tabulate(
        at, prepared.horizon, tolerance, resolution=resolution, low=prepared.low, high=prepared.high, name=name
    )


def _axis_value(name: str, game: MarketMakingGame, base: Mapping[str, Any]) -> float:
    """Where on the axis the game lies; the scale of arrivals is that of both sides, their geometric mean."""
    if name != ARRIVAL_SCALE:
        return float(getattr(game, name))
    return math.sqrt(game.ask_arrival / base["ask_arrival"]) * math.sqrt(game.bid_arrival / base["bid_arrival"])


def _close(value: Any, stored: Any, relative: float) -> bool:
    """Whether a parameter is the stored one: numbers to `relative`, forms by their kind and their numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        if not isinstance(stored, Mapping) or stored.get("kind") != type(value).__name__:
            return False
        return all(_close(part, stored[name], relative) for name, part in asdict(value).items())
    if isinstance(stored, Mapping):
        return False
    return math.isclose(float(value), float(stored), rel_tol=relative, abs_tol=0.0)
