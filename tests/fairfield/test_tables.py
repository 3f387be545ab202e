"""The compact table of pods."""

from __future__ import annotations

from fairfield.tables import pod_table


def test_a_drawdown_of_nothing_has_no_sign():
    assert "-0.00%" not in pod_table({"hold": {"max_drawdown": -0.0}})[1]
    assert "1.58%" in pod_table({"hold": {"max_drawdown": 0.0158}})[1]
