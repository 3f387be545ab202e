"""Fills at the calibrated rates beside the other models of an event run: what a fold's own market says of its quotes.

One task a pod, fold and instrument simulates sessions of the chosen parameter set in the market of its training. Test
sessions are independent draws of it: n of them have n times the mean, and an error of sqrt(n) standard deviations plus
that of the mean itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from scipy.special import ndtri

from backtests.walk.intraday_tasks import FitTask, training_of
from data_pipeline.disk import canonical_json

PATHS: Final = 400
"""Simulated sessions."""
LEVEL: Final = 0.05


def poisson_session(task: FitTask) -> bytes:
    """Mean and standard deviation of the profit of a session, or why there is none."""
    from backtests.intraday.poisson_bound import poisson_bound, table_quoting

    quotes = getattr(task.pod, "quotes", None)
    if not callable(quotes):
        return canonical_json({"reason": "the pod has no table of quotes of its own"})
    training, _ = training_of(task)
    bound = poisson_bound(
        training, table_quoting(quotes(training).table, training.seconds), seconds=training.seconds, paths=PATHS
    )
    record = {"mean": bound.mean, "deviation": bound.deviation, "paths": bound.profits.size, "words": bound.words}
    return canonical_json(record | {"fills": bound.fills, "adverse_ticks": bound.adverse_ticks})


def read_poisson(payload: bytes) -> dict[str, Any]:
    """The record of `poisson_session`."""
    found: dict[str, Any] = json.loads(payload)
    return found


def poisson_record(parts: Iterable[tuple[Mapping[str, Any], int]]) -> dict[str, Any]:
    """The profit of a pod over all its test sessions: records of folds and instruments with the number of sessions.

    `verdict` is the sign of the profit where a normal law of that error has it at the 5 % level, else 0.
    """
    found = list(parts)
    reasons = sorted({record["reason"] for record, _ in found if "reason" in record})
    if reasons:
        return {"reason": "; ".join(reasons)}
    total = sum(count * record["mean"] for record, count in found)
    variance = sum(record["deviation"] ** 2 * (count + count**2 / record["paths"]) for record, count in found)
    error = math.sqrt(variance)
    sure = abs(total) > -float(ndtri(0.5 * LEVEL)) * error
    return {
        "profit": {"total": total, "error": error, "verdict": int(math.copysign(1.0, total)) if sure and total else 0},
        "fills": sum(count * record["fills"] for record, count in found),
        "sessions": sum(count for _, count in found),
        "words": [record["words"] for record, _ in found],
    }
