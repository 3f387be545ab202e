"""The data-quality page of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.overview import quality_light
from reports.page import write_page
from reports.quality_view import quality_tables


def write_quality_page(quality: Mapping[str, Any], output: Path | str) -> Path:
    """Path of the page that shows a data-quality record (the content of `quality.json`).

    Raises
    ------
    OSError
        When the page cannot be written.
    """
    content = {
        "light": quality_light(quality),
        "reasons": [str(reason) for reason in quality.get("reasons") or ()],
        "tables": quality_tables(quality, most=400),
    }
    return write_page(Path(output), "quality.html.j2", content)
