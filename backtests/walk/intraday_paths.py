"""The out-of-sample paths of an intraday run: accounts of fixed lots over the sessions that its splits test."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from backtests.walk.blocks import Block
from backtests.walk.combinatorial import Split, path_splits
from backtests.walk.intraday_assembly import fixed_lots_account, session_rate
from backtests.walk.intraday_plan import IntradayPlan
from backtests.walk.path_record import PathScheme, path_files

Profits = Mapping[tuple[str, int, int], float]
"""Money by pod, split and row of the session, all instruments together, under the main assumptions."""


def intraday_path_files(
    plan: IntradayPlan, sessions: Sequence[str], splits: Sequence[Split], profits: Profits
) -> dict[str, bytes]:
    """The files of the run that hold its paths; none without combinatorial settings."""
    if plan.combinatorial is None:
        return {}
    scheme = PathScheme(
        settings=plan.combinatorial,
        days=np.array(sessions, dtype="datetime64[D]"),
        rows=range(len(sessions)),
        pods=tuple(pod.name for pod in plan.pods),
        capital=plan.capital,
        sessions_per_year=plan.sessions_per_year,
    )
    return path_files(scheme, splits, path_blocks(scheme, profits, session_rate(plan)))


def path_blocks(scheme: PathScheme, profits: Profits, rate: float) -> dict[tuple[str, int], tuple[Block, ...]]:
    """Returns of each pod and path, group by group.

    A path is one account, as the rolling one is: fixed lots, profits added to what the path has become, interest of
    `rate` a session. Sessions start flat, so nothing but that sum goes from one to the next and none is left out.
    """
    groups = scheme.groups
    edges = np.cumsum([0, *(len(rows) for rows in groups)])
    found = {}
    for pod in scheme.pods:
        for path, chosen in enumerate(path_splits(scheme.settings)):
            profit = np.array(
                [profits[pod, int(split), row] for rows, split in zip(groups, chosen, strict=True) for row in rows]
            )
            _, returns, _ = fixed_lots_account(profit, scheme.capital, rate)
            found[pod, path] = tuple(
                Block(group, returns[first:last], np.full(last - first, rate))
                for group, (first, last) in enumerate(itertools.pairwise(edges))
            )
    return found
