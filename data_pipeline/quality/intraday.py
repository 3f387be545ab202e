"""The verdict on one instrument's day of trades and quotes: a score, a light, and what is wrong in words.

The score is the share of the day that can be used: of the time in which the venue trades, the part without silences,
crossed or one-sided quotes; times the share of rows without a defect of their own. What a reader had to drop or repair
(sequence breaks, cancelled trades without a trade, ...) is in the lineage of the store and comes with its counts.

    red     score below `RED_SCORE`, or the day covers less than half of the session
    amber   score below `AMBER_SCORE`, or any problem: a silence (of everything, of the trades alone, of the quotes
            alone), a spike, crossed, locked or one-sided quotes, more than `MAX_OUTSIDE` of the moments with trades
            outside the quotes, negative latencies, disorder within the feed, trade numbers used twice, prices off the
            tick
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.quality import tape
from data_pipeline.sessions.hours import SessionHours
from data_pipeline.sessions.rules import off_tick, trading_unit

RED_SCORE: Final = 0.80
AMBER_SCORE: Final = 0.98
LEAST_COVER: Final = 0.5
MAX_OUTSIDE: Final = 0.05
QUIET_BEFORE_AUCTION: Final = 60 * tape.SECOND
"""An auction during the day collects orders without a trade for at least so long."""
_ROUND_THE_CLOCK: Final = np.timedelta64(24, "h")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of defect: its name, how many rows or spans it touched, and a sentence."""

    check: str
    count: int
    words: str


@dataclass(frozen=True, slots=True)
class DayVerdict:
    """What one instrument's day is worth.

    Attributes
    ----------
    venue, symbol, session : str
    trades, quotes : int
        Rows.
    score : float
        Usable share of the day, in [0, 1].
    light : str
        "green", "amber" or "red".
    cover : float
        Part of the session between the first and the last row; nan where the hours are not known.
    problems : tuple of Problem
    bursts : tuple of (time, price, trades, quantity, phase)
        Prints of calls and possible auctions during the day; no defect.
    """

    venue: str
    symbol: str
    session: str
    trades: int
    quotes: int
    score: float
    light: str
    cover: float
    problems: tuple[Problem, ...]
    bursts: tuple[tuple[str, float, int, float, str], ...]

    def words(self) -> str:
        """The verdict as a sentence."""
        found = ": " + "; ".join(problem.words for problem in self.problems) if self.problems else ""
        return f"quality of the day's data: {self.light}, score {self.score:.3f}{found}."

    def record(self) -> Record:
        """The verdict in plain JSON types."""
        return {
            "venue": self.venue,
            "instrument": self.symbol,
            "session": self.session,
            "trades": self.trades,
            "quotes": self.quotes,
            "score": round(self.score, 6),
            "light": self.light,
            "cover": None if np.isnan(self.cover) else round(self.cover, 6),
            "problems": "; ".join(problem.words for problem in self.problems),
        }


@dataclass(slots=True)
class _Findings:
    problems: list[Problem] = field(default_factory=list)
    spans: list[tape.Times] = field(default_factory=list)
    bad_rows: int = 0

    def add(self, check: str, count: int, words: str) -> None:
        if count:
            self.problems.append(Problem(check, int(count), words))


