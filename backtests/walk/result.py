"""One pod's backtest: its tables, its statistics and where they came from; and the run that holds several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.statistics import SESSIONS_PER_YEAR, monthly_returns, performance, sharpe_statistics
from backtests.walk.run_kinds import DAILY, RunKind
from backtests.walk.run_kinds import NUMPY_KINDS as NUMPY_KINDS

if TYPE_CHECKING:
    import pandas as pd

    from backtests.daily.account import Account
    from data_pipeline.daily.panel import DailyPanel

Column = NDArray[Any]
Table = Mapping[str, Column]
COSTS = DAILY.costs
COLUMNS = DAILY.tables
"""Tables of a pod of a daily run; those of every kind are in `backtests.walk.run_kinds`."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The out-of-sample account of one pod.

    Attributes
    ----------
    pod : str
    tables : mapping
        The tables of `kind`, each a mapping from column to an array; dates are datetime64[D].
    statistics : mapping
        As written to `statistics.json`.
    provenance : mapping
        Hashes of data, code and configuration, and library versions.
    kind : RunKind
        Of the run that it belongs to: which tables there are.
    """

    pod: str
    tables: Mapping[str, Table]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    kind: RunKind = DAILY

    @property
    def sessions(self) -> NDArray[np.datetime64]:
        """(T,) sessions of the account."""
        return self.tables["account"]["session"]

    @property
    def returns(self) -> NDArray[np.float64]:
        """(T,) simple returns of the net asset value; 0 in the first session, when the account only opens."""
        return self.tables["account"]["return"]

    @property
    def risk_free(self) -> NDArray[np.float64]:
        """(T,) simple risk-free returns."""
        return self.tables["account"]["risk_free"]

    @property
    def equity(self) -> pd.Series:
        """Net asset value at each close, R$, by session."""
        return self.account["net_asset_value"]

    @property
    def costs(self) -> pd.DataFrame:
        """What trading and borrowing cost in each session, R$, by cause."""
        return self.account[list(self.kind.costs)]

    @property
    def turnover(self) -> pd.Series:
        """Purchases and sales of each session over the net asset value of the close before."""
        return self.account["turnover"]

    @property
    def account(self) -> pd.DataFrame:
        """The account, one row per session, indexed by session."""
        return self.frame("account").set_index("session")

    @property
    def positions(self) -> pd.DataFrame:
        """Positions that are not zero, by session and instrument."""
        return self.frame("positions")

    @property
    def orders(self) -> pd.DataFrame:
        """Parent orders."""
        return self.frame("orders")

    @property
    def fills(self) -> pd.DataFrame:
        """Fills with their costs."""
        return self.frame("fills")

    @property
    def breaches(self) -> pd.DataFrame:
        """Breaches of limits."""
        return self.frame("breaches")

    @property
    def folds(self) -> pd.DataFrame:
        """Windows, chosen parameters and calibration of each fold."""
        return self.frame("folds")

    @property
    def risk(self) -> pd.DataFrame:
        """Forecasts for each session made at the close before it."""
        return self.frame("risk")

    @property
    def monthly(self) -> Mapping[str, float]:
        """Compounded return of each month."""
        return monthly_returns(self.sessions, self.returns)

    def to_vectorbt(self, panel: DailyPanel) -> Any:
        """The account as a `vectorbt.Portfolio`; see `backtests.daily.vectorbt_bridge.to_vectorbt`.

        Parameters
        ----------
        panel : DailyPanel
            The panel that the backtest ran on (vectorbt needs its splits).
        """
        from backtests.daily.vectorbt_bridge import to_vectorbt

        return to_vectorbt(account_of(self, panel), panel)

    def frame(self, name: str) -> pd.DataFrame:
        """One table as a new DataFrame.

        Raises
        ------
        ValueError
            When there is no table of that name.
        """
        import pandas as pd

        if name not in self.tables:
            raise ValueError(f"name must be one of the tables {', '.join(self.tables)}; was {name!r}")
        return pd.DataFrame(
            {
                column: values.astype("datetime64[s]") if values.dtype.kind == "M" else np.array(values)
                for column, values in self.tables[name].items()
            }
        )


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Pods that ran through the same folds, as one run folder holds them.

    `folder` is None while the run is only in memory.
    """

    name: str
    benchmark: str
    results: tuple[Result, ...]
    configuration: Mapping[str, Any]
    provenance: Mapping[str, Any]
    limits: tuple[Mapping[str, Any], ...]
    comparison: Mapping[str, Any]
    quality: Mapping[str, Any]
    folder: Path | None = None

    @property
    def kind(self) -> RunKind:
        """The kind of the run, one for all its pods."""
        return self.results[0].kind

    def result(self, pod: str) -> Result:
        """The result of one pod.

        Raises
        ------
        ValueError
            When no pod has that name.
        """
        for found in self.results:
            if found.pod == pod:
                return found
        raise ValueError(f"pod must be one of {', '.join(item.pod for item in self.results)}; was {pod!r}")


