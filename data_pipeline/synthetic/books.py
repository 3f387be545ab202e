"""All the records of the exchange: each paper's tape with its codes, and what trades around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.synthetic.actions import CorporateAction, plan_actions, price_actions
from data_pipeline.synthetic.calendars import Days, bank_days, option_expiries
from data_pipeline.synthetic.companies import ROLES, Listing, distress_row, list_papers
from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.derivatives import (
    Underlying,
    auction_records,
    forward_records,
    odd_lot_records,
    option_records,
)
from data_pipeline.synthetic.feeds import cash_returns, short_name, simulate_cdi
from data_pipeline.synthetic.market import OVERNIGHT_SHARE, SESSIONS_PER_YEAR, Market, simulate_market
from data_pipeline.synthetic.microstructure import Tape, simulate_tape
from data_pipeline.synthetic.streams import FloatArray
from data_pipeline.synthetic.writer import Records, ticker_keys

MINIMUM_SESSIONS = 120
_CARRY = 0.10
"""Annual rate in forwards and options."""

_RECOVERY_DELAY = 5
"""Sessions between a fraud and the table of judicial recovery (BDI 08)."""


@dataclass(frozen=True, slots=True)
class Books:
    """The simulated exchange in memory: its papers, their actions, the economy and what each paper's shares showed.

    The records around the shares, many times as many, are made a span of sessions at a time: `cash_part`,
    `derivative_part`.
    """

    config: ExchangeConfig
    sessions: Days
    papers: tuple[Listing, ...]
    actions: tuple[CorporateAction, ...]
    market: Market
    tapes: tuple[Tape, ...]
    underlyings: tuple[Underlying, ...]

    def cash_part(self, start: np.datetime64, end: np.datetime64) -> Records:
        """Round lots, odd lots and auctions of the sessions from `start` to before `end`, in B3's order."""
        parts = []
        for paper, tape in zip(self.papers, self.tapes, strict=True):
            chosen = slice(*np.searchsorted(tape.records["session"], [start, end]).tolist())
            parts.append(tape.records[chosen])
            parts.append(odd_lot_records(self.config.seed, paper, tape, chosen))
            parts.append(auction_records(self.config.seed, paper, tape, chosen))
        records = np.concatenate(parts)
        table = np.ascontiguousarray(records["bdi_code"]).view(">u2").astype(np.uint16)
        return records[np.lexsort((*ticker_keys(records), table, records["session"]))]

    def derivative_part(self, start: np.datetime64, end: np.datetime64) -> Records:
        """Forwards, options and exercises of the sessions from `start` to before `end`, in B3's order."""
        span = range(*np.searchsorted(self.sessions, [start, end]).tolist())
        expiries, parts = option_expiries(self.sessions), []
        for place, underlying in enumerate(self.underlyings):
            parts.append(forward_records(self.config.seed, underlying, _CARRY, span))
            if place < self.config.option_underlyings:
                parts.append(option_records(self.config.seed, underlying, self.sessions, expiries, _CARRY, span))
        records = np.concatenate(parts)
        week = records["session"].astype("datetime64[W]")
        keys = (records["forward_days"], records["session"], *ticker_keys(records), week, records["market_type"])
        return records[np.lexsort(keys)]


def open_exchange(config: ExchangeConfig) -> tuple[Days, FloatArray, Books]:
    """Bank days, CDI in per cent per day on each, and the books of the exchange that the settings describe.

    Raises
    ------
    ValueError
        When the settings leave fewer than `MINIMUM_SESSIONS`.
    """
    sessions = b3_sessions(str(config.first_session), str(config.last_session))
    if len(sessions) < MINIMUM_SESSIONS:
        raise ValueError(f"last_session must leave at least {MINIMUM_SESSIONS} sessions; was {len(sessions)}")
    days = bank_days(config.first_session, config.last_session)
    cdi = simulate_cdi(config.seed, days)
    return days, cdi, simulate_books(config, sessions, cash_returns(sessions, days, cdi))


def simulate_books(config: ExchangeConfig, sessions: Days, risk_free: FloatArray) -> Books:
    """The exchange over `sessions`; `risk_free` (sessions,) is the simple return of cash over each."""
    papers = list_papers(config, len(sessions))
    market = simulate_market(config, papers, risk_free, len(sessions))
    total_return = _total_return(papers, market)
    actions, adjustment, shares = price_actions(plan_actions(config, papers), total_return)
    quoted = total_return * adjustment
    tapes = tuple(
        _tape(config, column, paper, market, quoted, shares, actions, sessions) for column, paper in enumerate(papers)
    )
    underlyings = _underlyings(config, papers, tapes, market, actions)
    return Books(config, sessions, papers, actions, market, tapes, underlyings)


