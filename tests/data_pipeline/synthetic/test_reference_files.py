"""Reference files of the synthetic exchange through the project's own readers, against the exchange's truth."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.daily.adjust import return_since_last_close, window_price_factor
from data_pipeline.daily.panel_build import build_panel
from data_pipeline.daily.risk_free import risk_free_returns
from data_pipeline.feeds.reading import Tally
from data_pipeline.feeds.reference.contracts import Contract, expiry_of, parse_contract
from data_pipeline.feeds.reference.index_levels import INDEX_LEVELS
from data_pipeline.feeds.reference.price_report import PRICE_REPORT, RULE_OLD_VERSIONS
from data_pipeline.feeds.reference.rates import joined_cdi
from data_pipeline.feeds.reference.settlements import SETTLEMENTS
from data_pipeline.feeds.reference.sgs import SGS
from data_pipeline.ingest import ingest
from data_pipeline.reference.continuous import continuous_future, di1_accrual
from data_pipeline.schema import CDI_SCHEMA
from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.store import Store
from data_pipeline.synthetic.futures import ROOTS, _wednesday
from data_pipeline.synthetic.price_reports import cut_percent, decimal
from data_pipeline.synthetic.reference_files import write_reference_files
from data_pipeline.tables.catalog import SETTLEMENTS as SETTLEMENTS_SPEC


@pytest.fixture(scope="module")
def files(config, tmp_path_factory):
    return write_reference_files(tmp_path_factory.mktemp("reference"), config)


def drawn(feed, path, table):
    """Rows of one table that the feed gives for a file, and what it counted."""
    tally = Tally()
    batches = [batch.rows for batch in feed.read((path,), tally, {}) if batch.table == table]
    return pa.concat_tables(batches).to_pylist(), tally


@pytest.fixture(scope="module")
def read_reports(files):
    """Rows by table, session and symbol of every price report."""
    rows = {"price_reports": {}, "settlements": {}}
    for session, path in files.reports.items():
        tally = Tally()
        for table in rows:
            rows[table][session] = {}
        for batch in PRICE_REPORT.read((path,), tally, {}):
            found = {row["symbol"]: row for row in batch.rows.to_pylist()}
            assert len(found) == batch.rows.num_rows
            rows[batch.table][session] |= found
        assert tally.counts == {RULE_OLD_VERSIONS: 1}
    return rows


@pytest.fixture(scope="module")
def reports(read_reports):
    return read_reports["price_reports"]


@pytest.fixture(scope="module")
def panel(exchange, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "store"
    assert ingest(exchange.raw, path).complete
    return build_panel(Store.open(path))


def test_every_figure_of_every_share_is_read_back(files, reports, config):
    assert [str(day) for day in reports] == [
        str(day) for day in b3_sessions(str(config.first_session), str(config.last_session))
    ]
    for session, shares in files.shares.items():
        assert len(shares) > 15
        for one in shares:
            row = reports[session][one.ticker]
            assert (row["trades"], row["quantity"]) == (one.trades, one.quantity)
            assert row["traded_value"] == float(one.traded_value)
            for name, value in (("open", one.opening), ("high", one.high), ("low", one.low), ("close", one.close)):
                assert row[name] == float(value)
            assert (row["bid"], row["ask"]) == tuple(None if v is None else float(v) for v in (one.bid, one.ask))
            assert row["average"] == float(one.average)
            assert row["oscillation"] == (None if one.oscillation is None else float(one.oscillation / 100))
            assert row["known_at"].date() == session


def test_papers_that_did_not_trade_are_in_the_report_without_figures(files, reports):
    silent = 0
    for session, rows in reports.items():
        named = {one.ticker for one in files.shares[session]} | {one.symbol for one in files.futures[session]}
        for symbol in set(rows) - named:
            silent += 1
            assert rows[symbol]["close"] is None
            assert rows[symbol]["trades"] is None
    assert silent > 100


def test_adjusted_returns_of_the_panel_are_the_exchange_s_oscillation_on_every_session(panel, reports, truth):
    """The panel's side: parser, store, events from the company files or found in prices, adjustment factors."""
    last = len(panel.sessions) - 1
    adjusted = panel.close * window_price_factor(panel.factors, 0, last)
    returns = 100.0 * return_since_last_close(adjusted)
    new_names = {one["old"]: (one["session"], one["new"]) for one in truth["renamed"]}
    compared, events = 0, {(event.ex_session, event.instrument) for event in panel.events}
    for column, first_name in enumerate(panel.instruments):
        renamed_on, new_name = new_names.get(first_name, ("9999-12-31", ""))
        for row, day in enumerate(panel.sessions):
            if np.isnan(returns[row, column]):
                continue
            session = day.item()
            printed = reports[session][new_name if str(session) >= renamed_on else first_name]["oscillation"]
            percent, moved = 100.0 * printed, returns[row, column]
            # cut, not rounded, and towards zero; the cash of a file has 11 decimals
            assert -1e-7 < abs(moved) - abs(percent) < 0.01 + 1e-7, (first_name, session)
            assert percent == 0.0 or (moved > 0.0) == (percent > 0.0)
            compared += 1
    assert compared > 10_000
    kinds = {event.kind for event in panel.events if (event.ex_session, event.instrument) in events}
    assert {"split", "reverse_split", "bonus", "dividend", "jcp"} <= kinds


