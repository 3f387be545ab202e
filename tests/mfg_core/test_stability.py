"""Contraction rates against dense Jacobians and closed forms; equilibria found against shooting."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import logsumexp

from mfg_core import (
    Anderson,
    EdgeMassWarning,
    FictitiousPlay,
    MarketMakingGame,
    NewtonKrylov,
    Picard,
    Share,
    solve_mfg,
)
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.market.intensity_shapes import Logistic
from mfg_core.market.market_reply import best_quotes
from mfg_core.study.equilibrium_map import equilibrium_map
from mfg_core.study.equilibrium_search import find_equilibria
from mfg_core.study.stability import arnoldi, contraction_rate, leading_eigenvalues
from mfg_core.study.stability_scan import scan_stability


@dataclass(frozen=True)
class TwoVenues:
    """Traders switch between two venues at a rate that costs its square/2; m is the difference of their shares.

    The running reward is pull * m on the second venue and -pull * m on the first: with pull > 0 liquidity attracts,
    with pull < 0 crowding repels. With z = V_2 - V_1 the equations are z' = -2 pull m + z |z|/2, z(T) = 0, and
    m' = z - m |z|. At m = z = 0 they linearise to m'' = -(2 pull) m under m(0) = m'(T) = 0, so that the map's
    derivative has the eigenvalues 2 pull (2 T/((2 j - 1) pi))^2, j = 1, 2, ...
    """

    pull: float
    horizon: float = 2.0
    lean: float = 0.0
    sources = np.array([0, 1])
    targets = np.array([1, 0])
    terminal_value = np.zeros(2)
    first_field = np.zeros(1)
    value_unit = field_unit = 1.0

    @property
    def initial_density(self):
        return np.array([1.0 - self.lean, 1.0 + self.lean]) / 2.0

    def control(self, t, value, field):
        gap = value[:, 1] - value[:, 0]
        return np.maximum(np.stack([gap, -gap], axis=1), 0.0)

    def rates(self, t, control, field):
        return control

    def reward(self, t, control, field):
        return self.pull * field * np.array([-1.0, 1.0]) - 0.5 * control**2

    def field(self, t, density, control):
        return density[:, 1:] - density[:, :1]


def shooting_roots(game):
    """m(T) of all equilibria: the ends from which the equations, run backwards, start at m(0) = lean."""

    def miss(last):
        def slope(_, y):
            return [y[1] - y[0] * abs(y[1]), -2.0 * game.pull * y[0] + y[1] * abs(y[1]) / 2.0]

        def runs_off(_, y):  # m cannot come back from there: |z| only grows backwards
            return abs(y[1]) - 50.0

        runs_off.terminal = True
        path = solve_ivp(slope, (game.horizon, 0.0), [last, 0.0], rtol=1e-10, atol=1e-12, events=runs_off)
        return path.y[0, -1] - game.lean

    ends = np.linspace(-0.995, 0.995, 60)
    values = [miss(end) for end in ends]
    crossing = np.nonzero(np.sign(values[1:]) != np.sign(values[:-1]))[0]
    return np.array([brentq(miss, ends[j], ends[j + 1], xtol=1e-12) for j in crossing])


def quiet_solve(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, **options)


def lopsided(**changes):
    parameters = {
        "ask_arrival": 1.2,
        "bid_arrival": 0.8,
        "fill_decay": 0.5,
        "running_penalty": 0.01,
        "terminal_penalty": 0.1,
        "horizon": 8.0,
        "max_inventory": 4,
        "initial_mean": 1.0,
        "initial_std": 1.0,
    }
    return MarketMakingGame(**{**parameters, **changes})


@pytest.mark.parametrize(
    "changes", [{}, {"min_half_spread": 0.5, "max_half_spread": 3.0}, {"intensity_shape": Logistic()}]
)
def test_leading_eigenvalues_are_those_of_the_dense_jacobian(changes):
    found = quiet_solve(lopsided(**changes), rtol=1e-3)
    phi, point = equilibrium_map(found)
    h = 1e-5
    columns = [(phi(point + h * unit) - phi(point - h * unit)) / (2 * h) for unit in np.eye(point.size)]
    dense = np.linalg.eigvals(np.stack(columns, axis=1))
    dense = dense[np.argsort(-np.abs(dense))][:3]
    # Differences of a map known to 1e-13: 1e-8; the eigenvalues were asked to 1e-5 of the largest.
    np.testing.assert_allclose(np.sort_complex(leading_eigenvalues(found, 3)), np.sort_complex(dense), atol=2e-5)


@pytest.mark.parametrize("competition", [1.0, 0.6])
def test_plain_sweeps_shrink_the_error_at_the_contraction_rate(competition):
    found = quiet_solve(lopsided(competition=competition), rtol=1e-7)
    phi, point = equilibrium_map(found)
    bump = np.concatenate([np.ones(point.size // 2), -np.ones(point.size // 2)])
    path, moves = point + 1e-3 * bump, []
    for _ in range(14):
        image = phi(path)
        moves.append(np.linalg.norm(image - path))
        path = image
    # Fourteen sweeps leave the second mode, about a third of the first, at 1e-5 of it or so.
    assert moves[-1] / moves[-2] == pytest.approx(contraction_rate(found), rel=1e-3)


def test_a_lone_maker_has_nothing_to_iterate():
    assert contraction_rate(quiet_solve(lopsided(competition=0.0), rtol=1e-4)) == 0.0


def test_arnoldi_finds_complex_pairs_of_a_dense_matrix():
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(40, 40)) / 6.0
    matrix[:2, :2] = [[0.0, -3.0], [3.0, 0.0]]
    exact = np.linalg.eigvals(matrix)
    exact = exact[np.argsort(-np.abs(exact))][:2]
    found = arnoldi(lambda v: matrix @ v, 40, 2, 1e-10, 40)
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(exact), rtol=1e-9)


@pytest.mark.parametrize("pull", [1.0, -1.0, 0.25])
def test_eigenvalues_at_the_even_split_are_those_of_the_closed_form(pull):
    game = TwoVenues(pull)
    found = solve_finite_state(game, NewtonKrylov(), 1e-9, 1e-12)
    np.testing.assert_allclose(found.mean_field, 0.0, atol=1e-9)
    exact = 2.0 * pull * (2.0 * game.horizon / (np.array([1.0, 3.0]) * np.pi)) ** 2
    # The closed form is of continuous time; the map smooths twice and is of order 4 on some 64 steps.
    np.testing.assert_allclose(leading_eigenvalues(found, 2).real, exact, rtol=1e-3)


@pytest.mark.parametrize(("pull", "lean", "count"), [(1.0, 0.0, 3), (1.0, 0.3, 3), (0.25, 0.3, 1), (-1.0, 0.3, 1)])
def test_the_search_finds_every_equilibrium_that_shooting_finds(pull, lean, count):
    game = TwoVenues(pull, lean=lean)
    exact = shooting_roots(game)
    assert exact.size == count
    search = find_equilibria(game, starts=14, seed=0)
    ends = sorted(float(each.mean_field[-1, 0]) for each in search.equilibria)
    np.testing.assert_allclose(ends, exact, atol=1e-5)  # the search's rtol is 1e-6 of 1 + |m|
    assert sum(search.hits) + len(search.failures) == 14
    assert all(each.certificate.converged for each in search.equilibria)


def test_plain_picard_cycles_around_the_only_equilibrium_of_a_crowding_game_and_the_others_find_it():
    """With pull < 0 rewards are monotone (Lasry & Lions 2007), so there is one equilibrium; its rate is 3.15 > 1."""
    game = TwoVenues(-1.0, lean=0.3)
    (exact,) = shooting_roots(game)
    plain = solve_finite_state(game, Picard(max_sweeps=100), 1e-8, 1e-12)
    assert not plain.certificate.converged
    assert plain.certificate.residual > 1.0  # of a difference of shares, which is at most 2
    for method, rtol in ((Anderson(), 1e-8), (NewtonKrylov(), 1e-8), (Picard(0.3), 1e-8), (FictitiousPlay(), 1e-3)):
        found = solve_finite_state(game, method, rtol, 1e-12)
        assert found.certificate.converged
        assert found.mean_field[-1, 0] == pytest.approx(exact, abs=2 * rtol)
    assert leading_eigenvalues(solve_finite_state(game, Anderson(), 1e-6, 1e-12))[0].real < -3.0


def test_picard_reaches_only_the_stable_equilibria():
    search = find_equilibria(TwoVenues(1.0, lean=0.3), starts=14, seed=0)
    rates = [contraction_rate(each) for each in search.equilibria]
    assert sorted(rate < 1.0 for rate in rates) == [False, True, True]
    plain = find_equilibria(TwoVenues(1.0, lean=0.3), starts=14, seed=0, method=Picard())
    stable = sorted(
        float(each.mean_field[-1, 0]) for each, rate in zip(search.equilibria, rates, strict=True) if rate < 1
    )
    reached = sorted(float(each.mean_field[-1, 0]) for each in plain.equilibria)
    np.testing.assert_allclose(reached, stable, atol=1e-5)


def test_searches_of_a_market_making_game_end_at_the_solved_equilibrium():
    game = lopsided(horizon=2.0)
    search = find_equilibria(game, starts=5, seed=1)
    assert search.hits == (5,)
    found = quiet_solve(game)
    np.testing.assert_allclose(search.equilibria[0].value[0], found.value[0], atol=2e-5)
    assert search.equilibria[0].mean_field[0, 0] == pytest.approx(found.mean_field.ask[0], rel=1e-5)


def test_a_search_is_the_same_for_the_same_seed():
    one, other = (find_equilibria(TwoVenues(1.0), starts=6, seed=5) for _ in range(2))
    assert one.hits == other.hits
    for first, second in zip(one.equilibria, other.equilibria, strict=True):
        assert first.mean_field.tobytes() == second.mean_field.tobytes()


def test_nonsense_is_named():
    with pytest.raises(ValueError, match="starts must be an integer of at least 1; was 0"):
        find_equilibria(TwoVenues(1.0), starts=0)
    with pytest.raises(ValueError, match="apart must be finite and positive; was 0"):
        find_equilibria(TwoVenues(1.0), apart=0)
    with pytest.raises(ValueError, match="count must be an integer of at least 1; was 0"):
        leading_eigenvalues(solve_finite_state(TwoVenues(0.25), Anderson(), 1e-4, 1e-6), 0)


def test_a_scan_shows_where_plain_sweeps_are_too_slow_and_the_others_are_not():
    """At c = 1 only the close and the ends of the grid tie down a common shift of both quotes: rates near 1."""
    games = [
        lopsided(
            ask_arrival=1.4,
            bid_arrival=1.5,
            fill_decay=1.0,
            running_penalty=2.0,
            terminal_penalty=0.1,
            horizon=8.0,
            initial_mean=0.0,
            initial_std=0.0,
            competition=competition,
        )
        for competition in (1.0, 0.5)
    ]
    slow, fast = scan_stability(games, rtol=1e-4)
    assert slow.rate > 0.98
    assert slow.evaluations[0] > 10 * max(slow.evaluations[1:])
    assert fast.rate < 0.55
    assert None not in fast.evaluations


def test_a_scan_says_which_game_nobody_solved():
    (scanned,) = scan_stability([lopsided()], methods=(Picard(max_sweeps=2), Anderson(max_sweeps=2)))
    assert np.isnan(scanned.rate)
    assert scanned.evaluations == (None, None)


def test_soft_means_of_quotes_that_are_hundreds_of_1_over_k_apart_are_finite():
    """exp(-k quote) of the states that hold the crowd is then below the least number, beside that of the others."""
    found = quiet_solve(lopsided(fill_decay=1.0, competition=Share(), horizon=0.5), rtol=1e-3)
    value = np.broadcast_to(-200.0 * found.states**2, found.value.shape).copy()
    ask, bid = best_quotes(found.game, value)
    law = np.zeros_like(value)
    law[:, 3:6] = [0.2, 0.5, 0.3]
    steep = replace(found, value=value, density=law, policy=replace(found.policy, ask=ask, bid=bid))
    point = equilibrium_map(steep)[1].reshape(2, -1)
    np.testing.assert_allclose(point[0], -logsumexp(-ask[0, 3:6], b=[0.2, 0.5, 0.3]), rtol=1e-12)
    np.testing.assert_allclose(point[1], -logsumexp(-bid[0, 3:6], b=[0.2, 0.5, 0.3]), rtol=1e-12)
