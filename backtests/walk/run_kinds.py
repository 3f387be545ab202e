"""The kinds of run and the tables that each leaves for a pod: accounts that compare, and what only one kind has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Columns = Mapping[str, Mapping[str, str]]

NUMPY_KINDS = {"date": "datetime64[D]", "text": "O", "float": "float64", "whole": "int64", "flag": "bool"}
"""NumPy type of each kind of column."""


@dataclass(frozen=True, slots=True)
class RunKind:
    """What a kind of run leaves behind for each of its pods.

    Every kind has a table `account` with the columns of `COMMON`, on which statistics and comparisons rest.

    Attributes
    ----------
    name : str
        "daily" or "intraday"; in the header of a run.
    tables : mapping
        Tables in file order, their columns in file order and each column's kind: date, text, float, whole or flag.
    costs : tuple of str
        Columns of the account that are costs, in money.
    known_on : mapping of str to str
        The column that says when a table's row was known, where it is not `session`.
    """

    name: str
    tables: Columns
    costs: tuple[str, ...]
    known_on: Mapping[str, str] = field(default_factory=dict)

    def check(self, tables: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Refuse tables that are not those of this kind with columns of one length.

        Raises
        ------
        ValueError
            Naming `where`, the table and the column.
        """
        for name, columns in self.tables.items():
            if name not in tables:
                raise ValueError(f"{where}: table {name} is missing")
            table = tables[name]
            if list(table) != list(columns):
                raise ValueError(f"{where}: table {name} must have the columns {list(columns)}; had {list(table)}")
            lengths = {column: len(values) for column, values in table.items()}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"{where}: columns of table {name} must have one length; were {lengths}")


COMMON = ("session", "net_asset_value", "return", "turnover", "drawdown", "risk_free", "fold")
"""Columns of `account` in every kind of run; money in the run's currency, turnover of the net asset value before. The
first session only opens the account, with its capital and a return of 0."""

DAILY = RunKind(
    name="daily",
    tables={
        "account": {
            "session": "date", "net_asset_value": "float", "return": "float", "cash": "float", "gross": "float",
            "net": "float", "turnover": "float", "cost_half_spread": "float", "cost_impact": "float",
            "cost_fees": "float", "cost_borrow": "float", "dividends": "float", "interest": "float",
            "drawdown": "float", "state": "text", "risk_free": "float", "fold": "whole",
        },
        "positions": {
            "session": "date", "instrument": "text", "shares": "float", "price": "float", "value": "float",
            "weight": "float",
        },
        "orders": {
            "decision_session": "date", "instrument": "text", "shares": "float", "price": "float", "reason": "text",
        },
        "fills": {
            "session": "date", "instrument": "text", "shares": "float", "price": "float", "cost_half_spread": "float",
            "cost_impact": "float", "cost_fees": "float", "participation": "float", "reason": "text",
        },
        "breaches": {
            "id": "whole", "session": "date", "limit": "text", "level": "text", "value": "float", "threshold": "float",
            "kind": "text", "action": "text", "positions_hash": "text", "cleared_session": "date",
        },
        "folds": {
            "fold": "whole", "train_start": "date", "train_end": "date", "test_start": "date", "test_end": "date",
            "parameters": "text", "trials": "whole", "training_score": "float", "temporary_impact": "float",
            "temporary_impact_error": "float", "crowd_impact": "float", "crowd_impact_error": "float",
            "crowd_rate": "float", "crowd_rate_error": "float", "median_half_spread": "float",
            "median_volatility": "float", "calibration_notes": "text", "policy_hash": "text",
        },
        "risk": {
            "session": "date", "var_99": "float", "es_975": "float", "var_exception": "flag", "hhi": "float",
            "largest_issuer": "text", "largest_issuer_weight": "float", "gross": "float", "net": "float",
        },
    },
    costs=("cost_half_spread", "cost_impact", "cost_fees", "cost_borrow"),
    known_on={"orders": "decision_session", "folds": "test_start"},
)  # fmt: skip

INTRADAY = RunKind(
    name="intraday",
    tables={
        "account": {
            "session": "date", "net_asset_value": "float", "return": "float", "profit": "float", "interest": "float",
            "cost_crossing": "float", "cost_fees": "float", "turnover": "float", "drawdown": "float",
            "risk_free": "float", "fold": "whole",
        },
        "sessions": {
            "session": "date", "instrument": "text", "fill_case": "text", "fold": "whole", "profit": "float",
            "captured": "float", "auctioned": "float", "crossed": "float", "liquidated": "float",
            "inventory": "float", "fees": "float", "traded_value": "float", "fills": "whole", "maker_lots": "whole",
            "lots": "whole", "position_left": "whole", "orders": "whole", "orders_filled": "whole",
            "lots_sent": "whole", "lots_filled": "whole", "lots_at_the_price": "whole", "lots_print_through": "whole",
            "lots_book_through": "whole", "lots_crossing": "whole", "lots_auction": "whole",
            "lots_liquidation": "whole", "seconds": "float", "seconds_bid": "float", "seconds_ask": "float",
            "seconds_both": "float", "mean_position": "float", "mean_absolute_position": "float",
            "largest_position": "whole", "queue_ahead_filled": "float", "queue_ahead_unfilled": "float",
        },
        "mark_outs": {
            "session": "date", "instrument": "text", "fill_case": "text", "horizon": "float", "maker": "flag",
            "fills": "whole", "lots": "whole", "edge": "float", "move": "float",
        },
        "fills": {
            "session": "date", "instrument": "text", "exchange_time": "whole", "local_time": "whole",
            "order_id": "whole", "side": "whole", "price": "float", "lots": "whole", "maker": "flag", "cause": "text",
            "mid": "float", "position": "whole",
        },
        "inventory": {
            "session": "date", "instrument": "text", "time": "whole", "mid": "float", "position": "whole",
            "bid": "float", "ask": "float",
        },
        "folds": {
            "fold": "whole", "instrument": "text", "train_start": "date", "train_end": "date", "test_start": "date",
            "test_end": "date", "parameters": "text", "trials": "whole", "training_score": "float",
            "ask_arrival": "float", "ask_arrival_error": "float", "bid_arrival": "float", "bid_arrival_error": "float",
            "fill_decay": "float", "fill_decay_error": "float", "volatility": "float", "volatility_error": "float",
            "half_spread": "float", "adverse_selection": "float", "adverse_selection_error": "float",
            "rule": "text", "rule_notes": "text", "calibration_notes": "text", "rule_hash": "text",
        },
    },
    costs=("cost_crossing", "cost_fees"),
    known_on={"folds": "test_start"},
)  # fmt: skip

KINDS: Mapping[str, RunKind] = {kind.name: kind for kind in (DAILY, INTRADAY)}
"""Kinds of run by the name in their header."""
