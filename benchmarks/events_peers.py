"""The other engines, each in a Python of its own: the programs that run there, and how they are called.

hftbacktest 2.4.4 (FAIRFIELD_HFTBACKTEST) and nautilus_trader 1.231 (FAIRFIELD_NAUTILUS) need other versions of NumPy
and Python than fairfield; the variables name their interpreters. Where one is not set, its rows are left out, with a
word.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

HFT: Final = """
import json, sys, time
import numpy as np
from numba import njit
from hftbacktest import (
    BUY, SELL, GTC, GTX, LIMIT, BacktestAsset, HashMapMarketDepthBacktest, ROIVectorMarketDepthBacktest,
)
wish = json.loads(sys.argv[1])
data = np.load(wish["events"])["data"]  # hftbacktest keeps only its address: the name keeps it alive

def asset(part):
    made = BacktestAsset().data([part]).linear_asset(1.0)
    made = made.constant_order_latency(wish["entry_ns"], wish["response_ns"])
    made = made.partial_fill_exchange() if wish["partial"] else made.no_partial_fill_exchange()
    made = getattr(made, wish["queue"])(*wish["queue_arguments"])
    made = made.trading_value_fee_model(wish["maker_fee"], wish["taker_fee"])
    return made.tick_size(wish["tick"]).lot_size(wish["lot"]).roi_lb(wish["roi"][0]).roi_ub(wish["roi"][1])

@njit
def run(hbt, start, interval, away, lots, most, kind, lot, apart, out, state_of_end):
    number, steps = 1, 0
    # hftbacktest's clock begins at its first event: go to the step before the first one of fairfield
    hbt.elapse(1)
    hbt.elapse(start - hbt.current_timestamp - interval)
    while True:
        state_of_end[0] = hbt.elapse(interval)
        if state_of_end[0] != 0:
            break
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        state = hbt.state_values(0)
        position = state.position / lot
        if steps < out.shape[0]:
            out[steps, 0], out[steps, 1] = hbt.current_timestamp - start, round(position)
            out[steps, 2], out[steps, 3] = state.balance, state.num_trades
            out[steps, 4] = depth.best_bid_tick + depth.best_ask_tick
            out[steps, 5] = state.fee
        steps += 1
        if depth.best_bid_qty <= 0.0 or depth.best_ask_qty <= 0.0:
            continue
        total = depth.best_bid_tick + depth.best_ask_tick
        wanted_bid, wanted_ask = (total - away) // 2, -((-(total + away)) // 2)
        has_bid, has_ask = False, False
        lowest_ask, highest_bid = 1 << 40, -(1 << 40)
        values = hbt.orders(0).values()
        while values.has_next():
            order = values.get()
            if order.side == BUY:
                highest_bid = max(highest_bid, order.price_tick)
                stands = order.price_tick == wanted_bid and position < most
                has_bid = has_bid or order.price_tick == wanted_bid
            else:
                lowest_ask = min(lowest_ask, order.price_tick)
                stands = order.price_tick == wanted_ask and -position < most
                has_ask = has_ask or order.price_tick == wanted_ask
            if not stands and order.cancellable:
                hbt.cancel(0, order.order_id, False)
        if not has_bid and position < most and not (apart and wanted_bid >= lowest_ask):
            hbt.submit_buy_order(0, number, wanted_bid * depth.tick_size, lots * lot, kind, LIMIT, False)
            number += 1
        if not has_ask and -position < most and not (apart and wanted_ask <= highest_bid):
            hbt.submit_sell_order(0, number, wanted_ask * depth.tick_size, lots * lot, kind, LIMIT, False)
            number += 1
    return steps, number - 1

kinds = {"hashmap": HashMapMarketDepthBacktest, "roi": ROIVectorMarketDepthBacktest}
book = kinds[wish["book"]]
out = np.zeros((wish["rows"], 6))
arguments = (
    wish["start"], wish["interval"], wish["away"], wish["lots"], wish["most"], GTX if wish["post_only"] else GTC,
    wish["lot"], wish["apart"],
)
ended = np.zeros(1, dtype=np.int64)
warm = book([asset(data[:2000])])
run(warm, *arguments, out[:1].copy(), ended)
warm.close()
hbt = book([asset(data)])
begun = time.process_time()
steps, orders = run(hbt, *arguments, out, ended)
spent = time.process_time() - begun
values = hbt.state_values(0)
result = {"seconds": spent, "steps": steps, "orders": orders, "trades": values.num_trades, "position": values.position,
          "balance": values.balance, "fee": values.fee, "ended": int(ended[0])}
