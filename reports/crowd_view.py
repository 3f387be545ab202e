"""The pictures of the crowd: where its inventories are and how much it trades."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mfg_core.market.competition import Share
from mfg_core.market.intensity_shapes import Exponential
from mfg_core.market.market_making import MarketMakingEquilibrium
from reports import charts, surface
from reports.charts import Series
from reports.formats import percent, significant
from reports.pictures import Picture, Units, inventory_words, one, over_time, time_words

Floats = NDArray[np.float64]

DERISK = (0.5, 1.5, 2.5)
"""Inventories within which a maker counts as de-risked."""


def crowd(equilibrium: MarketMakingEquilibrium, units: Units) -> Picture:
    """The law of the inventories with its quantiles."""
    drawing = surface.crowd_map(
        equilibrium.times, equilibrium.states, equilibrium.density, "inventories of the crowd", time_words(units),
        inventory_words(units),
    )  # fmt: skip
    words = (
        "Colour: probability over its highest value at that moment. Lines: quantiles, each unit of inventory spread "
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
    label, write = "de-risk probability", lambda v: percent(v, 0)
    drawing = charts.curves(
        equilibrium.times, lines, label, time_words(units), write, y_words="probability", include=[0.0]
    )
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
    even = game.ask_arrival == game.bid_arrival
    arrivals = {"A": game.ask_arrival} if even else {"A, bid": game.bid_arrival, "A, ask": game.ask_arrival}
    lines = [
        Series("ask fills", field.ask_fill_rate, "s0"),
        Series("bid fills", field.bid_fill_rate, "s1"),
        *(Series(name, arrival * ones, "sb") for name, arrival in arrivals.items()),
    ]
    unit = f"fills per maker per {one(units.time)}"
    drawing = over_time(equilibrium.times, lines, "fill rates per side", units, unit)
    return Picture("Fill rates per side", drawing, f"Averages over all makers; dashed: {' and '.join(arrivals)}.")


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
    if isinstance(game.competition, Share):
        return "The flow is shared: A per maker who quotes the side, so that only those at a limit take from it."
    most = float(np.max((field.ask_fill_rate + field.bid_fill_rate) / (game.ask_arrival + game.bid_arrival)))
    words = f"The flow is at most {most:.4g} times A"
    if not isinstance(game.intensity_shape, Exponential):
        return f"{words}."
    if game.crowd_weight < 1.0:
        place = f"{game.crowd_weight:.3g} times the crowd's mean quote" if game.crowd_weight else "the mid"
        return f"{words}, which is the flow at {place}: quotes beyond it keep some away, quotes within it bring more."
    if most > 1.0:
        return (
            f"The flow reaches {most:.4g} times A: intensities count the distance to the crowd's mean quote, and the "
            "average of an exponential exceeds the exponential of the average (Jensen), the more the quotes differ "
            "from maker to maker. Relative competition has no outside option: no customer stays away."
        )
    return f"{words}; makers at a limit quote one side only."
