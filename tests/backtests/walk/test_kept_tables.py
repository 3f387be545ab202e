"""Accounts in the ledger: the tables that were written, and never those of two pods in memory."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from backtests.audit.lookahead import random_panel
from backtests.daily.accounting import TradingRules
from backtests.daily.simulator import Segment, simulate
from backtests.walk.fold_tasks import tables_bytes
from backtests.walk.kept_tables import ROWS_BY_INSTRUMENT, KeptAccounts
from backtests.walk.result import COLUMNS
from data_pipeline.daily.view import MarketView
from data_pipeline.tasks.ledger import Ledger
from mfg_core.daily.costs import TradingCosts
from strategies.equal_weight import EqualWeight
from strategies.execution import Immediate


@pytest.fixture
def written(tmp_path):
    """A ledger with the accounts of three capitals, and their tables."""
    panel, ledger, tables = random_panel(1, 120, 5), Ledger(tmp_path), {}
    costs = TradingCosts(np.full(5, 1e-3), np.full(5, 0.02), np.full(5, 1e6), 0.1, 0.0, 1e-4)
    decider = EqualWeight(universe_window=20, rebalance_every=5, min_traded_value=0.0).fit(MarketView(panel, 39))
    for name, capital in (("a", 1e5), ("b", 1e6), ("c", 1e7)):
        segment = Segment(40, 119, decider, costs, Immediate())
        account = simulate(panel, [segment], rules=TradingRules(), capital=capital)
        found = account.tables()
        price = account.price[account.orders.row, account.orders.instrument]
        found["orders"] = {
            column: price if column == "price" else found["orders"][column] for column in COLUMNS["orders"]
        }
        key = name * 64
        ledger.write(key, {}, tables_bytes(found, np.full((80, 2), capital)))
        tables[key] = found
    return ledger, tables


def test_the_tables_are_those_that_were_written(written):
    ledger, tables = written
    accounts = KeptAccounts(ledger)
    kept = {key: accounts.open(key) for key in tables}
    for key, wanted in tables.items():
        found, trials = kept[key]
        found = found.having("folds", {"fold": np.arange(3)})
        assert list(found) == list(COLUMNS)
        assert len(found) == len(COLUMNS)
        assert "nothing" not in found
        for name, table in wanted.items():
            assert list(found[name]) == list(COLUMNS[name])
            for column, values in table.items():
                text = COLUMNS[name][column] == "text"
                np.testing.assert_array_equal(found[name][column], np.asarray(values).astype(str) if text else values)
        assert trials.shape == (80, 2)
    assert len(kept["a" * 64][0]["positions"]["shares"]) > 100


def test_one_account_is_in_memory_at_a_time_and_read_once_for_all_its_tables(written, monkeypatch):
    ledger, tables = written
    accounts = KeptAccounts(ledger)
    kept = [accounts.open(key)[0] for key in tables]
    reads, read = [], Ledger.read
    monkeypatch.setattr(Ledger, "read", lambda self, key: (reads.append(key), read(self, key))[1])
    alive = []
    for one in kept:
        alive += [weakref.ref(one[name]["shares"]) for name in ROWS_BY_INSTRUMENT]
    gc.collect()
    assert reads == list(tables)
    assert [place() is not None for place in alive] == [False] * 6 + [True] * 3
