"""`fairfield synthetic-book` for B3's trade and order files, which a store ingests."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Final

from fairfield.stages import console, disk_of, tell

_SYMBOLS: Final = ("SYNT3", "SYNT4", "SYNW11")


def write_b3_files(folder: Path, *, feed: str, seconds: float, seed: int) -> tuple[Path, ...]:
    """Write simulated books as B3's trades of today, its old trades, or its raw pair of order files."""
    from data_pipeline.synthetic.b3_trade_files import make_tape, write_old_trades, write_raw_orders, write_trades
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book

    with console.status(f"simulating order books in {folder}"), disk_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        count = 1 if feed == "b3_raw_orders" else len(_SYMBOLS)
        books = {
            symbol: simulate_book(BookConfig(seed=seed + place, seconds=seconds))
            for place, symbol in enumerate(_SYMBOLS[:count])
        }
        files: tuple[Path, ...]
        if feed == "b3_raw_orders":
            files = write_raw_orders(folder, books[_SYMBOLS[0]], symbol=_SYMBOLS[0])
        else:
            tape = make_tape(books, seed=seed)
            day = tape.day.replace("-", "")
            if feed == "b3_trades":
                name = f"{tape.day[8:]}-{tape.day[5:7]}-{tape.day[:4]}_NEGOCIOSAVISTA.zip"
                files = (write_trades(folder / name, tape, seed=seed),)
            else:
                files = (write_old_trades(folder / f"NEG_{day}.zip", tape),)
    tell(f"{folder}: {', '.join(path.name for path in files)}, {seconds:,.0f} s of {', '.join(books)}")
    tell(f"fairfield ingest {quote(str(folder))}")
    return files
