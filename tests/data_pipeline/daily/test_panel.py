"""The panel: units, universe, cash, events in place, files; against the synthetic exchange's own truth."""

from __future__ import annotations

import datetime
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.daily.close_value import judge_move, read_close_value_panel
from data_pipeline.daily.panel import GRID_FIELDS, CorporateEvent
from data_pipeline.daily.panel_build import build_panel, lot_size, panel_from_history
from data_pipeline.daily.panel_files import load_panel, panel_hash, save_panel
from data_pipeline.daily.risk_free import risk_free_returns
from data_pipeline.daily.spot import spot_rows
from data_pipeline.daily.spot_history import spot_history
from data_pipeline.daily.universe import UniverseRules
from data_pipeline.daily.view import MarketView
from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.reference.company_events import match_company_events
from data_pipeline.schema import CDI_SCHEMA, EVENT_SCHEMA
from data_pipeline.store import Store
from data_pipeline.synthetic.exchange import write_exchange

DAYS = np.datetime64("2024-01-01") + np.arange(80)


def run(ticker, first, last, **values):
    return [{"ticker": ticker, "session": str(DAYS[k]), **values} for k in range(first, last)]


def company_table(*events):
    usual = {
        "issuer": "AAAA", "isin": "BRAAAAACNOR1", "share_class": "ON", "label": "DIVIDENDO", "kind": "dividend",
        "approved_on": datetime.date(2024, 1, 5), "last_date_prior": datetime.date(2024, 1, 10), "payment_date": None,
        "share_factor": 1.0, "cash": 0.5, "withholding": 0.0, "feed": "supplement",
    }  # fmt: skip
    return pa.Table.from_pylist([usual | event for event in events], schema=EVENT_SCHEMA)


def panel_of(table, events=None, universe=None, sessions=DAYS):
    history = spot_history(table, sessions, EVENT_SCHEMA.empty_table() if events is None else events)
    cash = risk_free_returns(sessions, CDI_SCHEMA.empty_table(), 0.1)
    return panel_from_history(history, sessions, universe or UniverseRules(), cash, {})


def test_prices_are_per_share_and_shares_are_shares(quotes):
    row = {"quotation_factor": 1000, "price": 14.0, "quantity": 3000, "traded_value_cents": 4230}
    panel = panel_of(quotes(run("AAAA3", 0, 3, **row)))
    assert panel.close[0, 0] == pytest.approx(0.014, rel=1e-15)
    # 42.30 reais for 3,000 shares; the file's own average would be 14.1 per thousand
    assert panel.vwap[0, 0] == pytest.approx(42.30 / 3000, rel=1e-15)
    assert (panel.volume[0, 0], panel.traded_value[0, 0]) == (3000.0, 42.30)


def test_a_day_without_a_row_is_absent_and_a_missing_quote_is_nan(quotes):
    rows = run("AAAA3", 0, 2, bid_cents=None) + run("AAAA3", 3, 5)
    panel = panel_of(quotes(rows), sessions=DAYS[:5])
    assert np.isnan(panel.close[2, 0])
    assert (panel.volume[2, 0], panel.traded_value[2, 0]) == (0.0, 0.0)
    assert np.isnan(panel.bid[:3, 0]).all()
    assert not np.isnan(panel.ask[0, 0])
    assert panel.rule_counts["quotes_missing"] == 2


def test_equities_are_chosen_by_isin_and_market_not_by_bdi(quotes):
    rows = (
        run("AAAA3", 0, 2, bdi_code="08")
        + run("AAAA3F", 0, 2, market_type=20)
        + run("FUND11", 0, 2, isin="BRFUNDCTF001")
        + run("UNIT11", 0, 2, isin="BRUNITCDAM11")
    )
    assert panel_of(quotes(rows), sessions=DAYS[:2]).instruments == ("AAAA3", "UNIT11")


@pytest.mark.parametrize(("quantity", "lot"), [(300, 100), (5000, 100), (250, 10), (7, 1)])
def test_the_lot_divides_the_first_volume(quantity, lot):
    assert lot_size(quantity) == lot


