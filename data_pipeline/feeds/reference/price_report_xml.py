"""The XML of a price report as columns: a stream of tags in, Arrow rows out, memory for the rows alone."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from xml.parsers import expat

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.text import SAO_PAULO, nanoseconds
from data_pipeline.raw_file import RawFile
from data_pipeline.tables.catalog import PRICE_REPORTS

MOST_ROWS: Final = 2_000_000
"""Instruments of one report; the whole market has some 100,000."""
MOST_DEPTH: Final = 64
MOST_TEXT: Final = 256
MOST_UNREAD: Final = 1 << 20
"""Bytes that the parser may hold back for the end of one tag or text."""
_CHUNK: Final = 1 << 16
_FLUSH_ROWS: Final = 8_192

_COLUMNS: Final = {
    "Dt": "session",
    "TckrSymb": "symbol",
    "DaysToSttlm": "forward_days",
    "TradQty": "trades",
    "FinInstrmQty": "quantity",
    "NtlFinVol": "traded_value",
    "BestBidPric": "bid",
    "BestAskPric": "ask",
    "FrstPric": "open",
    "MinPric": "low",
    "MaxPric": "high",
    "TradAvrgPric": "average",
    "LastPric": "close",
    "OscnPctg": "oscillation",
    "OpnIntrst": "open_interest",
    "AdjstdQt": "settlement",
    "AdjstdQtTax": "settlement_rate",
    "AdjstdQtStin": "settlement_state",
    "PrvsAdjstdQt": "previous_settlement",
    "VartnPts": "settlement_points",
    "AdjstdValCtrct": "settlement_value",
    "MaxTradLmt": "highest_allowed",
    "MinTradLmt": "lowest_allowed",
}
_COUNTS: Final = frozenset({"trades", "forward_days"})
_NOT_NEGATIVE: Final = frozenset({"quantity", "open_interest"})
_TEXTS: Final = frozenset({"symbol", "settlement_state"})
_PRICES: Final = frozenset({"LastPric", "AdjstdQt", "BestBidPric", "BestAskPric", "MaxTradLmt"})
# some reports print small decimals with an exponent, as Java's BigDecimal does (0E-8)
_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?([eE](\+?\d|-\d{1,2}))?")
_COUNT: Final = re.compile(r"\d{1,15}")
_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9 ./_-]{0,39}")
_STATE: Final = re.compile(r"[A-Z]{1,2}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_HEAD_CREATED: Final = re.compile(rb"<(?:\w+:)?CreDtAndTm>([^<]{10,40})<")
_HEAD_KIND: Final = re.compile(rb"<(?:\w+:)?BizGrpTp>(BVBG\.\d{3})")
_MOST_FORWARD_DAYS: Final = 32_767


@dataclass(frozen=True, slots=True)
class ReportHead:
    """What the first bytes of a report say: its kind (BVBG.086) and when it was made."""

    kind: str
    created: str


def report_head(start: bytes) -> ReportHead | None:
    """Kind and time of the report that starts so, None when it is none."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.decode("utf-16", errors="replace").encode("latin-1", errors="replace")
    kind, created = _HEAD_KIND.search(start), _HEAD_CREATED.search(start)
    if kind is None or created is None or kind[1] not in (b"BVBG.086", b"BVBG.187"):
        return None
    return ReportHead(kind[1].decode(), created[1].decode("latin-1"))


def read_report(raw: RawFile) -> pa.Table:
    """All rows of the report, in its order, as the table price_reports.

    Raises
    ------
    DataError
        With the line: the XML is damaged or cut, declares a document type or entities, is deeper or longer than any
        report, has another number of messages than its header says, or a value that is no number, date or symbol.
    """
    reader = _Reader(raw.name)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    reader.parser = parser
    given = 0
    try:
        while chunk := raw.stream.read(_CHUNK):
            parser.Parse(chunk, False)
            given += len(chunk)
            if given - parser.CurrentByteIndex > MOST_UNREAD:
                raise DataError(f"{raw.name}: a tag or text longer than {MOST_UNREAD} bytes; it is no price report")
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DataError(f"{raw.name} is no whole XML file ({error}): download it again") from error
    return reader.table()


