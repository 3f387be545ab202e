"""The pictures of a maker's quotes and value over time and inventory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mfg_core.family.time_grid import interpolate_rows
from mfg_core.market.market_making import MarketMakingEquilibrium
from reports import charts, surface
from reports.charts import Series
from reports.formats import significant
from reports.pictures import Picture, Units, inventory_words, over_time, time_words

Floats = NDArray[np.float64]

SEEN = 1e-4
"""Share of the makers below which an inventory is left out of the pictures."""

SLICES = (0.0, 0.5, 0.9, 1.0)
"""Shares of the horizon at which a surface is shown as a line over inventory."""


def quote_surface(equilibrium: MarketMakingEquilibrium, units: Units, side: str) -> Picture:
    """One side's quotes over time and inventory."""
    quotes = equilibrium.policy.ask if side == "ask" else equilibrium.policy.bid
    kept = inhabited(equilibrium)
    drawing = surface.heat_map(
        equilibrium.times, equilibrium.states[kept], quotes[:, kept], f"{side} half-spread over time and inventory",
        time_words(units), inventory_words(units),
    )  # fmt: skip
    words = (
        "The stronger the colour the wider; lines join equal quotes; inventories that hardly anybody has are left out."
    )
    return Picture(f"{side.capitalize()} half-spread, {units.price}", drawing, words)


def quote_slices(equilibrium: MarketMakingEquilibrium, units: Units, side: str) -> Picture:
    """One side's quotes over inventory at the times of `SLICES`."""
    quotes = equilibrium.policy.ask if side == "ask" else equilibrium.policy.bid
    kept = inhabited(equilibrium)
    kept = kept[np.isfinite(quotes[0, kept])]
    lines = [Series(name, values[kept], style) for name, values, style in _slices(equilibrium, quotes)]
    drawing = charts.curves(
        equilibrium.states[kept], lines, f"{side} half-spread by inventory", inventory_words(units),
        y_words=units.price, include=[0.0],
    )  # fmt: skip
    flat, long = (float(quote) for quote in quotes[-1, equilibrium.game.max_inventory :][:2])
    return Picture(f"{side.capitalize()} by inventory", drawing, slice_words(side, flat, long, units))


def slice_words(side: str, flat: float, long: float, units: Units) -> str:
    """What the quotes of a side at the close say, of a maker without inventory and of one that is one unit long."""
    if not np.isfinite(long + flat):
        return "Each line is one moment."
    words = f"At the close a flat maker's {side} is {significant(flat)}, that of a maker one unit long "
    if math.isclose(long, flat, rel_tol=1e-9):
        return f"{words}the same, {units.price}."
    eager = {("ask", True): ": it wants to sell", ("bid", False): ": it does not want to buy"}
    return f"{words}{significant(long)} {units.price}{eager.get((side, long < flat), '')}."


def mean_quotes(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """The crowd's mean ask and bid over time."""
    field = equilibrium.mean_field
    lines = [Series("mean ask", field.ask, "s0"), Series("mean bid", field.bid, "s1")]
    drawing = over_time(equilibrium.times, lines, "mean ask and bid half-spread", units, units.price)
    words = "Distance of each side's mean quote from the mid, over the makers who quote that side."
    if np.allclose(field.ask, field.bid, rtol=1e-9, atol=0.0):
        words += " Both lines are one."
    return Picture("Mean ask and bid of the crowd", drawing, words)


def spread_and_skew(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """The crowd's full spread and net skew over time."""
    lines = [Series("full spread", equilibrium.full_spread, "s0"), Series("net skew", equilibrium.net_skew, "s1")]
    drawing = over_time(equilibrium.times, lines, "full spread and net skew", units, units.price, include=[0.0])
    words = (
        "Full spread: mean ask plus mean bid. Net skew: mean ask less mean bid, zero in a symmetric game; no spread."
    )
    return Picture("Full spread and net skew", drawing, words)


def value_surface(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """What an inventory costs, V(t, x) - V(t, 0), over time and inventory."""
    kept = inhabited(equilibrium)
    drawing = surface.heat_map(
        equilibrium.times, equilibrium.states[kept], _cost(equilibrium)[:, kept], "value against flat inventory",
        time_words(units), inventory_words(units),
    )  # fmt: skip
    words = "V(t, x) \N{MINUS SIGN} V(t, 0): holding x instead of nothing; the stronger the colour the better."
    return Picture(f"Value against flat inventory, {units.price}", drawing, words)


def value_slices(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """V(t, x) - V(t, 0) over inventory at the times of `SLICES`."""
    kept = inhabited(equilibrium)
    lines = [Series(name, values[kept], style) for name, values, style in _slices(equilibrium, _cost(equilibrium))]
    drawing = charts.curves(
        equilibrium.states[kept], lines, "value against flat inventory", inventory_words(units), y_words=units.price
    )
    words = "The same at four moments. At the close it is minus the terminal penalty, and nothing else."
    return Picture("Value against flat inventory, by inventory", drawing, words)


def flat_value(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """V(t, 0) over time."""
    value = equilibrium.value[:, equilibrium.game.max_inventory]
    drawing = over_time(
        equilibrium.times, [Series("V(t, 0)", value, "s0")], "value at flat inventory", units, units.price
    )
    return Picture("Value at flat inventory", drawing, f"At the open {significant(value[0], 5)} {units.price}.")


def marginal_value(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """What the first unit of inventory costs, and the marginal cost, over time."""
    flat, value = equilibrium.game.max_inventory, equilibrium.value
    lines = [
        Series("first unit long", value[:, flat] - value[:, flat + 1], "s0"),
        Series("first unit short", value[:, flat] - value[:, flat - 1], "s1"),
        Series("marginal cost", equilibrium.marginal_cost, "sb"),
    ]
    drawing = over_time(
        equilibrium.times, lines, "cost of the first unit of inventory", units, units.price, include=[0.0]
    )
    words = (
        "First unit: V(t, 0) less V(t, 1) or V(t, \N{MINUS SIGN}1). Marginal cost: "
        "(V(t, 1) \N{MINUS SIGN} V(t, \N{MINUS SIGN}1))/2, zero in a symmetric game."
    )
    return Picture("Cost of the first unit of inventory", drawing, words)


def inhabited(equilibrium: MarketMakingEquilibrium) -> NDArray[np.intp]:
    """Columns of the inventories from the lowest to the highest that at least 1e-4 of the makers have at some time.

    Symmetric around 0, at least -1, 0, 1.
    """
    seen = np.abs(equilibrium.states[(equilibrium.density > SEEN).any(axis=0)])
    return np.flatnonzero(np.abs(equilibrium.states) <= max(float(seen.max()), 1.0))


def _cost(equilibrium: MarketMakingEquilibrium) -> Floats:
    flat = equilibrium.game.max_inventory
    return np.asarray(equilibrium.value - equilibrium.value[:, flat : flat + 1])


def _slices(equilibrium: MarketMakingEquilibrium, values: Floats) -> list[tuple[str, Floats, str]]:
    """(name, row, style) at the shares of the horizon of `SLICES`."""
    at = np.array(SLICES) * equilibrium.times[-1]
    rows = interpolate_rows(equilibrium.times, values, at)
    return [(f"t = {significant(t, 3)}", row, f"s{i}") for i, (t, row) in enumerate(zip(at, rows, strict=True))]
