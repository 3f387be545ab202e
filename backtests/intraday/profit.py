"""Where a session's profit came from, exactly: integers of half a tick times a lot, fees apart.

Every fill is measured against the mid m just before it. With x the position after fill i and M the mid at which what is
left is marked,

    2 cash + x M  =  sum side lots (m_i - 2 tick)            what each fill was away from the mid:  captured or paid
                  +  sum x_i (m_{i+1} - m_i), the last to M   what the mid did to the position:      inventory

because the position's changes summed by parts give the second sum. It also is, fill by fill, side lots (M - m_i), which
a horizon h cuts into the move until h after the fill (adverse selection, of resting fills) and the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import BY_AUCTION, BY_LIQUIDATION, NO_MID, SessionOutcome
from backtests.intraday.quote_path import QuotePath
from strategies.intraday.rule import Instrument

Ints = NDArray[np.int64]
SECOND: Final = 1_000_000_000
HORIZONS: Final = (1.0, 5.0, 10.0, 60.0)
_EXACT: Final = Context(prec=120, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class ProfitSplit:
    """Profit of a session in half ticks x lots, exactly: `captured + auctioned + crossed + liquidated + inventory`.

    Attributes
    ----------
    instrument : Instrument
    horizons : tuple of float
        Seconds.
    captured : int
        Resting fills: how far from the mid they were, above 0 where better than the mid.
    auctioned : int
        Fills in auctions, the same measure.
    crossed, liquidated : int
        Fills that crossed the spread, by the rule and at the end of the session: below 0, what was paid through the
        mid. Their impact.
    walked : int
        Of these two, what was paid beyond the first price that each order met.
    inventory : int
        What the mid did to the position held.
    adverse : tuple of int
        Part of `inventory`: moves of the mid until each horizon after resting and auction fills (below 0: against
        the maker), cut at the end of the session.
    followed : tuple of int
        The same after fills that crossed.
    marked : int
        2 cash + position x mid is realised but for the position's value; this is that value, position x mid.
    position : int
        Lots that are marked: 0 after a complete liquidation, and then no mid enters the profit.
    fee_micros : int
        Fees paid, millionths of a unit of money.
    fills, without_mid : int
        Fills, and those of them that had no mid before them: measured against the last one, or where there was none
        against their own price.
    """

    instrument: Instrument
    horizons: tuple[float, ...]
    captured: int
    auctioned: int
    crossed: int
    liquidated: int
    walked: int
    inventory: int
    adverse: tuple[int, ...]
    followed: tuple[int, ...]
    marked: int
    position: int
    fee_micros: int
    fills: int
    without_mid: int

    @property
    def gross(self) -> int:
        """Half ticks x lots before fees: twice the cash plus position times twice the mid."""
        return self.captured + self.auctioned + self.crossed + self.liquidated + self.inventory

    @property
    def held(self) -> tuple[int, ...]:
        """The inventory's part beyond each horizon: `inventory - adverse - followed`."""
        return tuple(self.inventory - a - f for a, f in zip(self.adverse, self.followed, strict=True))

    def money(self) -> dict[str, Decimal]:
        """Every part in money, exact, fees with their sign turned; `profit` is their sum.

        Parts that sum: captured, auctioned, crossed, liquidated, inventory, fees. The others are parts of these:
        walked; adverse, followed and held after each horizon (`adverse_10s`); marked.
        """
        worth = half_tick_value(self.instrument)
        halves = {name: getattr(self, name) for name in (*_SUMMED, "walked", "marked")}
        for name in ("adverse", "followed", "held"):
            for horizon, value in zip(self.horizons, getattr(self, name), strict=True):
                halves[f"{name}_{horizon:g}s"] = value
        parts = {name: _EXACT.multiply(Decimal(value), worth) for name, value in halves.items()}
        parts["fees"] = _EXACT.scaleb(Decimal(-self.fee_micros), -6)
        parts["profit"] = total(parts[name] for name in (*_SUMMED, "fees"))
        return parts


_SUMMED: Final = ("captured", "auctioned", "crossed", "liquidated", "inventory")
PARTS: Final = (*_SUMMED, "fees")
"""The parts whose sum is the profit."""


def profit_split(
    outcome: SessionOutcome, path: QuotePath | None = None, horizons: Sequence[float] = HORIZONS
) -> ProfitSplit:
    """The parts of an outcome's profit; they add up to it exactly.

    Parameters
    ----------
    outcome : SessionOutcome
    path : QuotePath, optional
        The mids at the horizons, and where the engine saw none (one side empty, trades alone) those before fills and at
        the end. Without it no horizons.
    horizons : sequence of float
        Seconds after a fill, rising.

    Raises
    ------
    ValueError
        When the outcome's cash or position is not that of its fills, or a horizon is not positive.
    """
    checked = checked_horizons(horizons) if path is not None else ()
    fills = outcome.fills
    _check_ledger(outcome)
    mids, without = fill_mids(outcome, path)
    signed = fills["side"] * fills["lots"]
    final = final_mid(outcome, path)
    if outcome.position and final == NO_MID:
        raise ValueError("a position is left and there is no mid to mark it at: liquidate it, or give a path with one")
    last = mids[-1:] if final == NO_MID else np.array([final])
    edge = signed * (mids - 2 * fills["tick"])
    liquidation, auction = fills["cause"] == BY_LIQUIDATION, fills["cause"] == BY_AUCTION
    taker = (fills["maker"] == 0) & ~auction
    moves = np.diff(np.r_[mids, last])
    adverse, followed = [], []
    for horizon in checked:
        assert path is not None
        after = signed * (_later(path, fills["exch_ts"], horizon, mids, last) - mids)
        adverse.append(int(after[~taker].sum()))
        followed.append(int(after[taker].sum()))
    return ProfitSplit(
        instrument=outcome.instrument,
        horizons=checked,
        captured=int(edge[~taker & ~auction].sum()),
        auctioned=int(edge[auction].sum()),
        crossed=int(edge[taker & ~liquidation].sum()),
        liquidated=int(edge[taker & liquidation].sum()),
        walked=_walked(fills[taker]),
        inventory=int((np.cumsum(signed) * moves).sum()),
        adverse=tuple(adverse),
        followed=tuple(followed),
        marked=outcome.position * final if outcome.position else 0,
        position=int(outcome.position),
        fee_micros=round(outcome.fees * 1e6),
        fills=int(fills.size),
        without_mid=without,
    )


