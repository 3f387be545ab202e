"""What happened, in a few plain sentences at the top of the page, each by a rule that is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.formats import basis_points, day, integer, is_number, number, percent, probability
from reports.overview import ACTIONS, flat_since
from reports.read_run import PodResult, RunView

EVIDENCE = 0.95
"""A pod beats CDI with confidence when its deflated Sharpe ratio exceeds this; it loses to CDI with confidence when its
probabilistic Sharpe ratio (one less the p value of no skill) falls below one minus this over the number of pods."""

SIGNIFICANT = 0.05
"""A p value counts below this, divided by the number of pods that are compared (Bonferroni)."""

FEW_SESSIONS = 20
"""Sessions below which there are few: no difference of two pods is called more than chance."""

RULES = (
    f"A pod beats CDI with confidence when its deflated Sharpe ratio is above {EVIDENCE}, and loses to CDI with "
    f"confidence when its probabilistic Sharpe ratio (one less the p value of no skill) is below {1 - EVIDENCE:.2f} "
    "over the number of pods. It differs from "
    f"the benchmark beyond chance when the bootstrap p value is below {SIGNIFICANT} over the number of pods compared. "
    f"VaR is rejected where the p value of Kupiec's test is below {SIGNIFICANT} or the zone is not green."
)
"""The rules of the sentences, for the page's section on method."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence: its light (ok, warn, bad, none), the words that matter, and what they rest on."""

    level: str
    words: str
    detail: str = ""


def headline(run: RunView) -> list[Fact]:
    """The sentences in reading order: CDI, who lost, the benchmark, limits, costs, VaR, what the data lack."""
    found = [
        _against_cash(run.pods),
        _behind(run.pods),
        _against_benchmark(run),
        _limits(run.pods),
        _drawdowns(run.pods),
        _costs(run.pods),
        _value_at_risk(run.pods),
        *_reservations(run),
    ]
    return [fact for fact in found if fact is not None]


def _against_cash(pods: Sequence[PodResult]) -> Fact:
    """Who beats CDI: the deflated Sharpe ratio against `EVIDENCE`."""
    known = [pod for pod in pods if is_number(pod.statistics.get("deflated_sharpe"))]
    if not known:
        return Fact("none", "There are too few sessions to say whether a pod beats CDI.")
    trials = f"{integer(known[0].statistics.get('trials'))} trials"
    winners = [pod for pod in known if pod.statistics["deflated_sharpe"] > EVIDENCE]
    if winners:
        listed = ", ".join(f"{p.name} ({probability(p.statistics['deflated_sharpe'])})" for p in winners)
        others = "; no other pod does" if len(winners) < len(pods) else ""
        return Fact(
            "ok",
            f"Beats CDI after costs with confidence: {listed}{others}.",
            f"Deflated Sharpe above {EVIDENCE} after {trials}.",
        )
    best = max(known, key=lambda pod: pod.statistics["deflated_sharpe"])
    shown, luck = best.statistics.get("sharpe"), best.statistics.get("deflated_sharpe_threshold")
    return Fact(
        "warn",
        "No pod beats CDI after costs with confidence.",
        f"Highest deflated Sharpe: {best.name}, {probability(best.statistics['deflated_sharpe'])}; more than "
        f"{EVIDENCE} would be evidence. Its Sharpe ratio is {number(shown)}; the best of {trials} without "
        f"skill would show {number(luck)}.",
    )


def _behind(pods: Sequence[PodResult]) -> Fact | None:
    """Pods that earned less than CDI."""
    losers = [pod for pod in pods if pod.statistics.get("lost")]
    if losers:
        return Fact("bad", f"All capital was lost: {', '.join(pod.name for pod in losers)}.")
    behind = [p for p in pods if is_number(p.statistics.get("excess_return")) and p.statistics["excess_return"] < 0]
    if not behind:
        return None
    behind.sort(key=lambda pod: pod.statistics["excess_return"])
    parts, sure = [], False
    for pod in behind:
        chance = pod.statistics.get("probabilistic_sharpe")
        certain = is_number(chance) and float(chance or 0.0) * len(pods) < 1.0 - EVIDENCE
        sure = sure or certain
        parts.append(
            f"{pod.name} {percent(pod.statistics['excess_return'], 1, signed=True)} a year"
            f"{' (with confidence)' if certain else ''}"
        )
    return Fact("bad" if sure else "warn", f"Earned less than CDI: {', '.join(parts)}.")


def _against_benchmark(run: RunView) -> Fact | None:
    """Who differs from the benchmark: the bootstrap's p value times the number of comparisons."""
    found = run.comparison.get("differences")
    if not isinstance(found, Mapping):
        return None
    known = {name: record for name, record in found.items() if is_number(record.get("p_value"))}
    if not known:
        return None
    different = [name for name, record in known.items() if record["p_value"] * len(known) < SIGNIFICANT]
    lowest = min(known, key=lambda name: known[name]["p_value"])
    if not different:
        return Fact(
            "none",
            f"No pod's return differs from {run.benchmark} beyond chance.",
            f"Lowest p value: {lowest}, {probability(known[lowest]['p_value'])}; {integer(len(known))} "
            f"{'comparison asks' if len(known) == 1 else 'comparisons ask'} for one below "
            f"{number(SIGNIFICANT / len(known), 3)}.",
        )
    worse = any(known[name]["annual_difference"] < 0 for name in different)
    listed = ", ".join(
        f"{name} {percent(known[name]['annual_difference'], 1, signed=True)} a year (p {_p(known[name])})"
        for name in different
    )
    return Fact("bad" if worse else "ok", f"Differs from {run.benchmark} beyond chance: {listed}.")


