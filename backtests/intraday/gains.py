"""What was gained in each piece of a session, after fees, and how sure the total is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import NO_MID, SessionOutcome
from backtests.intraday.profit import fill_mids, final_mid
from backtests.intraday.quote_path import QuotePath
from backtests.intraday.settings import Fees
from strategies.intraday.rule import Instrument

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS: Final = 30
LEVEL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Gain:
    """A total of n pieces, with its standard error sqrt(n) times their deviation, as if they were independent.

    Attributes
    ----------
    total, error, t, p : float
        Money; total / error; the two-sided p-value of Student's t with n - 1 degrees. nan where nothing varies.
    pieces : int
    verdict : int
        1 or -1 where p is below `LEVEL`, by the sign of the total; 0 where the total cannot be told from 0.
    """

    total: float
    error: float
    t: float
    p: float
    pieces: int
    verdict: int


def gain_of(pieces: Floats) -> Gain:
    """The total of gains of equal stretches of time, of one or more sessions."""
    from scipy.stats import t as student

    count, whole = int(pieces.size), float(pieces.sum())
    error = float(np.sqrt(count) * pieces.std(ddof=1)) if count > 1 else 0.0
    if not error > 0:
        return Gain(whole, float("nan"), float("nan"), float("nan"), count, 0)
    ratio = whole / error
    p = float(2.0 * student.sf(abs(ratio), count - 1))
    return Gain(whole, error, ratio, p, count, int(np.sign(ratio)) if p < LEVEL else 0)


def block_gains(
    outcome: SessionOutcome, path: QuotePath, start: int, stop: int, fees: Fees, blocks: int = BLOCKS
) -> Floats:
    """(blocks,) money gained in each of `blocks` equal pieces of start to stop, position marked at the mid, less fees.

    They sum to the outcome's profit. The last piece ends with the outcome's own mark.

    Raises
    ------
    ValueError
        When `fees` are not those of the outcome.
    """
    if not start < stop or blocks < 1:
        raise ValueError(f"start must be before stop and blocks at least 1; were {start}, {stop}, {blocks}")
    fills, instrument = outcome.fills, outcome.instrument
    edges = start + (np.arange(1, blocks) * ((stop - start) / blocks)).astype(np.int64)
    upto = np.r_[np.searchsorted(fills["exch_ts"], edges, side="right"), fills.size]
    cash = np.r_[0, np.cumsum(-2 * fills["side"] * fills["lots"] * fills["tick"])][upto]
    held = np.r_[0, fills["position"]][upto]
    mids = np.r_[path.at(edges), final_mid(outcome, path)]
    own_mids, _ = fill_mids(outcome, path)
    # no quotes yet: the last fill's mid, and before any fill nothing is held
    mids = np.where(mids == NO_MID, np.r_[0, own_mids][upto], mids)
    worth = np.diff(np.r_[0, cash + held * mids]) * (0.5 * instrument.tick_value)
    micros = fill_fees(fills, instrument, fees)
    if abs(float(micros.sum()) - 1e6 * outcome.fees) > 0.5:
        raise ValueError(f"fees must be those of the outcome, {outcome.fees} in all; gave {micros.sum() / 1e6}")
    paid = np.diff(np.r_[0, np.cumsum(micros)][np.r_[0, upto]]) / 1e6
    return np.asarray(worth - paid)


def fill_fees(fills: NDArray[Any], instrument: Instrument, fees: Fees) -> Ints:
    """(n,) millionths of a unit of money that each fill paid, half to even."""
    maker = fills["maker"] == 1
    rate = np.where(maker, fees.maker, fees.taker)
    each = np.where(maker, fees.maker_per_lot, fees.taker_per_lot)
    value = np.abs(fills["tick"]) * fills["lots"] * instrument.tick_value
    return np.asarray(np.rint((rate * value + each * fills["lots"]) * 1e6), dtype=np.int64)


def per_session(profits: Sequence[float]) -> dict[str, float]:
    """Mean, deviation and Sharpe ratio of profits by session, not annualised, with the ratio's standard error.

    The error is sqrt((1 + S^2 / 2) / n) of independent normal profits (Lo 2002); nan with fewer than two sessions.
    """
    values = np.asarray(profits, dtype=np.float64)
    deviation = float(values.std(ddof=1)) if values.size > 1 else float("nan")
    sharpe = float(values.mean()) / deviation if deviation > 0 else float("nan")
    return {
        "sessions": float(values.size),
        "mean": float(values.mean()) if values.size else float("nan"),
        "deviation": deviation,
        "sharpe_per_session": sharpe,
        "sharpe_error": float(np.sqrt((1.0 + 0.5 * sharpe**2) / values.size)) if values.size else float("nan"),
    }
