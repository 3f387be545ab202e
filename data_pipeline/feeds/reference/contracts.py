"""Futures of B3: what a contract's code says, when it expires, what a point of it is worth.

A code is the root (three characters, five for a future on one share), the month's letter and the year: two digits, one
before 22 May 2006, when the session must tell the decade ("DI1F3" is of 2003 or 2013). A future on the rate between two
maturities bears both, a digit each ("DIFN2F3"); it has no expiry here.

Expiries by B3's contract specifications: IND and WIN on the Wednesday nearest the 15th of an even month, or the next
session where that is none; DOL, WDO and DI1 on the first session of the month, for which a last settlement is
still published, though DOL and WDO trade only until the session before.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.tables.catalog import SETTLEMENTS

MONTHS: Final = "FGHJKMNQUVXZ"
"""January to December."""
TWO_DIGITS_FROM: Final = datetime.date(2006, 5, 22)
_MATURITY: Final = re.compile(r"([FGHJKMNQUVXZ])(\d{1,2})")
_CODE: Final = re.compile(r"([A-Z0-9]{3}|[A-Z0-9]{5})([FGHJKMNQUVXZ])(\d{1,2})")
_BETWEEN: Final = re.compile(r"([A-Z0-9]{3})([FGHJKMNQUVXZ]\d[FGHJKMNQUVXZ]\d)")
"""A contract on the rate between two maturities: DIFN2F3."""
_PATTERN: Final = r"^([A-Z0-9]{3}|[A-Z0-9]{5})[FGHJKMNQUVXZ]\d{1,2}$"
_LAST_KNOWN_YEAR: Final = 2078
"""Two-digit years up to 78 are of this century: DI1 and DAP go some 40 years ahead, and no code is older than 1986."""


@dataclass(frozen=True, slots=True)
class FuturesRoot:
    """A family of contracts.

    Attributes
    ----------
    root : str
    multiplier : float
        R$ per point of the quotation, per contract.
    tick : float
        Smallest step of the quotation; nan where it depends on the maturity (DI1).
    months : str
        Letters of the months that are listed.
    expiry : "first_session" or "wednesday_15"
    """

    root: str
    multiplier: float
    tick: float
    months: str
    expiry: Literal["first_session", "wednesday_15"]


ROOTS: Final = {
    root.root: root
    for root in (
        FuturesRoot("IND", 1.0, 5.0, "GJMQVZ", "wednesday_15"),
        FuturesRoot("WIN", 0.2, 5.0, "GJMQVZ", "wednesday_15"),
        FuturesRoot("DOL", 50.0, 0.5, MONTHS, "first_session"),
        FuturesRoot("WDO", 10.0, 0.5, MONTHS, "first_session"),
        FuturesRoot("DI1", 1.0, float("nan"), MONTHS, "first_session"),
    )
}
"""Families whose rules are known; the points of DI1 are those of its PU, R$ 100,000 at expiry."""
SAME_SETTLEMENT: Final = (("WIN", "IND"), ("WDO", "DOL"))
"""Small contracts that settle at the large one's price."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a code says.

    Attributes
    ----------
    root : str
    month : int
        1 to 12.
    year : int
    """

    root: str
    month: int
    year: int

    @property
    def maturity(self) -> str:
        """Month letter and two-digit year."""
        return f"{MONTHS[self.month - 1]}{self.year % 100:02d}"

    @property
    def symbol(self) -> str:
        """The code with two digits for the year."""
        return self.root + self.maturity


def parse_contract(code: str, session: datetime.date | None = None) -> Contract:
    """What the code of a future says.

    Parameters
    ----------
    code : str
        E.g. "DOLG18", "B3SAOF21"; "DI1F3" needs `session`.
    session : date, optional
        A day on which the contract was quoted.

    Raises
    ------
    ValueError
        When it is no such code, or its year has one digit and the session does not tell the decade.

    Examples
    --------
    >>> parse_contract("DI1F3", datetime.date(2002, 7, 1)).symbol
    'DI1F03'
    """
    found = _CODE.fullmatch(code)
    if found is None:
        raise ValueError(
            f"code must be a root, a month letter of {MONTHS} and a year of one or two digits; was {code!r}"
        )
    root, letter, digits = found.groups()
    contract = Contract(root, MONTHS.index(letter) + 1, _year(digits, session, code))
    if len(digits) == 1 and session is not None and _is_over(contract, session):
        return Contract(root, contract.month, contract.year + 10)
    return contract


def _is_over(contract: Contract, session: datetime.date) -> bool:
    """Whether the contract expired before the session: by its day where that is known, else by its month."""
    expiry = expiry_of(contract)
    if expiry is not None:
        return expiry < session
    return (contract.year, contract.month) < (session.year, session.month)


def _year(digits: str, session: datetime.date | None, code: str) -> int:
    if len(digits) == 2:
        year = 2000 + int(digits)
        return year if year <= _LAST_KNOWN_YEAR else year - 100
    if session is None or session >= TWO_DIGITS_FROM:
        raise ValueError(
            f"session must be before {TWO_DIGITS_FROM} for a code whose year has one digit ({code}); was {session}"
        )
    # a contract is quoted before it expires: the first year from the session's on that ends in the digit
    return session.year + (int(digits) - session.year) % 10


def expiry_of(contract: Contract) -> datetime.date | None:
    """Last day on which the contract settles; None where the rule of the root is not known or the month not listed."""
    rule = ROOTS.get(contract.root)
    if rule is None or MONTHS[contract.month - 1] not in rule.months or not 1987 <= contract.year <= _LAST_KNOWN_YEAR:
        return None
    first = datetime.date(contract.year, contract.month, 1)
    if rule.expiry == "wednesday_15":
        # Wednesday is weekday 2; the nearest one is at most 3 days from the 15th
        middle = first.replace(day=15)
        first = middle + datetime.timedelta(days=(2 - middle.weekday() + 3) % 7 - 3)
    sessions = _sessions_from(contract.year)
    day: datetime.date = sessions[np.searchsorted(sessions, np.datetime64(first))].item()
    return day


@lru_cache(maxsize=128)
def _sessions_from(year: int) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """Sessions of that year and the first days of the next; one calendar per decade is built."""
    decade = year // 10 * 10
    sessions = b3_sessions(f"{max(decade, 1986)}-01-01", f"{decade + 10}-01-31")
    chosen = sessions[(sessions >= np.datetime64(f"{year}-01-01")) & (sessions <= np.datetime64(f"{year + 1}-01-31"))]
    return np.asarray(chosen)


def settlements_of_reports(rows: pa.Table) -> pa.Table:
    """The futures of a table price_reports as settlements; `value` is without its sign, as on B3's page."""
    futures = rows.filter(pc.and_(pc.match_substring_regex(rows["symbol"], _PATTERN), pc.is_valid(rows["settlement"])))
    return settlement_table(
        futures["session"],
        futures["symbol"],
        {
            "settlement": futures["settlement"],
            "previous": futures["previous_settlement"],
            "change": futures["settlement_points"],
            "value": pc.abs(futures["settlement_value"]),
        },
    )