hbt.close()
np.save(wish["output"], out[: min(steps, len(out))])
# not ru_maxrss: that begins with what the parent process held
with open("/proc/self/status") as status:
    result["rss_mib"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
print(json.dumps(result))
"""
"""The maker of events_feed in hftbacktest; a row a step: time since the first, position, cash, trades, best bid + best
ask, fees."""

QUEUES: Final = {
    "pessimistic": ("risk_adverse_queue_model", []),
    "log 1": ("log_prob_queue_model", []),
    "log 2": ("log_prob_queue_model2", []),
    "power 1": ("power_prob_queue_model", [3.0]),
    "power 2": ("power_prob_queue_model2", [3.0]),
    "power 3": ("power_prob_queue_model3", [3.0]),
}
"""Our name of a queue model, and hftbacktest's with its arguments."""


def interpreter(variable: str) -> str | None:
    """The Python that an environment variable names; None, with a word, where it names none."""
    found = os.environ.get(variable)
    if found is None or not Path(found).exists():
        print(f"left out: {variable} names no Python")
        return None
    return found


def run_child(python: str, program: str, wish: dict[str, Any], *, timeout: float = 3600.0) -> dict[str, Any]:
    """The JSON that a program prints last, in another Python."""
    done = subprocess.run(
        [python, "-c", program, json.dumps(wish)], capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{python} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def hft_wish(events: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """What hftbacktest is asked for: the maker's and the exchange's settings, with changes."""
    queue = changes.pop("queue", "pessimistic")
    name, arguments = QUEUES[queue]
    wish: dict[str, Any] = {
        "events": str(events), "output": str(output), "book": "hashmap", "partial": False, "queue": name,
        "queue_arguments": arguments, "entry_ns": 1_000_003, "response_ns": 1_000_007, "maker_fee": 0.0,
        "taker_fee": 0.0, "tick": 0.1, "lot": 1.0, "roi": [0.0, 20_000.0], "interval": 100_000_000, "away": 2,
        "lots": 1, "most": 5, "post_only": True, "apart": True, "rows": 1_000_000, "start": 0,
    }  # fmt: skip
    return wish | changes


NAUTILUS: Final = """
import json, sys, time
from decimal import Decimal
import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import BookOrder, OrderBookDelta, TradeTick
from nautilus_trader.model.enums import (
    AccountType, AggressorSide, BookAction, BookType, OmsType, OrderSide, OrderStatus, RecordFlag, TimeInForce,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

wish = json.loads(sys.argv[1])
venue = Venue("SIM")
key = InstrumentId(Symbol("X"), venue)
instrument = CryptoPerpetual(
    instrument_id=key, raw_symbol=Symbol("X"), base_currency=BTC, quote_currency=USDT, settlement_currency=USDT,
    is_inverse=False, price_precision=1, size_precision=0, price_increment=Price.from_str("0.1"),
    size_increment=Quantity.from_str("1"), max_quantity=None, min_quantity=None, max_notional=None,
    min_notional=None, max_price=None, min_price=None, margin_init=Decimal(0), margin_maint=Decimal(0),
    maker_fee=Decimal(0), taker_fee=Decimal(0), ts_event=0, ts_init=0,
)

class Maker(Strategy):
    def on_start(self):
        self.orders_sent = self.steps = 0
        self.subscribe_order_book_deltas(key, BookType.L2_MBP)
        self.clock.set_timer_ns("step", wish["interval"], wish["start"], 0, self.step)

    def step(self, event):
        self.steps += 1
        book = self.cache.order_book(key)
        bid, ask = book.best_bid_price(), book.best_ask_price()
        if bid is None or ask is None:
            return
        total = round(float(bid) * 10) + round(float(ask) * 10)
        position = int(self.portfolio.net_position(key))
        wanted = {OrderSide.BUY: (total - wish["away"]) // 2, OrderSide.SELL: -((-(total + wish["away"])) // 2)}
        has = set()
        for order in self.cache.orders_open(instrument_id=key) + self.cache.orders_inflight(instrument_id=key):
            tick = round(float(order.price) * 10)
            signed = position if order.side == OrderSide.BUY else -position
            if tick == wanted[order.side]:
                has.add(order.side)
            if (tick != wanted[order.side] or signed >= wish["most"]) and order.status == OrderStatus.ACCEPTED:
                self.cancel_order(order)
        for side, tick in wanted.items():
            signed = position if side == OrderSide.BUY else -position
            if side not in has and signed < wish["most"]:
                self.submit_order(self.order_factory.limit(
                    key, side, Quantity(wish["lots"], 0), Price(tick / 10, 1), TimeInForce.GTC, post_only=True))
                self.orders_sent += 1

rows = np.load(wish["events"])["data"][: wish["count"]]
begun = time.process_time()
data = []
for n, (flags, at, seen, px, qty) in enumerate(zip(*(rows[k].tolist() for k in
                                               ("ev", "exch_ts", "local_ts", "px", "qty")))):
    price, kind = Price(px, 1), flags & 255
    if kind == 2:
        side = AggressorSide.BUYER if flags & (1 << 29) else AggressorSide.SELLER
        data.append(TradeTick(key, price, Quantity(qty, 0), side, TradeId(str(n)), at, seen))
    else:
        side = OrderSide.BUY if flags & (1 << 29) else OrderSide.SELL
        action = BookAction.UPDATE if qty > 0 else BookAction.DELETE
        order = BookOrder(side, price, Quantity(qty, 0), 0)
        data.append(OrderBookDelta(key, action, order, RecordFlag.F_LAST, n, at, seen))
made = time.process_time() - begun
engine = BacktestEngine(BacktestEngineConfig(
    logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False))
engine.add_venue(
    venue=venue, oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, starting_balances=[Money(10_000_000, USDT)],
    book_type=BookType.L2_MBP, trade_execution=True, queue_position=True, liquidity_consumption=True,
    latency_model=LatencyModel(wish["entry_ns"]),
)
engine.add_instrument(instrument)
engine.add_data(data)
maker = Maker(StrategyConfig(strategy_id="maker"))
engine.add_strategy(maker)
begun = time.process_time()
engine.run()
spent = time.process_time() - begun
fills = sum(1 for order in engine.cache.orders() if order.filled_qty > 0)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
print(json.dumps({"seconds": spent, "objects_seconds": made, "steps": maker.steps, "orders": maker.orders_sent,
                  "trades": fills, "rss_mib": peak}))
"""
"""The same maker in nautilus_trader: L2 deltas and trades, queue positions and consumed liquidity on, no risk engine.

It has one clock: everything happens when it is seen."""
