"""A day of the market from its raw file to quotes of one's own: python examples/day_of_trades.py [FILE SYMBOL TICK]

    raw file -> store -> bars with spread and imbalance -> calibrated game -> quotes

Without a file a book is simulated and written as a Binance capture. Its truth: 3 and 2.4 orders a second, decay 50.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from data_pipeline import Store
from data_pipeline.book.bar_tasks import compute_bars
from data_pipeline.book.from_store import intraday_record
from data_pipeline.ingest import ingest
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture
from mfg_core import MarketMakingEquilibrium, solve_mfg
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.market_calibration import MarketCalibration, calibrate_market_making

Found = tuple[pa.Table, MarketCalibration, MarketMakingEquilibrium]


def study(file: Path, symbol: str, tick: float, place: Path) -> Found:
    """Bars of five minutes, the game that fits the day, and its solution; the store is left in `place`."""
    done = ingest([file], place)
    if done.refused:
        raise SystemExit("\n".join(done.lines()))
    compute_bars(place, ["time:5m"])
    store = Store.open(place)
    bars = store.table("bars", symbols=symbol)
    if not bars.num_rows:
        raise SystemExit(f"{file.name} has no trades of {symbol}")
    venue, session = store.sql("select venue, session from bars order by all limit 1").to_pylist()[0].values()
    day = intraday_record(store, venue, symbol, str(session))
    calibration = calibrate_market_making(
        BookPath(day.quotes.times, day.quotes.bid, day.quotes.ask),
        Trades(day.trades.times, day.trades.price, day.trades.size, day.trades.side),
        tick=tick, max_ticks=40, session_end=day.end, risk_aversion=1e-3,
    )  # fmt: skip
    return bars, calibration, solve_mfg(calibration.game(max_inventory=20, horizon=300.0), rtol=1e-7)


def report(found: Found, tick: float) -> list[str]:
    """What the day was like, what was fitted to it, and what to quote."""
    bars, calibration, equilibrium = found
    lines = ["bar, UTC    trades      close  spread, ticks  imbalance"]
    for row in bars.select(["start", "trades", "close", "spread", "imbalance"]).to_pylist():
        told = [f"{row['close']:10.2f}" if row["trades"] else f"{'-':>10}"]
        told.append(f"{row['spread'] / tick:13.2f}" if row["spread"] is not None else f"{'-':>13}")
        told.append(f"{row['imbalance']:9.2f}" if row["imbalance"] is not None else f"{'-':>9}")
        lines.append(f"{row['start']:%H:%M:%S}  {row['trades']:8,}  " + "  ".join(told))
    for name, value, error in zip(calibration.names, calibration.values, calibration.standard_errors, strict=True):
        lines.append(f"{name:18} {value:12.6g} +- {error:.2g}")
    lines.append("quotes from the mid, ticks")
    for lots in (5, 0, -5):
        bid, ask = equilibrium.policy.quotes(0.0, lots)
        lines.append(f"  inventory {lots:+d}: bid {float(bid) / tick:.2f}  ask {float(ask) / tick:.2f}")
    return lines


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        if len(sys.argv) == 4:
            raw, instrument, step = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
        else:
            book = simulate_book(BookConfig(seconds=1800.0, queue=3, largest_lots=4))
            raw, instrument, step = write_capture(Path(folder) / "synusdt.gz", book), "SYNUSDT", 0.01
        print("\n".join(report(study(raw, instrument, step, Path(folder) / "store"), step)))
