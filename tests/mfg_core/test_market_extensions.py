"""Adverse selection, fees, risk aversion and the forms of competition, against published values and scipy."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.optimize import minimize_scalar

from mfg_core import EdgeMassWarning, MarketMakingGame, OutsideOption, Picard, Share, solve_mfg
from mfg_core.family.local_polynomial import interpolate_local

SMALL = MarketMakingGame(
    ask_arrival=1.3,
    bid_arrival=0.9,
    fill_decay=0.8,
    running_penalty=0.05,
    terminal_penalty=0.3,
    horizon=2.0,
    max_inventory=3,
    initial_mean=1.0,
    initial_std=1.0,
)
COSTLY = replace(SMALL, adverse_selection=0.2, maker_fee=-0.05, risk_aversion=0.6)


def solve_quietly(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, **options)


def at(equilibrium, values, t):
    return interpolate_local(equilibrium.times, np.ascontiguousarray(values), np.atleast_1d(t))[0]


def worth(game, profit):
    g = game.risk_aversion
    return profit if g == 0 else (1 - np.exp(-g * profit)) / g


def fills(game, quotes, crowd):
    """Fill rates (ask, bid) in every state at quotes (ask, bid) when the crowd's exponents are `crowd`."""
    arrivals = (game.ask_arrival, game.bid_arrival)
    return [
        np.nan_to_num(A * np.exp(-game.fill_decay * quote) * math.exp(lift))
        for A, quote, lift in zip(arrivals, quotes, crowd, strict=True)
    ]


def crowd_exponents(game, law, quotes):
    """log of what multiplies A exp(-k quote), from the definition of each form of competition."""
    k, form = game.fill_decay, game.competition
    seen = []
    for quote in quotes:
        here = ~np.isnan(quote)
        mean = law[here] @ quote[here] / law[here].sum()
        if isinstance(form, OutsideOption):
            seen.append(form.crowd_decay * mean)
        elif isinstance(form, Share):
            seen.append(-math.log(law[here] @ np.exp(-k * quote[here]) / law[here].sum()))
        else:
            seen.append(k * form * mean)
    return seen


def value_slope(game, value, quotes, crowd):
    """-V' of a maker who plays `quotes`, from the equation as it is written."""
    cost = game.adverse_selection + game.maker_fee
    total = -game.running_penalty * game.states**2
    for rate, quote, there in zip(
        fills(game, quotes, crowd), quotes, (np.roll(value, 1), np.roll(value, -1)), strict=True
    ):
        total = total + rate * worth(game, np.nan_to_num(quote) - cost + there - value)
    return total


def best_quotes(game, value):
    """(ask, bid) that maximise exp(-k d) worth(d - cost + gap), by the first-order condition."""
    g, k = game.risk_aversion, game.fill_decay
    margin = (math.log(1 + g / k) / g if g > 0 else 1 / k) + game.adverse_selection + game.maker_fee
    ask, bid = np.full(value.size, np.nan), np.full(value.size, np.nan)
    ask[1:] = margin - value[:-1] + value[1:]
    bid[:-1] = margin - value[1:] + value[:-1]
    return ask, bid


