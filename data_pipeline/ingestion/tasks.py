"""The work of an ingest as functions of picklable arguments, run wherever an executor runs them.

    spill_file    a COTAHIST file -> its rows by month in the staging folder
    merge_one     a month's spilled rows and what the store has of it -> its parts in the staging folder
    draft_set     a feed's files -> parts of the store's tables in the staging folder

Each returns JSON: what it wrote, or why the file is refused. A task that is done twice writes the same bytes under the
same names, or into a folder of its own that nobody names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from data_pipeline.disk import canonical_json
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, Tally
from data_pipeline.feeds.registry import feed_named
from data_pipeline.ingestion.files import FeedFiles
from data_pipeline.ingestion.merge import Held, Month, SessionChange, Spilled, merge_month, spill
from data_pipeline.manifest import Part, Partition, SessionEntry
from data_pipeline.tables.files import open_files
from data_pipeline.tables.parts import DraftPart, draft_parts
from data_pipeline.tables.state import TablePart
from data_pipeline.tasks.ledger import task_key
from data_pipeline.tasks.worker import Task, tell_amount


@dataclass(frozen=True, slots=True)
class SpillWork:
    """Argument of `spill_file`."""

    path: Path
    generated: str
    sha256: str
    work: Path


@dataclass(frozen=True, slots=True)
class MergeWork:
    """Argument of `merge_one`; `place` is the store's folder or URL."""

    place: str
    month: str
    held: Held | None
    spilled: tuple[Spilled, ...]
    work: Path
    parts: Path


@dataclass(frozen=True, slots=True)
class DraftWork:
    """Argument of `draft_set`."""

    files: FeedFiles
    parts: Path


@dataclass(frozen=True, slots=True)
class Drafted:
    """What a feed's files gave; `asked` are the options that the reader looked for."""

    drafts: tuple[DraftPart, ...]
    rows: int
    rule_counts: Mapping[str, int]
    notes: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file cannot be used."""

    reason: str


def spill_task(work: SpillWork) -> Task:
    """The task of reading one COTAHIST file."""
    described = {"task": "spill", "file": work.path.name, "sha256": work.sha256, "code": code_hash()}
    return Task(task_key(described), work.path.name, spill_file, work, described)


def merge_task(work: MergeWork) -> Task:
    """The task of merging one month."""
    described = {
        "task": "merge",
        "month": work.month,
        "held": None if work.held is None else dataclasses.asdict(work.held),
        "spilled": [[source.sha256, source.file] for source in work.spilled],
        "code": code_hash(),
    }
    return Task(task_key(described), f"merging {work.month}", merge_one, work, described)


def draft_task(work: DraftWork) -> Task:
    """The task of reading one feed's files."""
    files = work.files
    described = {
        "task": "draft",
        "feed": files.feed,
        "files": [path.name for path in files.paths],
        "identity": files.identity,
        "options": dict(files.options),
        "code": code_hash(),
    }
    return Task(task_key(described), files.name, draft_set, work, described)


def spill_file(work: SpillWork) -> bytes:
    """JSON of a `Spilled`."""
    # a folder of its own: who does the task again must not meet what a dead worker left
    folder = work.work / f"{work.sha256}-{secrets.token_hex(4)}"
    return _answer(lambda: spill(work.path, work.generated, work.sha256, folder, tell_amount))


def read_spilled(payload: bytes) -> Spilled | Refused:
    """What `spill_file` said."""
    record = json.loads(payload)
    if "refused" in record:
        return Refused(record["refused"])
    lists = {name: tuple(record[name]) for name in ("months", "sessions")}
    return Spilled(**{**record, **lists, "folder": Path(record["folder"])})


def merge_one(work: MergeWork) -> bytes:
    """JSON of a `Month`; its parts are below `work.parts`."""
    return _answer(lambda: _merge(work))


