"""The pictures of games made of several markets: maker types, regimes, entry and exit; and of the epidemic game."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mfg_core.family.finite_state import FiniteStateEquilibrium
from mfg_core.market.entry_exit_policy import EntryExitEquilibrium
from mfg_core.market.maker_types import MixedMarketMakingEquilibrium
from mfg_core.market.market_making import MarketMakingEquilibrium
from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium
from mfg_core.market.sanity_compositions import ComposedEquilibrium
from reports.charts import Series
from reports.crowd_view import crowd
from reports.pictures import Chapter, Picture, Units, one, over_time
from reports.quotes_view import quote_slices, quote_surface, value_slices, value_surface

Floats = NDArray[np.float64]
Parts = Sequence[tuple[str, MarketMakingEquilibrium]]


def parts_of(equilibrium: ComposedEquilibrium, names: Sequence[str]) -> list[tuple[str, MarketMakingEquilibrium]]:
    """Name and equilibrium of each market in a composition."""
    if isinstance(equilibrium, RegimeSwitchingEquilibrium):
        return list(zip(names, equilibrium.regimes, strict=True))
    if isinstance(equilibrium, MixedMarketMakingEquilibrium):
        return list(zip(names, equilibrium.makers, strict=True))
    return [(names[0], equilibrium.makers)]


def composition_chapters(equilibrium: ComposedEquilibrium, names: Sequence[str], units: Units) -> tuple[Chapter, ...]:
    """What belongs to the whole, the parts beside each other, then each part on its own."""
    parts = parts_of(equilibrium, names)
    if isinstance(equilibrium, EntryExitEquilibrium):
        whole = Chapter(
            "whole", "Who is in the market", ENTRY_WORDS, (active(equilibrium, units), worth(equilibrium, units),
            flows(equilibrium, units), *beside(parts, units)),
        )  # fmt: skip
    elif isinstance(equilibrium, RegimeSwitchingEquilibrium):
        whole = Chapter(
            "whole", "The regimes", REGIME_WORDS, (regimes(equilibrium, names, units), *beside(parts, units))
        )
    else:
        whole = Chapter("whole", "The types side by side", TYPE_WORDS, beside(parts, units))
    return (whole, *(part_chapter(i, name, part, units) for i, (name, part) in enumerate(parts)))


TYPE_WORDS = "Makers of several types quote against the mean of all; each type's own means and risks."
REGIME_WORDS = (
    "Parameters follow a Markov chain that everybody sees. Each line is given that the market is in that regime now, "
    "whatever it was in before; so is the crowd that makers quote against."
)
ENTRY_WORDS = (
    "Makers leave when the outside is worth more and come back when it is worth less; the flow is shared by those in."
)


def beside(parts: Parts, units: Units) -> tuple[Picture, ...]:
    """Mean quotes, risk, value and fills, one line per part."""
    ones = one(units.time)
    return (
        _beside(parts, units, "Mean ask", units.price, lambda part: own_mean(part, "ask")),
        _beside(parts, units, "Mean bid", units.price, lambda part: own_mean(part, "bid")),
        _beside(parts, units, "Inventory variance", f"{units.inventory}²", lambda part: part.inventory_variance),
        _beside(parts, units, "Share with |x| < 1.5", "probability", lambda part: part.derisk_probability(1.5)),
        _beside(parts, units, "Value at flat inventory", units.price, lambda p: p.value[:, p.game.max_inventory]),
        _beside(parts, units, "Fills per maker, both sides", f"fills per {ones}", _fills),
    )


def own_mean(part: MarketMakingEquilibrium, side: str) -> Floats:
    """(nt+1,) mean quote of a side over the part's own makers who quote it."""
    quotes = part.policy.ask if side == "ask" else part.policy.bid
    weight = np.where(np.isnan(quotes), 0.0, part.density)
    return np.asarray(np.nansum(weight * quotes, axis=1) / weight.sum(axis=1))


def regimes(equilibrium: RegimeSwitchingEquilibrium, names: Sequence[str], units: Units) -> Picture:
    """Probability of each regime over time."""
    lines = [Series(n, equilibrium.regime_probability[:, i], f"s{i % 8}") for i, n in enumerate(names)]
    drawing = over_time(
        equilibrium.times, lines, "probability of the regimes", units, "probability", include=[0.0, 1.0]
    )
    return Picture("Probability of the regimes", drawing, "What the chain makes of its start; nobody influences it.")