@pytest.mark.parametrize(
    "game",
    [
        COSTLY,
        replace(COSTLY, competition=Share()),
        replace(SMALL, competition=OutsideOption(crowd_decay=0.3), maker_fee=0.4),
        replace(SMALL, competition=Share(), initial_std=0.0, risk_aversion=3.0),
    ],
    ids=["costs and risk", "shared flow", "outside option", "shared flow, point start, high risk aversion"],
)
def test_an_equilibrium_solves_the_equations_as_they_are_written(game):
    """Both equations by an explicit method of order 8 with the found crowd; the crowd is then the one that follows."""
    found = solve_quietly(game, rtol=1e-10)
    bid, ask = found.policy.quotes(found.times[:, None], found.states)
    lifts = np.array([crowd_exponents(game, law, quotes) for law, *quotes in zip(found.density, ask, bid, strict=True)])
    options = {"rtol": 1e-11, "atol": 1e-13, "method": "DOP853", "dense_output": True}

    def backward(s, value):
        crowd = at(found, lifts, min(max(game.horizon - s, 0.0), game.horizon))
        return value_slope(game, value, best_quotes(game, value), crowd)

    values = solve_ivp(backward, (0, game.horizon), -game.terminal_penalty * game.states**2, **options).sol

    def forward(t, law):
        down, up = fills(game, best_quotes(game, values(game.horizon - t)), at(found, lifts, t))
        return np.roll(law * down, -1) + np.roll(law * up, 1) - law * (down + up)

    laws = solve_ivp(forward, (0, game.horizon), game.initial_density, **options).sol
    # rtol 1e-10 of quantities up to ten, and as much again for the path between its nodes.
    np.testing.assert_allclose(found.value[0], values(game.horizon), atol=5e-9)
    np.testing.assert_allclose(found.density[-1], laws(game.horizon), atol=5e-9)
    middle = found.times.size // 2
    np.testing.assert_allclose(found.density[middle], laws(found.times[middle]), atol=5e-9)
    assert found.certificate.mass_error < 1e-12
    assert 0.0 <= found.certificate.exploitability < 1e-12


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-9, 0.2, 5.0])
def test_the_margin_maximises_the_worth_of_fills(risk_aversion):
    game = replace(COSTLY, risk_aversion=risk_aversion)
    k, cost = game.fill_decay, game.adverse_selection + game.maker_fee

    def loss(quote):
        return (
            -math.exp(-k * quote) * -math.expm1(-risk_aversion * (quote - cost)) / risk_aversion
            if risk_aversion
            else (-math.exp(-k * quote) * (quote - cost))
        )

    best = minimize_scalar(loss, bounds=(cost, cost + 3 / k), method="bounded", options={"xatol": 1e-10})
    # A minimum is seen to the square root of rounding.
    assert game.margin == pytest.approx(best.x, abs=1e-6)
    assert math.exp(game.log_hamiltonian_factor) == pytest.approx(-k * best.fun, rel=1e-12)


