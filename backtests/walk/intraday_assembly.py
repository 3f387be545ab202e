"""From the sessions of every pod to a run: accounts, folds, assumptions side by side, statistics, comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.comparison import compare_pods
from backtests.evidence.sharpe import sharpe_sample, sharpe_standard_error, trial_variance_over
from backtests.intraday.session_account import account_record
from backtests.walk.assembly import choice_list
from backtests.walk.fold_tasks import Selection
from backtests.walk.folds import Fold
from backtests.walk.intraday_outcomes import SessionResult, session_tables
from backtests.walk.intraday_plan import MAIN, IntradayPlan, describe_intraday
from backtests.walk.result import Result, Run, Table, account_statistics
from backtests.walk.run_kinds import INTRADAY, NUMPY_KINDS
from data_pipeline.disk import canonical_json, pretty_json, sha256_hex

Floats = NDArray[np.float64]


def assemble_intraday(
    plan: IntradayPlan,
    sessions: Sequence[str],
    folds: Sequence[Fold],
    provenance: Mapping[str, Any],
    choices: Mapping[tuple[str, int], Selection],
    rules: Mapping[tuple[str, int, str], Mapping[str, Any]],
    outcomes: Mapping[str, Sequence[SessionResult]],
    poisson: Mapping[str, Mapping[str, Any]],
    quality: Mapping[str, Any],
) -> Run:
    """Everything that the run folder holds.

    Parameters
    ----------
    sessions : sequence of str
        All sessions of the data; the rows of `folds` count them.
    choices : mapping of (pod, fold)
        The parameter set of each fold.
    rules : mapping of (pod, fold, symbol)
        Records of the rules that traded (`intraday_rules.rule_record`).
    outcomes : mapping of pod
        Its sessions, in order.
    poisson : mapping of pod
        Its profit under fills at the calibrated rates (`intraday_poisson.poisson_record`).
    """
    configuration = describe_intraday(plan)
    provenance = dict(provenance) | {"configuration_hash": sha256_hex(canonical_json(configuration))}
    tables = {name: session_tables(found) for name, found in outcomes.items()}
    made = {
        pod.name: {
            "account": account_table(plan, sessions, folds, tables[pod.name]["sessions"]),
            **tables[pod.name],
            "folds": folds_table(plan, pod.name, sessions, folds, choices, rules),
        }
        for pod in plan.pods
    }
    variance = trial_variance([found["account"]["return"][1:] for found in made.values()])
    trials = provenance["trials"]["of_data"]
    results = []
    for pod in plan.pods:
        ordered = {name: made[pod.name][name] for name in INTRADAY.tables}
        statistics = account_statistics(
            ordered, trials, variance, periods_per_year=plan.sessions_per_year, kind=INTRADAY
        )
        statistics |= case_statistics(outcomes[pod.name], [case.name for case in plan.cases], poisson[pod.name])
        results.append(Result(pod.name, ordered, statistics, provenance, INTRADAY))
    comparison = compare_pods(
        {result.pod: result.returns[1:] for result in results},
        results[0].risk_free[1:],
        plan.benchmark,
        {result.pod: result.statistics for result in results},
        seed=plan.seed,
        draws=plan.bootstrap_draws,
        periods_per_year=plan.sessions_per_year,
    )
    return Run(
        name=plan.name,
        benchmark=plan.benchmark,
        results=tuple(results),
        configuration=configuration,
        provenance=provenance,
        limits=(),
        comparison=comparison,
        quality=quality,
    )


def account_table(plan: IntradayPlan, sessions: Sequence[str], folds: Sequence[Fold], rows: Table) -> Table:
    """The account of one pod under the main assumptions: opened at the session before the first test.

    A pod trades fixed lots, so profits add up and are not reinvested; a return is the session's profit and interest
    over the net asset value before it. An account whose capital is lost has a return of -100 % in that session and
    none after it.
    """
    tested = [row for fold in folds for row in fold.test]
    fold_of = [fold.index for fold in folds for _ in fold.test]
    days = np.array([sessions[tested[0] - 1], *(sessions[row] for row in tested)], dtype="datetime64[D]")
    main = rows["fill_case"] == MAIN
    place = np.searchsorted(days, rows["session"][main])

    def total(name: str) -> Floats:
        sums = np.bincount(place, weights=rows[name][main].astype(np.float64), minlength=days.size)
        return sums.astype(np.float64)

    profit, traded = total("profit"), total("traded_value")
    rate = session_rate(plan)
    value, returns, interest = fixed_lots_account(profit[1:], plan.capital, rate)
    before = value[:-1]
    turnover = np.divide(traded[1:], before, out=np.zeros(before.size), where=before > 0.0)
    table = {
        "session": days,
        "net_asset_value": value,
        "return": np.r_[0.0, returns],
        "profit": profit,
        "interest": np.r_[0.0, interest],
        "cost_crossing": 0.0 - total("crossed") - total("liquidated"),
        "cost_fees": 0.0 - total("fees"),
        "turnover": np.r_[0.0, turnover],
        "drawdown": 1.0 - value / np.maximum.accumulate(value),
        "risk_free": np.r_[0.0, np.full(days.size - 1, rate)],
        "fold": np.array([folds[0].index, *fold_of], dtype=np.int64),
    }
    return {column: table[column] for column in INTRADAY.tables["account"]}


def session_rate(plan: IntradayPlan) -> float:
    """What the capital earns in a session beside the pod's profit, a fraction."""
    return float((1.0 + plan.risk_free_annual) ** (1.0 / plan.sessions_per_year) - 1.0)


