"""Does a maker get the same fills in hftbacktest 2.4.4 as here? Where not: why, shown by taking the cause out.

    python -m venv venv-hft && venv-hft/bin/pip install hftbacktest==2.4.4
    FAIRFIELD_HFTBACKTEST=venv-hft/bin/python python benchmarks/compare_fills.py [--events N] [--capture CAPTURE.gz]

The same feed, the same maker (one order a side, a tick off the mid, at most 5 lots, looked at each 100, 10 or 1 ms),
the same constant latency, each of hftbacktest's queue models, its exchange without partial fills = ours with
sizes="whole". Position and mid are compared at every step of the clock, cash at the end. Four causes make differences:

own orders    hftbacktest lets an own bid rest at or above an own ask; here it is rejected (own orders do not trade
              with each other). Taken out by a maker that never sends one.
front         where a withdrawal takes its estimate of what is ahead below zero, hftbacktest keeps the negative number,
              and the next withdrawal can put the order behind others again (its logarithm of a negative number: at the
              back); here nothing is ahead, and stays so. Taken out by giving the plain simulator its formula.
crossed book  an update that crosses its other side makes hftbacktest drop that side's best; here the book is what the
              feed said. Shown on a feed that lost some deletions; taken out by deleting what an update reaches.
partial       its exchange with partial fills stops with error 14 (its issues 301, 312) and does not book partial fills
              (316): there is nothing to compare but how far it came.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from events_feed import INSTRUMENT, maker_rule, simulated_feed
from events_peers import HFT, QUEUES, hft_wish, interpreter, run_child

from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.settings import FillSettings, Latency, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import BUY, DEPTH, KIND_MASK, SELL
from strategies.intraday.rule import LIMIT, POST_ONLY, Instrument

SIMULATOR = Path(__file__).resolve().parents[1] / "tests" / "backtests" / "intraday"
HEAD = "| feed | queue | each | orders | fills | theirs | cash, ticks x lots | theirs | steps equal |"


@dataclass(frozen=True)
class Case:
    """One feed with its instrument, at a queue model and a maker's step."""

    feed: str
    events: np.ndarray
    path: Path
    instrument: Instrument
    queue: str
    interval: int
    post_only: bool = True
    apart: bool = True
    partial: bool = False


def queue_of(name: str) -> QueueModel:
    """Our queue model of a name."""
    if name == "pessimistic":
        return QueueModel()
    shape, version = name.split()
    return QueueModel("probabilistic", shape=shape, exponent=3.0, version=int(version))  # type: ignore[arg-type]


