"""The data-quality verdict that a run obeys: sessions that are not good enough are refused or told, never ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.errors import DataQualityError
from backtests.walk.folds import Fold
from backtests.walk.plan import WalkForwardPlan

_NAMED: Final = 8


def judge_sessions(
    plan: WalkForwardPlan, sessions: NDArray[np.datetime64], folds: Sequence[Fold], quality: Mapping[str, Any]
) -> dict[str, Any]:
    """The quality summary with `flagged_sessions`: those of the folds whose score is below the plan's minimum.

    Each has its session, its score, its problems, and the windows it lies in ("training", "test" or both). A summary
    without `poor_sessions` has no scores, and is returned as it is.

    Raises
    ------
    DataQualityError
        When there are any and the plan says that they are to be refused.
    """
    if "poor_sessions" not in quality:
        return dict(quality)
    train = {row for fold in folds for row in fold.train}
    test = {row for fold in folds for row in fold.test}
    row_of = {str(day): row for row, day in enumerate(sessions)}
    flagged = []
    for record in quality["poor_sessions"]:
        row = row_of.get(record["session"])
        windows = [name for name, rows in (("training", train), ("test", test)) if row in rows]
        if windows and record["score"] < plan.minimum_quality:
            flagged.append(dict(record) | {"windows": " and ".join(windows)})
    if flagged and plan.below_minimum == "refuse":
        raise DataQualityError(_refusal(plan, flagged))
    return _with_reason(quality, flagged)


def _refusal(plan: WalkForwardPlan, flagged: Sequence[Mapping[str, Any]]) -> str:
    named = ", ".join(f"{r['session']} ({r['score']:.2f}: {r['problems']})" for r in flagged[:_NAMED])
    more = f" and {len(flagged) - _NAMED} more" if len(flagged) > _NAMED else ""
    return (
        f"{len(flagged)} session(s) of the run have a data-quality score below {plan.minimum_quality:g}: "
        f"{named}{more}. "
        "Mend the data (`fairfield quality` shows them all), choose other dates, or set "
        'data.below_minimum = "flag" to run on them and be told'
    )


def _with_reason(quality: Mapping[str, Any], flagged: list[dict[str, Any]]) -> dict[str, Any]:
    judged = dict(quality) | {"flagged_sessions": flagged}
    if flagged:
        tested = sum("test" in record["windows"] for record in flagged)
        words = f"{len(flagged)} session(s) of the run, {tested} of them tested on, have a poor score"
        judged["reasons"] = [*quality.get("reasons", ()), words]
        judged["light"] = "red" if quality.get("light") == "red" else "amber"
    return judged
