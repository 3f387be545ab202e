"""What happened in an event run, in plain sentences, each by a rule that is written here; and the method in words."""

from __future__ import annotations

from collections.abc import Sequence

from backtests.walk.result import Result, Run
from reports.formats import integer, is_number, number, percent, probability
from reports.headline import EVIDENCE, FEW_SESSIONS, SIGNIFICANT, Fact
from reports.intraday_figures import MAIN, cases_of, per_session_form, profits_of, resting, signed
from reports.paths_view import PathWords


def facts(run: Run) -> list[Fact]:
    """The sentences in reading order: what is sure of the profit, evidence of skill, the benchmark, cautions."""
    found = [
        _lost(run.results),
        _sure(run.results),
        _model_dependent(run.results),
        _skill(run.results),
        _against_benchmark(run),
        _adverse(run.results),
        _left(run.results),
        _few(run.results),
        *_data(run),
    ]
    return [fact for fact in found if fact is not None]


def _names(results: Sequence[Result]) -> str:
    return ", ".join(result.pod for result in results)


def _lost(results: Sequence[Result]) -> Fact | None:
    gone = [result for result in results if result.statistics.get("lost")]
    return Fact("bad", f"All capital was lost: {_names(gone)}.") if gone else None


def _sure(results: Sequence[Result]) -> Fact:
    """Pods whose profit, or loss, every fill model calls sure."""
    agreed = {
        verdict: [
            result for result in results if {profit["verdict"] for profit in profits_of(result).values()} == {verdict}
        ]
        for verdict in (1, -1)
    }
    parts = [f"{_names(agreed[sign])}: a {word}" for sign, word in ((1, "profit"), (-1, "loss")) if agreed[sign]]
    if not parts:
        return Fact("warn", "No pod's profit or loss is sure under every fill model.")
    level = "bad" if agreed[-1] else "ok"
    return Fact(
        level,
        f"Sure under every fill model, after fees: {'; '.join(parts)}.",
        "Sure: the total is away from 0 at the 5 % level, by sessions; of fewer than five, by their pieces and "
        "the correlation of neighbours.",
    )


def _model_dependent(results: Sequence[Result]) -> Fact | None:
    dependent = [result for result in results if result.statistics["model_dependent"]]
    if not dependent:
        return None
    words = []
    for result in dependent:
        totals = [profit["total"] for profit in profits_of(result).values()]
        words.append(f"{result.pod} from {signed(min(totals))} to {signed(max(totals))}")
    return Fact(
        "warn",
        f"Model dependent: {'; '.join(words)}.",
        "The fill models differ in the sign of the profit or in whether it is sure; no data say which is right.",
    )


def _skill(results: Sequence[Result]) -> Fact:
    """Evidence beyond luck: the deflated Sharpe ratio against `EVIDENCE`."""
    known = [result for result in results if is_number(result.statistics.get("deflated_sharpe"))]
    if not known:
        return Fact("none", "There are too few sessions, or too little trading, for a Sharpe ratio.")
    trials = integer(known[0].statistics.get("trials"))
    beyond = [result for result in known if result.statistics["deflated_sharpe"] > EVIDENCE]
    if beyond:
        listed = ", ".join(f"{r.pod} ({probability(r.statistics['deflated_sharpe'])})" for r in beyond)
        sessions = known[0].sessions.size - 1
        if sessions < FEW_SESSIONS:
            return Fact(
                "none",
                f"{sessions} sessions are too few for evidence beyond the best of {trials} trials without skill.",
                f"Deflated Sharpe (2014 form) above {EVIDENCE}: {listed}. Its law holds for many sessions.",
            )
        return Fact(
            "ok",
            f"Beyond the best of {trials} trials without skill, under the main assumptions: {listed}.",
            f"Deflated Sharpe (2014 form) above {EVIDENCE}.",
        )
    best = max(known, key=lambda result: float(result.statistics["deflated_sharpe"]))
    return Fact(
        "warn",
        f"No pod is beyond what the best of {trials} trials without skill would show.",
        f"Highest deflated Sharpe (2014 form): {best.pod}, {probability(best.statistics['deflated_sharpe'])}; more "
        f"than {EVIDENCE} would be evidence.",
    )


def _against_benchmark(run: Run) -> Fact | None:
    """Who differs from the benchmark: the bootstrap's p value times the number of comparisons."""
    differences = run.comparison.get("differences") or {}
    known = {name: record for name, record in differences.items() if is_number(record.get("p_value"))}
    if not known:
        return None
    year = float(run.configuration.get("sessions_per_year") or 252)
    different = [name for name, record in known.items() if record["p_value"] * len(known) < SIGNIFICANT]
    if not different:
        lowest = min(known, key=lambda name: known[name]["p_value"])
        return Fact(
            "none",
            f"No pod differs from {run.benchmark} beyond chance.",
            f"Lowest p value: {lowest}, {probability(known[lowest]['p_value'])} of {len(known)} comparisons.",
        )
    sessions = run.results[0].sessions.size - 1
    if sessions < FEW_SESSIONS:
        return Fact(
            "none",
            f"{sessions} sessions are too few to call any difference from {run.benchmark} more than chance.",
            f"So short, a bootstrap test at 5 % rejects 10 to 20 % of the pairs that do not differ; below "
            f"{number(SIGNIFICANT / len(known), 3)} it finds {', '.join(different)}.",
        )
    listed = ", ".join(
        f"{name} {number(1e4 * known[name]['annual_difference'] / year, 2, signed=True)} bps of capital a session"
        for name in different
    )
    worse = any(known[name]["annual_difference"] < 0 for name in different)
    return Fact("bad" if worse else "ok", f"Differs from {run.benchmark} beyond chance: {listed}.")


