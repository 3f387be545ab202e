"""One thing to download: from where, under which name, and how to tell the real file from an error page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Check = Callable[[Path], str | None]
"""Reason why a downloaded file is not what was asked for, or None."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file to download.

    Attributes
    ----------
    url : str
    target : str
        Path below the download folder, with forward slashes.
    check : callable
        See `Check`.
    sha256 : str
        Expected hash of the bytes in hexadecimal digits; empty when unknown.
    checksum_url : str
        Address of a file that begins with the SHA-256; empty when there is none.
    follow : callable, optional
        Further items, from the bytes of the downloaded file (pages after the first, answers that name others).
    """

    url: str
    target: str
    check: Check
    sha256: str = ""
    checksum_url: str = ""
    follow: Callable[[bytes], tuple[Item, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How hard, how fast and from where downloads are tried.

    Attributes
    ----------
    attempts : int
        Requests for one file without progress before it is given up; one that brought a good part of it does not count.
    wait : float
        Seconds before the second attempt; doubled for each further one, at most `longest_wait`. A server's
        Retry-After is obeyed up to `longest_wait`.
    longest_wait : float
        Seconds.
    interval : float
        Least seconds between two requests.
    timeout : float
        Seconds of silence after which a connection is given up.
    slowest : float
        Bytes per second: a transfer slower than this over `timeout` seconds is given up and tried again.
    most_bytes : int
        Size beyond which a file is refused.
    mirror : str
        Base address, or folder, that holds `<host>/<path>` of each file; empty asks the venue itself.
    ca_file : str
        PEM file of further certificate authorities; some venues leave out an intermediate certificate.
    """

    attempts: int = 5
    wait: float = 1.0
    longest_wait: float = 60.0
    interval: float = 1.0
    timeout: float = 60.0
    slowest: float = 1024.0
    most_bytes: int = 16 << 30
    mirror: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1; was {self.attempts}")
        for name in ("wait", "longest_wait", "interval", "timeout", "slowest"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be finite and not negative; was {value}")
        if self.timeout <= 0.0:
            raise ValueError(f"timeout must be positive; was {self.timeout}")
        if self.most_bytes < 1:
            raise ValueError(f"most_bytes must be at least 1; was {self.most_bytes}")


CHUNK: Final = 1 << 18
"""Bytes read at once."""
