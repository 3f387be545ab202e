"""Many parameter sets of a pod over one window of sessions: a table of cheap scores, and every set counted as tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from backtests.daily.screening import Screening, screen
from backtests.evidence.sharpe import DeflatedSharpe, deflated_sharpe, sharpe_sample, trial_variance_over
from backtests.walk.plan import describe_pod, parameters_json
from backtests.walk.provenance import rows_hash
from backtests.walk.register import Register, Trial, TrialCount, TrialWindow
from data_pipeline.daily.panel import DailyPanel
from mfg_core.daily.costs import TradingCosts
from strategies.pod import Pod
from strategies.weighting import SESSIONS_PER_YEAR

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Scores of every parameter set over one window.

    Attributes
    ----------
    pods : tuple of Pod
        In the order given.
    screening : Screening
        In-sample: choose by it, report nothing of it.
    count : TrialCount
        The sweep's sets in the register, and all trials on the same data.
    deflated : DeflatedSharpe
        Of the best set: what luck alone reaches over all those trials, and the probability that it is more than luck.
    """

    pods: tuple[Pod, ...]
    screening: Screening
    count: TrialCount
    deflated: DeflatedSharpe

    @property
    def best(self) -> Pod:
        """The set with the highest score."""
        return self.pods[self.screening.best]

    def frame(self) -> pd.DataFrame:
        """One row per set: the parameters that differ between sets, and its annual Sharpe ratio; best first."""
        import pandas as pd

        every: list[dict[str, Any]] = [parameters_json(pod.parameters) for pod in self.pods]
        varied = [name for name in every[0] if len({str(each.get(name)) for each in every}) > 1]
        rows = [{name: each.get(name) for name in varied} for each in every]
        table = pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="set"))
        table["sharpe"] = self.screening.sharpe
        return table.sort_values("sharpe", ascending=False, kind="stable", na_position="last")


def sweep(
    panel: DailyPanel,
    pods: Sequence[Pod],
    register: Register,
    *,
    start: str | None = None,
    end: str | None = None,
    cost_bps: float = 5.0,
    study: str = "sweep",
) -> Sweep:
    """Scores of `pods` (one pod under several parameter sets: `parameter_grid`) over the sessions `start` to `end`.

    The sets are written into the register before anybody sees their scores. Keep the sessions that a backtest is to be
    judged on out of the window, or choose them knowing that every set tried here deflates it.

    Parameters
    ----------
    panel : DailyPanel
    pods : sequence of Pod
    register : Register
        `Register(output / REGISTER_FOLDER)` of the output folder of the runs that are to know of the sweep.
    start, end : str, optional
        First and last session (YYYY-MM-DD, included); the whole panel without them.
    cost_bps : float
        Half-spread and fees together per traded value, the same for every instrument.
    study : str
        Name in the register.

    Raises
    ------
    ValueError
        When a day is none or no session lies in the window, it is too short for the longest lookback, or the cost is
        no cost.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from backtests.audit.lookahead import random_panel
    >>> from strategies.momentum import TimeSeriesMomentum
    >>> from strategies.pod import parameter_grid
    >>> pods = parameter_grid(TimeSeriesMomentum(volatility_sessions=20), {"signal_sessions": [20, 40, 60]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = sweep(random_panel(1), pods, Register(Path(folder)))
    >>> found.count.of_data, list(found.frame().columns)
    (3, ['signal_sessions', 'sharpe'])
    """
    if not 0.0 <= cost_bps < 1e4:
        raise ValueError(f"cost_bps must be in [0, 10000); was {cost_bps}")
    if len(pods) == 0:
        raise ValueError("pods must hold at least one pod; was empty")
    rows = _rows(panel, start, end)
    window = TrialWindow(
        rows_hash(panel, rows), str(panel.sessions[rows[0]]), str(panel.sessions[rows[-1]]), panel.instruments
    )
    trials = []
    for pod in pods:
        described = describe_pod(pod)
        kind = described.pop("kind")
        trials.append(Trial(kind, described, window, {"screening": {"cost_bps": cost_bps}}))
    found = screen(panel, rows, pods, _flat_costs(len(panel.instruments), cost_bps))
    count = register.count(register.record(study, trials))
    return Sweep(tuple(pods), found, count, _deflated(found, count.of_data))


def _rows(panel: DailyPanel, start: str | None, end: str | None) -> range:
    first = 0 if start is None else int(np.searchsorted(panel.sessions, _day("start", start)))
    last = panel.sessions.size
    if end is not None:
        last = int(np.searchsorted(panel.sessions, _day("end", end), side="right"))
    if first >= last:
        raise ValueError(
            f"start and end must hold a session of the panel ({panel.sessions[0]} to {panel.sessions[-1]}); were "
            f"{start} and {end}"
        )
    return range(first, last)


def _day(name: str, text: str) -> np.datetime64:
    try:
        return np.datetime64(date.fromisoformat(text), "D")
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a day written YYYY-MM-DD; was {text!r}") from None


def _flat_costs(instruments: int, cost_bps: float) -> TradingCosts:
    """Costs of which screening reads the half-spread and the fee alone."""
    even = np.ones(instruments)
    return TradingCosts(cost_bps * 1e-4 * even, 0.02 * even, even, 1.0, 0.0, 0.0)


def _deflated(found: Screening, trials: int) -> DeflatedSharpe:
    sample = sharpe_sample(found.returns[:, found.best])
    ratios = found.sharpe[np.isfinite(found.sharpe)] / math.sqrt(SESSIONS_PER_YEAR)
    noise = 1.0 / sample.observations
    spread = float(np.var(ratios, ddof=1)) if ratios.size > 1 else noise
    return deflated_sharpe(sample, trials, trial_variance_over(sample.observations, spread, noise))