def their_run(python: str, case: Case, start: int, folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What hftbacktest's maker did, and its state at each step."""
    steps = int((case.events["local_ts"][-1] - start) // case.interval) + 10
    tick, lot = case.instrument.tick_size, case.instrument.lot_size
    wish = hft_wish(
        case.path, folder / "steps.npy", queue=case.queue, interval=case.interval, start=start, rows=steps, lot=lot,
        tick=tick, post_only=case.post_only, apart=case.apart, partial=case.partial, lots=3 if case.partial else 1,
        roi=[float(x) for x in (case.events["px"].min() * 0.5, case.events["px"].max() * 2)],
    )  # fmt: skip
    result = run_child(python, HFT, wish)
    return result, np.load(folder / "steps.npy")


def our_arguments(case: Case, start: int, steps: int) -> tuple[Any, ...]:
    """The arguments of a simulation with as many steps."""
    stop = start + (steps - 1) * case.interval + 1
    rule = maker_rule(
        case.interval, kind=POST_ONLY if case.post_only else LIMIT, apart=case.apart, lots=3 if case.partial else 1
    )
    fills = FillSettings(
        queue_of(case.queue),
        Latency("constant", 1_000_003, 1_000_007),
        limits=OwnLimits(1_000, 1_000),
        sizes="traded" if case.partial else "whole",
    )
    return case.events, rule, case.instrument, TradingSpan(start, stop, stop, (), "mark"), fills


def start_of(events: np.ndarray) -> int:
    """The first step: a second after the first event, on a whole millisecond and half a microsecond: ties are rare."""
    return (int(events["local_ts"][0]) + 1_000_000_000) // 1_000_000 * 1_000_000 + 500


def equal_steps(ours: SessionOutcome, theirs: np.ndarray) -> tuple[int, int]:
    """Steps at which position and mid are the same, and steps compared."""
    count = min(ours.samples.size, len(theirs))
    same = (ours.samples["position"][:count] == theirs[:count, 1]) & (ours.samples["mid2"][:count] == theirs[:count, 4])
    return int(same.sum()), count


def compare(python: str, case: Case, folder: Path) -> tuple[bool, SessionOutcome]:
    """Print a row; whether all steps are equal, and cash and fills too."""
    start = start_of(case.events)
    result, theirs = their_run(python, case, start, folder)
    ours = simulate_session(*our_arguments(case, start, result["steps"]), source="l2")
    same, count = equal_steps(ours, theirs)
    known = ours.fills["local_ts"] <= start + (count - 1) * case.interval
    mine = int((-ours.fills["side"] * ours.fills["tick"] * ours.fills["lots"])[known].sum())
    cash, trades = round(theirs[count - 1, 2] / case.instrument.tick_value), int(theirs[count - 1, 3])
    feed = case.feed + ("" if case.post_only else ", not post-only")
    print(
        f"| {feed} | {case.queue} | {case.interval / 1e6:g} ms | {result['orders']:,} | {int(known.sum()):,} "
        f"| {trades:,} | {mine:,} | {cash:,} | {same:,} of {count:,} |",
        flush=True,
    )
    return same == count and mine == cash and int(known.sum()) == trades, ours


def explain_front(python: str, case: Case, folder: Path) -> bool:
    """The plain simulator with hftbacktest's formula of what is ahead: whether all steps are equal."""
    sys.path.insert(0, str(SIMULATOR))
    import plain_simulator

    class TheirPlaces(plain_simulator.Session):
        """What is ahead as hftbacktest 2.4.4 has it, negative numbers and those that are none included."""

        def moved(self, own: Any, change: Any, traded: float) -> float:
            queue, ahead = self.settings.queue, np.float64(own.ahead)
            d = np.float64(change.before - change.after - traded)
            if d < 0:
                return float(min(ahead, change.after))
            behind = change.before - ahead
            with np.errstate(all="ignore"):
                power = queue.shape == "power"
                f = (lambda x: x**queue.exponent) if power else (lambda x: np.log(1.0 + x))
                if queue.version == 1:
                    share = f(behind) / (f(behind) + f(ahead))
                elif queue.version == 2:
                    share = f(behind) / f(behind + ahead)
                else:
                    share = 1.0 - f(ahead / (ahead + behind))
            share = 1.0 if np.isinf(share) else share
            rest = behind - share * d
            estimate = ahead - (1.0 - share) * d + (0.0 if np.isnan(rest) else min(rest, 0.0))
            return float(change.after if np.isnan(estimate) else min(estimate, change.after))

    start = start_of(case.events)
    result, theirs = their_run(python, case, start, folder)
    events, rule, instrument, span, fills = our_arguments(case, start, result["steps"])
    session = TheirPlaces(rule, instrument, span, fills, "l2", 1)
    session.run(events)
    positions = np.array([row[2] for row in session.samples])
    count = min(positions.size, len(theirs))
    same = int((positions[:count] == theirs[:count, 1]).sum())
    print(
        f"{case.queue}, {case.events.size:,} events, the plain simulator with its formula: {same:,} of {count:,} equal"
    )
    return same == count


def capture_events(path: Path) -> np.ndarray:
    """The events of a Binance futures capture, as its converter makes them."""
    from compare_hftbacktest import exported

    with tempfile.TemporaryDirectory() as folder:
        return exported(path, Path(folder) / "events.npz")


def without_some_deletions(events: np.ndarray) -> np.ndarray:
    """The feed of a receiver that lost one deletion of a level in fifty: stale levels cross the book."""
    lost = (events["qty"] == 0) & (np.random.default_rng(1).random(events.size) < 0.02)
    return events[~lost]


def with_crossed_levels_deleted(events: np.ndarray) -> np.ndarray:
    """The events, with a deletion of each level that an update of the other side reaches, right before the update."""
    levels: tuple[dict[int, float], dict[int, float]] = ({}, {})
    rows: list[np.void] = []
    ticks = np.rint(events["px"] / INSTRUMENT.tick_size).astype(np.int64).tolist()
    for row, at, flags, quantity in zip(events, ticks, events["ev"].tolist(), events["qty"].tolist(), strict=True):
        if flags & KIND_MASK == DEPTH:
            side = 0 if flags & BUY else 1
            if quantity > 0:
                levels[side][at] = quantity
                reached = [t for t in levels[1 - side] if (t <= at if side == 0 else t >= at)]
                for tick in sorted(reached, reverse=side == 1):
                    del levels[1 - side][tick]
                    deletion = row.copy()
                    deletion["ev"], deletion["qty"] = flags ^ (BUY | SELL), 0.0
                    deletion["px"] = tick / 10.0
                    rows.append(deletion)
            else:
                levels[side].pop(at, None)
        rows.append(row)
    return np.array(rows, dtype=events.dtype)


def main() -> int:
    """Run the comparison, or say why there is none; the number of rows that differ without a cause."""
    parser = argparse.ArgumentParser(description="Compare fills with hftbacktest.")
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--explained", type=int, default=60_000, help="events of the plain simulator")
    parser.add_argument("--capture", type=Path, help="a gzipped Binance futures capture")
    chosen = parser.parse_args()
    python = interpreter("FAIRFIELD_HFTBACKTEST")
    if python is None:
        return 0
    unexplained = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def made(feed: str, events: np.ndarray, instrument: Instrument, queue: str, interval: int, **more: Any) -> Case:
            path = folder / "events.npz"
            np.savez(path, data=events)
            return Case(feed, events, path, instrument, queue, interval, **more)

        events = simulated_feed(chosen.events)
        print(HEAD + "\n" + "|---|---|" + "--:|" * 7)
        differing = set()
        for queue in QUEUES:
            for interval in (100_000_000, 10_000_000, 1_000_000):
                for post_only in (True, False) if interval == 100_000_000 else (True,):
                    case = made("simulated", events, INSTRUMENT, queue, interval, post_only=post_only)
                    if not compare(python, case, folder)[0]:
                        differing.add(queue)
        stale = without_some_deletions(events[: chosen.events // 4])
        compare(python, made("simulated, deletions lost", stale, INSTRUMENT, "pessimistic", 10_000_000), folder)
        mended = with_crossed_levels_deleted(stale)
        case = made("the same, crossed levels deleted", mended, INSTRUMENT, "pessimistic", 10_000_000)
        unexplained += not compare(python, case, folder)[0]
        crossing = made("simulated, own orders may cross", events, INSTRUMENT, "pessimistic", 1_000_000, apart=False)
        _, ours = compare(python, crossing, folder)
        print(
            f"\nown orders: {ours.counts['rejected_form']} rejected here in the last row; none and equal in those above"
        )
        part = simulated_feed(chosen.explained)
        for queue in sorted(differing):
            unexplained += not explain_front(python, made("", part, INSTRUMENT, queue, 10_000_000), folder)
        partial, _ = their_run(
            python, made("", part, INSTRUMENT, "pessimistic", 100_000_000, partial=True), start_of(part), folder
        )
        print(f"partial: its exchange with partial fills ended after {partial['steps']} steps with {partial['ended']}")
        if chosen.capture is not None:
            real = capture_events(chosen.capture)
            instrument = Instrument("BTCUSDT", "BINANCE_USDM", 0.1, 0.001)
            print(f"\n{HEAD}\n|---|---|" + "--:|" * 7)
            for queue in QUEUES:
                unexplained += not compare(python, made("capture", real, instrument, queue, 10_000_000), folder)[0]
    return unexplained


if __name__ == "__main__":
    sys.exit(main())
