"""The written exchange through the project's own parser, store and panel, against its truth."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict

import numpy as np
import pytest

from data_pipeline.daily.panel_build import build_panel
from data_pipeline.feeds.cotahist.parser import read_cotahist
from data_pipeline.ingest import ingest
from data_pipeline.store import Store

PARSED = {
    "open_cents": "open",
    "high_cents": "high",
    "low_cents": "low",
    "average_cents": "average",
    "close_cents": "close",
    "trade_count_mod": "trades",
    "quantity": "quantity",
    "traded_value_cents": "value",
    "strike_cents": "strike",
    "quotation_factor": "factor",
    "distribution": "distribution",
    "market_type": "market",
}


@pytest.fixture(scope="module")
def store(exchange, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    report = ingest(exchange.raw, path)
    assert not report.refused
    return Store.open(path)


@pytest.fixture(scope="module")
def panel(store):
    return build_panel(store)


def test_the_parser_reads_what_slicing_reads(exchange, quotes):
    tables = [read_cotahist(exchange.raw / name) for name in exchange.records]
    assert [table.num_rows for table in tables] == list(exchange.records.values())
    for column, name in PARSED.items():
        parsed = np.concatenate([table[column].to_numpy() for table in tables])
        np.testing.assert_array_equal(parsed, getattr(quotes, name), err_msg=column)
    for column in ("ticker", "isin", "bdi_code"):
        parsed = [text for table in tables for text in table[column].to_pylist()]
        sliced = [text.decode().rstrip() for text in getattr(quotes, column.removesuffix("_code"))]
        assert parsed == sliced
    for column, name in (("bid_cents", "bid"), ("ask_cents", "ask")):
        parsed = [value for table in tables for value in table[column].to_pylist()]
        assert [value or 0 for value in parsed] == getattr(quotes, name).tolist()
        assert 0 not in parsed


def test_the_store_holds_every_record_and_quarantines_none(store, exchange):
    assert store.read(columns=["session"]).num_rows == sum(exchange.records.values())
    assert sum(source.quarantined for source in store.manifest.sources) == 0


def test_the_panel_finds_every_action_and_no_other(panel, truth):
    first_name = {one["new"]: one["old"] for one in truth["renamed"]}
    kinds = {"rights": "subscription"}
    expected, sizes = defaultdict(list), {}
    for action in truth["actions"]:
        key = (first_name.get(action["ticker"], action["ticker"]), action["ex_session"])
        kind = kinds.get(action["kind"], action["kind"])
        expected[key].append(kind)
        sizes[*key, kind] = (action["share_factor"], action["cash"])
    found = defaultdict(list)
    for event in panel.events:
        key = (panel.instruments[event.instrument], str(panel.sessions[event.ex_session]))
        found[key].append(event.kind)
        factor, cash = sizes[*key, event.kind]
        assert event.share_factor == pytest.approx(factor, rel=1e-9)
        assert event.cash == pytest.approx(cash, rel=1e-7)
    traded = {
        key: sorted(value)
        for key, value in expected.items()
        if np.isfinite(
            panel.close[np.searchsorted(panel.sessions, np.datetime64(key[1])), panel.instruments.index(key[0])]
        )
    }
    assert {key: sorted(value) for key, value in found.items() if key in traded} == traded
    assert len(panel.events) == len(truth["actions"])


def test_the_split_that_the_feed_leaves_out_is_sized_from_prices(panel, truth):
    (missing,) = [action for action in truth["actions"] if not action["in_feed"]]
    column = panel.instruments.index(missing["ticker"])
    row = int(np.searchsorted(panel.sessions, np.datetime64(missing["ex_session"])))
    (event,) = [one for one in panel.events if one.instrument == column and one.ex_session == row]
    assert event.share_factor == 3.0
    assert 0.5 < event.confidence < 1.0
    assert event.known_session == row


def test_the_fraud_is_no_event(panel, truth):
    (crash,) = [one for one in truth["company_crashes"] if one["role"] == "fraud"]
    column = panel.instruments.index(crash["ticker"])
    row = int(np.searchsorted(panel.sessions, np.datetime64(crash["session"])))
    assert panel.close[row, column] < 0.45 * panel.close[row - 1, column]
    assert [one for one in panel.events if one.instrument == column and one.ex_session == row] == []


def test_total_returns_of_the_panel_are_those_of_the_economy(panel, daily, truth):
    """Undoing the known actions leaves the simulated log returns, up to half-spreads and ticks."""
    ticker = next(paper["ticker"] for paper in truth["papers"] if paper["role"] == "split_10")
    column = panel.instruments.index(ticker)
    close = panel.close[:, column]
    cash, factor = np.zeros(len(close)), np.ones(len(close))
    for event in panel.events:
        if event.instrument == column:
            cash[event.ex_session] += event.cash
            factor[event.ex_session] *= event.share_factor
    measured = np.log(close[1:] * factor[1:] / (close[:-1] - cash[1:]))
    mine = daily[daily.ticker == ticker]
    expected = (mine.overnight + mine.intraday).to_numpy()[1:]
    slack = (mine.half_spread.to_numpy() + 0.01) / mine.close_mid.to_numpy()
    assert np.all(np.abs(measured - expected) < 1.5 * (slack[1:] + slack[:-1]))


def test_cash_earns_the_cdi_of_the_feed(panel, exchange):
    rows = json.loads((exchange.raw / "cdi.json").read_text("utf-8"))
    rates = {datetime.datetime.strptime(row["data"], "%d/%m/%Y").date(): float(row["valor"]) for row in rows}
    sessions = [day.item() for day in panel.sessions]
    for row in range(1, len(sessions)):
        growth = np.prod(
            [1.0 + rate / 100.0 for day, rate in rates.items() if sessions[row - 1] <= day < sessions[row]]
        )
        assert panel.risk_free[row] == pytest.approx(growth - 1.0, rel=1e-9)
