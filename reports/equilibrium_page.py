"""The page of a solved game: quotes, value, crowd, sanity checks, certificate with its convergence, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from mfg_core.family.finite_state import FiniteStateEquilibrium
from mfg_core.market.entry_exit_policy import EntryExitEquilibrium
from mfg_core.market.maker_types import MixedMarketMakingEquilibrium
from mfg_core.market.market_making import MarketMakingEquilibrium
from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium
from mfg_core.market.sanity import SanityCheck
from mfg_core.market.sanity_compositions import ComposedEquilibrium
from reports.composition_view import composition_chapters, epidemic_chapters, parts_of
from reports.convergence_view import History, convergence
from reports.equilibrium_tables import (
    certificate_table,
    check_table,
    overall_light,
    parameter_table,
    plain_parameters,
    quote_table,
)
from reports.equilibrium_view import chapters
from reports.formats import percent, plain, significant
from reports.page import render
from reports.pictures import Chapter, Units
from reports.tables import Cell, Grid

Equilibrium: TypeAlias = MarketMakingEquilibrium | ComposedEquilibrium | FiniteStateEquilibrium


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page says of an equilibrium of its kind."""

    subtitle: str
    facts: Sequence[str]
    quotes: Sequence[tuple[str, Grid]]
    chapters: Sequence[Chapter]
    parameters: Grid
    unit: str
    field_unit: str


