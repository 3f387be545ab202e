"""What a downloaded file must be, judged by its bytes: servers send error pages with status 200."""

from __future__ import annotations

import html
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from data_pipeline.archive import DAMAGE, refuse_bomb
from data_pipeline.errors import DataError

_HEAD: Final = 4096
_MOST_JSON: Final = 256 << 20


def is_zip(path: Path) -> str | None:
    """None for a whole zip file whose members pass their checksums; else the reason."""
    if (page := _page(path)) is not None:
        return page
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if not members:
                return "is a zip file without members"
            # zipfile gives no more of a member than it states
            refuse_bomb(sum(member.file_size for member in members), path.stat().st_size, "it")
            damaged = archive.testzip()
    except DataError as error:
        return f"is no file of a venue ({error})"
    except DAMAGE as error:
        return f"is no whole zip file ({error})"
    return None if damaged is None else f"has a damaged member, {damaged}"


def is_text(path: Path) -> str | None:
    """None for a file that is neither empty nor a page of HTML or XML."""
    return _page(path)


def is_file(path: Path) -> str | None:
    """None for any file that is not empty."""
    return "is empty" if path.stat().st_size == 0 else None


def json_check(sound: Callable[[Any], str | None]) -> Callable[[Path], str | None]:
    """Check that decodes the file as JSON and asks `sound` for a reason why its content is not the one wanted."""

    def check(path: Path) -> str | None:
        if (page := _page(path)) is not None:
            return page
        if path.stat().st_size > _MOST_JSON:
            return f"is larger than any such answer ({path.stat().st_size:,} bytes)"
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            return f"is no whole JSON ({error})"
        return sound(content)

    return check


def _page(path: Path) -> str | None:
    """Reason why the file is an answer to a person and not data, or None."""
    with path.open("rb") as stream:
        start = stream.read(_HEAD)
    if not start.strip():
        return "is empty"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b"<"):
        return None
    words = text.decode("latin-1")
    title = re.search(r"<title[^>]*>(.*?)</title>", words, re.IGNORECASE | re.DOTALL)
    said = html.unescape(re.sub(r"\s+", " ", title[1] if title else re.sub(r"<[^>]*>", " ", words))).strip()
    return f"is a page of HTML or XML, not data (it says: {said[:120]!r})"
