"""Corporate events: found by DISMES, sized by the posterior; the real cases of 2021, 2023 and 2024."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.daily.events import find_candidates, size_candidates
from data_pipeline.daily.sizing import (
    MIN_OVERNIGHT,
    NO_HISTORY_OVERNIGHT,
    estimate_factor,
    opening_scale,
    overnight_scale,
    student_density,
    usual_factors,
)
from data_pipeline.daily.spot import EQUITY_TYPES, spot_rows
from data_pipeline.feeds.cotahist.parser import parse_records, read_cotahist

DAYS = [str(day) for day in np.datetime64("2024-01-01") + np.arange(40)]


def history(ticker="AAAA3", n=30, price=10.0, **last):
    """Quiet sessions, then one that differs."""
    rng = np.random.default_rng(5)
    prices = np.round(price * np.exp(0.01 * rng.standard_normal(n)), 2)
    rows = [{"ticker": ticker, "session": DAYS[k], "price": prices[k], "distribution": 101} for k in range(n - 1)]
    return [*rows, {"ticker": ticker, "session": DAYS[n - 1], "price": price, "distribution": 102} | last]


def detect(table, types=EQUITY_TYPES):
    rows = spot_rows(table, types)
    candidates = find_candidates(rows, np.unique(rows.session))
    issuers = [rows.isin[c.row][2:6] for c in candidates]
    return {
        (rows.instruments[item.candidate.instrument], str(item.candidate.session)): item
        for item in size_candidates(candidates, issuers)
    }


def only(found):
    assert len(found) == 1
    return next(iter(found.values()))


def test_a_reverse_split_is_sized_from_the_opening(quotes):
    item = only(detect(quotes([*history(price=0.5)[:-1], history(price=5.05, state="EG")[-1]])))
    assert (item.share_factor, item.kind) == (0.1, "reverse_split")
    assert item.confidence > 0.9


def test_a_split_in_two_is_sized_from_the_opening(quotes):
    item = only(detect(quotes([*history()[:-1], history(price=5.02, state="EB")[-1]])))
    assert (item.share_factor, item.kind) == (2.0, "split")


def test_a_crash_without_a_change_of_dismes_is_no_event(quotes):
    assert detect(quotes([*history()[:-1], history(price=2.5, distribution=101)[-1]])) == {}


def test_a_crash_with_a_dividend_is_no_split(quotes):
    item = only(detect(quotes([*history()[:-1], history(price=5.0, state="ED")[-1]])))
    assert (item.share_factor, item.kind, item.confidence) == (1.0, "unsized", 0.0)


@pytest.mark.parametrize(
    ("state", "kind"), [("EC", "spin_off"), ("ERC", "capital_return"), ("ES", "unsized"), ("", "unsized")]
)
def test_rights_whose_value_is_not_in_the_prices_have_no_factor(quotes, state, kind):
    item = only(detect(quotes([*history()[:-1], history(price=3.333, state=state)[-1]])))
    assert (item.share_factor, item.kind) == (1.0, kind)


def test_a_state_without_a_change_of_dismes_dates_nothing(quotes):
    rows = history(n=30, state="EB", distribution=101)
    assert detect(quotes(rows)) == {}


def test_an_old_state_needs_more_than_a_small_move(quotes):
    rows = history(n=30, price=10.0, state="EJB")
    rows[-2]["state"] = "EB"
    rows[-1]["price"] = 9.9
    item = only(detect(quotes(rows)))
    assert item.candidate.new_letters == "J"
    assert item.share_factor == 1.0


def test_the_event_of_an_illiquid_share_shows_at_its_next_trade_with_more_noise(quotes):
    liquid = only(detect(quotes([*history()[:-1], history(price=5.2, state="EB")[-1]])))
    rows = [*history()[:-1], history(price=5.2, state="EB")[-1] | {"session": "2024-02-20"}]
    others = [{"ticker": "BBBB3", "session": str(day)} for day in np.datetime64("2024-01-01") + np.arange(60)]
    late = only(detect(quotes(rows + others)))
    assert str(late.candidate.session) == "2024-02-20"
    assert late.candidate.scale > 3.0 * liquid.candidate.scale
    assert late.confidence < liquid.confidence


def test_steps_of_more_than_one_are_candidates(quotes):
    item = only(detect(quotes([*history()[:-1], history(price=5.0, state="EB", distribution=104)[-1]])))
    assert (item.candidate.previous_distribution, item.candidate.distribution) == (101, 104)


def test_another_isin_is_another_paper(quotes):
    rows = history(price=5.0, state="EB")
    rows[-1]["isin"] = "BRAAAAACNOR9"
    assert detect(quotes(rows)) == {}


def test_classes_of_one_issuer_pool_their_evidence(quotes):
    first = [*history()[:-1], history(price=3.2, state="EB")[-1]]
    second = [row | {"ticker": "AAAA4", "isin": "BRAAAAACNPR8", "price": row["price"] * 2.0} for row in first]
    alone = only(detect(quotes(first)))
    together = detect(quotes(first + second))
    assert {item.share_factor for item in together.values()} == {3.0}
    assert all(item.confidence > alone.confidence for item in together.values())
    assert all("2 classes pooled" in item.source for item in together.values())


def test_prices_are_per_share_whatever_the_quotation_factor(quotes):
    plain = history(price=5.02, state="EB")
    per_thousand = [row | {"quotation_factor": 1000, "price": 1000 * row["price"]} for row in plain]
    assert only(detect(quotes(per_thousand))).candidate.ratio == pytest.approx(
        only(detect(quotes(plain))).candidate.ratio, rel=1e-12
    )


def test_only_the_past_decides(quotes):
    rows = [*history()[:-1], history(price=5.02, state="EB")[-1]]
    rng = np.random.default_rng(3)
    after = [
        {"ticker": "AAAA3", "session": DAYS[30 + k], "price": round(float(rng.uniform(1, 90)), 2), "distribution": 102}
        for k in range(8)
    ]
    assert only(detect(quotes(rows))) == only(detect(quotes(rows + after)))


def test_the_posterior_equals_bayes_rule_written_out():
    ratio, scale, null = math.log(2.1), 0.07, 0.03
    priors = {factor: (1 - null) * weight for factor, weight in usual_factors("B").items()} | {1.0: null}
    likelihood = {
        factor: math.gamma(2.0)
        / (math.sqrt(3 * math.pi) * math.gamma(1.5) * scale)
        * (1 + ((ratio - math.log(factor)) / scale) ** 2 / 3) ** -2.0
        for factor in priors
    }
    total = sum(priors[f] * likelihood[f] for f in priors)
    estimate = estimate_factor([(ratio, scale)], "B", null)
    assert estimate.factor == 2.0
    assert estimate.probability == pytest.approx(priors[2.0] * likelihood[2.0] / total, rel=1e-12)


def test_the_noise_density_integrates_to_one():
    grid = np.linspace(-400.0, 400.0, 2_000_001)
    mass = np.trapezoid([student_density(x, 0.8) for x in grid[::20]], grid[::20])
    # the tails beyond 500 scales hold (2 sqrt(3) / pi) z^-3 ~ 1e-8
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_the_scale_adds_its_parts_in_quadrature():
    alone = opening_scale(0.02, 1, 1e9, 10.0, 10.0, cash=False)
    assert alone == pytest.approx(math.hypot(0.02, 0.01), rel=1e-12)
    assert opening_scale(0.02, 4, 1e9, 10.0, 10.0, cash=False) == pytest.approx(math.hypot(0.04, 0.01), rel=1e-12)
    assert opening_scale(0.02, 1, 0.09, 10.0, 10.0, cash=False) > alone, "a cent is 11 % of nine cents"
    assert opening_scale(0.02, 1, 1e9, 20.0, 10.0, cash=False) > alone, "the opening did not find its price"


def test_the_overnight_scale_has_a_floor_and_a_prior():
    assert overnight_scale(np.zeros(30)) == MIN_OVERNIGHT
    assert overnight_scale(np.array([0.1, np.nan])) == NO_HISTORY_OVERNIGHT
    assert overnight_scale(np.full(10, 5.0)) == pytest.approx(0.3), "one crash is cut, not believed"


SIZED_2023 = {
    ("OIBR3", "2023-01-09"): 1 / 10,
    ("IRBR3", "2023-01-25"): 1 / 30,
    ("NEXP3", "2023-01-27"): 1 / 50,
    ("BRPR3", "2023-02-24"): 1 / 40,
    ("PDGR3", "2023-03-06"): 1 / 100,
    ("KEPL3", "2023-04-04"): 2.0,
    ("TPIS3", "2023-04-28"): 1 / 4,
    ("CASH3", "2023-06-01"): 1 / 10,
    ("VIVR3", "2023-06-12"): 1 / 10,
    ("AMAR3", "2023-10-25"): 1 / 5,
    ("ITSA4", "2023-11-28"): 1.05,
    ("SLCE3", "2023-12-14"): 2.0,
    ("BHIA3", "2023-12-15"): 1 / 25,
    ("DOTZ3", "2023-12-22"): 1 / 10,
}
"""Public cases of 2023 whose factor the companies announced or whose opening leaves no doubt."""

UNSIZED_2023 = {
    ("BRPR3", "2023-04-05"): "capital_return",
    ("PCAR3", "2023-08-23"): "spin_off",
    ("EPAR3", "2023-12-20"): "spin_off",
    ("ESTR4", "2023-06-01"): "unsized",
    ("NUTR3", "2023-05-03"): "unsized",
    ("MERC4", "2023-06-19"): "unsized",
}
"""Changes of DISMES whose size prices cannot give: rights of unknown value, or openings far from any usual factor."""


@pytest.fixture(scope="module")
def found_2023(realdata: Path):
    return detect(read_cotahist(realdata / "cotahist" / "COTAHIST_A2023_EQUITIES.ZIP"))


@pytest.mark.realdata
@pytest.mark.parametrize("case", SIZED_2023)
def test_real_share_events_of_2023_are_sized(found_2023, case):
    assert found_2023[case].share_factor == pytest.approx(SIZED_2023[case], rel=1e-12)
    assert found_2023[case].confidence >= 0.5


@pytest.mark.realdata
@pytest.mark.parametrize("case", UNSIZED_2023)
def test_real_events_of_2023_that_prices_cannot_size_stay_unsized(found_2023, case):
    assert (found_2023[case].share_factor, found_2023[case].kind) == (1.0, UNSIZED_2023[case])


@pytest.mark.realdata
def test_the_americanas_crash_is_no_event(found_2023):
    assert [case for case in found_2023 if case[0] == "AMER3" and case[1].startswith("2023-01")] == []


@pytest.mark.realdata
def test_the_year_2023_as_a_whole(found_2023):
    # 883 changes of DISMES, of which 878 step by one
    steps = [item.candidate.distribution - item.candidate.previous_distribution for item in found_2023.values()]
    assert len(steps) == 883
    assert sorted({step: steps.count(step) for step in steps}.items()) == [(1, 878), (2, 4), (3, 1)]
    sized = {case: item for case, item in found_2023.items() if item.share_factor != 1.0}
    assert all(item.candidate.share_letters for item in sized.values()), "no factor without B or G"
    # a sized event must explain the opening: what is left is an ordinary night, even of a penny share
    left = [abs(math.log(item.candidate.ratio / item.share_factor)) for item in sized.values()]
    assert max(left) < 0.13
    # and no reverse split that went ex is missed but the one that came with a return of capital
    reverse = {case for case, item in found_2023.items() if "G" in item.candidate.new_letters}
    assert reverse - set(sized) == {("BRPR3", "2023-08-31"), ("MERC4", "2023-06-19")}


@pytest.mark.realdata
def test_real_cases_of_2021(realdata: Path):
    found = detect(read_cotahist(realdata / "cotahist" / "COTAHIST_A2021_16_SESSIONS.ZIP"))
    # BSLI3 went ex a split and opened at 0.115 of its close, then tripled: prices cannot tell the size
    assert found["BSLI3", "2021-01-05"].share_factor == 1.0
    assert 0.0 < found["BSLI3", "2021-01-05"].confidence < 0.5
    for ticker in ("ODER4", "BSLI4", "PDGR3", "CTNM4"):
        assert [case for case in found if case[0] == ticker] == [], "DISMES did not change"


YEAR_2023, JANUARY_2023, JANUARY_2021 = (
    f"COTAHIST_A{name}.ZIP" for name in ("2023_EQUITIES", "2023_12_SESSIONS", "2021_16_SESSIONS")
)
OPENINGS = {
    (YEAR_2023, "OIBR3", "2023-01-09"): ("9.6", 1 / 10),
    (YEAR_2023, "IRBR3", "2023-01-25"): ("28.5", 1 / 30),
    (YEAR_2023, "NEXP3", "2023-01-27"): ("44.6", 1 / 50),
    (YEAR_2023, "BRPR3", "2023-02-24"): ("39.5", 1 / 40),
    (YEAR_2023, "BRPR3", "2023-04-05"): ("0.27", 1.0),
    (YEAR_2023, "PDGR3", "2023-03-06"): ("93", 1 / 100),
    (YEAR_2023, "KEPL3", "2023-04-04"): ("0.52", 2.0),
    (YEAR_2023, "TPIS3", "2023-04-28"): ("", 1 / 4),
    (YEAR_2023, "CASH3", "2023-06-01"): ("", 1 / 10),
    (YEAR_2023, "PCAR3", "2023-08-23"): ("0.325", 1.0),
    (YEAR_2023, "BHIA3", "2023-12-15"): ("23.9", 1 / 25),
    (YEAR_2023, "SLCE3", "2023-12-14"): ("0.51", 2.0),
    (JANUARY_2021, "BSLI3", "2021-01-05"): ("0.115", 1.0),
    (JANUARY_2023, "HGAG11", "2023-01-06"): ("0.26", 1.0),
}
"""Opening over the close before, where it has been published, and the factor: 1 where prices cannot tell the size."""

NON_EVENTS = {
    (YEAR_2023, "AMER3", "2023-01-12"): ("close", "0.23"),
    (YEAR_2023, "PDGR3", "2023-12-08"): ("close", "0.46"),
    (YEAR_2023, "CTNM4", "2023-04-24"): ("close", "3"),
    (JANUARY_2021, "ODER4", "2021-01-26"): ("close", "2.0"),
    (JANUARY_2021, "BSLI4", "2021-01-06"): ("open", "1.7"),
}
"""Price over the close before, where nothing but the price moved."""


@pytest.fixture(scope="module")
def year_tables(realdata: Path):
    return {name: read_cotahist(realdata / "cotahist" / name) for name in (YEAR_2023, JANUARY_2023, JANUARY_2021)}


@pytest.fixture(scope="module")
def found(year_tables):
    # shares of funds too: HGAG11 is one
    return {name: detect(table, (*EQUITY_TYPES, "CTF")) for name, table in year_tables.items()}


@pytest.mark.realdata
@pytest.mark.parametrize("case", OPENINGS)
def test_real_openings_are_those_published_and_their_factors_leave_an_ordinary_night(found, case):
    file, *key = case
    published, factor = OPENINGS[case]
    item = found[file][tuple(key)]
    digits = len(published.partition(".")[2])
    assert published in ("", f"{1.0 / item.candidate.ratio:.{digits}f}")
    assert item.share_factor == pytest.approx(factor, rel=1e-12)
    if factor != 1.0:
        # what the factor leaves of the jump is a night, of a share that may cost cents
        assert abs(math.log(item.candidate.ratio / factor)) < 0.12


@pytest.mark.realdata
@pytest.mark.parametrize("case", NON_EVENTS)
def test_real_jumps_without_an_event_stay_in_the_prices(year_tables, found, case):
    file, ticker, session = case
    rows = spot_rows(year_tables[file])
    span = rows.rows_of(rows.instruments.index(ticker))
    row = int(np.flatnonzero(rows.session[span] == np.datetime64(session))[0])
    name, published = NON_EVENTS[case]
    digits = len(published.partition(".")[2])
    assert f"{getattr(rows, name)[span][row] / rows.close[span][row - 1]:.{digits}f}" == published
    assert (ticker, session) not in found[file]


@pytest.mark.realdata
def test_real_records_of_2024(realdata: Path):
    table = parse_records((realdata / "cotahist" / "EVENT_RECORDS_2024.TXT").read_bytes())
    assert table.num_rows == 14
    found = detect(table)
    assert set(found) == {
        ("MGLU3", "2024-05-27"),
        ("BBAS3", "2024-04-16"),
        ("BBAS3", "2024-06-12"),
        ("BBAS3", "2024-06-14"),
        ("VALE3", "2024-03-12"),
        ("ITUB4", "2025-01-02"),
    }
    assert found["MGLU3", "2024-05-27"].share_factor == pytest.approx(0.1)
    assert found["BBAS3", "2024-04-16"].share_factor == 2.0
    assert {case for case in found if case[0] == "BBAS3"} == {
        ("BBAS3", "2024-04-16"),
        ("BBAS3", "2024-06-12"),
        ("BBAS3", "2024-06-14"),
    }, "the state stayed on 2024-06-13, DISMES did not change"
    for case in (("VALE3", "2024-03-12"), ("ITUB4", "2025-01-02")):
        assert (found[case].share_factor, found[case].kind) == (1.0, "unsized")