def _adverse(results: Sequence[Result]) -> Fact | None:
    """What a resting fill keeps of its distance from the mid after ten seconds (or the horizon next to it)."""
    parts, seconds = [], 0.0
    for result in results:
        found = resting(result)
        if not found:
            continue
        seconds = min(found, key=lambda horizon: abs(horizon - 10.0))
        row = found[seconds]
        parts.append(f"{result.pod} {number(row['edge'], 2)} → {number(row['kept'], 2)}")
    if not parts:
        return Fact("warn", "No resting order was filled: there is no edge to look at.")
    return Fact(
        "none",
        f"Edge of resting fills, ticks a lot, at the fill and {seconds:g} s later: {', '.join(parts)}.",
        "The difference is what the market moved against the maker: adverse selection.",
    )


def _left(results: Sequence[Result]) -> Fact | None:
    left = {result.pod: sum(lots != 0 for lots in cases_of(result)[MAIN]["positions_left"]) for result in results}
    told = [f"{pod} in {integer(count)}" for pod, count in left.items() if count]
    if not told:
        return None
    return Fact(
        "warn", f"Lots were left at the end of sessions: {', '.join(told)}.", "They are marked at the last mid."
    )


def _few(results: Sequence[Result]) -> Fact | None:
    sessions = results[0].sessions.size - 1
    if sessions >= FEW_SESSIONS:
        return None
    return Fact(
        "warn", f"Only {sessions} test sessions.", "Ratios of so few sessions are rough, whatever their errors say."
    )


def _data(run: Run) -> list[Fact]:
    if str(run.quality.get("light", "")) not in ("amber", "red"):
        return []
    return [Fact("warn", f"Data: {reason}.") for reason in run.quality.get("reasons") or ()]


def path_words(run: Run) -> PathWords:
    """What the page says of the paths of a combinatorial run."""
    return PathWords(
        (
            ("sharpe", "Sharpe ratio per session", per_session_form(run), "sharpe"),
            ("max_drawdown", "Largest drawdown", lambda v: percent(abs(v), 3), "max_drawdown"),
            ("final_value", "Final value", lambda v: number(v, 2), None),
        ),
        "A path is an account of fixed lots, as the walk-forward's: it begins with the whole capital, and every "
        "session of every group adds its profit under the main assumptions; positions are closed at the end of each.",
    )


def method(run: Run) -> list[tuple[str, str]]:
    """The conventions behind the page."""
    settings = run.configuration
    folds, fit = settings["folds"], settings["calibration"]
    gap = int(folds["purge"]) + int(folds["embargo"])
    form = str(run.results[0].statistics.get("probabilistic_sharpe_form", "2012 (Bailey & Lopez de Prado)"))
    return [
        (
            "Out of sample",
            "Every fill on this page is of a test session. Calibration, parameters and the compiled rule of a fold "
            f"come from its training sessions alone, which end {gap} sessions or more before its test window. Of "
            "several parameter sets the one with the highest Sharpe ratio of its training sessions is taken"
            + (
                ": each is fitted without a part of them and scored on that part, all "
                f"{integer(settings['inner_folds'])} parts together."
                if settings.get("selection") == "nested"
                else ", each fitted on them and scored on the same."
            ),
        ),
        (
            "Events and orders",
            "Market events are replayed one by one on the exchange's clock and on the trader's. An order reaches the "
            "exchange after its latency, answers come back after theirs; own orders do not change the market. No fill "
            "is larger than what traded, or stood, at or beyond its price, unless a model says so.",
        ),
        (
            "Fill models",
            "Whether a resting order would have been filled cannot be seen in a feed that it was not part of. Every "
            "test session is simulated under each model; what differs in sign or significance is called model "
            "dependent.",
        ),
        (
            "Account",
            f"Each pod starts with {number(settings['capital'], 0)} and trades fixed lots, so profits add up. A return "
            "is the profit of a session"
            + (
                f" and {percent(settings['risk_free_annual'], 2)} a year on the capital"
                if settings["risk_free_annual"]
                else ""
            )
            + " over the value before it. Positions are closed at the end of every session; what finds no liquidity is "
            "marked at the last mid.",
        ),
        (
            "Calibration",
            "Arrivals A exp(−k × distance) by Poisson likelihood, session by session, pooled by generalised least "
            f"squares with robust covariances, at a crowd's weight of {fit['competition']:g}. Volatility by "
            f"pre-averaging. Adverse selection: the mid's move {fit['adverse_seconds']:g} s after a market order.",
        ),
        (
            "Statistics",
            f"Probabilistic Sharpe ratio: form of {form}, and that of 2025 (Lopez de Prado, Lipton & Zoonekynd). "
            "Deflated: the 2012 form at what the best of as many trials without skill would show (Bailey & Lopez de "
            "Prado 2014). Trials are counted by the framework from its register: every parameter set of every pod in "
            "every fold, of this run and of earlier ones on the same data.",
        ),
        (
            "Not modelled",
            "The market's answer to own orders beyond the fills themselves, outages, the cost of capital and of data.",
        ),
    ]
