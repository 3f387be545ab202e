"""What the numbers rest on: conventions in words, and where every byte came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.formats import integer, is_number, percent, plain, words
from reports.headline import RULES
from reports.performance import find
from reports.read_run import RunView
from reports.tables import Cell, Grid


def methodology(run: RunView) -> list[tuple[str, str]]:
    """The conventions behind the page, each with a title; numbers come from the run's configuration."""
    settings = run.configuration
    window, rules = settings.get("var_window"), settings.get("rules") or {}
    folds, cash = settings.get("folds") or {}, settings.get("risk_free_source") or "CDI"
    lots = "in whole lots" if rules.get("whole_lots", True) else "in fractions of a share"
    year = sessions_per_year(run)
    form = find_first(run, "probabilistic_sharpe_form") or "Bailey & Lopez de Prado (2012)"
    gap = sum(int(folds.get(name) or 0) for name in ("purge", "embargo"))
    return [
        (
            "Out of sample",
            "Every return on this page is from a test window: parameters, calibration and policy of a fold come from "
            f"its training window alone, which ends {gap} {'session' if gap == 1 else 'sessions'} or more before the "
            "test window begins. The test windows are stitched; one account runs through them and positions are "
            "carried over.",
        ),
        (
            "Decisions and fills",
            "A pod decides at a close from what was public at that close. Its orders trade from the next session on, "
            f"at {_fill_words(rules.get('fill_price'))}, {lots}, each fill at most "
            f"{percent(rules.get('participation_limit'), 0)} of the instrument's volume in that session.",
        ),
        (
            "Costs",
            "A fill of q shares at price p costs p|q|(half-spread + fee) + ½ η(m) σ p q²/V, with η(m) = η0 + η1|m|, "
            "σ the daily volatility, V the daily volume and m the crowd's mean trading rate in daily volumes per "
            "session. The execution game was solved with the same η0 and η1.",
        ),
        (
            "Returns",
            "Simple returns of the net asset value after costs, one per session; cash earns "
            f"{cash}. Annual figures use {year} sessions. The annual return is geometric, the excess over cash "
            "arithmetic.",
        ),
        (
            "Sharpe ratio",
            f"Mean over standard deviation of the daily excess over {cash}, times √{year}. The "
            "standard error allows for skewness and kurtosis (Lo 2002; Mertens 2002). The probabilistic ratio, "
            f"form of {form}, is one less the p value of a true ratio of zero; the deflated one is that of what the "
            "best of as many unskilled trials would show (Bailey & Lopez de Prado 2014). Neither is the probability "
            "of skill, which needs a prior."
            + (
                ""
                if run.complete
                else " As of an earlier date the trials' Sharpe ratios are taken as independent and "
                "without skill, their variance as one over the number of sessions."
            ),
        ),
        (
            "VaR and expected shortfall",
            "Historical simulation of the positions held at the close before"
            f"{f', over the last {integer(window)} sessions' if is_number(window) else ''}. With n scenario losses in "
            "falling order, VaR at 99% is loss number ⌊n/100⌋ + 1, and expected shortfall at 97.5% is the exact mean "
            "of the worst 2.5% (Rockafellar & Uryasev 2002). Both are positive losses. A session worse than −VaR is an "
            "exception. Kupiec (1995) tests their number; the zone is that of the Basel Committee (1996).",
        ),
        (
            "Drawdown and concentration",
            "Drawdown is 1 − NAV / its highest value so far, the starting capital included. The drawdown "
            "limit counts from the highest value since the pod was last re-armed. HHI of gross is the sum of squared "
            "shares of gross exposure; HHI of capital, which the limits read, is that times min(gross, 1)²; all share "
            "classes of one issuer count as one in the largest issuer.",
        ),
        (
            "Difference to the benchmark",
            "Mean daily difference in excess return on common sessions, per year, with the percentile interval of a "
            f"stationary block bootstrap ({bootstrap_words(run)}) that draws the same days for both pods.",
        ),
        ("Summary", RULES),
        (
            "Not modelled",
            "Taxes on gains, intraday paths inside a session, auctions, queue position, and the effect of our own "
            "trades on later prices beyond the temporary impact that is charged.",
        ),
    ]


def sessions_per_year(run: RunView) -> int:
    """Sessions that make a year in this run's annual figures."""
    return int(run.configuration.get("sessions_per_year") or 252)


def bootstrap_words(run: RunView) -> str:
    """Draws and seed of the bootstrap."""
    method = run.comparison.get("method") or {}
    return f"{integer(method.get('draws'))} draws, seed {integer(method.get('seed'))}"


def find_first(run: RunView, name: str) -> str:
    """The first text that a pod's statistics hold under `name`."""
    return next((str(v) for p in run.pods if (v := find(p.statistics, name))), "")


def provenance_table(run: RunView) -> Grid:
    """Hashes and versions, in full."""
    rows: list[Any] = [("Run folder", Cell(run.folder_name, "mono"))]
    rows += [(words(name), Cell(plain(value), "mono")) for name, value in flat(run.provenance)]
    rows += [(f"Policy {i + 1}", Cell(digest, "mono")) for i, digest in enumerate(sorted(run.policies))]
    return Grid(key="provenance", head=("Provenance", ""), rows=rows, words=2, style="wide")


def configuration_table(run: RunView) -> Grid:
    """Every setting of the run."""
    rows = [(Cell(name, "mono"), Cell(plain(value), "mono")) for name, value in flat(run.configuration)]
    return Grid(
        key="configuration", head=("Setting", "Value"), rows=rows, words=2, style="wide", empty="None recorded."
    )


def flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted name, value) pairs; records in a list go by their `name`."""
    out: list[tuple[str, Any]] = []
    for name, value in mapping.items():
        if isinstance(value, Mapping) and value:
            out += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for i, item in enumerate(value):
                label = item.get("name", i) if isinstance(item, Mapping) else i
                rest = {k: v for k, v in item.items() if k != "name"} if isinstance(item, Mapping) else item
                inner = flat(rest, f"{prefix}{name}.{label}.") if isinstance(rest, Mapping) else []
                out += inner or [(f"{prefix}{name}.{label}", rest)]
        else:
            out.append((f"{prefix}{name}", value))
    return out


def _fill_words(name: Any) -> str:
    return {"vwap": "the session's volume-weighted average price", "close": "the session's close"}.get(
        str(name), "the session's price"
    )
