"""A folder that stands for the network: `<folder>/<host>/<path>`, as a tool that mirrors sites writes it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.errors import DataError


class FolderPool:
    """Answers requests with the files of a folder, in the form of urllib3's pools."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder.

        Raises
        ------
        DataError
            When there is none.
        """
        if not folder.is_dir():
            raise DataError(f"--mirror {folder} is neither a folder nor an address (https://host/path)")
        self.folder = folder

    def request(self, method: str, url: str, **options: Any) -> _FolderResponse:
        """The file at that host and path; status 404 where there is none."""
        path = self.folder / url
        inside = ".." not in PurePosixPath(url).parts
        return _FolderResponse(path if inside and path.is_file() else None)


class _FolderResponse:
    """What `request_into` uses of a response."""

    def __init__(self, path: Path | None) -> None:
        self.status = 404 if path is None else 200
        self.reason = ""
        self.headers = {} if path is None else {"Content-Length": str(path.stat().st_size)}
        self.source = None if path is None else path.open("rb")

    def read1(self, amount: int, decode_content: bool = False) -> bytes:
        """Up to `amount` more bytes of the file."""
        return b"" if self.source is None else self.source.read(amount)

    def release_conn(self) -> None:
        """No connection is held."""

    def close(self) -> None:
        """Close the file."""
        if self.source is not None:
            self.source.close()
