"""The two marches of a finite-state game: best reply to a mean field by policy iteration, and the crowd that plays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_positive
from mfg_core.errors import SolveError
from mfg_core.family.finite_kernels import (
    LARGEST_NORM,
    MOST_PIECES,
    fill_slopes,
    march_density,
    march_value,
    weigh_steps,
)
from mfg_core.family.finite_state import JointGame, RiskSensitiveGame
from mfg_core.family.refinement import Reply, StepTooLongError
from mfg_core.family.time_grid import bisect, half_way, quarter_values
from mfg_core.iteration.work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.family.finite_state import FiniteStateGame

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

MOST_ROUNDS = 40
"""Policy iterations before a step is called too long."""

SHORTEST_STEP = 1e-13
"""Of the time: a step that is too long and as short as that is not cut, it is a few hundred units of rounding."""

INNER_SHARE = 0.01
"""What policy iteration may leave of the tolerance."""

OUTER_SHARE = 1e-3
"""What it may leave of the distance that the value has moved since the last sweep."""


STEP_WORK = 200.0
"""Units of `Work` per state and step of one march, with the control that it plays."""

TERM_WORK = 8.0
"""The same per state and transition expected in the step: its series is so much longer."""

FAR_COST = 3.0
"""Of a transition that is not to a neighbour, in states."""

NODE_WORK = 2e5
"""The same per node of a first guess, which is not compiled."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A game's transitions as the marches want them: those to a neighbouring state, and the others.

    Attributes
    ----------
    sources, targets : (m,) intp
        The game's.
    columns : (m,) intp
        Column of a step's rates: i for the transition i -> i - 1, n + i for i -> i + 1, from 2 n on for the others.
    far : (others,) intp
        The others, in that order.
    states : int
    """

    sources: Indices
    targets: Indices
    columns: Indices
    far: Indices
    states: int


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A game with what all its marches share: ends, unit, network, tolerances, and the tangent of a risk-averse one."""

    game: FiniteStateGame
    network: Network
    initial_density: Floats
    terminal_value: Floats
    value_unit: float
    rtol: float
    atol: float
    risk_averse: RiskSensitiveGame | None
    joint: JointGame | None
    work: Work


@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """A control put into the game's equations on the nodes (even rows) and half-way between them (odd rows).

    `rates` (2 steps + 1, m) moves the crowd; `tangent_rates` and `reward` (2 steps + 1, n) are the value's equation
    -V' = reward + G V, where they differ from the game's own rates and reward only under risk aversion.
    """

    control: Floats
    rates: Floats
    tangent_rates: Floats
    reward: Floats


def build_network(game: FiniteStateGame) -> Network:
    """The game's transitions as the marches want them; ValueError when they are not between states of the game."""
    n = game.initial_density.size
    sources, targets = np.asarray(game.sources, dtype=np.intp), np.asarray(game.targets, dtype=np.intp)
    if sources.ndim != 1 or sources.shape != targets.shape:
        raise ValueError(f"sources and targets must be (m,) alike; were {sources.shape} and {targets.shape}")
    for name, ends in (("sources", sources), ("targets", targets)):
        if ends.size and not (ends.min() >= 0 and ends.max() < n):
            raise ValueError(f"{name} must be states 0..{n - 1}; was from {ends.min()} to {ends.max()}")
    if np.any(sources == targets):
        raise ValueError(f"targets must differ from sources; transition {np.argmax(sources == targets)} stays")
    far = np.flatnonzero(np.abs(targets - sources) > 1)
    columns = np.where(targets < sources, sources, n + sources)
    columns[far] = 2 * n + np.arange(far.size)
    return Network(sources, targets, columns, far, n)


def set_up(game: FiniteStateGame, rtol: float, atol: float, work: Work | None = None) -> Setting:
    """The setting of a game, without `work` unbounded; ValueError when its ends or transitions make no sense."""
    first, last = (np.array(end, dtype=np.float64) for end in (game.initial_density, game.terminal_value))
    if first.ndim != 1 or not (np.all(first >= 0) and abs(first.sum() - 1.0) < 1e-9):
        raise ValueError(f"initial_density must be (n,), not negative, with sum 1; was {first} with sum {first.sum()}")
    if last.shape != first.shape or not np.all(np.isfinite(last)):
        raise ValueError(f"terminal_value must be {first.shape} and finite; was {last}")
    unit = require_positive("value_unit", game.value_unit)
    require_positive("field_unit", game.field_unit)
    require_positive("horizon", game.horizon)
    risk_averse = game if isinstance(game, RiskSensitiveGame) else None
    joint = game if isinstance(game, JointGame) else None
    return Setting(game, build_network(game), first, last, unit, rtol, atol, risk_averse, joint, work or Work(math.inf))


