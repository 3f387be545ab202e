"""What the exchange knows and the market does not see, for tests of detection and calibration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from data_pipeline.synthetic.books import Books
from data_pipeline.synthetic.companies import Listing, distress_row
from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.derivatives import odd_lot_records
from data_pipeline.synthetic.market import COMPANY_GARCH, MARKET_GARCH, OVERNIGHT_SHARE
from data_pipeline.synthetic.writer import TRADE_COUNT_MODULUS


def describe_truth(config: ExchangeConfig, books: Books) -> Mapping[str, object]:
    """Papers, actions, delistings, crashes, renames, wrapped trade counts and parameters, as JSON types."""
    sessions = [str(day) for day in books.sessions]
    last = len(sessions)
    papers = books.papers
    return {
        "temporary_impact": config.temporary_impact,
        "crowd_impact": config.crowd_impact,
        "transient_share": config.transient_share,
        "impact_memory": config.impact_memory,
        "market_garch": list(MARKET_GARCH),
        "company_garch": list(COMPANY_GARCH),
        "overnight_share": OVERNIGHT_SHARE,
        "papers": [_describe_paper(paper, sessions) for paper in papers],
        "actions": [
            {
                "ticker": ticker_at(papers[one.column], one.ex_row),
                "ex_session": sessions[one.ex_row],
                "last_session_with_right": sessions[one.ex_row - 1],
                "approved_session": sessions[one.approved_row],
                "kind": one.kind,
                "share_factor": one.share_factor,
                "cash": one.cash,
                "marker": one.marker,
                "in_feed": one.in_feed,
            }
            for one in books.actions
        ],
        "delisted": [_describe_end(paper, sessions) for paper in papers if paper.end_row < last],
        "renamed": [
            {"old": paper.ticker, "new": paper.new_ticker, "session": sessions[paper.renamed_row]}
            for paper in papers
            if paper.renamed_row < last
        ],
        "market_crashes": [sessions[row] for row in books.market.crash_rows],
        "company_crashes": [
            {"ticker": paper.ticker, "session": sessions[distress_row(paper)], "role": paper.role}
            for paper in papers
            if paper.role in ("fraud", "bankruptcy")
        ],
        "wrapped_trade_counts": _wrapped(books),
    }


def daily_truth(books: Books) -> pa.Table:
    """One row per spot record: session, ticker and the unseen numbers.

    `volatility` (of the session's news, per sqrt(session)), `signed_flow` in typical daily volumes, `typical_volume`
    in shares, `close_mid` and `half_spread` in R$ per share, `transient_impact` in log price, `trade_count` unwrapped.
    """
    rows = np.concatenate([tape.rows for tape in books.tapes])
    columns = np.concatenate([np.full(len(tape.rows), column) for column, tape in enumerate(books.tapes)])
    order = np.lexsort((columns, rows))
    market = books.market

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(tape, name) for tape in books.tapes])[order]

    def recorded(name: str) -> np.ndarray:
        return np.concatenate([tape.records[name] for tape in books.tapes])[order]

    return pa.table(
        {
            "session": recorded("session"),
            "ticker": [text.decode() for text in recorded("ticker")],
            "volatility": market.volatility[rows, columns][order],
            "signed_flow": market.flow[rows, columns][order],
            "transient_impact": market.transient[rows, columns][order],
            "overnight": market.overnight[rows, columns][order],
            "intraday": market.intraday[rows, columns][order],
            "typical_volume": joined("typical_volume"),
            "close_mid": joined("close_mid"),
            "half_spread": joined("half_spread"),
            "trade_count": recorded("trade_count"),
        }
    )


def market_truth(books: Books) -> pa.Table:
    """Per session: the market factor's log return and conditional volatility, and the crowd's flow."""
    return pa.table(
        {
            "session": books.sessions,
            "log_return": books.market.market,
            "crowd_flow": books.market.crowd,
            "volatility": books.market.market_volatility,
        }
    )


def ticker_at(paper: Listing, row: int) -> str:
    """The paper's ticker in a session."""
    return paper.new_ticker if row >= paper.renamed_row else paper.ticker


def _describe_paper(paper: Listing, sessions: list[str]) -> Mapping[str, object]:
    return {
        "ticker": paper.ticker,
        "isin": paper.isin,
        "role": paper.role,
        "sector": paper.sector,
        "beta": paper.beta,
        "sector_loading": paper.sector_loading,
        "company_volatility": paper.volatility,
        "typical_traded_value": paper.traded_value,
        "presence": paper.presence,
        "first_session": sessions[paper.first_row],
        "last_session": sessions[paper.end_row - 1],
        "quotation_factor": paper.quotation_factor,
        "lot_size": paper.lot_size,
    }


def _describe_end(paper: Listing, sessions: list[str]) -> Mapping[str, object]:
    return {
        "ticker": paper.ticker,
        "role": paper.role,
        "announced": sessions[distress_row(paper)],
        "last_session": sessions[paper.end_row - 1],
    }


def _wrapped(books: Books) -> list[Mapping[str, object]]:
    parts = []
    for paper, tape in zip(books.papers, books.tapes, strict=True):
        for records in (tape.records, odd_lot_records(books.config.seed, paper, tape)):
            parts.append(records[records["trade_count"] >= TRADE_COUNT_MODULUS])
    cash = np.concatenate(parts)
    cash = cash[np.lexsort((cash["ticker"], cash["session"]))]
    return [
        {"session": str(one["session"]), "ticker": one["ticker"].decode(), "trade_count": int(one["trade_count"])}
        for one in cash
    ]
