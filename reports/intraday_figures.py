"""The tables of an event run's page: every number is one of the run folder's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from backtests.walk.result import Result, Run
from reports.formats import MINUS, MISSING, integer, is_number, number, percent, probability, significant
from reports.tables import Cell, Grid, Group, light

MAIN = "main"
POISSON = "poisson"
VERDICTS = {1: ("ok", "profit"), -1: ("bad", "loss"), 0: ("none", "not sure")}
_MALFORMED = ("rejected_form", "rejected_limit")
SPLIT = ("captured", "auctioned", "crossed", "liquidated", "inventory", "fees", "profit")


def cases_of(result: Result) -> Mapping[str, Mapping[str, Any]]:
    """What a pod's sessions give under each case of fills, in the plan's order."""
    found: Mapping[str, Mapping[str, Any]] = result.statistics["fill_cases"]
    order = list(dict.fromkeys(result.tables["sessions"]["fill_case"].tolist()))
    return {case: found[case] for case in order}


def profits_of(result: Result) -> Mapping[str, Mapping[str, Any]]:
    """Profit, error and verdict under each case of fills, and at the calibrated rates where the pod has such."""
    found = {case: record["profit"] for case, record in cases_of(result).items()}
    expected = _poisson(result)
    return found | ({POISSON: expected["profit"]} if "profit" in expected else {})


def _poisson(result: Result) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result.statistics.get("poisson") or {"reason": "not in the version that made this run"}
    return found


def _poisson_row(result: Result) -> tuple[Any, ...]:
    """Fills at the calibrated rates: expected, so that orders and queue have no numbers."""
    record = _poisson(result)
    blank = (MISSING,) * 4
    if "reason" in record:
        return Cell(f"{POISSON}: {record['reason']}"), "", Cell(MISSING, "n"), MISSING, MISSING, *blank
    profit = record["profit"]
    return (
        Cell(f"{POISSON}, expected"),
        light(*VERDICTS[profit["verdict"]]),
        Cell(f"{signed(profit['total'])} ± {significant(profit['error'], 2)}", "n"),
        number(profit["total"] / profit["error"] if profit["error"] else None, 1, signed=True),
        integer(round(record["fills"])),
        *blank,
    )


def bound_table(run: Run) -> Grid:
    """Every pod under every case of fills, with the mark of those whose profit depends on it."""
    rows: list[Any] = []
    for result in run.results:
        rows.append(Group(result.pod + (": model dependent" if result.statistics["model_dependent"] else "")))
        for case, record in cases_of(result).items():
            profit, orders = record["profit"], record["orders"]
            rows.append(
                (
                    Cell("main, the account's" if case == MAIN else case.replace("_", " ")),
                    light(*VERDICTS[profit["verdict"]]),
                    Cell(f"{signed(profit['total'])} ± {significant(profit['error'], 2)}", "n"),
                    number(profit["t"], 1, signed=True),
                    integer(orders["fills"]),
                    integer(orders["lots_filled"]),
                    percent(orders["fill_ratio_lots"]),
                    percent(orders["touch_share"]),
                    percent(record["uptime"]["both"]),
                )
            )
        rows.append(_poisson_row(result))
    return Grid(
        key="fill-cases",
        head=("Fills", "Profit is", Cell("Profit ± error", "n"), "t", "Fills", "Lots", "Fill ratio", "At the price",
              "Both quotes up"),
        rows=rows,
        words=2,
        style="wide sticky",
        note="Money after fees, all test sessions. Errors are those of independent sessions; "
        "of fewer than five, of their pieces with the correlation of neighbours. Fill ratio: lots filled over lots "
        "sent. At the price: the part of the maker's lots that came from the queue, not "
        "from prints or quotes beyond the price. Poisson: sessions drawn at the arrival rates of each fold's training, "
        "whatever the queue; nothing is closed at their end; the error is that of the sum of as many of them.",
    )  # fmt: skip


def split_table(run: Run) -> Grid:
    """Where the money came from, under the main assumptions; the parts add up to the profit."""
    rows = []
    for result in run.results:
        record = cases_of(result)[MAIN]
        money = {name: float(text) for name, text in record["money"].items()}
        lots = record["orders"]["lots_filled"]
        rows.append(
            (
                result.pod,
                *(signed(money[name]) for name in SPLIT),
                significant(money["profit"] / lots, 3) if lots else MISSING,
            )
        )
    words = {
        "captured": "Spread captured",
        "auctioned": "Auctions",
        "crossed": "Crossing",
        "liquidated": "Closing",
        "inventory": "Inventory",
        "fees": "Fees, rebates",
        "profit": "Profit",
    }
    return Grid(
        key="profit-split",
        head=("Pod", *words.values(), "Profit a lot"),
        rows=rows,
        style="wide sticky",
        note="Captured: distance of resting fills from the mid before them. Crossing and closing: what was paid "
        "through the mid, by the rule and at the end of a session. Inventory: what the mid did to the position, "
        "adverse selection included. The parts add up exactly.",
    )


def mark_out_table(run: Run) -> Grid:
    """What was left of the maker's edge after each horizon, ticks a lot."""
    seconds = horizons(run)
    rows = []
    for result in run.results:
        found = resting(result)
        edge = next(iter(found.values()))["edge"] if found else None
        cells = [
            f"{number(row['kept'], 2, signed=True)} ± {number(row['kept_error'], 2)}" if row else MISSING
            for row in (found.get(horizon) for horizon in seconds)
        ]
        rows.append((result.pod, number(edge, 2, signed=True), *cells))
    return Grid(
        key="mark-outs",
        head=("Pod", "At the fill", *(f"After {horizon:g} s" for horizon in seconds)),
        rows=rows,
        style="wide sticky",
        note="Ticks a lot that resting fills were better than the mid: at the fill, and that mid as it stood later "
        "(the realised half-spread). Errors allow for fills that are close in time. At long horizons the market's own "
        "moves add noise that has nothing to do with the fill.",
    )


