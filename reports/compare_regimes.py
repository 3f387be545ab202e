"""Pods in calm and stressed sessions and in crises, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtests.evidence.regimes import RegimeRule
from reports.formats import integer, is_number, number, percent
from reports.performance import shade
from reports.tables import Cell, Grid, Group

Record = Mapping[str, Any]


def regime_words(regimes: Record) -> str:
    """How many sessions were stressed and which pods earned less than cash in them; empty where none was."""
    stressed = regimes["stressed"]
    total = stressed["sessions"] + regimes["calm"]["sessions"]
    known = {pod: item["annual_excess"] for pod, item in stressed["pods"].items() if is_number(item["annual_excess"])}
    if not known or not stressed["sessions"]:
        return ""
    behind = sorted((pod for pod, value in known.items() if value < 0), key=lambda pod: known[pod])
    count = f"{integer(stressed['sessions'])} of {integer(total)} sessions were stressed"
    if not behind:
        return f"{count}; every pod earned at least as much as cash in them. This describes; it is no test."
    listed = ", ".join(f"{pod} {percent(known[pod], 1, signed=True)} a year" for pod in behind)
    return f"{count}; less than cash in them earned {listed}. This describes; it is no test."


def regime_table(regimes: Record, pods: Sequence[str]) -> Grid:
    """Each pod in calm and in stressed sessions."""
    rows: list[Any] = []
    for words, form in (
        ("Excess over cash, a year", lambda item: percent(item["annual_excess"], 1, signed=True)),
        ("Return in all of them", lambda item: percent(item["return"], 1, signed=True)),
        ("Volatility, a year", lambda item: percent(item["annual_volatility"], 1)),
        ("Sharpe ratio ± standard error", _sharpe),
    ):
        rows.append(Group(words))
        for regime in ("calm", "stressed"):
            found = regimes[regime]
            rows.append(
                (f"{regime}, {integer(found['sessions'])} sessions", *(form(found["pods"][pod]) for pod in pods))
            )
    return Grid(key="regimes", head=("", *pods), rows=rows, style="sticky wide", note=_rule(regimes))


def crisis_table(crises: Sequence[Record], pods: Sequence[str]) -> Grid:
    """What each pod returned in each crisis, and its worst day in it."""
    largest = max((abs(item["return"]) for crisis in crises for item in crisis["pods"].values()), default=0.0)
    rows = [
        (
            Cell(crisis["name"] + ("" if crisis["whole"] else " (part)"), "w", crisis["words"]),
            Cell(_dates(crisis), "w"),
            Cell(integer(crisis["sessions"]), "n"),
            *(_result(crisis["pods"][pod], largest) for pod in pods),
        )
        for crisis in crises
    ]
    return Grid(
        key="crises",
        head=("Crisis", "Days", Cell("Sessions", "n"), *pods),
        rows=rows,
        words=2,
        style="wide",
        empty="None of the known crises of B3 is in these sessions.",
        note="Return over the days of the crisis, with the worst day in brackets.",
    )


def _rule(regimes: Record) -> str:
    market = "the market" if regimes["market"] is None else f"the returns of {regimes['market']}"
    return RegimeRule(**regimes["rule"]).words(market)


def _sharpe(item: Record) -> str:
    if not is_number(item["sharpe"]):
        return "n/a"
    return f"{number(item['sharpe'], 2)} ± {number(item['sharpe_standard_error'], 2)}"


def _dates(crisis: Record) -> str:
    return crisis["first"] if crisis["first"] == crisis["last"] else f"{crisis['first']} to {crisis['last']}"


def _result(item: Record, largest: float) -> Cell:
    words = f"{percent(item['return'], 1, signed=True)} ({percent(item['worst'], 1, signed=True)})"
    return Cell(words, shade(item["return"], largest) if largest else "")
