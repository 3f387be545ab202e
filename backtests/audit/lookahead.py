"""Checks that a pod author runs in pytest: does the pod see the future, and does it declare its whole warm-up?

    assert_no_lookahead(pod, panel, executor=Twap(3))
    assert_warm_up(pod, panel)

Both answer a question that reading the code does not: the first re-runs the pod on panels whose later rows are
scrambled and requires identical bytes before them; the second shows a decision only the `lookback` sessions that the
pod declares and requires the decision that all of history gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.daily.account import Account
from backtests.daily.accounting import TradingRules
from backtests.daily.simulator import Segment, simulate
from data_pipeline.daily.panel import PRICE_FIELDS, CorporateEvent, DailyPanel
from data_pipeline.daily.view import MarketView
from mfg_core.daily.costs import TradingCosts
from risk.limits import LimitSet
from strategies.execution import Executor, Immediate
from strategies.pod import Decider, Pod, Targets


class LookaheadError(AssertionError):
    """What happened before a session depended on the sessions after it."""


@dataclass(frozen=True, slots=True)
class _Recorder:
    """A decider that writes down what another one decides."""

    decider: Decider
    log: list[tuple[str, bytes]]

    def decide(self, view: MarketView) -> Targets | None:
        """The other one's decision."""
        targets = self.decider.decide(view)
        self.log.append((str(view.session), _bytes_of(targets)))
        return targets


def _bytes_of(targets: Targets | None) -> bytes:
    if targets is None:
        return b"none"
    given = targets.weights if targets.weights is not None else targets.orders
    kind = b"weights" if targets.weights is not None else b"orders"
    values = repr(sorted(given.items())).encode() if isinstance(given, dict) else np.asarray(given).tobytes()
    return kind + values