def play(setting: Setting, t: Floats, control: Floats, value: Floats, field: Floats) -> Play:
    """The game's equations under a control; SolveError when the game answers with another shape or a negative rate."""
    game, shape = setting.game, (t.size, setting.network.sources.size)
    if setting.joint is not None:
        moving, steering, earned = setting.joint.equations(t, value, control, field)
    elif setting.risk_averse is not None:
        moving = game.rates(t, control, field)
        steering, earned = setting.risk_averse.tangent(t, value, control, field)
    else:
        moving, earned = game.rates(t, control, field), game.reward(t, control, field)
        steering = moving
    rates = _shaped("rates", moving, shape)
    tangent = rates if steering is moving else _shaped("tangent rates", steering, shape)
    reward = _shaped("reward", earned, value.shape)
    if rates.size and rates.min() < 0.0:
        row, column = np.unravel_index(np.argmin(rates), rates.shape)
        raise SolveError(
            f"rates must not be negative; was {rates[row, column]} for transition {column} at time {t[row]}"
        )
    return Play(control, rates, tangent, reward)


def best_play(setting: Setting, times: Floats, value: Floats, slopes: Floats, path: Floats) -> Play:
    """The best control for V with slopes V' on the nodes (nt+1, n) in the field `path` (fields, nt+1)."""
    rows = 2 * times.size - 1
    between = np.empty((rows, value.shape[1]))
    field = np.empty((rows, path.shape[0]))
    between[::2], between[1::2] = value, half_way(times, value, slopes)
    field[::2], field[1::2] = path.T, quarter_values(path).T
    t = bisect(times)
    control = np.asarray(setting.game.control(t, between, field), dtype=np.float64)
    if control.ndim != 2 or control.shape[0] != rows:
        raise SolveError(f"control must be ({rows}, controls); was {control.shape}")
    return play(setting, t, control, between, field)


def weigh(network: Network, times: Floats, rates: Floats, reward: Floats) -> tuple[Floats, Floats]:
    """(rates (steps, 2, columns), rewards (steps, 2, n)) integrated over the exponentials of each step."""
    steps, n = times.size - 1, reward.shape[1]
    weights, rewards = np.empty((steps, 2, 2 * n + network.far.size)), np.empty((steps, 2, n))
    _check_steps(times, weigh_steps(times, rates, reward, network.columns, weights, rewards), weights)
    return weights, rewards


def march_back(network: Network, times: Floats, at: Play, start: Floats, value: Floats) -> None:
    """Fill V backwards when everybody plays `at`; see `march_value`."""
    weights, rewards = weigh(network, times, at.tangent_rates, at.reward)
    sources, targets = network.sources[network.far], network.targets[network.far]
    _check_steps(times, march_value(sources, targets, weights, rewards, start, value), weights)


def march_forth(network: Network, times: Floats, at: Play, start: Floats, density: Floats) -> None:
    """Fill the population forwards when it plays `at`; see `march_density`."""
    weights, _ = weigh(network, times, at.rates, at.reward)
    sources, targets = network.sources[network.far], network.targets[network.far]
    _check_steps(times, march_density(sources, targets, weights, start, density), weights)


def _check_steps(times: Floats, wrong: int, weights: Floats) -> None:
    """StepTooLongError where step `wrong` is not -1; SolveError where it is too short to be cut."""
    if wrong < 0:
        return
    step = times[wrong + 1] - times[wrong]
    if step > SHORTEST_STEP * times[-1]:
        raise StepTooLongError
    fastest = np.max(np.nan_to_num(weights[wrong], nan=np.inf)) / step
    raise SolveError(
        f"a transition rate is {fastest:.2g} per unit of time at time {times[wrong + 1]:.6g}, "
        "too fast for times in floating point: lower the differences of the terminal value (in market making "
        "fill_decay * terminal_penalty * max_inventory), bound the controls (min_half_spread), or damp the fixed point "
        "if its first sweeps go too far"
    )


def value_of(network: Network, times: Floats, at: Play, last: Floats) -> tuple[Floats, Floats]:
    """(V, V') on the nodes when everybody plays `at` and V(T) is `last`."""
    value = np.empty((times.size, last.size))
    value[-1] = last
    march_back(network, times, at, value, value)
    return value, slopes_of(network, at, value)


