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
SESSIONS: Final = 5
"""Sessions from which on the error of a total comes from them alone."""
LEVEL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Gain:
    """A total of n pieces of time, with its standard error.

    Attributes
    ----------
    total, error, t, p : float
        Money; total / error; the two-sided p-value of Student's t. nan where nothing varies, or too little is known.
    pieces : int
        Sessions, where there are at least `SESSIONS` of them, else pieces of sessions.
    verdict : int
        1 or -1 where p is below `LEVEL`, by the sign of the total; 0 where the total cannot be told from 0.
    correlation : float
        Of neighbouring pieces; above 0 it makes the error larger and the pieces count for fewer.
    """

    total: float
    error: float
    t: float
    p: float
    pieces: int
    verdict: int
    correlation: float = 0.0


def gain_of(*sessions: Floats) -> Gain:
    """The total of one or more sessions, each given as its gains in equal pieces of time.

    From `SESSIONS` sessions on the error is that of independent sessions: whatever a session's pieces have in common is
    in it. With fewer it comes from the pieces, sqrt(n) times their deviation; a correlation r of neighbours above 0
    leaves n (1 - r) / (1 + r) pieces that count (an autoregression of order one), which are in the error and the
    degrees of freedom. r is the pieces' own, plus 1/n, by which it is too low where they are independent (Kendall
    1954).
    """
    pieces = np.concatenate(sessions) if sessions else np.empty(0)
    if len(sessions) >= SESSIONS:
        totals = np.array([one.sum() for one in sessions])
        return _gain(totals, 0.0)
    return _gain(pieces, max(0.0, _neighbours(sessions, pieces)))


def _gain(values: Floats, correlation: float) -> Gain:
    from scipy.stats import t as student

    count, whole, unknown = int(values.size), float(values.sum()), float("nan")
    effective = count * (1.0 - correlation) / (1.0 + correlation)
    deviation = float(values.std(ddof=1)) if count > 1 else 0.0
    if not (deviation > 0 and effective > 1):
        return Gain(whole, unknown, unknown, unknown, count, 0, correlation)
    error = count * deviation / np.sqrt(effective)
    ratio = whole / error
    p = float(2.0 * student.sf(abs(ratio), effective - 1.0))
    return Gain(whole, float(error), float(ratio), p, count, int(np.sign(ratio)) if p < LEVEL else 0, correlation)


def _neighbours(sessions: Sequence[Floats], pieces: Floats) -> float:
    """Correlation of pieces that follow each other in a session, without its bias; 0 where there are none."""
    away = [one - pieces.mean() for one in sessions]
    pairs, squares = sum(max(one.size - 1, 0) for one in away), sum(float(one @ one) for one in away)
    if not (pairs and squares > 0):
        return 0.0
    products = sum(float(one[1:] @ one[:-1]) for one in away)
    return float(products / squares * pieces.size / pairs + 1.0 / pieces.size)


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
