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

ROOMS = ("data_pipeline", "mfg_core", "strategies", "risk", "backtests", "reports", "fairfield")
"""An exception whose class one of these defines was foreseen: its message is the answer."""

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
        except KeyboardInterrupt as interrupt:
            say(str(interrupt) or "interrupted: nothing half-written was left; run it again to go on", EXIT_INTERRUPTED)
        except BrokenPipeError:  # the reader of our output has gone: nobody to answer
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_FAILED) from None
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
    """The error's own words when one of our rooms defines its class, or the system's; None for anything else."""
    if type(error).__module__.partition(".")[0] in ROOMS:
        return str(error)
    return _system_sentence(error) if isinstance(error, OSError) else None


def _system_sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full; nothing half-written was left; free some space and run the command again"
    if error.errno == errno.EROFS:
        return f"{place}the disk is read-only; choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{place}no permission; check the owner and mode of that path"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOENT, errno.EEXIST):
        return f"{place}{error.strerror}; check that path"
    return f"{place}{error.strerror or error}"