def judge_day(
    venue: str,
    symbol: str,
    session: str,
    trades: pa.Table,
    quotes: pa.Table,
    hours: SessionHours | None,
    told: Sequence[Problem] = (),
) -> DayVerdict:
    """The verdict on one instrument's day.

    Parameters
    ----------
    trades, quotes : pyarrow.Table
        Of the tables `trades` and `quotes`, this symbol and session only; either may be empty.
    hours : SessionHours or None
        None where the venue's hours of that time are not known: the day is then what the rows span.
    told : sequence of Problem
        What was found before.
    """
    found = _Findings(list(told))
    trade_times, quote_times = _times(trades), _times(quotes)
    every = np.sort(np.concatenate([trade_times, quote_times]))
    start, end = _span(every, hours)
    round_the_clock = hours is not None and hours.continuous.end - hours.continuous.start == _ROUND_THE_CLOCK
    inside = every[(every >= start) & (every <= end)]
    whole = max(1, end - start)
    cover = float(inside[-1] - inside[0]) / whole if inside.size else 0.0
    partial = hours is not None and not round_the_clock and cover < LEAST_COVER
    if (round_the_clock or partial) and inside.size:
        # a record of a part of the day is judged over that part; how small it is counts once, below
        start, end = int(inside[0]), int(inside[-1])
    _look_at_silences(found, every, {"trades": trade_times, "quotes": quote_times}, start, end)
    if hours is not None and not round_the_clock and trade_times.size:
        outside = int((hours.phase_of(trade_times.astype("datetime64[ns]")) < 0).sum())
        found.bad_rows += outside
        found.add("hours", outside, f"{outside:,} trade(s) outside of every phase of the session")
    _look_at_trades(found, venue, symbol, trades, trade_times)
    _look_at_quotes(found, quotes, quote_times, trades, trade_times, start, end)
    _look_at_clocks(found, trades, "trades")
    _look_at_clocks(found, quotes, "quotes")
    lost = tape.covered(found.spans, start, end) / max(1, end - start)
    rows = trades.num_rows + quotes.num_rows
    score = (1.0 - lost) * (1.0 - found.bad_rows / max(1, rows)) if rows else 0.0
    if partial:
        found.add("cover", 1, f"the rows cover {cover:.1%} of the session")
        score *= cover
    red = score < RED_SCORE or partial
    return DayVerdict(
        venue=venue,
        symbol=symbol,
        session=session,
        trades=trades.num_rows,
        quotes=quotes.num_rows,
        score=score,
        light="red" if red else "amber" if score < AMBER_SCORE or found.problems else "green",
        cover=float("nan") if hours is None else cover,
        problems=tuple(found.problems),
        bursts=_bursts(trades, trade_times, hours),
    )


def _span(every: tape.Times, hours: SessionHours | None) -> tuple[int, int]:
    if hours is not None:
        phase = hours.continuous
        return int(phase.start.astype(np.int64)), int(phase.end.astype(np.int64))
    return (int(every[0]), int(every[-1])) if every.size else (0, 0)


def _look_at_silences(
    found: _Findings, every: tape.Times, streams: Mapping[str, tape.Times], start: int, end: int
) -> None:
    """Silences of everything, then those of the trades while quotes came, and of the quotes while trades came."""
    quiet = tape.silences(every, start, end)
    found.spans.append(quiet)
    found.add("silence", len(quiet), f"{len(quiet)} silence(s), the longest {_longest(quiet)}")
    if not all(times.size for times in streams.values()):
        return
    for name, times in streams.items():
        alone = tape.silences(times, start, end)
        fresh = [2 * tape.covered([quiet], int(a), int(b)) < b - a for a, b in alone]
        alone = alone[np.array(fresh, dtype=np.bool_)]
        found.spans.append(alone)
        found.add(
            f"{name} silence", len(alone), f"{len(alone)} silence(s) of the {name} alone, the longest {_longest(alone)}"
        )


def _longest(spans: tape.Times) -> str:
    return f"{float((spans[:, 1] - spans[:, 0]).max()) / tape.SECOND:,.0f} s" if spans.size else "0 s"


def _look_at_trades(found: _Findings, venue: str, symbol: str, trades: pa.Table, times: tape.Times) -> None:
    if trades.num_rows == 0:
        return
    regular = np.asarray(pc.equal(trades["condition"], "regular").to_numpy(zero_copy_only=False), dtype=np.bool_)
    price = trades["price"].to_numpy()
    jumps = tape.spikes(price[regular])
    found.bad_rows += jumps.size
    found.add("spike", jumps.size, f"{jumps.size:,} price(s) far from the trades before and after")
    ids = trades["trade_id"].drop_null()
    repeated = len(ids) - len(ids.unique())
    found.bad_rows += repeated
    found.add("repeated_id", repeated, f"{repeated:,} trade number(s) used twice")
    if venue == "B3":
        try:
            tick = trading_unit(symbol).tick
        except ValueError:
            return
        off = int(off_tick(price[regular], tick).sum())
        found.bad_rows += off
        found.add("tick", off, f"{off:,} price(s) off the tick of {tick:g}")