@pytest.mark.parametrize("risk_aversion", [0.0, 0.01, 0.5])
def test_a_single_maker_is_the_matrix_exponential(risk_aversion):
    game = MarketMakingGame(
        ask_arrival=1.4,
        bid_arrival=0.9,
        fill_decay=0.5,
        running_penalty=0.01,
        terminal_penalty=0.1,
        horizon=10.0,
        max_inventory=10,
        competition=0.0,
        risk_aversion=risk_aversion,
        adverse_selection=0.3,
        maker_fee=0.1,
        initial_std=2.0,
    )
    k, n = game.fill_decay, 21
    # Guéant, Lehalle & Fernandez-Tapia (2013), theorem 1: eta = A (1 + gamma/k)^-(1 + k/gamma), A/e without aversion.
    factor = (1 + risk_aversion / k) ** -(1 + k / risk_aversion) if risk_aversion else math.exp(-1)
    factor *= math.exp(-k * 0.4)
    matrix = np.diag(-k * game.running_penalty * game.states**2)
    matrix += factor * (1.4 * np.eye(n, k=-1) + 0.9 * np.eye(n, k=1))
    last = np.exp(-k * game.terminal_penalty * game.states**2)
    for rtol in (1e-8, 1e-11):
        found = solve_quietly(game, rtol=rtol)
        for node in (0, found.times.size // 3):
            exact = np.log(expm((game.horizon - found.times[node]) * matrix) @ last) / k
            np.testing.assert_allclose(found.value[node], exact, atol=1e-10)


def test_the_published_quotes_of_an_exponential_utility_maker():
    """GLFT (2013): A .9, k .3, sigma .3, risk aversion .01, 600 s, 30 units: the bids at 0 and 10 units."""
    game = MarketMakingGame(
        ask_arrival=0.9,
        bid_arrival=0.9,
        fill_decay=0.3,
        running_penalty=0.01 * 0.3**2 / 2,
        terminal_penalty=0.0,
        horizon=600.0,
        max_inventory=30,
        competition=0.0,
        risk_aversion=0.01,
    )
    bid, ask = solve_quietly(game).policy.quotes(0.0, np.array([0, 10]))
    np.testing.assert_allclose(bid, [3.3130454098, 3.9929325621], atol=5.1e-11)
    assert ask[0] == pytest.approx(bid[0], abs=1e-10)


@pytest.mark.parametrize(
    ("crowd_decay", "spread", "flow"),
    [(0.0, 0.71511974, 3.547), (0.75, 0.70373259, 6.065), (1.5, 0.69527739, 10.217)],
)
def test_ergodic_references_of_the_outside_option(crowd_decay, spread, flow):
    game = MarketMakingGame(
        ask_arrival=10.0,
        bid_arrival=10.0,
        fill_decay=1.5,
        running_penalty=0.05,
        terminal_penalty=0.0,
        horizon=40.0,
        max_inventory=10,
        competition=OutsideOption(crowd_decay=crowd_decay),
    )
    found = solve_quietly(game)
    assert at(found, found.mean_field.ask, 20.0) == pytest.approx(spread, abs=5.1e-9)
    assert at(found, found.mean_field.ask_fill_rate, 20.0) == pytest.approx(flow, abs=5.1e-4)
    weighted = solve_quietly(replace(game, competition=crowd_decay / 1.5))
    np.testing.assert_allclose(weighted.value, found.value, rtol=1e-12)


def test_shared_flow_is_conserved_and_the_relative_form_may_exceed_it():
    shared = solve_quietly(replace(COSTLY, competition=Share()))
    for rate, density, arrival in (
        (shared.mean_field.ask_fill_rate, shared.density[:, 1:], 1.3),
        (shared.mean_field.bid_fill_rate, shared.density[:, :-1], 0.9),
    ):
        # The crowd of the flows is the fixed point's last image, off by the residual.
        np.testing.assert_allclose(rate / density.sum(axis=1), arrival, rtol=1e-7)
    mean = np.nansum(shared.density * shared.policy.ask, axis=1) / shared.density[:, 1:].sum(axis=1)
    np.testing.assert_allclose(shared.mean_field.ask, mean, rtol=1e-12)
    flat = replace(SMALL, bid_arrival=1.3, initial_mean=0.0, running_penalty=0.5)
    relative, conserved = solve_quietly(flat), solve_quietly(replace(flat, competition=Share()))
    assert relative.mean_field.ask_fill_rate[0] > relative.density[0, 1:].sum() * 1.3
    assert conserved.value[0, 3] < relative.value[0, 3]


def test_costs_per_fill_shift_a_crowd_and_cut_a_single_makers_flow():
    """At c = 1 only distances count: everybody passes the cost on. Alone, it is worth a factor exp(-k cost) of A."""
    cost = 0.25
    free, paid = solve_quietly(SMALL), solve_quietly(replace(SMALL, adverse_selection=0.15, maker_fee=0.1))
    np.testing.assert_allclose(paid.value[0], free.value[0], atol=1e-8)
    np.testing.assert_allclose(paid.mean_field.ask[0], free.mean_field.ask[0] + cost, atol=1e-8)
    lone = replace(SMALL, competition=0.0)
    factor = math.exp(-SMALL.fill_decay * cost)
    fewer = replace(lone, ask_arrival=factor * lone.ask_arrival, bid_arrival=factor * lone.bid_arrival)
    np.testing.assert_allclose(
        solve_quietly(replace(lone, maker_fee=cost)).value[0], solve_quietly(fewer).value[0], atol=1e-9
    )


def test_exploitability_under_risk_aversion_is_the_gain_in_certainty_equivalent():
    game = replace(COSTLY, risk_aversion=1.5, initial_std=0.0, horizon=1.0)
    found = solve_quietly(game, method=Picard(max_sweeps=1), throw=False)
    lifts = game.fill_decay * np.stack([found.mean_field.ask, found.mean_field.bid], axis=1)

    def slope(s, value, best):
        t = min(max(game.horizon - s, 0.0), game.horizon)
        bid, ask = found.policy.quotes(t, found.states)
        return value_slope(game, value, best_quotes(game, value) if best else (ask, bid), at(found, lifts, t))

    ends = [
        solve_ivp(
            slope, (0, 1.0), -game.terminal_penalty * game.states**2, args=(best,), rtol=1e-9, atol=1e-11, max_step=0.02
        ).y[:, -1]
        for best in (True, False)
    ]
    gain = game.initial_density @ (ends[0] - ends[1])
    assert gain > 1e-6
    # Simpson and the law on 65 times.
    assert found.certificate.exploitability == pytest.approx(gain, rel=2e-2)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("adverse_selection", math.inf, "finite"),
        ("maker_fee", math.nan, "a real number"),
        ("risk_aversion", -0.1, "finite and not negative"),
    ],
)
def test_nonsense_is_named_with_the_rule_and_the_value(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}; was {value!r}$"):
        replace(SMALL, **{name: value})


def test_an_outside_option_within_the_fill_decay():
    with pytest.raises(ValueError, match=r"^crowd_decay must not be above fill_decay 0\.8; was 0\.9$"):
        replace(SMALL, competition=OutsideOption(crowd_decay=0.9))
    with pytest.raises(ValueError, match=r"^crowd_decay must be finite and not negative; was -1$"):
        OutsideOption(crowd_decay=-1)
    with pytest.raises(ValueError, match=r"^competition must be a real number; was 'share'$"):
        replace(SMALL, competition="share")
    with pytest.raises(TypeError, match="intensity_shape must have"):
        replace(SMALL, intensity_shape="logistic")