def horizons(run: Run) -> list[float]:
    """Seconds after a fill that some pod has."""
    return sorted({float(row["seconds"]) for result in run.results for row in cases_of(result)[MAIN]["mark_outs"]})


def resting(result: Result) -> dict[float, Mapping[str, Any]]:
    """Mark-outs of a pod's resting fills, both sides together, by horizon."""
    rows = cases_of(result)[MAIN]["mark_outs"]
    return {float(row["seconds"]): row for row in rows if (row["role"], row["side"]) == ("maker", "both")}


def activity_table(run: Run) -> Grid:
    """Quotes, orders, queue and inventory of each pod under the main assumptions."""
    lines: list[tuple[str, Any]] = [
        ("Both quotes up, share of the time", lambda r: percent(r["uptime"]["both"])),
        ("Bid up", lambda r: percent(r["uptime"]["bid"])),
        ("Ask up", lambda r: percent(r["uptime"]["ask"])),
        ("Both at the best price", lambda r: percent(r["uptime"]["near_both_0"])),
        ("Orders sent", lambda r: integer(r["orders"]["orders"])),
        ("Fill ratio, lots", lambda r: percent(r["orders"]["fill_ratio_lots"])),
        ("Messages for each fill", lambda r: number(r["orders"]["order_to_trade"], 1)),
        ("Refused: would have crossed", lambda r: integer(r["orders"]["ends"]["rejected_post_only"])),
        ("Refused: form or limit", lambda r: integer(sum(r["orders"]["ends"][end] for end in _MALFORMED))),
        ("Lots ahead on arrival, orders filled", lambda r: significant(r["queue"]["ahead_filled"])),
        ("Lots ahead on arrival, not filled", lambda r: significant(r["queue"]["ahead_unfilled"])),
        ("Seconds to the fill, median", lambda r: significant(r["queue"]["seconds_to_fill_50"])),
        ("Mean position, lots", lambda r: number(r["inventory"]["mean"], 2, signed=True)),
        ("Mean size of the position", lambda r: number(r["inventory"]["mean_absolute"], 2)),
        ("At the position limit", lambda r: percent(r["inventory"]["at_limit"])),
        ("A lot is held, seconds", lambda r: significant(r["inventory"]["holding_seconds"])),
        ("Sessions with lots left at the end", lambda r: integer(sum(left != 0 for left in r["positions_left"]))),
    ]
    records = [cases_of(result)[MAIN] for result in run.results]
    rows: list[Any] = [(words, *(form(record) for record in records)) for words, form in lines]
    head = ("Under the main assumptions", *(result.pod for result in run.results))
    return Grid(key="activity", head=head, rows=rows, style="wide sticky")


def _year(run: Run) -> float:
    return float(run.configuration.get("sessions_per_year") or 252)


def per_session_form(run: Run) -> Callable[[Any], str]:
    """How an annual ratio is written per session."""
    root = _year(run) ** 0.5
    return lambda value: number(float(value) / root, 3) if is_number(value) else MISSING


