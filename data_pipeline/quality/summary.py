"""Several quality summaries as one: the worst light, all reasons, the red ones first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

LIGHTS: Final = ("green", "amber", "red")


def joined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary with the keys of all; each list must be in one of them only."""
    worst_first = sorted(summaries, key=lambda summary: -LIGHTS.index(summary["light"]))
    whole: dict[str, Any] = {
        "light": worst_first[0]["light"],
        "reasons": [reason for summary in worst_first for reason in summary["reasons"]],
        "totals": {name: count for summary in summaries for name, count in summary["totals"].items()},
    }
    for summary in summaries:
        whole |= {name: content for name, content in summary.items() if name not in whole}
    return whole
