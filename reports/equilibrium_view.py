"""The pictures of a market-making equilibrium: quotes, value, crowd, flow, and how the solve converged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mfg_core.market_making import MarketMakingEquilibrium
from mfg_core.time_grid import interpolate_rows
from reports import charts, surface
from reports.charts import Series
from reports.formats import number, percent, significant

Floats = NDArray[np.float64]

DERISK = (0.5, 1.5, 2.5)
"""Inventories within which a maker counts as de-risked."""

SEEN = 1e-4
"""Share of the makers below which an inventory is left out of the pictures."""

SLICES = (0.0, 0.5, 0.9, 1.0)
"""Shares of the horizon at which a surface is shown as a line over inventory."""


@dataclass(frozen=True, slots=True)
class Units:
    """What the numbers of a game are counted in; words only."""

    time: str = "units of time"
    price: str = "price units"
    inventory: str = "units"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its title and what it says."""

    title: str
    drawing: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """Pictures that belong together."""

    anchor: str
    title: str
    sentence: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class History:
    """Undamped residuals of a method after 1, 2, ... sweeps."""

    method: str
    residuals: Sequence[float]


def chapters(equilibrium: MarketMakingEquilibrium, units: Units) -> tuple[Chapter, ...]:
    """Everything that the page draws."""
    return (
        Chapter(
            "quotes",
            "Quotes",
            "The half-spread that a maker posts on each side, by time and by its own inventory. Who is long asks less "
            "and bids less: both quotes move down to get rid of it.",
            (
                *(quote_surface(equilibrium, units, side) for side in ("ask", "bid")),
                *(quote_slices(equilibrium, units, side) for side in ("ask", "bid")),
                mean_quotes(equilibrium, units),
                spread_and_skew(equilibrium, units),
            ),
        ),
        Chapter(
            "value",
            "Value",
            "What a maker expects to earn from now to the close, penalties included.",
            (
                value_surface(equilibrium, units),
                value_slices(equilibrium, units),
                flat_value(equilibrium, units),
                marginal_value(equilibrium, units),
            ),
        ),
        Chapter(
            "crowd",
            "The crowd",
            "All makers together: where their inventories are and how much they trade.",
            (
                crowd(equilibrium, units),
                variance(equilibrium, units),
                derisk(equilibrium, units),
                edge_mass(equilibrium, units),
                fill_rates(equilibrium, units),
                relative_flow(equilibrium, units),
            ),
        ),
    )


def quote_surface(equilibrium: MarketMakingEquilibrium, units: Units, side: str) -> Picture:
    """One side's quotes over time and inventory."""
    quotes = equilibrium.policy.ask if side == "ask" else equilibrium.policy.bid
    kept = inhabited(equilibrium)
    drawing = surface.heat_map(
        equilibrium.times, equilibrium.states[kept], quotes[:, kept], f"{side} half-spread over time and inventory",
        _time(units), _inventory(units),
    )  # fmt: skip
    words = "Darker is wider, lines join equal quotes; inventories that nobody has are left out."
    return Picture(f"{side.capitalize()} half-spread, {units.price}", drawing, words)


def quote_slices(equilibrium: MarketMakingEquilibrium, units: Units, side: str) -> Picture:
    """One side's quotes over inventory at the times of `SLICES`."""
    quotes = equilibrium.policy.ask if side == "ask" else equilibrium.policy.bid
    kept = inhabited(equilibrium)
    kept = kept[np.isfinite(quotes[0, kept])]
    lines = [Series(name, values[kept], style) for name, values, style in _slices(equilibrium, quotes)]
    drawing = charts.curves(
        equilibrium.states[kept], lines, f"{side} half-spread by inventory", _inventory(units),
        y_words=units.price, include=[0.0],
    )  # fmt: skip
    long = quotes[-1, equilibrium.game.max_inventory + 1]
    flat = quotes[-1, equilibrium.game.max_inventory]
    words = (
        f"At the close a flat maker's {side} is {significant(flat)}, that of a maker one unit long {significant(long)}"
        f" {units.price}: {'it wants to sell' if side == 'ask' else 'it does not want to buy'}."
        if np.isfinite(long + flat)
        else "Each line is one moment."
    )
    return Picture(f"{side.capitalize()} by inventory", drawing, words)


