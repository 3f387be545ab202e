"""The inside of a worker process: take a task, write its result into the ledger, answer; never outlive the driver."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Final

from data_pipeline.tasks.ledger import Ledger

THREAD_VARIABLES: Final = (
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


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a task failed: in words, and by the operating system's number where it said no."""

    words: str
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """A message from a running task: how far it is, in its own unit."""

    value: int


_TELL_SECONDS: Final = 0.25
_listener: ContextVar[Callable[[int], None] | None] = ContextVar("listener", default=None)


def tell_amount(amount: int) -> None:
    """Tell the driver how far the running task is; called in a task, as often as it likes, heard a few times a second.

    Nothing happens where nobody listens (on a cluster, or outside a task).
    """
    listener = _listener.get()
    if listener is not None:
        listener(amount)


def perform(task: Task, ledger: Ledger, listen: Callable[[int], None] | None = None) -> Problem | None:
    """Run one task into the ledger; what went wrong, or None. `listen` hears what the task tells."""
    token = _listener.set(None if listen is None else _now_and_then(listen))
    try:
        ledger.write(task.key, task.description, task.function(task.argument))
    except Exception as error:  # noqa: BLE001  the rim of a task: whatever it raises is reported under the task's name
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"  # noqa: PTH119
        return Problem(words, error.errno if isinstance(error, OSError) else None)
    finally:
        _listener.reset(token)
    return None


def _now_and_then(listen: Callable[[int], None]) -> Callable[[int], None]:
    """`listen`, but at most every `_TELL_SECONDS`, the first time that long after now."""
    last = [time.monotonic()]

    def hear(amount: int) -> None:
        now = time.monotonic()
        if now - last[0] >= _TELL_SECONDS:
            last[0] = now
            listen(amount)

    return hear


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
        connection.send(perform(task, ledger, lambda amount: connection.send(Amount(amount))))


def _leave_with_the_driver() -> None:
    """End at once when the driver dies, so that a resumed run does not meet orphans at work."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        multiprocessing.connection.wait([driver.sentinel])
        os._exit(1)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Processes and threads that are started in the block never hear Ctrl-C; this thread does when the block ends.

    (The process does at once where it has other threads that hear it.) A terminal sends it to all of them; the driver
    ends its workers itself, without their tracebacks.
    """
    resource_tracker.ensure_running()  # or starting one in the block would unblock Ctrl-C again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Environment in which a new process computes with one thread: no oversubscription, one order of summation."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