def test_the_lot_does_not_know_later_volumes(quotes):
    rows = run("AAAA3", 0, 3, quantity=300) + run("AAAA3", 3, 5, quantity=7)
    assert panel_of(quotes(rows), sessions=DAYS[:5]).lot_size.tolist() == [100]


def test_a_company_event_goes_ex_the_session_after_its_last_day_and_is_known_from_approval(quotes):
    (event,) = panel_of(quotes(run("AAAA3", 0, 20)), company_table({})).events
    assert (DAYS[event.ex_session], DAYS[event.known_session]) == (
        np.datetime64("2024-01-11"),
        np.datetime64("2024-01-05"),
    )
    assert (event.cash, event.confidence) == (0.5, 1.0)


def test_an_event_without_approval_is_known_at_its_ex_session(quotes):
    (event,) = panel_of(quotes(run("AAAA3", 0, 20)), company_table({"approved_on": None})).events
    assert event.known_session == event.ex_session


def test_an_event_approved_after_its_ex_session_is_known_later(quotes):
    table = company_table({"approved_on": datetime.date(2024, 1, 15)})
    panel = panel_of(quotes(run("AAAA3", 0, 20)), table)
    (event,) = panel.events
    assert event.known_session > event.ex_session
    assert MarketView(panel, event.known_session - 1).history("close", 12)[0, 0] == 10.0
    assert MarketView(panel, event.known_session).history("close", 12)[0, 0] == pytest.approx(9.5)


def test_the_file_explains_a_change_of_dismes(quotes):
    rows = run("AAAA3", 0, 10) + run("AAAA3", 12, 20, distribution=101, state="ED")
    assert [e.source[:7] for e in panel_of(quotes(rows), company_table({})).events] == ["company"]
    elsewhere = company_table({"last_date_prior": datetime.date(2024, 1, 15)})
    assert sorted(e.kind for e in panel_of(quotes(rows), elsewhere).events) == ["dividend", "unsized"]


def test_cash_of_the_file_does_not_explain_a_new_split_state(quotes):
    rows = run("AAAA3", 0, 10) + run("AAAA3", 10, 20, distribution=101, state="EDB", price=4.9)
    events = panel_of(quotes(rows), company_table({})).events
    assert sorted((e.kind, e.share_factor) for e in events) == [("dividend", 1.0), ("split", 2.0)]


@pytest.mark.parametrize(("day", "events"), [(12, ["split"]), (40, ["split", "split"])])
def test_a_split_of_the_file_on_another_day_is_not_applied_twice(quotes, day, events):
    rows = run("AAAA3", 0, 8) + run("AAAA3", 8, 60, distribution=101, state="EB", price=5.0)
    split = {"kind": "split", "share_factor": 2.0, "cash": 0.0, "last_date_prior": DAYS[day].item()}
    assert [event.kind for event in panel_of(quotes(rows), company_table(split)).events] == events


def test_an_event_told_by_two_feeds_counts_once_and_twice_in_one_feed_counts_twice(quotes):
    rows = spot_rows(quotes(run("AAAA3", 0, 20)))
    both = company_table({}, {"feed": "cash_dividends"})
    events, repeated, unmatched = match_company_events(both, rows)
    assert (len(events), repeated, unmatched) == (1, 1, 0)
    events, repeated, _ = match_company_events(company_table({}, {}), rows)
    assert (len(events), repeated) == (2, 0)


def test_an_event_without_isin_belongs_by_issuer_and_class(quotes):
    rows = spot_rows(quotes(run("AAAA3", 0, 20) + run("AAAA4", 0, 20, isin="BRAAAAACNPR8", specification="PN      N1")))
    events, _, unmatched = match_company_events(company_table({"isin": None, "share_class": "PN"}), rows)
    assert [rows.instruments[e.instrument] for e in events] == ["AAAA4"]
    assert unmatched == 0
    _, _, unmatched = match_company_events(company_table({"isin": "BRZZZZACNOR0"}), rows)
    assert unmatched == 1


