"""The tables of an equilibrium's page: quotes, sanity checks, certificate, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from markupsafe import Markup

from mfg_core.certificate import Certificate
from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame
from mfg_core.market.sanity import Outcome, SanityCheck
from reports.formats import plain, significant
from reports.pictures import Units, one
from reports.quotes_view import inhabited
from reports.tables import Cell, Grid, light

PARAMETERS = (
    ("ask_arrival", "A ask", "fills per {one_time}", "arrival of buyers"),
    ("bid_arrival", "A bid", "fills per {one_time}", "arrival of sellers"),
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


def certificate_table(certificate: Certificate, unit: str, field_unit: str, error_words: str) -> Grid:
    """The certificate's figures; `field_unit` is that of the mean field, `error_words` what errors are relative to."""
    figures = (
        ("Residual, undamped", significant(certificate.residual, 2), field_unit),
        ("Tolerance of the residual", significant(certificate.tolerance, 2), field_unit),
        ("Exploitability", significant(certificate.exploitability, 2), unit),
        ("Discretisation error", significant(certificate.discretisation_error, 2), error_words),
        ("Mass error", significant(certificate.mass_error, 2), "probability"),
        ("Evaluations of the map", plain(certificate.iterations), ""),
        ("Converged", plain(certificate.converged), ""),
    )
    rows = [(name, Cell(figure, "n"), counted) for name, figure, counted in figures]
    note = certificate.status.value
    head = ("Certificate", Cell("Figure", "n"), "Unit")
    return Grid(key="certificate", head=head, rows=rows, words=3, style="wide", note=note)


def parameter_table(games: Sequence[tuple[str, MarketMakingGame]], units: Units, others: Mapping[str, Any]) -> Grid:
    """The markets' parameters with symbols and units, one column of values per market; then what else the game has."""
    named = {name: getattr(units, name) for name in ("time", "price", "inventory")}
    named |= {f"one_{name}": one(unit) for name, unit in named.items()}
    rows: list[tuple[str | Cell, ...]] = []
    for name, symbol, unit, meaning in PARAMETERS:
        values = [Cell(shown(getattr(game, name)), "n") for _, game in games]
        rows.append((name, symbol, *values, unit.format(**named), meaning))
    for name, value in others.items():
        rows.append((name, "", Cell(shown(value), "n"), *[""] * (len(games) - 1), "", "of the whole game"))
    heads = [Cell(name or "Value", "n") for name, _ in games]
    return Grid(
        key="parameters",
        head=("Parameter", "Symbol", *heads, "Unit", "Meaning"),
        rows=rows,
        words=4 + len(games),
        style="wide",
    )


def plain_parameters(game: Any) -> dict[str, Any]:
    """The fields of a game that are not themselves markets or derived from others."""
    kept = (field.name for field in fields(game) if field.init and field.name not in ("makers", "regimes", "market"))
    return {name: getattr(game, name) for name in kept}


def shown(value: Any) -> str:
    """A parameter's value on one line."""
    if isinstance(value, float) and np.isinf(value):
        return plain(str(value))
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return "; ".join(shown(row) for row in value)
    return plain(value)
