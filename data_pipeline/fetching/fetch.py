"""Items into a folder: each one whole and checked, or not there; what is there already is never overwritten in silence.

item -> already there? -> request (again, and on) -> check -> hash -> name -> journal
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from data_pipeline.atomic import disk_errors, exclusive_lock, publish
from data_pipeline.errors import DataError
from data_pipeline.fetching.items import CHUNK, Item, Policy
from data_pipeline.fetching.journal import Fetched, append_journal, read_journal
from data_pipeline.fetching.transfer import (
    AbsentError,
    Clock,
    RetryableError,
    discard_partial,
    partial_path,
    read_note,
    request_into,
    write_note,
)
from data_pipeline.raw_file import sha256_of_file

_LOCK: Final = ".fetch.lock"
_MOST_ITEMS: Final = 100_000

Progress = Callable[[str, int, int | None], None]
"""Called with a target, the bytes of it there are, and its whole size, if known."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(slots=True)
class FetchReport:
    """What became of each item, by target: sentences for the terminal."""

    fetched: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every item is in the folder now."""
        return not (self.absent or self.refused)


def fetch(
    items: Iterable[Item],
    folder: Path,
    policy: Policy | None = None,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
    clock: Clock | None = None,
    retrieved_at: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FetchReport:
    """Download items into a folder and report what became of each; one that fails does not stop the others.

    Parameters
    ----------
    items : iterable of Item
    folder : path
        Made when there is none.
    policy : Policy, optional
    refresh : bool
        Ask the server again for what is there. A new version takes the name; the one before is kept beside it as
        `<name>.<first 8 digits of its SHA-256><suffix>`.
    progress : callable, optional
        See `Progress`.
    clock, retrieved_at
        Waiting, and the time written into the journal.

    Raises
    ------
    DataError
        When another fetch writes to the folder, its journal is damaged, the policy's mirror or certificates cannot be
        read, or the disk is full; what was complete stays, and what was not goes on from there the next time.
    """
    policy = policy or Policy()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / _LOCK):
            run = _Run(folder, policy, refresh, progress, clock or SystemClock(), retrieved_at)
            queue = deque(items)
            seen: set[str] = set()
            while queue:
                item = queue.popleft()
                if item.target in seen:
                    continue
                seen.add(item.target)
                if len(seen) > _MOST_ITEMS:
                    raise DataError(f"more than {_MOST_ITEMS:,} files were asked for: ask for less at once")
                queue.extend(run.one(item))
            return run.report


class _Run:
    """One call of `fetch`."""

    def __init__(
        self,
        folder: Path,
        policy: Policy,
        refresh: bool,
        progress: Progress | None,
        clock: Clock,
        retrieved_at: Callable[[], datetime],
    ) -> None:
        self.folder, self.policy, self.refresh, self.clock = folder, policy, refresh, clock
        self.progress, self.retrieved_at = progress, retrieved_at
        self.report = FetchReport()
        self.journal = read_journal(folder)
        self.pool = _make_pool(policy)
        self.last_request: float | None = None

    def one(self, item: Item) -> tuple[Item, ...]:
        """Bring one item into the folder; the items that it leads to."""
        target = _inside(self.folder, item.target)
        try:
            self._complete_journal(item, target)
            if target.exists() and not self.refresh:
                self.report.kept[item.target] = self._about_kept(item, target)
            else:
                self._download(item, target)
        except AbsentError as absent:
            self.report.absent[item.target] = str(absent)
        except DataError as refusal:
            self.report.refused[item.target] = str(refusal)
        if item.follow is None or not target.exists():
            return ()
        try:
            return item.follow(target.read_bytes())
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self.report.refused[f"what {item.target} leads to"] = (
                f"{target} does not say what to fetch next ({type(error).__name__}: {error}): move it away and fetch "
                "it again"
            )
            return ()

    def _about_kept(self, item: Item, target: Path) -> str:
        sha256 = sha256_of_file(target)
        known = self.journal.get(item.target)
        if item.sha256 and sha256 != item.sha256:
            raise DataError(f"{target} is there with another hash than the one published: move it away, or --refresh")
        if known is None:
            return f"{item.target} is there already, from elsewhere: the journal does not know it"
        if known.sha256 != sha256:
            raise DataError(f"{target} changed since it was fetched: move it away, or --refresh to fetch it again")
        return f"{item.target} is there already, fetched {known.retrieved_at}"

    def _complete_journal(self, item: Item, target: Path) -> None:
        """Add the entry of a file that took its name just before its fetch was killed."""
        entry = read_note(target).get("finished")
        if not entry or partial_path(target).exists() or not target.exists():
            return
        fetched = Fetched(**entry)
        if sha256_of_file(target) == fetched.sha256 and self.journal.get(item.target) != fetched:
            self._enter(fetched)
        discard_partial(target)

    def _enter(self, entry: Fetched) -> None:
        append_journal(self.folder, entry)
        self.journal[entry.target] = entry

    def _download(self, item: Item, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        expected = item.sha256 or self._published_hash(item)
        current = self.journal.get(item.target) if target.exists() else None
        answer = self._bytes_of(item.url, item.target, target, bool(expected), item.check, expected, current)
        if answer is None:
            self.report.kept[item.target] = f"{item.target} is unchanged at its source"
            return
        part = partial_path(target)
        sha256 = sha256_of_file(part)
        if target.exists():
            before = sha256_of_file(target)
            if before == sha256:
                discard_partial(target)
                self.report.kept[item.target] = f"{item.target} is unchanged at its source"
                return
            aside = target.with_name(f"{target.stem}.{before[:8]}{target.suffix}")
            target.rename(aside)
            words = f"{item.target} has a new version; the one before is kept as {aside.name}"
        else:
            words = f"{item.target}: {part.stat().st_size:,} bytes"
        entry = Fetched(
            target=item.target,
            url=item.url,
            mirror=self.policy.mirror,
            sha256=sha256,
            size=part.stat().st_size,
            retrieved_at=self.retrieved_at().isoformat(timespec="seconds"),
            validators=answer,
            checksum="verified" if expected else "not published",
        )
        write_note(target, {"finished": asdict(entry)})  # outlives a kill between the two steps
        publish(part, target)
        self._enter(entry)
        discard_partial(target)
        self.report.fetched[item.target] = words

    def _published_hash(self, item: Item) -> str:
        if not item.checksum_url:
            return ""
        side = _inside(self.folder, f"{item.target}.CHECKSUM")
        try:
            self._bytes_of(item.checksum_url, item.target, side, False, _is_checksum, "", None)
        except AbsentError:
            return ""
        with partial_path(side).open("rb") as stream:
            digits = stream.read(64).decode("ascii").lower()
        discard_partial(side)
        return digits

    def _bytes_of(
        self,
        url: str,
        name: str,
        target: Path,
        known_hash: bool,
        check: Callable[[Path], str | None],
        expected: str,
        current: Fetched | None,
    ) -> dict[str, str] | None:
        """The whole, checked bytes in the partial file of `target`; the server's validators, None when unchanged."""
        address, reasons, wait = _address(url, self.policy.mirror), list[str](), self.policy.wait
        part = partial_path(target)
        failures = 0
        while failures < self.policy.attempts:
            before = part.stat().st_size if part.exists() else 0
            try:
                self._keep_interval()
                answer = request_into(
                    self.pool,
                    address,
                    target,
                    self.policy,
                    self.clock,
                    lambda done, total: self.progress(name, done, total) if self.progress else None,
                    known_hash=known_hash,
                    current=dict(current.validators) if current else None,
                )
                if answer.unchanged:
                    return None
                reason = check(part) or _hash_reason(part, expected)
                if reason is None:
                    return answer.validators
                discard_partial(target)
                raise RetryableError(f"the answer {reason}")
            except RetryableError as error:
                reasons.append(str(error))
                after = part.stat().st_size if part.exists() else 0
                if after - before >= CHUNK:
                    continue  # it came a good way further: the next request goes on from there
                if error.afresh:
                    discard_partial(target)
                failures += 1
                if failures < self.policy.attempts:
                    self.clock.sleep(error.wait if error.wait is not None else wait)
                    wait = min(2.0 * wait, self.policy.longest_wait)
        raise DataError(
            f"{url}: given up after {self.policy.attempts} attempts without progress; the last one: {reasons[-1]}. "
            "Run the same command later: what came so far is kept and continued"
        )

    def _keep_interval(self) -> None:
        if self.last_request is not None and not _is_folder(self.policy.mirror):
            left = self.last_request + self.policy.interval - self.clock.now()
            if left > 0.0:
                self.clock.sleep(left)
        self.last_request = self.clock.now()


