"""How a fold chooses a pod's parameters inside its training window: by screening, or by an inner cross-validation.

    screen   each set is fitted on the whole window and replayed over it: cheap, and flattered by whatever it fitted
    nested   purged K-fold inside the window: each set is fitted without a fold, replayed over it, and scored on all
             folds together; the chosen set is then fitted on the whole window

Neither sees a tested session. The nested scores are out of sample of each fit, but of the choice they are not: the
best of many is still the best of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtests.daily.screening import Floats, replay, scored, screen
from backtests.walk.combinatorial import Split, inner_folds
from backtests.walk.plan import ChoiceRule
from backtests.walk.training import view_of
from data_pipeline.daily.panel import DailyPanel
from mfg_core.daily.costs import TradingCosts
from strategies.pod import Pod


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """Annual Sharpe ratios by which a parameter set is chosen.

    Attributes
    ----------
    scores : tuple of float
        One per parameter set, over all sessions scored; NaN for a set that never traded.
    observations : int
        Sessions scored.
    inner_scores : tuple of tuples
        (inner fold, parameter set) of a nested choice, inner folds with scored sessions only.
    """

    scores: tuple[float, ...]
    observations: int
    inner_scores: tuple[tuple[float, ...], ...] = ()


def score_choices(
    panel: DailyPanel, ranges: Sequence[range], pods: Sequence[Pod], costs: TradingCosts, rule: ChoiceRule
) -> ChoiceScores:
    """Scores of `pods` (one pod under several parameter sets) on the training rows `ranges`, and on nothing else.

    Raises
    ------
    ValueError
        When no training range is longer than the longest warm-up, or (as WindowError) an inner fold leaves nothing
        to train on.
    """
    if rule.kind == "screen":
        found = screen(panel, ranges, pods, costs, training=view_of(panel, ranges))
        return ChoiceScores(tuple(map(float, found.sharpe)), found.returns.shape[0])
    label_end = np.arange(panel.sessions.size) + rule.purge
    parts = [
        returns
        for inner in inner_folds(ranges, rule.folds, label_end, rule.embargo)
        if (returns := _tested(panel, ranges, inner, pods, costs)).shape[0] > 1
    ]
    if not parts:
        longest = max(pods, key=lambda pod: pod.lookback)
        raise ValueError(
            f"the training window must leave sessions to score after the {longest.lookback} that pod {longest.name!r} "
            "reads: lengthen it or shorten the pod's windows"
        )
    pooled = scored(np.concatenate(parts))
    return ChoiceScores(
        tuple(map(float, pooled.sharpe)),
        pooled.returns.shape[0],
        tuple(tuple(map(float, scored(part).sharpe)) for part in parts),
    )


def _tested(
    panel: DailyPanel, ranges: Sequence[range], inner: Split, pods: Sequence[Pod], costs: TradingCosts
) -> Floats:
    """Daily excess returns (t, P) over the rows that an inner fold tests, each set fitted on the rows that it trains.

    The sessions before a tested row in its own training range are its warm-up; rows without a whole one are left out.
    """
    warm_up = max(pod.lookback for pod in pods)
    fitted = view_of(panel, inner.train)
    deciders = [pod.fit(fitted) for pod in pods]
    parts = [np.empty((0, len(pods)))]
    for test in inner.tests:
        first = next(piece.start for piece in ranges if test.start in piece)
        rows = range(max(test.start, first + warm_up - 1), test.stop)
        if len(rows) >= 2:
            parts.append(replay(panel, deciders, rows, costs, first=first, pod=pods[0].name))
    return np.concatenate(parts)