def _merge(work: MergeWork) -> Month:
    own = work.work / f"{work.month}-{secrets.token_hex(4)}"
    month = merge_month(open_files(work.place), own, work.held, work.month, work.spilled)
    for part in (month.partition.part, month.partition.quarantine):
        if part is not None:
            target = work.parts / part.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(own / part.path, target)  # noqa: PTH105 - the call that fault-injection tests intercept
    return month


def read_month(payload: bytes) -> Month | Refused:
    """What `merge_one` said."""
    record = json.loads(payload)
    if "refused" in record:
        return Refused(record["refused"])
    found = record["partition"]
    partition = Partition(
        found["month"],
        Part(**found["part"]),
        None if found["quarantine"] is None else Part(**found["quarantine"]),
        {day: SessionEntry(**entry) for day, entry in found["sessions"].items()},
    )
    changes = tuple(
        SessionChange(**{**change, "vanished_market_types": tuple(change["vanished_market_types"])})
        for change in record["changes"]
    )
    return Month(partition, changes, record["quarantined"])


def draft_set(work: DraftWork) -> bytes:
    """JSON of a `Drafted`; its parts are below `work.parts`."""
    return _answer(lambda: _draft(work))


def read_drafted(payload: bytes) -> Drafted | Refused:
    """What `draft_set` said."""
    record = json.loads(payload)
    if "refused" in record:
        return Refused(record["refused"])
    drafts = tuple(_draft_part(**draft) for draft in record["drafts"])
    return Drafted(drafts, record["rows"], record["rule_counts"], tuple(record["notes"]), tuple(record["asked"]))


def _draft_part(part: list[Any], staging: str, **place: Any) -> DraftPart:
    *values, sources = part
    return DraftPart(**place, part=TablePart._make((*values, tuple(sources))), staging=Path(staging))


def rows_of(payload: bytes) -> int:
    """Rows that a task read or merged, by what it said; 0 when it refused its file."""
    record = json.loads(payload)
    rows: int = record["partition"]["part"]["rows"] if "partition" in record else record.get("rows", 0)
    return rows


def _draft(work: DraftWork) -> Drafted:
    files, tally = work.files, Tally()
    options = _Options(files.options)
    batches = _told(feed_named(files.feed).read(files.paths, tally, options))
    try:
        drafts = draft_parts(batches, work.parts, files.identity)
    except ValueError as error:
        # what a reader says of a value ("events must be one of ..."), but not what a fault in it says
        if str(error).partition(" ")[0] not in options.asked:
            raise
        raise DataError(f"{files.name}: option {error}") from error
    if not drafts and not tally.rows:
        raise DataError(f"{files.name} holds no record: the day had no session, or the file was cut")
    return Drafted(drafts, tally.rows, tally.counts, tuple(tally.notes), tuple(sorted(options.asked)))


def _told(batches: Iterator[Batch]) -> Iterator[Batch]:
    rows = 0
    for batch in batches:
        rows += batch.rows.num_rows
        tell_amount(rows)
        yield batch


class _Options(Mapping[str, str]):
    """The options, and which of them a reader asked for: one that nobody asks for is misspelt."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


_FAULT: Final = "this is a fault of the program: please report it, with the file if you can"


def _answer(work: Callable[[], Any]) -> bytes:
    """JSON of what `work` gives, or of the reason why the file is refused."""
    try:
        return _json(work())
    except DataError as error:
        return canonical_json({"refused": str(error)})
    except OSError:
        raise  # a full disk is not the file's fault
    except Exception as error:  # noqa: BLE001  a fault in one reader must not keep the other files out
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return canonical_json({"refused": f"{words}; {_FAULT}"})


def _json(value: Any) -> bytes:
    return json.dumps(value, default=_plain, sort_keys=True).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"value must be made of JSON types, paths and dataclasses; was {type(value).__name__}")


@lru_cache(maxsize=1)
def code_hash() -> str:
    """SHA-256 of this package's code: what another version of it has left half-done is not taken up."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} ".encode() + path.read_bytes())
    return digest.hexdigest()
