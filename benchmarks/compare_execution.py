"""What the pods of a configuration pay under each executor: the same targets, data, costs and crowd.

    python benchmarks/compare_execution.py demo/demo.toml

Every executor is charged by the one cost object and trades beside the crowd of the same equilibrium, so the rows differ
in the schedule alone (and, through it, in what the limits and the pods do next). Impact, spread and fees are in basis
points of the traded value. Slippage is the fill's price against the close at the decision, before costs, positive =
worse: over a few years it is mostly the luck of the sessions in between, and its error says how much of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

EXECUTORS = ("immediate", "twap", "mean_field")
COLUMNS = (
    "pod", "executor", "turnover / year", "impact bps", "spread bps", "fees bps", "cost % of NAV / year",
    "slippage bps", "its error", "sessions to fill", "excess return %",
)  # fmt: skip


def slippage(result: Any) -> tuple[float, float, float]:
    """(mean, standard error) in basis points of the traded value, and mean sessions from decision to fill, by value.

    The error takes the sessions as independent and weighs them by what was traded in them.
    """
    import numpy as np
    import pandas as pd

    fills, orders = result.fills, result.orders
    fills = fills[fills["reason"] == "order"].sort_values("session", kind="stable")
    orders = orders.rename(columns={"price": "close"}).sort_values("decision_session", kind="stable")
    joined = pd.merge_asof(
        fills,
        orders[["decision_session", "instrument", "close"]],
        left_on="session",
        right_on="decision_session",
        by="instrument",
        allow_exact_matches=False,
    )
    # further away than this lies a share event, not a market move
    joined = joined[(joined["price"] / joined["close"] - 1.0).abs() < 0.4]
    sessions = np.asarray(result.sessions, dtype="datetime64[s]")
    at = {
        name: np.searchsorted(sessions, joined[name].to_numpy("datetime64[s]"))
        for name in ("session", "decision_session")
    }
    value = (joined["shares"].abs() * joined["close"]).to_numpy()
    moved = (joined["shares"] * (joined["price"] - joined["close"])).to_numpy()
    mean = moved.sum() / value.sum()
    by_session = np.bincount(at["session"], moved - mean * value)
    error = math.sqrt(float((by_session**2).sum())) / value.sum()
    waited = float(((at["session"] - at["decision_session"]) * value).sum() / value.sum())
    return 1e4 * mean, 1e4 * error, waited


def row(result: Any, executor: str) -> tuple[str, ...]:
    fills, statistics = result.fills, result.statistics
    fills = fills[fills["reason"] == "order"]
    traded = float((fills["shares"].abs() * fills["price"]).sum())
    parts = [1e4 * float(fills[name].sum()) / traded for name in ("cost_impact", "cost_half_spread", "cost_fees")]
    moved, error, waited = slippage(result)
    numbers = (
        f"{statistics['annual_turnover']:.2f}",
        *(f"{part:.2f}" for part in parts),
        f"{100 * statistics['annual_cost']:.3f}",
        f"{moved:+.1f}",
        f"{error:.1f}",
        f"{waited:.2f}",
        f"{100 * statistics['excess_return']:+.2f}",
    )
    return (result.pod, executor, *numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a configuration whose data are there, such as demo/demo.toml")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    from backtests import run_walkforward
    from backtests.walk.result_files import read_run
    from data_pipeline.daily.panel_build import build_panel
    from data_pipeline.daily.universe import UniverseRules
    from data_pipeline.store import Store
    from fairfield.catalog import make_plan
    from fairfield.config import load_config

    config = load_config(options.config)
    data, plan = config.data, make_plan(config)
    if data.store is None:
        parser.error("the configuration must name a store: a panel of closes has one price a session")
    panel = build_panel(
        Store.open(data.store),
        start=None if data.start is None else data.start.isoformat(),
        end=None if data.end is None else data.end.isoformat(),
        universe=UniverseRules(min_median_value=data.min_median_value, min_presence=data.min_presence),
        risk_free_annual=data.risk_free_annual,
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="compare_execution_") as scratch:
        for executor in EXECUTORS:
            pods = tuple(dataclasses.replace(pod, execution=executor) for pod in plan.pods)
            changed = dataclasses.replace(plan, name=executor, pods=pods)
            run = read_run(run_walkforward(changed, panel, Path(scratch), workers=options.workers))
            rows += [row(result, executor) for result in run.results]
    rows.sort(key=lambda cells: [pod.name for pod in plan.pods].index(cells[0]))
    print(f"| {' | '.join(COLUMNS)} |\n|{'--|' * 2}{'--:|' * (len(COLUMNS) - 2)}")
    for cells in rows:
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
