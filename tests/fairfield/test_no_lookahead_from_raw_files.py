"""The whole chain from raw files to fills: what every file says after a day changes nothing up to that day."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import zipfile

import numpy as np
import pytest

from backtests.walk.result_files import read_run
from backtests.walk.walkforward import run_walkforward
from data_pipeline.daily.panel_build import build_panel
from data_pipeline.daily.universe import UniverseRules
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.synthetic import ExchangeConfig, write_exchange
from fairfield.catalog import make_plan
from fairfield.config import load_config

CUT = "2022-06-15"
"""Inside the third of four test windows, with the end of a training window before it."""

PRICES = ((56, 69), (69, 82), (82, 95), (95, 108), (108, 121), (121, 134), (134, 147))
"""Zero-based columns of the seven prices of a quote record."""

CONFIG = """
benchmark = "equal_weight"
[run]
name = "small"
output = "runs"
workers = 1
[data]
store = "store"
[walkforward]
train = 140
test = 60
[execution]
method = "mean_field"
participation_limit = 0.1
[account]
capital = 20_000_000.0
[limits]
var_window = 100
[[pods]]
name = "equal_weight"
kind = "equal_weight"
limits = false
[pods.parameters]
universe_window = 40
min_traded_value = 300_000.0
[[pods]]
name = "momentum"
kind = "time_series_momentum"
[pods.parameters]
volatility_sessions = 40
rebalance_every = 5
long_only = false
min_traded_value = 300_000.0
[pods.grid]
signal_sessions = [20, 60]
[[pods]]
name = "reversal"
kind = "short_term_reversal"
execution = "twap"
[pods.parameters]
volatility_sessions = 40
min_traded_value = 300_000.0
[pods.grid]
signal_sessions = [3, 5]
[[pods]]
name = "low_volatility"
kind = "low_volatility"
execution = "immediate"
[pods.parameters]
volatility_sessions = 60
min_traded_value = 300_000.0
[pods.grid]
quantile = [0.2, 0.4]
"""


def scramble(raw):
    """Every record, company event and CDI of the raw files after `CUT` becomes another valid one, some vanish."""
    random = np.random.default_rng(7)
    volume, lasts = {}, {}
    for path in sorted(raw.glob("COTAHIST_*.ZIP")):
        with zipfile.ZipFile(path) as archive:
            (member,) = archive.namelist()
            lines = archive.read(member).decode("latin-1").split("\r\n")[:-1]
        kept = lines[:1]
        for line in lines[1:-1]:
            day, ticker = line[2:10], line[12:24]
            if day <= CUT.replace("-", ""):
                kept.append(line)
                continue
            volume.setdefault(ticker, float(np.exp(random.uniform(-4, 4))))
            lasts.setdefault(ticker, "20220801" if random.random() < 0.15 else "20991231")
            if day <= lasts[ticker]:
                kept.append(scrambled_record(line, volume[ticker], random))
        kept.append(lines[-1][:31] + f"{len(kept) + 1:011d}" + lines[-1][42:])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, "".join(line + "\r\n" for line in kept).encode("latin-1"))
    for path in (raw / "events").glob("*.json"):
        (company,) = json.loads(path.read_text())
        for name in ("cashDividends", "stockDividends", "subscriptions"):
            for entry in company[name]:
                day, month, year = entry["approvedOn"].split("/")
                if f"{year}-{month}-{day}" > CUT and "rate" in entry:
                    entry["rate"] = "0,01000000000"
                elif f"{year}-{month}-{day}" > CUT and "factor" in entry:
                    entry["factor"] = "50,00000000000" if entry["label"] != "GRUPAMENTO" else "0,25000000000"
        path.write_text(json.dumps([company]))
    cdi = json.loads((raw / "cdi.json").read_text())
    for entry in cdi:
        day, month, year = entry["data"].split("/")
        if f"{year}-{month}-{day}" > CUT:
            entry["valor"] = f"{random.uniform(0.0, 0.2):.6f}"
    (raw / "cdi.json").write_text(json.dumps(cdi))


def scrambled_record(line, more, random):
    jump, fields = float(np.exp(random.normal(0.0, 0.3))), list(line)
    for first, last in PRICES:
        price = int(line[first:last])
        fields[first:last] = f"{max(1, round(price * jump)) if price else 0:013d}"
    shares = int(line[152:170])
    other = max(1, round(shares * more * float(np.exp(random.normal(0.0, 0.2)))))
    fields[152:170] = f"{other:018d}"
    fields[170:188] = f"{max(1, round(int(line[170:188]) * jump * other / shares)):018d}"
    if random.random() < 0.01:
        fields[242:245] = f"{(int(line[242:245]) + 1) % 1000:03d}"
        fields[43:46] = "EB "
    return "".join(fields)


def run_from_raw(folder, raw):
    ingest([raw], folder / "store")
    config = folder / "run.toml"
    config.write_text(CONFIG)
    universe = UniverseRules(min_median_value=10_000_000.0)
    panel = build_panel(Store.open(folder / "store"), universe=universe)
    run = run_walkforward(make_plan(load_config(config)), panel, folder / "runs", workers=1)
    return panel, read_run(run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    dates = {"first_session": dt.date(2021, 6, 1), "last_session": dt.date(2022, 12, 29)}
    write_exchange(folder / "exchange", ExchangeConfig(seed=5, instruments=40, **dates))
    raw = folder / "exchange" / "raw"
    for name in ("as_it_was", "scrambled"):
        (folder / name).mkdir()
    before = run_from_raw(folder / "as_it_was", raw)
    other = folder / "scrambled" / "raw"
    shutil.copytree(raw, other)
    scramble(other)
    return before, run_from_raw(folder / "scrambled", other)


def until(table, key, last=CUT):
    rows = table[key] <= np.datetime64(last)
    return {column: values[rows] for column, values in table.items()}


def test_the_future_is_another_one(runs):
    (panel, run), (other_panel, other) = runs
    cut = int(np.searchsorted(panel.sessions, np.datetime64(CUT)))
    assert set(panel.instruments) != set(other_panel.instruments)
    assert (other_panel.member_from > cut).any()
    assert {e.ex_session for e in panel.events if e.ex_session > cut} != {
        e.ex_session for e in other_panel.events if e.ex_session > cut
    }
    for result in run.results:
        fills, others = result.tables["fills"], other.result(result.pod).tables["fills"]
        assert until(fills, "session")["shares"].size > 50
        assert fills["shares"].tobytes() != others["shares"].tobytes()


@pytest.mark.parametrize("pod", ["equal_weight", "momentum", "reversal", "low_volatility"])
def test_every_row_up_to_the_day_is_the_same(runs, pod):
    tables, others = (run.result(pod).tables for _, run in runs)
    for name, key in (
        ("account", "session"), ("positions", "session"), ("orders", "decision_session"), ("fills", "session"),
        ("breaches", "session"), ("risk", "session"),
    ):  # fmt: skip
        mine, theirs = until(tables[name], key), until(others[name], key)
        for column in mine:
            if column in ("cleared_session", "positions_hash"):
                # a breach may be cleared later; the hash is of all columns, of which there may be others
                continue
            # measures of risk are sums over all columns; others beside them round otherwise in the last digit, and net
            # exposure is near 0
            tolerance = 1e-13 if name in ("risk", "breaches") else 0.0
            if mine[column].dtype.kind == "f":
                np.testing.assert_allclose(mine[column], theirs[column], rtol=tolerance, atol=tolerance, err_msg=column)
            else:
                np.testing.assert_array_equal(mine[column], theirs[column], err_msg=f"{name} {column}")


def test_what_was_learnt_in_training_windows_up_to_the_day_is_the_same(runs):
    tables, others = (run.result("momentum").tables["folds"] for _, run in runs)
    mine, theirs = until(tables, "train_end"), until(others, "train_end")
    assert len(mine["fold"]) == 3 < len(tables["fold"])
    for column in mine:
        if column == "training_score":
            # a mean of differences of sums over all columns: see above
            np.testing.assert_allclose(mine[column], theirs[column], rtol=1e-9)
        elif column not in ("policy_hash", "test_end"):
            np.testing.assert_array_equal(mine[column], theirs[column], err_msg=column)
    assert not np.array_equal(tables["temporary_impact"], others["temporary_impact"])