class _Reader:
    """What the tags have told so far."""

    parser: Any

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._in_report = False
        self._tag: str | None = None
        self._said = ""
        self._row: dict[str, str] = {}
        self._made = ""
        self._report_made = ""
        self._told: int | None = None
        self._messages = 0
        self._columns: dict[str, list[Any]] = {name: [] for name in PRICE_REPORTS.schema.names}
        self._tables: list[pa.Table] = []

    def refuse_doctype(self, *_: object) -> None:
        raise DataError(f"{self._where()}: declares a document type, which no price report does; it is not from B3")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise DataError(f"{self._where()}: tags more than {MOST_DEPTH} deep; it is no price report")
        tag = tag.rpartition(":")[2]
        self._said = ""
        if tag == "PricRpt":
            if self._in_report:
                raise DataError(f"{self._where()}: a PricRpt inside a PricRpt")
            self._in_report, self._row = True, {}
        elif self._in_report:
            self._tag = tag if tag in _COLUMNS else None
            if tag in _PRICES and "Ccy" in attributes:
                self._row.setdefault("Ccy", attributes["Ccy"])
        else:
            self._tag = tag if tag in ("CreDt", "CreDtAndTm", "TtlNbOfMsg") else None

    def text(self, said: str) -> None:
        if self._tag is not None:
            self._said += said
            if len(self._said) > MOST_TEXT:
                raise DataError(f"{self._where()}: {self._tag} is longer than {MOST_TEXT} characters")

    def end(self, tag: str) -> None:
        self._depth -= 1
        tag = tag.rpartition(":")[2]
        if tag == "PricRpt":
            self._in_report = False
            self._add()
        elif tag == self._tag:
            self._tag = None
            said = self._said.strip()
            if self._in_report:
                if tag in self._row:
                    raise DataError(f"{self._where()}: {tag} is given twice for one instrument")
                if said:
                    self._row[tag] = said
            elif tag == "CreDt":
                self._made = said
            elif tag == "CreDtAndTm":
                self._report_made = said
            elif tag == "TtlNbOfMsg":
                self._told = int(said) if _COUNT.fullmatch(said) else -1

    def table(self) -> pa.Table:
        if self._told is not None and self._told != self._messages:
            raise DataError(
                f"{self._name} says that it has {self._told} messages and has {self._messages}: it is cut or damaged; "
                "download it again"
            )
        self._flush()
        return pa.concat_tables(self._tables)

    def _add(self) -> None:
        self._messages += 1
        if self._messages > MOST_ROWS:
            raise DataError(f"{self._where()}: more than {MOST_ROWS} instruments; it is no price report")
        row = self._row
        for tag, column in _COLUMNS.items():
            said = row.get(tag)
            self._columns[column].append(None if said is None else self._value(tag, column, said))
        if self._columns["session"][-1] is None or self._columns["symbol"][-1] is None:
            raise DataError(f"{self._where()}: an instrument without TckrSymb or without the date of its session")
        currency = row.get("Ccy")
        if currency is not None and not _CURRENCY.fullmatch(currency):
            raise DataError(f"{self._where()}: Ccy must be three letters; was {currency[:20]!r}")
        self._columns["currency"].append(currency)
        self._columns["known_at"].append(self._known())
        if len(self._columns["session"]) == _FLUSH_ROWS:
            self._flush()

    def _value(self, tag: str, column: str, said: str) -> Any:
        if column == "session":
            return self._day(said)
        if column in _TEXTS:
            pattern = _SYMBOL if column == "symbol" else _STATE
            return said if pattern.fullmatch(said) else self._refuse(tag, said, "capital letters and digits")
        if column in _COUNTS:
            count = int(said) if _COUNT.fullmatch(said) else self._refuse(tag, said, "a whole number")
            if column == "forward_days" and count > _MOST_FORWARD_DAYS:
                self._refuse(tag, said, f"at most {_MOST_FORWARD_DAYS} days")
            return count
        if not _NUMBER.fullmatch(said):
            self._refuse(tag, said, "a number like -1234.56")
        if column in _NOT_NEGATIVE and said.startswith("-"):
            self._refuse(tag, said, "0 or more")
        # a shift of the decimal exponent keeps the double nearest to what is printed
        return float(Decimal(said).scaleb(-2)) if column == "oscillation" else float(said)

    def _day(self, said: str) -> datetime.date:
        try:
            day = datetime.date.fromisoformat(said) if _DAY.fullmatch(said) else None
        except ValueError:
            day = None
        return day if day is not None else self._refuse("TradDt", said, "a date yyyy-mm-dd")

    def _known(self) -> int:
        """Nanoseconds since 1970 UTC of the message; a time without a zone is that of Sao Paulo."""
        said = self._made or self._report_made
        try:
            moment = datetime.datetime.fromisoformat(said.replace("Z", "+00:00"))
        except ValueError:
            self._refuse("CreDt", said, "a time yyyy-mm-ddThh:mm:ss")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=SAO_PAULO)
        known = nanoseconds(moment, self._where())
        if moment.date() < self._columns["session"][-1] - datetime.timedelta(days=7):
            self._refuse("CreDt", said, "no earlier than a week before the session")
        return known

    def _refuse(self, tag: str, said: str, rule: str) -> Any:
        raise DataError(f"{self._where()}: {tag} must be {rule}; was {said[:40]!r}")

    def _where(self) -> str:
        return f"{self._name} line {self.parser.CurrentLineNumber}"

    def _flush(self) -> None:
        arrays = [
            pa.array(self._columns[field.name], pa.int64() if pa.types.is_timestamp(field.type) else field.type)
            for field in PRICE_REPORTS.schema
        ]
        cast = [array.cast(field.type) for array, field in zip(arrays, PRICE_REPORTS.schema, strict=True)]
        self._tables.append(pa.Table.from_arrays(cast, schema=PRICE_REPORTS.schema))
        self._columns = {name: [] for name in self._columns}
