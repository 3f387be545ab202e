"""The listed papers of the synthetic exchange: fictional tickers, ISIN, sizes and the part each one plays.

No root exists at B3: Q-vowel-consonant-X, or another of X, Y, Z and W (after a rename) with Q at the end; and every
short name starts with FICT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.streams import normals, stream, uniforms

ROLES = (
    "giant",
    "second_class",
    "giant",
    "split_2",
    "split_3",
    "split_10",
    "reverse_10",
    "penny_reverse_50",
    "bonus",
    "fraud",
    "bankruptcy",
    "takeover",
    "listing",
    "listing",
    "rename",
    "illiquid",
    "illiquid",
    "illiquid",
    "per_thousand",
    "unit",
    "split_dividend",
    "rights",
    "preferred_a",
    "listing",
)
"""Parts of the first papers; later ones are plain, with every tenth illiquid and every twelfth a second class."""

_SEGMENTS = ("NM", "N1", "N2", "  ")
_PRICES = {
    "split_2": 70.0,
    "split_3": 110.0,
    "split_10": 240.0,
    "reverse_10": 2.4,
    "penny_reverse_50": 0.9,
    "bankruptcy": 7.0,
    "per_thousand": 0.008,
    "giant": 34.0,
}
_TRADED_VALUES = {
    "giant": 1.4e9,
    "fraud": 2.4e8,
    "split_2": 3.2e8,
    "split_3": 1.6e8,
    "split_10": 4.5e8,
    "reverse_10": 6e7,
    "penny_reverse_50": 6e6,
    "bankruptcy": 5e7,
    "takeover": 8e7,
    "per_thousand": 4e5,
    "rename": 1.2e8,
    "split_dividend": 9e7,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """One paper.

    `traded_value` is the typical R$ per session at the first price; `presence` the fraction of sessions with a trade;
    `volatility` the company's own, per year; rows are sessions, `end_row` exclusive. `renamed_row` is the first session
    under `new_ticker` (the number of sessions and empty texts when there is no rename). `company` names the random
    streams that both classes of one company share.
    """

    ticker: str
    isin: str
    root: str
    company: str
    paper: str
    segment: str
    role: str
    sector: int
    price: float
    traded_value: float
    presence: float
    beta: float
    sector_loading: float
    volatility: float
    first_row: int
    end_row: int
    quotation_factor: int
    lot_size: int
    first_distribution: int
    renamed_row: int
    new_ticker: str
    new_isin: str


ETF_ROOT = "WMKQ"


def list_papers(config: ExchangeConfig, sessions: int) -> tuple[Listing, ...]:
    """The papers of the exchange, shares first and the ETF last.

    A paper depends only on its own position and the seed, not on the number of papers.
    """
    listings: list[Listing] = []
    for position in range(config.instruments):
        role = role_of(position)
        previous = listings[position - 1] if role == "second_class" else None
        listings.append(_list_one(config, sessions, position, role, previous))
    return (*listings, _list_etf(sessions))


def role_of(position: int) -> str:
    """The part that the paper at a position plays."""
    if position < len(ROLES):
        return ROLES[position]
    if position % 12 == 1:
        return "second_class"
    return "illiquid" if position % 10 == 7 else "plain"


def distress_row(paper: Listing) -> int:
    """First session of the named history of a paper: fraud revealed, bankruptcy filed, offer announced."""
    if paper.role == "fraud":
        return int(0.55 * paper.end_row)
    return max(paper.end_row - 60, paper.first_row + 1)


def root_of(position: int, *, renamed: bool = False) -> str:
    """Four letters that no B3 issuer has."""
    consonants = "BCDFGHJKLMNPRSTVWXYZ"
    first, last = ("W", "Q") if renamed else (("Q", "X"), ("Z", "Q"), ("X", "Q"), ("Y", "Q"))[position // 100]
    index = (position * 37) % 100
    return f"{first}{'AEIOU'[index % 5]}{consonants[index // 5]}{last}"


def isin_of(root: str, kind: str) -> str:
    """ISIN of a Brazilian paper with its check digit (ISO 6166: Luhn over the letters' values)."""
    body = f"BR{root}{kind}"
    digits = "".join(str(int(letter, 36)) for letter in body)
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return f"{body}{-total % 10}"


def _list_one(config: ExchangeConfig, sessions: int, position: int, role: str, previous: Listing | None) -> Listing:
    root = previous.root if previous else root_of(position)
    rng = stream(config.seed, "listing", f"{root}{position}")
    draws = uniforms(rng, 10)
    value, presence = _liquidity(role, draws[0], float(normals(rng, 1)[0]))
    paper, suffix, kind = _paper(role, draws[1], previous)
    first_row, end_row, renamed_row = _life(role, sessions, draws[2])
    if previous:
        first_row, end_row = previous.first_row, previous.end_row
    new_root = root_of(position, renamed=True)
    renamed = role == "rename"
    factor = 1000 if role == "per_thousand" else 1
    return Listing(
        ticker=f"{root}{suffix}",
        isin=isin_of(root, kind),
        root=root,
        company=root,
        paper=f"{paper:<3}*" if factor == 1000 else paper,
        segment=previous.segment if previous else _SEGMENTS[int(draws[3] * len(_SEGMENTS))],
        role=role,
        sector=previous.sector if previous else position % config.sectors,
        price=_PRICES.get(role, float(np.round(8.0 * 8.0 ** draws[4], 2))),
        traded_value=previous.traded_value * 0.8 if previous else value,
        presence=presence,
        beta=previous.beta if previous else 0.6 + 0.8 * float(draws[5]),
        sector_loading=previous.sector_loading if previous else 0.5 + 0.8 * float(draws[6]),
        volatility=(0.2 if role == "penny_reverse_50" else 0.0) + 0.14 + 0.18 * float(draws[7]),
        first_row=first_row,
        end_row=end_row,
        quotation_factor=factor,
        lot_size=1000 if factor == 1000 else 100,
        first_distribution=100 + int(100 * draws[8]),
        renamed_row=renamed_row,
        new_ticker=f"{new_root}3" if renamed else "",
        new_isin=isin_of(new_root, "ACNOR") if renamed else "",
    )


def _liquidity(role: str, draw: float, normal: float) -> tuple[float, float]:
    """Typical traded value per session, R$, and the fraction of sessions with a trade."""
    if role == "illiquid":
        presence = 0.15 + 0.45 * draw
        return 8e3 * 10.0 ** (1.2 * draw), float(presence)
    value = _TRADED_VALUES.get(role, float(np.clip(4e7 * np.exp(1.3 * normal), 1e6, 4e8)))
    return value, 0.92 if role == "per_thousand" else 1.0


def _paper(role: str, draw: float, first_class: Listing | None) -> tuple[str, str, str]:
    """Class in ESPECI, ticker digit and ISIN kind; a second class is the one that the first is not."""
    if role == "unit":
        return "UNT", "11", "CDAM1"
    if role == "preferred_a":
        return "PNA", "5", "ACNPA"
    preferred = first_class.paper == "ON" if first_class else role in ("plain", "illiquid") and draw < 0.2
    if preferred:
        return "PN", "4", "ACNPR"
    return "ON", "3", "ACNOR"


def _life(role: str, sessions: int, draw: float) -> tuple[int, int, int]:
    """First row, end row (exclusive) and rename row."""
    first, end, renamed = 0, sessions, sessions
    if role == "listing":
        first = int(sessions * (0.15 + 0.4 * draw))
    elif role == "bankruptcy":
        end = int(sessions * (0.62 + 0.08 * draw))
    elif role == "takeover":
        end = int(sessions * (0.5 + 0.1 * draw))
    elif role == "rename":
        renamed = int(sessions * (0.5 + 0.1 * draw))
    return first, end, renamed


def _list_etf(sessions: int) -> Listing:
    """An index fund: the market factor and next to nothing of its own; one share is a lot."""
    return Listing(
        ticker=f"{ETF_ROOT}11",
        isin=isin_of(ETF_ROOT, "CTF00"),
        root=ETF_ROOT,
        company=ETF_ROOT,
        paper="CI",
        segment="  ",
        role="etf",
        sector=0,
        price=100.0,
        traded_value=4e8,
        presence=1.0,
        beta=1.0,
        sector_loading=0.0,
        volatility=0.01,
        first_row=0,
        end_row=sessions,
        quotation_factor=1,
        lot_size=1,
        first_distribution=100,
        renamed_row=sessions,
        new_ticker="",
        new_isin="",
    )