def random_panel(
    seed: int = 0, sessions: int = 300, instruments: int = 8, *, silent: float = 0.03, events: bool = True
) -> DailyPanel:
    """A small valid panel of random walks to try a pod on: gaps, splits, dividends, and one instrument that dies.

    Parameters
    ----------
    silent : float
        Part of the sessions in which an instrument does not trade.
    events : bool
        Whether there are splits and cash events, one in ten of which becomes known three sessions late.
    """
    random = np.random.default_rng(seed)
    shape = (sessions, instruments)
    market = random.normal(0.0003, 0.008, (sessions, 1))
    own = random.normal(0.0, 1.0, shape) * random.uniform(0.008, 0.025, instruments)
    total = np.exp(np.log(random.uniform(8.0, 60.0, instruments)) + np.cumsum(market + own, axis=0))
    drawn: list[CorporateEvent] = []
    price = total.copy()
    for row in range(5, sessions, 11) if events else ():
        column = int(random.integers(instruments))
        late = 3 * int(random.random() < 0.1)
        factor = float(random.choice([2.0, 0.1, 1.033, 1.0], p=[0.15, 0.15, 0.15, 0.55]))
        cash = 0.01 * float(price[row - 1, column]) if factor == 1.0 else 0.0
        price[row:, column] *= (1.0 - cash / price[row - 1, column]) / factor
        kind = "jcp" if cash else "split" if factor > 1.0 else "reverse_split"
        drawn.append(CorporateEvent(column, row, row + late, factor, cash, 0.15 if cash else 0.0, kind, 1.0, "drawn"))
    price = np.maximum(np.round(price, 2), 0.01)
    quiet = random.random(shape) < silent
    quiet[: sessions // 20] = False
    quiet[2 * sessions // 3 :, -1] = silent > 0.0
    volume = np.where(quiet, 0.0, np.round(np.exp(random.normal(13.0, 0.5, shape))))
    seen = np.where(quiet, np.nan, price)
    vwap = np.where(quiet, np.nan, np.round(price * np.exp(random.normal(0.0, 0.003, shape)), 4))
    return DailyPanel(
        sessions=np.datetime64("2020-01-01", "D") + np.arange(sessions),
        instruments=tuple(f"AA{chr(65 + i // 26)}{chr(65 + i % 26)}3" for i in range(instruments)),
        open=seen,
        high=np.maximum(seen, vwap),
        low=np.minimum(seen, vwap),
        close=seen,
        vwap=vwap,
        bid=seen * 0.999,
        ask=seen * 1.001,
        volume=volume,
        traded_value=np.where(quiet, 0.0, volume * price),
        trade_count=np.where(quiet, np.nan, 100.0),
        lot_size=np.full(instruments, 100),
        risk_free=np.full(sessions, 4e-4),
        events=tuple(drawn),
    )


def scramble_future(panel: DailyPanel, after: int, seed: int = 0) -> DailyPanel:
    """The panel with every row later than `after` replaced by other, valid numbers; earlier rows keep their bytes.

    Prices jump by up to a factor of about ten, some trades vanish, volumes and the risk-free return are drawn anew,
    events of later ex sessions are replaced by others, later members of the universe join at other sessions.
    """
    random = np.random.default_rng([seed, after])
    rows, n = panel.sessions.size - after - 1, len(panel.instruments)
    jump = np.exp(random.normal(0.0, 0.8, (rows, n)))
    silent = random.random((rows, n)) < 0.1
    changed: dict[str, Any] = {}
    for name in (*PRICE_FIELDS, "volume", "traded_value", "trade_count"):
        values = np.array(getattr(panel, name))
        future = values[after + 1 :]
        if name in PRICE_FIELDS:
            future[:] = np.where(silent, np.nan, np.where(np.isnan(future), 7.0, future) * jump)
        else:
            future[:] = np.where(silent, 0.0, random.integers(1, 10_000_000, (rows, n)))
        changed[name] = values
    risk_free = np.array(panel.risk_free)
    risk_free[after + 1 :] = random.uniform(0.0, 0.01, rows)
    events = [event for event in panel.events if event.ex_session <= after]
    for row in range(after + 1, panel.sessions.size, 3):
        column = int(random.integers(n))
        events.append(
            CorporateEvent(column, row, row, float(random.choice([0.1, 2.0])), 0.0, 0.0, "split", 1.0, "drawn")
        )
    joins = random.integers(after + 1, panel.sessions.size, n)
    changed["member_from"] = np.where(panel.member_from > after, joins, panel.member_from)
    return dataclasses.replace(panel, **changed, risk_free=risk_free, events=tuple(events))


def assert_no_lookahead(
    pod: Pod,
    panel: DailyPanel,
    *,
    costs: TradingCosts | None = None,
    executor: Executor | None = None,
    rules: TradingRules | None = None,
    limits: LimitSet | None = None,
    first: int | None = None,
    cuts: Sequence[int] | None = None,
    capital: float = 10e6,
) -> None:
    """Pass when fit, decisions, orders, fills and accounts up to each cut do not depend on later rows, to the byte.

    Parameters
    ----------
    pod : Pod
        Fitted on the rows before `first` in every run.
    panel : DailyPanel
    costs : TradingCosts, optional
        Default: the same plain costs for every instrument.
    first : int, optional
        First decision row; default: the pod's lookback.
    cuts : sequence of int, optional
        Rows after which everything is scrambled; default: three rows between `first` and the end.

    Raises
    ------
    LookaheadError
        Naming pod, cut and the first table or session that differs.
    ValueError
        When the panel is too short to test anything, or the pod never trades on it.
    """
    last = panel.sessions.size - 1
    start = pod.lookback if first is None else first
    if not 1 <= start < last - 1:
        raise ValueError(f"first must be in [1, {last - 1}), so that sessions come before and after it; was {start}")
    rows = cuts if cuts is not None else [start + (last - start) * part // 4 for part in (1, 2, 3)]
    chosen = executor if executor is not None else Immediate()
    settings = rules if rules is not None else TradingRules()
    charged = costs if costs is not None else _plain_costs(len(panel.instruments))

    def run(data: DailyPanel) -> tuple[list[tuple[str, bytes]], Account]:
        log: list[tuple[str, bytes]] = []
        decider = pod.fit(MarketView(data, start - 1))
        segment = Segment(start, last, _Recorder(decider, log), charged, chosen)
        return log, simulate(data, [segment], rules=settings, limits=limits, capital=capital, pod=pod.name)

    log, account = run(panel)
    if account.fills.row.size == 0:
        raise ValueError(f"panel must make pod {pod.name!r} trade, or nothing is tested; there was no fill")
    for cut in rows:
        other_log, other = run(scramble_future(panel, cut))
        seen = cut - start + 1
        for (session, before), (_, after) in zip(log[:seen], other_log[:seen], strict=True):
            if before != after:
                raise LookaheadError(
                    f"pod {pod.name!r}: the decision at {session} changed when rows after {panel.sessions[cut]} did"
                )
        _same_until(
            account, other, seen, f"pod {pod.name!r}, executor {chosen.name!r}, rows after {panel.sessions[cut]}"
        )


def _same_until(account: Account, other: Account, seen: int, place: str) -> None:
    until = account.sessions[seen - 1]
    for name, table in account.tables().items():
        key = "decision_session" if name == "orders" else "session"
        twin = other.tables()[name]
        kept, twin_kept = table[key] <= until, twin[key] <= until
        for column, values in table.items():
            if column == "cleared_session":
                continue
            left, right = values[kept], twin[column][twin_kept]
            if left.shape != right.shape or _as_bytes(left) != _as_bytes(right):
                raise LookaheadError(f"{place}: column {column} of {name} up to {until} depends on them")


def _as_bytes(values: NDArray[np.generic]) -> bytes:
    return repr(values.tolist()).encode() if values.dtype.kind in "OU" else values.tobytes()


def _plain_costs(instruments: int) -> TradingCosts:
    """Costs that do not depend on any data: 5 bps of half-spread, 2 % of volatility, a million shares a session."""
    even = np.ones(instruments)
    return TradingCosts(
        half_spread=5e-4 * even,
        volatility=0.02 * even,
        daily_volume=1e6 * even,
        temporary_impact=1.0,
        crowd_impact=0.0,
        fee=3e-4,
    )


def assert_warm_up(pod: Pod, panel: DailyPanel, *, rows: Sequence[int] | None = None) -> None:
    """Pass when a decision needs no more than the `lookback` sessions that the pod declares.

    Each decision of a fresh account at `rows` (default: four rows after the warm-up) is made twice, once with all of
    history and once with the last `lookback` sessions only, and must be the same to the byte.

    Raises
    ------
    LookaheadError
        Naming the pod and the first session at which the two decisions differ.
    ValueError
        When the panel is shorter than the warm-up, or the pod decides nothing at any of the rows.
    """
    last = panel.sessions.size - 1
    if pod.lookback >= last:
        raise ValueError(f"panel must be longer than the lookback {pod.lookback} of pod {pod.name!r}; was {last + 1}")
    chosen = rows if rows is not None else np.linspace(pod.lookback, last, 4).astype(int).tolist()
    decided = 0
    for row in chosen:
        if row < pod.lookback - 1:
            raise ValueError(f"rows must be at least {pod.lookback - 1}, so that the lookback fits before; was {row}")
        whole, short = MarketView(panel, row), MarketView(panel, row, first=row - pod.lookback + 1)
        decisions = [_bytes_of(pod.fit(view).decide(view)) for view in (whole, short)]
        decided += decisions[0] != b"none"
        if decisions[0] != decisions[1]:
            raise LookaheadError(
                f"pod {pod.name!r}: the decision at {whole.session} needs more than its declared lookback of "
                f"{pod.lookback} sessions"
            )
    if decided == 0:
        raise ValueError(f"rows must hold a decision of pod {pod.name!r}; it decided nothing at any of {list(chosen)}")
