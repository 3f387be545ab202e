"""The staging folder of an ingest: what is finished and not committed, found again by the next one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_pipeline.ingestion.merge import Month, Spilled
from data_pipeline.ingestion.tasks import Drafted
from data_pipeline.manifest import Part
from data_pipeline.raw_file import sha256_of_file
from data_pipeline.tables.state import TablePart
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError
from data_pipeline.tasks.worker import Task

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Staging:
    """Folders of one ingest below `root`: finished tasks, spilled rows, parts under the path that they will have."""

    root: Path

    @property
    def ledger(self) -> Ledger:
        """Finished tasks."""
        return Ledger(self.root / "ledger")

    @property
    def work(self) -> Path:
        """What tasks keep for later tasks."""
        return self.root / "work"

    @property
    def parts(self) -> Path:
        """Parts, ready to be moved into the store."""
        return self.root / "parts"

    @property
    def unpacked(self) -> Path:
        """Files of zips that hold several."""
        return self.root / "unpacked"

    def is_of_this_boot(self) -> bool:
        """Whether what lies there was written since the machine started: spilled rows are not synced to the disk."""
        mark = self.root / "boot"
        return mark.is_file() and mark.read_text() == _boot()

    def begin(self) -> None:
        """Make the folders, and remove what a killed writer left in the ledger."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "boot").write_text(_boot())
        self.ledger.sweep()
        shutil.rmtree(self.unpacked, ignore_errors=True)

    def forget_lost(self, tasks: Iterable[Task], read: Callable[[bytes], Any]) -> None:
        """Drop finished tasks whose files are gone or changed (a stopped commit moved some): they are done again."""
        for task in tasks:
            with contextlib.suppress(KeyError, LedgerDamageError):  # nothing there, or damage that the executor tells
                if not self._is_whole(read(self.ledger.read(task.key))):
                    self.ledger.discard(task.key)

    def _is_whole(self, answer: Any) -> bool:
        if isinstance(answer, Spilled):
            return all((answer.folder / f"{month}.arrow").is_file() for month in answer.months)
        parts: list[Part | TablePart] = []
        if isinstance(answer, Month):
            parts = [part for part in (answer.partition.part, answer.partition.quarantine) if part is not None]
        elif isinstance(answer, Drafted):
            parts = [draft.part for draft in answer.drafts]
        paths = ((self.parts / part.path, part.sha256) for part in parts)
        return all(path.is_file() and sha256_of_file(path) == sha256 for path, sha256 in paths)


def _boot() -> str:
    """Something that changes when the machine starts anew; nothing where the system does not tell."""
    try:
        return _BOOT.read_text()
    except OSError:
        return ""
