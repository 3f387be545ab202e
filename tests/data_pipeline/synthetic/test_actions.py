"""What companies do, as the written quotes, markers, distribution numbers and event files show it."""

from __future__ import annotations

import json
from datetime import date, datetime
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.synthetic.actions import CorporateAction, price_actions
from data_pipeline.synthetic.calendars import bank_days, easter_sunday, option_expiries
from data_pipeline.synthetic.feeds import cash_returns


def number(day: str) -> int:
    return int(day.replace("-", ""))


def brazilian(text: str) -> float:
    return float(text.replace(".", "").replace(",", "."))


def rows_of(spot, ticker):
    """Indices of one ticker's spot records, by date."""
    return np.flatnonzero(spot.ticker == ticker.ljust(12).encode())


def by_role(truth, role):
    return next(paper["ticker"] for paper in truth["papers"] if paper["role"] == role)


@pytest.fixture(scope="module")
def sessions(config):
    return b3_sessions(str(config.first_session), str(config.last_session))


@pytest.fixture(scope="module")
def feed(exchange):
    """Ticker-independent list of every entry of the event files."""
    entries = []
    for path in sorted((exchange.raw / "events").glob("*.json")):
        (answer,) = json.loads(path.read_text("utf-8"))
        assert path.stem.endswith(answer["code"])
        entries += [("cash", one) for one in answer["cashDividends"]]
        entries += [("stock", one) for one in answer["stockDividends"]]
        entries += [("rights", one) for one in answer["subscriptions"]]
    return entries


def test_every_kind_of_action_happens(truth):
    kinds = {action["kind"] for action in truth["actions"]}
    assert kinds == {"split", "reverse_split", "bonus", "dividend", "jcp", "rights"}
    factors = {a["share_factor"] for a in truth["actions"]}
    assert factors == {1.0, 2.0, 3.0, 10.0, 0.1, 0.02, 1.1}


def test_prices_change_by_the_share_factor_when_the_distribution_number_grows(spot, truth):
    checked = 0
    for action in truth["actions"]:
        if action["share_factor"] == 1.0:
            continue
        rows = rows_of(spot, action["ticker"])
        ex = int(np.searchsorted(spot.date[rows], number(action["ex_session"])))
        assert spot.date[rows[ex]] == number(action["ex_session"])
        step = spot.distribution[rows[ex]] - spot.distribution[rows[ex - 1]]
        assert step == (2 if action["marker"] == "EDB" else 1)
        ratio = spot.open[rows[ex]] / spot.close[rows[ex - 1]] * action["share_factor"]
        assert 0.85 < ratio < 1.15
        assert spot.spec[rows[ex]][4:7].decode().strip() == action["marker"]
        assert spot.isin[rows[ex]] == spot.isin[rows[ex - 1]]
        checked += 1
    assert checked == 7


def test_the_distribution_number_changes_at_the_actions_and_nowhere_else(spot, truth):
    expected = {}
    for action in truth["actions"]:
        expected.setdefault(action["ticker"], set()).add(number(action["ex_session"]))
    for ticker in sorted(set(spot.ticker.tolist())):
        rows = rows_of(spot, ticker.decode().strip())
        step = np.diff(spot.distribution[rows])
        dates = spot.date[rows]
        assert (step >= 0).all()
        # an illiquid paper shows its event at its next trade
        shown = {int(dates[np.searchsorted(dates, day)]) for day in expected.get(ticker.decode().strip(), ())}
        assert set(dates[1:][step > 0].tolist()) == shown


def test_markers_stay_for_several_sessions_and_some_actions_have_none(spot, truth):
    marked = np.array([text[4:7].strip() != b"" for text in spot.spec])
    changes = sum(
        int(np.sum(np.diff(spot.distribution[rows_of(spot, t.decode().strip())]) > 0)) for t in set(spot.ticker)
    )
    assert marked.sum() > 2 * changes
    assert any(action["marker"] == "" for action in truth["actions"])
    states = {text[4:7].strip().decode() for text in spot.spec}
    assert states == {""} | {action["marker"] for action in truth["actions"]}
    assert {"EB", "EG", "EDB", "ES", "ED"} <= states