def test_unadjusted_returns_are_not_the_oscillation(panel, files, truth):
    shares = {(one["ex_session"], one["ticker"]): one["share_factor"] for one in truth["actions"]}
    for (day, ticker), factor in shares.items():
        if abs(math.log(factor)) > 0.5:
            row = int(np.searchsorted(panel.sessions, np.datetime64(day)))
            plain = panel.close[row, panel.instruments.index(ticker)]
            plain = 100.0 * (plain / panel.close[row - 1, panel.instruments.index(ticker)] - 1.0)
            (one,) = [s for s in files.shares[datetime.date.fromisoformat(day)] if s.ticker == ticker]
            assert abs(plain - float(one.oscillation)) > 20.0


def test_settlements_are_the_same_in_report_page_and_table(files, reports, read_reports):
    from_table = {
        (row["session"], row["symbol"]): row for row in drawn(SETTLEMENTS, files.settlements, "settlements")[0]
    }
    assert len(from_table) == sum(map(len, files.futures.values())) > 5_000
    for session, futures in list(files.futures.items())[::4]:
        page, tally = drawn(SETTLEMENTS, files.pages[session], "settlements")
        assert set(tally.counts) <= {"previous_settlements_of_0_are_none"}
        from_report = read_reports["settlements"][session]
        assert [row["symbol"] for row in page] == [one.symbol for one in futures]
        assert set(from_report) == {one.symbol for one in futures}
        for one, row in zip(futures, page, strict=True):
            table, report = from_table[session, one.symbol], reports[session][one.symbol]
            assert row["settlement"] == table["settlement"] == report["settlement"] == one.price
            assert row["previous"] == table["previous"] == report["previous_settlement"] == one.previous
            assert from_report[one.symbol]["settlement"] == one.price
            assert row["root"] == one.root
            assert row["maturity"] == one.maturity
            assert row["value"] == abs(one.value)
            if one.previous is not None:
                assert row["change"] == table["change"] == report["settlement_points"] == one.change
                assert report["settlement_value"] == pytest.approx(one.change * ROOTS[one.root], abs=0.0051)


def test_the_expiries_that_the_reader_knows_are_those_of_the_exchange(files):
    rows, tally = drawn(SETTLEMENTS, files.settlements, "settlements")
    assert set(tally.counts) == {"previous_settlements_of_0_are_none"}, (
        "values, changes, small and large contracts agree"
    )
    last = {row["symbol"]: row for row in rows}
    final = max(row["session"] for row in rows)
    over = [row for row in last.values() if row["expiry"] <= final]
    assert {row["root"] for row in over} == set(ROOTS)
    for row in rows:
        assert row["session"] <= row["expiry"]
    for row in over:
        assert row["session"] == row["expiry"]
        if row["root"] == "DI1":
            assert row["settlement"] == 100_000.0
        elif row["root"] in ("IND", "WIN"):
            assert row["settlement"] == round(files.index[row["session"]])
    months = [(year, month) for year in range(2018, 2030) for month in range(2, 13, 2)]
    assert [_wednesday(*month) for month in months] == [expiry_of(Contract("IND", *month[::-1])) for month in months]
    assert _wednesday(2022, 10) == datetime.date(2022, 10, 13)


@pytest.mark.parametrize("root", sorted(ROOTS))
def test_its_contracts_join_to_one_series_that_is_held_to_the_last_settlement(files, root):
    rows = pa.Table.from_pylist(drawn(SETTLEMENTS, files.settlements, "settlements")[0], schema=SETTLEMENTS_SPEC.schema)
    cdi = joined_cdi(CDI_SCHEMA.empty_table(), pa.concat_tables(b.rows for b in SGS.read((files.rates,), Tally(), {})))
    sessions = np.unique(rows["session"].to_numpy())
    found = continuous_future(rows, root, accrual=di1_accrual(sessions, cdi) if root == "DI1" else None)
    rolls = [found.sessions[row].item() for row in np.flatnonzero(found.rolled)]
    assert rolls == [expiry_of(parse_contract(found.held[row - 1])) for row in np.flatnonzero(found.rolled)]
    assert len(rolls) > 4
    if root in ("IND", "WIN"):
        # no arbitrage: the index less what cash earned, but for changes of the rate over the time to expiry
        level = np.array([files.index[day.item()] for day in found.sessions])
        earned = np.cumsum(np.log1p(risk_free_returns(sessions, cdi, None).returns))
        drift = np.log(found.adjusted / found.adjusted[0]) - np.log(level / level[0]) + earned
        assert earned[-1] > 0.05
        # a change of the rate by some points, over the two months to expiry at most
        assert np.abs(drift).max() < 0.02


