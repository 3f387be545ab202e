"""Which differences between pods are more than chance, in sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.formats import integer, is_number, number, percent, probability
from reports.headline import EVIDENCE, FEW_SESSIONS, SIGNIFICANT, Fact
from reports.tables import Cell, Grid, Group

MOST_NAMED = 6
"""Pairs or pods that a sentence names; the table has all of them."""

Record = Mapping[str, Any]
Pairs = Sequence[Record]


def findings(record: Record, statistics: Mapping[str, Record]) -> list[Fact]:
    """The sentences: differences in mean, in Sharpe ratio, the best after the search, trials; `statistics` by pod."""
    pairs = record["pairs"]
    draws = int(record["method"]["draws"])
    alike = f"No pod differs from {record['benchmark']}" if _few_pairs(record) else "No two pods differ"
    sessions = min(
        (item["observations"] for item in statistics.values() if "observations" in item), default=FEW_SESSIONS
    )
    found = [
        _lost(statistics),
        *(
            [_too_short(sessions)]
            if sessions < FEW_SESSIONS
            else [
                _different(pairs, "mean return", "p_value_adjusted", _mean_words, alike),
                _different(pairs, "Sharpe ratio", "sharpe_p_value_adjusted", _sharpe_words, alike),
            ]
        ),
        _beaten(record["snooping"]["benchmark"], record["benchmark"], _trials(statistics)),
        _beaten(record["snooping"]["cash"], "cash", _trials(statistics)),
        _after_trials(statistics),
        _too_few_draws(len(pairs), draws),
    ]
    return [fact for fact in found if fact is not None]


def _too_short(sessions: int) -> Fact:
    return Fact(
        "warn",
        f"{integer(sessions)} sessions are too few to call any difference more than chance.",
        "So short, a bootstrap test at 5 % rejects 10 to 20 % of the pairs that do not differ.",
    )


def significant(pair: Record, key: str) -> bool:
    """Whether the pair's difference has an adjusted p value of at most 5 %."""
    return is_number(pair[key]) and pair[key] <= SIGNIFICANT


def _few_pairs(record: Record) -> bool:
    return bool(record["method"].get("pairs") == "with the benchmark")


def _lost(statistics: Mapping[str, Record]) -> Fact | None:
    lost = [name for name, item in statistics.items() if item.get("lost")]
    if not lost:
        return None
    return Fact(
        "bad", f"All capital was lost: {', '.join(lost)}.", "What follows of it counts the sessions after as zeros."
    )


def _different(pairs: Pairs, what: str, key: str, words: Any, alike: str) -> Fact | None:
    plain = key.removesuffix("_adjusted")
    known = sorted((p for p in pairs if is_number(p[key])), key=lambda p: (float(p[key]), float(p[plain])))
    if not known:
        return None
    beyond = [pair for pair in known if significant(pair, key)]
    counted = f"{integer(len(known))} {'pair' if len(known) == 1 else 'pairs'}"
    bound = f"p after Holm's adjustment for {counted}, at most {SIGNIFICANT}"
    if not beyond:
        return Fact(
            "none",
            f"{alike} in {what} beyond chance.",
            f"Closest to it: {words(known[0])}, p {probability(known[0][key])} after adjustment for {counted}.",
        )
    named = "; ".join(f"{words(pair)} (p {probability(pair[key])})" for pair in beyond[:MOST_NAMED])
    more = f"; and {integer(len(beyond) - MOST_NAMED)} more" if len(beyond) > MOST_NAMED else ""
    rest = len(known) - len(beyond)
    others = f" The other {integer(rest)} cannot be told apart." if rest else ""
    return Fact("ok", f"Different in {what} beyond chance: {named}{more}.", f"{bound[0].upper()}{bound[1:]}.{others}")


def _mean_words(pair: Record) -> str:
    better, worse = _ordered(pair, "annual_difference")
    return f"{better} over {worse} by {percent(abs(pair['annual_difference']), 1)} a year"


def _sharpe_words(pair: Record) -> str:
    better, worse = _ordered(pair, "sharpe_difference")
    return f"{better} over {worse} by {number(abs(pair['sharpe_difference']), 2)}"


def _ordered(pair: Record, key: str) -> tuple[str, str]:
    first, second = str(pair["first"]), str(pair["second"])
    return (first, second) if pair[key] >= 0 else (second, first)


def _trials(statistics: Mapping[str, Record]) -> int:
    return max((int(item["trials"]) for item in statistics.values() if is_number(item.get("trials"))), default=0)


def _beaten(found: Record | None, against: str, trials: int) -> Fact | None:
    """A best pod is good news only where no more was tried than is shown."""
    if found is None:
        return None
    if "unavailable" in found:
        return Fact("none", f"Whether any pod beats {against} could not be tested.", str(found["unavailable"]))
    count = f"{integer(len(found['pods']))} {'pod' if len(found['pods']) == 1 else 'pods'}"
    detail = (
        f"The best of {count} is {found['best']}: Hansen's p value {probability(found['p_value'])} (between "
        f"{probability(found['p_value_lower'])} and {probability(found['p_value_upper'])}), White's "
        f"{probability(found['reality_check_p_value'])}."
    )
    more = trials > len(found["pods"])
    if more:
        detail += f" This counts the pods shown, not the {integer(trials)} trials behind them."
    survivors = found["survivors"]
    if survivors:
        named = ", ".join(survivors[:MOST_NAMED])
        rest = f" and {integer(len(survivors) - MOST_NAMED)} more" if len(survivors) > MOST_NAMED else ""
        return Fact("none" if more else "ok", f"Beats {against} even as the best of {count}: {named}{rest}.", detail)
    return Fact("warn", f"No pod's mean return beats {against} once the search among them is counted.", detail)