def test_cash_was_known_when_approved_and_leaves_the_price_at_the_ex_session(truth, daily):
    mid = {(str(s)[:10], t): m for s, t, m in zip(daily.session, daily.ticker, daily.close_mid, strict=True)}
    move = {
        (str(s)[:10], t): np.exp(o + i)
        for s, t, o, i in zip(daily.session, daily.ticker, daily.overnight, daily.intraday, strict=True)
    }
    groups = {}
    for action in truth["actions"]:
        assert action["approved_session"] < action["last_session_with_right"] < action["ex_session"]
        groups.setdefault((action["ticker"], action["last_session_with_right"], action["ex_session"]), []).append(
            action
        )
    checked = 0
    for (ticker, before, ex), actions in groups.items():
        if (before, ticker) not in mid or (ex, ticker) not in mid:
            continue
        cash = sum(action["cash"] for action in actions)
        factor = np.prod([action["share_factor"] for action in actions])
        theoretical = (mid[before, ticker] - cash) / factor
        assert mid[ex, ticker] == pytest.approx(theoretical * move[ex, ticker], rel=1e-9)
        checked += 1
    assert checked > 50


def test_pricing_of_actions_in_a_market_that_does_not_move():
    flat = np.full((10, 1), 50.0)
    common = {
        "column": 0,
        "ex_row": 5,
        "approved_row": 2,
        "marker": "",
        "marker_sessions": 1,
        "in_feed": True,
        "cash": 0.0,
    }
    actions = (
        CorporateAction(kind="dividend", share_factor=1.0, rate_yield=0.04, **common),
        CorporateAction(kind="split", share_factor=2.0, rate_yield=0.0, **common),
        CorporateAction(kind="jcp", share_factor=1.0, rate_yield=0.10, **(common | {"ex_row": 8, "approved_row": 6})),
    )
    priced, adjustment, shares = price_actions(actions, flat)
    assert [one.cash for one in priced] == [2.0, 0.0, 2.4]
    np.testing.assert_allclose(flat[:, 0] * adjustment[:, 0], [50.0] * 5 + [24.0] * 3 + [21.6] * 2, rtol=1e-14)
    assert shares[:, 0].tolist() == [1.0] * 5 + [2.0] * 5


def test_the_event_files_hold_what_the_truth_says_they_hold(feed, truth, spot):
    known = {code.decode() for code in spot.isin.tolist()}
    wanted = []
    for action in truth["actions"]:
        if action["in_feed"]:
            size = action["cash"] if action["kind"] in ("dividend", "jcp") else action["share_factor"]
            wanted.append((action["last_session_with_right"], action["approved_session"], action["kind"], size))
    kinds = {
        "DIVIDENDO": "dividend",
        "JRS CAP PROPRIO": "jcp",
        "DESDOBRAMENTO": "split",
        "GRUPAMENTO": "reverse_split",
        "BONIFICACAO": "bonus",
        "SUBSCRICAO": "rights",
    }
    found = []
    for family, entry in feed:
        days = [datetime.strptime(entry[key], "%d/%m/%Y").date().isoformat() for key in ("lastDatePrior", "approvedOn")]
        kind = kinds[entry["label"]]
        if family == "cash":
            size = brazilian(entry["rate"])
        elif kind == "rights":
            size = 1.0
        else:
            value = brazilian(entry["factor"])
            size = value if kind == "reverse_split" else 1.0 + value / 100.0
        found.append((*days, kind, size))
        assert entry["isinCode"] == entry["assetIssued"]
        assert entry["isinCode"] in known
    assert sorted((*one[:3], round(one[3], 8)) for one in found) == sorted(
        (*one[:3], round(one[3], 8)) for one in wanted
    )


def test_one_split_is_left_out_of_the_event_files(truth):
    missing = [action for action in truth["actions"] if not action["in_feed"]]
    assert [(one["kind"], one["share_factor"]) for one in missing] == [("split", 3.0)]