def test_interest_futures_are_worth_their_rate_and_earn_the_cdi(files):
    """A PU is 100,000 discounted by business days; on a flat curve that stays, holding it earns the day's CDI."""
    days = np.array(sorted(files.cdi), "M8[D]")
    checked = 0
    for session, futures in files.futures.items():
        for one in futures:
            if one.root == "DI1" and one.previous is not None and one.rate == one.previous_rate:
                # the rate has three decimals: half a unit of the last is 100,000 du / 252 * 5e-6
                assert abs(one.change) < 0.01 + 2 * 5e-6 * 100_000 * 2.2
                checked += 1
        annual = 100.0 * ((1.0 + files.cdi[session] / 100.0) ** 252 - 1.0)
        assert all(one.rate == pytest.approx(annual, abs=5.1e-4) for one in futures if one.root == "DI1")
    assert checked > 1_000
    assert len(days) > len(files.futures)


def test_rates_are_read_back_in_both_forms(files):
    daily, _ = drawn(SGS, files.rates, "rates")
    assert {row["session"]: row["value"] for row in daily} == dict(files.cdi)
    assert {(row["symbol"], row["unit"]) for row in daily} == {("12", "% per day")}
    annual, _ = drawn(SGS, files.annual_rates, "rates")
    assert [row["session"] for row in annual] == sorted(files.cdi)
    for row in annual:
        expected = 100.0 * math.expm1(252 * math.log1p(files.cdi[row["session"]] / 100.0))
        assert row["value"] == pytest.approx(expected, abs=0.0050001)


def test_index_levels_are_read_back_and_move_with_the_market(files, exchange):
    import pyarrow.parquet as pq

    rows, _ = drawn(INDEX_LEVELS, files.levels, "index_levels")
    assert {row["session"]: row["level"] for row in rows} == dict(files.index)
    moves = np.diff(np.log([row["level"] for row in rows]))
    market = pq.read_table(exchange.truth / "market.parquet")["log_return"].to_numpy()
    np.testing.assert_allclose(moves, market[1:], atol=2e-7)


def test_the_same_settings_write_the_same_bytes(config, tmp_path):
    short = dataclasses.replace(config, last_session=datetime.date(2021, 1, 29))
    for name in ("a", "b"):
        write_reference_files(tmp_path / name, short)
    first, second = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("a", "b")
    )
    assert len(first) > 250
    assert first == second


@pytest.mark.parametrize(
    ("last", "base", "printed"), [(1655, 1610, "2.79"), (3271000, 3315727, "-1.34"), (5, 5, "0"), (1, 3, "-66.66")]
)
def test_the_oscillation_is_cut_towards_zero(last, base, printed):
    assert decimal(cut_percent(Fraction(last, base) - 1)) == printed


def test_the_files_go_into_a_store_like_any_others(files, tmp_path):
    report, page = (list(paths.values())[:2] for paths in (files.reports, files.pages))
    outcome = ingest([*report, *page, files.settlements, files.rates, files.annual_rates, files.levels], tmp_path / "s")
    assert outcome.complete
    store = Store.open(tmp_path / "s")
    sessions = list(files.reports)[:2]
    shares = store.table("price_reports", columns=["session", "symbol", "close"]).to_pylist()
    closes = {(row["session"], row["symbol"]): row["close"] for row in shares}
    for session in sessions:
        for one in files.shares[session]:
            assert closes[session, one.ticker] == float(one.close)
    rows = store.table("settlements", columns=["session", "symbol", "settlement"]).to_pylist()
    told = {(one.session, one.symbol): one.price for futures in files.futures.values() for one in futures}
    assert {(row["session"], row["symbol"]): row["settlement"] for row in rows} == told, "each once, whoever tells it"
    levels = store.table("index_levels").to_pylist()
    assert {row["session"]: row["level"] for row in levels} == dict(files.index)
    daily = store.table("rates", symbols=["12"]).to_pylist()
    assert {row["session"]: row["value"] for row in daily} == dict(files.cdi)
