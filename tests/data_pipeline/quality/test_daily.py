"""The quality summary: each part finds what was planted and nothing else; the light follows its rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.daily.panel_build import build_panel
from data_pipeline.ingest import ingest
from data_pipeline.quality.daily import MOST, panel_quality, store_quality
from data_pipeline.quality.daily_checks import outliers, stale_quotes, suspicious_rows
from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.store import Store

KEYS = {
    "light", "reasons", "totals", "coverage", "months", "gaps", "quarantine", "events", "unsized", "renames",
    "trade_counts", "stale", "outliers", "suspicious", "missing_cdi", "poor_sessions", "rule_counts", "provenance",
}  # fmt: skip


def clean_panel(n=100, seed=0) -> DailyPanel:
    """Three liquid shares without anything odd."""
    rng = np.random.default_rng(seed)
    shape = (n, 3)
    close = np.round(30.0 * np.exp(np.cumsum(0.012 * rng.standard_normal(shape), axis=0)), 2)
    volume = np.full(shape, 1e5)
    return DailyPanel(
        sessions=b3_sessions("2023-01-02", "2023-12-28")[:n],
        instruments=("AAAA3", "BBBB4", "CCCC3"),
        open=close,
        high=close + 0.05,
        low=close - 0.05,
        close=close,
        vwap=close,
        bid=close - 0.01 - 0.01 * (np.arange(n)[:, None] % 2),
        ask=close + 0.01,
        volume=volume,
        traded_value=volume * close,
        trade_count=np.full(shape, 900.0),
        lot_size=np.full(3, 100),
        risk_free=np.full(n, 4e-4),
    )


def changed(panel: DailyPanel, name: str, row: int, column: int, value: float) -> DailyPanel:
    grid = np.array(getattr(panel, name))
    grid[row, column] = value
    return replace(panel, **{name: grid})


def test_a_clean_panel_is_green_and_says_nothing():
    summary = panel_quality(clean_panel())
    assert set(summary) == KEYS
    assert (summary["light"], summary["reasons"]) == ("green", [])
    assert [summary[name] for name in ("gaps", "events", "unsized", "stale", "outliers", "suspicious")] == [[]] * 6
    assert summary["totals"]["rows"] == 300


def test_the_summary_is_plain_json_without_nan():
    panel = replace(
        changed(clean_panel(), "close", 5, 0, np.nan),
        events=(
            CorporateEvent(0, 6, 99, 1.0, 0.0, 0.0, "unsized", 0.0, "x"),
            CorporateEvent(1, 3, 500, 2.0, 0.0, 0.0, "split", 1.0, "x"),
        ),
    )
    text = json.dumps(panel_quality(panel), allow_nan=False)
    assert json.loads(text)["events"][0]["known"] is None


def test_coverage_counts_sessions_of_each_instrument_and_month():
    panel = clean_panel()
    close = np.array(panel.close)
    close[:20, 1] = np.nan
    summary = panel_quality(replace(panel, close=close))
    first = summary["coverage"][0]
    assert (first["instrument"], first["sessions"], first["presence"]) == ("BBBB4", 80, 0.8)
    assert first["first"] == str(panel.sessions[20])
    assert sum(month["rows"] for month in summary["months"]) == 280
    assert summary["months"][0] == {
        "month": "2023-01", "sessions": 22, "instruments": 3, "rows": 22 * 2 + 2,
        "traded_value": pytest.approx(float(panel.traded_value[:22].sum()), abs=0.01),
    }  # fmt: skip


def test_a_missing_session_is_amber_and_many_are_red():
    panel = clean_panel(200)
    one = panel_quality(without(panel, [50]))
    assert (one["light"], [gap["session"] for gap in one["gaps"]]) == ("amber", [str(panel.sessions[50])])
    many = panel_quality(without(panel, range(40, 60)))
    assert (many["light"], many["reasons"]) == ("red", ["20 sessions that B3 held are missing"])


def test_missing_sessions_that_follow_each_other_are_one_gap():
    panel = clean_panel(200)
    days = [str(day) for day in panel.sessions]
    assert panel_quality(without(panel, [10, 11, 12, 14]))["gaps"] == [
        {"session": days[10], "last": days[12], "sessions": 3, "kind": "missing"},
        {"session": days[14], "last": days[14], "sessions": 1, "kind": "missing"},
    ]


def without(panel: DailyPanel, rows) -> DailyPanel:
    keep = np.setdiff1d(np.arange(panel.sessions.size), list(rows))
    names = ("open", "high", "low", "close", "vwap", "bid", "ask", "volume", "traded_value", "trade_count")
    grids = {name: getattr(panel, name)[keep] for name in names}
    return replace(panel, sessions=panel.sessions[keep], risk_free=panel.risk_free[keep], **grids)


@pytest.mark.parametrize(("kept", "light"), [(0.3, "red"), (0.7, "amber")])
def test_a_session_of_which_a_part_is_there_turns_the_light(kept, light):
    panel = clean_panel()
    close = np.array(panel.close)
    close[30, round(kept * close.shape[1]) :] = np.nan
    summary = panel_quality(replace(panel, close=close))
    assert summary["light"] == light
    assert summary["reasons"] == [
        f"1 session(s) have a score below {0.5 if light == 'red' else 0.9}, the worst {panel.sessions[30]}"
    ]


def test_an_empty_row_counts_as_a_missing_session():
    panel = clean_panel()
    close = np.array(panel.close)
    close[30] = np.nan
    assert [gap["session"] for gap in panel_quality(replace(panel, close=close))["gaps"]] == [str(panel.sessions[30])]


def test_a_session_on_a_closed_day_is_red():
    panel = clean_panel()
    sessions = np.array(panel.sessions)
    sessions[4] = np.datetime64("2023-01-07")
    summary = panel_quality(replace(panel, sessions=sessions))
    assert summary["light"] == "red"
    told = {"session": "2023-01-07", "last": "2023-01-07", "sessions": 1, "kind": "unexpected"}
    assert told in summary["gaps"]


@pytest.mark.parametrize(("factor", "light"), [(0.5, "red"), (0.8, "amber"), (0.97, "green")])
def test_what_an_unsized_event_leaves_in_the_prices_sets_the_light(factor, light):
    panel = clean_panel()
    close = np.array(panel.close)
    close[60:, 0] = np.round(close[60:, 0] * factor * close[59, 0] / close[60, 0], 4)
    event = CorporateEvent(0, 60, 60, 1.0, 0.0, 0.0, "unsized", 0.2, "x")
    quotes = {name: close.copy() for name in ("open", "high", "low", "vwap", "ask")}
    bid = close * (0.999 - 0.0001 * (np.arange(100)[:, None] % 2))
    summary = panel_quality(replace(panel, close=close, **quotes, bid=bid, events=(event,)))
    assert summary["light"] == light
    assert summary["unsized"][0]["jump"] == pytest.approx(np.log(factor), abs=1e-4)
    assert summary["outliers"] == [], "an event explains its own return"


def test_an_unsure_size_is_amber():
    event = CorporateEvent(0, 60, 60, 2.0, 0.0, 0.0, "split", 0.6, "x")
    summary = panel_quality(replace(clean_panel(), events=(event,)))
    assert summary["light"] == "amber"
    assert "AAAA3" in summary["reasons"][0]


def test_an_outlier_is_measured_against_the_days_before_it_only():
    panel = clean_panel()
    crash = changed(panel, "close", 70, 1, panel.close[69, 1] * 0.3)
    close = np.array(crash.close)
    close[71:, 1] *= 0.3 * panel.close[69, 1] / panel.close[70, 1]
    found = outliers(replace(crash, close=close))
    assert [(item["session"], item["instrument"]) for item in found] == [(str(panel.sessions[70]), "BBBB4")]
    assert found[0]["return"] == pytest.approx(-0.7, abs=1e-6)
    moves = np.abs(np.diff(np.log(close[9:70, 1])))[-60:]
    assert found[0]["robust_z"] == pytest.approx(np.log(0.3) / (1.4826 * np.median(moves)), abs=1e-3)


def test_quotes_that_do_not_move_while_the_share_trades_are_stale():
    panel = clean_panel()
    bid, ask = np.array(panel.bid), np.array(panel.ask)
    bid[20:27, 2], ask[20:27, 2] = bid[20, 2], ask[20, 2]
    (item,) = [i for i in stale_quotes(replace(panel, bid=bid, ask=ask)) if i["kind"] == "unchanged"]
    assert (item["instrument"], item["sessions"]) == ("CCCC3", 7)
    assert (item["first"], item["last"]) == (str(panel.sessions[20]), str(panel.sessions[26]))


def test_a_run_of_quotes_ends_where_a_session_is_missing():
    panel = clean_panel()
    bid, ask = np.array(panel.bid), np.array(panel.ask)
    bid[20:27, 2], ask[20:27, 2] = 10.0, 11.0
    bid[24, 2] = np.nan
    assert [i for i in stale_quotes(replace(panel, bid=bid, ask=ask)) if i["kind"] == "unchanged"] == []


def test_a_last_quote_outside_the_day_is_counted():
    panel = changed(clean_panel(), "bid", 33, 0, 99.0)
    (item,) = [i for i in stale_quotes(panel) if i["kind"] == "outside the day"]
    assert (item["instrument"], item["sessions"]) == ("AAAA3", 1)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("bid", 999.0, "bid above ask"),
        ("vwap", 999.0, "average price outside low..high"),
        ("trade_count", 2e5, "more trades than shares"),
    ],
)
def test_rows_that_cannot_be_right_are_listed(name, value, problem):
    panel = changed(clean_panel(), name, 12, 1, value)
    assert suspicious_rows(panel) == [{"session": str(panel.sessions[12]), "instrument": "BBBB4", "problem": problem}]
    assert panel_quality(panel)["light"] == "amber"


def test_long_lists_are_cut_and_counted():
    panel = clean_panel(200)
    panel = replace(panel, trade_count=np.full((200, 3), 2e5))
    summary = panel_quality(panel)
    assert len(summary["suspicious"]) == MOST
    assert summary["totals"]["suspicious"] == 600


@pytest.fixture
def store(raw, tmp_path):
    days = [int(str(day).replace("-", "")) for day in b3_sessions("2023-01-02", "2023-03-31")]
    records = [raw.record(DATA=day, PREULT=1050 + k % 7, PREOFC=1040 + k % 5) for k, day in enumerate(days)]
    records.append(raw.record(DATA=days[3], CODNEG="BADD3", CODISI="BRBADDACNOR1", PREMAX=900, PREMIN=1000))
    path = tmp_path / "COTAHIST_A2023.TXT"
    path.write_bytes(raw.text(records, generated=20230331))
    cdi = [
        {"data": f"{str(day)[8:]}/{str(day)[5:7]}/{str(day)[:4]}", "valor": "0.050788"}
        for day in b3_sessions("2023-01-02", "2023-03-31")[:-3]
    ]
    (tmp_path / "cdi.json").write_text(json.dumps(cdi))
    ingest([path, tmp_path / "cdi.json"], tmp_path / "store")
    return Store.open(tmp_path / "store")


def test_a_store_adds_quarantine_renames_trade_counts_and_cash(store):
    summary = store_quality(store, build_panel(store))
    assert set(summary) == KEYS
    assert summary["light"] == "red", "one bad row of 64 is more than 1 %"
    (bad,) = summary["quarantine"]
    assert (bad["ticker"], bad["session"], bad["reason"]) == ("BADD3", "2023-01-05", "high below low")
    # the last session earns nothing any more, so two of the three days without a rate had to be carried
    assert [item["session"] for item in summary["missing_cdi"]] == ["2023-03-29", "2023-03-30"]
    assert summary["rule_counts"]["cdi_days_carried"] == 2
    json.dumps(summary, allow_nan=False)


@pytest.mark.realdata
def test_the_quality_of_the_real_year_2023(realdata: Path, tmp_path):
    ingest([realdata / "cotahist" / "COTAHIST_A2023_EQUITIES.ZIP"], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    summary = store_quality(store, build_panel(store, risk_free_annual=0.13), risk_free_annual=0.13)
    assert summary["gaps"] == []
    assert summary["totals"]["quarantine"] == 0
    assert summary["totals"]["events"] + summary["totals"]["unsized"] == 883
    assert summary["light"] == "red"
    assert "PCAR3" in summary["reasons"][0], "a spin-off whose value is unknown is in the prices as a crash"
    assert {(item["old"], item["new"]) for item in summary["renames"] if item["joined"]} == {
        ("VIIA3", "BHIA3"), ("ALSO3", "ALOS3"), ("WIZS3", "WIZC3"), ("MEGA3", "SRNA3"),
    }  # fmt: skip
    crash = [item for item in summary["outliers"] if (item["instrument"], item["session"]) == ("AMER3", "2023-01-12")]
    assert crash == [], "twenty returns are needed before one can be called an outlier"
