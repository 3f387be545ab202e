"""The page of a solved market-making game: quotes, value, crowd, convergence, sanity checks, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from mfg_core.certificate import Certificate
from mfg_core.market_making import MarketMakingEquilibrium, MarketMakingGame
from mfg_core.sanity import Outcome, SanityCheck
from reports.equilibrium_view import History, Units, chapters, convergence, inhabited, one
from reports.formats import percent, plain, significant
from reports.page import render
from reports.tables import Cell, Grid, light

PARAMETERS = (
    ("ask_arrival", "A\N{SUBSCRIPT ONE}", "fills per {one_time}", "arrival of buyers"),
    ("bid_arrival", "A\N{SUBSCRIPT TWO}", "fills per {one_time}", "arrival of sellers"),
    ("fill_decay", "k", "1/{one_price}", "how fast fills fall with the half-spread"),
    ("competition", "c", "", "weight of the crowd's quotes"),
    ("running_penalty", "η", "{price} per {one_inventory}² and {one_time}", "cost of holding inventory"),
    ("terminal_penalty", "γ", "{price} per {one_inventory}²", "cost of inventory at the close"),
    ("horizon", "T", "{time}", "length of the day"),
    ("max_inventory", "Q", "{inventory}", "largest inventory"),
    ("min_half_spread", "", "{price}", "lower bound of quotes"),
    ("max_half_spread", "", "{price}", "upper bound of quotes"),
    ("adverse_selection", "ξ", "{price} per fill", "move of the mid against the maker at a fill"),
    ("maker_fee", "f", "{price} per fill", "fee, negative for a rebate"),
    ("risk_aversion", "g", "1/{one_price}", "of exponential utility"),
    ("intensity_shape", "", "", "how fills depend on the quote"),
    ("initial_mean", "", "{inventory}", "mean inventory at the open"),
    ("initial_std", "", "{inventory}", "its standard deviation"),
)
"""Name, symbol, unit and meaning of each parameter of the game."""

LIGHTS = {
    Outcome.PASSED: ("ok", "pass"),
    Outcome.FAILED: ("bad", "fail"),
    Outcome.NOT_APPLICABLE: ("none", "does not apply"),
}


def equilibrium_page(
    equilibrium: MarketMakingEquilibrium,
    *,
    title: str,
    checks: Sequence[SanityCheck],
    histories: Sequence[History] = (),
    units: Units = Units(),  # noqa: B008
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """The page that shows an equilibrium, as text: self-contained, no scripts, the same bytes for the same equilibrium.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium
    title : str
    checks : sequence of SanityCheck
        What `mfg_core.sanity.check_equilibrium` found.
    histories : sequence of History
        Residuals by sweep, one line each.
    units : Units
        Words for time, price and inventory.
    notes : sequence of str
        Warnings of the solve.
    provenance : mapping
        What the equilibrium came from: hashes, versions.
    """
    content = {
        "title": title,
        "light": overall_light(checks),
        "facts": headline(equilibrium, units),
        "notes": [str(note) for note in notes],
        "chapters": chapters(equilibrium, units),
        "convergence": convergence(histories, equilibrium.certificate.tolerance, units),
        "quotes": quote_table(equilibrium, units),
        "checks": check_table(checks),
        "certificate": certificate_table(equilibrium.certificate, units),
        "certificate_words": certificate_words(equilibrium, units),
        "parameters": parameter_table(equilibrium.game, units),
        "provenance": Grid(
            key="provenance",
            head=("What", "Value"),
            rows=[(name, Cell(plain(value), "l long mono")) for name, value in (provenance or {}).items()],
            words=2,
            empty="Not recorded.",
        ),
    }
    return render("equilibrium.html.j2", content)


def headline(equilibrium: MarketMakingEquilibrium, units: Units) -> list[str]:
    """The result in plain sentences."""
    game, flat = equilibrium.game, equilibrium.game.max_inventory
    ask, bid = equilibrium.policy.ask, equilibrium.policy.bid
    spread, law = equilibrium.full_spread, equilibrium.density
    close = float(law[-1, np.abs(equilibrium.states) < 1.5].sum())
    return [
        f"At the open a maker without inventory asks {significant(ask[0, flat], 4)} above the mid and bids "
        f"{significant(bid[0, flat], 4)} below it ({units.price}).",
        f"The crowd's full spread is {significant(spread[0], 4)} at the open and {significant(spread[-1], 4)} at the "
        "close.",
        f"A maker earns {significant(float(law[0] @ equilibrium.value[0]), 4)} {units.price} on average over the "
        f"horizon of {significant(game.horizon, 4)} {units.time}, penalties included.",
        f"At the close {percent(close, 0)} of the makers hold at most one unit; the standard deviation of inventories "
        f"is {significant(equilibrium.inventory_variance[-1] ** 0.5)}.",
        certificate_words(equilibrium, units),
    ]


def certificate_words(equilibrium: MarketMakingEquilibrium, units: Units) -> str:
    """The certificate in one plain sentence."""
    proof = equilibrium.certificate
    gain = significant(proof.exploitability, 2)
    if not proof.converged:
        return f"Not solved to the tolerance: {proof.status.value}"
    return (
        f"No maker gains more than {gain} {units.price} over the whole horizon by quoting otherwise while the others "
        "stay; values, quotes and probabilities carry an error of about "
        f"{significant(proof.discretisation_error, 2)}, relative to 1/k or their size."
    )


def overall_light(checks: Sequence[SanityCheck]) -> Markup:
    """One light for all checks."""
    failed = [check.name for check in checks if check.outcome is Outcome.FAILED]
    passed = sum(check.outcome is Outcome.PASSED for check in checks)
    if failed:
        return light("bad", "Checks failed:", ", ".join(failed))
    return light("ok", f"All {passed} checks that apply pass")


def check_table(checks: Sequence[SanityCheck]) -> Grid:
    """Every check with its figure and what it means."""
    rows = []
    for check in checks:
        level, words = LIGHTS[check.outcome]
        applies = check.outcome is not Outcome.NOT_APPLICABLE
        rows.append(
            (
                check.name.capitalize(),
                light(level, words),
                Cell(significant(check.figure, 2) if applies else "", "n"),
                Cell(significant(check.limit, 2) if applies else "", "n"),
                Cell(check.words, "l long"),
            )
        )
    head = ("Check", "Result", Cell("Figure", "n"), Cell("At most", "n"), "What holds, or why it does not apply")
    return Grid(key="checks", head=head, rows=rows, words=5, style="wide")


def quote_table(equilibrium: MarketMakingEquilibrium, units: Units) -> Grid:
    """Bid and ask at a few inventories, at the open and just before the close."""
    last, most = equilibrium.times[-1], int(np.abs(equilibrium.states[inhabited(equilibrium)]).max())
    step = max(1, most // 4)
    rows = []
    for x in range(most // step * step, -most - 1, -step):
        cells = [f"{x:+d}".replace("-", "\N{MINUS SIGN}") if x else "0"]
        for t in (0.0, last):
            cells += [significant(float(quote), 4) for quote in equilibrium.policy.quotes(t, x)]
        rows.append(tuple(cells))
    head = ("Inventory", "Bid, open", "Ask, open", "Bid, close", "Ask, close")
    note = f"Half-spreads in {units.price}, at inventories that some makers have; n/a: a side not quoted, at the limit."
    return Grid(key="quotes", head=head, rows=rows, style="wide", note=note)


def certificate_table(certificate: Certificate, units: Units) -> Grid:
    """The certificate's figures."""
    figures = (
        ("Residual, undamped", significant(certificate.residual, 2), units.price),
        ("Tolerance of the residual", significant(certificate.tolerance, 2), units.price),
        ("Exploitability", significant(certificate.exploitability, 2), units.price),
        ("Discretisation error", significant(certificate.discretisation_error, 2), "relative to 1/k or size"),
        ("Mass error", significant(certificate.mass_error, 2), "probability"),
        ("Evaluations of the map", plain(certificate.iterations), ""),
        ("Converged", plain(certificate.converged), ""),
    )
    rows = [(name, Cell(figure, "n"), unit) for name, figure, unit in figures]
    note = certificate.status.value
    head = ("Certificate", Cell("Figure", "n"), "Unit")
    return Grid(key="certificate", head=head, rows=rows, words=3, style="wide", note=note)


def parameter_table(game: MarketMakingGame, units: Units) -> Grid:
    """The game's parameters with symbols and units."""
    named = {name: getattr(units, name) for name in ("time", "price", "inventory")}
    named |= {f"one_{name}": one(unit) for name, unit in named.items()}
    rows = []
    for name, symbol, unit, meaning in PARAMETERS:
        value = getattr(game, name)
        shown = value if isinstance(value, int | float) else str(value)
        rows.append((name, symbol, Cell(_plain(shown), "n"), Cell(unit.format(**named), "l"), Cell(meaning, "l")))
    head = ("Parameter", "Symbol", Cell("Value", "n"), "Unit", "Meaning")
    return Grid(key="parameters", head=head, rows=rows, words=5, style="wide")


def _plain(value: float | str) -> str:
    if isinstance(value, float) and np.isinf(value):
        return plain(str(value))
    return plain(value)