def equilibrium_page(
    equilibrium: Equilibrium,
    *,
    title: str,
    checks: Sequence[SanityCheck],
    names: Sequence[str] = ("market",),
    histories: Sequence[History] = (),
    units: Units = Units(),  # noqa: B008
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The page that shows an equilibrium, as text: self-contained, no scripts, the same bytes for the same equilibrium.

    Parameters
    ----------
    equilibrium : equilibrium of a market-making game, of a composition of several, or of the epidemic game
    title : str
    checks : sequence of SanityCheck
        What `mfg_core.market.sanity` found.
    names : sequence of str
        Of the parts of a composition.
    histories : sequence of History
        Residuals by sweep, one line each.
    units : Units
        Words for time, price and inventory.
    notes : sequence of str
        Warnings of the solve.
    provenance : mapping
        What the equilibrium came from: hashes, versions.
    """
    content = show(equilibrium, names, units)
    proof = equilibrium.certificate
    return render(
        "equilibrium.html.j2",
        {
            "title": title,
            "light": overall_light(checks),
            "shown": content,
            "notes": [str(note) for note in notes],
            "checks": check_table(checks),
            "convergence": convergence(histories, proof.tolerance, content.field_unit) if histories else None,
            "certificate": certificate_table(proof, content.unit, content.field_unit, error_words(equilibrium)),
            "certificate_words": certificate_words(equilibrium, units),
            "provenance": Grid(
                key="provenance",
                head=("What", "Value"),
                rows=[(name, Cell(plain(value), "l long mono")) for name, value in (provenance or {}).items()],
                words=2,
                empty="Not recorded.",
            ),
        },
    )


def show(equilibrium: Equilibrium, names: Sequence[str], units: Units) -> Shown:
    """What there is to show of an equilibrium."""
    words = certificate_words(equilibrium, units)
    if isinstance(equilibrium, FiniteStateEquilibrium):
        facts = [
            f"At most {percent(float(equilibrium.density[:, 1].max()))} are infected at a time.",
            f"{percent(float(equilibrium.density[-1, 0]))} are never infected.",
            words,
        ]
        rows = [(name, significant(value, 6)) for name, value in plain_parameters(equilibrium.game).items()]
        parameters = Grid(key="parameters", head=("Parameter", "Value"), rows=rows)
        drawn = epidemic_chapters(equilibrium, units)
        return Shown("Equilibrium of an epidemic", facts, (), drawn, parameters, "units of cost", "log of the infected")
    if isinstance(equilibrium, MarketMakingEquilibrium):
        parts, drawn, others = [("", equilibrium)], chapters(equilibrium, units), {}
    else:
        parts, drawn = parts_of(equilibrium, names), composition_chapters(equilibrium, names, units)
        parts = parts if len(parts) > 1 else [("", parts[0][1])]
        others = plain_parameters(equilibrium.game)
    return Shown(
        "Equilibrium of a crowd of market makers",
        [
            *(fact for name, part in parts for fact in headline(name, part, units)),
            *whole_facts(equilibrium),
            words,
        ],
        [(name, quote_table(part, units)) for name, part in parts],
        drawn,
        parameter_table([(name, part.game) for name, part in parts], units, others),
        units.price,
        units.price,
    )


def headline(name: str, market: MarketMakingEquilibrium, units: Units) -> list[str]:
    """The result of one market in plain sentences; only its quotes when it is one part, `name`, of a game."""
    game, flat = market.game, market.game.max_inventory
    ask, bid, law = market.policy.ask, market.policy.bid, market.density
    spread = market.full_spread
    quotes = (f"{name.capitalize()}: at" if name else "At") + (
        f" the open a maker without inventory asks {significant(ask[0, flat], 4)} above the mid and bids "
        f"{significant(bid[0, flat], 4)} below it ({units.price})."
    )
    if name:
        return [quotes]
    close = float(law[-1, np.abs(market.states) < 1.5].sum())
    return [
        quotes,
        f"The crowd's full spread is {significant(spread[0], 4)} at the open and {significant(spread[-1], 4)} at the "
        "close.",
        f"A maker earns {significant(float(law[0] @ market.value[0]), 4)} {units.price} on average over the "
        f"{significant(game.horizon, 4)} {units.time}, penalties included"
        + (" (certainty equivalent of its utility)." if game.risk_aversion else "."),
        f"At the close {percent(close, 0)} of the makers hold at most one unit; the standard deviation of inventories "
        f"is {significant(market.inventory_variance[-1] ** 0.5)}.",
    ]


def whole_facts(equilibrium: Equilibrium) -> list[str]:
    """What only a game of several parts has to say."""
    if not isinstance(equilibrium, EntryExitEquilibrium):
        return []
    active = equilibrium.active
    return [
        f"{percent(float(active[0]), 0)} of the makers are in the market at the open, {percent(float(active[-1]), 0)} "
        f"at the close, at least {percent(float(active.min()), 0)} at any time.",
        "What a maker earns includes what it earns outside once it has left.",
    ]


def certificate_words(equilibrium: Equilibrium, units: Units) -> str:
    """The certificate in plain sentences."""
    proof = equilibrium.certificate
    if not proof.converged:
        return f"Not solved to the tolerance: {proof.status.value}"
    epidemic = isinstance(equilibrium, FiniteStateEquilibrium)
    unit, rounding = "units of cost" if epidemic else units.price, rounding_of(equilibrium)
    gain = f"{significant(proof.exploitability, 2)} {unit}"
    if proof.exploitability < rounding:
        gain = f"less than {significant(rounding, 2)} {unit}, the rounding of the values,"
    return (
        f"By acting otherwise while the others stay one gains {gain} over the whole horizon, averaged over all at its "
        "start and computed on a finer time grid. Values, controls and probabilities carry an estimated error of "
        f"{significant(proof.discretisation_error, 2)}, {error_words(equilibrium)}."
    )


def error_words(equilibrium: Equilibrium) -> str:
    """What the discretisation error is relative to."""
    return f"relative to {'1' if isinstance(equilibrium, FiniteStateEquilibrium) else '1/k'} plus their size"


def rounding_of(equilibrium: Equilibrium) -> float:
    """Spacing of the floating-point numbers at the largest value: no difference of values means less."""
    if isinstance(equilibrium, MixedMarketMakingEquilibrium):
        values = [maker.value for maker in equilibrium.makers]
    elif isinstance(equilibrium, RegimeSwitchingEquilibrium):
        values = [regime.value for regime in equilibrium.regimes]
    else:
        values = [equilibrium.makers.value if isinstance(equilibrium, EntryExitEquilibrium) else equilibrium.value]
    return float(np.spacing(max(float(np.max(np.abs(value))) for value in values)))
