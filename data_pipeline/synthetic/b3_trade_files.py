"""Simulated order books as B3's trade and order files of every generation, with all that a day of them has: calls,
crosses, an after-market, cancels, test instruments; the truth of every row is in the `Tape`.

    BookEvents by symbol -> Tape -> write_trades (NEGOCIOSAVISTA, TradeIntraday) | write_old_trades (NEG_)
    BookEvents -> write_raw_orders (OFER_CPA_, OFER_VDA_)
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic.order_book import CROSS, FILL, HIDDEN, BookEvents
from data_pipeline.synthetic.order_book_files import DAY, write_ofer
from data_pipeline.synthetic.streams import stream

TEST_SYMBOL: Final = "TF583R"
_AFTER_MARKET_DELAY: Final = 35 * 60_000
_CALL_PRINTS: Final = 12
_AFTER_PRINTS: Final = 8
_MEMBERS: Final = np.array([3, 8, 21, 72, 85, 114, 120, 308, 386, 735])
_OLD_NAMES: Final = (
    "RptDt", "TckrSymb", "UpdActn", "GrssTradAmt", "TradQty", "NtryTm", "TradId", "TradgSsnId", "TradDt",
)  # fmt: skip
_NEW_NAMES: Final = (
    "DataReferencia", "CodigoInstrumento", "AcaoAtualizacao", "PrecoNegocio", "QuantidadeNegociada", "HoraFechamento",
    "CodigoIdentificadorNegocio", "TipoSessaoPregao", "DataNegocio", "CodigoParticipanteComprador",
    "CodigoParticipanteVendedor", "TipoDoCanal",
)  # fmt: skip
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_KINDS: Final = {"New": 1, "Update": 2, "Cancel": 3, "Trade": 4}
_STATES: Final = {"New": "0", "Partially Filled": "1", "Filled": "2", "Canceled": "4", "Replaced": "5"}

PRINT: Final = np.dtype(
    [
        ("time_ms", "<i8"),
        ("price_milli", "<i8"),
        ("quantity", "<i8"),
        ("number", "<i8"),
        ("symbol", "<i4"),
        ("buyer", "<i4"),
        ("seller", "<i4"),
        ("side", "i1"),
        ("cross", "?"),
        ("after_market", "?"),
        ("cancelled", "?"),
    ]
)
"""One trade: local time after midnight, price in thousandths, its number in the instrument (10, 20, ...), place of the
instrument in `Tape.symbols`, members, the aggressor (+1, -1, 0 none), whether it is an intentional cross, of the
after-market, and later cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """A session's trades in order of time, and the day.

    Attributes
    ----------
    day : str
    symbols : tuple of str
    prints : (n,) PRINT
    """

    day: str
    symbols: tuple[str, ...]
    prints: NDArray[Any]


def make_tape(books: Mapping[str, BookEvents], *, seed: int = 1, day: str = DAY, cancelled: float = 0.02) -> Tape:
    """The trades of simulated books, one per symbol, with opening and closing calls and an after-market around them.

    What a book trades out of sight is an intentional cross here; a share `cancelled` of all trades is taken back.
    """
    parts = [_prints(place, events, seed) for place, events in enumerate(books.values())]
    prints = np.concatenate(parts)
    prints = prints[np.lexsort((prints["number"], prints["symbol"], prints["time_ms"]))]
    rng = stream(seed, "b3 trades")
    prints["cancelled"] = rng.random(prints.size) < cancelled
    prints["buyer"], prints["seller"] = _MEMBERS[(rng.random((2, prints.size)) * _MEMBERS.size).astype(np.int64)]
    return Tape(day, tuple(books), prints)


def _prints(symbol: int, events: BookEvents, seed: int) -> NDArray[Any]:
    config = events.config
    traded = np.isin(events.kind, (FILL, HIDDEN, CROSS))
    count = int(traded.sum())
    milli = round(config.tick * 1000)
    first, last = round(config.start * 1000), round((config.start + config.seconds) * 1000)
    rng = stream(seed, "b3 trades", str(symbol))
    price = events.price[traded]
    opening, closing = (int(price[at]) if count else round(config.mid / config.tick) for at in (0, -1))
    prints = np.zeros(count + 2 * _CALL_PRINTS + _AFTER_PRINTS, dtype=PRINT)
    prints["symbol"] = symbol
    prints["number"] = 10 * np.arange(1, prints.size + 1)
    call, body = slice(0, _CALL_PRINTS), slice(_CALL_PRINTS, _CALL_PRINTS + count)
    close = slice(body.stop, body.stop + _CALL_PRINTS)
    after = slice(close.stop, None)
    prints["time_ms"][call], prints["price_milli"][call] = first - 5_000, opening * milli
    prints["time_ms"][body], prints["price_milli"][body] = events.time_ns[traded] // 10**6, price * milli
    prints["time_ms"][close], prints["price_milli"][close] = last + 5_000, closing * milli
    prints["time_ms"][after] = last + _AFTER_MARKET_DELAY + np.sort((rng.random(_AFTER_PRINTS) * 60_000).astype("i8"))
    prints["price_milli"][after] = closing * milli
    prints["quantity"] = 100 * (1 + (rng.random(prints.size) * 20).astype(np.int64))
    prints["quantity"][body] = events.size[traded]
    kind = events.kind[traded]
    prints["side"][body] = np.where(kind == FILL, -events.side[traded], 0)
    prints["side"][after] = np.where(rng.random(_AFTER_PRINTS) < 0.5, 1, -1)
    prints["cross"][body] = kind == HIDDEN
    prints["after_market"][after] = True
    return prints


