"""What was downloaded into a folder: from where, when, and the hash of every byte; it lies beside the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from data_pipeline.atomic import write_atomically
from data_pipeline.errors import DataError

JOURNAL: Final = "fetched.jsonl"


@dataclass(frozen=True, slots=True)
class Fetched:
    """One downloaded file.

    Attributes
    ----------
    target : str
        Path below the folder.
    url : str
        Address that was asked for; `mirror` names what answered instead, if anything.
    mirror : str
    sha256 : str
    size : int
        Bytes.
    retrieved_at : str
        ISO time in UTC at which the transfer ended: nothing in the file was known to us before.
    validators : mapping
        The server's ETag and Last-Modified.
    checksum : str
        "verified" against a published hash, or "not published".
    """

    target: str
    url: str
    mirror: str
    sha256: str
    size: int
    retrieved_at: str
    validators: Mapping[str, str]
    checksum: str


def read_journal(folder: Path) -> dict[str, Fetched]:
    """Latest entry of each target in the folder's journal; empty when there is none.

    Raises
    ------
    DataError
        When a line is damaged.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return {}
    found: dict[str, Fetched] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = Fetched(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is damaged ({error}): remove that line; its file will be asked for again"
            ) from error
        found[entry.target] = entry
    return found


def append_journal(folder: Path, entry: Fetched) -> None:
    """Add one entry; the journal is seen with it or without, never with half of it."""
    path = folder / JOURNAL
    before = path.read_bytes() if path.is_file() else b""
    line = json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True) + "\n"
    write_atomically(path, before + line.encode("utf-8"))
