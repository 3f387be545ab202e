"""Pods that cheat, each beside a twin that does the same honestly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_pipeline.daily.view import MarketView
from strategies.pod import Targets

N = 5


def held(scores: np.ndarray) -> Targets:
    """Half of the account, by the ranks of the scores: any change of order shows."""
    ranks = np.argsort(np.argsort(np.nan_to_num(scores)))
    return Targets(weights=0.5 * ranks / ranks.sum())


@dataclass(frozen=True)
class Base:
    name: str = "pod"
    honest: bool = False
    lookback: int = 12
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, training: MarketView) -> Base:
        return self

    def decide(self, view: MarketView) -> Targets | None:
        return held(self.scores(view, view._panel, view._now))

    def scores(self, view: MarketView, panel: Any, now: int) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class ShiftMinusOne(Base):
    """The next session's return, as pandas' shift(-1) would bring it in."""

    def scores(self, view, panel, now):
        close = panel.close
        row = now if self.honest else min(now + 1, len(close) - 1)
        return close[row] / close[row - 1]


@dataclass(frozen=True)
class CentredWindow(Base):
    """Mean volume of a window around the session instead of before it."""

    def scores(self, view, panel, now):
        first, last = (now - 10, now + 1) if self.honest else (now - 5, now + 6)
        return panel.volume[first:last].mean(axis=0)


@dataclass(frozen=True)
class NormalisedOverAll(Base):
    """A feature in standard deviations of the whole file."""

    def scores(self, view, panel, now):
        spread = panel.ask / panel.bid - 1.0
        past = spread[now - 11 : now + 1] if self.honest else spread
        return (spread[now] - past.mean(axis=0)) / np.maximum(past.std(axis=0), 1e-12)


@dataclass(frozen=True)
class JoinedByPeriod(Base):
    """Cash joined by its ex session, not by the session at which its size was public."""

    lookback: int = 2

    def scores(self, view, panel, now):
        cash = np.arange(N) * 1e-9
        for event in panel.events:
            known = event.known_session if self.honest else event.ex_session
            if event.ex_session <= now and known <= now:
                cash[event.instrument] += event.cash
        return cash


@dataclass(frozen=True)
class FittedOnAll(Base):
    """A fit on the last row of the file instead of the last of the training window."""

    growth: tuple[float, ...] = ()

    def fit(self, training):
        close = training.history("close", 2) if self.honest else training._panel.close
        return FittedOnAll(self.name, self.honest, growth=tuple(close[-1] / close[0]))

    def scores(self, view, panel, now):
        return np.array(self.growth)


@dataclass(frozen=True)
class CountsSessions(Base):
    """Sells before the data end."""

    def scores(self, view, panel, now):
        left = 5 if self.honest else len(panel.sessions) - now
        return np.arange(N) * (1.0 if left > 3 else -1.0) * (1 + left % 2)


@dataclass(frozen=True)
class Understated(Base):
    """Declares twelve sessions and reads thirty."""

    def scores(self, view, panel, now):
        return view.history("close", 12 if self.honest else min(30, view.n_sessions))[0]


@dataclass(frozen=True)
class FromTheStart(Base):
    """A mean of traded value over all of history: another file, another decision."""

    def scores(self, view, panel, now):
        return view.history("traded_value", 12 if self.honest else view.n_sessions).mean(axis=0)


PLANTED = (
    ShiftMinusOne,
    CentredWindow,
    NormalisedOverAll,
    JoinedByPeriod,
    FittedOnAll,
    CountsSessions,
    Understated,
    FromTheStart,
)
