"""Everything about where a session's money came from, in one object; several of them as one JSON-able record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.gains import BLOCKS, block_gains, fill_fees, gain_of, per_session
from backtests.intraday.inventory import InventoryFigures, inventory_figures
from backtests.intraday.mark_outs import ROLES, SIDES, FillMarkOuts, MarkOutMeans, fill_mark_outs, mark_out_means
from backtests.intraday.order_figures import OrderFigures, QueueFigures, order_figures, queue_figures
from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.profit import HORIZONS, ProfitSplit, profit_split, total_money
from backtests.intraday.quote_path import QuotePath
from backtests.intraday.quoting import Uptime, continuous_spans, uptime
from backtests.intraday.settings import FillSettings, TradingSpan


@dataclass(frozen=True, slots=True, eq=False)
class SessionAccount:
    """One outcome, accounted for.

    Attributes
    ----------
    split : ProfitSplit
    mark_outs : FillMarkOuts
    inventory : InventoryFigures
    uptime : Uptime
    orders : OrderFigures
    queue : QueueFigures
    gains : (blocks,) float64
        Money after fees in equal pieces of the session.
    maker_fees, taker_fees : int
        Millionths of a unit of money paid.
    counts : mapping of str to int
        The engine's.
    reference : str
        What fills are measured against: "quotes", or "last trade" where there are no quotes.
    """

    split: ProfitSplit
    mark_outs: FillMarkOuts
    inventory: InventoryFigures
    uptime: Uptime
    orders: OrderFigures
    queue: QueueFigures
    gains: NDArray[np.float64]
    maker_fees: int
    taker_fees: int
    counts: Mapping[str, int]
    reference: str


def session_account(
    outcome: SessionOutcome,
    path: QuotePath,
    span: TradingSpan,
    settings: FillSettings,
    *,
    horizons: Sequence[float] = HORIZONS,
    blocks: int = BLOCKS,
) -> SessionAccount:
    """An outcome's account.

    Parameters
    ----------
    outcome : SessionOutcome
    path : QuotePath
        Of the session's events, `until=span.stop`.
    span : TradingSpan
    settings : FillSettings
        Those of the simulation: its limits and fees.
    horizons : sequence of float
        Seconds after fills.
    blocks : int
        Pieces of time in `gains`.

    Raises
    ------
    ValueError
        When the outcome contradicts itself, or the fees are not its own.
    """
    micros = fill_fees(outcome.fills, outcome.instrument, settings.fees)
    maker = outcome.fills["maker"] == 1
    return SessionAccount(
        split=profit_split(outcome, path, horizons),
        mark_outs=fill_mark_outs(outcome, path, horizons, start=span.start),
        inventory=inventory_figures(outcome, span.start, span.stop, limit=settings.limits.max_position),
        uptime=uptime(outcome, path, continuous_spans(span.start, span.stop, span.phases)),
        orders=order_figures(outcome),
        queue=queue_figures(outcome, span.stop),
        gains=block_gains(outcome, path, span.start, span.stop, settings.fees, blocks),
        maker_fees=int(micros[maker].sum()),
        taker_fees=int(micros[~maker].sum()),
        counts=dict(outcome.counts),
        reference=path.reference,
    )


def account_record(accounts: Sequence[SessionAccount]) -> dict[str, Any]:
    """What a report shows of one pod's sessions, JSON types; nan becomes None.

    Money adds exactly; counts and lots add; shares are weighted by time; means of mark-outs are over all lots. Keys:
    `money` (parts by name, text of the exact decimal number), `profit` (total, error, t, p, pieces, verdict),
    `sessions` (profit of each, Sharpe ratio per session), `mark_outs`, `inventory`, `uptime`, `orders`, `queue`,
    `counts`, `reference`.

    Raises
    ------
    ValueError
        When there are no accounts, or their horizons differ.
    """
    money = total_money([account.split for account in accounts])
    profits = [float(account.split.money()["profit"]) for account in accounts]
    record = {
        "money": {name: format(value, "f") for name, value in money.items()},
        "maker_fees": sum(account.maker_fees for account in accounts) / 1e6,
        "taker_fees": sum(account.taker_fees for account in accounts) / 1e6,
        "profit": asdict(gain_of(*(account.gains for account in accounts))),
        "sessions": {"profits": profits, **per_session(profits)},
        "mark_outs": mark_out_record(mark_out_means([account.mark_outs for account in accounts])),
        "inventory": _inventory_record([account.inventory for account in accounts]),
        "uptime": _uptime_record([account.uptime for account in accounts]),
        "orders": _orders_record([account.orders for account in accounts]),
        "queue": _queue_record([account.queue for account in accounts]),
        "counts": _summed([account.counts for account in accounts]),
        "fills_without_mid": sum(account.split.without_mid for account in accounts),
        "positions_left": [account.split.position for account in accounts],
        "reference": sorted({account.reference for account in accounts}),
    }
    return {name: plain(value) for name, value in record.items()}


def mark_out_record(means: MarkOutMeans) -> list[dict[str, Any]]:
    """One row for each role, side and horizon with fills; ticks, in the fill's favour."""
    rows = []
    for role, side, place in np.ndindex(means.fills.shape):
        if not means.fills[role, side, place]:
            continue
        cell = (role, side, place)
        rows.append(
            {
                "role": ROLES[role],
                "side": SIDES[side],
                "seconds": float(means.horizons[place]),
                "fills": int(means.fills[cell]),
                **{
                    name: float(getattr(means, name)[cell])
                    for name in ("move", "move_error", "edge", "kept", "kept_error")
                },
            }
        )
    return rows


