"""Decisions written down: what a pod wanted at each close, replayed beside its account, and the first to differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from strategies.pod import Decider, Targets

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a pod wanted at the close of a row, and the account that it was shown.

    Attributes
    ----------
    row : int
    kind : "none", "weights", "orders" or "error"
    values : (N,) float64
        Targets in the order of the instruments; zeros without any.
    words : str
        Of an error.
    weights : (N,) float64
    net_asset_value : float
    """

    row: int
    kind: Literal["none", "weights", "orders", "error"]
    values: Floats
    words: str
    weights: Floats
    net_asset_value: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision or row of an account that changed: where, and what it was before and after."""

    session: str
    instrument: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Recorder:
    """A decider that writes down what another one decides; its views begin with the panel."""

    decider: Decider
    log: list[Decision]

    def decide(self, view: MarketView) -> Targets | None:
        """The other one's decision."""
        targets = self.decider.decide(view)
        self.log.append(decision_of(view.n_sessions - 1, targets, view))
        return targets


def decision_of(row: int, targets: Targets | None, view: MarketView) -> Decision:
    """The decision in plain arrays."""
    size = len(view.instruments)
    value = view.net_asset_value
    if targets is None:
        return Decision(row, "none", np.zeros(size), "", view.weights, value)
    given = targets.weights if targets.weights is not None else targets.orders
    if isinstance(given, Mapping):
        strangers = sorted(set(given) - set(view.instruments))
        if strangers:
            return Decision(row, "error", np.zeros(size), f"unknown ticker {strangers[0]!r}", view.weights, value)
        values = np.array([float(given.get(name, 0.0)) for name in view.instruments])
    else:
        values = np.array(given, dtype=np.float64)
    return Decision(row, "weights" if targets.weights is not None else "orders", values, "", view.weights, value)


def replayed(
    fit: Callable[[], Decider],
    panel: DailyPanel,
    recorded: Sequence[Decision],
    *,
    visible: int | None = None,
    last_on: DailyPanel | None = None,
) -> list[Decision]:
    """The decisions of a newly fitted decider at the rows of `recorded`, beside the accounts that were recorded.

    What the pod raises is an outcome like any other: the decision at which it happened is an error, and the last.

    Parameters
    ----------
    visible : int, optional
        Sessions of history that each view has; default: all.
    last_on : DailyPanel, optional
        What the last decision is made on, instead of `panel`.
    """
    found: list[Decision] = []
    decider: Decider | None = None
    for old in recorded:
        first = 0 if visible is None else max(old.row - visible + 1, 0)
        try:
            data = last_on if last_on is not None and old is recorded[-1] else panel
            view = MarketView(data, old.row, first=first, weights=old.weights, net_asset_value=old.net_asset_value)
            decider = fit() if decider is None else decider
            found.append(decision_of(old.row, decider.decide(view), view))
        except Exception as error:  # noqa: BLE001  a user's pod may raise anything
            words = f"{type(error).__name__}: {error}"
            return [*found, Decision(old.row, "error", old.values, words, old.weights, old.net_asset_value)]
    return found


def first_difference(panel: DailyPanel, before: Sequence[Decision], after: Sequence[Decision]) -> Difference | None:
    """Where two records of the same rows part, to the byte; None where they do not."""
    for old, new in zip(before, after, strict=False):
        if new.kind == "error" and old.kind != "error":
            return Difference(str(panel.sessions[old.row]), "", _told(old), new.words)
        if old.kind != new.kind:
            return Difference(str(panel.sessions[old.row]), "", _told(old), _told(new))
        if old.values.shape != new.values.shape:
            return Difference(
                str(panel.sessions[old.row]), "", f"{old.values.size} values", f"{new.values.size} values"
            )
        if old.values.tobytes() != new.values.tobytes():
            apart = (old.values != new.values) & ~(np.isnan(old.values) & np.isnan(new.values))
            column = int(np.flatnonzero(apart)[0]) if apart.any() else 0
            return Difference(
                str(panel.sessions[old.row]),
                panel.instruments[column],
                f"{old.kind[:-1]} {float(old.values[column])!r}",
                f"{float(new.values[column])!r}",
            )
    return None


def _told(decision: Decision) -> str:
    return {"none": "no decision", "weights": "weights", "orders": "orders"}.get(decision.kind, decision.words)
