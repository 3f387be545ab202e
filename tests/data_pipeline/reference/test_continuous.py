"""Continuous futures against an account that buys, holds and rolls the contracts one by one."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Tally
from data_pipeline.feeds.reference.contracts import Contract, expiry_of
from data_pipeline.feeds.reference.rates import parse_cdi
from data_pipeline.feeds.reference.settlements import SETTLEMENTS
from data_pipeline.reference.continuous import RollRule, continuous_future, di1_accrual, di1_price
from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.tables.catalog import SETTLEMENTS as SPEC

DAY = datetime.date
DAYS = b3_sessions("2023-01-02", "2023-07-31").astype(object).tolist()


def market(seed=0, root="DOL", days=DAYS, listed=4):
    """Settlements of the next contracts of each session: a common walk, a basis of its own per contract."""
    rng = np.random.default_rng(seed)
    contracts = [Contract(root, month, year) for year in (2023, 2024) for month in range(1, 13)]
    expiries = {contract: expiry_of(contract) for contract in contracts}
    contracts = [contract for contract in contracts if expiries[contract]]
    spot, rows = 5_000.0, []
    for day in days:
        spot *= float(np.exp(0.01 * rng.standard_normal()))
        for contract in [contract for contract in contracts if expiries[contract] >= day][:listed]:
            ahead = (expiries[contract] - day).days
            price = spot * float(np.exp(0.0004 * ahead + 0.001 * rng.standard_normal()))
            rows.append(
                {
                    "session": day,
                    "symbol": contract.symbol,
                    "root": root,
                    "maturity": contract.maturity,
                    "expiry": expiries[contract],
                    "settlement": price,
                }
            )
    return pa.Table.from_pylist(rows, schema=SPEC.schema)


def prices_of(table):
    return {(row["session"], row["symbol"]): row["settlement"] for row in table.to_pylist()}


def contracts_on(table, day):
    found = [(row["expiry"], row["symbol"]) for row in table.to_pylist() if row["session"] == day]
    return sorted(found)


def plain_chain(table, days, sessions):
    """The rule by expiry, contract by contract."""
    calendar = b3_sessions("2023-01-02", "2025-01-31").astype(object).tolist()
    place = {day: number for number, day in enumerate(calendar)}
    chosen = []
    for day in days:
        later = [
            (expiry, symbol) for expiry, symbol in contracts_on(table, day) if place[expiry] - place[day] > sessions
        ]
        chosen.append(later[0][1])
    return chosen


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.sampled_from(["DOL", "IND"]))
@settings(max_examples=12)
def test_returns_are_those_of_holding_and_rolling_the_contracts(seed, sessions, root):
    table = market(seed, root)
    found = continuous_future(table, root, roll=RollRule(sessions=sessions))
    prices, chain = prices_of(table), plain_chain(table, DAYS, sessions)
    assert list(found.held) == chain
    # one contract is sold at its settlement and as much money's worth of the next bought at its own
    wealth, units = 1.0, 0.0
    levels = []
    for row, day in enumerate(DAYS):
        if row:
            wealth += units * (prices[day, chain[row - 1]] - prices[DAYS[row - 1], chain[row - 1]])
        units = wealth / prices[day, chain[row]]
        levels.append(wealth)
    assert np.cumprod(1 + found.returns) == pytest.approx(levels, rel=1e-12)
    assert found.adjusted / found.adjusted[0] == pytest.approx(levels, rel=1e-12)
    assert found.adjusted[-1] == found.settlement[-1]


def test_ratio_adjustment_multiplies_the_past_by_the_new_over_the_old_settlement_at_each_roll():
    table = market()
    found = continuous_future(table, "DOL")
    prices = prices_of(table)
    for row, day in enumerate(DAYS):
        expected = prices[day, found.held[row]]
        for later in range(row + 1, len(DAYS)):
            if found.held[later] != found.held[later - 1]:
                expected *= prices[DAYS[later], found.held[later]] / prices[DAYS[later], found.held[later - 1]]
        assert found.adjusted[row] == pytest.approx(expected, rel=1e-12)


def test_difference_adjustment_keeps_the_points_of_one_contract():
    table = market(3)
    found = continuous_future(table, "DOL", adjustment="difference")
    prices = prices_of(table)
    gained = [prices[day, found.held[row]] - prices[DAYS[row], found.held[row]] for row, day in enumerate(DAYS[1:])]
    assert np.diff(found.adjusted) == pytest.approx(gained, abs=1e-8)
    assert found.adjusted[-1] == found.settlement[-1]


def test_without_adjustment_prices_are_settlements_and_jump_at_rolls():
    found = continuous_future(market(), "DOL", adjustment="none")
    assert found.adjusted.tolist() == found.settlement.tolist()
    # DOLF23 settles for the last time on the first session: DOLG23 is held from then on
    assert [found.held[row] for row in np.flatnonzero(found.rolled)] == [f"DOL{letter}23" for letter in "HJKMNQ"]
    assert found.held[0] == "DOLG23"


@pytest.mark.parametrize(("shift", "months"), [(0, range(2, 8)), (3, range(2, 9))])
def test_rolls_are_at_the_expiry_or_sessions_before_it(shift, months):
    found = continuous_future(market(), "DOL", roll=RollRule(sessions=shift))
    calendar = b3_sessions("2023-01-02", "2023-08-31").astype(object).tolist()
    expiries = [next(day for day in calendar if day.month == month) for month in months]
    assert [DAYS[row] for row in np.flatnonzero(found.rolled)] == [
        calendar[calendar.index(day) - shift] for day in expiries
    ]


def reports(table, largest):
    """Open interest: the contract that `largest` names for the day has the most."""
    rows = [
        {
            "session": row["session"],
            "symbol": row["symbol"],
            "open_interest": 9.0 if row["symbol"] == largest(row["session"]) else 1.0,
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("session", pa.date32()), ("symbol", pa.string()), ("open_interest", pa.float64())])
    )


def test_open_interest_moves_the_position_a_session_after_it_moved_and_never_back():
    table = market()
    turn, back = DAYS[10], DAYS[12]
    found = continuous_future(
        table,
        "DOL",
        roll=RollRule("open_interest"),
        open_interest=reports(table, lambda day: "DOLH23" if turn <= day < back else "DOLG23"),
    )
    assert found.held[:11] == ("DOLG23",) * 11
    assert set(found.held[11:20]) == {"DOLH23"}


@given(st.integers(0, 2**32 - 1), st.integers(20, len(DAYS) - 2), st.sampled_from(["expiry", "open_interest"]))
@settings(max_examples=12)
def test_what_happens_later_changes_nothing_that_was_known(seed, row, by):
    rng = np.random.default_rng(seed)
    table = market(seed % 97)
    cut = DAYS[row]
    later = np.array([day > cut for day in table["session"].to_pylist()])
    moved = np.where(
        later, table["settlement"].to_numpy() * np.exp(rng.standard_normal(len(later))), table["settlement"].to_numpy()
    )
    other = table.set_column(table.column_names.index("settlement"), SPEC.schema.field("settlement"), pa.array(moved))
    if rng.random() < 0.5:
        other = other.filter(pc.or_(pa.array(~later), pc.equal(other["symbol"], other["symbol"][-1])))
    interest = [reports(some, lambda day: "DOLK23" if day > DAYS[row - 3] else "DOLG23") for some in (table, other)]
    noise = pa.array(
        np.where(
            [day > cut for day in interest[1]["session"].to_pylist()],
            rng.random(interest[1].num_rows),
            interest[1]["open_interest"].to_numpy(),
        )
    )
    interest[1] = interest[1].set_column(2, "open_interest", noise)
    views = [
        continuous_future(some, "DOL", roll=RollRule(by), as_of=cut, open_interest=None if by == "expiry" else told)
        for some, told in zip((table, other), interest, strict=True)
    ]
    for name in ("sessions", "settlement", "returns", "points", "rolled", "adjusted"):
        assert getattr(views[0], name).tolist() == getattr(views[1], name).tolist()
    assert views[0].held == views[1].held
    # a later view has other adjusted prices of the same past, with the same returns
    whole = continuous_future(table, "DOL", roll=RollRule(by), open_interest=None if by == "expiry" else interest[0])
    assert whole.held[: row + 1] == views[0].held
    assert whole.returns[: row + 1].tolist() == views[0].returns.tolist()
    if whole.rolled[row + 1 :].any():
        assert not np.array_equal(whole.adjusted[: row + 1], views[0].adjusted)


def test_di1_earns_what_its_price_moves_beyond_the_cdi():
    """A contract whose rate stays at the CDI earns nothing; carried by 100 % of it, its PU only accretes."""
    sessions = b3_sessions("2023-01-02", "2023-03-01")
    days = sessions.astype(object).tolist()
    daily = 0.0005
    banks = [
        day for day in np.arange("2023-01-02", "2023-03-02", dtype="datetime64[D]").astype(object) if day.weekday() < 5
    ]
    banks = [day for day in banks if day not in (DAY(2023, 2, 20), DAY(2023, 2, 21))]
    cdi = parse_cdi([{"data": f"{day:%d/%m/%Y}", "valor": "0.05"} for day in banks], "cdi.json")[0]
    expiry = expiry_of(Contract("DI1", 4, 2023))
    left = {day: len([bank for bank in banks if bank >= day]) + 22 for day in days}
    rows = [
        {
            "session": day,
            "symbol": "DI1J23",
            "root": "DI1",
            "maturity": "J23",
            "expiry": expiry,
            "settlement": di1_price((1 + daily) ** 252 - 1, left[day]),
        }
        for day in days
    ]
    table = pa.Table.from_pylist(rows, schema=SPEC.schema)
    found = continuous_future(table, "DI1", accrual=di1_accrual(sessions, cdi))
    assert np.abs(found.returns).max() < 1e-12
    assert np.abs(found.points).max() < 1e-7
    assert found.settlement[-1] / found.settlement[0] - 1 > 0.018
    with pytest.raises(ValueError, match="accrual must be given for DI1"):
        continuous_future(table, "DI1")


def test_the_pu_of_a_rate_is_the_published_one():
    # DI1F19 on 2018-01-02, 250 business days before expiry, settled at a rate of 6.805 % and a PU of 93,677.51
    assert di1_price(0.06805, 250) == pytest.approx(93_677.51, abs=0.5)
    assert di1_price(0.1, 0) == 100_000.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"adjustment": "both"}, "adjustment must be"),
        ({"roll": RollRule("open_interest")}, "open_interest must be given"),
        ({"as_of": DAY(2020, 1, 1)}, "there are no settlements of DOL up to 2020-01-01"),
        ({"accrual": {}}, "accrual must have every session after the first; lacks 2023-01-03"),
        (
            {"roll": RollRule(sessions=500)},
            "no contract of DOL settles at 2023-01-02 and expires more than 500 sessions",
        ),
    ],
)
def test_wrong_arguments_and_missing_data_are_one_error(arguments, words):
    with pytest.raises((ValueError, DataError), match=words):
        continuous_future(market(), "DOL", **arguments)


def test_a_contract_that_stops_settling_is_named():
    table = market()
    gone = pc.and_(pc.equal(table["symbol"], "DOLJ23"), pc.greater(table["session"], pa.scalar(DAY(2023, 3, 15))))
    with pytest.raises(DataError, match="DOLJ23 is held from 2023-03-15 and does not settle at the next session"):
        continuous_future(table.filter(pc.invert(gone)), "DOL")


@pytest.mark.parametrize(
    ("by", "sessions", "words"), [("volume", 0, "by must be"), ("expiry", -1, "sessions must be 0")]
)
def test_a_rule_that_is_none_is_refused(by, sessions, words):
    with pytest.raises(ValueError, match=words):
        RollRule(by, sessions)


@pytest.mark.realdata
@pytest.mark.parametrize("roots", [("WIN", "IND"), ("WDO", "DOL")])
def test_real_small_and_large_contracts_make_the_same_series(realdata, roots):
    path = realdata / "reference" / "futures_settlement_weekly_2021_2022.parquet"
    table = pa.concat_tables(batch.rows for batch in SETTLEMENTS.read((path,), Tally(), {}))
    # sessions are a week apart: what is held must outlive the next one
    small, large = (continuous_future(table, root, roll=RollRule(sessions=5)) for root in roots)
    assert small.adjusted.tolist() == large.adjusted.tolist()
    assert len(small.sessions) == len(pq.read_table(path, columns=["refdate"])["refdate"].unique()) == 104
    assert abs(np.log(small.adjusted[-1] / small.adjusted[0])) < 0.5


@pytest.mark.realdata
def test_the_real_index_future_moves_with_the_index_less_the_interest(realdata):
    """Held and rolled, it earns what the index does in excess of cash: CDI of 2021 and 2022 was 4 % and 12 %."""
    folder = realdata / "reference"
    path = folder / "futures_settlement_weekly_2021_2022.parquet"
    table = pa.concat_tables(batch.rows for batch in SETTLEMENTS.read((path,), Tally(), {}))
    found = continuous_future(table, "IND", roll=RollRule(sessions=5))
    levels = pq.read_table(folder / "index_history_IBOV_IDIV_SMLL_2018_2023.parquet").to_pandas()
    levels = levels[levels["symbol"] == "IBOV"].set_index("refdate")["value"]
    spot = np.diff(np.log(levels.loc[found.sessions].to_numpy()))
    future = np.log1p(found.returns[1:])
    assert np.corrcoef(spot, future)[0, 1] > 0.99
    years = (found.sessions[-1] - found.sessions[0]) / np.timedelta64(365, "D")
    assert 0.04 < (spot.sum() - future.sum()) / years < 0.12
    # without the rolls' ratios the series would jump up at each of them and seem to earn the interest
    plain = np.log(found.settlement[-1] / found.settlement[0])
    assert plain - future.sum() > 0.08


def test_the_pu_of_negative_rates_is_above_its_face_and_of_impossible_ones_refused():
    assert di1_price(-0.01, 252) == pytest.approx(100_000 / 0.99, rel=1e-15)
    for rate, days, words in (
        (-1.0, 252, "rate must be"),
        (np.nan, 1, "rate must be"),
        (0.1, -1, "business_days must"),
    ):
        with pytest.raises(ValueError, match=words):
            di1_price(rate, days)
