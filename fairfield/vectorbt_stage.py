"""`fairfield export-vectorbt`: a pod's account of a finished run to a file for vectorbt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairfield.config import load_config
from fairfield.errors import ConfigError
from fairfield.stages import console, disk_of, read_panel, tell

if TYPE_CHECKING:
    from backtests.walk.result import Run
    from data_pipeline.daily.panel import DailyPanel


def run_export_vectorbt(folder: Path, pod: str, output: Path, config: Path | None) -> None:
    """Write the pod's portfolio to `output`, and say how to load it.

    Raises
    ------
    ConfigError
        When the run is no daily one or has no such pod, or the data that it ran on are not to be had.
    """
    from backtests.daily.vectorbt_bridge import export_portfolio
    from backtests.walk.result import account_of
    from backtests.walk.result_files import read_run

    run = read_run(folder)
    if run.kind.name != "daily":
        raise ConfigError(f"{folder}: vectorbt knows portfolios of daily runs; this is one of kind {run.kind.name}")
    try:
        result = run.result(pod)
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from error
    with console.status("making the portfolio"), disk_of(output.parent):
        panel = _panel_of_run(run, folder, config)
        export_portfolio(account_of(result, panel), panel, output)
    import vectorbt

    tell(f"{output}: {len(result.sessions):,} sessions of {pod}")
    tell(f"vectorbt.Portfolio.load({str(output)!r})  # vectorbt {vectorbt.__version__}")


def _panel_of_run(run: Run, folder: Path, config: Path | None) -> DailyPanel:
    """The panel of the run, proven by its hash: of its configuration, or what its output folder still holds."""
    from backtests.walk.walkforward import LEDGER_FOLDER
    from data_pipeline.daily.panel_files import load_panel

    if config is not None:
        panel, _ = read_panel(load_config(config))
        if not _is_of(run, panel):
            raise ConfigError(
                f"{config}: its data are not those of the run in {folder}: name the configuration and keep the store "
                "as they were, or run the backtest again"
            )
        return panel
    for found in sorted((folder.resolve().parent / LEDGER_FOLDER / "panels").glob("*/panel.json")):
        panel = load_panel(found.parent)
        if _is_of(run, panel):
            return panel
    raise ConfigError(
        f"{folder}: the data of this run are no longer beside it (a later run replaced them): name its configuration "
        "with --config"
    )


def _is_of(run: Run, panel: DailyPanel) -> bool:
    """Whether the panel, up to the run's last session, has the hash of the run's data."""
    import numpy as np

    from backtests.walk.provenance import rows_hash

    last = run.results[0].sessions[-1]
    rows = int(np.searchsorted(panel.sessions, last, side="right"))
    return rows > 0 and rows_hash(panel, range(rows)) == run.provenance["data_hash"]
