"""Arrival A and decay k of the fill intensity A exp(-k delta), by Poisson maximum likelihood, with their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from mfg_core.errors import SolveError
from mfg_core.intraday.intensity_cells import IntensityCells, cells_of_session
from mfg_core.intraday.intensity_session import IntensitySession, observe_session

if TYPE_CHECKING:
    from mfg_core.intraday.intensity_covariates import Covariate
    from mfg_core.intraday.intensity_exposure import BookPath, Trades

Floats = NDArray[np.float64]

MAX_STEPS = 100
SHORTEST_STEP = 2.0**-40
CONDITION = 1e13
"""Of the information matrix after scaling its diagonal to 1: beyond it rounding decides the answer."""
FLAT = 1e3
"""Error of a covariate's whole range, in log intensity: beyond it no order was seen at some of its values."""


@dataclass(frozen=True, slots=True, eq=False)
class IntensityFit:
    """Fitted intensities lambda(delta) = exp(beta_side + beta . (z - mean z)) exp(-k delta), orders per second.

    Attributes
    ----------
    names : tuple of str
        "log_ask_arrival", "log_bid_arrival", the covariates, then "fill_decay" or one decay for each side.
    coefficients : (p,) float64
        In that order; decays per unit of price.
    model_covariance : (p, p) float64
        Inverse of the observed information: right when the orders are Poisson.
    covariance : (p, p) float64
        The sandwich over blocks of time (White 1982; Liang & Zeger 1986): right also when they cluster, as long as
        blocks are longer than the clusters.
    blocks : int
        Blocks of time that it rests on.
    log_likelihood : float
        Without the terms that hold no parameter.
    evidence : str
    iterations : int
        Newton steps.
    cells : IntensityCells
        What was fitted, the covariates counted from their means.
    covariate_means : (q,) float64
        Time means of the covariates; the arrivals are those of a market at these means.
    session : IntensitySession or None
        For the quality checks; None when the fit is one of order lifetimes.
    notes : tuple of str
        What a reader must know.
    """

    names: tuple[str, ...]
    coefficients: Floats
    model_covariance: Floats
    covariance: Floats
    blocks: int
    log_likelihood: float
    evidence: str
    iterations: int
    cells: IntensityCells
    covariate_means: Floats
    session: IntensitySession | None = None
    notes: tuple[str, ...] = ()

    @property
    def ask_arrival(self) -> float:
        """A of buyers, who fill asks: orders per second that reach the mid."""
        return float(np.exp(self.coefficients[0]))

    @property
    def bid_arrival(self) -> float:
        """A of sellers, who fill bids: orders per second that reach the mid."""
        return float(np.exp(self.coefficients[1]))

    @property
    def fill_decay(self) -> float:
        """k per unit of price, of both sides."""
        if self.names[-1] != "fill_decay":
            raise ValueError("fill_decay is that of both sides, but decay_by_side gave each its own: see coefficients")
        return float(self.coefficients[-1])

    def standard_errors(self, *, robust: bool = True) -> Floats:
        """(p,) standard errors of the coefficients, from the sandwich or from the model."""
        return np.sqrt(np.diag(self.covariance if robust else self.model_covariance))

    def game_covariance(self, *, robust: bool = True) -> Floats:
        """(3, 3) covariance of (ask_arrival, bid_arrival, fill_decay), by the delta method."""
        if self.names[-1] != "fill_decay":
            raise ValueError("game_covariance is that of a fit with one fill_decay; fit without decay_by_side")
        slope = np.diag([self.ask_arrival, self.bid_arrival, 1.0])
        rows = [0, 1, len(self.names) - 1]
        return np.asarray(slope @ (self.covariance if robust else self.model_covariance)[np.ix_(rows, rows)] @ slope)

    def intensity(self, delta: ArrayLike, *, side: str, covariates: Mapping[str, float] | None = None) -> Floats:
        """lambda(delta), orders per second, at the mean covariates unless others are given."""
        row = self._predictor(delta, side, covariates)
        return np.asarray(np.exp(row @ self.coefficients))

    def band(
        self,
        delta: ArrayLike,
        *,
        side: str,
        level: float = 0.95,
        robust: bool = True,
        covariates: Mapping[str, float] | None = None,
    ) -> tuple[Floats, Floats]:
        """Pointwise confidence band (low, high) of lambda(delta), symmetric in its logarithm."""
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1; was {level}")
        row = self._predictor(delta, side, covariates)
        covariance = self.covariance if robust else self.model_covariance
        error = np.sqrt(np.einsum("...i,ij,...j->...", row, covariance, row))
        centre, width = row @ self.coefficients, ndtri(0.5 + 0.5 * level) * error
        return np.exp(centre - width), np.exp(centre + width)

    def _predictor(self, delta: ArrayLike, side: str, covariates: Mapping[str, float] | None) -> Floats:
        if side not in ("ask", "bid"):
            raise ValueError(f"side must be 'ask' or 'bid'; was {side!r}")
        distance = np.asarray(delta, dtype=np.float64)
        known = self.names[2 : 2 + self.covariate_means.size]
        given = dict(covariates or {})
        if not set(given) <= set(known):
            raise ValueError(f"covariates must be among {known}; was {sorted(given)}")
        row = np.zeros((*distance.shape, len(self.names)))
        row[..., 0 if side == "ask" else 1] = 1.0
        for place, name in enumerate(known):
            row[..., 2 + place] = given.get(name, self.covariate_means[place]) - self.covariate_means[place]
        decays = len(self.names) - 2 - len(known)
        row[..., -1 if decays == 1 or side == "bid" else -2] = -distance
        return row