def fill_mids(outcome: SessionOutcome, path: QuotePath | None = None) -> tuple[Ints, int]:
    """(n,) half ticks: the mid before each fill, and how many fills the book had none for.

    These get the last mid before them (of the path, or of the fills above); failing that, their own price.
    """
    fills = outcome.fills
    mids = fills["mid2"].astype(np.int64)
    missing = mids == NO_MID
    if not missing.any():
        return mids, 0
    if path is not None:
        mids = np.where(missing, path.before(fills["exch_ts"]), mids)
    known = np.maximum.accumulate(np.where(mids != NO_MID, np.arange(mids.size), -1))
    carried = np.where(known >= 0, mids[np.maximum(known, 0)], 2 * fills["tick"])
    return np.where(mids == NO_MID, carried, mids), int(missing.sum())


def final_mid(outcome: SessionOutcome, path: QuotePath | None) -> int:
    """Half ticks at which what is left is marked: the engine's last mid, or the path's where it had none."""
    if outcome.last_mid2 == NO_MID and path is not None and path.mid2.size:
        return int(path.mid2[-1])
    return int(outcome.last_mid2)


def half_tick_value(instrument: Instrument) -> Decimal:
    """Money of half a tick on one lot, exact in the decimal texts of the instrument's sizes."""
    worth = Decimal("0.5")
    for size in (instrument.tick_size, instrument.lot_size, instrument.multiplier):
        worth = _EXACT.multiply(worth, Decimal(repr(float(size))))
    return worth


def total(values: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    found = Decimal(0)
    for value in values:
        found = _EXACT.add(found, value)
    return found


def total_money(splits: Iterable[ProfitSplit]) -> dict[str, Decimal]:
    """Every part in money summed over sessions and instruments, exactly.

    Raises
    ------
    ValueError
        When there are none, or their horizons differ.
    """
    parts = [split.money() for split in splits]
    if not parts or any(part.keys() != parts[0].keys() for part in parts):
        raise ValueError("splits must be at least one, all with the same horizons")
    return {name: total(part[name] for part in parts) for name in parts[0]}


def checked_horizons(horizons: Sequence[float]) -> tuple[float, ...]:
    """The horizons as floats; ValueError unless they are positive and rising."""
    found = tuple(float(horizon) for horizon in horizons)
    if any(not 0 < horizon < np.inf for horizon in found) or list(found) != sorted(set(found)):
        raise ValueError(f"horizons must be positive seconds, rising; was {horizons!r}")
    return found


def _later(path: QuotePath, times: Ints, horizon: float, mids: Ints, last: Ints) -> Ints:
    """The mid a horizon after each time; the last one where the session ends before."""
    after = times + round(horizon * SECOND)
    found = path.at(after)
    found = np.where(found == NO_MID, mids, found)
    return np.where(after > path.until, last if last.size else found, found)


def _walked(fills: NDArray[np.void]) -> int:
    """Half ticks x lots beyond the first price that each crossing order met, below 0."""
    if not fills.size:
        return 0
    first = np.ones(fills.size, dtype=np.bool_)
    first[1:] = (np.diff(fills["order_id"]) != 0) | (np.diff(fills["exch_ts"]) != 0)
    start = fills["tick"][np.maximum.accumulate(np.where(first, np.arange(fills.size), 0))]
    return -2 * int((fills["side"] * fills["lots"] * (fills["tick"] - start)).sum())


def _check_ledger(outcome: SessionOutcome) -> None:
    """Raise ValueError unless the fills give the outcome's cash and its positions."""
    fills = outcome.fills
    signed = fills["side"] * fills["lots"]
    cash, positions = -int((signed * fills["tick"]).sum()), np.cumsum(signed)
    if cash != outcome.cash_ticks:
        raise ValueError(f"outcome.cash_ticks must be that of its fills, {cash}; was {outcome.cash_ticks}")
    wrong = np.flatnonzero(positions != fills["position"])
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(f"position after fill {row} must be {positions[row]}; was {fills['position'][row]}")
    held = int(positions[-1]) if positions.size else 0
    if held != outcome.position:
        raise ValueError(f"outcome.position must be that of its fills, {held}; was {outcome.position}")
