"""One series of a future out of its contracts: which one is held when, what holding it earned, adjusted prices.

At the settlement of session t one contract is chosen, with what is known then, and held until that of t + 1:

    held[t] = rule(contracts that settle at t, expiry, open interest of the session before)
    return[t + 1] = S_held[t](t + 1) / (S_held[t](t) C(t + 1)) - 1
    points[t + 1] = S_held[t](t + 1) - S_held[t](t) C(t + 1)

S is the settlement, C the accrual between the sessions: 1, except for DI1, whose PU of the day before B3 carries to the
day by the CDI before it takes the difference ("Especificações do contrato futuro de DI1": the daily settlement is
(PA_t - PA_t-1 FC_t) M). Back-adjusted prices end at the last session's settlement, so they hold as of that session: a
later one changes them all, and nobody at t can have seen those of t + 1.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.sessions.calendar import b3_sessions

Adjustment = Literal["ratio", "difference", "none"]
DI1_FACE: Final = 100_000.0
"""R$ that a DI1 contract is worth at expiry."""
BANK_YEAR: Final = 252


@dataclass(frozen=True, slots=True)
class RollRule:
    """When the next contract takes over.

    Attributes
    ----------
    by : "expiry" or "open_interest"
        "expiry": the nearest contract that expires more than `sessions` sessions after t. "open_interest": of those,
        the one with the most open contracts at the session before t (the nearest on equal numbers, or without any),
        and never back to a nearer one.
    sessions : int
        0: the contract is held up to its last settlement.

    Raises
    ------
    ValueError
        When `by` is neither, or sessions is negative.
    """

    by: Literal["expiry", "open_interest"] = "expiry"
    sessions: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        if self.by not in ("expiry", "open_interest"):
            raise ValueError(f"by must be 'expiry' or 'open_interest'; was {self.by!r}")
        if self.sessions < 0:
            raise ValueError(f"sessions must be 0 or more; was {self.sessions}")


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousFuture:
    """A root's contracts joined, as known at the last session.

    Attributes
    ----------
    sessions : (T,) datetime64[D]
    held : tuple of str
        Contract held from the settlement of each session on.
    settlement : (T,) float64
        Its settlement at that session, unadjusted.
    returns, points : (T,) float64
        From the session before, of the contract held then; 0.0 in row 0. Points are in the quotation.
    rolled : (T,) bool
        Whether the contract changed at the session's settlement.
    adjustment : "ratio", "difference" or "none"
    adjusted : (T,) float64
        Ends at the last settlement; ratios (or differences) between its rows are those of holding and rolling.
    """

    sessions: NDArray[np.datetime64]
    held: tuple[str, ...]
    settlement: NDArray[np.float64]
    returns: NDArray[np.float64]
    points: NDArray[np.float64]
    rolled: NDArray[np.bool_]
    adjustment: Adjustment
    adjusted: NDArray[np.float64]


def continuous_future(
    settlements: pa.Table,
    root: str,
    *,
    roll: RollRule | None = None,
    adjustment: Adjustment = "ratio",
    as_of: datetime.date | None = None,
    open_interest: pa.Table | None = None,
    accrual: Mapping[datetime.date, float] | None = None,
) -> ContinuousFuture:
    """The contracts of a root as one series, with what was known at `as_of`.

    Parameters
    ----------
    settlements : pyarrow.Table
        Table settlements of the store: session, symbol, root, expiry and settlement are read.
    root : str
        E.g. "DOL".
    roll : RollRule, optional
        By expiry with 0 sessions when not given.
    adjustment : "ratio", "difference" or "none"
    as_of : date, optional
        Last session that is used; all when not given.
    open_interest : pyarrow.Table, optional
        Table price_reports (session, symbol, open_interest), for the rule "open_interest".
    accrual : mapping of date to float, optional
        C of each session after the first: what 1 R$ at the session before grew to. DI1 needs it (`di1_accrual`).

    Raises
    ------
    DataError
        When the root has no settlements or no expiries, a contract that is held does not settle at the next session,
        or a settlement is not above 0 where ratios are taken.
    ValueError
        When an argument is missing or wrong.
    """
    roll = roll or RollRule()
    if adjustment not in ("ratio", "difference", "none"):
        raise ValueError(f"adjustment must be 'ratio', 'difference' or 'none'; was {adjustment!r}")
    if root == "DI1" and accrual is None:
        raise ValueError("accrual must be given for DI1, whose settlement carries interest; was None")
    if (roll.by == "open_interest") != (open_interest is not None):
        raise ValueError("open_interest must be given for the roll rule by open interest, and only for it")
    board = _Board.of(settlements, root, as_of)
    held = _held(board, roll, None if open_interest is None else _open_contracts(open_interest, board))
    growth = _growth(board.sessions, accrual)
    now = board.prices[np.arange(len(held)), held]
    then = board.prices[np.arange(1, len(held)), held[:-1]]
    _refuse_gaps(board, held, then)
    base = now[:-1] * growth[1:]
    points = np.concatenate(([0.0], then - base))
    if adjustment == "ratio" and (board.prices[np.isfinite(board.prices)] <= 0.0).any():
        raise DataError(f"{root} has settlements of 0 or less: ratios mean nothing; adjust by difference")
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.concatenate(([0.0], then / base - 1.0))
    rolled = np.concatenate(([False], held[1:] != held[:-1]))
    return ContinuousFuture(
        board.sessions,
        tuple(board.symbols[contract] for contract in held),
        now,
        returns,
        points,
        rolled,
        adjustment,
        _adjusted(now, returns, points, adjustment),
    )


def di1_accrual(sessions: NDArray[np.datetime64], cdi: pa.Table) -> dict[datetime.date, float]:
    """What 1 R$ at the session before grew to at each session but the first, at the CDI of every bank day between.

    Parameters
    ----------
    sessions : (T,) datetime64[D]
        Increasing.
    cdi : pyarrow.Table
        `schema.CDI_SCHEMA` (`Store.cdi`).

    Raises
    ------
    DataError
        When a session has no CDI of its own.
    """
    from data_pipeline.daily.risk_free import risk_free_returns

    found = risk_free_returns(sessions, cdi, None)
    if found.carried:
        raise DataError(f"no CDI is known for session {found.carried[0]}: ingest series 12 up to the last session")
    return {day.item(): 1.0 + growth for day, growth in zip(sessions[1:], found.returns[1:], strict=True)}


def di1_price(rate: float, business_days: int) -> float:
    """PU of DI1, R$: 100,000 / (1 + rate)^(business days to expiry / 252).

    Raises
    ------
    ValueError
        When the rate is not finite and above -1, or the days are below 0.
    """
    if not (math.isfinite(rate) and rate > -1.0):
        raise ValueError(f"rate must be finite and above -1; was {rate}")
    if business_days < 0:
        raise ValueError(f"business_days must be 0 or more; was {business_days}")
    return float(DI1_FACE / (1.0 + rate) ** (business_days / BANK_YEAR))


@dataclass(frozen=True, slots=True, eq=False)
class _Board:
    """Settlements as a matrix: sessions by contracts in order of expiry, nan where a contract does not settle."""

    root: str
    sessions: NDArray[np.datetime64]
    symbols: list[str]
    expiries: NDArray[np.datetime64]
    prices: NDArray[np.float64]

    @classmethod
    def of(cls, settlements: pa.Table, root: str, as_of: datetime.date | None) -> _Board:
        rows = settlements.filter(pc.equal(settlements["root"], root))
        if as_of is not None:
            rows = rows.filter(pc.less_equal(rows["session"], pa.scalar(as_of, pa.date32())))
        if not rows.num_rows:
            raise DataError(f"there are no settlements of {root}{f' up to {as_of}' if as_of else ''}: ingest them")
        if rows["expiry"].null_count:
            raise DataError(f"the expiries of {root} are not known: its contracts cannot be put in order")
        contracts = rows.group_by(["symbol"]).aggregate([("expiry", "min")]).sort_by("expiry_min")
        symbols = contracts["symbol"].to_pylist()
        sessions, row = np.unique(rows["session"].to_numpy().astype("datetime64[D]"), return_inverse=True)
        column = pc.index_in(rows["symbol"], contracts["symbol"].combine_chunks()).to_numpy()
        prices = np.full((sessions.size, len(symbols)), np.nan)
        prices[row, column] = rows["settlement"].to_numpy()
        return cls(root, sessions, symbols, contracts["expiry_min"].to_numpy().astype("datetime64[D]"), prices)


def _held(board: _Board, roll: RollRule, open_contracts: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """Column of the contract held from each session's settlement on."""
    calendar = b3_sessions(board.sessions[0], max(board.sessions[-1], board.expiries[-1]))
    to_expiry = np.searchsorted(calendar, board.expiries) - np.searchsorted(calendar, board.sessions)[:, None]
    possible = (to_expiry > roll.sessions) & np.isfinite(board.prices)
    held = np.empty(board.sessions.size, np.int64)
    for row in range(board.sessions.size):
        found = np.flatnonzero(possible[row])
        if open_contracts is not None and row:
            found = found[found >= held[row - 1]]
            known = np.nan_to_num(open_contracts[row - 1, found], nan=-1.0)
            # argmax takes the first, the nearest, of equal numbers
            found = found[[np.argmax(known)]] if found.size else found
        if not found.size:
            raise DataError(
                f"no contract of {board.root} settles at {board.sessions[row]} and expires more than {roll.sessions} "
                "sessions later: ingest more settlements, or roll later"
            )
        held[row] = found[0]
    return held


