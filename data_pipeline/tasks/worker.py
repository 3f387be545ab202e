"""The inside of a worker process: take a task, write its result into the ledger, answer; never outlive the driver."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from data_pipeline.tasks.ledger import Ledger

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: `function(argument)` gives the payload bytes that the ledger stores under `key`.

    `function` is found by its module and name in the worker, `argument` is pickled, `name` is what people read.
    """

    key: str
    name: str
    function: Callable[[Any], bytes]
    argument: Any
    description: Mapping[str, Any]


def perform(task: Task, ledger: Ledger) -> str | None:
    """Run one task into the ledger; the error in words, or None."""
    try:
        ledger.write(task.key, task.description, task.function(task.argument))
    except Exception as error:  # noqa: BLE001  the rim of a task: whatever it raises is reported under the task's name
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"  # noqa: PTH119
    return None


def serve(connection: Connection) -> None:
    """A worker's life: take a task, do it, answer; end with the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_driver, daemon=True).start()
    connection.send("ready")
    while True:
        try:
            task, ledger = connection.recv()
        except EOFError:
            return
        connection.send(perform(task, ledger))


def _leave_with_the_driver() -> None:
    """End at once when the driver dies, so that a resumed run does not meet orphans at work."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        multiprocessing.connection.wait([driver.sentinel])
        os._exit(1)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Environment in which a new process computes with one thread: no oversubscription, one order of summation."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
