"""A fitted rule as bytes that prove themselves: its numbers, and where its compiled function is found again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from backtests.errors import BacktestError
from data_pipeline.disk import canonical_json, npz_bytes, plain_json, read_npz, sha256_hex
from strategies.intraday.rule import Rule

_PLAIN = ("name", "memory_size", "interval_ns", "calls")


def rule_bytes(rule: Rule, pod: str, about: Mapping[str, Any]) -> bytes:
    """The rule, and what it is `about` (parameters, calibration), as the ledger keeps them.

    Raises
    ------
    ValueError
        When the rule's function is not one that a module names: another process could not find it.
    """
    function = rule.function.py_func
    place = f"{function.__module__}:{function.__qualname__}"
    try:
        found = _function(place)
    except (ImportError, AttributeError):
        found = None
    if found is not rule.function:
        raise ValueError(
            f"the rule of pod {pod} must be a compiled function that its module names, so that workers find it; "
            f"was {place}: define it at the module's top level"
        )
    record = {name: getattr(rule, name) for name in _PLAIN}
    record |= {"function": place, "digest": rule.digest, "notes": plain_json(rule.notes), "about": plain_json(about)}
    text = np.frombuffer(canonical_json(record), dtype=np.uint8)
    return npz_bytes({"record": text, "table": rule.table, "numbers": rule.numbers})


def read_rule(payload: bytes) -> Rule:
    """The rule of `rule_bytes`, its function imported.

    Raises
    ------
    BacktestError
        When the function is no longer the one that was fitted.
    """
    arrays = read_npz(payload)
    record = json.loads(arrays["record"].tobytes())
    rule = Rule(
        function=_function(record["function"]),
        table=arrays["table"],
        numbers=arrays["numbers"],
        notes=record["notes"],
        **{name: record[name] for name in _PLAIN},
    )
    if rule.digest != record["digest"]:
        raise BacktestError(
            f"rule {rule.name}: {record['function']} changed since the rule was fitted: run the backtest again"
        )
    return rule


def rule_record(payload: bytes) -> dict[str, Any]:
    """Name, function, digest, notes and what the rule is about; the hash of the whole under `artefact`."""
    record: dict[str, Any] = json.loads(read_npz(payload)["record"].tobytes())
    return record | {"artefact": sha256_hex(payload)}


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
