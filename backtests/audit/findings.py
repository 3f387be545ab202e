"""What an audit found: one verdict per pod, test, variant and cut, and the record of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from backtests.audit.decisions import Difference
from data_pipeline.disk import plain_json

SCHEMA_VERSION: Final = 1

Verdict = Literal["same", "changed", "untested"]
Test = Literal["costs", "parameters", "fit", "decisions", "account", "warm-up", "history", "rule", "fills"]

Progress = Callable[[int, int, str], None]
"""Told after each check: how many are done, of how many, and which."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: other data outside of what may be used, and whether anything inside changed.

    Attributes
    ----------
    pod : str
        Empty where no pod is asked: the costs of a fold.
    test : str
        "costs": calibration, execution game and policy of a training window. "parameters": the scores that choose.
        "fit": decisions of a pod fitted beside another future. "decisions": those up to the cut, its account held
        fixed. "account": orders, fills and values up to the cut. "warm-up": decisions from `lookback` sessions.
        "history": decisions without the sessions before the training window. "rule": measures and rule of intraday
        training. "fills": requests, fills and samples of an intraday session up to the cut.
    variant : str
        What was done to the data: scramble, truncate, delay, or what was forgotten.
    cut : str
        The last session (or time) whose data stayed.
    verdict : "same", "changed" or "untested"
    difference : Difference or None
        The first that changed.
    fields : tuple of str
        The fields that change it when nothing else is changed, as found at the first change of this pod and test.
    why : str
        Of a check that tested nothing.
    of : str
        In event runs: which parameter set of several, and the assumption about fills.
    """

    pod: str
    test: Test
    variant: str
    cut: str
    verdict: Verdict
    difference: Difference | None = None
    fields: tuple[str, ...] = ()
    why: str = ""
    of: str = ""

    @property
    def words(self) -> str:
        """The finding in a sentence."""
        place = f"pod {self.pod!r}" if self.pod else "costs and policy"
        place += f" ({self.of})" if self.of else ""
        if self.difference is None:
            return f"{place}: {self.test}, {self.variant} at {self.cut}: {self.why or self.verdict}"
        found = self.difference
        where = " of ".join(part for part in (found.instrument, found.session) if part)
        fields = f"; read: {', '.join(self.fields)}" if self.fields else ""
        return (
            f"{place}: {self.test} changed when the data were changed ({self.variant} at {self.cut}): first {where}: "
            f"{found.before} -> {found.after}{fields}"
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """All checks of a plan.

    Attributes
    ----------
    kind : "daily" or "intraday"
    name : str
        Of the run.
    checks : tuple of Check
    audited : mapping
        Hashes of the data, the code and the plan that were audited, in JSON types.
    """

    kind: str
    name: str
    checks: tuple[Check, ...]
    audited: Mapping[str, Any]

    @property
    def found(self) -> tuple[Check, ...]:
        """The checks that something is wrong with: a change, or nothing that could have changed."""
        return tuple(check for check in self.checks if check.verdict != "same")

    @property
    def passed(self) -> bool:
        """Whether every check tested something and nothing changed."""
        return bool(self.checks) and not self.found

    def record(self) -> dict[str, Any]:
        """The audit in JSON types (audit.json)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "name": self.name,
            "passed": self.passed,
            "audited": plain_json(self.audited),
            "checks": [plain_json(check) for check in self.checks],
        }