def calibrate_intensity(
    book: BookPath,
    trades: Trades,
    *,
    tick: float,
    max_ticks: int,
    session_end: float,
    covariates: Sequence[Covariate] = (),
    evidence: str = "all",
    decay_by_side: bool = False,
    competition: float = 0.0,
    symmetric: bool = False,
    sign_rule: str | None = None,
    inside: str = "exclude",
    within: float = 0.0,
    blocks: int = 50,
) -> IntensityFit:
    """A and k of lambda(delta) = A exp(-k delta) from the best quotes and trades of one session.

    delta is the distance of a hypothetical quote from the mid just before the order: an order that reaches depth d
    fills every quote at distance <= d, so orders that reach delta arrive at rate lambda(delta) for every delta.
    While the best quote is h from the mid only orders that reach h trade; one whose furthest price is j ticks
    beyond the best quote reached the distance d_j = h + j tick but not d_j + tick. So the counts over the cells
    (state of the market, j) are independent Poisson with mean A (exp(-k d_j) - exp(-k d_j - k tick)) times the
    seconds spent in that state, the last j without the second term. No second counts at a distance that could not
    be seen in it.

    Parameters
    ----------
    book : BookPath
    trades : Trades
    tick : float
        Price step of the book.
    max_ticks : int
        The law is fitted over distances up to here: time with a best quote further than this is left out, and depth
        at or beyond it is one open cell.
    session_end : float
        Seconds; the last state of the book holds until then.
    covariates : sequence of Covariate
        log A is linear in them (a Poisson regression).
    evidence : {"all", "arrivals", "depth"}
        "arrivals": only how often orders come while the best quote is at each distance (k from changes of the
        spread). "depth": k only from how far orders walk beyond the best quote. "all": both, which the model says
        agree; `reach_agreement` tests it.
    decay_by_side : bool
        One k for each side.
    competition : float
        c, 0 to 1: orders follow A exp(-k (delta - c (h - mean h))) with h the crowd's distance, the best quote's. A is
        that of a market whose spread is at its mean. With c = 1 only the depth tells k. `calibrate_competition`
        estimates c.
    symmetric : bool
        One arrival rate for both sides.
    sign_rule : {None, "quote", "tick", "lee_ready"}
        How trades without a side get one; None leaves them out. Either is counted.
    inside : {"exclude", "at_touch"}
        Orders that traded at better than the best quote only (hidden liquidity, a stale book): left out, or counted
        as reaching the best quote and no further. Counted in either case.
    within : float
        Trades of one side no more than these seconds after one another are one order; 0: those of one time stamp.
    blocks : int
        Equal stretches of time over which the sandwich adds up the scores.

    Returns
    -------
    IntensityFit

    Raises
    ------
    ValueError
        When an argument is out of range, or the data cannot tell a parameter (the message says which).
    SolveError
        When Newton's method does not converge.

    Notes
    -----
    The log-likelihood is concave, so its maximum is unique. Where levels of the book are empty an order that walks
    the book skips them, and the depth overstates its reach: k from "depth" is then too small; and traders who size
    their orders to the best quote make it too large. Distances inside the best quote are extrapolated.

    References
    ----------
    Avellaneda & Stoikov (2008), Quantitative Finance 8, 217. Guéant (2016), The Financial Mathematics of Market
    Liquidity, chapter 10. White (1982), Econometrica 50, 1.
    """
    if not 0.0 <= competition <= 1.0:
        raise ValueError(f"competition must be from 0 to 1; was {competition}")
    if competition == 1.0 and evidence == "arrivals":
        raise ValueError("evidence must not be 'arrivals' at competition 1, where the spread does not move arrivals")
    session = observe_session(
        book,
        trades,
        tick=tick,
        max_ticks=max_ticks,
        session_end=session_end,
        covariates=covariates,
        sign_rule=sign_rule,
        inside=inside,
        within=within,
        blocks=blocks,
    )
    cells = cells_of_session(session, decay_by_side=decay_by_side, competition=competition, symmetric=symmetric)
    return fit_intensity(cells, evidence=evidence, session=session, notes=_session_notes(session, inside))


