"""What the command line says when something cannot be done: one sentence and an exit status, no traceback."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from fairfield.errors import ConfigError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def answering(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with every foreseen failure turned into one sentence on standard error and a non-zero exit.

    Unforeseen exceptions keep their traceback: they are defects, not answers. FAIRFIELD_TRACEBACK=1 shows the
    traceback of the foreseen ones too.
    """

    @functools.wraps(command)
    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            say("interrupted: nothing half-written was left; run the same command again to go on", EXIT_INTERRUPTED)
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            say(sentence, EXIT_FAILED)

    return answered


def say(sentence: str, status: int) -> None:
    """Print one sentence on standard error and leave with `status`."""
    if os.environ.get("FAIRFIELD_TRACEBACK"):
        traceback.print_exc()
    print(f"fairfield: {sentence}", file=sys.stderr)
    raise typer.Exit(status)


def _sentence(error: Exception) -> str | None:
    from backtests.errors import BacktestError
    from data_pipeline.errors import DataError
    from mfg_core.errors import SolveError

    if isinstance(error, (ConfigError, DataError, SolveError, BacktestError)):
        return str(error)
    if isinstance(error, OSError):
        return _system_sentence(error)
    return None


def _system_sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full; nothing half-written was left; free some space and run the command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place}no permission; check the owner and mode of that path"
    return f"{place}{error.strerror or error}"
