"""The tables of the store, and the COTAHIST record they come from.

B3's layout "Historico de Cotacoes" (revision of 22/09/2005) is the source of the columns; positions there are
1-based and inclusive, here `start` is 0-based and `stop` exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 2
"""Version of the store on disk; a store of another version is refused, never migrated silently."""

QUOTES_VERSION = 1
"""Version of the daily quotes, company events and CDI within it."""

RECORD_WIDTH = 245


@dataclass(frozen=True, slots=True)
class RecordField:
    """One field of the quote record (type 01).

    Attributes
    ----------
    name : str
        B3's name of the field.
    start, stop : int
        Half-open byte range in the record.
    kind : str
        "number" (digits), "date" (AAAAMMDD), "days" (blank or digits), "code" (printable ASCII) or
        "text" (printable ISO-8859-1).
    column : str
        Column of the store.
    """

    name: str
    start: int
    stop: int
    kind: str
    column: str


def _layout() -> tuple[RecordField, ...]:
    fields = (
        ("TIPREG", 2, "number", ""),
        ("DATA", 8, "date", "session"),
        ("CODBDI", 2, "code", "bdi_code"),
        ("CODNEG", 12, "code", "ticker"),
        ("TPMERC", 3, "number", "market_type"),
        ("NOMRES", 12, "text", "short_name"),
        ("ESPECI", 10, "text", "specification"),
        ("PRAZOT", 3, "days", "forward_days"),
        ("MODREF", 4, "text", "currency"),
        ("PREABE", 13, "number", "open_cents"),
        ("PREMAX", 13, "number", "high_cents"),
        ("PREMIN", 13, "number", "low_cents"),
        ("PREMED", 13, "number", "average_cents"),
        ("PREULT", 13, "number", "close_cents"),
        ("PREOFC", 13, "number", "bid_cents"),
        ("PREOFV", 13, "number", "ask_cents"),
        ("TOTNEG", 5, "number", "trade_count_mod"),
        ("QUATOT", 18, "number", "quantity"),
        ("VOLTOT", 18, "number", "traded_value_cents"),
        ("PREEXE", 13, "number", "strike_cents"),
        ("INDOPC", 1, "number", "indexation"),
        ("DATVEN", 8, "date", "expiry"),
        ("FATCOT", 7, "number", "quotation_factor"),
        ("PTOEXE", 13, "number", "strike_points_e6"),
        ("CODISI", 12, "code", "isin"),
        ("DISMES", 3, "number", "distribution"),
    )
    placed, start = [], 0
    for name, width, kind, column in fields:
        placed.append(RecordField(name, start, start + width, kind, column))
        start += width
    return tuple(placed)


LAYOUT = _layout()
"""The 26 fields of the quote record, in file order."""

QUOTE_SCHEMA = pa.schema(
    [
        pa.field("session", pa.date32(), nullable=False),
        pa.field("bdi_code", pa.string(), nullable=False),
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("market_type", pa.int16(), nullable=False),
        pa.field("short_name", pa.string(), nullable=False),
        pa.field("specification", pa.string(), nullable=False),
        pa.field("forward_days", pa.int16()),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("open_cents", pa.int64(), nullable=False),
        pa.field("high_cents", pa.int64(), nullable=False),
        pa.field("low_cents", pa.int64(), nullable=False),
        pa.field("average_cents", pa.int64(), nullable=False),
        pa.field("close_cents", pa.int64(), nullable=False),
        pa.field("bid_cents", pa.int64()),
        pa.field("ask_cents", pa.int64()),
        pa.field("trade_count_mod", pa.int32(), nullable=False),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("traded_value_cents", pa.int64(), nullable=False),
        pa.field("strike_cents", pa.int64(), nullable=False),
        pa.field("indexation", pa.int8(), nullable=False),
        pa.field("expiry", pa.date32()),
        pa.field("quotation_factor", pa.int32(), nullable=False),
        pa.field("strike_points_e6", pa.int64(), nullable=False),
        pa.field("isin", pa.string(), nullable=False),
        pa.field("distribution", pa.int16(), nullable=False),
    ]
)
"""One row per quote record; lossless integers with the unit in the name."""

QUARANTINE_SCHEMA = (
    QUOTE_SCHEMA.append(pa.field("reason", pa.string(), nullable=False))
    .append(pa.field("source", pa.string(), nullable=False))
    .append(pa.field("line", pa.int64(), nullable=False))
)
"""A refused quote row: its columns, the reason, the raw file's name and the line (1-based) in it."""

REASONS = (
    "",
    "high below low",
    "open outside low..high",
    "close outside low..high",
    "a price is zero",
    "quotation factor is zero",
    "quantity is zero",
    "session after the file's own date",
    "duplicate key (session, ticker, market type, forward days)",
)
"""Words of the quarantine codes that the parser's kernel writes; 0 is a good row."""
DUPLICATE_KEY = 8

EVENT_SCHEMA = pa.schema(
    [
        pa.field("issuer", pa.string(), nullable=False),
        pa.field("isin", pa.string()),
        pa.field("share_class", pa.string()),
        pa.field("label", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("approved_on", pa.date32()),
        pa.field("last_date_prior", pa.date32(), nullable=False),
        pa.field("payment_date", pa.date32()),
        pa.field("share_factor", pa.float64(), nullable=False),
        pa.field("cash", pa.float64(), nullable=False),
        pa.field("withholding", pa.float64(), nullable=False),
        pa.field("feed", pa.string(), nullable=False),
    ]
)
"""One company event: new shares per old share, gross cash in R$ per share, fraction withheld at source.

`last_date_prior` is the last session that trades with the right ("data com"); the next session is the ex session.
"""

CDI_SCHEMA = pa.schema(
    [pa.field("date", pa.date32(), nullable=False), pa.field("daily_return", pa.float64(), nullable=False)]
)
"""Simple return of one bank day: 0.00050788 is 0.050788 %."""