def settlement_table(
    sessions: pa.ChunkedArray, codes: pa.ChunkedArray, figures: dict[str, pa.ChunkedArray]
) -> pa.Table:
    """The table settlements from sessions, codes and its columns of numbers.

    Raises
    ------
    ValueError
        When a code is none of a future on its session.
    """
    pairs = pa.table({"session": sessions, "code": codes}).group_by(["session", "code"]).aggregate([]).to_pydict()
    said: dict[tuple[datetime.date, str], tuple[str, str, str, datetime.date | None]] = {}
    expiries: dict[Contract, datetime.date | None] = {}
    for session, code in zip(pairs["session"], pairs["code"], strict=True):
        between = _BETWEEN.fullmatch(code)
        if between is not None:
            said[session, code] = (code, between[1], between[2], None)
            continue
        contract = parse_contract(code, session)
        if contract not in expiries:
            expiries[contract] = expiry_of(contract)
        said[session, code] = (contract.symbol, contract.root, contract.maturity, expiries[contract])
    contracts = [said[pair] for pair in zip(sessions.to_pylist(), codes.to_pylist(), strict=True)]
    symbol, root, maturity, expiry = zip(*contracts, strict=True) if contracts else ((), (), (), ())
    columns = {
        "session": sessions,
        "symbol": pa.array(symbol, pa.string()),
        "root": pa.array(root, pa.string()),
        "maturity": pa.array(maturity, pa.string()),
        "expiry": pa.array(expiry, pa.date32()),
        **figures,
    }
    return pa.table({name: columns[name] for name in SETTLEMENTS.schema.names}).cast(SETTLEMENTS.schema)
