"""How far the regime game's reference quotes are from the crowd's mean along single paths of the regime."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count
from mfg_core.family.time_grid import interpolate_panels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

LARGEST_NORM = 2.0
"""Longest piece of an exponential's Taylor series, in jumps: cancellation stays at rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class RegimeMeanError:
    """The crowd along simulated paths of the regime, beside the means given only the regime of the moment.

    Attributes
    ----------
    times : (nt+1,) float64
    regime : (paths, nt+1) intp
        The regime in force from each time on.
    ask, bid : (paths, nt+1) float64
        Mean quotes of the makers given the whole path of the regime so far.
    ask_error, bid_error : (paths, nt+1) float64
        Those less the regime's mean quotes, which are the game's references; price units.
    final_density : (paths, nx) float64
        Law of the inventory at T given the path.
    """

    times: Floats
    regime: Indices
    ask: Floats
    bid: Floats
    ask_error: Floats
    bid_error: Floats
    final_density: Floats

    @property
    def rms(self) -> Floats:
        """(nt+1,) root mean square of both errors over the paths."""
        return np.asarray(np.sqrt(np.mean(0.5 * (self.ask_error**2 + self.bid_error**2), axis=0)))

    @property
    def largest(self) -> float:
        """Largest error on any path."""
        return float(max(np.max(np.abs(self.ask_error)), np.max(np.abs(self.bid_error))))


def regime_mean_error(equilibrium: RegimeSwitchingEquilibrium, paths: int = 200, seed: int = 0) -> RegimeMeanError:
    """What the references of a `RegimeSwitchingGame` leave out: the crowd's means along simulated regime paths.

    Regime paths are drawn exactly. Along each, the inventories' law obeys the linear equation of the fills under the
    equilibrium policy, of the regime of the moment; it is solved between switches by exponentials of order 4 in the
    steps of `equilibrium.times` (commutator-free: Blanes & Moan 2006), to about the equilibrium's own tolerance. The
    fills answer to the game's references, not to the path's means: the error measured is that of the reference in this
    equilibrium, not the distance to the equilibrium of the game with the path's means.

    Parameters
    ----------
    equilibrium : RegimeSwitchingEquilibrium
    paths : int
        At least 1.
    seed : int
        Of `numpy.random.default_rng`; the same seed gives the same paths.
    """
    game, times = equilibrium.game, equilibrium.times
    rng = np.random.default_rng(seed)
    start, switch_times, switch_targets = _draw_paths(
        np.array(game.switching_rates), np.array(game.initial_regime), game.horizon, require_count("paths", paths), rng
    )
    count, nodes = start.size, times.size
    law = np.tile(game.regimes[0].initial_density, (count, 1))
    now, reached = start, np.zeros(count, dtype=np.intp)
    regime, means = np.empty((count, nodes), dtype=np.intp), np.empty((2, count, nodes))
    log_rates = _log_fill_rates(equilibrium)
    for node in range(nodes):
        if node > 0:
            at = np.full(count, times[node - 1])
            while np.any(at < times[node]):
                following = switch_times[np.arange(count), reached]
                end = np.minimum(following, times[node])
                law = _advance(times, log_rates, now, law, at, end - at)
                at, switched = end, following == end
                now = np.where(switched, switch_targets[np.arange(count), reached], now)
                reached = reached + switched
        regime[:, node] = now
        means[:, :, node] = _mean_quotes(equilibrium, node, now, law)
    references = [side[np.arange(nodes), regime] for side in (equilibrium.mean_field.ask, equilibrium.mean_field.bid)]
    errors = means[0] - references[0], means[1] - references[1]
    return RegimeMeanError(times, regime, means[0], means[1], *errors, law)