def plain(value: Any) -> Any:
    """JSON types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(int(one.get(name, 0)) for one in counts) for name in sorted({n for one in counts for n in one})}


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    """Mean over what is known; nan where nothing is."""
    kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if math.isfinite(value)]
    whole = sum(weight for _, weight in kept)
    return sum(value * weight for value, weight in kept) / whole if whole > 0 else math.nan


def _inventory_record(found: Sequence[InventoryFigures]) -> dict[str, Any]:
    seconds = [one.seconds for one in found]
    shares = ("mean", "mean_absolute", "at_limit", "flat", "half_life_seconds", "holding_seconds")
    return {
        **{name: _weighted([getattr(one, name) for one in found], seconds) for name in shares},
        "highest": max(one.highest for one in found),
        "lowest": min(one.lowest for one in found),
        "final": [one.final for one in found],
        "sign_changes": sum(one.sign_changes for one in found),
    }


def _uptime_record(found: Sequence[Uptime]) -> dict[str, Any]:
    seconds = [one.seconds for one in found]
    record: dict[str, Any] = {"seconds": sum(seconds)}
    for name in ("bid", "ask", "both", "one_side", "none"):
        record[name] = _weighted([getattr(one, name) for one in found], seconds)
    for place, ticks in enumerate(found[0].near):
        for name in ("near_bid", "near_ask", "near_both"):
            record[f"{name}_{ticks}"] = _weighted([getattr(one, name)[place] for one in found], seconds)
    return record


def _orders_record(found: Sequence[OrderFigures]) -> dict[str, Any]:
    names = ("orders", "orders_filled", "lots_sent", "lots_filled", "fills", "maker_lots", "messages", "turnover")
    sums: dict[str, Any] = {name: sum(getattr(one, name) for one in found) for name in names}
    mappings: dict[str, Any] = {
        name: _summed([getattr(one, name) for one in found]) for name in ("ends", "fill_lots", "fill_counts")
    }
    whole = OrderFigures(**sums, **mappings)
    ratios = ("fill_ratio_lots", "fill_ratio_orders", "order_to_trade", "touch_share")
    return {**sums, **mappings, **{name: getattr(whole, name) for name in ratios}}


def _queue_record(found: Sequence[QueueFigures]) -> dict[str, Any]:
    """Counts add; a mean or quantile of sessions is weighted by the orders that it is over."""
    filled = [float(one.filled) for one in found]
    others = [float(one.rested - one.filled) for one in found]
    rested = [float(one.rested) for one in found]
    weights = {"ahead": rested, "ahead_filled": filled, "ahead_unfilled": others, "ahead_end_unfilled": others}
    record: dict[str, Any] = {
        name: sum(getattr(one, name) for one in found) for name in ("rested", "filled", "place_unknown")
    }
    record |= {name: _weighted([getattr(one, name) for one in found], weight) for name, weight in weights.items()}
    for name, weight in (("seconds_to_fill", filled), ("seconds_resting", others)):
        for place, at in enumerate(found[0].quantiles):
            record[f"{name}_{round(100 * at)}"] = _weighted([getattr(one, name)[place] for one in found], weight)
    return record
