"""`fairfield quality`: what is wrong with a store's rows, as a table and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError
from fairfield.stages import console, day, tell
from fairfield.tables import aligned

if TYPE_CHECKING:
    from data_pipeline.store import Store
    from data_pipeline.tables.files import StoreFiles


def check_quality(
    store_path: Path | str, output: Path | None, start: str | None = None, end: str | None = None
) -> Path:
    """Print the quality table of a store and write its page."""
    from data_pipeline.quality.feeds import feeds_quality
    from data_pipeline.quality.summary import joined
    from data_pipeline.store import Store
    from reports.quality_page import write_quality_page

    store = Store.open(store_path)
    first, last = day(start, "--start"), day(end, "--end")
    if first is not None and last is not None and last < first:
        raise ConfigError(f"--end must not be before --start {first}; was {last}")
    with console.status("checking the store") as status:
        parts = [_daily_quality(store, first, last)] if store.sessions().size else []
        if store.manifest.tables:
            parts.append(
                feeds_quality(
                    store, start=first, end=last, progress=lambda what: status.update(f"checking the store: {what}")
                )
            )
        if not parts:
            raise ConfigError(f"{store_path} holds no quotes, trades or other rows: ingest raw files first")
        summary = joined(parts)
    _print_quality(summary)
    page = write_quality_page(summary, output or _page_of(store.files))
    tell(f"page: {page}")
    return page


def _page_of(files: StoreFiles) -> Path:
    """Beside a folder; for a store at a URL in the current folder."""
    from data_pipeline.tables.files import LocalFiles

    if isinstance(files, LocalFiles):
        root = files.root if files.root.name else files.root.resolve()
        return root.with_name(f"{root.name}-quality.html")
    return Path(f"{files.name.rstrip('/').rpartition('/')[2]}-quality.html")


def _daily_quality(store: Store, first: str | None, last: str | None) -> dict[str, Any]:
    from data_pipeline.daily.panel_build import build_panel
    from data_pipeline.quality.daily import store_quality

    rate = None if store.cdi().num_rows else 0.0  # cash earns nothing here where there is no CDI: prices are checked
    panel = build_panel(store, start=first, end=last, risk_free_annual=rate)
    return store_quality(store, panel, risk_free_annual=rate)


def _print_quality(summary: dict[str, Any]) -> None:
    """The light, its reasons and the totals; the page holds the rest."""
    tell(f"data quality: {summary['light']}")
    rows = [(str(name).replace("_", " "), f"{count:,}") for name, count in summary["totals"].items()]
    for line in aligned(("what", "how many"), rows):
        tell(line)
    for reason in summary["reasons"]:
        tell(f"- {reason}")
