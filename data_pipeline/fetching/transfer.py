"""One request's bytes into a partial file that a later request can go on from.

The partial file `.<name>.part` has a note beside it, `.<name>.part.json`, with the address and the server's validators
(RFC 9110, sections 8.8 and 13.1.5). A transfer is continued only under If-Range with a strong ETag or a Last-Modified
date, or when the hash of the whole is known; otherwise it starts again, because the file may have changed in between.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from data_pipeline.errors import DataError
from data_pipeline.fetching.items import CHUNK, Policy


class Clock(Protocol):
    """Time and waiting, so that tests need neither."""

    def now(self) -> float:
        """Seconds, never going back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class RetryableError(Exception):
    """An attempt that failed in a way that may pass; `wait` is what the server asked for, in seconds, or None."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        """Keep the reason and the wait."""
        super().__init__(reason)
        self.wait = wait


class AbsentError(Exception):
    """The server says that there is no such file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Validators of the file that now lies complete in the partial file; `unchanged` when the server said 304."""

    validators: dict[str, str]
    unchanged: bool = False


_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
Progress = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes of the whole file, if known."""


def partial_path(target: Path) -> Path:
    """Where the bytes of an unfinished download of `target` lie."""
    return target.with_name(f".{target.name}.part")


def discard_partial(target: Path) -> None:
    """Remove an unfinished download."""
    partial_path(target).unlink(missing_ok=True)
    _note_path(target).unlink(missing_ok=True)


def request_into(
    pool: Any,
    url: str,
    target: Path,
    policy: Policy,
    clock: Clock,
    progress: Progress,
    *,
    known_hash: bool,
    current: dict[str, str] | None = None,
) -> Answer:
    """Make one request and bring the partial file of `target` to its whole length.

    Parameters
    ----------
    pool : urllib3.PoolManager or compatible
    known_hash : bool
        Whether the hash of the whole is known, so that any continuation can be trusted or thrown away.
    current : dict, optional
        Validators of the file that is there already: the server may say that it is unchanged.

    Raises
    ------
    RetryableError, AbsentError
    DataError
        When the server refuses for good or the file is larger than allowed.
    """
    import urllib3

    part = partial_path(target)
    have, note = _resumable(target, url, known_hash)
    # identity: byte ranges and lengths then count the bytes of the file itself
    headers = {"Accept-Encoding": "identity", "User-Agent": "fairfield"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := _strong(note):
            headers["If-Range"] = validator
    elif current:
        headers |= _conditional(current)
    try:
        response = pool.request(
            "GET",
            url,
            headers=headers,
            preload_content=False,
            decode_content=False,
            retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
            timeout=urllib3.Timeout(policy.timeout),
        )
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(url, error) from error
    try:
        if response.status == 304 and current:
            return Answer(dict(current), unchanged=True)
        start = _start(response, url, have, policy)
        validators = {k: response.headers[k] for k in ("ETag", "Last-Modified") if k in response.headers}
        _note_path(target).write_text(json.dumps({"url": url, **validators}), encoding="utf-8")
        total = _total(response, start)
        if total is not None and total > policy.most_bytes:
            raise DataError(
                f"{url} has {total:,} bytes, more than the {policy.most_bytes:,} allowed: raise --most-bytes"
            )
        _room_for(part, total, start)
        with part.open("r+b" if start else "wb") as sink:
            sink.seek(start)
            sink.truncate()
            _pour(response, sink, start, total, url, policy, clock, progress)
        return Answer(validators)
    finally:
        response.release_conn()
        response.close()


def _pour(
    response: Any, sink: Any, start: int, total: int | None, url: str, policy: Policy, clock: Clock, progress: Progress
) -> None:
    import urllib3

    done, mark_bytes, mark_time = start, start, clock.now()
    progress(done, total)
    try:
        # read1 gives what has come: waiting for whole chunks would not see how slow a server is
        while chunk := response.read1(CHUNK, decode_content=False):
            sink.write(chunk)
            done += len(chunk)
            if done > policy.most_bytes:
                raise DataError(f"{url} has more than the {policy.most_bytes:,} bytes allowed: raise --most-bytes")
            progress(done, total)
            elapsed = clock.now() - mark_time
            if elapsed >= policy.timeout:
                if (done - mark_bytes) < policy.slowest * elapsed:
                    raise RetryableError(f"only {done - mark_bytes:,} bytes came in {elapsed:.0f} s")
                mark_bytes, mark_time = done, clock.now()
    except urllib3.exceptions.HTTPError as error:
        raise RetryableError(f"the connection broke after {done:,} bytes ({type(error).__name__})") from error
    if total is not None and done != total:
        raise RetryableError(f"{done:,} bytes came of {total:,}")


def _start(response: Any, url: str, have: int, policy: Policy) -> int:
    """Byte at which the answer begins, or the reason why there is no answer."""
    status = response.status
    if status == 200:
        return 0
    if status == 206 and have:
        told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told and int(told[1]) == have:
            return have
        raise RetryableError("the server continued at another byte than was asked for")
    if status == 416:
        raise RetryableError("the server cannot continue there")
    if status in (404, 410):
        raise AbsentError(f"{url}: the server says that there is no such file (status {status})")
    if status in (408, 425, 429) or status >= 500:
        raise RetryableError(f"the server answered with status {status}", _retry_after(response, policy))
    raise DataError(
        f"{url}: the server refuses (status {status} {response.reason or ''}): check the address, or open it in a "
        "browser"
    )


def _total(response: Any, start: int) -> int | None:
    told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if told and told[3] != "*":
        return int(told[3])
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _retry_after(response: Any, policy: Policy) -> float | None:
    told = response.headers.get("Retry-After", "")
    return min(float(told), policy.longest_wait) if told.isdigit() else None


def _room_for(part: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise DataError(f"{part.parent} has {free:,} bytes free and the file needs {total - start:,} more: free some")


def _resumable(target: Path, url: str, known_hash: bool) -> tuple[int, dict[str, str]]:
    """Bytes that can be built upon, and what the server said of the file they are of."""
    part, note_path = partial_path(target), _note_path(target)
    try:
        size, note = part.stat().st_size, json.loads(note_path.read_bytes())
    except (OSError, ValueError):
        return 0, {}
    usable = isinstance(note, dict) and note.get("url") == url and bool(known_hash or _strong(note))
    return (size, note) if usable else (0, {})


def _strong(note: dict[str, str]) -> str:
    """What If-Range may hold: a weak ETag does not promise equal bytes."""
    etag = note.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else note.get("Last-Modified", "")


def _conditional(validators: dict[str, str]) -> dict[str, str]:
    if etag := validators.get("ETag"):
        return {"If-None-Match": etag}
    since = validators.get("Last-Modified")
    return {"If-Modified-Since": since} if since else {}


def _note_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


def _unreachable(url: str, error: Exception) -> Exception:
    """A certificate that cannot be trusted will not be trusted a second later; anything else may pass."""
    import urllib3

    cause = getattr(error, "reason", error)
    if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return DataError(
            f"{url}: the server's certificate cannot be verified ({cause}): some venues leave out an intermediate "
            "certificate; download it and name it with --ca-file"
        )
    if isinstance(cause, urllib3.exceptions.ResponseError | urllib3.exceptions.MaxRetryError) and "redirect" in str(
        error
    ):
        return DataError(f"{url}: the server redirects without end: open it in a browser to see where it leads")
    return RetryableError(f"no connection ({type(cause).__name__})")
