"""Settlements of the synthetic exchange's futures: dollar, index and interest, from its own rates and market factor.

Prices are those of no arbitrage on a flat curve at the day's CDI, in the contracts' own quotation and precision:

    DOL, WDO   R$ per US$ 1,000:  1000 fx (1 + i)^(du / 252) / (1 + c dc / 360)
    IND, WIN   index points:      level (1 + i)^(du / 252)
    DI1        PU:                100,000 / (1 + i)^(du / 252), settled as such, quoted as the rate i

with i the annual CDI, c = 3 % the dollar's rate in Brazil, du business days and dc calendar days to the expiry. The
last settlement is that of the expiry itself, as on the exchange: the dollar, the index, 100,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from data_pipeline.synthetic.calendars import Days, bank_days
from data_pipeline.synthetic.streams import FloatArray, normals, stream

LETTERS = "FGHJKMNQUVXZ"
DOLLAR_RATE = 0.03
DOLLAR_VOLATILITY = 0.009
"""Of the dollar's price, per sqrt(session)."""
ROOTS = {"DOL": 50.0, "WDO": 10.0, "IND": 1.0, "WIN": 0.2, "DI1": 1.0}
"""R$ per contract and point of the settlement price."""
NAMES = {
    "DI1": "DI de 1 dia",
    "DOL": "Dólar comercial",
    "IND": "Ibovespa",
    "WDO": "Dólar Mini",
    "WIN": "Ibovespa Mini",
}
_LISTED = {"DOL": 3, "WDO": 2, "IND": 2, "WIN": 2, "DI1": 6}
_FAR = timedelta(days=550)


@dataclass(frozen=True, slots=True)
class Settlement:
    """One contract on one session; `previous` is None on its first day, `rate` (% a year) for other than DI1.

    The previous PU of a DI1 is carried by a day's CDI, as the exchange does: holding it is paid by the difference.
    """

    session: date
    root: str
    maturity: str
    price: float
    previous: float | None
    rate: float | None
    previous_rate: float | None

    @property
    def symbol(self) -> str:
        """Code of the contract."""
        return self.root + self.maturity

    @property
    def change(self) -> float:
        """Price less the previous one, 0 on the first day; exact to the cent or the thousandth."""
        return 0.0 if self.previous is None else round(self.price - self.previous, 3)

    @property
    def value(self) -> float:
        """R$ per contract, signed, in cents."""
        return round(self.change * ROOTS[self.root], 2)


def dollar_path(seed: int, sessions: int) -> FloatArray:
    """R$ per US$ at each session's close."""
    shocks = normals(stream(seed, "dollar"), sessions)
    return np.asarray(np.round(5.0 * np.exp(np.cumsum(DOLLAR_VOLATILITY * shocks)), 4))


def simulate_futures(seed: int, sessions: Days, days: Days, cdi: FloatArray, index: FloatArray) -> list[Settlement]:
    """Every listed contract on every session, by session, root and expiry.

    `days` and `cdi` are the bank days and their rates in per cent per day, `index` (sessions,) the level of the index.
    """
    all_days = bank_days(days[0].item(), sessions[-1].item() + _FAR)
    dollar = dollar_path(seed, len(sessions))
    found: list[Settlement] = []
    before: dict[str, Settlement] = {}
    carried = 1.0
    for row, session in enumerate(sessions):
        day, daily = session.item(), float(cdi[np.searchsorted(days, session)])
        annual = (1.0 + daily / 100.0) ** 252 - 1.0
        today: dict[str, Settlement] = {}
        for root in sorted(ROOTS):
            for maturity, expiry in _listed(root, day):
                du = _between(all_days, day, expiry)
                price, rate = _price(root, annual, du, (expiry - day).days, float(dollar[row]), float(index[row]))
                last = before.get(root + maturity)
                previous = None if last is None else last.price if rate is None else round(last.price * carried, 2)
                today[root + maturity] = Settlement(
                    day, root, maturity, price, previous, rate, None if last is None else last.rate
                )
        found += today.values()
        before = today
        carried = _growth(days, cdi, sessions, row)
    return found


def _growth(days: Days, cdi: FloatArray, sessions: Days, row: int) -> float:
    """What cash becomes from this session to the next one."""
    if row + 1 == len(sessions):
        return 1.0
    first, last = np.searchsorted(days, sessions[row : row + 2])
    return float(np.prod(1.0 + cdi[first:last] / 100.0))


def _between(days: Days, first: date, last: date) -> int:
    """Bank days from the first day to before the last."""
    low, high = np.searchsorted(days, [np.datetime64(first), np.datetime64(last)])
    return int(high - low)


def _price(root: str, annual: float, du: int, dc: int, dollar: float, level: float) -> tuple[float, float | None]:
    growth = (1.0 + annual) ** (du / 252.0)
    if root == "DI1":
        rate = round(100.0 * annual, 3)
        return round(100_000.0 / (1.0 + rate / 100.0) ** (du / 252.0), 2), rate
    if root in ("DOL", "WDO"):
        return round(1000.0 * dollar * growth / (1.0 + DOLLAR_RATE * dc / 360.0), 3), None
    return float(round(level * growth)), None


def _listed(root: str, day: date) -> Iterator[tuple[str, date]]:
    """Maturity codes and expiries from `day` on, nearest first; one that expires today is beyond the usual number."""
    count, year, month = 0, day.year, day.month
    while count < _LISTED[root]:
        if root not in ("IND", "WIN") or month % 2 == 0:
            expiry = _wednesday(year, month) if root in ("IND", "WIN") else _first_bank_day(year, month)
            if expiry >= day:
                count += expiry > day
                yield f"{LETTERS[month - 1]}{year % 100:02d}", expiry
        year, month = year + month // 12, month % 12 + 1


def _wednesday(year: int, month: int) -> date:
    """The Wednesday nearest the 15th, or the next business day (12 October is a holiday)."""
    middle = date(year, month, 15)
    return _bank_day(middle + timedelta(days=(2 - middle.weekday() + 3) % 7 - 3))


def _first_bank_day(year: int, month: int) -> date:
    return _bank_day(date(year, month, 1))


def _bank_day(day: date) -> date:
    """The day, or the next one on which banks are open."""
    days = bank_days(day, day + timedelta(days=9))
    first: date = days[0].item()
    return first
