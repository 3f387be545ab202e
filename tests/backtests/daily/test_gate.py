"""The limits of an account between closes: what is measured, and when."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from backtests.daily.gate import Gate
from backtests.daily.measures import Measures
from risk.limits import default_limits

CALM = Measures(0.01, 0.01, 0.5, 0.5, 0.1, 0.025, "PETR", 0.05)
LARGE = dataclasses.replace(CALM, largest_issuer_weight=0.3)


def never() -> Measures:
    raise AssertionError("nothing has to be told apart at this close")


def test_the_book_without_its_fills_is_measured_only_where_a_breach_opens():
    gate = Gate(default_limits(), 1e6)
    assert gate.close(0, 1e6, CALM, never, np.ones(3)) == ()
    assert {breach.level for breach in gate.close(1, 1e6, LARGE, lambda: CALM, np.ones(3))} == {"amber", "hard"}
    assert gate.close(2, 1e6, LARGE, never, np.ones(3)) == ()  # still open: nothing new to tell
    assert gate.status == "REDUCING"


@pytest.mark.parametrize(("without", "kind"), [(CALM, "active"), (LARGE, "passive")])
def test_a_breach_is_active_where_the_fills_made_it(without, kind):
    gate = Gate(default_limits(), 1e6)
    breaches = gate.close(0, 1e6, LARGE, lambda: without, np.ones(3))
    assert [breach.kind for breach in breaches] == [kind] * len(breaches)
    assert gate.acts
    closed = gate.close(1, 1e6, CALM, lambda: CALM, np.ones(3))
    assert {breach.id for breach in closed} == {breach.id for breach in breaches}
    assert gate.status == "ACTIVE"
    assert gate.restores
