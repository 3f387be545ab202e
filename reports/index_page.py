"""A page that links to other pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from reports.page import write_page


def write_index_page(output: Path, title: str, lead: str, pages: Sequence[tuple[str, str, str]]) -> Path:
    """Path of a page with a link to each of `pages`: address relative to it, title, what it shows.

    Raises
    ------
    OSError
        When the page cannot be written.
    """
    linked = [(quote(address), name, words) for address, name, words in pages]
    return write_page(output, "index.html.j2", {"title": title, "lead": lead, "pages": linked})
