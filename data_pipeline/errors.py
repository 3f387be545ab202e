"""The one exception that bad market data raises."""

from __future__ import annotations


class DataError(Exception):
    """Data that cannot be used; the message says what, where (file, line, column) and what to do."""
