"""A market maker that becomes passive, or stands aside, while the flow is toxic or the mid moves fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from strategies.checks import require
from strategies.intraday.features import FEATURES, window_signals
from strategies.intraday.maker_pod import MakerStyle, QuoteMaker, require_number, require_whole
from strategies.intraday.makers import SingleMaker
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import QuoteTable, RegimeSignals, quoting_rule_of
from strategies.intraday.rule import Rule
from strategies.pod import Parameter, parameters_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeSwitch(MakerStyle):
    """One maker's quotes while the market is calm, another's or none while it is not.

    The signals are toxicity (imbalance of buyers' and sellers' lots) and volatility of the mid over the last `window`
    intervals of the training's features; the thresholds are quantiles of the same signals in training. Passive begins
    when one of them is above its `enter` quantile and ends when neither is above its `leave` quantile. A session begins
    active, until the first window is whole.

    Attributes
    ----------
    active, passive : market-making pods
        Whose tables are used; their style is not (the clock and the reference are this pod's). `passive` None stands
        aside: no quotes at all.
    window : int
        Intervals.
    toxicity_enter, toxicity_leave, volatility_enter, volatility_leave : float
        Quantiles in [0, 1], leave not above enter; enter 1: the largest value seen in training.
    """

    name: str = "regime_switch"
    active: QuoteMaker = field(default_factory=SingleMaker)
    passive: QuoteMaker | None = None
    window: int = 5
    toxicity_enter: float = 0.9
    toxicity_leave: float = 0.7
    volatility_enter: float = 0.9
    volatility_leave: float = 0.7

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.check_style()
        require_whole(self.name, "window", self.window, 1)
        for name, maker in (("active", self.active), ("passive", self.passive)):
            able = callable(getattr(maker, "quotes", None)) or (name == "passive" and maker is None)
            require(able, self.name, name, "a market-making pod (passive: or none)", maker)
        for signal in ("toxicity", "volatility"):
            enter, leave = getattr(self, f"{signal}_enter"), getattr(self, f"{signal}_leave")
            require_number(self.name, f"{signal}_enter", enter, low=0.0)
            require(enter <= 1.0, self.name, f"{signal}_enter", "a quantile in [0, 1]", enter)
            require(0.0 <= leave <= enter, self.name, f"{signal}_leave", f"in [0, {signal}_enter {enter:g}]", leave)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name; of each maker its name with its own parameters."""
        makers = {"active": _described(self.active), "passive": _described(self.passive)}
        return parameters_of(self) | makers

    def fit(self, training: IntradayTraining) -> Rule:
        """The shared rule with both tables and the signals."""
        signals = self.signals(training)
        active = self.active.quotes(training)
        notes: dict[str, Any] = {"active": {"name": self.active.name, **active.notes}}
        if self.passive is None:
            table = _no_quotes(active.table)
            notes["passive"] = {"name": "stands aside"}
        else:
            passive = self.passive.quotes(training)
            table = passive.table
            notes["passive"] = {"name": self.passive.name, **passive.notes}
        notes["signals"] = {
            "interval_seconds": signals.interval_seconds,
            "window": signals.window,
            "toxicity": list(signals.toxicity),
            "volatility": list(signals.volatility),
        }
        return quoting_rule_of(self.name, training, [active.table, table], self.style, signals, notes)

    def signals(self, training: IntradayTraining) -> RegimeSignals:
        """The thresholds: quantiles of the training's own signals.

        Raises
        ------
        ValueError
            When the training has no features, intervals of more than one length, or no whole window.
        """
        missing = [name for name in FEATURES if name not in training.features]
        require(not missing, self.name, "features of the training", f"there: {', '.join(FEATURES)}", missing)
        lengths = np.unique(training.features["seconds"])
        require(lengths.size == 1, self.name, "seconds of the features", "one length of interval", lengths.tolist())
        toxicity, volatility = window_signals(training.features, self.window)
        rule = f"at most the {training.features['seconds'].size} intervals of the longest training session"
        require(toxicity.size > 0, self.name, "window", rule, self.window)
        return RegimeSignals(
            interval_seconds=float(lengths[0]),
            window=self.window,
            toxicity=_quantiles(toxicity, self.toxicity_enter, self.toxicity_leave),
            volatility=_quantiles(volatility, self.volatility_enter, self.volatility_leave),
        )


def _quantiles(values: np.ndarray[Any, np.dtype[np.float64]], enter: float, leave: float) -> tuple[float, float]:
    return float(np.quantile(values, enter)), float(np.quantile(values, leave))


def _no_quotes(table: QuoteTable) -> QuoteTable:
    quotes = np.full_like(table.half_spreads[:, :3], np.nan)
    return replace(table, half_spreads=quotes, times=table.times[[0, -1]])


def _described(maker: QuoteMaker | None) -> str:
    if maker is None:
        return "stands aside"
    inner = ", ".join(f"{name}={value!r}" for name, value in sorted(maker.parameters.items()))
    return f"{type(maker).__name__}({inner})"
