"""Finished accounts in the ledger, read when they are needed: however many pods a run has, one is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from backtests.walk.fold_tasks import Floats, read_tables, read_trials
from backtests.walk.result import COLUMNS, Table
from data_pipeline.tasks.ledger import Ledger

ROWS_BY_INSTRUMENT = ("positions", "orders", "fills")
"""Tables with rows per session and instrument: nearly all of an account's memory."""

_TABLES = tuple(name for name in COLUMNS if name != "folds")


class KeptAccounts:
    """The accounts of a run in the ledger; the one asked for last is kept until another is asked for."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is read yet."""
        self._ledger = ledger
        self._key = ""
        self._large: Mapping[str, Table] = {}

    def open(self, key: str) -> tuple[KeptTables, Floats]:
        """The tables of the account under `key`, and the returns (T, P) of every parameter set of its pod."""
        payload = self._ledger.read(key)
        small = read_tables(payload, [name for name in _TABLES if name not in ROWS_BY_INSTRUMENT])
        return KeptTables(self, key, small), read_trials(payload)

    def large(self, key: str, name: str) -> Table:
        """One of `ROWS_BY_INSTRUMENT` of the account under `key`."""
        if key != self._key:
            self._large = {}  # let go before the next is read
            self._key, self._large = key, read_tables(self._ledger.read(key), ROWS_BY_INSTRUMENT)
        return self._large[name]


@final
class KeptTables(Mapping[str, Table]):
    """The tables of one account: those with a row per session in memory, the others in the ledger."""

    def __init__(self, accounts: KeptAccounts, key: str, tables: Mapping[str, Table]) -> None:
        """Tables that are not among `tables` are read from `accounts`."""
        self._accounts, self._key, self._tables = accounts, key, dict(tables)

    def having(self, name: str, table: Table) -> KeptTables:
        """The same with one table more."""
        return KeptTables(self._accounts, self._key, self._tables | {name: table})

    def __getitem__(self, name: str) -> Table:
        """The table `name`."""
        if name in ROWS_BY_INSTRUMENT:
            return self._accounts.large(self._key, name)
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        """Names in file order."""
        return (name for name in COLUMNS if name in ROWS_BY_INSTRUMENT or name in self._tables)

    def __len__(self) -> int:
        """Number of tables."""
        return len(ROWS_BY_INSTRUMENT) + len(self._tables)
