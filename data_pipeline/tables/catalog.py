"""Every table of the store that feeds fill row by row: name, columns with units, key, order, partition.

Times are UTC, integer nanoseconds since 1970 in `timestamp[ns, UTC]` columns; `session` is the venue's own trading
date (UTC date for venues that never close). Prices are decimal numbers as the venue prints them: a float64 gives any
decimal text of up to 15 significant digits back exactly. Quantities are in the venue's unit (shares, contracts, coins).
COTAHIST, company events and the CDI are older tables of their own (data_pipeline.schema).
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from data_pipeline.tables.spec import Column, TableSpec

TIME: Final = pa.timestamp("ns", tz="UTC")
_SIDE_WORDS: Final = (
    "+1 the buyer was the aggressor, -1 the seller, 0 nobody (auction, cross), null: the feed does not say"
)


def _session(meaning: str = "trading date at the venue") -> Column:
    return Column("session", pa.date32(), meaning)


def _symbol(meaning: str = "instrument code at the venue") -> Column:
    return Column("symbol", pa.string(), meaning)


def _number(name: str, meaning: str, *, nullable: bool = False, low: float | None = None) -> Column:
    return Column(name, pa.float64(), meaning, nullable, low)


TRADES: Final = TableSpec(
    "trades",
    1,
    "one trade; cancelled trades are not here, and no sign is invented",
    (
        _session(),
        _symbol(),
        Column("time", TIME, "exchange time"),
        Column("local_time", TIME, "time of the receiver's clock", nullable=True),
        Column("sequence", pa.int64(), "row of the feed, from 0: the order of what has equal times", low=0),
        _number("price", "price per unit", low=0.0),
        _number("quantity", "shares, contracts or coins", low=0.0),
        Column("side", pa.int8(), _SIDE_WORDS, nullable=True, low=-1, high=1),
        Column("trade_id", pa.string(), "the venue's own number of the trade", nullable=True),
        Column(
            "condition",
            pa.string(),
            "regular trading, after-market session, auction or cross print, execution of a hidden order, off book",
            words=("regular", "after_market", "cross", "hidden", "off_book"),
        ),
        Column("buyer", pa.int32(), "code of the buying member", nullable=True),
        Column("seller", pa.int32(), "code of the selling member", nullable=True),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "time", "sequence"),
)

QUOTES: Final = TableSpec(
    "quotes",
    1,
    "best bid and ask from `time` on; null where a side is empty",
    (
        _session(),
        _symbol(),
        Column("time", TIME, "exchange time"),
        Column("local_time", TIME, "time of the receiver's clock", nullable=True),
        Column("sequence", pa.int64(), "row of the feed, from 0", low=0),
        _number("bid", "best bid price", nullable=True),
        _number("bid_quantity", "quantity at the best bid", nullable=True, low=0.0),
        _number("ask", "best ask price", nullable=True),
        _number("ask_quantity", "quantity at the best ask", nullable=True, low=0.0),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "time", "sequence"),
)

DEPTH: Final = TableSpec(
    "depth",
    1,
    "a picture of the book's best levels, best first; the two lists of a side are of equal length",
    (
        _session(),
        _symbol(),
        Column("time", TIME, "exchange time"),
        Column("local_time", TIME, "time of the receiver's clock", nullable=True),
        Column("sequence", pa.int64(), "row of the feed, from 0", low=0),
        Column("bid_prices", pa.list_(pa.float64()), "bid prices, falling"),
        Column("bid_quantities", pa.list_(pa.float64()), "quantities there"),
        Column("ask_prices", pa.list_(pa.float64()), "ask prices, rising"),
        Column("ask_quantities", pa.list_(pa.float64()), "quantities there"),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "time", "sequence"),
    paired=(("bid_prices", "bid_quantities"), ("ask_prices", "ask_quantities")),
)

BOOK_EVENTS: Final = TableSpec(
    "book_events",
    1,
    "market events in the 64-byte layout of data_pipeline.book.events (hftbacktest's), in the order of the feed",
    (
        _session(),
        _symbol(),
        Column("sequence", pa.int64(), "place in the event array, from 0", low=0),
        Column("ev", pa.uint64(), "kind and flags"),
        Column("exch_ts", pa.int64(), "exchange time, ns since 1970 UTC"),
        Column("local_ts", pa.int64(), "receiver's time, ns since 1970 UTC"),
        Column("px", pa.float64(), "price; not a number where a clearing event clears the whole side", finite=False),
        Column("qty", pa.float64(), "quantity"),
        Column("order_id", pa.uint64(), "order number of an order-by-order event, else 0"),
        Column("ival", pa.int64(), "reserved by the layout"),
        Column("fval", pa.float64(), "reserved by the layout"),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "sequence"),
    key=("session", "symbol", "sequence"),
)

ORDERS: Final = TableSpec(
    "orders",
    1,
    "one event in the life of an order (B3's order files), all that the feed says of it",
    (
        _session(),
        _symbol(),
        Column("time", TIME, "time of the event"),
        Column("sequence", pa.int64(), "row of the feed, from 0", low=0),
        Column("side", pa.int8(), "+1 buy, -1 sell", low=-1, high=1),
        Column("order_id", pa.int64(), "sequential number of the order, the same over its life"),
        Column("secondary_id", pa.int64(), "number of this event of the order"),
        Column(
            "event",
            pa.string(),
            "what happened",
            words=(
                "new",
                "update",
                "cancel",
                "trade",
                "reentry",
                "new_stop_price",
                "rejected",
                "removed",
                "stop_triggered",
                "expired",
                "eliminated",
            ),
        ),
        Column("priority_time", TIME, "time that ranks the order in its queue", nullable=True),
        _number("price", "limit price; 0 for orders without one", low=0.0),
        _number("quantity", "total quantity of the order", low=0.0),
        _number("traded_quantity", "quantity traded so far", low=0.0),
        Column("status", pa.string(), "state after the event, in the feed's words", nullable=True),
        Column("aggressor", pa.int8(), "1 aggressor, 2 passive, 0 neutral", low=0, high=2),
        Column("member", pa.int32(), "code of the member", nullable=True),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "time", "sequence"),
)

HALTS: Final = TableSpec(
    "halts",
    1,
    "a span without trading that the feed tells of",
    (
        _session(),
        _symbol(),
        Column("start", TIME, "when trading stopped"),
        Column("end", TIME, "when it resumed; null: not before the feed ends", nullable=True),
        Column("reason", pa.string(), "why, in the feed's words", nullable=True),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "start"),
)

BARS: Final = TableSpec(
    "bars",
    1,
    "trades summed over an interval of time, volume or trade counts; known at `end`, not before",
    (
        _session(),
        _symbol(),
        Column("rule", pa.string(), "how the bars were cut: time:60s, volume:10000, tick:100"),
        Column("number", pa.int64(), "place of the bar in its session, from 0: two may end at one time", low=0),
        Column("start", TIME, "first moment in the bar"),
        Column("end", TIME, "first moment after a time bar, the last trade's time of the others: when it is known"),
        _number("open", "first price", nullable=True),
        _number("high", "highest price", nullable=True),
        _number("low", "lowest price", nullable=True),
        _number("close", "last price", nullable=True),
        _number("vwap", "volume-weighted average price", nullable=True),
        _number("quantity", "quantity traded", low=0.0),
        Column("trades", pa.int64(), "number of trades", low=0),
        _number("bought", "quantity with a buying aggressor", nullable=True, low=0.0),
        _number("sold", "quantity with a selling aggressor", nullable=True, low=0.0),
        _number("spread", "time-weighted best spread, in price", nullable=True),
        _number("imbalance", "time-weighted (bid - ask quantity) / (bid + ask quantity) at the best", nullable=True),
        _number("realised_variance", "sum of squared log returns of the mid (of the trades without quotes)", low=0.0),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "rule", "number"),
    key=("session", "symbol", "rule", "number"),
    apart=("rule",),
)

PRICE_REPORTS: Final = TableSpec(
    "price_reports",
    1,
    "B3's daily price report (BVBG.086), one instrument and session; absent figures are null",
    (
        _session(),
        _symbol(),
        Column("known_at", TIME, "creation time of the report"),
        Column(
            "forward_days", pa.int16(), "days of a forward, which has a row per term; else null", nullable=True, low=0
        ),
        Column("currency", pa.string(), "currency of the prices: BRL, USD; null without any", nullable=True),
        Column("trades", pa.int64(), "number of trades, without COTAHIST's limit of 99,999", nullable=True, low=0),
        _number("quantity", "instruments traded", nullable=True, low=0.0),
        _number("traded_value", "R$ traded", nullable=True),
        _number("bid", "best bid at the close", nullable=True),
        _number("ask", "best ask at the close", nullable=True),
        _number("open", "first price", nullable=True),
        _number("low", "lowest price", nullable=True),
        _number("high", "highest price", nullable=True),
        _number("average", "average price", nullable=True),
        _number("close", "last price", nullable=True),
        _number("oscillation", "simple return against the adjusted previous close: 0.01 is 1 %", nullable=True),
        _number("open_interest", "open contracts", nullable=True, low=0.0),
        _number("settlement", "settlement price (AdjstdQt)", nullable=True),
        _number("settlement_rate", "settlement rate (AdjstdQtTax)", nullable=True),
        Column("settlement_state", pa.string(), "F final, U, P as in the report", nullable=True),
        _number("previous_settlement", "settlement of the session before", nullable=True),
        _number("settlement_points", "variation in points", nullable=True),
        _number("settlement_value", "signed R$ per contract", nullable=True),
        _number("highest_allowed", "upper trading limit", nullable=True),
        _number("lowest_allowed", "lower trading limit", nullable=True),
    ),
    date="session",
    period="month",
    symbol="symbol",
    order=("symbol", "session", "forward_days"),
    key=("session", "symbol", "forward_days"),
)

SETTLEMENTS: Final = TableSpec(
    "settlements",
    1,
    "settlement of one futures contract and session",
    (
        _session(),
        _symbol("contract: root, month letter, year"),
        Column("root", pa.string(), "commodity code (DOL, WDO, IND, WIN, DI1, ...)"),
        Column("maturity", pa.string(), "month letter and two-digit year"),
        Column("expiry", pa.date32(), "last session, where the rule of the root is known", nullable=True),
        _number("settlement", "settlement price in the contract's quotation"),
        _number("previous", "settlement of the session before, as the page says", nullable=True),
        _number("change", "signed change as the page says", nullable=True),
        _number("value", "unsigned R$ per contract as the page says", nullable=True),
    ),
    date="session",
    period="month",
    symbol="symbol",
    order=("symbol", "session"),
    key=("session", "symbol"),
)

YIELD_CURVES: Final = TableSpec(
    "yield_curves",
    1,
    "one vertex of a curve of reference rates",
    (
        _session("reference date"),
        _symbol("curve: PRE, DOC, DIC, ..."),
        Column("maturity", pa.date32(), "date of the vertex"),
        Column("days", pa.int32(), "calendar days to it", low=0),
        Column("business_days", pa.int32(), "business days to it", nullable=True, low=0),
        _number("rate_252", "annual rate, compounded over 252 business days: 0.1165 is 11.65 %", nullable=True),
        _number("rate_360", "annual rate, simple over 360 calendar days", nullable=True),
    ),
    date="session",
    period="month",
    symbol="symbol",
    order=("symbol", "session", "days"),
    key=("session", "symbol", "days"),
)

RATES: Final = TableSpec(
    "rates",
    1,
    "one value of a macroeconomic series (Banco Central do Brasil, SGS)",
    (
        _session("date of the value"),
        _symbol("series code"),
        _number("value", "as the series states it"),
        Column("unit", pa.string(), "unit of the value: % per day, % per year (252), % per month, R$ per US$"),
    ),
    date="session",
    period="year",
    symbol="symbol",
    order=("symbol", "session"),
    key=("session", "symbol"),
)

CLOSES: Final = TableSpec(
    "closes",
    1,
    "closing price and traded value of one share and session, as they traded",
    (
        _session(),
        _symbol(),
        _number("close", "last price, R$", low=0.0),
        _number("traded_value", "R$ traded", low=0.0),
    ),
    date="session",
    period="year",
    symbol="symbol",
    order=("symbol", "session"),
    key=("session", "symbol"),
)

INDEX_LEVELS: Final = TableSpec(
    "index_levels",
    1,
    "closing level of an index",
    (_session(), _symbol("index code"), _number("level", "points", low=0.0)),
    date="session",
    period="year",
    symbol="symbol",
    order=("symbol", "session"),
    key=("session", "symbol"),
)

ISSUERS: Final = TableSpec(
    "issuers",
    1,
    "what an issuer's record said at `known_at`; the latest one known at a time holds then",
    (
        Column("known_on", pa.date32(), "UTC date of known_at"),
        Column("known_at", TIME, "when the record was read from the source"),
        _symbol("a code of the issuer's paper"),
        Column("issuer", pa.string(), "four-letter code of the issuer"),
        Column("isin", pa.string(), "of the paper", nullable=True),
        Column("name", pa.string(), "company name"),
        Column("trading_name", pa.string(), "short name", nullable=True),
        Column("cnpj", pa.string(), "14 digits", nullable=True),
        Column("cvm_code", pa.string(), "number at the CVM", nullable=True),
        Column("sector", pa.string(), "first part of the classification", nullable=True),
        Column("subsector", pa.string(), "second part", nullable=True),
        Column("segment", pa.string(), "third part", nullable=True),
        Column("active", pa.bool_(), "whether listed", nullable=True),
    ),
    date="known_on",
    period="year",
    symbol="symbol",
    order=("symbol", "known_at"),
    key=("symbol", "known_at"),
)

FACTS: Final = TableSpec(
    "facts",
    1,
    "one figure about an entity, with the time it is about and the time it was public: restatements are new rows",
    (
        Column("known_on", pa.date32(), "UTC date of known_at"),
        _symbol("entity: CNPJ digits, ticker or any other stable name"),
        Column("field", pa.string(), "what the value is"),
        Column(
            "event_start", pa.date32(), "first day of the span the value sums over; null for a moment", nullable=True
        ),
        Column("event_time", pa.date32(), "last day of the span, or the moment"),
        Column("known_at", TIME, "when it was public; a reader at t sees known_at <= t only"),
        Column("version", pa.int32(), "1 as first published, 2 the first restatement, ...", low=1),
        _number("value", "in `unit`"),
        Column("unit", pa.string(), "R$, shares, %, ..."),
        Column("source", pa.string(), "feed and document"),
    ),
    date="known_on",
    period="year",
    symbol="symbol",
    order=("symbol", "field", "event_time", "known_at"),
    key=("symbol", "field", "event_start", "event_time", "known_at", "version"),
    apart=("source",),
)

TABLES: Final[dict[str, TableSpec]] = {
    spec.name: spec
    for spec in (
        TRADES,
        QUOTES,
        DEPTH,
        BOOK_EVENTS,
        ORDERS,
        HALTS,
        BARS,
        PRICE_REPORTS,
        SETTLEMENTS,
        YIELD_CURVES,
        RATES,
        CLOSES,
        INDEX_LEVELS,
        ISSUERS,
        FACTS,
    )
}