def _draw_paths(
    rates: Floats, initial: Floats, horizon: float, paths: int, rng: np.random.Generator
) -> tuple[Indices, Floats, Indices]:
    """(paths,) first regimes; (paths, switches) times, inf after the last one before T, and what they lead to."""
    first, histories = np.empty(paths, dtype=np.intp), []
    for path in range(paths):
        now, t = int(rng.choice(initial.size, p=initial)), 0.0
        first[path] = now
        history: list[tuple[float, int]] = []
        while rates[now, now] < 0:
            t += rng.exponential(-1.0 / rates[now, now])
            if t >= horizon:
                break
            leave = np.where(np.arange(initial.size) == now, 0.0, rates[now])
            now = int(rng.choice(initial.size, p=leave / leave.sum()))
            history.append((t, now))
        histories.append(history)
    longest = 1 + max(len(history) for history in histories)
    times, targets = np.full((paths, longest), np.inf), np.zeros((paths, longest), dtype=np.intp)
    for path, history in enumerate(histories):
        for j, (t, now) in enumerate(history):
            times[path, j], targets[path, j] = t, now
    return first, times, targets


def _log_fill_rates(equilibrium: RegimeSwitchingEquilibrium) -> Floats:
    """(2, nt+1, S (nx-1)) log of the fill rates of the states that quote an ask, then of those that quote a bid."""
    game, parts = equilibrium.game, equilibrium.regimes
    control = np.concatenate(
        [side for part in parts for side in (part.policy.ask[:, 1:], part.policy.bid[:, :-1])], axis=1
    )
    density = np.concatenate(
        [equilibrium.regime_probability[:, s : s + 1] * part.density for s, part in enumerate(parts)], axis=1
    )
    times = equilibrium.times
    logs = np.log(game.blocks.rates(times, control, game.field(times, density, control)))
    # Columns are (regime, side, state that quotes).
    by_side = logs.reshape(times.size, len(parts), 2, -1).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(by_side).reshape(2, times.size, -1)


def _mean_quotes(
    equilibrium: RegimeSwitchingEquilibrium, node: int, regime: Indices, law: Floats
) -> tuple[Floats, Floats]:
    """(ask, bid), each (paths,): mean quotes of the laws in their regimes."""
    ask = np.stack([part.policy.ask[node, 1:] for part in equilibrium.regimes])[regime]
    bid = np.stack([part.policy.bid[node, :-1] for part in equilibrium.regimes])[regime]
    means = [np.sum(held * side, axis=1) / held.sum(axis=1) for held, side in ((law[:, 1:], ask), (law[:, :-1], bid))]
    return means[0], means[1]


def _advance(times: Floats, log_rates: Floats, regime: Indices, law: Floats, at: Floats, length: Floats) -> Floats:
    """Laws (paths, nx) after `length` (paths,) from times `at`, each in its regime."""
    quoting = law.shape[1] - 1
    column = regime[:, None] * quoting + np.arange(quoting)
    early, late = (
        np.exp(
            np.stack([interpolate_panels(times, side, (at + share * length)[:, None], column) for side in log_rates])
        )
        for share in (0.5 - math.sqrt(3.0) / 6.0, 0.5 + math.sqrt(3.0) / 6.0)
    )
    near, far = 0.25 + math.sqrt(3.0) / 6.0, 0.25 - math.sqrt(3.0) / 6.0
    for sold, bought in ((near * early + far * late), (far * early + near * late)):
        law = _exponentiate(sold * length[:, None], bought * length[:, None], law)
    return law


def _exponentiate(sold: Floats, bought: Floats, law: Floats) -> Floats:
    """The law after jumps down and up with these integrated rates (paths, nx-1), by pieces of the Taylor series."""
    pieces = max(1, math.ceil(float(np.max(np.abs(sold)) + np.max(np.abs(bought))) / LARGEST_NORM))
    sold, bought = sold / pieces, bought / pieces
    for _ in range(pieces):
        term, order = law, 0
        while np.max(np.abs(term)) > 1e-18:
            order += 1
            down, up = sold * term[:, 1:] / order, bought * term[:, :-1] / order
            term = np.zeros_like(law)
            term[:, :-1] += down - up
            term[:, 1:] += up - down
            law = law + term
    return law
