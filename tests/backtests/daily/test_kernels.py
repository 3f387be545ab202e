"""The compiled accounting kernel against a plain Python account written from the rules, and hand-computed sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from backtests.daily import kernels
from backtests.daily.accounting import TradingRules, kernel_schedule, parent_orders
from backtests.daily.kernel_arrays import Market, empty_outcome, kernel_costs, march_session, opening_book
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Immediate, MeanFieldSchedule, Twap


def one_session(**changes):
    """A quiet session of two shares at R$ 10 and R$ 20, one million traded each; `changes` replace fields."""
    fields = {
        "fill_price": [10.0, 20.0],
        "close": [10.0, 20.0],
        "volume": [1e6, 1e6],
        "share_factor": [1.0, 1.0],
        "cash_gross": [0.0, 0.0],
        "cash_net": [0.0, 0.0],
        "risk_free": 0.0,
        "lot_size": [100.0, 100.0],
        "shortable": [True, True],
    } | changes
    return market_of_one_session(**fields)


def market_of_one_session(risk_free, lot_size, shortable, **rows):
    names = ("fill_price", "close", "volume", "share_factor", "cash_gross", "cash_net")
    grid = np.array([[rows[name] for name in names]], dtype=float)
    return Market(grid, np.array([float(risk_free)]), np.array([lot_size, shortable], dtype=float))


def free_costs(n=2):
    return TradingCosts(np.zeros(n), np.full(n, 0.02), np.full(n, 1e6), 1e-12, 0.0, 0.0)


def step(market, book, rules=None, costs=None, executor=None):
    n = book.shares.size
    out = empty_outcome(n)
    march_session(
        market,
        0,
        kernel_costs(costs or free_costs(n)),
        kernel_schedule(executor or Immediate(), n),
        (rules or TradingRules()).kernel_rules(),
        book,
        out,
    )
    return out


def book_with(cash=1e6, shares=(0.0, 0.0), remaining=(0.0, 0.0), marks=(10.0, 20.0)):
    book = opening_book(cash, np.array(marks))
    book.shares[:] = shares
    book.remaining[:] = remaining
    return book


def test_one_purchase_costs_what_the_formula_says():
    costs = TradingCosts(np.array([5e-4, 0.0]), np.array([0.02, 0.02]), np.array([5e5, 1e6]), 0.1, 0.4, 3e-4)
    book = book_with(remaining=(1000.0, 0.0))
    out = step(one_session(), book, costs=costs, executor=Immediate(crowd=(-0.5,)))
    # p q = 10,000; impact = 1/2 (0.1 + 0.4 * 0.5) 0.02 * 10 * 1000^2 / 500,000
    assert out.totals[kernels.HALF_SPREAD] == pytest.approx(5.0, rel=1e-12)
    assert out.totals[kernels.FEES] == pytest.approx(3.0, rel=1e-12)
    assert out.totals[kernels.IMPACT] == pytest.approx(0.06, rel=1e-12)
    assert book.cash[0] == pytest.approx(1e6 - 10_000 - 8.06, rel=1e-14)
    charged = costs.fill_cost(np.array([1000.0, 0.0]), np.array([10.0, 20.0]), -0.5)
    assert charged.total.sum() == pytest.approx(8.06, rel=1e-12)


def test_dividends_pay_long_net_and_charge_short_gross():
    book = book_with(cash=0.0, shares=(1000.0, -500.0))
    market = one_session(cash_gross=[1.0, 2.0], cash_net=[0.85, 1.7], close=[math.nan, math.nan], volume=[0.0, 0.0])
    out = step(market, book, TradingRules(borrow_annual=0.0))
    assert out.totals[kernels.DIVIDENDS] == pytest.approx(1000 * 0.85 - 500 * 2.0)
    # Without a trade the mark falls by the gross cash, so the holder's value moves by the tax only.
    assert out.totals[kernels.NET_ASSET_VALUE] == pytest.approx(1000 * 9 - 500 * 18 + 850 - 1000)


def test_reverse_split_leaves_whole_shares_and_pays_the_fraction():
    book = book_with(cash=0.0, shares=(1234.0, -15.0), remaining=(-1234.0, 0.0))
    market = one_session(share_factor=[0.1, 0.1], volume=[0.0, 0.0], close=[math.nan, math.nan])
    out = step(market, book, TradingRules(borrow_annual=0.0))
    assert book.shares.tolist() == [123.0, -1.0]
    assert book.remaining.tolist() == [-123.0, 0.0]
    assert book.mark.tolist() == pytest.approx([100.0, 200.0])
    # 0.4 share at R$ 100 received, 0.5 share at R$ 200 paid: the value does not move.
    assert book.cash[0] == pytest.approx(0.4 * 100 - 0.5 * 200)
    assert out.grid[kernels.FRACTION_QUANTITY].tolist() == pytest.approx([-0.4, 0.5])
    assert out.totals[kernels.NET_ASSET_VALUE] == pytest.approx(1234 * 10 - 15 * 20)


def test_split_restates_pending_orders_and_daily_volume():
    book = book_with(shares=(1000.0, 0.0), remaining=(300.0, 0.0))
    costs = TradingCosts(np.zeros(2), np.full(2, 0.02), np.full(2, 1e6), 1.0, 0.0, 0.0)
    market = one_session(share_factor=[2.0, 1.0], fill_price=[5.0, 20.0], close=[5.0, 20.0])
    out = step(market, book, costs=costs)
    assert book.shares.tolist() == [2600.0, 0.0]
    assert out.totals[kernels.IMPACT] == pytest.approx(0.5 * 0.02 * 5.0 * 600**2 / 2e6)


def test_interest_is_earned_on_cash_and_paid_on_debt():
    for cash in (1e6, -1e6):
        book = book_with(cash=cash, shares=(200_000.0, 0.0))
        out = step(one_session(risk_free=4e-4), book)
        assert out.totals[kernels.INTEREST] == pytest.approx(cash * 4e-4)


def test_a_short_pays_the_loan_fee_on_the_previous_close():
    book = book_with(shares=(-1000.0, 0.0))
    out = step(one_session(close=[11.0, 20.0]), book, TradingRules(borrow_annual=0.0252))
    assert out.totals[kernels.BORROW] == pytest.approx(1000 * 10 * 1e-4)


def test_a_share_that_does_not_trade_is_not_filled_and_keeps_its_mark():
    book = book_with(shares=(1000.0, 0.0), remaining=(-1000.0, 500.0))
    market = one_session(fill_price=[math.nan, 20.0], close=[math.nan, 21.0], volume=[0.0, 1e6])
    out = step(market, book)
    assert out.quantity.tolist() == [0.0, 500.0]
    assert book.mark.tolist() == [10.0, 21.0]
    assert book.remaining.tolist() == [-1000.0, 0.0]


def test_participation_limit_cuts_to_whole_lots_of_the_session_volume():
    book = book_with(remaining=(50_000.0, 0.0))
    out = step(one_session(volume=[12_345.0, 0.0]), book, TradingRules(participation_limit=0.1))
    assert out.quantity[0] == 1200.0
    assert book.remaining[0] == 48_800.0


def test_a_closing_order_sells_the_odd_shares():
    book = book_with(shares=(133.0, 0.0), remaining=(-133.0, 0.0))
    assert step(one_session(), book).quantity[0] == -133.0
    book = book_with(shares=(233.0, 0.0), remaining=(-133.0, 0.0))
    assert step(one_session(), book).quantity[0] == -100.0


def test_short_sales_need_permission():
    market = one_session(shortable=[False, True])
    book = book_with(shares=(300.0, 0.0), remaining=(-1000.0, -1000.0))
    assert step(market, book).quantity.tolist() == [-300.0, -1000.0]


def test_purchases_are_scaled_so_that_cash_covers_price_and_costs():
    costs = TradingCosts(np.full(2, 1e-3), np.full(2, 0.02), np.full(2, 1e5), 0.5, 0.0, 3e-4)
    book = book_with(cash=10_000.0, remaining=(1000.0, 1000.0))
    out = step(one_session(), book, costs=costs)
    assert 0.0 <= book.cash[0] < 100 * (10.0 + 20.0)
    assert out.quantity.tolist() == [300.0, 300.0]


def test_without_lots_scaled_purchases_spend_the_cash_to_the_last_cent():
    costs = TradingCosts(np.full(2, 1e-3), np.full(2, 0.02), np.full(2, 1e5), 0.5, 0.0, 3e-4)
    book = book_with(cash=10_000.0, remaining=(1000.0, 1000.0))
    out = step(one_session(lot_size=[0.0, 0.0]), book, costs=costs)
    assert book.cash[0] == pytest.approx(0.0, abs=1e-8)
    assert out.quantity[0] == pytest.approx(out.quantity[1], rel=1e-12)


def test_sales_of_the_same_session_pay_for_purchases():
    costs = TradingCosts(np.full(2, 1e-3), np.full(2, 0.02), np.full(2, 1e6), 1e-12, 0.0, 0.0)
    # 10,000 sold and 10,000 wanted, with R$ 10 of spread on each side: the last lot fits from R$ 20 of cash on.
    for cash, bought in ((0.0, 400.0), (19.9, 400.0), (20.1, 500.0)):
        book = book_with(cash=cash, shares=(1000.0, 0.0), remaining=(-1000.0, 500.0))
        assert step(one_session(), book, costs=costs).quantity.tolist() == [-1000.0, bought]


def test_gross_limit_scales_what_enlarges_positions_only():
    # Net asset value 1,000,000 + 100,000 - 0; limit 0.5: gross may be 550,000; 100,000 is held and half of it sold.
    book = book_with(cash=1e6, shares=(10_000.0, 0.0), remaining=(-5_000.0, 50_000.0))
    out = step(one_session(), book, TradingRules(gross_limit=0.5, participation_limit=1.0))
    assert out.quantity.tolist() == [-5_000.0, 25_000.0]
    assert book.shares @ book.mark == pytest.approx(0.5 * 1.1e6)


def test_a_dead_share_is_written_off_once_and_shorts_gain_nothing():
    book = book_with(cash=0.0, shares=(1000.0, -1000.0))
    silent = one_session(fill_price=[math.nan] * 2, close=[math.nan] * 2, volume=[0.0, 0.0])
    rules = TradingRules(delisting_sessions=3, borrow_annual=0.0)
    values = [step(silent, book, rules).totals[kernels.NET_ASSET_VALUE] for _ in range(5)]
    assert values == pytest.approx([-10_000.0, -10_000.0, 7_000.0 - 20_000.0, -13_000.0, -13_000.0])
    assert book.shares.tolist() == [0.0, 0.0]


def test_schedules_send_what_they_promise():
    for executor, sent in (
        (Twap(4), [300, 300, 300, 300]),
        (MeanFieldSchedule((0.5, 0.5), (0.0, 0.0)), [600, 300, 200, 100]),
    ):
        book = book_with(remaining=(1200.0, 0.0))
        assert [step(one_session(), book, executor=executor).quantity[0] for _ in range(4)] == sent
    # The last session of a schedule below 1 sends at least a lot, so the order ends.
    book = book_with(remaining=(100.0, 0.0))
    assert [
        step(one_session(), book, executor=MeanFieldSchedule((0.2, 0.2), (0, 0))).quantity[0] for _ in range(3)
    ] == [0, 100, 0]


def test_parent_orders_equal_the_kernels():
    random = np.random.default_rng(3)
    for _ in range(50):
        book = book_with(shares=tuple(random.integers(-3000, 3000, 2)), marks=tuple(random.uniform(1, 50, 2)))
        weights = random.uniform(-1, 1, 2) * random.integers(0, 2, 2)
        lots = np.array([100.0, 0.0])
        kernels.place_targets(weights[None], 0, False, 1e6, np.array([lots, lots]), book.grid)
        wanted = weights * 1e6 / book.mark
        np.testing.assert_array_equal(book.remaining, parent_orders(wanted, book.shares, lots))


@dataclass
class Twin:
    """The account once more: plain Python, one instrument after the other, written from the module's text."""

    cash: float
    shares: list
    pending: list
    age: list
    mark: list
    quiet: list
    totals: dict = field(default_factory=dict)

    def session(self, m, costs, volumes, fractions, crowd, rules):
        n = len(self.shares)
        total = dict.fromkeys(("traded", "half_spread", "impact", "fees", "dividends"), 0.0)
        total["interest"] = self.cash * m.risk_free
        total["borrow"] = (
            sum(-s * p for s, p in zip(self.shares, self.mark, strict=True) if s < 0) * rules.borrow_annual / 252
        )
        self.cash += total["interest"] - total["borrow"]
        for i in range(n):
            total["dividends"] += self.shares[i] * (m.cash_net[i] if self.shares[i] > 0 else m.cash_gross[i])
            self.mark[i] = (self.mark[i] - m.cash_gross[i]) / m.share_factor[i]
            if m.share_factor[i] != 1.0:
                volumes[i] *= m.share_factor[i]
                closing = self.shares[i] != 0 and self.pending[i] == -self.shares[i]
                exact = self.shares[i] * m.share_factor[i]
                kept = float(math.trunc(round(exact, 6)))
                self.cash += (exact - kept) * self.mark[i]
                self.shares[i] = kept
                self.pending[i] = -kept if closing else self.pending[i] * m.share_factor[i]
        self.cash += total["dividends"]
        children = [self._child(i, m, fractions, rules) for i in range(n)]
        reducing = [self._reducing(i, q) for i, q in enumerate(children)]
        price = [m.fill_price[i] if children[i] else self.mark[i] for i in range(n)]
        equity = self.cash + sum(s * p for s, p in zip(self.shares, price, strict=True) if s)
        kept = sum(abs(s + r) * p for s, r, p in zip(self.shares, reducing, price, strict=True) if s or r)
        added = sum(abs(q - r) * p for q, r, p in zip(children, reducing, price, strict=True) if q)
        gross = 1.0 if added == 0 else min(1.0, max(rules.gross_limit * equity - kept, 0.0) / added)

        def after(f):
            """Cash after the fills if purchases that enlarge are scaled by f, before rounding to lots."""
            cash = self.cash
            for i, q in enumerate(children):
                if q:
                    rest = q - reducing[i]
                    rest = rest * f if q > 0 else lots(rest * gross)
                    cash -= self._money(i, reducing[i] + rest, m, costs, volumes, crowd, fractions)[0]
            return cash

        scale = 1.0
        if after(1.0) < 0.0:
            low, high = 0.0, 1.0
            for _ in range(200):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if after(middle) >= 0.0 else (low, middle)
            scale = low
        for i, q in enumerate(children):
            factor = min(gross, scale) if q > 0 else gross
            if factor < 1.0:
                q = reducing[i] + lots(factor * (q - reducing[i]))
            if q == 0:
                continue
            spent, half, impact, fee = self._money(i, q, m, costs, volumes, crowd, fractions)
            self.cash -= spent
            self.shares[i] += q
            self.pending[i] -= q
            if abs(self.pending[i]) < 100 and self.shares[i] + self.pending[i] != 0:
                self.pending[i] = 0.0
            total["traded"] += abs(q) * m.fill_price[i]
            total["half_spread"] += half
            total["impact"] += impact
            total["fees"] += fee
        for i in range(n):
            if math.isnan(m.close[i]):
                self.quiet[i] += 1
            else:
                self.mark[i], self.quiet[i] = m.close[i], 0
            if self.shares[i] and self.quiet[i] >= rules.delisting_sessions:
                self.cash += self.shares[i] * self.mark[i] * (rules.delisting_recovery if self.shares[i] > 0 else 1.0)
                self.shares[i] = self.pending[i] = 0.0
        total["value"] = self.cash + sum(s * p for s, p in zip(self.shares, self.mark, strict=True) if s)
        self.totals = total

    def _child(self, i, m, fractions, rules):
        left = self.pending[i]
        if left == 0:
            return 0.0
        k = self.age[i] % len(fractions)
        self.age[i] = k + 1
        if m.volume[i] == 0 or math.isnan(m.fill_price[i]):
            return 0.0
        most = lots(left)
        wanted = most
        if fractions[k] < 1.0:
            wanted = math.copysign(math.floor(abs(left) * fractions[k] / 100 + 0.5) * 100, left)
            if k == len(fractions) - 1 and wanted == 0:
                wanted = math.copysign(100, left)
            wanted = math.copysign(min(abs(wanted), abs(most)), left)
        if self.shares[i] + left == 0 and abs(left - wanted) < 100:
            wanted = left
        cap = rules.participation_limit * m.volume[i]
        if abs(wanted) > cap:
            wanted = math.copysign(lots(cap), wanted)
        if wanted < 0 and not m.shortable[i]:
            wanted = -min(-wanted, max(self.shares[i], 0.0))
        return wanted

    def _reducing(self, i, q):
        return math.copysign(min(abs(q), abs(self.shares[i])), q) if q * self.shares[i] < 0 else 0.0

    def _money(self, i, q, m, costs, volumes, crowd, fractions):
        p = m.fill_price[i]
        rate = crowd[(self.age[i] - 1) % len(fractions)]
        half = abs(q) * p * costs.half_spread[i]
        fee = abs(q) * p * costs.fee
        eta = costs.temporary_impact + costs.crowd_impact * abs(rate)
        impact = 0.5 * eta * costs.volatility[i] * p * q * q / volumes[i]
        return q * p + half + impact + fee, half, impact, fee


