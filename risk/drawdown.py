"""Drawdowns of a path of net asset values, the starting value included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from risk.var import expected_shortfall


@dataclass(frozen=True, slots=True)
class DrawdownSpell:
    """One fall below a high-water mark.

    Attributes
    ----------
    depth : float
        Largest loss from the mark, as a fraction of it.
    peak, trough : int
        Rows of the mark (its last day) and of the lowest value.
    recovery : int or None
        Row at which the mark is reached again; None while the spell is open.
    under_water : int
        Closes below the mark.
    """

    depth: float
    peak: int
    trough: int
    recovery: int | None
    under_water: int


def drawdown_path(net_asset_value: ArrayLike) -> NDArray[np.float64]:
    """dd_t = 1 - V_t / max_(s<=t) V_s of a path (n,) that begins with the starting value; dd_0 = 0.

    The starting value belongs to the path: dropping it hides a loss on the first day.

    Raises
    ------
    ValueError
        When a value is not finite or the first is not positive (later ones may be: a loss of 100 % or more).
    """
    values = np.asarray(net_asset_value, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"net_asset_value must be one-dimensional and not empty; was of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"net_asset_value must be finite; was not at row {int(np.argmin(np.isfinite(values)))}")
    if values[0] <= 0:
        raise ValueError(f"net_asset_value must begin above zero; was {values[0]}")
    mark = np.maximum.accumulate(values)
    return np.asarray((mark - values) / mark)


def path_from_returns(returns: ArrayLike) -> NDArray[np.float64]:
    """Compounded value of 1 (n + 1,), the start included, from simple returns (n,); NaN returns count as 0."""
    simple = np.nan_to_num(np.asarray(returns, dtype=np.float64), nan=0.0)
    return np.concatenate([[1.0], np.cumprod(1.0 + simple)])


def maximum_drawdown(net_asset_value: ArrayLike) -> float:
    """Largest entry of `drawdown_path`: 0 for a path that never falls."""
    return float(drawdown_path(net_asset_value).max())


def drawdown_spells(net_asset_value: ArrayLike) -> tuple[DrawdownSpell, ...]:
    """Every fall below a high-water mark, in time order, with its peak, trough, recovery and closes under water."""
    path = drawdown_path(net_asset_value)
    below = path > 0
    edges = np.diff(np.concatenate([[False], below, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple(
        DrawdownSpell(
            depth=float(path[start:end].max()),
            peak=int(start - 1),
            trough=int(start + np.argmax(path[start:end])),
            recovery=int(end) if end < path.size else None,
            under_water=int(end - start),
        )
        for start, end in zip(starts, ends, strict=True)
    )


def conditional_drawdown_at_risk(net_asset_value: ArrayLike, confidence: float = 0.95) -> float:
    """Mean of the worst 1 - confidence of the drawdown path (its zeros and its start included).

    Chekhlov, Uryasev & Zabarankin (2005), with the exact tail mean of `expected_shortfall`.
    """
    return expected_shortfall(-drawdown_path(net_asset_value), confidence)


def ulcer_index(net_asset_value: ArrayLike) -> float:
    """sqrt(mean dd^2) over the path, its start included (Martin & McCann 1989, as a fraction)."""
    return float(np.sqrt(np.mean(drawdown_path(net_asset_value) ** 2)))