def test_the_fraud_falls_without_a_distribution_and_moves_to_table_08(spot, truth):
    ticker = by_role(truth, "fraud")
    rows = rows_of(spot, ticker)
    (crash,) = [one for one in truth["company_crashes"] if one["ticker"] == ticker]
    row = int(np.searchsorted(spot.date[rows], number(crash["session"])))
    assert spot.close[rows[row]] / spot.close[rows[row - 1]] < 0.45
    assert spot.distribution[rows[row]] == spot.distribution[rows[row - 1]]
    assert spot.quantity[rows[row]] > 3 * np.median(spot.quantity[rows])
    assert set(spot.bdi[rows[: row + 1]].tolist()) == {b"02"}
    assert set(spot.bdi[rows[row + 5 :]].tolist()) == {b"08"}


def test_delisted_papers_stop_and_new_ones_start(spot, truth, sessions):
    last_number = number(str(sessions[-1]))
    assert {one["role"] for one in truth["delisted"]} == {"bankruptcy", "takeover"}
    for one in truth["delisted"]:
        rows = rows_of(spot, one["ticker"])
        assert spot.date[rows[-1]] == number(one["last_session"]) < last_number
        announced = int(np.searchsorted(spot.date[rows], number(one["announced"])))
        jump = spot.close[rows[announced]] / spot.close[rows[announced - 1]]
        end = spot.close[rows[-1]] / spot.close[rows[announced]]
        if one["role"] == "takeover":
            assert jump > 1.15
            assert 0.9 < end < 1.15
        else:
            assert jump < 0.85
            assert end < 0.6
            assert spot.bdi[rows[announced]] == b"08"
    listed = [paper for paper in truth["papers"] if paper["role"] == "listing"]
    assert len(listed) == 3
    for paper in listed:
        rows = rows_of(spot, paper["ticker"])
        assert spot.date[rows[0]] == number(paper["first_session"]) > number(str(sessions[0]))
        assert spot.date[rows[-1]] == last_number


def test_a_renamed_paper_keeps_its_price_and_changes_its_isin(spot, truth):
    (renamed,) = truth["renamed"]
    old, new = rows_of(spot, renamed["old"]), rows_of(spot, renamed["new"])
    assert spot.date[old[-1]] < spot.date[new[0]] == number(renamed["session"])
    assert 0.85 < spot.open[new[0]] / spot.close[old[-1]] < 1.15
    assert set(spot.isin[old].tolist()).isdisjoint(spot.isin[new].tolist())


def test_illiquid_papers_trade_on_some_days_only(spot, truth, sessions):
    for paper in truth["papers"]:
        count = len(rows_of(spot, paper["ticker"]))
        if paper["role"] == "illiquid":
            assert abs(count / len(sessions) - paper["presence"]) < 4 * np.sqrt(0.25 / len(sessions))
        elif paper["role"] in ("giant", "etf", "bonus"):
            assert count == len(sessions)


def test_trade_counts_wrap_at_a_hundred_thousand(spot, truth, daily):
    true = {(number(str(s)[:10]), t): n for s, t, n in zip(daily.session, daily.ticker, daily.trade_count, strict=True)}
    wrapped = 0
    for ticker, day, shown in zip(spot.ticker, spot.date, spot.trades, strict=True):
        count = true[int(day), ticker.decode().strip()]
        assert shown == count % 100_000
        wrapped += count >= 100_000
    assert wrapped == len(truth["wrapped_trade_counts"]) > 0


def test_spreads_and_volumes_rise_with_volatility(daily, spot, truth):
    slopes, volumes = [], []
    for paper in truth["papers"]:
        mine = daily[daily.ticker == paper["ticker"]]
        if paper["role"] != "bonus" and not paper["role"].startswith("split") and paper["role"] != "giant":
            continue
        rows = rows_of(spot, paper["ticker"])
        quoted = (spot.bid[rows] > 0) & (spot.ask[rows] > 0)
        high = mine.volatility.to_numpy() > mine.volatility.median()
        relative = (spot.ask[rows] - spot.bid[rows]) / spot.close[rows]
        slopes.append(relative[high & quoted].mean() / relative[~high & quoted].mean())
        volume = spot.quantity[rows] / mine.typical_volume.to_numpy()
        volumes.append(np.median(volume[high]) / np.median(volume[~high]))
    assert len(slopes) >= 5
    assert np.mean(slopes) > 1.05
    assert np.mean(volumes) > 1.05