def write_trades(path: Path, tape: Tape, *, columns: int = 11, seed: int = 1, test_rows: int = 5) -> Path:
    """The file of today's format: 9 columns with the old names, 11 with members, 12 with the channel; `.zip` is zipped.

    A cancel repeats its trade some seconds later; a tenth of them stand before their trades. The after-market has
    session type 6. `test_rows` trades of a test instrument are at the end.
    """
    names = {9: _OLD_NAMES, 11: _NEW_NAMES[:11], 12: _NEW_NAMES}.get(columns)
    if names is None:
        raise ValueError(f"columns must be 9, 11 or 12; was {columns}")
    lines = [";".join(names), *(line for _, line in sorted(_trade_lines(tape, columns, seed), key=lambda one: one[0]))]
    for number in range(test_rows):
        row = (
            tape.day,
            TEST_SYMBOL,
            "0",
            "11,000",
            "10",
            "022946807",
            str(10 * number + 10),
            "1",
            tape.day,
            "",
            "",
            "1",
        )
        lines.append(";".join(row[:columns]))
    return _write(path, "\n".join(lines) + "\n", f"{tape.day[8:]}-{tape.day[5:7]}-{tape.day[:4]}_NEGOCIOSAVISTA.txt")


def _trade_lines(tape: Tape, columns: int, seed: int) -> Iterator[tuple[int, str]]:
    """(place in the file, line) of every trade and cancel."""
    draws = stream(seed, "b3 trades", "cancels").random(tape.prints.size)
    for place, (row, draw) in enumerate(zip(tape.prints.tolist(), draws.tolist(), strict=True)):
        time, price, quantity, number, symbol, buyer, seller, _, _, after, cancelled = row
        clock = f"{time // 3_600_000:02d}{time // 60_000 % 60:02d}{time // 1000 % 60:02d}{time % 1000:03d}"
        head = f"{tape.day};{tape.symbols[symbol]};"
        tail = (
            f";{price // 1000},{price % 1000:03d};{quantity};{clock};{number};{6 if after else 1};{tape.day}"
            + (f";{buyer};{seller}" if columns > 9 else "")
            + (";1" if columns > 11 else "")
        )
        yield 2 * place, f"{head}0{tail}"
        if cancelled:
            later = 2 * place + 1 + 2 * int(50 * draw)
            yield (2 * place - 1 if draw > 0.9 else later), f"{head}2{tail}"


def write_old_trades(path: Path, tape: Tape) -> Path:
    """The file NEG_ of before 2019: grouped by instrument, aggressor flags, crosses, cancelled trades marked by a 2."""
    lines = []
    order = np.lexsort((np.arange(tape.prints.size), tape.prints["symbol"]))
    for place, row in enumerate(tape.prints[order].tolist(), start=1):
        time, price, quantity, number, symbol, buyer, seller, side, cross, _, cancelled = row
        clock = f"{time // 3_600_000:02d}:{time // 60_000 % 60:02d}:{time // 1000 % 60:02d}.{time % 1000:03d}"
        buy, sell = {1: (1, 2), -1: (2, 1), 0: (2, 2)}[side]
        lines.append(
            f"{tape.day};{tape.symbols[symbol]:<50};{number:010d}; {price // 1000:012d}.{price % 1000:03d}000;"
            f"{quantity:018d};{clock};{2 if cancelled else 1};{tape.day};{80_000_000_000 + place:015d};"
            f"{2 * place:015d};{buy};{tape.day};{90_000_000_000 + place:015d};{2 * place + 1:015d};{sell};"
            f"{int(cross)};{buyer:08d};{seller:08d}"
        )
    return _write(path, _framed("NEG", tape.day, lines), f"NEG_{tape.day.replace('-', '')}.TXT")


def write_raw_orders(folder: Path, events: BookEvents, *, symbol: str = "SYNT3F", day: str = DAY) -> tuple[Path, Path]:
    """The pair OFER_CPA_, OFER_VDA_ of a book: the rows of `write_ofer` in the fixed widths of the raw files."""
    decoded = write_ofer(folder / ".decoded.csv", events, symbol=symbol, day=day)
    rows = decoded.read_text(encoding="ascii").splitlines()[1:]
    decoded.unlink()
    paths = []
    for name, word in (("OFER_CPA", "Buy"), ("OFER_VDA", "Sell")):
        lines = [_raw_order(row) for row in rows if row.split(",")[2] == word]
        path = folder / f"{name}_{day.replace('-', '')}.TXT"
        paths.append(_write(path, _framed(name, day, lines), path.name))
    return paths[0], paths[1]


def _raw_order(row: str) -> str:
    day, symbol, side, order, second, what, clock, _, price, total, traded, moment, state, flag, member = row.split(",")
    return (
        f"{day};{symbol:<50};{1 if side == 'Buy' else 2};{int(float(order)):015d};{int(second):015d};"
        f"{_KINDS[what]:03d};{clock};0000000000; {float(price):019.6f};{int(float(total)):018d};"
        f"{int(float(traded)):018d};{day};{moment};{_STATES[state]};{flag};{int(member):08d}"
    )


def _framed(name: str, day: str, lines: list[str]) -> str:
    edge = f"{name:<20}{day} {day} {len(lines) + 2:09d}"
    return "\n".join([f"RH {edge}", *lines, f"RT {edge}"]) + "\n"


def _write(path: Path, text: str, member: str) -> Path:
    if path.suffix.lower() != ".zip":
        path.write_text(text, encoding="latin-1", newline="")
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(member, _ZIP_TIME), text.encode("latin-1"), zipfile.ZIP_DEFLATED)
    return path