def lots(quantity):
    return math.copysign(math.floor(abs(quantity) / 100 + 1e-6) * 100, quantity) if abs(quantity) >= 99.99 else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_kernel_equals_the_plain_account_on_random_paths(seed):
    random = np.random.default_rng(seed)
    n, sessions = 4, 80
    rules = TradingRules(
        participation_limit=0.2,
        gross_limit=float(random.choice([1.0, 1.5, 0.6])),
        delisting_sessions=4,
        allow_short=bool(seed % 2),
    )
    costs = TradingCosts(
        random.uniform(0, 1e-3, n), random.uniform(0.01, 0.03, n), random.uniform(1e4, 1e5, n), 0.3, 0.5, 3e-4
    )
    executor = (Immediate(crowd=(-0.3,)), Twap(3, crowd=(-0.2, 0.1, 0.0)), MeanFieldSchedule((0.6, 0.5), (-0.4, -0.1)))[
        seed % 3
    ]
    prices = random.uniform(5, 50, n)
    book = opening_book(1e6, prices.copy())
    twin = Twin(1e6, [0.0] * n, [0.0] * n, [0] * n, prices.tolist(), [0] * n)
    volumes = costs.daily_volume.copy()
    kernel_cost, out = kernel_costs(costs), empty_outcome(n)
    schedule, numbers = kernel_schedule(executor, n), rules.kernel_rules()
    traded = 0
    for t in range(sessions):
        prices = prices * np.exp(random.normal(0, 0.03, n))
        quiet = random.random(n) < (0.9 if 30 <= t < 40 else 0.1)
        event = np.where(random.random(n) < 0.03, random.choice([0.1, 2.0, 1.1]), 1.0)
        gross = np.where(random.random(n) < 0.05, 0.02 * book.mark, 0.0)
        prices = (prices - gross) / event
        session = {
            "fill_price": np.where(quiet, np.nan, prices * 1.001),
            "close": np.where(quiet, np.nan, prices),
            "volume": np.where(quiet, 0.0, np.floor(random.uniform(500, 60_000, n))),
            "share_factor": event,
            "cash_gross": gross,
            "cash_net": 0.85 * gross,
            "risk_free": 4e-4,
            "lot_size": np.full(n, 100.0),
            "shortable": np.full(n, rules.allow_short),
        }
        market = market_of_one_session(**session)
        march_session(market, 0, kernel_cost, schedule, numbers, book, out)
        twin.session(SimpleNamespace(**session), costs, volumes, executor.fractions, executor.crowd_rate, rules)
        np.testing.assert_array_equal(book.shares, twin.shares)
        np.testing.assert_allclose(book.remaining, twin.pending, rtol=1e-12, atol=1e-6)
        np.testing.assert_allclose(book.cash[0], twin.cash, rtol=1e-10, atol=1e-5)
        for name in ("traded", "half_spread", "impact", "fees", "dividends", "interest", "borrow"):
            assert out.totals[getattr(kernels, name.upper())] == pytest.approx(twin.totals[name], rel=1e-10, abs=1e-7)
        assert out.totals[kernels.NET_ASSET_VALUE] == pytest.approx(twin.totals["value"], rel=1e-11)
        traded += int(np.count_nonzero(out.quantity))
        if t % 7 == 0:
            weights = random.uniform(-1.0 if rules.allow_short else 0.0, 1.0, n)
            weights *= rules.gross_limit / np.abs(weights).sum()
            kernels.place_targets(weights[None], 0, False, out.totals[kernels.NET_ASSET_VALUE], market.fixed, book.grid)
            twin.pending, twin.age = book.remaining.tolist(), [0] * n
    assert traded > 50