def fit_intensity(
    cells: IntensityCells,
    *,
    evidence: str = "all",
    session: IntensitySession | None = None,
    notes: tuple[str, ...] = (),
) -> IntensityFit:
    """The maximum of the likelihood of `cells`, by Newton's method with step halving.

    Raises
    ------
    ValueError
        When the data cannot tell a parameter.
    SolveError
        When Newton's method does not converge.
    """
    means = cells.covariate_means
    cells = cells.centred(means)
    theta, value, information, steps = _climb(cells, evidence)
    decays = theta[cells.first_decay :]
    if not (decays > 0).all():
        notes = (
            *notes,
            f"The fitted decay is not positive ({', '.join(f'{k / cells.tick:.3g}' for k in decays)} per unit of "
            "price): orders did not become rarer as the best quote moved away. No game can be made of it.",
        )
    bread = np.linalg.inv(information)
    units = np.append(np.ones(cells.first_decay), np.full(decays.size, 1.0 / cells.tick))
    scores = cells.block_scores(theta, evidence)
    count = len(scores)
    meat = scores.T @ scores * (count / (count - 1))
    scale_units = np.outer(units, units)
    model = bread @ cells.score_variance(theta, evidence) @ bread.T
    if cells.symmetric:  # one arrival told by the orders of both sides
        both = np.eye(theta.size)
        both[:2, :2] = 0.5
        model = both @ model @ both
    return IntensityFit(
        names=cells.names,
        coefficients=theta * units,
        model_covariance=model * scale_units,
        covariance=bread @ meat @ bread.T * scale_units,
        blocks=count,
        log_likelihood=value,
        evidence=evidence,
        iterations=steps,
        cells=cells,
        covariate_means=means,
        session=session,
        notes=notes,
    )


