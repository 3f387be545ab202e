"""The synthetic exchange's daily price report in B3's XML (BVBG.086), with the oscillation as the exchange makes it.

The oscillation of a share is its move against the last close, less what was given since: for the events of one session
(close - cash) / shares, and so on over the sessions that it did not trade. In per cent, cut at the second decimal, as
the real reports show (each future of 2018-01-02 moves so against its settlement).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import groupby

from data_pipeline.synthetic.actions import CorporateAction
from data_pipeline.synthetic.books import Books
from data_pipeline.synthetic.futures import Settlement
from data_pipeline.synthetic.microstructure import Tape

KIND = "BVBG.086.01"
_SPACES = 'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


@dataclass(frozen=True, slots=True)
class ShareFigures:
    """What a report says of one share; prices in R$ per `quotation_factor` shares as quoted, None for an empty side.

    `oscillation` in per cent, None on the first session that the paper trades.
    """

    ticker: str
    trades: int
    quantity: int
    traded_value: Fraction
    bid: Fraction | None
    ask: Fraction | None
    opening: Fraction
    low: Fraction
    high: Fraction
    average: Fraction
    close: Fraction
    oscillation: Fraction | None


def cut_percent(move: Fraction) -> Fraction:
    """The move in per cent, cut towards zero at the second decimal."""
    whole = abs(move.numerator) * 10_000 // move.denominator
    return Fraction(whole if move >= 0 else -whole, 100)


def share_moves(tape: Tape, actions: Iterable[CorporateAction]) -> list[Fraction | None]:
    """Exact return of each record of a tape against the adjusted close before it, None for the first.

    `actions` are those of the paper, in order of their ex sessions.
    """
    groups = [(row, list(group)) for row, group in groupby(actions, key=lambda one: one.ex_row)]
    factor = [int(one) for one in tape.records["quotation_factor"]]
    close = [Fraction(int(cents), 100 * per) for cents, per in zip(tape.records["close_cents"], factor, strict=True)]
    moves: list[Fraction | None] = [None] if close else []
    for place in range(1, len(close)):
        base = close[place - 1]
        for row, group in groups:
            if tape.rows[place - 1] < row <= tape.rows[place]:
                base -= sum((Fraction(repr(one.cash)) for one in group), Fraction(0))
                for one in group:
                    base /= Fraction(repr(one.share_factor))
        moves.append(close[place] / base - 1)
    return moves


def share_figures(books: Books) -> dict[int, list[ShareFigures]]:
    """Figures of the shares that traded, by row of the session, in order of ticker."""
    found: dict[int, list[ShareFigures]] = {}
    for column, tape in enumerate(books.tapes):
        moves = share_moves(tape, [one for one in books.actions if one.column == column])
        for row, record, move in zip(tape.rows.tolist(), tape.records, moves, strict=True):
            price = {name: Fraction(int(record[f"{name}_cents"]), 100) for name in _PRICES}
            figures = ShareFigures(
                ticker=record["ticker"].decode(),
                trades=int(record["trade_count"]),
                quantity=int(record["quantity"]),
                traded_value=Fraction(int(record["traded_value_cents"]), 100),
                bid=price["bid"] or None,
                ask=price["ask"] or None,
                opening=price["open"],
                low=price["low"],
                high=price["high"],
                average=price["average"],
                close=price["close"],
                oscillation=None if move is None else cut_percent(move),
            )
            found.setdefault(row, []).append(figures)
    return {row: sorted(figures, key=lambda one: one.ticker) for row, figures in found.items()}


_PRICES = ("open", "high", "low", "average", "close", "bid", "ask")


def price_report(
    session: date,
    shares: Sequence[ShareFigures],
    silent: Sequence[str],
    futures: Sequence[Settlement],
    created: str,
) -> str:
    """The XML text of one report; `silent` are the tickers without a trade, `created` the time it was made, UTC."""
    bodies = [(one.ticker, _share_fields(one)) for one in shares]
    bodies += [(ticker, {}) for ticker in silent]
    bodies += [(one.symbol, _future_fields(one)) for one in futures]
    message = f"BV000328{session:%Y%m%d}{created[11:19].replace(':', '')}"
    head = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Document {_SPACES} xmlns="urn:bvmf.052.01.xsd">\n<BizFileHdr><Xchg>'
        f"<BizGrpDesc><BizGrpDtls><BizGrpIdr>{message}</BizGrpIdr><TtlNbOfMsg>{len(bodies)}</TtlNbOfMsg>"
        f"<BizGrpTp>{KIND}</BizGrpTp><CreDtAndTm>{created.removesuffix('Z')}</CreDtAndTm></BizGrpDtls></BizGrpDesc>\n"
    )
    return head + "".join(_message(session, ticker, fields, message, created) for ticker, fields in bodies) + _TAIL


_TAIL = "</Xchg></BizFileHdr>\n</Document>\n"


def _message(session: date, ticker: str, fields: Mapping[str, str], message: str, created: str) -> str:
    trades = f"<TradDtls><TradQty>{fields['TradQty']}</TradQty></TradDtls>" if "TradQty" in fields else "<TradDtls />"
    said = "".join(
        f'<{tag} Ccy="BRL">{text}</{tag}>' if tag in _MONEY else f"<{tag}>{text}</{tag}>"
        for tag, text in fields.items()
        if tag != "TradQty"
    )
    return (
        f'<BizGrp><AppHdr {_SPACES} xmlns="urn:iso:std:iso:20022:tech:xsd:head.001.001.01"><BizMsgIdr>{message}'
        f"</BizMsgIdr><MsgDefIdr>BVMF.217.01</MsgDefIdr><CreDt>{created}</CreDt></AppHdr>\n"
        f'<Document {_SPACES} xmlns="urn:bvmf.217.01.xsd"><PricRpt><TradDt><Dt>{session}</Dt></TradDt>'
        f"<SctyId><TckrSymb>{ticker}</TckrSymb></SctyId><FinInstrmId><OthrId><Id>{ticker}</Id><Tp><Prtry>8</Prtry></Tp>"
        f"</OthrId><PlcOfListg><MktIdrCd>BVMF</MktIdrCd></PlcOfListg></FinInstrmId>{trades}"
        f"<FinInstrmAttrbts>{said}</FinInstrmAttrbts></PricRpt></Document></BizGrp>\n"
    )


_MONEY = frozenset(
    (
        "NtlFinVol",
        "BestBidPric",
        "BestAskPric",
        "FrstPric",
        "MinPric",
        "MaxPric",
        "TradAvrgPric",
        "LastPric",
        "AdjstdQt",
        "PrvsAdjstdQt",
        "AdjstdValCtrct",
    )
)


def _share_fields(one: ShareFigures) -> dict[str, str]:
    figures = {
        "NtlFinVol": one.traded_value,
        "FinInstrmQty": Fraction(one.quantity),
        "BestBidPric": one.bid,
        "BestAskPric": one.ask,
        "FrstPric": one.opening,
        "MinPric": one.low,
        "MaxPric": one.high,
        "TradAvrgPric": one.average,
        "LastPric": one.close,
        "OscnPctg": one.oscillation,
    }
    return {"TradQty": str(one.trades)} | {tag: decimal(value) for tag, value in figures.items() if value is not None}


def _future_fields(one: Settlement) -> dict[str, str]:
    fields = {"AdjstdQt": decimal(one.price), "AdjstdQtStin": "F"}
    if one.rate is not None:
        fields["AdjstdQtTax"] = decimal(one.rate)
    if one.previous is not None:
        fields["PrvsAdjstdQt"] = decimal(one.previous)
        fields["VartnPts"] = decimal(one.change)
        fields["AdjstdValCtrct"] = decimal(one.value)
    return fields


def decimal(value: Fraction | float) -> str:
    """The number with a decimal point and as few decimals as it has, three at most.

    Examples
    --------
    >>> decimal(Fraction(1655, 100)), decimal(1920.0), decimal(-0.5)
    ('16.55', '1920', '-0.5')
    """
    text = f"{float(value):.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
