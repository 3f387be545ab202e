"""From what a pod wants to shares: every decision is checked before it touches an account."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from backtests.errors import BacktestError
from data_pipeline.daily.view import MarketView
from strategies.pod import Targets

Floats = NDArray[np.float64]


class DecisionError(BacktestError, ValueError):
    """A decision that cannot be carried out; the message names pod, session, instrument and rule."""


def wanted_shares(
    targets: Targets, view: MarketView, shares: Floats, marks: Floats, *, pod: str, gross_limit: float
) -> Floats:
    """The positions (N,) in shares that a decision asks for, not yet in whole lots.

    Raises
    ------
    DecisionError
        When both or none of weights and orders are given, a number is not finite, the length is wrong, a ticker is
        unknown, an instrument has never traded, or the weights exceed the gross limit.
    """
    place = f"pod {pod!r} at {view.session}"
    if (targets.weights is None) == (targets.orders is None):
        raise DecisionError(f"{place}: a decision must give either weights or orders; gave both or none")
    if targets.orders is not None:
        orders = per_instrument(targets.orders, view.instruments, "orders", place)
        _require_price(orders, marks, view.instruments, "orders", place)
        return shares + orders
    given = targets.weights if targets.weights is not None else {}
    weights = per_instrument(given, view.instruments, "weights", place)
    _require_price(weights, marks, view.instruments, "weights", place)
    gross = float(np.abs(weights).sum())
    if gross > gross_limit * (1.0 + 1e-9):
        largest = view.instruments[int(np.argmax(np.abs(weights)))]
        raise DecisionError(
            f"{place}: the sum of |weights| must be at most the gross limit {gross_limit:g}; was {gross:.6g} "
            f"(largest: {largest}): scale the weights, or raise gross_limit"
        )
    held = weights != 0.0
    wanted = np.zeros_like(weights)
    wanted[held] = weights[held] * view.net_asset_value / marks[held]
    return wanted


def per_instrument(
    given: NDArray[np.float64] | Mapping[str, float], instruments: tuple[str, ...], name: str, place: str
) -> Floats:
    """The numbers (N,) of a decision, one per instrument; `place` (pod and session) begins every error.

    Raises
    ------
    DecisionError
        When a ticker is unknown, the length is wrong or a number is not finite.
    """
    if isinstance(given, Mapping):
        values = np.zeros(len(instruments))
        index = {ticker: i for i, ticker in enumerate(instruments)}
        for ticker, value in given.items():
            if ticker not in index:
                near = difflib.get_close_matches(str(ticker), instruments, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise DecisionError(f"{place}: {name} must name instruments of the panel; {ticker!r} is not one{hint}")
            values[index[ticker]] = value
    else:
        values = np.array(given, dtype=np.float64)
        if values.shape != (len(instruments),):
            raise DecisionError(
                f"{place}: {name} must have one entry for each of {len(instruments)} instruments; was {values.shape}"
            )
    bad = ~np.isfinite(values)
    if bad.any():
        ticker = instruments[int(np.argmax(bad))]
        raise DecisionError(f"{place}: {name} must be finite; was {values[bad][0]} for {ticker}")
    return values


def _require_price(values: Floats, marks: Floats, instruments: tuple[str, ...], name: str, place: str) -> None:
    unknown = (values != 0.0) & ~np.isfinite(marks)
    if unknown.any():
        ticker = instruments[int(np.argmax(unknown))]
        raise DecisionError(f"{place}: {name} must be zero for {ticker}, which has not traded yet")
