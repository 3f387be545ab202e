"""The one family of errors that a backtest answers with: each message is a sentence for the person who ran it."""

from __future__ import annotations


class BacktestError(Exception):
    """A run that cannot be done or finished; the message says what, where and what to do."""


class WindowError(BacktestError, ValueError):
    """Training and test windows that do not fit the data or each other."""


class DataQualityError(BacktestError):
    """Sessions of the run are below the data quality that its plan asks for."""


class WalkForwardError(BacktestError):
    """Tasks that the run needs have failed; the message names each with its reason."""
