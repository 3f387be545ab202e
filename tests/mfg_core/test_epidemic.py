"""The epidemic game against published figures and a boundary value solver on the coupled equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_bvp, solve_ivp

from mfg_core import Anderson, EpidemicGame, Picard, solve_mfg

# Elie, Hubert & Turinici (2020), as solved there by a first-order scheme.
PUBLISHED = EpidemicGame(
    contact_rate=0.2, recovery_rate=0.1, infection_cost=300.0, initial_infected=0.01, horizon=360.0
)
SHORT = replace(PUBLISHED, horizon=80.0)


def coupled(game):
    """(S, I, V) at t = 0 and T, V the cost of a susceptible player, by collocation of order 4 on the coupled system."""

    def slopes(t, y):
        susceptible, infected, cost = y
        danger = np.maximum(infected * (game.infection_cost - cost), 1.0 / game.contact_rate)
        contacts = np.sqrt(game.contact_rate / danger)
        infection = contacts * infected
        effort = game.contact_rate / contacts - 1.0
        return np.stack(
            [
                -infection * susceptible,
                infection * susceptible - game.recovery_rate * infected,
                -(effort + infection * (game.infection_cost - cost)),
            ]
        )

    def ends(first, last):
        return np.array([first[0] - 1.0 + game.initial_infected, first[1] - game.initial_infected, last[2]])

    t = np.linspace(0.0, game.horizon, 401)
    start = solve_mfg(game, rtol=1e-3)
    guess = [np.interp(t, start.times, row) for row in (start.density[:, 0], start.density[:, 1], -start.value[:, 0])]
    found = solve_bvp(slopes, ends, t, np.stack(guess), tol=1e-8, max_nodes=50_000)
    assert found.success
    return found.sol


def test_the_published_epidemic_to_the_digits_of_a_first_order_scheme():
    found = solve_mfg(PUBLISHED, rtol=1e-8)
    assert found.density[-1, 0] == pytest.approx(0.3527, abs=1e-4)
    assert found.density[:, 1].max() == pytest.approx(0.0865, abs=5e-5)
    assert -found.value[0, 0] == pytest.approx(211.3, abs=0.05)


@pytest.mark.parametrize("game", [PUBLISHED, SHORT])
def test_the_coupled_equations_by_collocation_give_the_same_epidemic(game):
    found = solve_mfg(game, rtol=1e-9)
    second = coupled(game)(found.times[::8])
    # The tolerance asked; scipy's Newton starts from a solution to 1e-3, which does not decide where it ends.
    np.testing.assert_allclose(found.density[::8, 0], second[0], atol=2e-9)
    np.testing.assert_allclose(found.density[::8, 1], second[1], atol=2e-9)
    np.testing.assert_allclose(-found.value[::8, 0], second[2], rtol=1e-9, atol=1e-8)


def test_everybody_meets_freely_where_infection_costs_nothing_to_speak_of():
    """Then the epidemic is the plain SIR model of Kermack & McKendrick (1927)."""
    game = replace(SHORT, infection_cost=1e-6)
    found = solve_mfg(game, rtol=1e-9)
    np.testing.assert_array_equal(found.control, game.contact_rate)

    def slopes(t, y):
        infection = game.contact_rate * y[0] * y[1]
        return [-infection, infection - game.recovery_rate * y[1], game.recovery_rate * y[1]]

    plain = solve_ivp(slopes, (0, game.horizon), game.initial_density, method="Radau", rtol=1e-10, atol=1e-12)
    # Radau's own error per step times some hundreds of steps.
    np.testing.assert_allclose(found.density[-1], plain.y[:, -1], atol=1e-8)


def test_the_certificate_holds_and_methods_agree():
    found = solve_mfg(SHORT, rtol=1e-7)
    assert found.certificate.converged
    assert 0.0 <= found.certificate.exploitability < 1e-9
    assert found.certificate.mass_error < 1e-13
    assert found.density.min() >= 0.0
    np.testing.assert_allclose(np.exp(found.mean_field[:, 0]), found.density[:, 1], rtol=1e-5)
    plain = solve_mfg(SHORT, rtol=1e-7, method=Picard())
    mixed = solve_mfg(SHORT, rtol=1e-7, method=Anderson(depth=3))
    for other in (plain, mixed):
        np.testing.assert_allclose(other.value[0], found.value[0], rtol=2e-7, atol=2e-7)
        np.testing.assert_allclose(other.density[-1], found.density[-1], atol=2e-7)


def test_nobody_gains_by_meeting_more_or_less():
    """One player's cost for other contact rates in the equilibrium's epidemic, by scipy: never less."""
    found = solve_mfg(SHORT, rtol=1e-8)

    def cost(factor):
        def slopes(s, y):
            t = np.array([min(max(SHORT.horizon - s, 0.0), SHORT.horizon)])
            infected = np.interp(t[0], found.times, found.density[:, 1])
            contacts = min(SHORT.contact_rate, factor * found.control_at(t)[0, 0])
            effort = SHORT.contact_rate / contacts - 1.0
            return [effort + contacts * infected * (SHORT.infection_cost - y[0])]

        return solve_ivp(slopes, (0, SHORT.horizon), [0.0], rtol=1e-8, atol=1e-10, max_step=0.5).y[0, -1]

    best = cost(1.0)
    # The infected share is read linearly between nodes.
    assert best == pytest.approx(-found.value[0, 0], rel=1e-5)
    assert cost(0.9) > best
    assert cost(1.1) > best


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("contact_rate", 0.0, "finite and positive"),
        ("recovery_rate", -1.0, "finite and positive"),
        ("infection_cost", 0.0, "finite and positive"),
        ("horizon", np.inf, "finite and positive"),
        ("initial_infected", 1.0, "below 1"),
    ],
)
def test_nonsense_parameters_are_named_with_the_rule_and_the_value(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}; was {value}$"):
        replace(PUBLISHED, **{name: value})
