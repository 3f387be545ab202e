"""Differences of accounts in words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backtests.audit.accounts import account_difference


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (np.datetime64("2020-01-20"), np.datetime64("2020-01-21"), ("rows.cell 2020-01-20", "rows.cell 2020-01-21")),
        (100.0, -0.5, ("rows.cell 100.0", "rows.cell -0.5")),
        ("buy", "sell", ("rows.cell 'buy'", "rows.cell 'sell'")),
    ],
)
def test_a_value_is_told_without_the_name_of_its_type(old, new, words):
    session = np.array(["2020-01-22"], dtype="datetime64[D]")
    one, other = (
        SimpleNamespace(tables=lambda value=value: {"rows": {"session": session, "cell": np.array([value])}})
        for value in (old, new)
    )
    found = account_difference(one, other, np.datetime64("2020-02-01"))
    assert (found.before, found.after) == words
