"""A fabricated run folder: the layout of docs/contracts.md filled with simulated pods, no market and no backtest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtests.evidence.comparison import compare_pods
from backtests.walk.policy_files import PolicyArtefact, write_policy
from backtests.walk.result import COLUMNS, Result, Run, account_statistics
from backtests.walk.result_files import write_run
from reports.report import write_report

INSTRUMENTS = (
    "PETR4",
    "VALE3",
    "ITUB4",
    "BBDC4",
    "ABEV3",
    "WEGE3",
    "MGLU3",
    "SUZB3",
    "RENT3",
    "LREN3",
    "GGBR4",
    "EQTL3",
)
NEVER = np.datetime64("NaT", "D")
LEVELS = {
    "drawdown": (0.035, 0.05, 0.075),
    "day_loss": (0.01, 0.02, 0.03),
    "var_99": (0.032, 0.04, 0.048),
    "gross": (1.6, 2.0, 2.4),
    "largest_issuer": (0.2, 0.25, None),
    "hhi": (0.2, 0.25, None),
}


@pytest.fixture(scope="session")
def fabricate() -> Callable[..., Path]:
    return fabricate_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """The usual run: four pods, 1,000 sessions, breaches, exceptions, a policy."""
    return fabricate_run(tmp_path_factory.mktemp("runs"))


def fabricate_run(
    parent: Path,
    *,
    pods: Sequence[str] = ("hold", "momentum", "reversal", "low_volatility"),
    sessions: int = 1000,
    instruments: Sequence[str] = INSTRUMENTS,
    policy: bool = True,
    breaches: bool = True,
    exceptions: bool = True,
    seed: int = 7,
    edit: Callable[[str, dict[str, dict[str, Any]]], None] | None = None,
) -> Path:
    """Write a run into the folder `parent` and return its own folder; `edit(pod, tables)` may change it before."""
    rng = np.random.default_rng(seed)
    days = np.busday_offset("2020-01-02", np.arange(sessions), roll="forward").astype("datetime64[D]")
    market = 0.006 * rng.standard_t(5, sessions) * (1 + 0.8 * np.sin(np.arange(sessions) / 90.0) ** 2)
    digests = [write_policy(parent / "policies", game_artefact())] if policy else []
    results = []
    for i, pod in enumerate(pods):
        returns = 0.0006 + (0.9 - 0.35 * i) * 0.5 * market + 0.003 * rng.standard_normal(sessions)
        returns[0] = 0.0
        if not exceptions:
            returns = np.maximum(returns, -0.004)
        tables = pod_tables(days, returns, instruments, rng, digests[0] if policy else None, breaches=breaches)
        if edit is not None:
            edit(pod, tables)
        tables = {name: {column: tables[name][column] for column in columns} for name, columns in COLUMNS.items()}
        results.append(Result(pod, tables, account_statistics(tables, 12, 0.0004)))
    run = Run(
        name="fabricated",
        benchmark=pods[0],
        results=tuple(results),
        configuration={
            "name": "fabricated",
            "benchmark": pods[0],
            "seed": seed,
            "folds": {"train": 500, "test": 250, "purge": 1, "embargo": 0},
            "rules": {"fill_price": "vwap", "participation_limit": 0.1, "whole_lots": True},
            "execution": {"horizon": 3, "risk_aversion": 1.0},
            "sessions_per_year": 252,
            "var_window": 252,
            "pods": [
                {"name": pod, "execution": "mean_field", "grid": [{"parameters": {"window": 60}}]} for pod in pods
            ],
        },
        provenance={
            "data_hash": "1f" * 32,
            "configuration_hash": "2e" * 32,
            "code_hash": "3d" * 32,
            "libraries": {"python": "3.11.0"},
        },
        limits=tuple(
            {
                "name": n,
                "measure": n,
                "amber": a,
                "hard": h,
                "kill": k,
                "action_hard": "HALVE",
                "action_kill": "FLATTEN",
            }
            for n, (a, h, k) in LEVELS.items()
        ),
        comparison=compare_pods(
            {r.pod: r.returns[1:] for r in results},
            results[0].risk_free[1:],
            pods[0],
            {r.pod: r.statistics for r in results},
            draws=200,
        ),
        quality=quality_record(days),
    )
    return write_run(parent, run, parent / "policies", digests)


def quality_record(days: np.ndarray) -> dict[str, Any]:
    """A record with the keys of data_pipeline.quality.daily."""
    months = np.unique(days.astype("datetime64[M]"))
    quarantine = {"ticker": "ABCD3", "reason": "high below low", "source": "COTAHIST_A2020.TXT", "line": 17}
    event = {"instrument": "MGLU3", "kind": "reverse_split", "share_factor": 0.1, "cash": 0.0, "source": "event file"}
    return {
        "light": "amber",
        "reasons": ["1 rows are quarantined", "events of unknown size left jumps above 10% in QUAL3"],
        "totals": {
            "rows": 50_000, "sessions": len(days), "coverage": 2, "months": len(months), "gaps": 1, "quarantine": 1,
            "events": 1, "unsized": 1, "renames": 0, "trade_counts": 0, "stale": 1, "outliers": 2, "suspicious": 0,
            "missing_cdi": 0,
        },
        "coverage": [
            {"instrument": "QUAL3", "first": days[0], "last": days[-1], "sessions": 400, "presence": 0.4,
             "median_value": 2.5e5},
            {"instrument": "PETR4", "first": days[0], "last": days[-1], "sessions": len(days), "presence": 1.0,
             "median_value": 1.3e9},
        ],
        "months": [
            {"month": str(month), "sessions": 21, "instruments": 60, "rows": 1260, "traded_value": 3.1e11}
            for month in months
        ],
        "gaps": [{"session": days[10], "kind": "missing"}],
        "quarantine": [{"session": days[20]} | quarantine],
        "events": [{"session": days[50], "confidence": 0.9, "known": days[50]} | event],
        "unsized": [
            {"session": days[60], "confidence": 0.3, "known": days[60], "jump": -0.21, "liquid": True}
            | event | {"instrument": "QUAL3", "kind": "unsized", "share_factor": 1.0, "source": "DISMES change"}
        ],
        "renames": [], "trade_counts": [], "suspicious": [], "missing_cdi": [],
        "stale": [{"instrument": "QUAL3", "kind": "unchanged", "sessions": 12, "first": days[5], "last": days[16]}],
        "outliers": [
            {"session": days[30], "instrument": "QUAL3", "return": -0.41, "robust_z": -22.0, "value_ratio": 6.1},
            {"session": days[-1], "instrument": "PETR4", "return": 0.12, "robust_z": 11.0, "value_ratio": None},
        ],
        "rule_counts": {"unwrapped_trade_count": 3},
        "provenance": {"store": "4f" * 32},
    }  # fmt: skip


def game_artefact() -> PolicyArtefact:
    times = np.linspace(0.0, 3.0, 257)
    gain = 1.2 + 0.8 * (times / 3.0) ** 2
    log_remaining = -np.concatenate([[0.0], np.cumsum(0.5 * np.diff(times) * (gain[1:] + gain[:-1]))])
    mean = 0.02 * np.exp(log_remaining)
    friction = 0.4 + 0.3 * np.exp(log_remaining)
    states = np.linspace(-0.02, 0.06, 161)
    width = np.maximum(0.01 * np.exp(log_remaining), 5e-4)[:, None]
    density = np.exp(-0.5 * ((states - mean[:, None]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    edges = np.interp([0.0, 1.0, 2.0, 3.0], times, log_remaining)
    return PolicyArtefact(
        arrays={
            "times": times,
            "riccati": gain * friction / 2.0,
            "friction": friction,
            "friction_slope": np.gradient(friction, times),
            "log_remaining": log_remaining,
            "crowd_inventory": mean,
            "crowd_rate": -gain * mean,
            "crowd_temporary_impact": friction,
            "states": states,
            "density": density,
            "session_fractions": -np.expm1(np.diff(edges)),
            "session_crowd_rate": 0.02 * np.diff(np.exp(edges)),
        },
        parameters={
            "temporary_impact": 0.4,
            "crowd_impact": 0.6,
            "running_penalty": 0.1,
            "terminal_penalty": 5.0,
            "inventory_noise": 0.0,
            "initial_mean": 0.02,
            "initial_std": 0.01,
            "horizon": 3.0,
        },
        model={"kind": "execution", "version": 1, "rtol": 1e-9},
        certificate={
            "iterations": 14,
            "residual": 3.2e-11,
            "exploitability": 4.1e-9,
            "mass_error": 0.0,
            "tolerance": 1e-9,
            "converged": True,
            "status": "CONVERGED",
            "status_sentence": "The undamped residual is within the tolerance.",
        },
        calibration={},
        window={},
        hashes={},
    )


def pod_tables(days, returns, instruments, rng, digest, *, breaches) -> dict[str, dict[str, Any]]:
    n, m = len(days), len(instruments)
    nav = 50e6 * np.cumprod(1.0 + returns)
    drawdown = 1.0 - nav / np.maximum.accumulate(np.maximum(nav, 50e6))
    state = np.where(drawdown > 0.075, "FLAT", np.where(drawdown > 0.05, "HALVED", "ACTIVE"))
    cost, zero, level = np.abs(rng.normal(900.0, 300.0, n)), np.zeros(n), np.full(n, 0.8)
    var = 0.011 + 0.006 * np.sin(np.arange(n) / 90.0) ** 2
    var[:60] = np.nan
    score = np.cumsum(rng.normal(0.0, 0.06, (n, m)), axis=0)
    weight = 0.8 * np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    rows, columns = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    price = (10.0 + 5.0 * np.arange(m)) * (1.0 + 0.0003 * np.arange(n))[:, None]
    names = np.array(instruments, dtype=object)
    decided = np.arange(0, n - 2, 5)
    at, what = np.repeat(decided, m), np.tile(np.arange(m), len(decided))
    shares = 100.0 * rng.integers(-20, 21, len(at))
    at, what, shares = at[shares != 0], what[shares != 0], shares[shares != 0]
    value = np.abs(shares) * price[at, what]
    return {
        "account": {
            "session": days, "net_asset_value": nav, "return": returns, "cash": 0.2 * nav, "gross": level, "net": level,
            "turnover": np.abs(rng.normal(0.05, 0.02, n)), "cost_half_spread": cost, "cost_impact": 0.6 * cost,
            "cost_fees": 0.4 * cost, "cost_borrow": zero, "dividends": zero, "interest": 0.2 * nav * 0.0004,
            "drawdown": drawdown, "state": state if breaches else np.full(n, "ACTIVE"),
            "risk_free": np.full(n, 0.0004), "fold": np.arange(n) // 250,
        },
        "positions": {
            "session": days[rows], "instrument": names[columns],
            "shares": np.round((weight * nav[:, None] / price).ravel(), -2), "price": price.ravel(),
            "value": (weight * nav[:, None]).ravel(), "weight": weight.ravel(),
        },
        "orders": {
            "decision_session": days[at], "instrument": names[what], "shares": shares,
            "price": price[at, what], "reason": np.full(len(at), "decision"),
        },
        "fills": {
            "session": days[at + 1], "instrument": names[what], "shares": shares,
            "price": price[at, what] * (1.0 + 0.0003 * np.sign(shares)), "cost_half_spread": 4e-4 * value,
            "cost_impact": 2e-4 * value, "cost_fees": 3e-4 * value,
            "participation": np.abs(rng.normal(0.01, 0.005, len(at))), "reason": np.full(len(at), "order"),
        },
        "risk": {
            "session": days, "var_99": var, "es_975": 1.15 * var, "var_exception": returns < -var,
            "hhi": (weight**2).sum(axis=1) / 0.64,
            "largest_issuer": np.array([names[k][:4] for k in weight.argmax(axis=1)], dtype=object),
            "largest_issuer_weight": weight.max(axis=1), "gross": level, "net": level,
        },
        "breaches": breach_columns(days, drawdown if breaches else zero),
        "folds": fold_columns(days, digest),
    }  # fmt: skip


def breach_columns(days: np.ndarray, drawdown: np.ndarray) -> dict[str, Any]:
    found = []
    for level, threshold, action in (("amber", 0.035, "NOTE"), ("hard", 0.05, "HALVE"), ("kill", 0.075, "FLATTEN")):
        above = drawdown >= threshold
        for start in np.flatnonzero(above & ~np.r_[False, above[:-1]]):
            rest = np.flatnonzero(drawdown[start:] < 0.9 * threshold)
            if found and found[-1][1] == level and (np.isnat(found[-1][5]) or found[-1][5] > days[start]):
                continue
            found.append(
                (days[start], level, drawdown[start], threshold, action, days[start + rest[0]] if len(rest) else NEVER)
            )
    n = len(found)
    return {
        "id": np.arange(1, n + 1),
        "session": np.array([f[0] for f in found], dtype="datetime64[D]"),
        "limit": np.full(n, "drawdown"),
        "level": np.array([f[1] for f in found], dtype=object),
        "value": np.array([f[2] for f in found], dtype=float),
        "threshold": np.array([f[3] for f in found], dtype=float),
        "kind": np.full(n, "passive"),
        "action": np.array([f[4] for f in found], dtype=object),
        "positions_hash": np.full(n, "00" * 32),
        "cleared_session": np.array([f[5] for f in found], dtype="datetime64[D]"),
    }


def fold_columns(days: np.ndarray, digest: str | None) -> dict[str, Any]:
    fold = np.arange(len(days)) // 250
    numbers = np.unique(fold)
    first = np.array([days[fold == k][0] for k in numbers])
    n = len(numbers)
    notes = np.full(n, "", dtype=object)
    notes[0] = "crowd_impact shrunk to the prior"
    return {
        "fold": numbers,
        "train_start": first - np.timedelta64(730, "D"),
        "train_end": first - np.timedelta64(3, "D"),
        "test_start": first,
        "test_end": np.array([days[fold == k][-1] for k in numbers]),
        "parameters": np.array(
            [json.dumps({"window": 60 + 20 * int(k), "target": 0.1}) for k in numbers], dtype=object
        ),
        "trials": np.full(n, 3),
        "training_score": 0.9 + 0.1 * numbers,
        "temporary_impact": np.full(n, 2.4),
        "temporary_impact_error": np.full(n, 0.31),
        "crowd_impact": np.full(n, 1.1),
        "crowd_impact_error": np.full(n, 0.9),
        "median_half_spread": np.full(n, 0.0006),
        "median_volatility": np.full(n, 0.021),
        "crowd_rate": np.full(n, 0.2),
        "crowd_rate_error": np.full(n, 0.04),
        "calibration_notes": notes,
        "policy_hash": np.full(n, digest, dtype=object),
    }


class Page(HTMLParser):
    """What a reader finds on a page: its visible text, its tables by `data-t`, its tags with their attributes."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._table: list[list[str]] | None = None
        self._cell = False
        self._style = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self._table = self.tables.setdefault(str(found["data-t"]), [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")
            self._cell = True
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = None
        if tag in ("td", "th"):
            self._cell = False
        if tag == "style":
            self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            return
        self.text += data + " "
        if self._cell and self._table is not None:
            self._table[-1][-1] += data

    def rows(self, table: str) -> dict[str, list[str]]:
        """The rows of a table by their first cell."""
        return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in self.tables[table]}


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    return lambda path: Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def report(run_folder, read_page) -> Page:
    """The usual run's report as a reader finds it."""
    return read_page(write_report(run_folder))
