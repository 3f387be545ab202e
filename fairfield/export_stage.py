"""`fairfield export`: a symbol's market events to a file for hftbacktest."""

from __future__ import annotations

from pathlib import Path

import typer

from data_pipeline.feeds.crypto.hftbacktest_export import export_hftbacktest
from data_pipeline.store import Store


def run_export(
    store: Path | str, output: Path, *, venue: str, symbol: str, start: str, end: str | None, trades: bool, shift: bool
) -> None:
    """Write the events of `symbol` at `venue` from `start` to `end`, and say what the file holds."""
    done = export_hftbacktest(
        Store.open(store), output, venue=venue, symbol=symbol, start=start, end=end, trades=trades, shift=shift
    )
    typer.echo(f"{done.events:,} events of {symbol} at {venue}: {output}")
    if done.trades_added:
        typer.echo(f"{done.trades_added:,} trades were added from the table of trades.")
    if done.shift_ns:
        typer.echo(
            f"the receiver's times were moved later by {done.shift_ns / 1e9:.6f} s: latencies are no measurements."
        )
    elif done.seen_before_they_happened:
        typer.echo(
            f"{done.seen_before_they_happened:,} events have a receiver's time before the exchange's (a wrong clock); "
            "a backtest would see them early; --shift moves the receiver's times."
        )
