"""The register of trials: every parameter set that anything here has tried, on which data, once.

    register.record("my run", trials) -> name of the record      before anything of it is computed
    register.count(record) -> TrialCount                         what deflates the Sharpe ratios of that study

How many strategies were tried decides what the best of them is worth, and nobody remembers the number. So each study
(run, sweep, screening) writes down what it is about to try before it tries it: an interrupted study has been seen too.
A record is one file, named by the SHA-256 of its content and written whole: several writers on one folder cannot
disturb each other, a repeated study writes the file that is there, and nothing is ever changed or removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipeline.disk import canonical_json, plain_json, sha256_hex, write_atomic
from data_pipeline.errors import DataError

if TYPE_CHECKING:
    from backtests.walk.result import Run

REGISTER_FOLDER = ".trials"
"""Folder, inside the output folder and beside the ledger, of the register."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TrialWindow:
    """The data that a trial was judged on.

    Attributes
    ----------
    digest : str
        Hash of what the rows hold: the identity of the data.
    first, last : str
        First and last session that the study reads or shows for this trial (YYYY-MM-DD), and ...
    instruments : tuple of str
        ... their instruments: they tell which trials saw some of the same data, and are no part of the identity.
    """

    digest: str
    first: str
    last: str
    instruments: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that the sessions are days in order and that there is an instrument."""
        if not self.digest:
            raise ValueError("digest of a trial's window must be the hash of its data; was empty")
        for name in ("first", "last"):
            text = getattr(self, name)
            try:
                plain = date.fromisoformat(text).isoformat() == text
            except (TypeError, ValueError):
                plain = False
            if not plain:
                raise ValueError(f"{name} of a trial's window must be a day written YYYY-MM-DD; was {text!r}")
        if self.first > self.last:
            raise ValueError(f"first of a trial's window must not be after last; were {self.first} and {self.last}")
        if not self.instruments:
            raise ValueError("instruments of a trial's window must be at least one; was empty")


@dataclass(frozen=True, slots=True)
class Trial:
    """One strategy on one window: what could have been shown instead of what is shown.

    Attributes
    ----------
    kind : str
        Of the pod, "module.Class".
    parameters : mapping
        The parameter set, in JSON types; of a pod from outside the project also its source's hash.
    window : TrialWindow
    conditions : mapping
        What else was set for it and changes its result: execution, fill model, costs, limits.
    """

    kind: str
    parameters: Mapping[str, Any]
    window: TrialWindow
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 of kind, parameters, conditions and data: the same trial has the same key wherever it is repeated."""
        return _key(self.kind, self.parameters, self.conditions, self.window.digest)


@dataclass(frozen=True, slots=True)
class TrialCount:
    """How many distinct trials there were when a study began.

    Attributes
    ----------
    of_study : int
        Of the study itself.
    of_data : int
        Of all studies in the register whose window shares a session and an instrument with the study's: the number
        that enters the deflated Sharpe ratio, the minimum backtest length and the haircut.
    recorded : int
        In the whole register.
    record : str
        Name of the study's own record.
    state : str
        SHA-256 of the keys of all recorded trials: equal states count equally.
    """

    of_study: int
    of_data: int
    recorded: int
    record: str
    state: str

    @property
    def earlier(self) -> int:
        """Trials on this data of other studies; 0 means that the register counts from this study on."""
        return self.of_data - self.of_study


