"""What must hold for a market-making equilibrium, checked on its arrays: symmetry, shape, mass, bounds, certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.market.market_certificate import EDGE_MASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

    Floats = NDArray[np.float64]

ROUNDING = float(np.finfo(np.float64).eps)


class Outcome(Enum):
    """What a check found."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_APPLICABLE = "does not apply"


@dataclass(frozen=True, slots=True)
class SanityCheck:
    """One check: what was measured, what was allowed, and what that means.

    Attributes
    ----------
    name : str
    outcome : Outcome
    figure, limit : float
        The check passes when `figure <= limit`; both nan when it does not apply.
    words : str
        What must hold, or why the check does not apply.
    """

    name: str
    outcome: Outcome
    figure: float
    limit: float
    words: str

    @property
    def applies(self) -> bool:
        """Whether there was something to check."""
        return self.outcome is not Outcome.NOT_APPLICABLE

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: it holds or does not apply."""
        return self.outcome is not Outcome.FAILED


def check_equilibrium(
    equilibrium: MarketMakingEquilibrium, rtol: float, atol: float, largest_edge_mass: float = EDGE_MASS
) -> tuple[SanityCheck, ...]:
    """The sanity checks of a market-making equilibrium that was solved to `rtol` and `atol`.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium
    rtol, atol : float
        The tolerance asked of `solve_mfg`.
    largest_edge_mass : float
        Share of the makers that may stand at the ends of the grid; 1 when `max_inventory` is a limit that is meant.

    Examples
    --------
    >>> from mfg_core import MarketMakingGame, solve_mfg
    >>> game = MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, fill_decay=1.5, running_penalty=0.1,
    ...                         terminal_penalty=0.1, horizon=1.0, max_inventory=8)
    >>> checks = check_equilibrium(solve_mfg(game, rtol=1e-6, atol=1e-9), 1e-6, 1e-9)
    >>> sorted({check.outcome.value for check in checks})
    ['pass']
    """
    return (
        *check_market(equilibrium, rtol, atol, largest_edge_mass, uneven=asymmetry(equilibrium.game)),
        check_crowd([equilibrium], [1.0]),
        *check_certificate(equilibrium.certificate, rtol, atol, start_size(equilibrium)),
    )


def check_market(
    market: MarketMakingEquilibrium,
    rtol: float,
    atol: float,
    largest_edge_mass: float,
    *,
    uneven: str,
    hollow: str = "",
    bent: str = "",
) -> tuple[SanityCheck, ...]:
    """The checks of one market's value, quotes and law, be it a whole game or a part of one.

    `uneven` says why the whole game is not symmetric; `hollow` and `bent` what in the rest of it lets V not be highest
    at flat inventory, not be concave; empty when nothing does.
    """
    # What a value may be wrong by: the tolerance is relative to its own size, not to the largest one, far out.
    error = (rtol + 64.0 * ROUNDING) * (1.0 / market.game.fill_decay + np.abs(market.value)) + atol
    return (
        _symmetry(market, rtol, atol, error, uneven),
        _monotone(market, error, uneven, hollow or losing(market)),
        _concave(market, error, bent or forced(market)),
        _terminal(market),
        check_mass(market.density),
        _edge_mass(market, largest_edge_mass),
        _nonnegative(market),
        _bounds(market),
    )


def check_crowd(parts: Sequence[MarketMakingEquilibrium], shares: Sequence[float]) -> SanityCheck:
    """Whether the mean quotes are the averages over the makers of all parts who quote that side."""
    gaps = []
    for side in ("ask", "bid"):
        quotes = np.concatenate([getattr(part.policy, side) for part in parts], axis=1)
        density = np.concatenate([share * part.density for part, share in zip(parts, shares, strict=True)], axis=1)
        weight = np.where(np.isnan(quotes), 0.0, density)
        present = weight.sum(axis=1) != 0  # nan is not nobody
        average = np.nansum(weight * quotes, axis=1)[present] / weight.sum(axis=1)[present]
        gaps.append(np.max(np.abs(average - getattr(parts[0].mean_field, side)[present]), initial=0.0))
    words = "the mean quotes are the averages over the makers who quote that side"
    return judge("mean quotes", float(np.max(gaps)), parts[0].certificate.tolerance, words)


def check_certificate(proof: Certificate, rtol: float, atol: float, size: float) -> tuple[SanityCheck, ...]:
    """Residual, exploitability and discretisation error of a certificate; `size` is what the gain is relative to."""
    return (
        judge(
            "residual",
            proof.residual,
            proof.tolerance,
            "when everybody replies once more to the crowd, the crowd changes by at most the tolerance",
        ),
        judge(
            "exploitability",
            proof.exploitability if proof.exploitability >= 0 else math.inf,
            rtol * size + atol,
            "nobody gains more than the tolerance by leaving the policy alone, and the gain is not negative",
        ),
        judge(
            "discretisation",
            proof.discretisation_error,
            rtol + atol,
            "the estimated error of values, quotes and probabilities is within the tolerance",
        ),
    )


def start_size(market: MarketMakingEquilibrium) -> float:
    """1/k plus what a maker earns on average, price: what the tolerance of a gain at the start is relative to."""
    return 1.0 / market.game.fill_decay + abs(float(market.density[0] @ market.value[0]))


def check_mass(density: Floats) -> SanityCheck:
    """Whether the probabilities (nt+1, n) sum to 1 at every time, to rounding."""
    gap = float(np.max(np.abs(density.sum(axis=1) - 1.0)))
    return judge("mass", gap, density.size * ROUNDING, "the probabilities sum to 1 at every time, to rounding")


def asymmetry(game: MarketMakingGame) -> str:
    """Why swapping the sides does not leave the game as it is; empty when it does."""
    if game.ask_arrival != game.bid_arrival:
        return f"ask_arrival {game.ask_arrival:g} is not bid_arrival {game.bid_arrival:g}"
    return f"the crowd starts at a mean inventory of {game.initial_mean:g}" if game.initial_mean else ""


def _symmetry(
    equilibrium: MarketMakingEquilibrium, rtol: float, atol: float, error: Floats, uneven: str
) -> SanityCheck:
    if uneven:
        return skip("symmetry", f"the game is not symmetric: {uneven}")
    value, quote, field = equilibrium.value, 1.0 / equilibrium.game.fill_decay, equilibrium.mean_field
    # Quotes are differences of values: they have the rounding of these.
    rounding = 64.0 * ROUNDING * (quote + float(np.max(np.abs(value))))
    quoted = rtol * (quote + np.maximum(np.abs(field.ask), np.abs(field.bid))) + atol + rounding
    gap = np.concatenate([np.abs(value - value[:, ::-1]).ravel(), np.abs(equilibrium.net_skew)])
    words = "V(t, x) = V(t, -x) and the mean ask is the mean bid"
    return judge_worst("symmetry", gap, np.concatenate([2.0 * error.ravel(), 2.0 * quoted]), words)


def losing(market: MarketMakingEquilibrium) -> str:
    """Why makers are better off where they quote one side only; empty when quoting at a profit is allowed."""
    game = market.game
    return (
        f"max_half_spread {game.max_half_spread:g} makes every fill a loss"
        if game.max_half_spread < game.fill_cost
        else ""
    )


def forced(market: MarketMakingEquilibrium) -> str:
    """Why makers next to the limits trade at a loss; empty when they do not."""
    value, policy = market.value, market.policy
    profit = min(
        float(np.min(policy.ask[:, 1] + value[:, 0] - value[:, 1])),
        float(np.min(policy.bid[:, -2] + value[:, -1] - value[:, -2])),
    )
    loss = market.game.fill_cost - profit
    return f"max_half_spread makes fills into the ends of the grid a loss, of up to {loss:.3g}" if loss > 0.0 else ""


def _monotone(equilibrium: MarketMakingEquilibrium, error: Floats, uneven: str, hollow: str) -> SanityCheck:
    """V falls away from flat inventory.

    D(x) = V(x) - V(x+1), x >= 0, obeys a cooperative system with the sources eta (2x+1) and, at Q, H(0), H being the
    best profit rate of one side as a function of the gap; so D >= 0 whenever H(0) >= 0: quoting at a profit is allowed.
    """
    if uneven or hollow:
        return skip("monotone value", f"V need not be highest at flat inventory: {uneven or hollow}")
    outward = np.diff(equilibrium.value, axis=1) * np.where(equilibrium.states[:-1] >= 0, 1.0, -1.0)
    words = "at every time V is highest at flat inventory and falls outwards; the figure is its largest rise"
    return judge_worst("monotone value", np.maximum(outward, 0.0), error[:, 1:] + error[:, :-1], words)


def _concave(equilibrium: MarketMakingEquilibrium, error: Floats, bent: str) -> SanityCheck:
    """V is concave in inventory, at every time and -Q < x < Q.

    The cone of concave functions is invariant under -V' = H_a(V(x-1) - V(x)) + H_b(V(x+1) - V(x)) - eta x^2 for any
    increasing H, as long as H >= 0 where a fill leads to the ends: always without an upper bound of the quotes.
    """
    if bent:
        return skip("concave value", f"V need not be concave: {bent}")
    value = equilibrium.value
    bend = value[:, 2:] - 2.0 * value[:, 1:-1] + value[:, :-2]
    allowed = error[:, 2:] + 2.0 * error[:, 1:-1] + error[:, :-2]
    words = "V is concave in inventory at every time, -Q < x < Q; the figure is its largest second difference"
    return judge_worst("concave value", np.maximum(bend, 0.0), allowed, words)


def _terminal(equilibrium: MarketMakingEquilibrium) -> SanityCheck:
    exact = -equilibrium.game.terminal_penalty * equilibrium.states**2
    gap = float(np.max(np.abs(equilibrium.value[-1] - exact)))
    return judge("value at the close", gap, 8.0 * ROUNDING * float(np.max(-exact)), "V(T, x) = -terminal_penalty x^2")


def _edge_mass(equilibrium: MarketMakingEquilibrium, limit: float) -> SanityCheck:
    words = "share of the makers at the ends of the inventory grid; above the limit raise max_inventory"
    return judge("edge mass", float(np.max(equilibrium.edge_mass)), limit, words)


def _nonnegative(equilibrium: MarketMakingEquilibrium) -> SanityCheck:
    field = equilibrium.mean_field
    lowest = float(np.min([np.min(part) for part in (equilibrium.density, field.ask_fill_rate, field.bid_fill_rate)]))
    return judge(
        "non-negativity", 0.0 if lowest >= 0.0 else -lowest, 0.0, "no probability and no fill rate is negative"
    )


def _bounds(equilibrium: MarketMakingEquilibrium) -> SanityCheck:
    game, policy = equilibrium.game, equilibrium.policy
    absent = np.isnan(policy.ask), np.isnan(policy.bid)
    right = bool(absent[0][:, 0].all() and absent[1][:, -1].all())
    quoted = np.concatenate([policy.ask[:, 1:].ravel(), policy.bid[:, :-1].ravel()])
    if not right or not np.isfinite(quoted).all():
        return judge("quotes", math.inf, 0.0, "every quote is a number, but the ask at -Q and the bid at Q")
    excess = max(game.min_half_spread - float(quoted.min()), float(quoted.max()) - game.max_half_spread, 0.0)
    words = "every quote is within min_half_spread and max_half_spread; no ask at -Q, no bid at Q"
    return judge("quotes", excess, 0.0, words)


def judge(name: str, figure: float, limit: float, words: str) -> SanityCheck:
    """The check that passes when `figure <= limit`."""
    return SanityCheck(name, Outcome.PASSED if figure <= limit else Outcome.FAILED, figure, limit, words)


def judge_worst(name: str, figures: Floats, limits: Floats, words: str) -> SanityCheck:
    """The check of many figures, each against its own limit: the one that is most of its limit is shown."""
    worst = int(np.argmax(np.where(np.isnan(figures), np.inf, figures / limits)))
    return judge(name, float(figures.flat[worst]), float(limits.flat[worst]), words)


def skip(name: str, why: str) -> SanityCheck:
    """The check that does not apply."""
    return SanityCheck(name, Outcome.NOT_APPLICABLE, math.nan, math.nan, why)