def test_liquid_papers_have_tight_spreads_and_illiquid_ones_wide(spot, truth):
    def median_spread(ticker):
        rows = rows_of(spot, ticker)
        rows = rows[(spot.bid[rows] > 0) & (spot.ask[rows] > 0)]
        return np.median(2.0 * (spot.ask[rows] - spot.bid[rows]) / (spot.ask[rows] + spot.bid[rows]))

    assert median_spread(by_role(truth, "giant")) < 0.001
    assert 0.003 < median_spread(by_role(truth, "illiquid")) < 0.05
    empty = (spot.bid == 0) | (spot.ask == 0)
    illiquid = np.isin(
        spot.ticker, [p["ticker"].ljust(12).encode() for p in truth["papers"] if p["role"] == "illiquid"]
    )
    assert empty[illiquid].mean() > 0.05 > empty[~illiquid].mean() > 0.0


def test_strikes_change_when_the_share_goes_ex(quotes, truth):
    options = quotes.market == 70
    strikes = {}
    for ticker, expiry, strike, day in zip(
        quotes.ticker[options], quotes.expiry[options], quotes.strike[options], quotes.date[options], strict=True
    ):
        strikes.setdefault((ticker, expiry), {}).setdefault(int(strike), []).append(int(day))
    changed = {key: value for key, value in strikes.items() if len(value) > 1}
    assert changed
    ex_days = {number(action["ex_session"]) for action in truth["actions"]}
    for value in changed.values():
        days = sorted((min(seen), max(seen)) for seen in value.values())
        for (_, last), (first, _) in pairwise(days):
            assert any(last < day <= first for day in ex_days)


def test_sessions_are_bank_days_and_the_bank_has_more(sessions, config):
    banks = bank_days(config.first_session, config.last_session)
    assert np.isin(sessions, banks).all()
    extra = set(np.setdiff1d(banks, sessions).astype(str).tolist())
    assert {"2020-12-24", "2020-12-31", "2021-01-25", "2021-07-09", "2021-12-24", "2021-12-31"} <= extra
    assert {str(day) for day in bank_days(date(2024, 11, 18), date(2024, 11, 22))} == {
        f"2024-11-{number}" for number in (18, 19, 21, 22)
    }


def test_easter_has_its_published_dates():
    published = {2000: "2000-04-23", 2008: "2008-03-23", 2011: "2011-04-24", 2021: "2021-04-04", 2024: "2024-03-31"}
    assert {year: easter_sunday(year).isoformat() for year in published} == published


def test_options_expire_on_third_fridays_or_the_session_before(sessions):
    for day in sessions[option_expiries(sessions)]:
        later = day.item()
        friday = date(later.year, later.month, 21 - (date(later.year, later.month, 1).weekday() + 2) % 7)
        assert friday.weekday() == 4
        assert 15 <= friday.day <= 21
        assert later == max(s.item() for s in sessions if s.item() <= friday)


def test_cdi_has_every_bank_day_in_the_central_bank_s_form(exchange, config):
    rows = json.loads((exchange.raw / "cdi.json").read_text("utf-8"))
    days = [datetime.strptime(row["data"], "%d/%m/%Y").date() for row in rows]
    assert days == [day.item() for day in bank_days(config.first_session, config.last_session)]
    values = np.array([float(row["valor"]) for row in rows])
    assert all(len(row["valor"].split(".")[1]) == 6 for row in rows)
    annual = (1.0 + values / 100.0) ** 252 - 1.0
    assert 0.04 < annual.min() <= annual.max() < 0.15


def test_cash_earns_the_cdi_of_closed_days_too():
    days = np.arange("2021-12-20", "2021-12-31", dtype="M8[D]")
    sessions = days[[0, 1, 4, 10]]
    cdi = np.linspace(0.03, 0.05, len(days))
    expected = [0.0]
    for start, end in ((0, 1), (1, 4), (4, 10)):
        expected.append(np.prod([1.0 + rate / 100.0 for rate in cdi[start:end]]) - 1.0)
    np.testing.assert_allclose(cash_returns(sessions, days, cdi), expected, rtol=1e-12, atol=1e-18)


def test_market_truth_has_a_row_for_each_session(exchange, sessions):
    table = pq.read_table(exchange.truth / "market.parquet")
    assert table["session"].to_pylist() == [day.item() for day in sessions]
    assert np.all(np.abs(table["crowd_flow"].to_numpy()) <= 0.7)
