"""The chapters of a market-making equilibrium's page."""

from __future__ import annotations

import numpy as np

from mfg_core.market.market_making import MarketMakingEquilibrium
from reports.crowd_view import crowd, derisk, edge_mass, fill_rates, relative_flow, variance
from reports.pictures import Chapter, Units
from reports.quotes_view import (
    flat_value,
    inhabited,
    marginal_value,
    mean_quotes,
    quote_slices,
    quote_surface,
    spread_and_skew,
    value_slices,
    value_surface,
)


def chapters(equilibrium: MarketMakingEquilibrium, units: Units) -> tuple[Chapter, ...]:
    """Everything that the page draws."""
    return (
        Chapter(
            "quotes",
            "Quotes",
            quotes_words(equilibrium),
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
            "What a maker expects to earn from now to the close, penalties included"
            + (" (the certainty equivalent of its utility)." if equilibrium.game.risk_aversion else "."),
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


def quotes_words(equilibrium: MarketMakingEquilibrium) -> str:
    """What the quotes are, and how they lean where they lean one way everywhere."""
    words = "The half-spread that a maker posts on each side, by time and by its own inventory."
    kept, unit = inhabited(equilibrium), 1.0 / equilibrium.game.fill_decay
    ask, bid = (np.diff(side[:, kept], axis=1) for side in (equilibrium.policy.ask, equilibrium.policy.bid))
    one_way = np.nanmax(ask) <= 1e-6 * unit and np.nanmin(bid) >= -1e-6 * unit
    if one_way and np.max(np.nansum(bid - ask, axis=1)) > 1e-2 * unit:  # by what can be seen
        words += " Who is longer asks less and bids less, or the same: both quotes move down to get rid of it."
    return words
