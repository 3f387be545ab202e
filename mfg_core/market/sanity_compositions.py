"""The sanity checks of games made of several markets (maker types, regimes, entry and exit) and of the epidemic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mfg_core.market.entry_exit_policy import EntryExitEquilibrium
from mfg_core.market.maker_types import MixedMarketMakingEquilibrium
from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium
from mfg_core.market.sanity import (
    SanityCheck,
    asymmetry,
    check_certificate,
    check_crowd,
    check_market,
    check_mass,
    forced,
    judge,
    losing,
    start_size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mfg_core.family.finite_state import FiniteStateEquilibrium


ComposedEquilibrium: TypeAlias = MixedMarketMakingEquilibrium | RegimeSwitchingEquilibrium | EntryExitEquilibrium


def check_composition(
    equilibrium: ComposedEquilibrium, names: Sequence[str], rtol: float, atol: float, largest_edge_mass: float
) -> tuple[SanityCheck, ...]:
    """The sanity checks of every part, called by `names`, and of the whole; parameters as for `check_equilibrium`."""
    if isinstance(equilibrium, MixedMarketMakingEquilibrium):
        parts, shares = equilibrium.makers, equilibrium.game.shares
        whole = [check_crowd(parts, shares)]
        bent = ""
    elif isinstance(equilibrium, RegimeSwitchingEquilibrium):
        parts = equilibrium.regimes
        whole = [
            replace(check_crowd([part], [1.0]), name=f"{name}: mean quotes")
            for name, part in zip(names, parts, strict=True)
        ]
        mass = check_mass(equilibrium.regime_probability)
        whole.append(replace(mass, name="regime mass", words="the regimes' probabilities sum to 1 at every time"))
        bent = ""
    else:
        parts = (equilibrium.makers,)
        whole = [check_crowd(parts, [1.0]), _active(equilibrium)]
        bent = "leaving is worth more the lower V is"
    hollow = ""
    if isinstance(equilibrium, RegimeSwitchingEquilibrium):  # V of one regime is part of what it is worth in another
        hollow = next(
            (f"{why} in {name}" for name, part in zip(names, parts, strict=True) if (why := losing(part))), ""
        )
        bent = next((f"{why} in {name}" for name, part in zip(names, parts, strict=True) if (why := forced(part))), "")
    uneven = next((why for part in parts if (why := asymmetry(part.game))), "")
    found = []
    for name, part in zip(names, parts, strict=True):
        checks = check_market(part, rtol, atol, largest_edge_mass, uneven=uneven, hollow=hollow, bent=bent)
        found += [replace(check, name=f"{name}: {check.name}" if len(parts) > 1 else check.name) for check in checks]
    size = max(start_size(part) for part in parts)
    return (*found, *whole, *check_certificate(equilibrium.certificate, rtol, atol, size))


def _active(equilibrium: EntryExitEquilibrium) -> SanityCheck:
    active = equilibrium.active
    excess = float(np.max(np.maximum(active - 1.0, -active), initial=0.0))
    limit = active.size * float(np.finfo(np.float64).eps)
    return judge(
        "makers in the market", excess, limit, "the share of the makers in the market is from 0 to 1, to rounding"
    )


def check_epidemic(equilibrium: FiniteStateEquilibrium, rtol: float, atol: float) -> tuple[SanityCheck, ...]:
    """The sanity checks of an equilibrium of the `EpidemicGame`."""
    law = equilibrium.density
    # The density is within the tolerance, so that twice that may separate two times.
    growth = float(np.max([np.diff(law[:, 0]), -np.diff(law[:, 2])], initial=0.0))
    return (
        check_mass(law),
        judge("non-negativity", max(-float(law.min()), 0.0), 0.0, "no share is negative"),
        judge(
            "one way",
            growth,
            2.0 * (2.0 * rtol + atol),
            "nobody becomes susceptible again or leaves the recovered",
        ),
        judge("value at the close", float(np.max(np.abs(equilibrium.value[-1]))), 0.0, "V(T) = 0"),
        judge("cost", float(np.max(equilibrium.value)), 0.0, "V is a cost: nowhere positive"),
        *check_certificate(equilibrium.certificate, rtol, atol, 1.0 + abs(float(law[0] @ equilibrium.value[0]))),
    )