def _total_return(papers: tuple[Listing, ...], market: Market) -> FloatArray:
    """Efficient mid without distributions, R$ per first-session share; flat before the listing."""
    moves = market.overnight + market.intraday
    for column, paper in enumerate(papers):
        moves[: paper.first_row, column] = 0.0
    first = np.array([paper.price for paper in papers])
    return np.asarray(first * np.exp(np.cumsum(moves, axis=0)))


def _tape(
    config: ExchangeConfig,
    column: int,
    paper: Listing,
    market: Market,
    quoted: FloatArray,
    shares: FloatArray,
    actions: tuple[CorporateAction, ...],
    sessions: Days,
) -> Tape:
    rows = np.flatnonzero(market.traded[:, column])
    close_mid = quoted[rows, column]
    tape = simulate_tape(
        config.seed,
        paper,
        rows,
        open_mid=close_mid / np.exp(market.intraday[rows, column]),
        close_mid=close_mid,
        shares=shares[rows, column],
        volatility=market.volatility[rows, column],
        intraday_volatility=market.volatility[rows, column] * np.sqrt(1.0 - OVERNIGHT_SHARE),
        total_return=market.overnight[rows, column] + market.intraday[rows, column],
        flow=market.flow[rows, column],
    )
    records = tape.records
    renamed = rows >= paper.renamed_row
    marker, distribution = _rights(paper, [one for one in actions if one.column == column], len(sessions))
    records["session"] = sessions[rows]
    records["market_type"] = 10
    records["bdi_code"] = _table_code(paper, rows)
    records["ticker"] = np.where(renamed, paper.new_ticker.encode(), paper.ticker.encode())
    records["isin"] = np.where(renamed, paper.new_isin.encode(), paper.isin.encode())
    old_name, new_name = short_name(paper.root).encode(), short_name(paper.new_ticker[:4]).encode()
    records["short_name"] = np.where(renamed, new_name, old_name)
    texts = np.array([f"{paper.paper:<4}{state:<3} {paper.segment}".rstrip().encode() for state in marker], "S10")
    records["specification"] = texts[rows]
    records["distribution"] = distribution[rows]
    return tape


def _rights(paper: Listing, actions: list[CorporateAction], sessions: int) -> tuple[list[str], np.ndarray]:
    """State of rights and distribution number of one paper in each session.

    The number grows by one at each ex session, by two for a split that comes with a dividend; it starts again under a
    new ISIN.
    """
    marker = [""] * sessions
    distribution = np.full(sessions, paper.first_distribution)
    for ex_row in sorted({one.ex_row for one in actions}):
        here = [one for one in actions if one.ex_row == ex_row]
        distribution[ex_row:] += 2 if here[0].marker == "EDB" else 1
        for row in range(ex_row, min(ex_row + here[0].marker_sessions, sessions)):
            marker[row] = here[0].marker
    if paper.renamed_row < sessions:
        distribution[paper.renamed_row :] += 100 - distribution[paper.renamed_row]
    return marker, distribution


def _table_code(paper: Listing, rows: np.ndarray) -> np.ndarray:
    if paper.role == "etf":
        return np.full(len(rows), b"14")
    if paper.role == "bankruptcy":
        return np.where(rows >= distress_row(paper), b"08", b"02")
    if paper.role == "fraud":
        return np.where(rows >= distress_row(paper) + _RECOVERY_DELAY, b"08", b"02")
    return np.full(len(rows), b"02")


def _underlyings(
    config: ExchangeConfig,
    papers: tuple[Listing, ...],
    tapes: tuple[Tape, ...],
    market: Market,
    actions: tuple[CorporateAction, ...],
) -> tuple[Underlying, ...]:
    """What options and forwards are written on: `option_underlyings` shares, forwards on two at least."""
    columns = _liquid_columns(papers, len(market.traded))[: max(config.option_underlyings, 2)]
    return tuple(
        Underlying(
            papers[column],
            tapes[column],
            market.volatility[:, column] * np.sqrt(SESSIONS_PER_YEAR),
            tuple(one for one in actions if one.column == column),
        )
        for column in columns
    )


def _liquid_columns(papers: tuple[Listing, ...], sessions: int) -> list[int]:
    """Columns of the shares that trade in every session: those of the fixed roles, then the others.

    Each group is in order of traded value: so the first underlyings are the same whatever the number of papers.
    """
    whole = [
        column
        for column, paper in enumerate(papers)
        if paper.presence == 1.0
        and paper.first_row == 0
        and paper.end_row == sessions
        and paper.renamed_row == sessions
        and paper.role != "etf"
    ]
    return sorted(whole, key=lambda column: (column >= len(ROLES), -papers[column].traded_value))
