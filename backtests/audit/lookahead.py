"""Checks that a pod author runs in pytest: does the pod see the future, and does it declare its whole warm-up?

    assert_no_lookahead(pod, panel, executor=Twap(3))
    assert_warm_up(pod, panel)

Both answer a question that reading the code does not: the first runs the pod on panels with another future and
requires identical bytes before it; the second shows a decision only the `lookback` sessions that the pod declares and
requires the decision that all of history gives. What fails names the pod, the first decision that changed and the field
that was read. `fairfield audit` asks the same of a whole configuration (docs/audit.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from backtests.audit.accounts import account_difference, guilty_fields, spread
from backtests.audit.decisions import Decision, Difference, Recorder, decision_of, first_difference, replayed
from backtests.audit.variants import FIELDS, UNPUBLISHED, VARIANTS, scramble_future, vary
from backtests.daily.account import Account
from backtests.daily.accounting import TradingRules
from backtests.daily.simulator import Segment, simulate
from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.daily.view import MarketView
from mfg_core.daily.costs import TradingCosts
from risk.limits import LimitSet
from strategies.execution import Executor, Immediate
from strategies.pod import Pod

__all__ = ["LookaheadError", "assert_no_lookahead", "assert_warm_up", "random_panel", "scramble_future"]


class LookaheadError(AssertionError):
    """What happened before a session depended on the sessions after it."""


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

    Later rows are scrambled, cut off and delayed (`backtests.audit.variants`).

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
        Rows after which the future is another; default: three at which the pod decides, the first and last among them.

    Raises
    ------
    LookaheadError
        Naming pod, cut, the first decision or row of the account that differs, and the fields that change it.
    ValueError
        When the panel is too short to test anything, or the pod never trades on it.
    """
    last = panel.sessions.size - 1
    start = pod.lookback if first is None else first
    if not 1 <= start < last - 1:
        raise ValueError(f"first must be in [1, {last - 1}), so that sessions come before and after it; was {start}")
    charged = costs if costs is not None else _plain_costs(len(panel.instruments))
    chosen, settings = executor or Immediate(), rules or TradingRules()

    def run(data: DailyPanel, until: int, log: list[Decision]) -> Account:
        decider = Recorder(pod.fit(MarketView(data, start - 1)), log)
        segment = Segment(start, until, decider, charged, chosen)
        return simulate(data, [segment], rules=settings, limits=limits, capital=capital, pod=pod.name)

    recorded: list[Decision] = []
    account = run(panel, last, recorded)
    decided = [item.row for item in recorded if item.kind != "none" and item.row < last]
    if account.fills.row.size == 0 or not decided:
        raise ValueError(f"panel must make pod {pod.name!r} trade, or nothing is tested; there was no fill")
    fitted_late = _fit_check(pod, panel, start, recorded)
    _require(fitted_late, panel, start - 1, f"pod {pod.name!r}: after its fit the decision at", unpublished=False)
    for cut in spread(decided, 3) if cuts is None else cuts:
        _require(
            _decision_check(pod, panel, start, [item for item in recorded if item.row <= cut]),
            panel,
            cut,
            f"pod {pod.name!r}: the decision at",
            unpublished=True,
        )

        def accounted(data: DailyPanel, cut: int = cut) -> Difference | None:
            return account_difference(account, run(data, cut, []), panel.sessions[cut])

        place = f"pod {pod.name!r}, executor {chosen.name!r}: the account of"
        _require(accounted, panel, cut, place, unpublished=False)


Compare = Callable[[DailyPanel], Difference | None]


def _fit_check(pod: Pod, panel: DailyPanel, start: int, recorded: Sequence[Decision]) -> Compare:
    """Fitted beside another future, deciding on the true one."""
    return lambda data: first_difference(
        panel, recorded, replayed(lambda: pod.fit(MarketView(data, start - 1)), panel, recorded)
    )


def _decision_check(pod: Pod, panel: DailyPanel, start: int, recorded: Sequence[Decision]) -> Compare:
    """Fitted and deciding beside another future, the account as it was."""
    return lambda data: first_difference(
        panel, recorded, replayed(lambda: pod.fit(MarketView(data, start - 1)), data, recorded)
    )


def _require(compare: Compare, panel: DailyPanel, cut: int, place: str, *, unpublished: bool) -> None:
    for variant in VARIANTS:
        found = compare(vary(panel, cut, variant, unpublished=unpublished))
        if found is None:
            continue
        names = [name for name in FIELDS if unpublished or name != UNPUBLISHED]
        read = list(guilty_fields(compare, panel, cut, names))
        if not read:
            read = ["the number of sessions" if variant == "truncate" else "several fields together"]
        of = f" of {found.instrument}" if found.instrument else ""
        raise LookaheadError(
            f"{place} {found.session}{of} changed when rows after {panel.sessions[cut]} did ({variant}): "
            f"{found.before} -> {found.after}; it reads {', '.join(read)}"
        )


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
        whole = MarketView(panel, row)
        before = decision_of(row, pod.fit(whole).decide(whole), whole)
        decided += before.kind != "none"
        found = _shortened(pod, panel, before)
        if found is not None:
            of = f" of {found.instrument}" if found.instrument else ""
            raise LookaheadError(
                f"pod {pod.name!r}: the decision at {whole.session}{of} needs more than its declared lookback of "
                f"{pod.lookback} sessions: {found.before} -> {found.after}"
            )
    if decided == 0:
        raise ValueError(f"rows must hold a decision of pod {pod.name!r}; it decided nothing at any of {list(chosen)}")


def _shortened(pod: Pod, panel: DailyPanel, before: Decision) -> Difference | None:
    """The same decision, fitted and made from the lookback alone."""
    short = MarketView(panel, before.row, first=before.row - pod.lookback + 1)
    return first_difference(panel, [before], replayed(lambda: pod.fit(short), panel, [before], visible=pod.lookback))