def test_impossible_cash_is_refused_by_name(quotes):
    with pytest.raises(DataError, match="AAAA3: cash 50 per share, ex 2024-01-11, must be below the last close 10"):
        panel_of(quotes(run("AAAA3", 0, 20)), company_table({"cash": 50.0}))


def test_who_died_stays_in_the_universe_and_who_was_never_liquid_stays_out(quotes):
    rows = run("AAAA3", 0, 80) + run("DEAD3", 0, 50) + run("THIN3", 0, 80, traded_value_cents=100)
    rules = UniverseRules(min_median_value=1e4, min_presence=0.9, window=20)
    assert panel_of(quotes(rows), universe=rules).instruments == ("AAAA3", "DEAD3")


def test_a_share_that_became_liquid_late_is_no_member_before_the_review_that_saw_it(quotes):
    rows = run("AAAA3", 0, 80) + run("LATE3", 0, 35, traded_value_cents=100) + run("LATE3", 35, 80)
    panel = panel_of(quotes(rows), universe=UniverseRules(min_median_value=1e4, min_presence=0.9, window=20))
    assert panel.instruments == ("AAAA3", "LATE3")
    # Reviews end at rows 19, 40, 61 and 79; row 40 sees six liquid sessions of twenty.
    assert panel.member_from.tolist() == [19, 61]
    assert MarketView(panel, 60).eligible(0.0, 1, 1.0).tolist() == [True, False]
    assert MarketView(panel, 61).eligible(0.0, 1, 1.0).tolist() == [True, True]


def test_asking_for_an_unknown_ticker_names_the_nearest(quotes):
    with pytest.raises(ValueError, match=r"was 'AAAB3' \(did you mean AAAA3\?\)"):
        panel_of(quotes(run("AAAA3", 0, 3)), universe=UniverseRules(tickers=("AAAB3",)))


@pytest.mark.parametrize("values", [{"min_presence": 2.0}, {"min_median_value": -1.0}, {"window": 0}, {"tickers": ()}])
def test_wrong_universe_rules_are_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} must"):
        UniverseRules(**values)


def cdi_table(days, rate):
    return pa.table({"date": pa.array([d.item() for d in days]), "daily_return": [rate] * len(days)}, schema=CDI_SCHEMA)


def test_cash_earns_the_bank_days_on_which_the_exchange_is_closed():
    sessions = np.array(["2024-12-23", "2024-12-26", "2024-12-27"], dtype="datetime64[D]")
    banks = np.array(["2024-12-20", "2024-12-23", "2024-12-24", "2024-12-26", "2024-12-27"], dtype="datetime64[D]")
    cash = risk_free_returns(sessions, cdi_table(banks, 5e-4), None)
    np.testing.assert_allclose(cash.returns, [0.0, 1.0005**2 - 1.0, 5e-4], rtol=1e-12)
    assert (cash.source, cash.carried) == ("CDI", ())


def test_a_session_without_cdi_takes_the_last_rate_and_is_listed():
    sessions = np.array(["2024-12-02", "2024-12-03", "2024-12-04"], dtype="datetime64[D]")
    cash = risk_free_returns(sessions, cdi_table(sessions[:1], 5e-4), None)
    np.testing.assert_allclose(cash.returns, [0.0, 5e-4, 5e-4], rtol=1e-12)
    assert cash.carried == (np.datetime64("2024-12-03"),)


def test_a_constant_rate_compounds_to_itself_over_252_sessions():
    cash = risk_free_returns(np.datetime64("2024-01-01") + np.arange(253), CDI_SCHEMA.empty_table(), 0.1175)
    assert np.prod(1.0 + cash.returns) == pytest.approx(1.1175, rel=1e-12)


