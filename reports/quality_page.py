"""The data-quality page of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.overview import quality_light
from reports.page import write_page
from reports.quality_view import coverage_pictures, quality_chapters, totals_table

MOST = 200
"""Rows of each list on the page."""


def write_quality_page(quality: Mapping[str, Any], output: Path | str) -> Path:
    """Path of the page that shows a data-quality record (`data_pipeline.quality.daily`, or a run's `quality.json`).

    Raises
    ------
    OSError
        When the page cannot be written.
    """
    content = {
        "light": quality_light(quality),
        "reasons": [str(reason) for reason in quality.get("reasons") or ()],
        "totals": totals_table(quality),
        "pictures": coverage_pictures(quality),
        # what was found before what was looked for and not found
        "chapters": sorted(quality_chapters(quality, MOST), key=lambda chapter: chapter.count == "0"),
    }
    return write_page(Path(output), "quality.html.j2", content)
