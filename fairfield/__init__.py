"""The application: command line and run configuration. Names are resolved to objects only here."""

from __future__ import annotations

__version__ = "0.1.0"
