"""Summaries joined: the worst light, red reasons first, nothing lost."""

from __future__ import annotations

from data_pipeline.quality.summary import joined


def test_the_worst_light_and_its_reasons_come_first():
    daily = {"light": "amber", "reasons": ["a hole"], "totals": {"rows": 3}, "gaps": [1]}
    feeds = {"light": "red", "reasons": ["a broken day"], "totals": {"intraday": 2}, "intraday": [2]}
    whole = joined([daily, feeds])
    assert whole["light"] == "red"
    assert whole["reasons"] == ["a broken day", "a hole"]
    assert whole["totals"] == {"rows": 3, "intraday": 2}
    assert (whole["gaps"], whole["intraday"]) == ([1], [2])
    assert joined([daily]) == daily