def active(equilibrium: EntryExitEquilibrium, units: Units) -> Picture:
    """Share of the population in the market over time."""
    lines = [Series("N", equilibrium.active, "s0")]
    drawing = over_time(equilibrium.times, lines, "makers in the market", units, "share", include=[0.0, 1.0])
    words = "Each maker in the market gets A/N per side at the crowd's quote: who leaves, leaves flow to the others."
    return Picture("Makers in the market", drawing, words)


def worth(equilibrium: EntryExitEquilibrium, units: Units) -> Picture:
    """What being inside, flat, and outside is worth over time."""
    makers = equilibrium.makers
    lines = [
        Series("inside, flat", makers.value[:, makers.game.max_inventory], "s0"),
        Series("outside", equilibrium.outside_value, "s1"),
    ]
    drawing = over_time(equilibrium.times, lines, "value inside and outside", units, units.price)
    return Picture("What it is worth", drawing, "From now to the close; the outside has the chance to come back in it.")


def flows(equilibrium: EntryExitEquilibrium, units: Units) -> Picture:
    """Exits and entries per unit of time."""
    lines = [Series("leave", equilibrium.exit_flow, "s0"), Series("enter", equilibrium.entry_flow, "s1")]
    unit = f"share per {one(units.time)}"
    drawing = over_time(equilibrium.times, lines, "exits and entries", units, unit, include=[0.0])
    return Picture("Exits and entries", drawing, "Shares of the whole population.")


def part_chapter(index: int, name: str, part: MarketMakingEquilibrium, units: Units) -> Chapter:
    """Quotes, value and law of one part."""
    pictures = (
        *(quote_surface(part, units, side) for side in ("ask", "bid")),
        *(quote_slices(part, units, side) for side in ("ask", "bid")),
        value_surface(part, units),
        value_slices(part, units),
        crowd(part, units),
    )
    return Chapter(f"part-{index}", name.capitalize(), "Quotes, value and inventories here.", pictures)


def epidemic_chapters(equilibrium: FiniteStateEquilibrium, units: Units) -> tuple[Chapter, ...]:
    """Shares, contacts and value of the epidemic game."""
    times, law = equilibrium.times, equilibrium.density
    names = ("susceptible", "infected", "recovered")
    shares = [Series(name, law[:, i], f"s{i}") for i, name in enumerate(names)]
    pictures = (
        Picture(
            "Shares of the population",
            over_time(times, shares, "shares of the population", units, "share", include=[0.0, 1.0]),
            f"At most {float(law[:, 1].max()):.3g} are infected at a time; {float(law[-1, 0]):.3g} never are.",
        ),
        Picture(
            "Infected",
            over_time(times, shares[1:2], "infected", units, "share", include=[0.0]),
            "The infected alone, on their own scale.",
        ),
        Picture(
            "Contact rate of the susceptible",
            over_time(
                times, [Series("chosen", equilibrium.control[:, 0], "s0")], "contact rate", units,
                f"per {one(units.time)}", include=[0.0],
            ),
            "Lower while many are infected: avoiding contacts costs, an infection costs more.",
        ),
        Picture(
            "Value of the susceptible",
            over_time(times, [Series("V", equilibrium.value[:, 0], "s0")], "value", units, "cost", include=[0.0]),
            "Minus the expected cost from now on.",
        ),
    )  # fmt: skip
    return (Chapter("epidemic", "The epidemic", "Everybody chooses how much to meet others.", pictures),)


def _beside(
    parts: Parts, units: Units, title: str, y_words: str, path: Callable[[MarketMakingEquilibrium], Floats]
) -> Picture:
    lines = [Series(name, path(part), f"s{i % 8}") for i, (name, part) in enumerate(parts)]
    return Picture(title, over_time(parts[0][1].times, lines, title, units, y_words), "")


def _fills(part: MarketMakingEquilibrium) -> Floats:
    return np.asarray(part.mean_field.ask_fill_rate + part.mean_field.bid_fill_rate)