def test_cash_without_any_rate_is_refused():
    with pytest.raises(DataError, match="give risk_free_annual"):
        risk_free_returns(DAYS[:3], CDI_SCHEMA.empty_table(), None)
    with pytest.raises(ValueError, match="risk_free_annual must be finite"):
        risk_free_returns(DAYS[:3], CDI_SCHEMA.empty_table(), math.nan)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    write_exchange(
        folder / "x", seed=11, first_session=datetime.date(2018, 1, 2), last_session=datetime.date(2019, 12, 30),
        instruments=30,
    )  # fmt: skip
    ingest([folder / "x" / "raw"], folder / "store")
    truth = json.loads((folder / "x" / "truth" / "truth.json").read_text())
    return Store.open(folder / "store"), truth


@pytest.fixture(scope="module")
def built(exchange):
    return build_panel(exchange[0])


def test_every_action_of_the_synthetic_exchange_is_on_the_panel(exchange, built):
    first_name = json.loads(built.provenance["renames"])
    placed: dict[tuple[str, str], list[CorporateEvent]] = {}
    for event in built.events:
        key = (built.instruments[event.instrument], str(built.sessions[event.ex_session]))
        placed.setdefault(key, []).append(event)
    truth: dict[tuple[str, str], list[dict]] = {}
    for action in exchange[1]["actions"]:
        truth.setdefault((first_name.get(action["ticker"], action["ticker"]), action["ex_session"]), []).append(action)
    assert len(truth) > 50
    for key, actions in truth.items():
        assert math.prod(e.share_factor for e in placed[key]) == pytest.approx(
            math.prod(a["share_factor"] for a in actions), rel=1e-9
        ), key
        known = [a for a in actions if a["in_feed"]]
        assert sum(e.cash for e in placed[key]) == pytest.approx(sum(a["cash"] for a in known), abs=1e-7), key
    assert {key for key, events in placed.items() if any(e.share_factor != 1.0 for e in events)} <= set(truth)


def test_without_the_company_file_the_splits_of_the_synthetic_exchange_are_found_from_prices(exchange):
    store, truth = exchange
    table = store.read(market_types=[10])
    panel = panel_of(table, sessions=store.sessions())
    sized = {
        (panel.instruments[e.instrument], str(panel.sessions[e.ex_session])): e
        for e in panel.events
        if e.share_factor != 1.0
    }
    large = {(a["ticker"], a["ex_session"]): a for a in truth["actions"] if abs(math.log(a["share_factor"])) > 0.3}
    assert large
    for key, action in large.items():
        assert sized[key].share_factor == pytest.approx(action["share_factor"], rel=1e-9), key
        assert sized[key].known_session == sized[key].ex_session
    shares = {(a["ticker"], a["ex_session"]) for a in truth["actions"] if a["share_factor"] != 1.0}
    assert set(sized) <= shares, "no split is invented"


def test_trade_counts_are_those_of_the_synthetic_exchange(exchange, built):
    truth = {(w["ticker"], w["session"]): w["trade_count"] for w in exchange[1]["wrapped_trade_counts"]}
    assert len(truth) > 20
    panel_count = {
        key: built.trade_count[np.searchsorted(built.sessions, np.datetime64(key[1])), built.instruments.index(key[0])]
        for key in truth
    }
    right = [panel_count[key] == count for key, count in truth.items()]
    assert np.mean(right) > 0.9
    assert built.rule_counts["trade_counts_unwrapped"] == sum(right), "no count is changed that was not wrapped"


def test_renamed_and_delisted_shares_keep_one_column(exchange, built):
    for rename in exchange[1]["renamed"]:
        assert rename["old"] in built.instruments
        assert rename["new"] not in built.instruments
    for end in exchange[1]["delisted"]:
        column = built.instruments.index(end["ticker"])
        assert str(built.sessions[np.flatnonzero(~np.isnan(built.close[:, column]))[-1]]) == end["last_session"]


def test_a_later_start_sees_the_same_rows_and_events(exchange, built):
    start = built.sessions[250]
    late = build_panel(exchange[0], start=start)
    columns = [built.instruments.index(name) for name in late.instruments]
    np.testing.assert_array_equal(late.close, built.close[250:, columns])
    np.testing.assert_array_equal(late.trade_count, built.trade_count[250:, columns])
    np.testing.assert_allclose(late.risk_free[1:], built.risk_free[251:], rtol=1e-12)
    expected = {
        (built.instruments[e.instrument], e.ex_session - 250, e.share_factor, e.cash)
        for e in built.events
        if e.ex_session > 250
    }
    assert {
        (late.instruments[e.instrument], e.ex_session, e.share_factor, e.cash) for e in late.events if e.ex_session > 0
    } == expected