@dataclass(frozen=True, slots=True)
class Register:
    """The register in a folder, which is made at the first record."""

    folder: Path

    def record(self, study: str, trials: Iterable[Trial]) -> str:
        """Write down the trials of a study; the name of the record. The same trials again change nothing.

        Raises
        ------
        ValueError
            When there is no trial.
        OSError
            When the disk is full or not writable; nothing is left half-written.
        """
        by_key = {trial.key: trial for trial in trials}
        if not by_key:
            raise ValueError(f"trials of study {study!r} must be at least one; was empty")
        windows = {trial.window.digest: trial.window for trial in by_key.values()}
        content = canonical_json(
            {
                "format": _FORMAT,
                "study": study,
                "windows": {digest: plain_json(windows[digest]) for digest in windows},
                "trials": [
                    {
                        "kind": by_key[key].kind,
                        "parameters": by_key[key].parameters,
                        "conditions": by_key[key].conditions,
                        "window": by_key[key].window.digest,
                    }
                    for key in sorted(by_key)
                ],
            }
        )
        name = sha256_hex(content)
        if not self.holds(name):
            write_atomic(self._path(name), content)
        return name

    def holds(self, record: str) -> bool:
        """Whether a record is in the register."""
        return self._path(record).is_file()

    def count(self, record: str, *more: str) -> TrialCount:
        """The trials of the study that wrote `record`, and of all studies on the same data.

        Several records are taken for one study: what whoever lays runs side by side chose from.

        Raises
        ------
        DataError
            When a record is not there, or one of the register is not what was written.
        """
        records = (record, *more)
        for name in records:
            if not self.holds(name):
                raise DataError(f"{self._path(name)}: missing from the register of trials: run the same command again")
        spans: dict[str, list[TrialWindow]] = {}
        mine: set[str] = set()
        for path in sorted(self.folder.glob("*.json")):
            found = _read(path)
            for key, window in found:
                spans.setdefault(key, []).append(window)
            if path.stem in records:
                mine |= {key for key, _ in found}
        scope = [window for key in mine for window in spans[key]]
        first, last = min(window.first for window in scope), max(window.last for window in scope)
        instruments = {name for names in {window.instruments for window in scope} for name in names}
        related = {
            names for names in {w.instruments for each in spans.values() for w in each} if instruments & {*names}
        }
        of_data = sum(
            any(w.first <= last and first <= w.last and w.instruments in related for w in windows)
            for windows in spans.values()
        )
        state = sha256_hex("\n".join(sorted(spans)).encode())
        return TrialCount(len(mine), of_data, len(spans), record, state)

    def _path(self, record: str) -> Path:
        return self.folder / f"{record}.json"


def unregistered_runs(out_folder: Path, register: Register) -> tuple[str, ...]:
    """Names of the run folders in `out_folder` whose trials are not in the register: it is younger than they are.

    A run says under `provenance.trials.record` where its trials are written down. One that does not (made before
    there was a register), or whose record is gone, has been looked at and is not counted.
    """
    names = []
    for path in sorted(Path(out_folder).glob("*/run.json")):
        try:
            record = json.loads(path.read_bytes())["provenance"]["trials"]["record"]
        except (OSError, ValueError, KeyError, TypeError):
            record = None
        if not isinstance(record, str) or not register.holds(record):
            names.append(path.parent.name)
    return tuple(names)


def trials_of_runs(runs: Iterable[Run]) -> int:
    """Trials from which the pods of several runs were chosen, each counted once.

    Runs whose register lies beside them are counted in it together. Others count by what they say themselves, which
    may count a trial that two of them share twice.
    """
    registered: dict[Path, list[str]] = {}
    total = 0
    for run in runs:
        record = (run.provenance.get("trials") or {}).get("record")
        register = Register(run.folder.resolve().parent / REGISTER_FOLDER) if run.folder is not None else None
        if register is not None and isinstance(record, str) and register.holds(record):
            registered.setdefault(register.folder, []).append(record)
        else:
            total += int(run.results[0].statistics.get("trials") or 1)
    return total + sum(Register(folder).count(*records).of_data for folder, records in registered.items())


def _key(kind: str, parameters: Mapping[str, Any], conditions: Mapping[str, Any], digest: str) -> str:
    return sha256_hex(canonical_json([kind, parameters, conditions, digest]))


def _read(path: Path) -> Sequence[tuple[str, TrialWindow]]:
    """Keys and windows of one record, which is proven against its name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): the register of trials must be whole") from error
    if sha256_hex(content) != path.stem:
        raise DataError(
            f"{path}: this record of trials was changed after it was written: put the file back from a copy, or remove "
            "it and run the study again that it was of"
        )
    record = json.loads(content)
    if record["format"] != _FORMAT:
        raise DataError(f"{path}: format must be {_FORMAT}; was {record['format']!r}: written by another version")
    windows = {
        digest: TrialWindow(item["digest"], item["first"], item["last"], tuple(item["instruments"]))
        for digest, item in record["windows"].items()
    }
    return [
        (_key(item["kind"], item["parameters"], item["conditions"], item["window"]), windows[item["window"]])
        for item in record["trials"]
    ]
