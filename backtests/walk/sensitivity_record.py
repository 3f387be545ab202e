"""The file `sensitivity.json` of a run: every pod under every value, what it changes, and how large a pod may grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.bootstrap import automatic_block_length
from backtests.evidence.sensitivity import NO_SIZE, NOT_REACHED
from backtests.walk.sensitivity import Value
from backtests.walk.sensitivity_capacity import SizeEstimate, capacity, drawn_sums
from data_pipeline.disk import plain_json, pretty_json

Floats = NDArray[np.float64]

SIZES = {"capital": "money", "order_lots": "lots"}
"""What is a size, with its unit: these have a capacity."""

FEWEST_SIZES = 3
"""Of a capacity: through two sizes goes no curve, and nothing would be known of where between them profit peaks."""

WORDS = (
    "Each value is one more account per pod through the same folds; fits, choices and calibrations are those of the "
    "run and only this assumption about execution changes. Nothing was chosen by these accounts, so they add no trials."
)


@dataclass(frozen=True, slots=True, eq=False)
class VariedAccount:
    """One pod's account under one value: (T,) arrays of the sessions after the opening, money in `capital`'s unit.

    Attributes
    ----------
    value : float or str
    returns, risk_free, costs, net_asset_value : (T,)
        `costs` is money.
    gains : (T,)
        Money over cash of a session at a constant size: what capacity is counted in.
    volume_share : float
        Own fills as a share of what traded; NaN where it is not asked for.
    """

    value: Value
    returns: Floats
    risk_free: Floats
    costs: Floats
    net_asset_value: Floats
    gains: Floats
    volume_share: float = math.nan


def sensitivity_file(
    studies: Mapping[str, Mapping[str, Sequence[VariedAccount]]],
    base: Mapping[str, VariedAccount],
    *,
    periods_per_year: int,
    draws: int,
    seed: int,
    notes: Sequence[str] = (),
) -> bytes:
    """The file's bytes.

    Parameters
    ----------
    studies : mapping of str to mapping of str to sequence of VariedAccount
        By what is varied, then by pod; the run's own account among them where its value is of the kind.
    base : mapping of str to VariedAccount
        The run's own account of each pod: what the others are set against.
    periods_per_year, draws, seed : int
        Of the run.
    notes : sequence of str
        What else a reader must know.
    """
    draw = {"draws": draws, "seed": seed}
    record: dict[str, Any] = {
        dimension: [
            {"pod": pod, "value": account.value} | _numbers(account, base[pod], periods_per_year, **draw)
            for pod, accounts in pods.items()
            for account in accounts
        ]
        for dimension, pods in studies.items()
    }
    record["capacity"] = [
        {"pod": pod, "size": dimension} | _capacity(accounts, **draw)
        for dimension, pods in studies.items()
        if dimension in SIZES
        for pod, accounts in pods.items()
        if len(accounts) >= FEWEST_SIZES
    ]
    return pretty_json(plain_json(record | {"notes": [WORDS, *notes]}))


def _numbers(
    account: VariedAccount, base: VariedAccount, periods_per_year: int, *, draws: int, seed: int
) -> dict[str, Any]:
    """Statistics of one account, and its yearly return beside the run's on the same drawn sessions."""
    from backtests.evidence.statistics import performance

    profit = periods_per_year * float(account.gains.mean())
    if account.returns.min() <= -1.0 or account.net_asset_value.min() <= 0.0:
        return {"lost": True, "profit": profit, "volume_share": account.volume_share}
    found = performance(account.returns, account.risk_free, periods_per_year=periods_per_year)
    costs = periods_per_year * float(account.costs.mean()) / float(account.net_asset_value.mean())
    excess = np.column_stack([account.returns - account.risk_free, base.returns - base.risk_free])
    pairs = np.column_stack([excess[:, 0], excess[:, 0] - excess[:, 1], account.gains])
    block = automatic_block_length(excess[:, 1])
    means = np.concatenate([total for total, _ in drawn_sums(pairs, block, draws, seed)]) / excess.shape[0]
    error, difference_error, profit_error = periods_per_year * means.std(axis=0)
    return {
        "annual_return": found["annual_return"],
        "sharpe": found["sharpe"],
        "annual_cost": costs,
        "standard_error": error,
        "profit": profit,
        "profit_error": profit_error,
        "difference": periods_per_year * float(pairs[:, 1].mean()),
        "difference_error": difference_error,
        "volume_share": account.volume_share,
    }


def _capacity(accounts: Sequence[VariedAccount], *, draws: int, seed: int) -> dict[str, Any]:
    ordered = sorted(accounts, key=lambda account: float(account.value))
    sizes = np.array([float(account.value) for account in ordered])
    gains = np.column_stack([account.gains for account in ordered]) / sizes
    found = capacity(sizes, gains, draws=draws, seed=seed)
    return {
        "smallest": sizes[0],
        "largest": sizes[-1],
        "peak": _told(found.peak),
        "half_sharpe": _told(found.half_sharpe),
    }


def _told(found: SizeEstimate) -> dict[str, Any]:
    """Sizes as numbers, and what is none in words."""
    return {name: _size(getattr(found, name)) for name in ("value", "low", "high")}


def _size(value: float) -> float | str:
    if value == 0.0:
        return NO_SIZE
    return NOT_REACHED if math.isinf(value) else value