def test_provenance_names_the_store_and_the_rules(exchange, built):
    assert built.provenance["store"] == exchange[0].content_hash
    assert built.provenance["risk_free"] == "CDI"
    assert json.loads(built.provenance["universe"])["tickers"] is None


def test_a_span_without_sessions_is_refused(exchange):
    with pytest.raises(DataError, match="no session from 2031"):
        build_panel(exchange[0], start="2031-01-01")
    with pytest.raises(ValueError, match="end must not be before start"):
        build_panel(exchange[0], start="2019-01-01", end="2018-01-01")
    with pytest.raises(DataError, match="no instrument meets"):
        build_panel(exchange[0], universe=UniverseRules(min_median_value=1e15))


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def test_a_saved_panel_comes_back_equal_and_memory_mapped(built, tmp_path):
    save_panel(built, tmp_path / "panel")
    again = load_panel(tmp_path / "panel")
    for name in (*GRID_FIELDS, "sessions", "lot_size", "risk_free"):
        np.testing.assert_array_equal(getattr(again, name), getattr(built, name))
        assert is_mapped(getattr(again, name)), name
    assert (again.instruments, again.events) == (built.instruments, built.events)
    assert dict(again.provenance) == dict(built.provenance)
    assert panel_hash(again) == panel_hash(built)


def test_the_bytes_on_disk_are_a_function_of_the_panel(built, tmp_path):
    for name in ("a", "b"):
        save_panel(built, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_saving_again_replaces_the_panel_and_leaves_no_stale_file(built, tmp_path):
    save_panel(built, tmp_path)
    changed = replace(built, risk_free=np.zeros(built.sessions.size))
    save_panel(changed, tmp_path)
    assert panel_hash(load_panel(tmp_path)) == panel_hash(changed) != panel_hash(built)
    assert len(list(tmp_path.glob("risk_free-*.npy"))) == 1


def test_a_crash_while_saving_leaves_the_old_panel(built, tmp_path, monkeypatch):
    save_panel(built, tmp_path)
    changed = replace(built, risk_free=np.zeros(built.sessions.size), lot_size=np.ones(len(built.instruments)))
    real = os.replace

    def fail_at_the_commit(source, target):
        if "panel.json" in str(target):
            raise OSError("disk full")
        real(source, target)

    monkeypatch.setattr("os.replace", fail_at_the_commit)
    with pytest.raises(OSError, match="disk full"):
        save_panel(changed, tmp_path)
    monkeypatch.undo()
    assert panel_hash(load_panel(tmp_path)) == panel_hash(built)


def test_damaged_missing_and_foreign_panels_are_refused(built, tmp_path):
    with pytest.raises(DataError, match="no panel here"):
        load_panel(tmp_path)
    save_panel(built, tmp_path)
    victim = next(tmp_path.glob("close-*.npy"))
    content = bytearray(victim.read_bytes())
    content[-5] ^= 1
    victim.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load_panel(tmp_path)
    victim.unlink()
    with pytest.raises(DataError, match="missing"):
        load_panel(tmp_path)
    index = json.loads((tmp_path / "panel.json").read_text())
    (tmp_path / "panel.json").write_text(json.dumps(index | {"schema_version": 99}))
    with pytest.raises(DataError, match="schema_version must be 2; was 99"):
        load_panel(tmp_path)


def test_the_hash_sees_data_and_events_and_not_the_provenance(built):
    assert panel_hash(replace(built, provenance={"a": "b"})) == panel_hash(built)
    assert panel_hash(replace(built, events=built.events[1:])) != panel_hash(built)
    close = np.array(built.close)
    close[~np.isnan(close)] *= 1.0 + 1e-12
    assert panel_hash(replace(built, close=close)) != panel_hash(built)


def closes(tmp_path, n=60, jump=None, surge=1.0, drop=(), seed=0, names=("AAAA3", "BBBB3", "CCCC3", "DDDD3")):
    """A file of closes and values on B3 sessions of 2023; AAAA3's price is divided by `jump` from row 40 on."""
    from data_pipeline.sessions.calendar import b3_sessions

    rng = np.random.default_rng(seed)
    days = b3_sessions("2023-01-02", "2023-06-30")[:n]
    rows = []
    for name in names:
        price = 40.0 * np.exp(np.cumsum(0.015 * rng.standard_normal(n)))
        value = 5e7 * np.exp(0.2 * rng.standard_normal(n))
        if name == "AAAA3" and jump:
            price[40:] /= jump
            value[40] *= surge
        rows += [(days[k].item(), name, float(price[k]), float(value[k])) for k in range(n) if k not in drop]
    path = tmp_path / "closes.parquet"
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table(dict(zip(("date", "asset", "close", "volume"), map(list, columns), strict=True))), path)
    return path


