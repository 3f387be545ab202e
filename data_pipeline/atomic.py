"""Files that are there whole or not at all, a lock that dies with its process, and disk errors in words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.errors import DataError

_REASONS = {
    errno.ENOSPC: "no space left on the disk: free some and run the command again",
    errno.EDQUOT: "the disk quota is used up: free some and run the command again",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder or change its owner",
    errno.EPERM: "no permission to write there: choose another folder or change its owner",
    errno.EIO: "the disk reports an error: check it",
    errno.EFBIG: "the file would pass the size that the system allows: raise the limit or choose another disk",
}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary path beside `path`; what the block writes there becomes `path`, on disk, when the block succeeds.

    Whatever ends the block early (an error, Ctrl-C) removes the temporary file and leaves `path` as it was.
    """
    # a process number alone may be another machine's too, where machines share the folder
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def publish(temporary: Path, path: Path) -> None:
    """Move a finished file to its name; both its bytes and its name are on disk when this returns."""
    _sync(temporary)
    os.replace(temporary, path)  # noqa: PTH105 - the call that fault-injection tests intercept
    _sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are not there; their names too are on disk when this returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it when the process ends, however it ends.

    Raises
    ------
    DataError
        When another process holds it.
    """
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{path.parent} is being written by another command: wait until it has ended") from error
        yield


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn what the operating system says about a full, read-only or broken disk into a DataError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise DataError(f"cannot write to {path}: {reason} (what was stored before is unharmed)") from error
