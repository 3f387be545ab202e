"""What trading cost, how it was filled, and what is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from reports.formats import basis_points, clip_text, integer, money, number, percent
from reports.read_run import PodResult, days
from reports.tables import Cell, Grid

COSTS = ("cost_half_spread", "cost_impact", "cost_fees", "cost_borrow")
FILL_COSTS = COSTS[:3]
FAR = 0.4
"""A fill this far from the close at its decision is one across a share event and says nothing about slippage."""


def cost_table(pods: Sequence[PodResult]) -> Grid:
    """Costs and turnover of every pod in every calendar year, in basis points of that year's mean net asset value."""
    rows: list[Any] = []
    for pod in pods:
        years = pod.sessions.astype("datetime64[Y]")
        nav, turnover = pod.column("net_asset_value"), pod.column("turnover")
        for i, year in enumerate(np.unique(years)):
            inside = years == year
            base = float(nav[inside].mean())
            parts = [float(pod.column(c)[inside].sum()) / base for c in COSTS]
            rows.append(
                (
                    pod.name if i == 0 else "",
                    str(year),
                    number(float(turnover[inside].sum()), 1),
                    *(basis_points(part) for part in parts),
                    basis_points(sum(parts)),
                    (parts, sum(parts)),
                    money(sum(parts) * base),
                )
            )
    dearest = max((row[8][1] for row in rows), default=0.0)
    rows = [(*row[:8], _stack(row[8][0], dearest), *row[9:]) for row in rows]
    head = ("Pod", "Year", "Turnover", "Half-spread", "Impact", "Fees", "Borrow", "Total", "", "Total, R$")
    return Grid(
        key="costs",
        head=head,
        rows=rows,
        words=1,
        style="wide sticky",
        note="Costs in bps of the mean net asset value of the sessions in that year; turnover in times of it. "
        "The bar is as long as the total is to the dearest year: half-spread (blue), impact (orange), fees (grey), "
        "borrow (purple).",
    )


def fill_table(pods: Sequence[PodResult]) -> Grid:
    """How orders became fills: counts, share of the market's volume, slippage against the close at decision."""
    rows = []
    for pod in pods:
        moved, covered = slippage(pod)
        part = np.abs(pod.column("participation", "fills"))
        part = part[np.isfinite(part)]
        quantiles = np.quantile(part, [0.5, 0.95, 1.0]) if len(part) else [None] * 3
        rows.append(
            (
                pod.name,
                integer(len(pod.orders)),
                integer(len(pod.fills)),
                money(float(np.abs(pod.column("shares", "fills") * pod.column("price", "fills")).sum())),
                *(percent(q, 2) for q in quantiles),
                basis_points(moved, signed=True),
                percent(covered, 0),
                *(basis_points(_per_value(pod, c)) for c in FILL_COSTS),
            )
        )
    participation = ("Participation, median", "95th percentile", "Largest")
    head = (
        "Pod",
        "Orders",
        "Fills",
        "Traded, R$",
        *participation,
        "Slippage",
        "Covered",
        "Half-spread",
        "Impact",
        "Fees",
    )
    return Grid(
        key="fills",
        head=head,
        rows=rows,
        style="wide sticky",
        empty="No fills.",
        note="Participation: a fill's shares as part of the instrument's volume in its session. Slippage: fill price "
        "against the close at decision, before costs, positive = worse than the close. Slippage and costs in bps of "
        "the traded value. Covered: the part of the traded value that slippage was measured on; a fill further than "
        f"{percent(FAR, 0)} from the close lies across a share event and is left out.",
    )


def slippage(pod: PodResult) -> tuple[float | None, float]:
    """Value-weighted move from the close at decision to the fill, positive = worse, and the part of the value covered.

    A fill belongs to the latest decision before it in its instrument, whose close orders.parquet holds. Fills without
    one, or further than `FAR` from it, are not covered.
    """
    import pandas as pd

    fills = pod.fills[pod.fills["reason"] == "order"]
    value = float((fills["shares"].abs() * fills["price"]).sum())
    if value == 0.0 or len(pod.orders) == 0:
        return None, 0.0
    decided = pod.orders[["decision_session", "instrument", "price"]].rename(columns={"price": "close"})
    joined = pd.merge_asof(
        fills.sort_values("session", kind="stable"),
        decided.sort_values("decision_session", kind="stable"),
        left_on="session",
        right_on="decision_session",
        by="instrument",
        allow_exact_matches=False,
    )
    known = joined[(joined["price"] / joined["close"] - 1.0).abs() < FAR]
    basis = float((known["shares"].abs() * known["close"]).sum())
    if basis == 0.0:
        return None, 0.0
    paid = float((known["shares"] * (known["price"] - known["close"])).sum())
    return paid / basis, float((known["shares"].abs() * known["price"]).sum()) / value


def position_tables(pods: Sequence[PodResult], most: int = 10) -> list[tuple[str, Grid]]:
    """The largest positions of every pod at the last close."""
    made = []
    for pod in pods:
        held = pod.positions[days(pod.positions["session"]) == pod.sessions[-1]]
        held = held.assign(size=held["weight"].abs()).sort_values(["size", "instrument"], ascending=[False, True])
        rows = [
            (
                Cell(clip_text(str(row["instrument"]), 18), "", str(row["instrument"])),
                integer(row["shares"]),
                number(row["price"], 2),
                money(row["value"]),
                percent(row["weight"]),
            )
            for row in held.head(most).to_dict("records")
        ]
        left = len(held) - len(rows)
        rest = float(held["size"].iloc[most:].sum())
        made.append(
            (
                pod.name,
                Grid(
                    key=f"positions-{pod.name}",
                    head=("Instrument", "Shares", "Price", "Value", "Weight"),
                    rows=rows,
                    style="wide",
                    empty="No positions at this close: all cash.",
                    note=f"and {left} smaller ones, {percent(rest)} of net asset value together." if left > 0 else "",
                ),
            )
        )
    return made


def _stack(parts: Sequence[float], longest: float) -> Markup:
    """The parts of a cost beside each other, on the scale of the longest bar."""
    if not sum(parts) > 0:
        return Markup("")
    bars = Markup("").join(Markup('<i style="width:{}%"></i>').format(f"{100 * part / longest:.1f}") for part in parts)
    return Markup('<span class="stack">{}</span>').format(bars)


def _per_value(pod: PodResult, column: str) -> float | None:
    traded = float(np.abs(pod.column("shares", "fills") * pod.column("price", "fills")).sum())
    return float(pod.column(column, "fills").sum()) / traded if traded > 0 else None