def statistic_table(run: Run) -> Grid:
    """Statistics of the sessions' returns by named form, the pods as columns."""
    year, per_session = _year(run), per_session_form(run)
    lines: list[tuple[str, str, Any]] = [
        ("Sessions", "observations", integer),
        ("Profit over capital", "cumulative_return", lambda v: percent(v, 3, signed=True)),
        ("Largest drawdown", "max_drawdown", lambda v: percent(abs(v), 3) if is_number(v) else MISSING),
        ("Sharpe ratio per session", "sharpe", per_session),
        ("± standard error (Mertens 2002)", "sharpe_standard_error", per_session),
        ("Probabilistic Sharpe, form of 2012", "probabilistic_sharpe", probability),
        ("Probabilistic Sharpe, form of 2025", "probabilistic_sharpe_2025", probability),
        ("Deflated Sharpe, form of 2014", "deflated_sharpe", probability),
        ("Sharpe per session that luck alone shows", "deflated_sharpe_threshold", per_session),
        ("Trials deflated for", "trials", integer),
        (
            "Sessions needed for 95 % (2012 form)",
            "min_track_record_sessions",
            lambda v: integer(np.ceil(v)) if is_number(v) else MISSING,
        ),
        ("Turnover, times capital a session", "annual_turnover", lambda v: number(v / year, 1)),
    ]
    rows: list[Any] = [
        (words, *(form(result.statistics.get(name)) for result in run.results)) for words, name, form in lines
    ]
    differences = run.comparison.get("differences") or {}
    if differences:
        rows.append(Group(f"Against {run.benchmark}"))
        against: list[tuple[str, str, Any]] = [
            (
                "Difference a session, bps of capital",
                "annual_difference",
                lambda v: number(1e4 * v / year, 2, signed=True),
            ),
            ("p value of no difference", "p_value", probability),
        ]
        for words, name, form in against:
            cells = [differences.get(result.pod, {}).get(name) for result in run.results]
            rows.append((words, *("–" if value is None else form(value) for value in cells)))
    return Grid(
        key="statistics",
        head=("Main assumptions, after fees", *(result.pod for result in run.results)),
        rows=rows,
        style="wide sticky",
        note="Ratios are per session and not annualised: a few sessions, times √252, would flatter. Below 0.95 a "
        "deflated Sharpe is no evidence. The p value is that of a stationary block bootstrap of the same sessions for "
        "both pods; with several pods divide the usual 0.05 by their number.",
    )


def fold_table(run: Run) -> Grid:
    """Windows and the market as each fold's training sessions show it."""
    folds = run.results[0].tables["folds"]
    rows: list[Any] = [
        (
            f"{integer(folds['fold'][row])} · {folds['instrument'][row]}",
            Cell(f"{folds['train_start'][row]} to {folds['train_end'][row]}", "w"),
            Cell(f"{folds['test_start'][row]} to {folds['test_end'][row]}", "w"),
            *(
                f"{significant(folds[name][row])} ± {significant(folds[f'{name}_error'][row], 2)}"
                for name in ("ask_arrival", "bid_arrival", "fill_decay", "volatility", "adverse_selection")
            ),
            significant(folds["half_spread"][row]),
        )
        for row in range(folds["fold"].size)
    ]
    return Grid(
        key="folds",
        head=("Fold", "Training", "Test", "Buyers at the mid, 1/s", "Sellers at the mid, 1/s", "Decay, 1/price",
              "Volatility, price/√s", "Adverse selection, price", "Half-spread, price"),
        rows=rows,
        words=3,
        style="wide sticky",
        note="Pooled over the training sessions of the fold, each weighted by what it tells; ± standard errors.",
    )  # fmt: skip


def choice_tables(run: Run) -> list[tuple[str, Grid]]:
    """Parameters chosen in each fold by pod, with the score of the choice in training."""
    return [(result.pod, _choices(result, per_session_form(run))) for result in run.results]


def _choices(result: Result, per_session: Callable[[Any], str]) -> Grid:
    folds, sessions = result.tables["folds"], result.tables["sessions"]
    main = sessions["fill_case"] == MAIN
    rows = []
    for row in range(folds["fold"].size):
        tested = main & (sessions["fold"] == folds["fold"][row]) & (sessions["instrument"] == folds["instrument"][row])
        parameters = json.loads(folds["parameters"][row])
        rows.append(
            (
                f"{integer(folds['fold'][row])} · {folds['instrument'][row]}",
                Cell(", ".join(f"{name} = {value}" for name, value in parameters.items()), "long"),
                Cell(integer(folds["trials"][row]), "n"),
                Cell(per_session(folds["training_score"][row]), "n"),
                Cell(signed(float(sessions["profit"][tested].mean())), "n"),
                Cell(str(folds["rule_hash"][row])[:10], "mono"),
            )
        )
    head = ("Fold", "Parameters", Cell("Sets tried", "n"), Cell("Training Sharpe, a session", "n"),
            Cell("Profit a test session", "n"), "Rule")  # fmt: skip
    return Grid(key="choices", head=head, rows=rows, words=6, style="wide")


