"""Sanity checks: what they pass, what each of them catches, and that what they call necessary is so."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfg_core import (
    EdgeMassWarning,
    EpidemicGame,
    MarketMakingGame,
    MixedMarketMakingGame,
    RegimeSwitchingGame,
    solve_mfg,
)
from mfg_core.iteration.fixed_point import Anderson, Picard
from mfg_core.iteration.residual_history import residual_history
from mfg_core.market.entry_exit import EntryExitGame
from mfg_core.market.sanity import Outcome, check_equilibrium
from mfg_core.market.sanity_compositions import check_composition, check_epidemic

RTOL, ATOL = 1e-7, 1e-10


def make(**changes):
    usual = {
        "ask_arrival": 2.0,
        "bid_arrival": 2.0,
        "fill_decay": 1.5,
        "running_penalty": 0.1,
        "terminal_penalty": 0.3,
        "horizon": 1.0,
        "max_inventory": 6,
    }
    return MarketMakingGame(**{**usual, **changes})


def solve(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, rtol=RTOL, atol=ATOL, **options)


def outcomes(checks):
    return {check.name: check.outcome for check in checks}


@pytest.fixture(scope="module")
def solved():
    return solve(make())


@pytest.fixture(scope="module")
def lopsided():
    return solve(make(ask_arrival=2.5, initial_mean=1.0))


def test_a_solved_symmetric_game_passes_every_check(solved):
    assert set(outcomes(check_equilibrium(solved, RTOL, ATOL)).values()) == {Outcome.PASSED}


def test_what_needs_symmetry_does_not_apply_without_it_and_says_why(lopsided):
    checks = {check.name: check for check in check_equilibrium(lopsided, RTOL, ATOL)}
    for name in ("symmetry", "monotone value"):
        assert checks[name].outcome is Outcome.NOT_APPLICABLE
        assert "ask_arrival 2.5 is not bid_arrival 2" in checks[name].words
        assert math.isnan(checks[name].figure)
    assert checks["concave value"].outcome is Outcome.PASSED
    rest = {name: check.outcome for name, check in checks.items() if name not in ("symmetry", "monotone value")}
    assert set(rest.values()) == {Outcome.PASSED}


def damaged(values, row, column, change):
    out = values.copy()
    out[row, column] += change
    return out


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("symmetry", lambda eq: {"value": damaged(eq.value, 3, 8, 1e-4)}),
        ("monotone value", lambda eq: {"value": eq.value + 0.2 * eq.states**2}),
        ("concave value", lambda eq: {"value": damaged(eq.value, 3, 6, -1.0)}),
        ("value at the close", lambda eq: {"value": damaged(eq.value, -1, 6, 1e-13)}),
        ("mass", lambda eq: {"density": damaged(eq.density, 3, 6, 1e-10)}),
        ("edge mass", lambda eq: {"density": damaged(eq.density, 3, 0, 2e-3)}),
        ("non-negativity", lambda eq: {"density": damaged(eq.density, 3, 0, -1e-2)}),
        ("quotes", lambda eq: {"policy": replace(eq.policy, ask=damaged(eq.policy.ask, 3, 4, math.nan))}),
        ("quotes", lambda eq: {"policy": replace(eq.policy, bid=np.nan_to_num(eq.policy.bid))}),
        ("quotes", lambda eq: {"game": replace(eq.game, max_half_spread=1.0)}),
        ("mean quotes", lambda eq: {"mean_field": replace(eq.mean_field, ask=eq.mean_field.ask + 1e-4)}),
        ("residual", lambda eq: {"certificate": replace(eq.certificate, residual=math.inf)}),
        ("exploitability", lambda eq: {"certificate": replace(eq.certificate, exploitability=1e-3)}),
        ("exploitability", lambda eq: {"certificate": replace(eq.certificate, exploitability=-1e-12)}),
        ("exploitability", lambda eq: {"certificate": replace(eq.certificate, exploitability=math.nan)}),
        ("discretisation", lambda eq: {"certificate": replace(eq.certificate, discretisation_error=1e-6)}),
    ],
)
def test_each_check_catches_what_it_is_for(solved, name, damage):
    assert outcomes(check_equilibrium(replace(solved, **damage(solved)), RTOL, ATOL))[name] is Outcome.FAILED


def test_a_meant_inventory_limit_may_hold_many_makers():
    tight = solve(make(max_inventory=1))
    assert outcomes(check_equilibrium(tight, RTOL, ATOL))["edge mass"] is Outcome.FAILED
    assert outcomes(check_equilibrium(tight, RTOL, ATOL, 1.0))["edge mass"] is Outcome.PASSED


def test_where_every_fill_is_a_loss_the_value_is_not_highest_at_flat_inventory():
    """At the limit one quotes one side only and loses less: why the check does not apply there."""
    paying = solve(make(max_half_spread=-0.5, competition=0.0, terminal_penalty=0.0, running_penalty=0.0))
    assert np.max(np.diff(paying.value[0, 6:])) > 0.1
    checks = {check.name: check for check in check_equilibrium(paying, RTOL, ATOL)}
    assert checks["monotone value"].outcome is Outcome.NOT_APPLICABLE
    assert "makes every fill a loss" in checks["monotone value"].words


def test_where_a_bound_forces_fills_into_the_ends_the_value_is_not_concave():
    forced = solve(
        make(max_half_spread=0.1, competition=0.0, terminal_penalty=1.0, running_penalty=0.0, fill_decay=1.0,
             ask_arrival=3.0, bid_arrival=3.0, max_inventory=3)
    )  # fmt: skip
    second = forced.value[:, 2:] - 2.0 * forced.value[:, 1:-1] + forced.value[:, :-2]
    assert second.max() > 0.05
    checks = {check.name: check for check in check_equilibrium(forced, RTOL, ATOL)}
    assert checks["concave value"].outcome is Outcome.NOT_APPLICABLE
    assert checks["monotone value"].outcome is Outcome.PASSED


@settings(max_examples=20)
@given(
    arrival=st.floats(0.2, 3.0),
    skew=st.floats(0.5, 2.0),
    decay=st.floats(0.3, 3.0),
    running=st.floats(0.0, 0.5),
    terminal=st.floats(0.0, 0.5),
    weight=st.floats(0.0, 1.0),
    lowest=st.sampled_from([-math.inf, 0.0, 0.4]),
    cost=st.floats(-0.2, 0.2),
)
def test_value_is_concave_and_all_checks_hold_for_any_game(
    arrival, skew, decay, running, terminal, weight, lowest, cost
):
    game = make(
        ask_arrival=arrival, bid_arrival=arrival * skew, fill_decay=decay, running_penalty=running,
        terminal_penalty=terminal, competition=weight, min_half_spread=lowest, maker_fee=cost, max_inventory=4,
    )  # fmt: skip
    found = outcomes(check_equilibrium(solve(game), RTOL, ATOL, 1.0))
    assert found.pop("concave value") is Outcome.PASSED
    assert Outcome.FAILED not in found.values()


def test_the_residuals_of_a_plain_iteration_fall_by_a_constant_factor_to_the_tolerance(lopsided):
    plain = np.array(residual_history(lopsided, Picard(), most=300))
    tolerance = lopsided.certificate.tolerance
    assert plain[-1] <= tolerance < plain[-2]
    ratios = plain[4:] / plain[3:-1]
    assert np.all(ratios < 1.0)
    # The slowest mode is alone after a few sweeps: ratios settle, to a few parts in a hundred.
    assert np.ptp(ratios[-3:]) < 0.05 * ratios[-1]
    mixed = residual_history(lopsided, Anderson())
    assert mixed[0] == plain[0]
    assert mixed[-1] <= tolerance
    assert len(mixed) <= len(plain)


MIXED = MixedMarketMakingGame(makers=(make(), make(running_penalty=0.5, max_inventory=5)), shares=(0.6, 0.4))
REGIMES = RegimeSwitchingGame(
    regimes=(make(), make(ask_arrival=4.0, bid_arrival=4.0, running_penalty=0.4)),
    switching_rates=((-1.0, 1.0), (2.0, -2.0)),
    initial_regime=(1.0, 0.0),
)
ENTRY = EntryExitGame(market=make(), outside_value=1.0, exit_rate=0.5, entry_rate=0.5, sensitivity=1.0)


@pytest.mark.parametrize(
    ("game", "names", "extra"),
    [
        (MIXED, ("patient", "nervous"), "mean quotes"),
        (REGIMES, ("calm", "stressed"), "regime mass"),
        (ENTRY, ("market",), "makers in the market"),
    ],
)
def test_games_of_several_parts_pass_the_checks_of_each_part_and_of_the_whole(game, names, extra):
    checks = check_composition(solve(game), names, RTOL, ATOL, 1.0)
    found = outcomes(checks)
    assert len(found) == len(checks)
    assert found[extra] is Outcome.PASSED
    assert Outcome.FAILED not in found.values()
    skipped = {name for name, outcome in found.items() if outcome is Outcome.NOT_APPLICABLE}
    assert skipped == ({"concave value"} if game is ENTRY else set())


@pytest.fixture(scope="module")
def steep():
    """V(T, +-Q) is 200 times V(0, 0): a tolerance relative to the largest value would let anything pass at flat."""
    return solve(make(terminal_penalty=1.0, running_penalty=0.3, max_inventory=20))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("symmetry", lambda eq: {"value": damaged(eq.value, 3, 21, 2e-5)}),
        ("symmetry", lambda eq: {"mean_field": replace(eq.mean_field, ask=eq.mean_field.ask + 1e-5)}),
        ("monotone value", lambda eq: {"value": damaged(eq.value, 0, 21, eq.value[0, 20] - eq.value[0, 21] + 1e-5)}),
        ("concave value", lambda eq: {"value": damaged(eq.value, 0, 20, -eq.value[0, 20] + eq.value[0, 19] - 1e-4)}),
        ("exploitability", lambda eq: {"certificate": replace(eq.certificate, exploitability=1e-5)}),
    ],
)
def test_large_values_far_out_do_not_loosen_a_check_where_the_makers_are(steep, name, damage):
    assert Outcome.FAILED not in outcomes(check_equilibrium(steep, RTOL, ATOL)).values()
    assert outcomes(check_equilibrium(replace(steep, **damage(steep)), RTOL, ATOL))[name] is Outcome.FAILED


def test_a_part_that_is_damaged_fails_under_its_name():
    whole = solve(MIXED)
    first, second = whole.makers
    broken = replace(whole, makers=(first, replace(second, density=second.density * 1.01)))
    failed = {
        n for n, o in outcomes(check_composition(broken, ("a", "b"), RTOL, ATOL, 1.0)).items() if o is Outcome.FAILED
    }
    assert failed == {"b: mass", "mean quotes"}


def failures(checks):
    return {check.name for check in checks if check.outcome is Outcome.FAILED}


def test_what_is_wrong_with_a_game_of_several_parts_fails_under_its_name():
    regimes = solve(REGIMES)
    calm, stressed = regimes.regimes
    names = ("calm", "stressed")

    def failed(**changes):
        return failures(check_composition(replace(regimes, **changes), names, RTOL, ATOL, 1.0))

    assert failed(regime_probability=damaged(regimes.regime_probability, 3, 0, 1e-9)) == {"regime mass"}
    bent = replace(stressed, value=damaged(stressed.value, 3, 8, 1e-4))
    assert failed(regimes=(calm, bent)) == {"stressed: symmetry"}
    shifted = replace(calm, mean_field=replace(calm.mean_field, bid=calm.mean_field.bid + 1e-4))
    assert failed(regimes=(shifted, stressed)) == {"calm: symmetry", "calm: mean quotes"}
    assert failed(certificate=replace(regimes.certificate, exploitability=math.nan)) == {"exploitability"}

    doors = solve(ENTRY)

    def failed_doors(**changes):
        return failures(check_composition(replace(doors, **changes), ("market",), RTOL, ATOL, 1.0))

    assert failed_doors(active=doors.active - doors.active.min() - 1e-9) == {"makers in the market"}
    assert failed_doors(active=np.full_like(doors.active, np.nan)) == {"makers in the market"}
    assert failed_doors(certificate=replace(doors.certificate, residual=1.0)) == {"residual"}


def test_a_regime_in_which_every_fill_loses_bends_the_value_of_the_others():
    """One regime's value is part of what inventory is worth in the other: the shape is not necessary there either."""
    usual = {"running_penalty": 0.0, "terminal_penalty": 0.0, "max_inventory": 4}
    calm = make(**usual, ask_arrival=0.1, bid_arrival=0.1)
    game = RegimeSwitchingGame(
        regimes=(calm, make(**usual, ask_arrival=8.0, bid_arrival=8.0, max_half_spread=0.1, adverse_selection=1.0)),
        switching_rates=((-2.0, 2.0), (2.0, -2.0)),
        initial_regime=(1.0, 0.0),
    )
    solved = solve(game)
    value = solved.regimes[0].value[0]
    assert value[4:].argmax() == 4  # at the limit, not at flat
    assert (value[2:] - 2.0 * value[1:-1] + value[:-2]).max() > 0.01
    checks = check_composition(solved, ("calm", "stressed"), RTOL, ATOL, 1.0)
    assert not failures(checks)
    words = {check.name: check.words for check in checks if not check.applies}
    assert set(words) == {f"{name}: {what} value" for name in ("calm", "stressed") for what in ("monotone", "concave")}
    assert words["calm: monotone value"].endswith("max_half_spread 0.1 makes every fill a loss in stressed")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("mass", lambda eq: {"density": damaged(eq.density, 3, 0, 1e-9)}),
        ("non-negativity", lambda eq: {"density": damaged(eq.density, 0, 2, -1e-12)}),
        ("non-negativity", lambda eq: {"density": damaged(eq.density, 0, 2, math.nan)}),
        ("one way", lambda eq: {"density": damaged(eq.density, 3, 0, 1e-2)}),
        ("value at the close", lambda eq: {"value": damaged(eq.value, -1, 0, -1e-12)}),
        ("cost", lambda eq: {"value": damaged(eq.value, 3, 1, 1e-12)}),
        ("residual", lambda eq: {"certificate": replace(eq.certificate, residual=1.0)}),
        ("exploitability", lambda eq: {"certificate": replace(eq.certificate, exploitability=1e-2)}),
        ("discretisation", lambda eq: {"certificate": replace(eq.certificate, discretisation_error=math.inf)}),
    ],
)
def test_each_check_of_the_epidemic_catches_what_it_is_for(epidemic, name, damage):
    assert not failures(check_epidemic(epidemic, RTOL, ATOL))
    assert name in failures(check_epidemic(replace(epidemic, **damage(epidemic)), RTOL, ATOL))


@pytest.fixture(scope="module")
def epidemic():
    return solve(
        EpidemicGame(contact_rate=0.2, recovery_rate=0.1, infection_cost=300.0, initial_infected=0.01, horizon=60.0)
    )


def nan_everywhere(market):
    return replace(market, value=np.full_like(market.value, np.nan), density=np.full_like(market.density, np.nan))


def test_arrays_of_nan_pass_no_check(solved):
    broken = nan_everywhere(solved)
    found = failures(check_equilibrium(broken, RTOL, ATOL))
    wanted = {"symmetry", "monotone value", "concave value", "value at the close", "mass", "edge mass"}
    assert found >= wanted | {"non-negativity", "mean quotes"}


@pytest.mark.parametrize("name", ["ask", "bid", "ask_fill_rate", "bid_fill_rate"])
def test_a_mean_field_of_nan_passes_neither_its_own_check_nor_symmetry(solved, name):
    lost = replace(solved, mean_field=replace(solved.mean_field, **{name: np.nan * solved.times}))
    wanted = {"non-negativity"} if name.endswith("rate") else {"symmetry", "mean quotes"}
    assert failures(check_equilibrium(lost, RTOL, ATOL)) == wanted