def test_a_file_of_closes_has_closes_and_nothing_invented(tmp_path):
    panel = read_close_value_panel(closes(tmp_path), risk_free_annual=0.1)
    assert all(
        np.isnan(getattr(panel, name)).all() for name in ("open", "high", "low", "vwap", "bid", "ask", "trade_count")
    )
    np.testing.assert_allclose(panel.volume * panel.close, panel.traded_value, rtol=1e-12)
    assert panel.events == ()


@pytest.mark.parametrize(("jump", "surge", "factor"), [(4.0, 1.0, 4.0), (0.1, 1.5, 0.1), (2.0, 0.8, 2.0)])
def test_a_split_that_leaves_the_value_is_found_in_closes(tmp_path, jump, surge, factor):
    (event,) = read_close_value_panel(closes(tmp_path, jump=jump, surge=surge), risk_free_annual=0.1).events
    assert (event.instrument, event.ex_session, event.known_session) == (0, 40, 40)
    assert event.share_factor == pytest.approx(factor)


def test_a_crash_with_a_flood_of_trading_is_none(tmp_path):
    assert read_close_value_panel(closes(tmp_path, jump=4.4, surge=6.0), risk_free_annual=0.1).events == ()


def test_a_hole_in_the_file_breaks_the_returns_and_not_the_cash(tmp_path):
    path = closes(tmp_path, drop=range(20, 30))
    panel = read_close_value_panel(path, risk_free_annual=0.1)
    full = read_close_value_panel(path, risk_free_annual=0.1, fill_gaps=True)
    assert (panel.sessions.size, full.sessions.size) == (51, 60)
    assert panel.rule_counts["missing_sessions"] == 10
    assert np.isnan(panel.close[20]).all()
    assert np.isnan(MarketView(panel, 50).returns(51)[21]).all()
    assert np.prod(1 + panel.risk_free) == pytest.approx(np.prod(1 + full.risk_free), rel=1e-12)
    assert np.prod(1 + full.risk_free) == pytest.approx(1.1 ** (59 / 252), rel=1e-12)


def test_only_the_past_decides_what_a_close_says(tmp_path):
    whole = read_close_value_panel(closes(tmp_path, jump=4.0), risk_free_annual=0.1)
    last = whole.sessions[44]
    short = read_close_value_panel(tmp_path / "closes.parquet", risk_free_annual=0.1, end=last)
    assert short.events == whole.events


def test_bad_close_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_close_value_panel(tmp_path / "none.parquet")
    bad = tmp_path / "bad.parquet"
    bad.write_text("<html>")
    with pytest.raises(DataError, match="not a readable Parquet"):
        read_close_value_panel(bad)
    pq.write_table(pa.table({"date": [datetime.date(2023, 1, 2)], "close": [1.0]}), bad)
    with pytest.raises(DataError, match="needs a column asset or ticker"):
        read_close_value_panel(bad)
    day = [datetime.date(2023, 1, 2)] * 2
    pq.write_table(pa.table({"date": day, "ticker": ["A", "A"], "close": [1.0, 2.0], "value": [1.0, 1.0]}), bad)
    with pytest.raises(DataError, match="A has two rows on 2023-01-02"):
        read_close_value_panel(bad)
    pq.write_table(pa.table({"date": day, "ticker": ["A", "B"], "close": [1.0, -2.0], "value": [1.0, 1.0]}), bad)
    with pytest.raises(DataError, match=r"close must be positive; was -2.0 for B on 2023-01-02"):
        read_close_value_panel(bad)