def mean_quotes(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """The crowd's mean ask and bid over time."""
    field = equilibrium.mean_field
    lines = [Series("mean ask", field.ask, "s0"), Series("mean bid", field.bid, "s1")]
    drawing = over_time(equilibrium.times, lines, "mean ask and bid half-spread", units, units.price)
    words = "Distance of each side's mean quote from the mid, over the makers who quote that side."
    if np.allclose(field.ask, field.bid, rtol=1e-9, atol=0.0):
        words += " The game is symmetric: both lines are one."
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
        _time(units), _inventory(units),
    )  # fmt: skip
    words = "V(t, x) \N{MINUS SIGN} V(t, 0): what holding x instead of nothing is worth; darker is better."
    return Picture(f"Value against flat inventory, {units.price}", drawing, words)


def value_slices(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """V(t, x) - V(t, 0) over inventory at the times of `SLICES`."""
    kept = inhabited(equilibrium)
    lines = [Series(name, values[kept], style) for name, values, style in _slices(equilibrium, _cost(equilibrium))]
    drawing = charts.curves(
        equilibrium.states[kept], lines, "value against flat inventory", _inventory(units), y_words=units.price
    )
    words = "The same at four moments. At the close it is the terminal penalty; before, there is time to trade out."
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


def crowd(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """The law of the inventories with its quantiles."""
    drawing = surface.crowd_map(
        equilibrium.times, equilibrium.states, equilibrium.density, "inventories of the crowd", _time(units),
        _inventory(units),
    )  # fmt: skip
    words = (
        "Darkness: probability over its highest value at that moment. Lines: quantiles, each unit of inventory spread "
        "evenly; inventories that hardly anybody has are left out."
    )
    return Picture("Inventories of the crowd", drawing, words)


def variance(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """Variance and mean of the inventory over time."""
    lines = [
        Series("variance", equilibrium.inventory_variance, "s0"),
        Series("mean", equilibrium.inventory_mean, "s1"),
    ]
    drawing = over_time(
        equilibrium.times, lines, "variance and mean of the inventory", units, units.inventory, include=[0]
    )
    words = f"At the close the standard deviation is {significant(equilibrium.inventory_variance[-1] ** 0.5)}."
    return Picture(f"Inventory: variance ({units.inventory}²) and mean", drawing, words)


def derisk(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """Probability of a small inventory over time."""
    lines = [Series(f"|x| < {eps:g}", equilibrium.derisk_probability(eps), f"s{i}") for i, eps in enumerate(DERISK)]
    drawing = charts.curves(
        equilibrium.times, lines, "de-risk probability", _time(units), lambda v: percent(v, 0), y_words="probability",
        include=[0.0],
    )  # fmt: skip
    return Picture("De-risk probability", drawing, "Share of the makers whose inventory is within the bound.")


def edge_mass(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """Share of the makers at the two ends of the grid over time."""
    lines = [Series("at \N{PLUS-MINUS SIGN}Q", equilibrium.edge_mass, "s0")]
    drawing = over_time(
        equilibrium.times, lines, "share of makers at the ends of the grid", units, "share", include=[0.0]
    )
    words = f"At most {significant(equilibrium.edge_mass.max())} of the makers cannot quote one side."
    return Picture("Makers at the ends of the inventory grid", drawing, words)


def fill_rates(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """Fills per maker on each side over time, beside the arrivals."""
    field, game, ones = equilibrium.mean_field, equilibrium.game, np.ones(equilibrium.times.size)
    lines = [
        Series("ask fills", field.ask_fill_rate, "s0"),
        Series("bid fills", field.bid_fill_rate, "s1"),
        *(
            Series(name, arrival * ones, "sb")
            for arrival, name in {game.bid_arrival: "A, bid", game.ask_arrival: "A, ask"}.items()
        ),
    ]
    unit = f"fills per maker per {one(units.time)}"
    drawing = over_time(equilibrium.times, lines, "fill rates per side", units, unit)
    return Picture("Fill rates per side", drawing, "Averages over all makers; the dashed lines are A.")


def relative_flow(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """Flow over arrivals over time."""
    field, game = equilibrium.mean_field, equilibrium.game
    total = field.ask_fill_rate + field.bid_fill_rate
    lines = [
        Series("ask", field.ask_fill_rate / game.ask_arrival, "s0"),
        Series("bid", field.bid_fill_rate / game.bid_arrival, "s1"),
        Series("both", total / (game.ask_arrival + game.bid_arrival), "sb"),
    ]
    drawing = over_time(equilibrium.times, lines, "flow over arrivals", units, "flow over A", include=[1.0])
    return Picture("Flow against A", drawing, flow_words(equilibrium))


def flow_words(equilibrium: MarketMakingEquilibrium) -> str:
    """Why the flow is not A."""
    game, field = equilibrium.game, equilibrium.mean_field
    most = float(np.max((field.ask_fill_rate + field.bid_fill_rate) / (game.ask_arrival + game.bid_arrival)))
    if most > 1.0:
        return (
            f"The flow reaches {most:.4g} times A: intensities count the distance to the crowd's mean quote, and the "
            "average of an exponential exceeds the exponential of the average (Jensen), the more the quotes differ "
            "from maker to maker. Relative competition has no outside option: no customer stays away."
        )
    return f"The flow is at most {most:.4g} times A: wide quotes keep some away, and makers at a limit quote one side."


def convergence(histories: Sequence[History], tolerance: float, unit: str) -> Picture:
    """Residual by sweep of each method, on a logarithmic scale."""
    longest = max((len(history.residuals) for history in histories), default=0)
    sweeps = np.arange(1.0, max(longest, 8) + 1.0)
    lines = []
    for i, history in enumerate(histories):
        logs = np.full(sweeps.size, np.nan)
        logs[: len(history.residuals)] = np.log10(np.maximum(history.residuals, 1e-300))
        lines.append(Series(history.method, logs, f"s{i}"))
    lines.append(Series("tolerance", np.full(sweeps.size, np.log10(max(tolerance, 1e-300))), "sb"))
    drawing = charts.curves(
        sweeps, lines, "residual by sweep", "sweeps", lambda v: significant(10.0**v, 1), y_words=unit
    )
    rates = [f"{h.method} {rate:.2g}" for h in histories if (rate := contraction(h.residuals)) is not None]
    words = (
        "Largest change of the mean field when everybody replies once more (the undamped map), by sweep, from a first "
        "guess on the final time grid."
    )
    return Picture(
        "Residual by sweep", drawing, f"{words} Last ratio of residuals: {', '.join(rates)}." if rates else words
    )


def contraction(residuals: Sequence[float]) -> float | None:
    """Ratio of the last two residuals, None when there are not two."""
    return residuals[-1] / residuals[-2] if len(residuals) > 1 and residuals[-2] > 0 else None


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


def over_time(
    times: Floats, lines: Sequence[Series], label: str, units: Units, y_words: str, include: Sequence[float] = ()
) -> Markup:
    """Lines over the time of a game, with ticks that differ from each other."""
    write = tick_number([*(line.values for line in lines), np.asarray(include, dtype=np.float64)])
    return charts.curves(times, lines, label, _time(units), write, y_words=y_words, include=include)


def tick_number(arrays: Sequence[Floats]) -> Callable[[float], str]:
    """How to write round numbers between the lowest and the highest of the arrays so that neighbours differ."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not 1e-3 <= max(abs(low), abs(high)) < 1e5 or high == low:
        return lambda v: significant(v, 3)
    digits = min(max(0, 1 - math.floor(math.log10((high - low) / 2.0))), 8)
    return lambda v: _bare(number(v, digits))


def _bare(text: str) -> str:
    """Without the zeros at the end of a fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(units: Units) -> str:
    return f"time, {units.time}"


def _inventory(units: Units) -> str:
    return f"inventory, {units.inventory}"


def one(unit: str) -> str:
    """One of a unit: "units of time" is "unit of time", "seconds" is "second"."""
    first, space, rest = unit.partition(" of ")
    return first.removesuffix("s") + space + rest
