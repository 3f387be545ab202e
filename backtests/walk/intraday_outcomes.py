"""What one pod left in one session of one instrument: its accounts under every case, as bytes and as table rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.inventory import InventoryFigures
from backtests.intraday.mark_outs import FillMarkOuts
from backtests.intraday.order_figures import CAUSES, OrderFigures, QueueFigures
from backtests.intraday.outcome import NO_MID, SessionOutcome
from backtests.intraday.profit import ProfitSplit
from backtests.intraday.quoting import Uptime
from backtests.intraday.session_account import SessionAccount
from backtests.walk.run_kinds import INTRADAY, NUMPY_KINDS
from data_pipeline.disk import canonical_json, npz_bytes, plain_json, read_npz
from strategies.intraday.rule import NO_ASK, NO_BID, Instrument

Column = NDArray[Any]
Table = Mapping[str, Column]
_PARTS: Final[Mapping[str, type]] = {
    "split": ProfitSplit,
    "mark_outs": FillMarkOuts,
    "inventory": InventoryFigures,
    "uptime": Uptime,
    "orders": OrderFigures,
    "queue": QueueFigures,
}
_CAUSE_WORDS: Final = {code: name for name, code in CAUSES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class SessionResult:
    """What the ledger keeps of a session.

    Attributes
    ----------
    session : str
    instrument : Instrument
    fold : int
    accounts : mapping of str to SessionAccount
        By name of the case.
    fills, samples : mapping of str to (n,) arrays
        Rows of the run's tables `fills` and `inventory`, under the main assumptions.
    """

    session: str
    instrument: Instrument
    fold: int
    accounts: Mapping[str, SessionAccount]
    fills: Table
    samples: Table


def fill_rows(outcome: SessionOutcome, session: str) -> dict[str, Column]:
    """Rows of the table `fills`; prices in price units."""
    fills, tick = outcome.fills, outcome.instrument.tick_size
    found = {
        "session": np.full(fills.size, np.datetime64(session, "D")),
        "instrument": np.full(fills.size, outcome.instrument.symbol),
        "exchange_time": fills["exch_ts"],
        "local_time": fills["local_ts"],
        "order_id": fills["order_id"],
        "side": fills["side"],
        "price": fills["tick"] * tick,
        "lots": fills["lots"],
        "maker": fills["maker"] == 1,
        "cause": np.array([_CAUSE_WORDS[cause] for cause in fills["cause"].tolist()], dtype=np.str_),
        "mid": _mid(fills["mid2"], tick),
        "position": fills["position"],
    }
    return _in_order("fills", found)


def sample_rows(outcome: SessionOutcome, session: str) -> dict[str, Column]:
    """Rows of the table `inventory`."""
    samples, tick = outcome.samples, outcome.instrument.tick_size
    found = {
        "session": np.full(samples.size, np.datetime64(session, "D")),
        "instrument": np.full(samples.size, outcome.instrument.symbol),
        "time": samples["local_ts"],
        "mid": _mid(samples["mid2"], tick),
        "position": samples["position"],
        "bid": np.where(samples["bid"] == NO_BID, np.nan, samples["bid"] * tick),
        "ask": np.where(samples["ask"] == NO_ASK, np.nan, samples["ask"] * tick),
    }
    return _in_order("inventory", found)


def _mid(mid2: NDArray[np.int64], tick: float) -> NDArray[np.float64]:
    return np.where(mid2 == NO_MID, np.nan, 0.5 * tick * mid2)


def _in_order(name: str, table: Mapping[str, Column]) -> dict[str, Column]:
    return {
        column: np.asarray(table[column]).astype(np.str_ if kind == "text" else NUMPY_KINDS[kind])
        for column, kind in INTRADAY.tables[name].items()
    }


def result_bytes(result: SessionResult) -> bytes:
    """The result as the ledger keeps it: JSON for what is single, arrays for what is not."""
    arrays: dict[str, Column] = {f"fills/{name}": values for name, values in result.fills.items()}
    arrays |= {f"samples/{name}": values for name, values in result.samples.items()}
    record: dict[str, Any] = {"accounts": {}, "cases": list(result.accounts)}
    for name in ("session", "instrument", "fold"):
        record[name] = plain_json(getattr(result, name))
    for case, account in result.accounts.items():
        single: dict[str, Any] = {}
        for place, value in _leaves(account):
            if isinstance(value, np.ndarray):
                arrays[f"accounts/{case}/{place}"] = value
            else:
                single[place] = plain_json(value)
        record["accounts"][case] = single
    return npz_bytes(arrays | {"record": np.frombuffer(canonical_json(record), dtype=np.uint8)})


def _leaves(account: SessionAccount) -> Iterator[tuple[str, Any]]:
    """Every number, array and mapping of an account by its place ("inventory.mean"); the instrument is left out."""
    for item in fields(SessionAccount):
        value = getattr(account, item.name)
        if item.name not in _PARTS:
            yield item.name, value
            continue
        for inner in fields(_PARTS[item.name]):
            if inner.name != "instrument":
                yield f"{item.name}.{inner.name}", getattr(value, inner.name)


def read_result(payload: bytes) -> SessionResult:
    """The result of `result_bytes`."""
    arrays = read_npz(payload)
    record = json.loads(arrays["record"].tobytes())
    instrument = Instrument(**record["instrument"])
    accounts = {}
    for case in record["cases"]:
        single = record["accounts"][case]
        start = f"accounts/{case}/"
        places = {name[len(start) :]: values for name, values in arrays.items() if name.startswith(start)}
        accounts[case] = _account(places | {place: _plain(value) for place, value in single.items()}, instrument)
    tables = {
        part: {name.partition("/")[2]: values for name, values in arrays.items() if name.startswith(f"{part}/")}
        for part in ("fills", "samples")
    }
    return SessionResult(record["session"], instrument, record["fold"], accounts, **tables)


def _plain(value: Any) -> Any:
    """JSON's null is a number that does not exist, its lists are tuples."""
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    return math.nan if value is None else value


