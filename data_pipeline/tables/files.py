"""Where a store's files lie: a folder of this machine, or any file system that fsspec can reach by URL.

What the store asks of either is little: whole files that appear at once, reading at random places, a list, a lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from data_pipeline.atomic import atomic_path, exclusive_lock, make_folder, publish, write_atomically
from data_pipeline.errors import DataError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LOCK: Final = ".lock"
_FOLDER_SCHEMES: Final = ("file://", "local://")
"""URLs of folders of this machine: a folder has one kind of lock and one way to write, however it is named."""

Place = Path | str
"""A folder, or a URL such as s3://bucket/store."""


class StoreFiles(Protocol):
    """The files of one store, named by their path below it ("trades/venue=B3/date=2023-01-05/part-....parquet")."""

    @property
    def name(self) -> str:
        """What messages call the store: its folder or its URL."""
        ...

    def exists(self, path: str) -> bool:
        """Whether that file is there."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The content of a file.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        """
        ...

    def open_input(self, path: str) -> pa.NativeFile:
        """The file, open for reading at any place; FileNotFoundError when it is not there."""
        ...

    def arrow(self) -> tuple[FileSystem, str]:
        """An Arrow file system and the store's path in it, for scanners that open files themselves."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Write a file so that a reader, or a crash, sees the old one or the new one, never a part."""
        ...

    def put_file(self, path: str, source: Path) -> None:
        """Move the finished file `source` of this machine to its place, all at once."""
        ...

    def list(self, folder: str = "") -> list[str]:
        """Paths of every file at or below `folder`, in order."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file, and folders that it leaves empty; nothing happens when it is not there."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold the store for writing.

        Raises
        ------
        DataError
            When another process holds it.
        """
        ...

    def holder(self) -> str | None:
        """Who left a lock that does not end with its process ("process 12 on desk since ..."), if anybody did."""
        ...


def open_files(place: Place | StoreFiles) -> StoreFiles:
    """The files at a folder, a `file://` or `local://` URL of one, or any other URL that fsspec knows.

    Raises
    ------
    DataError
        When fsspec knows no such URL, or the package that serves it is not installed.
    """
    if not isinstance(place, str | Path):
        return place
    text = str(place)
    for scheme in _FOLDER_SCHEMES:
        if text.startswith(scheme):
            return LocalFiles(Path(text.removeprefix(scheme)))
    if "://" not in text or isinstance(place, Path):
        return LocalFiles(Path(place))
    import fsspec  # type: ignore[import-untyped]

    try:
        system, root = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise DataError(f"cannot open {text}: {error}") from error
    return RemoteFiles(text, system, root.rstrip("/"))


class LocalFiles:
    """Files below a folder of this machine; what is put is on disk when the call returns."""

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        """Files below `root`, which need not be there yet."""
        self.root: Final = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def exists(self, path: str) -> bool:
        """See `StoreFiles`."""
        return (self.root / path).is_file()

    def read_bytes(self, path: str) -> bytes:
        """See `StoreFiles`."""
        return (self.root / path).read_bytes()

    def open_input(self, path: str) -> pa.NativeFile:
        """See `StoreFiles`."""
        return pa.OSFile(os.fspath(self.root / path), "rb")

    def arrow(self) -> tuple[FileSystem, str]:
        """See `StoreFiles`."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), os.fspath(self.root.resolve())

    def put(self, path: str, content: bytes) -> None:
        """See `StoreFiles`."""
        target = self.root / path
        make_folder(target.parent)
        write_atomically(target, content)

    def put_file(self, path: str, source: Path) -> None:
        """See `StoreFiles`."""
        target = self.root / path
        make_folder(target.parent)
        try:
            publish(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # a staging folder on another disk: copied beside its place first, then renamed
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)

    def list(self, folder: str = "") -> list[str]:
        """See `StoreFiles`."""
        found = (self.root / folder).rglob("*")
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())

    def remove(self, path: str) -> None:
        """See `StoreFiles`."""
        target = self.root / path
        target.unlink(missing_ok=True)
        for folder in target.parents:
            if folder == self.root:
                return
            try:
                folder.rmdir()
            except OSError:
                return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `StoreFiles`; the system frees the lock when the process ends, however it ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(self.root / LOCK):
            yield

    def holder(self) -> None:
        """See `StoreFiles`: nothing is left of a process that has ended."""


class RemoteFiles:
    """Files below a URL, through fsspec.

    An object store shows a file when all of it has arrived, so a put is atomic there. The lock is an object created
    only if it is not there (where the file system can do that in one step), and read back; unlike a local lock it
    outlives a killed process, and is then removed by `fairfield store unlock` alone. The manifest's generation is
    compared besides.
    """

    __slots__ = ("_name", "_root", "_system")

    def __init__(self, name: str, system: Any, root: str) -> None:
        """Files below the path `root` of an fsspec file system; `name` is what messages call it."""
        self._name, self._system, self._root = name, system, root

    @property
    def name(self) -> str:
        """The URL."""
        return self._name

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def exists(self, path: str) -> bool:
        """See `StoreFiles`."""
        return bool(self._system.isfile(self._at(path)))

    def read_bytes(self, path: str) -> bytes:
        """See `StoreFiles`."""
        content: bytes = self._system.cat_file(self._at(path))
        return content

    def open_input(self, path: str) -> pa.NativeFile:
        """See `StoreFiles`."""
        return self.arrow()[0].open_input_file(self._at(path))

    def arrow(self) -> tuple[FileSystem, str]:
        """See `StoreFiles`."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return PyFileSystem(FSSpecHandler(self._system)), self._root

    def put(self, path: str, content: bytes) -> None:
        """See `StoreFiles`."""
        self._make_folder(path)
        self._system.pipe_file(self._at(path), content)

    def put_file(self, path: str, source: Path) -> None:
        """See `StoreFiles`."""
        self._make_folder(path)
        self._system.put_file(os.fspath(source), self._at(path))
        source.unlink()

    def _make_folder(self, path: str) -> None:
        self._system.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)

    def list(self, folder: str = "") -> list[str]:
        """See `StoreFiles`."""
        self._system.invalidate_cache()
        prefix = self._at("") + "/"
        return sorted(path.removeprefix(prefix) for path in self._system.find(self._at(folder)) if path != prefix)

    def remove(self, path: str) -> None:
        """See `StoreFiles`."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._at(path))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `StoreFiles`."""
        self._make_folder(LOCK)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        owner = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        own = f"{owner}\n{secrets.token_hex(8)}".encode()
        if self._content_of_lock() == b"":
            # a folder's lock file, copied here with the folder: nobody's
            self.remove(LOCK)
        with contextlib.suppress(FileExistsError):
            self._system.pipe_file(self._at(LOCK), own, mode="create")
        # read back: where the file system cannot create in one step, two writers may both have put theirs
        holder = self.holder()
        if self._content_of_lock() != own:
            raise DataError(
                f"{self.name} is being written by {holder or 'another command'}: wait until it has ended; "
                f"if it was killed, run `fairfield store unlock --store {self.name}`"
            )
        try:
            yield
        finally:
            # after an unlock by hand it may be another's
            if self._content_of_lock() == own:
                self.remove(LOCK)

    def _content_of_lock(self) -> bytes | None:
        self._system.invalidate_cache()
        try:
            return self.read_bytes(LOCK)
        except FileNotFoundError:
            return None

    def holder(self) -> str | None:
        """See `StoreFiles`."""
        content = self._content_of_lock()
        return None if not content else content.decode(errors="replace").partition("\n")[0]