def test_probabilities_of_a_move_add_to_one_at_most():
    for ratio in (-2.3, -0.5, 0.2, 0.69, 1.4):
        _, best, nothing = judge_move(ratio, 0.3, 0.02, 1)
        assert 0.0 <= best <= 1.0 - nothing + 1e-12
    assert judge_move(0.25, 2.0, 0.02, 1)[2] > 0.99, "a fall of 22 % with seven times the value is news"


@pytest.mark.realdata
def test_the_real_panel_of_closes(realdata: Path):
    panel = read_close_value_panel(
        realdata / "reference" / "ibov_members_close_volume_2017_2025.parquet", risk_free_annual=0.09
    )
    found = {(panel.instruments[e.instrument], str(panel.sessions[e.ex_session])): e.share_factor for e in panel.events}
    announced = {
        ("RENT3", "2017-11-23"): 3.0, ("MULT3", "2018-07-23"): 3.0, ("ITUB4", "2018-11-21"): 1.5,
        ("UGPA3", "2019-05-03"): 2.0, ("MGLU3", "2019-09-02"): 8.0, ("IRBR3", "2019-09-26"): 3.0,
        ("EQTL3", "2019-11-28"): 5.0, ("RADL3", "2020-09-21"): 5.0, ("MGLU3", "2020-10-14"): 4.0,
        ("HAPV3", "2020-11-25"): 5.0, ("CPLE6", "2021-03-12"): 10.0, ("ENEV3", "2021-03-12"): 4.0,
        ("WEGE3", "2021-05-03"): 2.0, ("CSAN3", "2021-05-06"): 4.0, ("PRIO3", "2021-05-06"): 5.0,
        ("B3SA3", "2021-05-17"): 3.0, ("BPAC11", "2021-07-01"): 4.0, ("BBAS3", "2024-04-16"): 2.0,
        ("MGLU3", "2024-05-27"): 0.1, ("HAPV3", "2025-06-06"): 1 / 15,
    }  # fmt: skip
    for case, factor in announced.items():
        assert found[case] == pytest.approx(factor), case
    assert "AMER3" not in {name for name, _ in found}, "a crash"
    assert ("PCAR3", "2023-08-23") not in found, "a spin-off"
    assert ("VVAR3", "2020-05-04") not in found, "a recovery across a hole in the file"
    assert panel.rule_counts["missing_sessions"] == 278


@pytest.mark.realdata
def test_the_real_year_2023_becomes_a_panel(realdata: Path, tmp_path):
    ingest([realdata / "cotahist" / "COTAHIST_A2023_EQUITIES.ZIP"], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    with pytest.raises(DataError, match="no CDI is known for session 2023-01-02"):
        build_panel(store)
    panel = build_panel(store, risk_free_annual=0.13)
    assert panel.close.shape == (248, 468), "472 tickers, four of them new names"
    assert int(np.sum(~np.isnan(panel.close))) == 92_608
    column = panel.instruments.index("VIIA3")
    assert not np.isnan(panel.close[:, column]).any(), "VIIA3 lives on as BHIA3"
    view = MarketView(panel, 247)
    worst = np.nanmin(view.returns(30)[:, column])
    assert worst > -0.2, "the 25:1 reverse split of December is no return"
    amer = panel.instruments.index("AMER3")
    crash = np.searchsorted(panel.sessions, np.datetime64("2023-01-12"))
    assert MarketView(panel, int(crash)).returns(1)[0, amer] == pytest.approx(272 / 1200 - 1.0, rel=1e-12)
