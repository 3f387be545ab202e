"""The feeds beside the quotes: company events in B3's JSON form and daily CDI in the central bank's.

Both keep the sources' habits: Brazilian numbers and dates as text, `lastDatePrior` the last session with the right,
split factors in per cent of new shares, CDI in per cent per day with a decimal point.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_pipeline.synthetic.actions import CorporateAction
from data_pipeline.synthetic.calendars import Days
from data_pipeline.synthetic.companies import Listing
from data_pipeline.synthetic.streams import FloatArray, stream, uniforms

_CASH_LABELS = {"dividend": "DIVIDENDO", "jcp": "JRS CAP PROPRIO"}
_SHARE_LABELS = {"split": "DESDOBRAMENTO", "reverse_split": "GRUPAMENTO", "bonus": "BONIFICACAO"}
_MEETING_DAYS = 32
"""Bank days between two meetings that set the policy rate (about eight a year)."""


def simulate_cdi(seed: int, days: Days) -> FloatArray:
    """CDI in per cent per day on each bank day, six decimals.

    A policy rate in half-point steps that reverts to 9.5 % a year.
    """
    draws = uniforms(stream(seed, "cdi"), len(days) // _MEETING_DAYS + 1)
    rate, path = 0.10, []
    for draw in draws:
        rate = float(
            np.clip(rate + 0.005 * np.sign(np.round(3.0 * (draw - 0.5) - 20.0 * (rate - 0.095))), 0.045, 0.145)
        )
        path.append(rate)
    annual = np.repeat(path, _MEETING_DAYS)[: len(days)]
    return np.round(100.0 * ((1.0 + annual) ** (1.0 / 252.0) - 1.0), 6)


def cash_returns(sessions: Days, days: Days, cdi: FloatArray) -> FloatArray:
    """Simple return of cash from each session's predecessor to it (0 for the first).

    The rate of a bank day accrues from that day to the next one.
    """
    growth = np.concatenate([[0.0], np.cumsum(np.log1p(cdi / 100.0))])
    level = growth[np.searchsorted(days, sessions)]
    return np.expm1(np.diff(level, prepend=level[0]))


def cdi_json(days: Days, cdi: FloatArray) -> str:
    """The text of BCB SGS series 12."""
    rows = [{"data": brazilian_date(day), "valor": f"{value:.6f}"} for day, value in zip(days, cdi, strict=True)]
    return json.dumps(rows, separators=(",", ":"))


def issuer_json(papers: Sequence[tuple[Listing, Iterable[CorporateAction]]], sessions: Days) -> str:
    """GetListedSupplementCompany's answer for one issuer: its papers with their actions that the feed knows."""
    cash, stock, rights = [], [], []
    for paper, actions in papers:
        for one in actions:
            if not one.in_feed:
                continue
            entry = _entry(paper, one, sessions)
            if one.kind in _CASH_LABELS:
                cash.append(entry)
            elif one.kind in _SHARE_LABELS:
                stock.append(entry)
            else:
                rights.append(entry)
    first = papers[0][0]
    answer = {
        "stockCapital": "1.000.000.000,00",
        "quotedPerSharSince": brazilian_date(sessions[0]),
        "roundLot": str(first.lot_size),
        "tradingName": f"{short_name(first.company):<12}",
        "code": first.new_ticker[:4] or first.root,
        "segment": "BOLSA",
        "cashDividends": cash,
        "stockDividends": stock,
        "subscriptions": rights,
    }
    return json.dumps([answer], separators=(",", ":"))


def short_name(root: str) -> str:
    """NOMRES of a fictional company."""
    return f"FICT {root}"


def brazilian_date(day: np.datetime64) -> str:
    """dd/mm/yyyy."""
    year, month, number = str(day.astype("datetime64[D]")).split("-")
    return f"{number}/{month}/{year}"


def brazilian_number(value: float, decimals: int = 11) -> str:
    """Comma for the decimals, points for the thousands."""
    return f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def _entry(paper: Listing, one: CorporateAction, sessions: Days) -> Mapping[str, str]:
    last_with = one.ex_row - 1
    isin = paper.new_isin if last_with >= paper.renamed_row else paper.isin
    common = {
        "assetIssued": isin,
        "approvedOn": brazilian_date(sessions[one.approved_row]),
        "isinCode": isin,
        "lastDatePrior": brazilian_date(sessions[last_with]),
        "remarks": "",
    }
    if one.kind in _CASH_LABELS:
        paid = sessions[one.ex_row] + np.timedelta64(21, "D")
        return common | {
            "paymentDate": brazilian_date(paid),
            "rate": brazilian_number(one.cash),
            "relatedTo": f"Anual/{str(sessions[one.ex_row])[:4]}",
            "label": _CASH_LABELS[one.kind],
        }
    if one.kind in _SHARE_LABELS:
        factor = one.share_factor if one.kind == "reverse_split" else 100.0 * (one.share_factor - 1.0)
        return common | {"factor": brazilian_number(factor), "label": _SHARE_LABELS[one.kind]}
    traded = (
        f"{brazilian_date(sessions[one.ex_row])} a {brazilian_date(sessions[one.ex_row] + np.timedelta64(30, 'D'))}"
    )
    return common | {
        "percentage": brazilian_number(0.5),
        "priceUnit": brazilian_number(1.0),
        "tradingPeriod": traded,
        "subscriptionDate": brazilian_date(sessions[one.ex_row] + np.timedelta64(35, "D")),
        "label": "SUBSCRICAO",
    }
