from __future__ import annotations

from pathlib import Path

import pytest

from backtests.walk.sensitivity import IntradaySensitivity, Sensitivity
from fairfield.catalog import make_plan
from fairfield.config import load_config
from fairfield.errors import ConfigError
from fairfield.intraday_catalog import make_intraday_plan
from fairfield.intraday_config import load_intraday_config
from fairfield.stages import CONFIGURATIONS


def written(folder: Path, name: str, table: str) -> Path:
    path = folder / name
    path.write_text(
        (CONFIGURATIONS / name).read_text(encoding="utf-8") + f"\n[sensitivity]\n{table}\n", encoding="utf-8"
    )
    return path


def daily(folder: Path, table: str):
    return make_plan(load_config(written(folder, "demo.toml", table)))


def intraday(folder: Path, table: str):
    return make_intraday_plan(load_intraday_config(written(folder, "market_makers.toml", table)))


def test_a_daily_table_is_the_plans_study(tmp_path):
    plan = daily(tmp_path, 'capital = [1e6, 5e7]\nfee_factor = [2]\ndelay_sessions = [1]\nfill_price = ["close"]')
    assert plan.sensitivity == Sensitivity((1e6, 5e7), (2.0,), (1,), ("close",))
    assert make_plan(load_config(CONFIGURATIONS / "demo.toml")).sensitivity == Sensitivity()


def test_an_event_runs_table_is_the_plans_study(tmp_path):
    plan = intraday(tmp_path, "latency_ms = [0, 5.5]\norder_lots = [2]\nmax_position = [3]")
    assert plan.sensitivity == IntradaySensitivity((0.0, 5.5), (), (2,), (3,))


@pytest.mark.parametrize(
    ("make", "table", "message"),
    [
        (daily, "latency_ms = [1.0]", "unknown key sensitivity.latency_ms"),
        (daily, "capitl = [1.0]", r"unknown key sensitivity.capitl; did you mean capital\?"),
        (daily, "capital = [-1.0]", "sensitivity.capital must be finite and positive; was -1.0"),
        (daily, "capital = 1e6", "sensitivity.capital: .*valid list"),
        (daily, 'fill_price = ["open"]', "sensitivity.fill_price.0: .*'vwap' or 'close'"),
        (daily, "delay_sessions = [1, 1]", "sensitivity.delay_sessions must name each value once; 1 is there twice"),
        (intraday, "order_lots = [0]", "sensitivity.order_lots must be whole numbers from 1"),
        (intraday, "max_position = [100000]", "max_position of the sensitivity must be from order_lots"),
    ],
)
def test_a_wrong_table_names_the_key(tmp_path, make, table, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, table)