def _open_contracts(table: pa.Table, board: _Board) -> NDArray[np.float64]:
    column = pc.index_in(table["symbol"], pa.array(board.symbols))
    rows = table.set_column(table.column_names.index("symbol"), "symbol", column)
    rows = rows.filter(pc.and_(pc.is_valid(rows["symbol"]), pc.is_valid(rows["open_interest"])))
    days = rows["session"].to_numpy().astype("datetime64[D]")
    place = np.searchsorted(board.sessions, days)
    inside = (place < board.sessions.size) & np.isin(days, board.sessions)
    found = np.full(board.prices.shape, np.nan)
    found[place[inside], rows["symbol"].to_numpy()[inside]] = rows["open_interest"].to_numpy()[inside]
    return found


def _growth(sessions: NDArray[np.datetime64], accrual: Mapping[datetime.date, float] | None) -> NDArray[np.float64]:
    growth = np.ones(sessions.size)
    if accrual is not None:
        for row, day in enumerate(sessions[1:].tolist(), 1):
            if day not in accrual:
                raise ValueError(f"accrual must have every session after the first; lacks {day}")
            growth[row] = accrual[day]
    return growth


def _refuse_gaps(board: _Board, held: NDArray[np.int64], then: NDArray[np.float64]) -> None:
    missing = np.flatnonzero(~np.isfinite(then))
    if missing.size:
        row = int(missing[0])
        raise DataError(
            f"{board.symbols[held[row]]} is held from {board.sessions[row]} and does not settle at the next session "
            f"known, {board.sessions[row + 1]}: ingest the sessions between, or roll some sessions before expiry"
        )


def _adjusted(
    now: NDArray[np.float64], returns: NDArray[np.float64], points: NDArray[np.float64], adjustment: Adjustment
) -> NDArray[np.float64]:
    if adjustment == "none":
        return now.copy()
    if adjustment == "difference":
        total = np.cumsum(points)
        return np.asarray(now[-1] - (total[-1] - total))
    growth = np.cumprod(1.0 + returns)
    return np.asarray(now[-1] * (growth / growth[-1]))
