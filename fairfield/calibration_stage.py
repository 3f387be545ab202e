"""`fairfield calibrate`: a day of quotes and trades in; estimates, their quality, the equilibrium and a page out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.calibration_config import CalibrationConfig, load_calibration_config
from fairfield.errors import ConfigError
from fairfield.solve_artefact import publish_folder
from fairfield.stages import console, tell

if TYPE_CHECKING:
    from data_pipeline.book.record import IntradayRecord

FORMAT = 2
"""Version of calibration.json."""

FILES = ("calibration.json", "calibration.npz", "calibration.html")


def run_calibrate(config_path: Path, output: Path | None = None) -> Path:
    """The artefact folder of a calibration: calibration.json, calibration.npz and the page calibration.html.

    The folder is `output`, or `calibrations/<name of the file>-<hash of configuration and inputs>` beside the file. It
    appears whole or not at all; the same inputs, configuration and code write the same bytes.

    Raises
    ------
    ConfigError
        When the configuration cannot be used, the data do not tell what it asks for, or `output` holds something else.
    DataError
        When a file cannot be used.
    """
    from backtests.walk.provenance import code_hash, library_versions
    from data_pipeline.disk import canonical_json, npz_bytes, pretty_json, sha256_hex
    from fairfield.calibration_work import calibrate_record
    from reports.intensity_page import intensity_page

    config = load_calibration_config(config_path)
    with console.status("reading"):
        record = read_feed(config, config_path.resolve().parent)
    settings = config.model_dump(mode="json", exclude_none=True)
    digest = sha256_hex(canonical_json({"configuration": settings, "files": dict(record.files)}))
    folder = output or config_path.resolve().parent / "calibrations" / f"{config_path.stem}-{digest[:12]}"
    _require_free(folder)
    with console.status("calibrating"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            found, arrays = calibrate_record(record, config)
        except ValueError as error:  # the data do not tell a parameter, or a value does not fit them
            raise ConfigError(f"{config_path}: {error}") from error
    found["warnings"] = sorted({str(warning.message) for warning in caught})
    content = npz_bytes(arrays)
    found = {
        "format_version": FORMAT,
        "title": config.title or f"{record.instrument} {record.day}",
        **found,
        "configuration": settings,
        "hashes": {
            "configuration": sha256_hex(canonical_json(settings)),
            "arrays": sha256_hex(content),
            "code": code_hash(("data_pipeline", "mfg_core")),
            **{f"file {name}": value for name, value in sorted(record.files.items())},
        },
        "versions": dict(library_versions()),
    }
    page = intensity_page(found, arrays)
    publish_folder(folder, dict(zip(FILES, (pretty_json(found), content, page.encode("utf-8")), strict=True)))
    for line in summary_lines(found):
        tell(line)
    tell(f"folder: {folder}")
    tell(f"page:   {folder / FILES[2]}")
    return folder


def read_feed(config: CalibrationConfig, base: Path) -> IntradayRecord:
    """The record of the configured files or session within the configured window; relative paths start at `base`."""
    from data_pipeline.book.record import within

    data, window = config.data, config.window
    files = [base / path.expanduser() for path in data.files]
    if data.store is not None:
        from data_pipeline.book.from_store import intraday_record
        from data_pipeline.quality.feeds import day_verdict
        from data_pipeline.store import Store

        place = Store.open(base / data.store.expanduser())
        day = data.venue or "", data.instrument or "", str(data.session)
        record = intraday_record(place, *day)
        judged = day_verdict(place, *day).words()
        tell(judged)
        record = replace(record, notes=(judged, *record.notes))
    elif data.feed == "lobster":
        from data_pipeline.feeds.lobster.record import read_lobster

        record = read_lobster(files[0], files[1])
    elif data.feed == "binance":
        from data_pipeline.feeds.crypto.binance_capture import read_binance_capture

        record = read_binance_capture(files[0], quotes=data.quotes)
    else:
        from data_pipeline.feeds.b3.orders import read_b3_orders

        record = read_b3_orders(files[0], data.instrument or "")
    return within(record, _seconds(window.start), _seconds(window.end))


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """The verdict and the main figures, as text."""
    estimates, market, tick = found["parameters"], found["market"], found["window"]["tick"]
    rows = [f"{found['title']}: {market['orders']:,} orders in {market['seconds']:,.0f} s"]
    rows += [("! " if fact["level"] == "bad" else "- ") + fact["words"] for fact in found["verdict"]]
    for name in ("touch_ask_arrival", "touch_bid_arrival", "fill_decay", "competition", "adverse_selection"):
        value, error = estimates[name]["value"], estimates[name]["error"]
        rows.append(f"{name.removeprefix('touch_'):>18}  {value:.5g} ± {error:.2g} {estimates[name]['unit']}".rstrip())
    quoted = market["quoted_spread"]
    rows.append(f"{'quoted spread':>18}  {quoted:.5g} ({quoted / tick:.3g} ticks), time-weighted")
    if "reason" not in found["equilibrium"]:
        spread, low, high = (
            found["equilibrium"][key] for key in ("full_spread", "full_spread_low", "full_spread_high")
        )
        rows.append(
            f"{'equilibrium':>18}  {spread:.5g} ({spread / tick:.3g} ticks), {low / tick:.3g} to {high / tick:.3g}"
        )
    return rows


def _seconds(at: time | None) -> float | None:
    return None if at is None else at.hour * 3600.0 + at.minute * 60.0 + at.second + at.microsecond / 1e6


def _require_free(folder: Path) -> None:
    """Refuse to replace a folder that this command did not write."""
    if folder.is_dir():
        others = sorted({path.name for path in folder.iterdir()} - set(FILES))
        if others:
            raise ConfigError(
                f"--output must be a new folder, an empty one or one of this command's; {others[0]} is in it"
            )
    elif folder.exists():
        raise ConfigError(f"--output must be a folder; {folder} is a file")
