"""How fills depend on the crowd's quotes: the forms of `MarketMakingGame.competition` beside a plain weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mfg_core.checks import require_nonnegative


@dataclass(frozen=True, slots=True)
class OutsideOption:
    """Some fills turn on the quote itself, which an outsider could take, and some on the distance to the crowd's.

        lambda = A exp(-kappa delta - beta (delta - mean quote))

    with kappa + beta = `fill_decay`: the same as the relative weight beta / fill_decay.

    Parameters
    ----------
    crowd_decay : float
        beta >= 0, per unit of price, at most the game's `fill_decay`.
    """

    crowd_decay: float

    def __post_init__(self) -> None:
        """Check the parameter."""
        object.__setattr__(self, "crowd_decay", require_nonnegative("crowd_decay", self.crowd_decay))


@dataclass(frozen=True, slots=True)
class Share:
    """A side's flow is given and shared: lambda = A exp(-k delta) / E[exp(-k delta)] over those who quote that side.

    Their mean fill rate is then A (multinomial logit shares: McFadden 1974).
    """


Competition: TypeAlias = float | OutsideOption | Share