def fixed_lots_account(profit: Floats, capital: float, rate: float) -> tuple[Floats, Floats, Floats]:
    """Net asset value (n + 1,), returns (n,) and interest (n,) of profits (n,) that are not reinvested.

    Once the capital is lost nothing earns interest, and returns are 0 after the one of -100 %.
    """
    value, returns, interest = np.full(profit.size + 1, capital), np.zeros(profit.size), np.zeros(profit.size)
    for row in range(profit.size):
        before = value[row]
        interest[row] = rate * max(before, 0.0)
        value[row + 1] = before + profit[row] + interest[row]
        if before > 0.0:
            returns[row] = max(value[row + 1] / before - 1.0, -1.0)
    return value, returns, interest


def folds_table(
    plan: IntradayPlan,
    pod: str,
    sessions: Sequence[str],
    folds: Sequence[Fold],
    choices: Mapping[tuple[str, int], Selection],
    rules: Mapping[tuple[str, int, str], Mapping[str, Any]],
) -> Table:
    """Windows, chosen parameters, calibration and rule of each fold and instrument."""
    rows = []
    for fold in folds:
        choice = choices[pod, fold.index]
        for instrument in plan.instruments:
            record = rules[pod, fold.index, instrument.symbol]
            about = record["about"]
            calibration = about["calibration"]
            told = {"notes": calibration["notes"], "left_out": calibration["left_out"]}
            rows.append(
                dict(about["truth"])
                | {name: value for name, value in calibration.items() if name.endswith("_error")}
                | {
                    "fold": fold.index,
                    "instrument": instrument.symbol,
                    "train_start": sessions[fold.train.start],
                    "train_end": sessions[fold.train.stop - 1],
                    "test_start": sessions[fold.test.start],
                    "test_end": sessions[fold.test.stop - 1],
                    "parameters": canonical_json(about["parameters"]).decode(),
                    "trials": len(choice.scores),
                    "training_score": choice.scores[choice.chosen],
                    "rule": record["name"],
                    "rule_notes": canonical_json(record["notes"]).decode(),
                    "calibration_notes": canonical_json(told).decode(),
                    "rule_hash": record["artefact"],
                }
            )
    return {
        column: np.array([math.nan if row[column] is None else row[column] for row in rows], dtype=NUMPY_KINDS[kind])
        for column, kind in INTRADAY.tables["folds"].items()
    }


def choices_file(
    plan: IntradayPlan,
    folds: int,
    choices: Mapping[tuple[str, int], Selection],
    rules: Mapping[tuple[str, int, str], Mapping[str, Any]],
) -> bytes:
    """Every choice with its scores and the hash of each instrument's rule: evidence/choices.json.

    Parameters
    ----------
    folds : int
        Training windows that are folds; those numbered after them are splits.
    choices, rules : mapping of (pod, window), (pod, window, symbol)
    """

    def told(pod: str, windows: Sequence[int]) -> list[dict[str, Any]]:
        hashes = [
            {item.symbol: rules[pod, window, item.symbol]["artefact"] for item in plan.instruments}
            for window in windows
        ]
        found = choice_list({(pod, window): choices[pod, window] for window in windows}, pod)
        return [choice | {"rules": one} for choice, one in zip(found, hashes, strict=True)]

    pods = {}
    for pod in plan.pods:
        windows = sorted(window for name, window in choices if name == pod.name)
        pods[pod.name] = {"folds": told(pod.name, windows[:folds]), "splits": told(pod.name, windows[folds:])}
    return pretty_json({"selection": plan.selection, "pods": pods})


def trial_variance(returns: Sequence[NDArray[np.float64]]) -> float:
    """Variance of the trials' Sharpe ratios per session over the test sessions.

    The rule is that of daily runs (`trial_variance_over`): what the ratios differ by beyond the noise of estimation,
    plus the noise of a trial without skill. Daily runs take the scores of every training window; here grids of one set
    have none and a training window may have two sessions, so the ratios are the pods' own out of sample. A maker's
    ratio per session may be far above 1: its noise is Lo's (1 + SR^2 / 2) / T, of which 1 / T is the case of daily
    runs; and pods that trade the same sessions share a part of it, which makes no difference between them: 1 less
    their mean correlation is left. With one pod it is the noise of a trial without skill.
    """
    sessions = returns[0].size
    known = [(sample.sharpe, one) for one in returns if math.isfinite((sample := sharpe_sample(one)).sharpe)]
    if len(known) < 2:
        return 1.0 / sessions
    ratios = [ratio for ratio, _ in known]
    noise = float(np.mean([sharpe_standard_error(ratio, sessions) ** 2 for ratio in ratios]))
    pairs = np.corrcoef([one for _, one in known])[np.triu_indices(len(known), 1)]
    return trial_variance_over(sessions, float(np.var(ratios, ddof=1)), noise * (1.0 - float(pairs.mean())))


def case_statistics(
    results: Sequence[SessionResult], cases: Sequence[str], poisson: Mapping[str, Any]
) -> dict[str, Any]:
    """What a pod's sessions give under each case (`account_record`), and whether the cases agree about its profit.

    `model_dependent` is true when they, or fills at the calibrated rates, differ in the profit's sign or in whether it
    can be told from 0: what the pod is worth then depends on an assumption that the data do not settle.
    """
    found = {case: account_record([result.accounts[case] for result in results]) for case in cases}
    profits = [item["profit"] for item in (*found.values(), poisson) if "profit" in item]
    verdicts = {(np.sign(item["total"]), item["verdict"]) for item in profits}
    return {"fill_cases": found, "poisson": dict(poisson), "model_dependent": len(verdicts) > 1}