def _climb(cells: IntensityCells, evidence: str) -> tuple[Floats, float, Floats, int]:
    """(maximum, its log-likelihood, information there, steps)."""
    theta = cells.start(evidence)
    value = cells.log_likelihood(theta, evidence)
    for taken in range(MAX_STEPS):
        score, information = cells.scores(theta, evidence).sum(axis=0), cells.information(theta, evidence)
        _require_identified(information, cells.names, evidence)
        if evidence == "depth":
            # The start is the depth's own maximum; rounding is all that is left of this score.
            score[cells.first_decay :] = 0.0
        step = np.linalg.solve(information, score)
        # Half the Newton decrement is what the likelihood can still gain; below this it is rounding.
        if 0.5 * float(score @ step) <= 1e-13 * (1.0 + abs(value)):
            error = np.sqrt(np.diag(np.linalg.inv(information))[2 : cells.first_decay])
            if (np.ptp(cells.design[:, 2:], axis=0) * error > FLAT).any():
                raise _runaway(cells, theta)
            return theta + step, cells.log_likelihood(theta + step, evidence), information, taken
        scale = 1.0
        while not (trial := cells.log_likelihood(theta + scale * step, evidence)) > value:
            scale *= 0.5
            if scale < SHORTEST_STEP:
                raise SolveError(
                    f"Newton's method stalls with a decrement of {float(score @ step):.3g}: rescale the covariates"
                )
        theta, value = theta + scale * step, trial
    raise _runaway(cells, theta)


def _runaway(cells: IntensityCells, theta: Floats) -> SolveError:
    place = int(np.argmax(np.abs(theta)))
    return SolveError(
        f"the likelihood has no maximum: {cells.names[place]} was {theta[place]:.3g} and runs to infinity; leave out "
        "covariates without orders at some of their values, or widen max_ticks"
    )


def _require_identified(information: Floats, names: tuple[str, ...], evidence: str) -> None:
    diagonal = np.diag(information)
    if not (diagonal > 0).all():
        raise ValueError(f"evidence {evidence!r} tells nothing about {names[int(np.argmin(diagonal))]}")
    scaled = information / np.sqrt(np.outer(diagonal, diagonal))
    # The last right singular vector is the mixture of coefficients that the data do not see.
    _, strength, mixtures = np.linalg.svd(scaled)
    if strength[-1] * CONDITION < strength[0]:
        weight = np.abs(mixtures[-1])
        mixed = [name for name, w in zip(names, weight, strict=True) if w > 0.1 * weight.max()]
        raise ValueError(
            f"evidence {evidence!r} cannot tell {', '.join(mixed)} apart: the best quote's distance and the covariates "
            "do not vary enough; use evidence='all', fewer covariates, or a known fill_decay"
        )


def _session_notes(session: IntensitySession, inside: str) -> tuple[str, ...]:
    counts = session.counts
    treated = "left out" if inside == "exclude" else "counted as reaching the best quote"
    notes = []
    if counts.unsigned_trades:
        notes.append(f"{counts.unsigned_trades} of {counts.trades} trades have no known side and are left out.")
    if counts.signed_by_rule:
        notes.append(f"{counts.signed_by_rule} of {counts.trades} trades got their side from the sign rule.")
    if counts.inside_spread:
        notes.append(
            f"{counts.inside_spread} of {counts.orders} orders traded inside the best quotes and are {treated}."
        )
    lost = counts.outside_session + counts.without_mid + counts.wide_spread + counts.without_covariate
    if lost:
        notes.append(
            f"{lost} orders left out: {counts.outside_session} outside the session, "
            f"{counts.without_mid} without a mid, "
            f"{counts.wide_spread} while the best quote was beyond max_ticks, "
            f"{counts.without_covariate} without a covariate."
        )
    if counts.seconds_used < counts.seconds:
        notes.append(f"{counts.seconds_used:.6g} of {counts.seconds:.6g} seconds are in the fit.")
    return tuple(notes)