def _account(leaves: Mapping[str, Any], instrument: Instrument) -> SessionAccount:
    values: dict[str, Any] = {}
    for item in fields(SessionAccount):
        kind = _PARTS.get(item.name)
        if kind is None:
            values[item.name] = leaves[item.name]
            continue
        inner = {
            each.name: instrument if each.name == "instrument" else leaves[f"{item.name}.{each.name}"]
            for each in fields(kind)
        }
        values[item.name] = kind(**inner)
    return SessionAccount(**values)


def session_tables(results: Sequence[SessionResult]) -> dict[str, dict[str, Column]]:
    """The tables `sessions`, `mark_outs`, `fills` and `inventory` of one pod's results, one below the other."""
    rows = [row for result in results for row in _session_rows(result)]
    moves = [row for result in results for row in _mark_out_rows(result)]
    made = {"sessions": _columns("sessions", rows), "mark_outs": _columns("mark_outs", moves)}
    for name, part in (("fills", "fills"), ("inventory", "samples")):
        made[name] = {
            column: np.concatenate([getattr(result, part)[column] for result in results]).astype(NUMPY_KINDS[kind])
            for column, kind in INTRADAY.tables[name].items()
        }
    return made


def _session_rows(result: SessionResult) -> Iterator[dict[str, Any]]:
    for case, account in result.accounts.items():
        money = {name: float(value) for name, value in account.split.money().items()}
        seconds = account.uptime.seconds
        yield _place(result, case) | {
            "fold": result.fold,
            **{name: money[name] for name in ("profit", "captured", "auctioned", "crossed", "liquidated")},
            "inventory": money["inventory"],
            "fees": money["fees"],
            "traded_value": account.orders.turnover,
            "fills": account.orders.fills,
            "maker_lots": account.orders.maker_lots,
            "lots": sum(account.orders.fill_lots.values()),
            "position_left": account.split.position,
            "orders": account.orders.orders,
            "orders_filled": account.orders.orders_filled,
            "lots_sent": account.orders.lots_sent,
            "lots_filled": account.orders.lots_filled,
            **{f"lots_{cause}": count for cause, count in account.orders.fill_lots.items()},
            "seconds": seconds,
            "seconds_bid": seconds * account.uptime.bid,
            "seconds_ask": seconds * account.uptime.ask,
            "seconds_both": seconds * account.uptime.both,
            "mean_position": account.inventory.mean,
            "mean_absolute_position": account.inventory.mean_absolute,
            "largest_position": max(account.inventory.highest, -account.inventory.lowest),
            "queue_ahead_filled": account.queue.ahead_filled,
            "queue_ahead_unfilled": account.queue.ahead_unfilled,
        }


def _mark_out_rows(result: SessionResult) -> Iterator[dict[str, Any]]:
    """Sums over the fills of each horizon, makers and takers apart; fills whose horizon has no mid are left out."""
    worth = result.instrument.tick_value
    for case, account in result.accounts.items():
        found = account.mark_outs
        for column, horizon in enumerate(found.horizons.tolist()):
            for maker in (True, False):
                chosen = (found.maker == maker) & np.isfinite(found.moves[:, column]) & np.isfinite(found.edge)
                lots = found.weight[chosen]
                yield _place(result, case) | {
                    "horizon": horizon,
                    "maker": maker,
                    "fills": int(chosen.sum()),
                    "lots": int(lots.sum()),
                    "edge": float(lots @ found.edge[chosen]) * worth,
                    "move": float(lots @ found.moves[chosen, column]) * worth,
                }


def _place(result: SessionResult, case: str) -> dict[str, Any]:
    day = np.datetime64(result.session, "D")
    return {"session": day, "instrument": result.instrument.symbol, "fill_case": case}


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    return {
        column: np.array([row[column] for row in rows], dtype=NUMPY_KINDS[kind])
        for column, kind in INTRADAY.tables[name].items()
    }
