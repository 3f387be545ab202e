"""How the event engine fills, delays, charges and limits: the settings of a simulation, checked when made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

QueueKind = Literal["pessimistic", "probabilistic", "exact", "trade_through", "assumed"]
ProbabilityShape = Literal["log", "power"]


@dataclass(frozen=True, slots=True)
class QueueModel:
    """Where in its level an own order stands, and what moves it forward.

    Attributes
    ----------
    kind : str
        "pessimistic": all of the level's quantity is ahead on arrival; trades move it forward, withdrawals are taken to
        be behind (the level's quantity caps what is ahead). "probabilistic": of a withdrawal the part
        f(behind) / (f(ahead) + f(behind)) is taken from behind. "exact": first come first served by the orders
        themselves (order-by-order events). "trade_through": filled only by a print beyond the price. "assumed":
        `assumed_lots` are ahead on arrival whatever the book shows, and only trades at the price move it forward.
    shape : "log" or "power"
        f(x) = log(1 + x) or x ** exponent, of "probabilistic".
    exponent : float
    version : 1, 2 or 3
        Of "probabilistic": 1: f(behind) / (f(behind) + f(ahead)); 2: f(behind) / f(behind + ahead);
        3: 1 - f(ahead / (ahead + behind)).
    assumed_lots : float
    """

    kind: QueueKind = "pessimistic"
    shape: ProbabilityShape = "power"
    exponent: float = 3.0
    version: int = 1
    assumed_lots: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.kind not in ("pessimistic", "probabilistic", "exact", "trade_through", "assumed"):
            raise ValueError(f"kind of queue must be one of {QueueKind}; was {self.kind!r}")
        if self.shape not in ("log", "power") or self.version not in (1, 2, 3):
            raise ValueError(f"shape must be log or power and version 1, 2 or 3; were {self.shape!r}, {self.version!r}")
        if not 0 < self.exponent < math.inf or not 0 <= self.assumed_lots < math.inf:
            raise ValueError(
                f"exponent must be positive, assumed_lots at least 0; were {self.exponent}, {self.assumed_lots}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """Nanoseconds from the rule's decision to the exchange, and from the exchange's answer back to the rule.

    Feed latency is in the events themselves (their two clocks). Requests and answers never overtake each other.

    Attributes
    ----------
    entry_ns, response_ns : int
        Constant delays, of "constant".
    times, entry, response : (n,) int64
        Recorded delays by local time, interpolated linearly, the first and last ones beyond the ends ("recorded");
        or a sample drawn from independently, row by row, with the simulation's seed ("sampled", `times` empty).
    """

    kind: Literal["constant", "sampled", "recorded"] = "constant"
    entry_ns: int = 0
    response_ns: int = 0
    times: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    entry: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    response: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Fees:
    """What a fill costs: fractions of its value and money per lot, each for makers and takers; rebates are negative."""

    maker: float = 0.0
    taker: float = 0.0
    maker_per_lot: float = 0.0
    taker_per_lot: float = 0.0


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """The same limits for every pod: the largest position and the largest order, lots."""

    max_position: int = 10
    max_order: int = 1_000_000


@dataclass(frozen=True, slots=True)
class TradingSpan:
    """When a rule may act, local ns: from `start` to `stop`, with its position closed from `liquidate` on.

    Attributes
    ----------
    phases : sequence of (first ns, last ns, phase)
        Times of the exchange that are not CONTINUOUS (auctions, halts), in order, not overlapping.
    liquidation : "cross" or "mark"
        "cross": at `liquidate` own orders are withdrawn and the position is sent as a market order; what finds no
        liquidity is marked and told. "mark": the position is marked at the last mid.
    """

    start: int
    stop: int
    liquidate: int
    phases: Sequence[tuple[int, int, int]] = ()
    liquidation: Literal["cross", "mark"] = "cross"


@dataclass(frozen=True, slots=True, eq=False)
class FillSettings:
    """Everything that is assumed about fills in one simulation.

    Attributes
    ----------
    sizes : "traded" or "whole"
        "traded": no fill is larger than what traded, or stood, at or beyond the price, and the same liquidity fills
        only once. "whole": an order that is reached is filled whole (hftbacktest's exchange without partial fills).
    """

    queue: QueueModel = field(default_factory=QueueModel)
    latency: Latency = field(default_factory=Latency)
    fees: Fees = field(default_factory=Fees)
    limits: OwnLimits = field(default_factory=OwnLimits)
    sizes: Literal["traded", "whole"] = "traded"
    seed: int = 1
