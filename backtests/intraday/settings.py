"""How the event engine fills, delays, charges and limits: the settings of a simulation, checked when made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from strategies.intraday.rule import AUCTION, CLOSED, HALTED

Ints = NDArray[np.int64]

_EARLIEST, _LATEST = -(1 << 62), 1 << 62

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
            raise ValueError(f"kind of queue must be one of {', '.join(get_args(QueueKind))}; was {self.kind!r}")
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

    def __post_init__(self) -> None:
        """Check the delays."""
        if self.kind not in ("constant", "sampled", "recorded"):
            raise ValueError(f"kind of latency must be constant, sampled or recorded; was {self.kind!r}")
        for name in ("entry_ns", "response_ns"):
            _check_whole(name, getattr(self, name), 0)
        for name in ("times", "entry", "response"):
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype != np.int64:
                raise ValueError(f"{name} of latency must be a one-dimensional array of int64 nanoseconds")
        if self.kind == "constant":
            return
        if self.entry.size == 0 or self.entry.size != self.response.size:
            raise ValueError(
                f"entry and response must have one row each for every delay, at least one; had {self.entry.size} and "
                f"{self.response.size}"
            )
        for name in ("entry", "response"):
            if getattr(self, name).min() < 0:
                raise ValueError(f"{name} of latency must be 0 or more; was {int(getattr(self, name).min())}")
        if self.kind == "recorded" and (self.times.size != self.entry.size or (np.diff(self.times) <= 0).any()):
            raise ValueError("times of recorded latency must rise, one for each row of entry and response")


@dataclass(frozen=True, slots=True)
class Fees:
    """What a fill costs: fractions of its value and money per lot, each for makers and takers; rebates are negative.

    Of a fill: rate * (|tick| * lots * tick_value) + per_lot * lots, rounded to 1e-6 of a unit of money, half to even.
    """

    maker: float = 0.0
    taker: float = 0.0
    maker_per_lot: float = 0.0
    taker_per_lot: float = 0.0

    def __post_init__(self) -> None:
        """Check that they are numbers."""
        for name in ("maker", "taker", "maker_per_lot", "taker_per_lot"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"fee {name} must be a finite number; was {getattr(self, name)!r}")
        for name in ("maker", "taker"):
            if not -1 < getattr(self, name) < 1:
                raise ValueError(
                    f"fee {name} must be a fraction of the value, between -1 and 1; was {getattr(self, name)!r}"
                )


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """The same limits for every pod: the largest position and the largest order, lots."""

    max_position: int = 10
    max_order: int = 1_000_000

    def __post_init__(self) -> None:
        """Check that they are whole numbers."""
        for name in ("max_position", "max_order"):
            _check_whole(name, getattr(self, name), 1)


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

    def __post_init__(self) -> None:
        """Check the order of the times."""
        for name in ("start", "stop", "liquidate"):
            _check_whole(f"{name} of the span", getattr(self, name), _EARLIEST)
        if not self.start < self.liquidate <= self.stop:
            raise ValueError(
                f"a span must have start < liquidate <= stop; had {self.start}, {self.liquidate} and {self.stop}"
            )
        if self.liquidation not in ("cross", "mark"):
            raise ValueError(f"liquidation must be cross or mark; was {self.liquidation!r}")
        before: int | None = None
        for place, (first, last, phase) in enumerate(self.phases):
            if not first < last or (before is not None and first < before):
                raise ValueError(
                    f"phases must not be empty, in order and apart; number {place} was {(first, last, phase)}"
                )
            if phase not in (AUCTION, HALTED, CLOSED):
                raise ValueError(f"phase {place} must be AUCTION, HALTED or CLOSED (1, 2 or 3); was {phase!r}")
            before = last


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

    def __post_init__(self) -> None:
        """Check what the parts do not."""
        if self.sizes not in ("traded", "whole"):
            raise ValueError(f"sizes must be traded or whole; was {self.sizes!r}")
        _check_whole("seed", self.seed, 0)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= _LATEST:
        raise ValueError(f"{name} must be a whole number from {least} on; was {value!r}")
