"""Adjusted returns against the exchange's own: the oscillation of the daily price report (BVBG.086) of 2018-01-02.

The oscillation is the move from the session before, against a close that is adjusted for what the paper lost going ex,
in per cent and cut (not rounded) at the second decimal. The report does not tell that close. So a close of whole cents,
less the cash of the day through this project's own factors, must exist that gives the exchange's figure to its last
digit; for a paper that lost cash no plain close does.
"""

from __future__ import annotations

import gzip
import re
import xml.etree.ElementTree as ElementTree
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.daily.adjust import compute_factors, window_price_factor
from data_pipeline.daily.panel import CorporateEvent

SHARE = re.compile(r"[A-Z]{4}(3|4|5|6|7|8|11)")

FIELDS = ("OscnPctg", "LastPric", "PrvsAdjstdQt", "PrvsAdjstdQtTax")

WENT_EX = {"BEES3", "BEES4", "CGRA3", "CGRA4", "CPLE3", "CPLE6", "FESA4", "ITUB3", "SAPR3", "SAPR4", "SULA3", "SULA11"}
"""Shares whose oscillation no close in cents gives: all of companies that distributed at the year's end of 2017."""
FUNDS = {"CTXT11", "KNRE11"}
"""The same of funds, which pay income every month."""


@pytest.fixture(scope="module")
def report(realdata: Path):
    """Figures of each instrument that traded, straight from the XML."""
    found = {}
    with gzip.open(realdata / "reference" / "BVBG086_PriceReport_20180102.xml.gz") as stream:
        for _, element in ElementTree.iterparse(stream):
            if element.tag.endswith("}PricRpt"):
                texts = {inner.tag.partition("}")[2]: inner.text for inner in element.iter()}
                # trades of that evening are in it too, already dated to the next session
                if texts["Dt"] == "2018-01-02" and "OscnPctg" in texts and "LastPric" in texts:
                    found[texts["TckrSymb"]] = {name: Decimal(texts[name]) for name in FIELDS if name in texts}
                element.clear()
    return found


def cut(last: Decimal, base: Decimal) -> Decimal:
    return (100 * (last - base) / base).quantize(Decimal("0.01"), ROUND_DOWN)


def adjusted_return(previous: float, last: float, cash: float) -> Decimal:
    """Return of the second of two sessions by the project's own factors, as the exchange would print it."""
    close = np.array([[previous], [last]])
    events = [CorporateEvent(0, 1, 1, 1.0, cash, 0.0, "dividend", 1.0, "test")] if cash else []
    adjusted = close[:, 0] * window_price_factor(compute_factors(close, events), 0, 1)[:, 0]
    percent = Decimal(repr(round(float(100.0 * (adjusted[1] / adjusted[0] - 1.0)), 9)))
    return percent.quantize(Decimal("0.01"), ROUND_DOWN)


def closes_that_give(row: dict[str, Decimal], cash: float = 0.0) -> list[float]:
    """Closes of the session before, in whole cents, that make the adjusted return the exchange's oscillation."""
    last, target = float(row["LastPric"]), row["OscnPctg"]
    middle = last / (1.0 + float(target) / 100.0) + cash
    cents = range(max(int(middle * 99.8), 1), int(middle * 100.2) + 2)
    return [
        cent / 100.0 for cent in cents if cent / 100.0 > cash and adjusted_return(cent / 100.0, last, cash) == target
    ]


@pytest.mark.realdata
def test_the_exchange_cuts_the_oscillation_of_futures_at_the_second_decimal(report):
    futures = {name: row for name, row in report.items() if "PrvsAdjstdQt" in row}
    assert len(futures) == 74
    for row in futures.values():
        # contracts on rates are quoted as rates and oscillate as such
        assert cut(row["LastPric"], row.get("PrvsAdjstdQtTax", row["PrvsAdjstdQt"])) == row["OscnPctg"]


@pytest.mark.realdata
def test_a_share_without_an_event_has_a_close_in_cents_that_gives_the_oscillation(report):
    # below R$ 1 any oscillation has such a close, above R$ 40 every second one: there the test would be empty
    shares = {n: r for n, r in report.items() if SHARE.fullmatch(n) and 1 < r["LastPric"] < 40 and r["OscnPctg"]}
    assert len(shares) > 200
    assert {name for name, row in shares.items() if not closes_that_give(row)} == WENT_EX | FUNDS
    # a cash of half a cent that nobody paid leaves most of the others without one: the agreement above is no chance
    others = [row for name, row in shares.items() if name not in WENT_EX | FUNDS]
    assert sum(not closes_that_give(row, 0.005) for row in others) > 0.6 * len(others)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["ITUB3", "ITUB4", "ITUB3F", "ITUB4F"])
def test_itau_agrees_with_the_exchange_by_its_monthly_dividend_and_not_without(report, name):
    # R$ 0.015 a share to holders of 2017-12-28 (the bank's notice on its monthly dividends of 2018)
    assert closes_that_give(report[name]) == []
    assert len(closes_that_give(report[name], 0.015)) == 1
