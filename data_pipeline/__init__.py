"""Raw market files to a clean, point-in-time panel.

    COTAHIST, company events, CDI -> ingest -> Store -> build_panel -> DailyPanel -> MarketView

Names are loaded when first used, so that importing the package costs nothing. The functions that share their module's
name are imported from it: `from data_pipeline.ingest import ingest`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from data_pipeline.errors import DataError

if TYPE_CHECKING:
    from data_pipeline.daily.close_value import read_close_value_panel
    from data_pipeline.daily.panel import CorporateEvent, DailyPanel
    from data_pipeline.daily.panel_build import build_panel
    from data_pipeline.daily.panel_files import load_panel, save_panel
    from data_pipeline.daily.universe import UniverseRules
    from data_pipeline.daily.view import MarketView
    from data_pipeline.feeds.cotahist.parser import iter_blocks, parse_records, read_cotahist, read_header
    from data_pipeline.ingestion.report import IngestReport
    from data_pipeline.manifest import Manifest
    from data_pipeline.store import Store

_HOMES = {
    "CorporateEvent": "daily.panel",
    "DailyPanel": "daily.panel",
    "IngestReport": "ingestion.report",
    "Manifest": "manifest",
    "MarketView": "daily.view",
    "Store": "store",
    "UniverseRules": "daily.universe",
    "build_panel": "daily.panel_build",
    "iter_blocks": "feeds.cotahist.parser",
    "load_panel": "daily.panel_files",
    "parse_records": "feeds.cotahist.parser",
    "read_close_value_panel": "daily.close_value",
    "read_cotahist": "feeds.cotahist.parser",
    "read_header": "feeds.cotahist.parser",
    "save_panel": "daily.panel_files",
}

__all__ = [
    "CorporateEvent",
    "DailyPanel",
    "DataError",
    "IngestReport",
    "Manifest",
    "MarketView",
    "Store",
    "UniverseRules",
    "build_panel",
    "iter_blocks",
    "load_panel",
    "parse_records",
    "read_close_value_panel",
    "read_cotahist",
    "read_header",
    "save_panel",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'data_pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"data_pipeline.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
