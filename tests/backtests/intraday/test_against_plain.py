"""The compiled event engine and the plain Python one do the same, number by number."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from plain_simulator import simulate_plainly
from random_markets import (
    INSTRUMENT,
    queue_session,
    random_events,
    random_rule_of,
    random_settings,
    random_span,
)

from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.simulator import simulate_session

SOURCES = ("l2", "l3", "best")


def differences(ours: SessionOutcome, plain: SessionOutcome) -> list[str]:
    """What two outcomes do not have in common, first rows first."""
    found = []
    for name in ("fills", "orders", "samples"):
        mine, theirs = getattr(ours, name), getattr(plain, name)
        if mine.size != theirs.size:
            found.append(f"{name}: {mine.size} rows, plainly {theirs.size}")
        for row in range(min(mine.size, theirs.size)):
            unequal = [k for k in mine.dtype.names if mine[row][k] != theirs[row][k]]
            if unequal:
                found.append(f"{name} {row} {unequal}:\n  {mine[row]}\n  {theirs[row]}")
                break
    for name in ("cash_ticks", "fees", "position", "last_mid2"):
        if getattr(ours, name) != getattr(plain, name):
            found.append(f"{name}: {getattr(ours, name)}, plainly {getattr(plain, name)}")
    if ours.quoted_ns.tolist() != plain.quoted_ns.tolist():
        found.append(f"quoted_ns: {ours.quoted_ns}, plainly {plain.quoted_ns}")
    for name in sorted({*ours.counts, *plain.counts}):
        if ours.counts.get(name, 0) != plain.counts.get(name, 0):
            found.append(f"count {name}: {ours.counts.get(name, 0)}, plainly {plain.counts.get(name, 0)}")
    return found


def one_session(seed: int, source: str, n: int, fractions: bool) -> tuple[Any, ...]:
    """A random session: the arguments of both engines."""
    rng = np.random.default_rng(seed)
    events = random_events(rng, source, n, fractions=fractions and source != "l3")
    rule, fills = random_rule_of(rng, tells=seed % 5 == 0), random_settings(rng, source)
    return events, rule, INSTRUMENT, random_span(rng, int(events["exch_ts"].max())), fills


def without_endless_calls(engine: Any, session: tuple[Any, ...], source: str) -> SessionOutcome | None:
    """An engine's outcome; None where the rule goes on for ever at one instant."""
    try:
        return engine(*session, source=source, sample_every=2)
    except ValueError as error:
        if "16" not in str(error):
            raise
        return None


def compare(seed: int, source: str, n: int, fractions: bool = False) -> SessionOutcome | None:
    """Run both engines; None where both stop with the same error."""
    session = one_session(seed, source, n, fractions)
    plain = without_endless_calls(simulate_plainly, session, source)
    if seed % 3 == 0:  # the same in pieces
        pieces = np.array_split(session[0], 1 + seed % 7)
        ours = without_endless_calls(simulate_session, (pieces, *session[1:]), source)
    else:
        ours = without_endless_calls(simulate_session, session, source)
    assert (plain is None) == (ours is None), f"seed {seed}, {source}: only one of the engines stopped"
    if plain is None or ours is None:
        return None
    found = differences(ours, plain)
    assert not found, f"seed {seed}, {source}, {n} events, {session[4]}, {session[3]}:\n" + "\n".join(found)
    return ours


@pytest.mark.parametrize("source", SOURCES)
def test_random_sessions_are_equal_number_by_number(source):
    for seed in range(40):
        compare(seed, source, 250, fractions=seed % 4 == 0)


@pytest.mark.parametrize("fractions", [False, True])
def test_queues_are_equal_number_by_number(fractions):
    for seed in range(48):
        session = queue_session(seed, fractions=fractions)
        found = differences(simulate_session(*session), simulate_plainly(*session))
        assert not found, f"seed {seed}, {session[4]}:\n" + "\n".join(found)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.sampled_from(SOURCES), st.integers(10, 120), st.booleans())
def test_short_sessions_are_equal_number_by_number(seed, source, n, fractions):
    compare(seed, source, n, fractions)