def _after_trials(statistics: Mapping[str, Record]) -> Fact | None:
    known = {name: item for name, item in statistics.items() if is_number(item.get("deflated_sharpe"))}
    if not known:
        return None
    best = max(known, key=lambda name: float(known[name]["deflated_sharpe"]))
    item = known[best]
    trials = integer(item.get("trials"))
    shown = f"{best}: Sharpe {number(item.get('sharpe'), 2)}, deflated {probability(item['deflated_sharpe'])}"
    later = item.get("deflated_sharpe_2025")
    form = f" (form of 2014; {probability(later)} in that of 2025 with serial correlation)" if is_number(later) else ""
    luck = f"The best of {trials} trials without skill would show {number(item.get('deflated_sharpe_threshold'), 2)}."
    if float(item["deflated_sharpe"]) > EVIDENCE:
        return Fact("ok", f"After {trials} trials there is evidence of skill.", f"{shown}{form}. {luck}")
    return Fact("warn", f"After {trials} trials there is no evidence of skill in any pod.", f"{shown}{form}. {luck}")


def _too_few_draws(pairs: int, draws: int) -> Fact | None:
    smallest = pairs / (1 + draws)
    if smallest <= SIGNIFICANT:
        return None
    return Fact(
        "bad",
        f"{integer(draws)} bootstrap draws are too few for {integer(pairs)} pairs.",
        f"The smallest p value after adjustment is {probability(smallest)}: nothing can be significant.",
    )


def pair_table(record: Record) -> Grid:
    """Every pair that was tested, the most certain differences first."""

    def order(pair: Record) -> list[float]:
        return [float(pair[key]) if is_number(pair[key]) else 2.0 for key in ("p_value_adjusted", "p_value")]

    rows = []
    for pair in sorted(record["pairs"], key=order):
        mean, sharpe = (significant(pair, key) for key in ("p_value_adjusted", "sharpe_p_value_adjusted"))
        rows.append(
            (
                f"{pair['first']} less {pair['second']}",
                _marked(percent(pair["annual_difference"], 2, signed=True), mean),
                _interval(pair["low"], pair["high"], lambda v: percent(v, 1, signed=True)),
                probability(pair["p_value"]),
                _marked(probability(pair["p_value_adjusted"]), mean),
                _marked(number(pair["sharpe_difference"], 2, signed=True), sharpe),
                _interval(pair["sharpe_low"], pair["sharpe_high"], lambda v: number(v, 2, signed=True)),
                _marked(probability(pair["sharpe_p_value_adjusted"]), sharpe),
                number(pair["block_length"], 1),
            )
        )
    head = (
        "Pair", "Mean return, a year", "95% interval", "p", "p, Holm", "Sharpe ratio", "95% interval", "p, Holm",
        "Block, days",
    )  # fmt: skip
    few = (
        f" Of {integer(len(record['pods']))} pods only the pairs with {record['benchmark']} are tested: of all pairs, "
        "after adjustment, none could be significant."
    )
    return Grid(
        key="pairs",
        head=head,
        rows=rows,
        style="wide",
        empty="There is one pod only.",
        note=(
            "Both pods drawn on the same days, in blocks. Bold: at most 5% after Holm's adjustment for all these. "
            "Intervals are for each pair alone." + (few if _few_pairs(record) else "")
        ),
    )


def snooping_table(record: Record) -> Grid:
    """Each pod's adjusted p value against the benchmark and against cash."""
    tests = [(words, found) for words, found in _tests(record) if found is not None and "unavailable" not in found]
    rows: list[Any] = [
        (pod, *(_survival(found["adjusted_p_values"].get(pod)) for _, found in tests)) for pod in record["pods"]
    ]
    rows.append(Group("The best of them"))
    for words, key in (
        ("Hansen's test", "p_value"),
        ("its lower bound", "p_value_lower"),
        ("its upper bound", "p_value_upper"),
        ("White's reality check", "reality_check_p_value"),
    ):
        rows.append((Cell(words, "w"), *(probability(found[key]) for _, found in tests)))
    return Grid(
        key="snooping",
        head=("p value of not beating", *(words for words, _ in tests)),
        rows=rows if tests else [],
        empty="There were too few sessions for these tests.",
        note=(
            "By pod: step-down adjusted for all pods (Romano and Wolf); bold: at most 5%. One-sided, on mean returns; "
            "it asks less than the pairs, which may differ either way, and knows how the pods move together. "
            "Hansen's test divides each difference by its standard error and leaves clear losers out; its bounds leave "
            "all losers out, or none. White's does neither."
        ),
    )


def _tests(record: Record) -> list[tuple[str, Record | None]]:
    return [(str(record["benchmark"]), record["snooping"]["benchmark"]), ("cash", record["snooping"]["cash"])]


def _survival(value: Any) -> str | Cell:
    return "–" if value is None else _marked(probability(value), is_number(value) and value <= SIGNIFICANT)


def _marked(text: str, beyond: bool) -> str | Cell:
    return Cell(text, "sure") if beyond else text


def _interval(low: Any, high: Any, form: Any) -> Cell:
    return Cell(f"{form(low)} to {form(high)}" if is_number(low) and is_number(high) else "n/a", "w")
