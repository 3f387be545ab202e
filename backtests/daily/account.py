"""What one pod's account did: the simulator's result in memory, and its tables as the result files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.limits import Breach

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Column = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Orders:
    """Parent orders, in the order of their decisions: row of the decision session, instrument, shares and reason.

    `reason` is "decision" (the pod's) or "limits" (a limit acted between decisions). `shares` is the whole of what is
    to trade from then on; it replaces what was pending.
    """

    row: Integers
    instrument: Integers
    shares: Floats
    reason: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Fills:
    """Fills, by session and instrument; money in R$, `participation` as a part of the session's volume.

    `reason` is "order", "fraction" (of a share, paid out after a share event) or "delisted" (a position closed because
    the instrument stopped trading); the last two cost nothing and have participation 0.
    """

    row: Integers
    instrument: Integers
    shares: Floats
    price: Floats
    cost_half_spread: Floats
    cost_impact: Floats
    cost_fees: Floats
    participation: Floats
    reason: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class RiskForecasts:
    """Forecasts for each session made at the close before it, from the positions held then; (T,) each.

    `var_99` and `es_975` are positive losses as fractions of net asset value; NaN in the first session and while the
    past is too short. `gross` and `net` are fractions of net asset value.
    """

    var_99: Floats
    es_975: Floats
    var_exception: NDArray[np.bool_]
    hhi: Floats
    largest_issuer: NDArray[np.str_]
    largest_issuer_weight: Floats
    gross: Floats
    net: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """One pod's account over T consecutive sessions and N instruments.

    Attributes
    ----------
    pod : str
    instruments : tuple of str
    sessions : (T,) datetime64[D]
        The first session is the first decision close: the account holds its capital in cash there.
    net_asset_value, cash : (T,)
        R$ at the close.
    returns : (T,)
        Simple return of the net asset value; 0 in the first session.
    gross, net : (T,)
        Sum of |position values| and of position values, as fractions of the net asset value.
    turnover : (T,)
        Traded value, purchases and sales, over the net asset value of the close before.
    cost_half_spread, cost_impact, cost_fees, cost_borrow, dividends, interest : (T,)
        R$ in the session. Dividends are net of withholding, and negative where a short paid them.
    drawdown : (T,)
        1 - net asset value / its highest so far, the starting capital included.
    state : (T,) str
        ACTIVE, REDUCING, HALVED or FLAT after the close.
    risk_free : (T,)
    fold : (T,) int64
    shares, price : (T, N)
        Positions and marks at the close (NaN before the first trade of an instrument).
    orders, fills, breaches, risk
        The logs. A breach's session is the date of its close.
    """

    pod: str
    instruments: tuple[str, ...]
    sessions: NDArray[np.datetime64]
    net_asset_value: Floats
    returns: Floats
    cash: Floats
    gross: Floats
    net: Floats
    turnover: Floats
    cost_half_spread: Floats
    cost_impact: Floats
    cost_fees: Floats
    cost_borrow: Floats
    dividends: Floats
    interest: Floats
    drawdown: Floats
    state: NDArray[np.str_]
    risk_free: Floats
    fold: Integers
    shares: Floats
    price: Floats
    orders: Orders
    fills: Fills
    breaches: tuple[Breach, ...]
    risk: RiskForecasts

    @property
    def costs(self) -> Floats:
        """Every cost of each session together, R$."""
        return np.asarray(self.cost_half_spread + self.cost_impact + self.cost_fees + self.cost_borrow)

    def tables(self) -> dict[str, dict[str, Column]]:
        """The tables of the result on disk by file name, as columns in file order (docs/contracts.md)."""
        return {
            "account": self._account_table(),
            "positions": self._positions_table(),
            "orders": self._orders_table(),
            "fills": self._fills_table(),
            "breaches": self._breaches_table(),
            "risk": self._risk_table(),
        }

    def _account_table(self) -> dict[str, Column]:
        names = (
            "net_asset_value", "returns", "cash", "gross", "net", "turnover", "cost_half_spread", "cost_impact",
            "cost_fees", "cost_borrow", "dividends", "interest", "drawdown", "state", "risk_free", "fold",
        )  # fmt: skip
        table: dict[str, Column] = {"session": self.sessions}
        for name in names:
            table["return" if name == "returns" else name] = getattr(self, name)
        return table

    def _names(self, columns: Integers) -> Column:
        return np.array(self.instruments, dtype=object)[columns]

    def _positions_table(self) -> dict[str, Column]:
        row, column = np.nonzero(self.shares)
        shares, price = self.shares[row, column], self.price[row, column]
        value = shares * price
        return {
            "session": self.sessions[row],
            "instrument": self._names(column),
            "shares": shares,
            "price": price,
            "value": value,
            "weight": value / self.net_asset_value[row],
        }

    def _orders_table(self) -> dict[str, Column]:
        log = self.orders
        return {
            "decision_session": self.sessions[log.row],
            "instrument": self._names(log.instrument),
            "shares": log.shares,
            "reason": log.reason,
        }

    def _fills_table(self) -> dict[str, Column]:
        log = self.fills
        return {
            "session": self.sessions[log.row],
            "instrument": self._names(log.instrument),
            "shares": log.shares,
            "price": log.price,
            "cost_half_spread": log.cost_half_spread,
            "cost_impact": log.cost_impact,
            "cost_fees": log.cost_fees,
            "participation": log.participation,
            "reason": log.reason,
        }

    def _breaches_table(self) -> dict[str, Column]:
        rows = self.breaches
        never = np.datetime64("NaT", "D")
        cleared = [never if breach.cleared_session is None else breach.cleared_session for breach in rows]
        return {
            "id": np.array([breach.id for breach in rows], dtype=np.int64),
            "session": np.array([breach.session for breach in rows], dtype="datetime64[D]"),
            "limit": np.array([breach.limit for breach in rows], dtype=object),
            "level": np.array([breach.level for breach in rows], dtype=object),
            "value": np.array([breach.value for breach in rows], dtype=np.float64),
            "threshold": np.array([breach.threshold for breach in rows], dtype=np.float64),
            "kind": np.array([breach.kind for breach in rows], dtype=object),
            "action": np.array([str(breach.action) for breach in rows], dtype=object),
            "positions_hash": np.array([breach.positions_hash for breach in rows], dtype=object),
            "cleared_session": np.array(cleared, dtype="datetime64[D]"),
        }

    def _risk_table(self) -> dict[str, Column]:
        risk = self.risk
        return {
            "session": self.sessions,
            "var_99": risk.var_99,
            "es_975": risk.es_975,
            "var_exception": risk.var_exception,
            "hhi": risk.hhi,
            "largest_issuer": risk.largest_issuer,
            "largest_issuer_weight": risk.largest_issuer_weight,
            "gross": risk.gross,
            "net": risk.net,
        }
