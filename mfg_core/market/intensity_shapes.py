"""Shapes of the fill intensity, lambda = A shape(y) with y = k (half-spread - crowd's), and the best y for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from scipy.special import wrightomega

from mfg_core.checks import require_finite, require_real
from mfg_core.errors import SolveError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST_MARGIN = 1e30
"""Times 1/k; margins are looked for between its inverse and it."""

MOST_STEPS = 200
"""Newton steps and halvings; 70 halvings alone reach the last bit."""

LAST_MOVE = 1e-10
"""Relative move after which Newton's next would be of its square."""

PROBES = np.linspace(-40.0, 40.0, 1601)
"""Where a shape is checked that is defined everywhere."""

DISTANCES = np.geomspace(1e-3, 80.0, 1601)
"""From its lowest y, where one is checked that has a finite one: hazards grow like the inverse of the distance."""


@runtime_checkable
class IntensityShape(Protocol):
    """A decreasing positive function of y, given with its logarithmic slope; methods take and return arrays.

    The best quote is unique when the hazard h = -shape'/shape has h' > -h^2 everywhere (1/shape is convex then).
    """

    @property
    def lowest(self) -> float:
        """The shape is defined for y above this (-inf: everywhere); it grows without bound towards a finite one."""
        ...

    def intensity(self, y: Floats) -> Floats:
        """shape(y) > 0; 0 by underflow far out."""
        ...

    def hazard(self, y: Floats) -> Floats:
        """h(y) = -shape'(y)/shape(y) > 0."""
        ...

    def hazard_slope(self, y: Floats) -> Floats:
        """h'(y)."""
        ...


@dataclass(frozen=True, slots=True)
class Exponential:
    """exp(-y) (Avellaneda & Stoikov 2008)."""

    @property
    def lowest(self) -> float:
        """-inf."""
        return -np.inf

    def intensity(self, y: Floats) -> Floats:
        """exp(-y)."""
        return np.asarray(np.exp(-y))

    def hazard(self, y: Floats) -> Floats:
        """1."""
        return np.ones_like(y)

    def hazard_slope(self, y: Floats) -> Floats:
        """0."""
        return np.zeros_like(y)