def _p(record: Mapping[str, Any]) -> str:
    return probability(record["p_value"])


def _limits(pods: Sequence[PodResult]) -> Fact:
    """What the limits did, and who is restricted now."""
    counts = {action: sum(int((pod.breaches["action"] == action).sum()) for pod in pods) for action in ACTIONS}
    acted = [f"{words} {_times(counts[action])}" for action, words in ACTIONS.items() if counts[action]]
    flat = [f"{pod.name} since {day(flat_since(pod))}" for pod in pods if flat_since(pod) is not None]
    halved = [pod.name for pod in pods if pod.account["state"].iloc[-1] in ("HALVED", "REDUCING")]
    now = [f"flat: {', '.join(flat)}"] * bool(flat) + [f"halved or reducing: {', '.join(halved)}"] * bool(halved)
    level = "bad" if flat else "warn" if halved or acted else "ok"
    if not acted:
        return Fact(level, "No limit acted.", f"At the close: {'; '.join(now)}." if now else "")
    restricted = f"At the close: {'; '.join(now)}." if now else "At the close no pod is restricted."
    return Fact(level, f"Limits acted: {', '.join(acted)}.", restricted)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{integer(count)} times"


def _drawdowns(pods: Sequence[PodResult]) -> Fact:
    """How deep every pod fell, the deepest first."""
    depths = sorted(((float(np.nanmax(pod.column("drawdown"))), pod.name) for pod in pods), reverse=True)
    listed = ", ".join(f"{name} {percent(-depth)}" for depth, name in depths)
    return Fact("none", f"Largest fall from a high: {listed}.")


def _costs(pods: Sequence[PodResult]) -> Fact | None:
    known = [pod for pod in pods if is_number(pod.statistics.get("annual_cost"))]
    if not known:
        return None
    dearest = max(known, key=lambda pod: pod.statistics["annual_cost"])
    return Fact(
        "none",
        f"Dearest to trade: {dearest.name}, {basis_points(dearest.statistics['annual_cost'], 0)} bps a year.",
        f"Of net asset value, turned over {number(dearest.statistics.get('annual_turnover'), 1)} times a year.",
    )


def _value_at_risk(pods: Sequence[PodResult]) -> Fact | None:
    """Whose VaR the results reject, in either direction."""
    records = {pod.name: pod.statistics.get("var_backtest") or {} for pod in pods}
    tested = {name: record for name, record in records.items() if is_number(record.get("kupiec_p_value"))}
    if not tested:
        return Fact("none", "VaR could not be tested: no session has a forecast.")
    wrong = [n for n, r in tested.items() if r["kupiec_p_value"] < SIGNIFICANT or r.get("zone") != "green"]
    if not wrong:
        return Fact("ok", "No pod's VaR 99% is rejected by its number of exceptions.")
    parts = [
        f"{name} {integer(tested[name]['exceptions'])} exceptions, {number(tested[name]['expected'], 1)} expected "
        f"({'too low' if tested[name]['exceptions'] > tested[name]['expected'] else 'too cautious'})"
        for name in wrong
    ]
    low = any(tested[name]["exceptions"] > tested[name]["expected"] for name in wrong)
    return Fact("bad" if low else "warn", f"VaR 99% is rejected: {'; '.join(parts)}.")


def _reservations(run: RunView) -> list[Fact]:
    """What a reader must hold against every number: a short sample, no CDI, no dividends, red data."""
    out = []
    needed, years = _years(run)
    if needed is not None and years < needed:
        out.append(
            Fact(
                "warn",
                f"The sample is short: {number(years, 1)} years.",
                f"Over less than {number(needed, 1)} years the best of as many trials without skill shows a Sharpe "
                "ratio of 1 or more.",
            )
        )
    source = str((run.provenance.get("source") or {}).get("risk_free", ""))
    if source.startswith("constant"):
        out.append(Fact("warn", f"CDI stands for a flat rate here: {source}.", "The data have no CDI of each day."))
    counts = run.quality.get("rule_counts")
    if isinstance(counts, Mapping) and counts and not counts.get("events_from_company_file"):
        out.append(
            Fact("warn", "Returns are price returns.", "The data have no company events: dividends are missing.")
        )
    if str(run.quality.get("light", "")).lower() in ("amber", "red") and run.quality.get("reasons"):
        red = str(run.quality["light"]).lower() == "red"
        out.append(Fact("bad" if red else "warn", f"Data: {run.quality['reasons'][0]}."))
    return out


def _years(run: RunView) -> tuple[float | None, float]:
    first = run.pods[0].statistics
    needed = first.get("min_backtest_years")
    observations = float(first.get("observations") or 0)
    year = float(run.configuration.get("sessions_per_year") or 252)
    return (float(needed) if is_number(needed) and needed is not None else None), observations / year
