"""What cash earns from one close to the next, on the sessions of the exchange."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError

BANK_DAYS: Final = 252
"""Bank days in the year of a Brazilian annual rate."""

RULE_CARRIED: Final = "cdi_days_carried"


@dataclass(frozen=True, slots=True)
class RiskFree:
    """Simple return of cash per session, and where it came from.

    Attributes
    ----------
    returns : (T,) float64
        From the close of session t-1 to the close of session t; 0.0 in row 0.
    source : str
        In words, for the provenance.
    carried : tuple of datetime64[D]
        Sessions without a CDI of their own, which took the last one known.
    """

    returns: NDArray[np.float64]
    source: str
    carried: tuple[np.datetime64, ...]


def risk_free_returns(sessions: NDArray[np.datetime64], cdi: pa.Table, annual: float | None) -> RiskFree:
    """Return what cash earns between sessions, from daily CDI or from one annual rate.

    The CDI of bank day d is earned from d to the next bank day, so session t earns every bank day from session t-1
    (included) to t (excluded): days on which B3 is closed and the banks are open, such as 24 December, are not lost.

    Parameters
    ----------
    sessions : (T,) datetime64[D]
        Increasing.
    cdi : pyarrow.Table
        `schema.CDI_SCHEMA`, increasing in date; may be empty.
    annual : float or None
        Annual rate, base 252 bank days, for sessions before the first CDI (0.10 is 10 % a year).

    Raises
    ------
    DataError
        When a session has no CDI before it and no annual rate is given.
    ValueError
        When the annual rate is not finite or not above -1.
    """
    if annual is not None and not (math.isfinite(annual) and annual > -1.0):
        raise ValueError(f"risk_free_annual must be finite and above -1; was {annual}")
    days = cdi["date"].to_numpy().astype("datetime64[D]")
    logs = np.log1p(cdi["daily_return"].to_numpy().astype(np.float64))
    constant = None if annual is None else math.log1p(annual) / BANK_DAYS
    known = np.concatenate(([0.0], np.cumsum(logs)))
    growth = np.diff(known[np.searchsorted(days, sessions)], prepend=0.0)
    growth[0] = 0.0

    # a session is a bank day; one without a CDI takes the last rate known, or the annual rate before there is any
    lacking = np.flatnonzero(~np.isin(sessions[:-1], days))
    carried = []
    for row in lacking:
        before = int(np.searchsorted(days, sessions[row]))
        if before == 0 and constant is None:
            raise DataError(
                f"no CDI is known for session {sessions[row]}: ingest the central bank's series 12 from that day on, "
                "or give risk_free_annual"
            )
        growth[row + 1] += logs[before - 1] if before else constant
        if before:
            carried.append(sessions[row])
    if days.size == 0:
        source = f"constant {annual:g} a year, base {BANK_DAYS}"
    elif lacking.size > len(carried):
        source = f"CDI from {days[0]}, before it constant {annual:g} a year, base {BANK_DAYS}"
    else:
        source = "CDI"
    return RiskFree(np.expm1(growth), source, tuple(carried))