@dataclass(frozen=True, slots=True)
class Logistic:
    """1/(1 + exp(offset + y)): of all who ask, those who trade at this quote (Guéant & Manziuk 2019).

    Parameters
    ----------
    offset : float
        The share who trade at y = 0 is 1/(1 + exp(offset)).
    """

    offset: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameter."""
        object.__setattr__(self, "offset", require_finite("offset", self.offset))

    @property
    def lowest(self) -> float:
        """-inf."""
        return -np.inf

    def intensity(self, y: Floats) -> Floats:
        """1/(1 + exp(offset + y)), without overflow."""
        return _logistic(-(self.offset + y))

    def hazard(self, y: Floats) -> Floats:
        """1/(1 + exp(-offset - y))."""
        return _logistic(self.offset + y)

    def hazard_slope(self, y: Floats) -> Floats:
        """h (1 - h)."""
        return _logistic(self.offset + y) * _logistic(-(self.offset + y))


@dataclass(frozen=True, slots=True)
class Power:
    """(1 + y/exponent)^-exponent: decay 1 at y = 0 as for `Exponential`, but a heavy tail.

    Defined for y > -exponent. The best quote is finite while a fill at y = -exponent would lose money; a game where it
    would not is refused when it is solved.

    Parameters
    ----------
    exponent : float
        Above 1, else no quote is too high; the larger, the closer to `Exponential`.
    """

    exponent: float

    def __post_init__(self) -> None:
        """Check the parameter."""
        if not 1 < require_real("exponent", self.exponent) < np.inf:
            raise ValueError(f"exponent must be finite and above 1; was {self.exponent!r}")
        object.__setattr__(self, "exponent", float(self.exponent))

    @property
    def lowest(self) -> float:
        """-exponent."""
        return -self.exponent

    def intensity(self, y: Floats) -> Floats:
        """(1 + y/exponent)^-exponent; inf where it is not defined."""
        base = np.maximum(1.0 + y / self.exponent, 0.0)
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(base**-self.exponent)

    def hazard(self, y: Floats) -> Floats:
        """1/(1 + y/exponent)."""
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / (1.0 + y / self.exponent))

    def hazard_slope(self, y: Floats) -> Floats:
        """-h^2/exponent."""
        return np.asarray(-(self.hazard(y) ** 2) / self.exponent)


def best_distance(shape: IntensityShape, worth: Floats, risk_aversion: float = 0.0) -> Floats:
    """The y that maximises shape(y) (1 - exp(-G (y + worth)))/G, at G = 0 shape(y) (y + worth).

    All in units of 1/k: a fill at distance y earns m = y + `worth` > 0, G is the risk aversion over k. The maximum is
    where h(y) (exp(G m) - 1)/G = 1: in closed form for `Exponential`, at G = 0 for `Logistic` and `Power` too; else by
    Newton's method to rounding, for m between two bounds of the root. Where the shape grows so fast towards its lowest
    y that no quote is too low, `shape.lowest`.
    """
    margin = np.full(worth.shape, np.log1p(risk_aversion) / risk_aversion if risk_aversion > 0 else 1.0)
    if isinstance(shape, Exponential):
        return margin - worth
    if risk_aversion == 0.0 and isinstance(shape, Logistic):
        # m - 1 + log(m - 1) = worth - offset - 1 is solved by Wright's omega function (Corless & Jeffrey 2002).
        return np.asarray(1.0 + wrightomega(worth - shape.offset - 1.0) - worth)
    if risk_aversion == 0.0 and isinstance(shape, Power):
        # m = 1 + (m - worth)/exponent.
        return np.where(
            shape.lowest + worth >= 0, shape.lowest, (shape.exponent - worth) / (shape.exponent - 1.0) - worth
        )
    low, high = np.full(worth.shape, 1.0 / LARGEST_MARGIN), np.full(worth.shape, LARGEST_MARGIN)
    endless = shape.lowest + worth >= 0
    for _ in range(MOST_STEPS):
        miss, rate = _condition(shape, worth, margin, risk_aversion)
        low, high = np.where(miss <= 0, margin, low), np.where(miss >= 0, margin, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            after = np.clip(margin - miss / rate, margin / 8.0, 8.0 * margin)
        after = np.where((after >= low) & (after <= high), after, np.sqrt(low * high))
        done = np.abs(after - margin) <= LAST_MOVE * after + 4.0 * np.finfo(np.float64).eps * np.abs(worth)
        margin = after
        if np.all(done | endless):
            return np.where(endless, shape.lowest, margin - worth)
    raise SolveError(
        "no best quote was found for this intensity shape; its hazard h must have h' > -h^2 and agree with hazard_slope"
    )


def check_shape(shape: object) -> IntensityShape:
    """`shape`, when it is a positive decreasing function whose best quote is unique; else TypeError or ValueError."""
    if not isinstance(shape, IntensityShape):
        raise TypeError(f"intensity_shape must have lowest, intensity, hazard and hazard_slope; was {shape!r}")
    y = shape.lowest + DISTANCES if np.isfinite(shape.lowest) else PROBES
    with np.errstate(over="ignore", under="ignore"):
        size, hazard, slope = shape.intensity(y), shape.hazard(y), shape.hazard_slope(y)
    if not (np.all(np.isfinite(hazard) & (hazard > 0)) and np.all(size >= 0)):
        raise ValueError(f"intensity_shape must be positive and decreasing, with a finite hazard; was {shape!r}")
    seen = (size > 0) & np.isfinite(size)
    # By the trapezoidal rule, whose error on these steps is far below that of a wrong hazard.
    fall = np.diff(np.log(size[seen]))
    if not np.allclose(fall, -0.5 * np.diff(y[seen]) * (hazard[seen][1:] + hazard[seen][:-1]), rtol=0.2, atol=1e-6):
        raise ValueError(f"hazard of intensity_shape must be minus its logarithmic slope; was {shape!r}")
    if not np.all(slope + hazard**2 > 0):
        worst = y[np.argmin(slope + hazard**2)]
        raise ValueError(
            f"intensity_shape must have h' > -h^2, so that the best quote is unique; not at y = {worst:.4g} of "
            f"{shape!r}"
        )
    return shape


def _condition(shape: IntensityShape, worth: Floats, margin: Floats, risk_aversion: float) -> tuple[Floats, Floats]:
    """(log of h(y) (exp(G m) - 1)/G, its derivative with respect to m)."""
    y, g = margin - worth, risk_aversion * margin
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        hazard = shape.hazard(y)
        if risk_aversion > 0:
            utility, utility_rate = np.log(np.expm1(g) / risk_aversion), risk_aversion / -np.expm1(-g)
        else:
            utility, utility_rate = np.log(margin), 1.0 / margin
        return np.log(hazard) + utility, shape.hazard_slope(y) / hazard + utility_rate


def _logistic(x: Floats) -> Floats:
    """1/(1 + exp(-x)) to full relative accuracy."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))
