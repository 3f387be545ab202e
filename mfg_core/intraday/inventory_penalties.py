"""What holding inventory costs: the running penalty from risk, the terminal one from the cost of trading out."""

from __future__ import annotations

from mfg_core.checks import require_nonnegative, require_positive


def running_penalty_from_risk(risk_aversion: float, variance: float, *, lot: float = 1.0) -> float:
    """eta = risk_aversion lot variance / 2, price per inventory^2 and second.

    Who holds x lots for a second and has constant absolute risk aversion g charges itself
    g/2 variance (x lot)^2 of money. The game counts money per lot's worth of shares (the reward of one fill is its
    half-spread, a price), so that is divided by the lot.

    Parameters
    ----------
    risk_aversion : float
        g, per unit of money, >= 0.
    variance : float
        Of the mid, price^2 per second, >= 0.
    lot : float
        Shares (contracts) in one unit of inventory: what one fill trades.
    """
    g, v = require_nonnegative("risk_aversion", risk_aversion), require_nonnegative("variance", variance)
    return 0.5 * g * require_positive("lot", lot) * v


def terminal_penalty_from_liquidation(
    half_spread: float, *, typical_inventory: float = 1.0, impact: float = 0.0
) -> float:
    """gamma such that gamma x^2 is what it costs to trade out of x lots at the close, price per inventory^2.

    Crossing the spread costs half_spread |x|; the quadratic that equals it at |x| = typical_inventory has the
    coefficient half_spread / typical_inventory. A linear impact of `impact` (price per lot) adds impact x^2.

    Parameters
    ----------
    half_spread : float
        Price, >= 0.
    typical_inventory : float
        Lots, > 0, at which the two are the same; below it gamma x^2 is too small, above it too large.
    impact : float
        Price per lot, >= 0.
    """
    h, x = require_nonnegative("half_spread", half_spread), require_positive("typical_inventory", typical_inventory)
    return h / x + require_nonnegative("impact", impact)