def slopes_of(network: Network, at: Play, value: Floats) -> Floats:
    """V' = -(reward + G V) on the nodes."""
    slopes = np.empty_like(value)
    fill_slopes(network.sources, network.targets, at.tangent_rates, at.reward, value, slopes)
    return slopes


def density_of(network: Network, times: Floats, at: Play, first: Floats) -> Floats:
    """The population on the nodes when it starts as `first` and plays `at`."""
    density = np.empty((times.size, first.size))
    density[0] = first
    march_forth(network, times, at, density, density)
    return density


def best_reply(
    setting: Setting, times: Floats, path: Floats, near: tuple[Floats, Floats] | None
) -> tuple[Floats, Floats, Play]:
    """(V, V', best control) in the field `path` (fields, nt+1), by policy iteration over all nodes at once.

    It starts from the (V, V') of a field near by, or from a march in which every step keeps the control of its end. V
    is the exact value of a policy up to the order of the steps; the iteration is Newton's (Puterman & Brumelle 1979)
    and ends when what is left of the error, at most the last move times the rate at which moves shrink, is 1 % of the
    tolerance or 0.1 % of the first move.
    """
    if near is None:
        setting.work.add(NODE_WORK * times.size)
    value, slopes = near or first_value(setting, times, path)
    at = best_play(setting, times, value, slopes, path)
    moved, first_move = 1.0, 0.0
    for round_ in range(MOST_ROUNDS):
        setting.work.add(_march_work(setting.network, times, at.tangent_rates))
        after, slopes = value_of(setting.network, times, at, setting.terminal_value)
        before, moved = moved, float(np.max(np.abs(after - value) / (setting.value_unit + np.abs(after))))
        value = after
        if not np.isfinite(moved):
            break
        first_move = first_move if round_ else moved
        at = best_play(setting, times, value, slopes, path)
        if moved * min(moved / before, 1.0) <= max(
            INNER_SHARE * (setting.rtol + setting.atol), OUTER_SHARE * first_move
        ):
            return value, slopes, at
    raise StepTooLongError


def _march_work(network: Network, times: Floats, rates: Floats) -> float:
    """Work of one march, with the control before it; a step that is too long is refused before its series."""
    lengths = np.diff(times) * np.max(rates[1::2], axis=1, initial=0.0)
    terms = float(np.sum(lengths)) if np.all(lengths < LARGEST_NORM * MOST_PIECES) else 0.0
    return float((network.states + FAR_COST * network.far.size) * (STEP_WORK * times.size + TERM_WORK * terms))


def first_value(setting: Setting, times: Floats, path: Floats) -> tuple[Floats, Floats]:
    """(V, V') to start policy iteration from: over each step the control that is best at its end (order 1)."""
    network = setting.network
    value = np.empty((times.size, setting.terminal_value.size))
    slopes = np.empty_like(value)
    value[-1] = setting.terminal_value
    for node in range(times.size - 1, -1, -1):
        t, row, field = times[node : node + 1], value[node : node + 1], path[:, node : node + 1].T.copy()
        at = play(setting, t, np.asarray(setting.game.control(t, row, field)), row, field)
        slopes[node] = slopes_of(network, at, row)
        if node > 0:
            step = times[node - 1 : node + 1]
            held = Play(at.control, at.rates, np.repeat(at.tangent_rates, 3, axis=0), np.repeat(at.reward, 3, axis=0))
            value[node - 1] = value_of(network, step, held, value[node])[0][0]
    return value, slopes


def reply(setting: Setting, times: Floats, path: Floats, near: tuple[Floats, Floats] | None) -> tuple[Reply, Play]:
    """The best reply to the field `path`, the population that plays it, and its field; also the play itself."""
    value, slopes, at = best_reply(setting, times, path, near)
    setting.work.add(_march_work(setting.network, times, at.rates))
    density = density_of(setting.network, times, at, setting.initial_density)
    image = _shaped("field", setting.game.field(times, density, at.control[::2]), (times.size, path.shape[0]))
    return Reply(value, density, np.ascontiguousarray(image.T), slopes), at


def _shaped(name: str, array: Floats, shape: tuple[int, ...]) -> Floats:
    array = np.ascontiguousarray(array, dtype=np.float64)
    if array.shape != shape:
        raise SolveError(f"{name} must be {shape}; was {array.shape}")
    return array