def _lots(count: int) -> str:
    return f"{integer(count)} {'lot' if count == 1 else 'lots'}"


def assumption_table(run: Run) -> Grid:
    """Queue models, latency, fees and limits of the run in words."""
    fills = run.configuration["fills"]
    rows: list[Any] = [
        (case.replace("_", " "), Cell(queue_words(fills[case]), "l")) for case in cases_of(run.results[0])
    ]
    main, day = fills[MAIN], run.configuration["day"]
    latency, fees, limits = main["latency"], main["fees"], main["limits"]
    if latency["kind"] == "constant":
        words = f"{latency['entry_ns'] / 1e6:g} ms to the exchange, {latency['response_ns'] / 1e6:g} ms back"
    else:
        words = f"{latency['kind']}, {integer(latency['rows'])} rows"
    rows += [
        ("Order latency", Cell(f"{words}; the feed's own is in the events", "l")),
        ("Fees, maker and taker", Cell(f"{fee_words(fees, 'maker')} and {fee_words(fees, 'taker')}", "l")),
        (
            "Orders and limits, every pod",
            Cell(
                f"orders of {_lots(run.configuration['order_lots'])}, at most {_lots(limits['max_position'])} held",
                "l",
            ),
        ),
        (
            "Hours",
            Cell(
                f"{clock(day['start'])} to {clock(day['liquidate'])}; positions closed until {clock(day['stop'])} "
                + ("by crossing" if day["liquidation"] == "cross" else "at the mid, not traded"),
                "l",
            ),
        ),
    ]
    return Grid(key="assumptions", head=("Assumption", Cell("What", "l")), rows=rows, words=2, style="wide")


def queue_words(settings: Mapping[str, Any]) -> str:
    """A queue model in a sentence."""
    queue = settings["queue"]
    kind = queue["kind"]
    if kind == "assumed":
        lots = (
            f"the {settings['guess']} guess of the training sessions"
            if settings.get("guess")
            else f"{queue['assumed_lots']:g} lots"
        )
        words = f"{lots} ahead on arrival whatever the book shows; only trades at the price use them up"
    else:
        words = {
            "pessimistic": "the whole level is ahead on arrival; withdrawals are taken to be behind",
            "probabilistic": "withdrawals are shared between ahead and behind by "
            + ("the logarithm" if queue["shape"] == "log" else f"the power {queue['exponent']:g}"),
            "exact": "first come first served by the orders themselves",
            "trade_through": "filled only by prints beyond the price: no queue is ever served",
        }[kind]
    return words + ("" if settings["sizes"] == "traded" else "; an order that is reached is filled whole")


def fee_words(fees: Mapping[str, float], role: str) -> str:
    """The fee of a role."""
    rate, each = fees[role], fees[f"{role}_per_lot"]
    parts = [f"{1e4 * rate:g} bps"] if rate or not each else []
    parts += [f"{each:g} a lot"] if each else []
    return " + ".join(parts).replace("-", MINUS)


def clock(seconds: float) -> str:
    """Seconds after midnight as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def signed(value: Any) -> str:
    """An amount of money with its sign, whole from a thousand on."""
    if not is_number(value):
        return MISSING
    size = abs(float(value))
    return number(value, 0 if size >= 1000 else 2, signed=True)


def left_out_table(run: Run) -> Grid | None:
    """Training sessions that could not be measured, with the reason; None when all could."""
    folds = run.results[0].tables["folds"]
    words = {line for notes in folds["calibration_notes"].tolist() for line in json.loads(notes)["left_out"]}
    rows = [(line.partition(": ")[0], Cell(line.partition(": ")[2], "l")) for line in sorted(words)]
    return Grid(key="left-out", head=("Session", Cell("Why", "l")), rows=rows, words=2) if rows else None


def note_list(run: Run) -> Sequence[str]:
    """Notes of the calibrations, each once."""
    folds = run.results[0].tables["folds"]
    return sorted({line for notes in folds["calibration_notes"].tolist() for line in json.loads(notes)["notes"]})


def dependent_chip(run: Run) -> Markup:
    """Whether some pod's profit depends on the model of fills."""
    names = [result.pod for result in run.results if result.statistics["model_dependent"]]
    if not names:
        return light("ok", "Fill models agree on every pod")
    return light("warn", "Model dependent", ", ".join(names))


def total_profit(result: Result) -> float:
    """Profit of a pod over all test sessions."""
    return float(np.sum(result.tables["account"]["profit"]))