def _look_at_quotes(
    found: _Findings,
    quotes: pa.Table,
    times: tape.Times,
    trades: pa.Table,
    trade_times: tape.Times,
    start: int,
    end: int,
) -> None:
    if quotes.num_rows == 0:
        return
    bid, ask = (quotes[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("bid", "ask"))
    spans = tape.quote_spans(times, bid, ask, end)
    for name, part in (("crossed", spans.crossed), ("one-sided", spans.one_sided)):
        seconds = tape.covered([part], start, end) / tape.SECOND
        found.spans.append(part)
        if seconds > 0.0:
            found.add(name, len(part), f"{name} quotes for {seconds:,.3g} s")
    locked = tape.covered([spans.locked], start, end) / tape.SECOND
    if locked > 0.0:
        found.add("locked", len(spans.locked), f"locked quotes (bid equal to ask) for {locked:,.3g} s")
    outside, compared = _outside_quotes(trades, trade_times, times, bid, ask)
    if compared and outside > MAX_OUTSIDE * compared:
        words = f"at {outside / compared:.1%} of the moments every trade lies outside the quotes before and after"
        found.add("outside", outside, words)


def _outside_quotes(
    trades: pa.Table, trade_times: tape.Times, times: tape.Times, bid: NDArray[np.float64], ask: NDArray[np.float64]
) -> tuple[int, int]:
    """Moments at which every regular trade lies outside the quotes before and the next ones; and how many have both.

    Only the first trade of an order that goes through several levels is at the quote.
    """
    if trades.num_rows == 0:
        return 0, 0
    regular = np.asarray(pc.equal(trades["condition"], "regular").to_numpy(zero_copy_only=False), dtype=np.bool_)
    price, moments = trades["price"].to_numpy()[regular], trade_times[regular]
    before = np.searchsorted(times, moments, side="left") - 1
    after = np.searchsorted(times, moments, side="right")
    known = (before >= 0) & (after < times.size)
    before, after, price, moments = before[known], after[known], price[known], moments[known]
    if price.size == 0:
        return 0, 0
    low, high = np.fmin(bid[before], bid[after]), np.fmax(ask[before], ask[after])
    first = np.flatnonzero(np.concatenate(([True], np.diff(moments) != 0)))
    apart = np.logical_and.reduceat((price < low) | (price > high), first)
    return int(apart.sum()), int(first.size)


def _look_at_clocks(found: _Findings, rows: pa.Table, name: str) -> None:
    if rows.num_rows == 0:
        return
    known = rows["local_time"].is_valid().to_numpy(zero_copy_only=False)
    exchange, sequence = _times(rows), rows["sequence"].to_numpy()
    local = rows["local_time"].cast(pa.int64()).fill_null(0).to_numpy()
    check = tape.clocks(exchange[known], local[known], sequence[known])
    found.add(
        f"{name} clock",
        check.negative,
        f"{check.negative:,} of {check.compared:,} {name} received before they were sent "
        f"(median {check.median_seconds:+.3f} s): the receiver's clock is wrong",
    )
    disorder = tape.clocks(exchange, np.empty(0), sequence).disordered
    found.add(f"{name} order", disorder, f"{disorder:,} {name} with a time before that of the row above them")


def _bursts(
    trades: pa.Table, times: tape.Times, hours: SessionHours | None
) -> tuple[tuple[str, float, int, float, str], ...]:
    made = []
    for burst in tape.bursts(times, trades["price"].to_numpy(), trades["quantity"].to_numpy()):
        moment = np.array([burst.time]).astype("datetime64[ns]")
        place = -1 if hours is None else int(hours.phase_of(moment)[0])
        phase = "unknown" if hours is None or place < 0 else str(hours.phases[place].name)
        if phase == "continuous" and burst.quiet < QUIET_BEFORE_AUCTION:
            continue
        made.append((str(moment[0]), burst.price, burst.trades, burst.quantity, phase))
    return tuple(made)


def _times(rows: pa.Table) -> tape.Times:
    times: tape.Times = rows["time"].cast(pa.int64()).to_numpy()
    return times
