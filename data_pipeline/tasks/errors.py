"""What running tasks answers with; each message is a sentence for the person who ran them."""

from __future__ import annotations


class TaskError(Exception):
    """Tasks that cannot be run; the message says what, where and what to do."""


class LedgerInUseError(TaskError):
    """Another run is writing to the ledger."""


class WorkerStartError(TaskError):
    """A worker process ended before it could take a task."""


class ClusterLostError(TaskError):
    """The cluster cannot be reached, or no longer; what was finished is in the ledger."""
