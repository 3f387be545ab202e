"""One request's bytes into a partial file that a later request can go on from.

The partial file `.<name>.part` has a note beside it, `.<name>.part.json`, with the address and the server's validators
(RFC 9110, sections 8.8 and 13.1.5). A transfer is continued only under If-Range with a strong ETag or a Last-Modified
date, or when the hash of the whole is known; otherwise it starts again, because the file may have changed in between.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

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
    """An attempt that failed in a way that may pass.

    `wait` is what the server asked for, in seconds, or None; `afresh` says that what came so far is of no use.
    """

    def __init__(self, reason: str, wait: float | None = None, *, afresh: bool = False) -> None:
        """Keep the reason and what it asks for."""
        super().__init__(reason)
        self.wait, self.afresh = wait, afresh


class AbsentError(Exception):
    """The server says that there is no such file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Validators of the file that now lies complete in the partial file; `unchanged` when the server said 304."""

    validators: dict[str, str]
    unchanged: bool = False


_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_VALIDATORS: Final = ("ETag", "Last-Modified")
_MOST_REDIRECTS: Final = 5
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
    response = _request(pool, url, headers, policy)
    try:
        if response.status == 304 and current:
            return Answer(dict(current), unchanged=True)
        start = _start(response, url, have, note, policy)
        _refuse_packed(response, url)
        total = _total(response, start)
        if total is not None and total > policy.most_bytes:
            discard_partial(target)
            raise _too_large(url, policy)
        validators = {name: response.headers[name] for name in _VALIDATORS if name in response.headers}
        with part.open("r+b" if start else "wb") as sink:
            # the note tells of the bytes that lie in the file: these go before it changes
            write_note(target, {"url": url, **(validators if start == 0 else note | validators)})
            _room_for(part, total, start)
            sink.seek(start)
            sink.truncate()
            try:
                _pour(response, sink, start, total, url, policy, clock, progress)
            except DataError:
                discard_partial(target)
                raise
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
                raise _too_large(url, policy)
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


def _request(pool: Any, url: str, headers: dict[str, str], policy: Policy) -> Any:
    """The answer of the server that the address leads to in the end, not read yet."""
    import urllib3

    asked = url
    for _ in range(1 + _MOST_REDIRECTS):
        try:
            response = pool.request(
                "GET",
                asked,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(policy.timeout),
            )
        except urllib3.exceptions.LocationValueError as error:
            raise DataError(f"{asked} is no address that can be asked ({error})") from error
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(asked, error) from error
        leads_to = response.headers.get("Location") if response.status in (301, 302, 303, 307, 308) else None
        if not leads_to:
            return response
        response.release_conn()
        response.close()
        before, asked = asked, urljoin(asked, leads_to)
        if not asked.startswith("https://") and not (asked.startswith("http://") and before.startswith("http://")):
            raise DataError(f"{url}: the server leads on to {asked}, which nothing protects: it was not asked")
    raise DataError(f"{url}: the server redirects without end: open it in a browser to see where it leads")


def _too_large(url: str, policy: Policy) -> DataError:
    return DataError(f"{url} has more than the {policy.most_bytes:,} bytes allowed: it is not what it seems")


def _refuse_packed(response: Any, url: str) -> None:
    """A server that packs what was asked for as it is: the lengths and ranges it tells are of other bytes."""
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    # some servers call the packing of the file itself one of the transfer
    if packing not in ("", "identity") and not urlsplit(url).path.lower().endswith((".gz", ".tgz", ".zip")):
        raise RetryableError(f"the server packed the file ({packing}) though it was asked not to", afresh=True)


def _start(response: Any, url: str, have: int, note: dict[str, str], policy: Policy) -> int:
    """Byte at which the answer begins, or the reason why there is no answer."""
    status = response.status
    if status == 200:
        return 0
    if status == 206 and have:
        told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not told or int(told[1]) != have:
            raise RetryableError("the server continued at another byte than was asked for", afresh=True)
        if any(response.headers.get(name, note.get(name)) != note.get(name) for name in _VALIDATORS if name in note):
            raise RetryableError("the server continued with another version of the file", afresh=True)
        return have
    if status == 416:
        raise RetryableError("the server cannot continue there", afresh=True)
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
    part, note = partial_path(target), read_note(target)
    usable = part.is_file() and note.get("url") == url and bool(known_hash or _strong(note))
    return (part.stat().st_size, note) if usable else (0, {})


def _strong(note: dict[str, str]) -> str:
    """What If-Range may hold: a weak ETag does not promise equal bytes."""
    etag = note.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else note.get("Last-Modified", "")


def _conditional(validators: dict[str, str]) -> dict[str, str]:
    if etag := validators.get("ETag"):
        return {"If-None-Match": etag}
    since = validators.get("Last-Modified")
    return {"If-Modified-Since": since} if since else {}


def write_note(target: Path, note: Mapping[str, Any]) -> None:
    """Say what the unfinished download of `target` is of."""
    _note_path(target).write_text(json.dumps(note), encoding="utf-8")


def read_note(target: Path) -> dict[str, Any]:
    """What is known of the unfinished download of `target`; empty when nothing is."""
    try:
        note = json.loads(_note_path(target).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _note_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


def _unreachable(url: str, error: Exception) -> Exception:
    """A certificate that cannot be trusted will not be trusted a second later; anything else may pass."""
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" not in said:
        return RetryableError(f"no connection ({type(error).__name__}: {said.rpartition(': ')[2][:120]})")
    why = re.sub(r".*verify failed: |\(_ssl\.c.*", "", said, flags=re.DOTALL).strip(" '\")")
    advice = (
        "; some venues leave out an intermediate certificate: download it, or that of the authority, and name the PEM "
        "file with --ca-file"
        if "unable to get" in why or "self-signed" in why or "self signed" in why
        else ": see the address in a browser"
    )
    return DataError(f"{url}: the server's certificate cannot be verified ({why}){advice}")
