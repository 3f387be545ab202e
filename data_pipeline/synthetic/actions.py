"""What the companies do: splits, reverse splits, bonuses, dividends, JCP, and rights without a size.

An action has two faces: the day the paper trades without the right (the ex session, when the distribution number
grows, the marker appears and the price falls by what was given) and the day it was approved, which comes before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from data_pipeline.synthetic.companies import Listing, distress_row
from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.streams import FloatArray, stream, uniforms


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """One action of one paper.

    `cash` is gross R$ per share held before the action (`rate_yield` is what it was meant to be, as a fraction of the
    price on the approval day); `share_factor` new shares per old share. `in_feed` is False for an action that the
    company event files leave out. `marker` is the ESPECI state, empty when the exchange shows none.
    """

    column: int
    ex_row: int
    approved_row: int
    kind: str
    share_factor: float
    rate_yield: float
    cash: float
    marker: str
    marker_sessions: int
    in_feed: bool


_SHARE_ROLES = {
    "split_2": ("split", 2.0, "EB"),
    "split_3": ("split", 3.0, "EB"),
    "split_10": ("split", 10.0, "EB"),
    "reverse_10": ("reverse_split", 0.1, "EG"),
    "penny_reverse_50": ("reverse_split", 0.02, "EG"),
    "bonus": ("bonus", 1.1, "EB"),
    "split_dividend": ("split", 2.0, "EDB"),
    "rights": ("rights", 1.0, "ES"),
}
"""kind, share factor and marker of the share action of a role."""

_NON_PAYERS = ("reverse_10", "penny_reverse_50", "bankruptcy", "per_thousand", "listing", "rights", "etf")


_CLEARANCE = 45
"""Sessions around a share action without a cash action of the same paper, so that a rate is per one kind of share."""


def plan_actions(config: ExchangeConfig, listings: tuple[Listing, ...]) -> tuple[CorporateAction, ...]:
    """The actions of every paper, cash still as a yield, in the order of (column, ex session, kind)."""
    planned: list[CorporateAction] = []
    for column, paper in enumerate(listings):
        actions = _cash_actions(config, column, paper)
        share = _share_action(config, column, paper)
        if share is not None:
            low, high = share.approved_row - _CLEARANCE, share.ex_row + _CLEARANCE
            actions = [one for one in actions if not low <= one.ex_row <= high]
            actions.append(share)
            if paper.role == "split_dividend":
                actions.append(replace(share, kind="dividend", share_factor=1.0, rate_yield=0.03))
        planned += sorted(actions, key=lambda one: (one.ex_row, one.kind))
    return tuple(planned)


def price_actions(
    actions: tuple[CorporateAction, ...], total_return: FloatArray
) -> tuple[tuple[CorporateAction, ...], FloatArray, FloatArray]:
    """Actions with their cash in R$, and the factors that turn total-return prices into quoted ones.

    `total_return` (sessions, instruments) is the efficient mid had nothing ever been distributed, in R$ of the first
    session. Returned with the actions: `adjustment`, quoted mid = total_return * adjustment, and `shares`, the number
    of shares that one first-session share has become. The cash of an action is its yield times the quoted mid of
    the approval day, so the amount was public when it was approved.
    """
    adjustment, shares = np.ones_like(total_return), np.ones_like(total_return)
    priced = []
    for (column, ex_row), group in groupby(actions, key=lambda one: (one.column, one.ex_row)):
        quoted = total_return[:, column] * adjustment[:, column]
        paid = [replace(one, cash=float(np.round(one.rate_yield * quoted[one.approved_row], 8))) for one in group]
        factor = float(np.prod([one.share_factor for one in paid]))
        kept = max(1.0 - sum(one.cash for one in paid) / quoted[ex_row - 1], 0.05)
        adjustment[ex_row:, column] *= kept / factor
        shares[ex_row:, column] *= factor
        priced += paid
    return tuple(priced), adjustment, shares


def _share_action(config: ExchangeConfig, column: int, paper: Listing) -> CorporateAction | None:
    if paper.role not in _SHARE_ROLES:
        return None
    kind, factor, marker = _SHARE_ROLES[paper.role]
    draws = uniforms(stream(config.seed, "share action", paper.ticker), 3)
    life = paper.end_row - paper.first_row
    ex_row = paper.first_row + int(life * (0.35 + 0.4 * draws[0]))
    return CorporateAction(
        column=column,
        ex_row=ex_row,
        approved_row=ex_row - 12 - int(15 * draws[1]),
        kind=kind,
        share_factor=factor,
        rate_yield=0.0,
        cash=0.0,
        marker=marker,
        marker_sessions=3 + int(6 * draws[2]),
        in_feed=paper.role != "split_3",
    )


def _cash_actions(config: ExchangeConfig, column: int, paper: Listing) -> list[CorporateAction]:
    """Dividends and JCP of one paper: nothing, half-yearly dividends, quarterly JCP, or both each quarter."""
    rng = stream(config.seed, "cash actions", paper.company)
    policy, level, phase = uniforms(rng, 3)
    if paper.role in _NON_PAYERS or policy < 0.2:
        return []
    kinds = ("dividend",) if policy < 0.5 else ("jcp",) if policy < 0.75 else ("dividend", "jcp")
    period = 126 if policy < 0.5 else 63
    payment = (0.01 + 0.05 * level) * period / 252.0 / len(kinds)
    marker = {"dividend": "ED", "jcp": "EJ"}[kinds[0]] if len(kinds) == 1 else "EDJ"
    actions = []
    end_row = distress_row(paper) - 10 if paper.role in ("fraud", "takeover") else paper.end_row
    for start in range(int(30 + phase * period), end_row, period):
        jitter, notice, stay, shown = uniforms(rng, 4)
        ex_row = start + int(8 * jitter)
        approved_row = ex_row - 4 - int(14 * notice)
        if approved_row < paper.first_row or ex_row >= end_row:
            continue
        actions += [
            CorporateAction(
                column=column,
                ex_row=ex_row,
                approved_row=approved_row,
                kind=kind,
                share_factor=1.0,
                rate_yield=float(payment),
                cash=0.0,
                marker=marker if shown > 0.05 else "",
                marker_sessions=2 + int(7 * stay),
                in_feed=True,
            )
            for kind in kinds
        ]
    return actions