def _make_pool(policy: Policy) -> Any:
    if _is_folder(policy.mirror):
        from data_pipeline.fetching.folder_mirror import FolderPool

        return FolderPool(Path(policy.mirror))
    from data_pipeline.fetching.network import Network

    return Network(policy.ca_file)


def _is_folder(mirror: str) -> bool:
    return bool(mirror) and "://" not in mirror


def _address(url: str, mirror: str) -> str:
    """The address to ask: the venue's, or the same host and path below the mirror."""
    if not mirror:
        return url
    parts = urlsplit(url)
    below = f"{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    return f"{mirror.rstrip('/')}/{below}" if "://" in mirror else below


def _inside(folder: Path, target: str) -> Path:
    # by its words: a folder of files may lie on another disk behind a link
    path = PurePosixPath(target)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"target must lie below the download folder; was {target!r}")
    return folder / path


def _hash_reason(part: Path, expected: str) -> str | None:
    if not expected:
        return None
    sha256 = sha256_of_file(part)
    return None if sha256 == expected.lower() else f"has the SHA-256 {sha256[:16]}..., published is {expected[:16]}..."


def _is_checksum(path: Path) -> str | None:
    with path.open("rb") as stream:
        digits = stream.read(64)
    sound = len(digits) == 64 and all(d in b"0123456789abcdefABCDEF" for d in digits)
    return None if sound else "holds no SHA-256"