def account_of(result: Result, panel: DailyPanel) -> Account:
    """The simulator's account again, from a result's tables; breaches are left out.

    Marks of instruments that were not held are NaN: the tables do not have them.

    Raises
    ------
    ValueError
        When the panel does not have the result's sessions and instruments.
    """
    from backtests.daily.account import Account, Fills, Orders, RiskForecasts

    tables = result.tables
    account, positions, orders, fills = (tables[name] for name in ("account", "positions", "orders", "fills"))
    place = {name: index for index, name in enumerate(panel.instruments)}

    def cells(table: Table, date: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        unknown = sorted(set(table["instrument"]) - set(place))
        if unknown or not np.isin(account["session"], panel.sessions).all():
            what = f"instrument {unknown[0]}" if unknown else "the result's sessions"
            raise ValueError(f"panel must be the one that the backtest ran on; it does not have {what}")
        row = np.searchsorted(account["session"], table[date])
        column = np.array([place[name] for name in table["instrument"]], dtype=np.int64)
        return row.astype(np.int64), column

    shape = (account["session"].size, len(panel.instruments))
    shares, price = np.zeros(shape), np.full(shape, np.nan)
    held = cells(positions, "session")
    shares[held], price[held] = positions["shares"], positions["price"]
    renamed = {"session": "sessions", "return": "returns"}
    return Account(
        pod=result.pod,
        instruments=panel.instruments,
        shares=shares,
        price=price,
        orders=Orders(*cells(orders, "decision_session"), orders["shares"], orders["reason"]),
        fills=Fills(
            *cells(fills, "session"), **{name: fills[name] for name in fills if name not in ("session", "instrument")}
        ),
        breaches=(),
        risk=RiskForecasts(**{name: values for name, values in tables["risk"].items() if name != "session"}),
        **{renamed.get(name, name): values for name, values in account.items()},
    )


def check_tables(tables: Mapping[str, Table], where: str, kind: RunKind = DAILY) -> None:
    """Refuse tables that are not those of the kind with columns of one length; see `RunKind.check`."""
    kind.check(tables, where)


def account_statistics(
    tables: Mapping[str, Table],
    trials: int,
    trial_variance: float,
    *,
    periods_per_year: int = SESSIONS_PER_YEAR,
    kind: RunKind = DAILY,
) -> dict[str, Any]:
    """Everything that `statistics.json` says of a pod, of whatever kind of run.

    The first session is left out of every ratio: the account only opens at its close. `annual_cost` is a fraction of
    the mean net asset value per year, `annual_turnover` the traded value (purchases and sales) in net asset values
    per year. An account that is lost (a return of -100 % or less) has no ratios: they are NaN and `lost` is true.
    """
    account = tables["account"]
    returns, risk_free = account["return"][1:], account["risk_free"][1:]
    if returns.size < 2:
        raise ValueError(f"an account must have at least 3 sessions for statistics; had {returns.size + 1}")
    lost = bool(returns.min() <= -1.0 or account["net_asset_value"].min() <= 0.0)
    years = returns.size / periods_per_year
    cost = sum(float(account[name].sum()) for name in kind.costs)
    record: dict[str, Any] = {"lost": lost, "trials": trials}
    if not lost:
        record |= performance(returns, risk_free, periods_per_year=periods_per_year)
        record |= sharpe_statistics(returns - risk_free, trials, trial_variance, periods_per_year=periods_per_year)
        record["monthly_returns"] = dict(monthly_returns(account["session"][1:], returns))
    record["observations"] = int(returns.size)
    record["annual_turnover"] = float(account["turnover"].sum()) / years
    record["annual_cost"] = cost / float(account["net_asset_value"].mean()) / years if not lost else math.nan
    if "risk" in tables:
        record["var_backtest"] = var_backtest_record(account["return"], tables["risk"]["var_99"])
    record["sessions_per_year"] = periods_per_year
    return record


def var_backtest_record(returns: Column, var_99: Column) -> dict[str, Any]:
    """The verdict on the 99 % VaR forecasts (T,) of (T,) returns; sessions without a forecast do not count.

    Tests and zone are null when no session has a forecast.
    """
    from risk import backtest_var

    found = backtest_var(returns, var_99, 0.99)
    record: dict[str, Any] = {
        "confidence": 0.99,
        "sessions": found.sessions,
        "exceptions": found.exceptions,
        "expected": found.expected,
    }
    tests = {
        "kupiec_statistic": found.kupiec.statistic,
        "kupiec_p_value": found.kupiec.p_value,
        "binomial_p_value": found.binomial_p_value,
        "independence_p_value": found.independence.p_value,
        "conditional_coverage_p_value": found.conditional_coverage.p_value,
        "zone": found.zone,
    }
    return record | (tests if found.sessions else dict.fromkeys(tests))
