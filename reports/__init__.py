"""Results on disk to pages: the risk report of a run, the quality page of a store, runs side by side.

    run folder -> read_run -> headline, overview, performance, risk_view, trading, policy_view, record
               -> templates -> HTML

The pages are made from the machine-readable files alone, hold no scripts and refer to nothing outside themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "write_report": "report",
    "write_quality_page": "quality_page",
    "write_comparison_page": "compare_page",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
