"""One session of quotes and trades to the market-making game: every parameter with its error, and the game itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_finite, require_nonnegative, require_positive
from mfg_core.intraday.crowd_competition import CompetitionEstimate, calibrate_competition, game_intensities
from mfg_core.intraday.intensity_fit import IntensityFit, calibrate_intensity
from mfg_core.intraday.intraday_volatility import IntradayVolatility, intraday_volatility
from mfg_core.intraday.inventory_penalties import running_penalty_from_risk, terminal_penalty_from_liquidation
from mfg_core.intraday.mark_outs import MarkOuts, mark_outs
from mfg_core.intraday.side_tests import SideTest, imbalance_p_value, side_test

if TYPE_CHECKING:
    from mfg_core.intraday.intensity_covariates import Covariate
    from mfg_core.intraday.intensity_exposure import BookPath, Trades
    from mfg_core.market.market_making import MarketMakingGame

Floats = NDArray[np.float64]

PARAMETERS = (
    "ask_arrival",
    "bid_arrival",
    "fill_decay",
    "adverse_selection",
    "running_penalty",
    "terminal_penalty",
    "competition",
)


@dataclass(frozen=True, slots=True, eq=False)
class MarketCalibration:
    """The game's parameters from one session, in price and seconds.

    Attributes
    ----------
    ask_arrival, bid_arrival : float
        For the game with `competition`: orders per second when a crowd quotes the mid and so does the maker, times
        `fill_share`. That is the rate at the mid of a market with the mean spread, A, times exp(-c k mean half-spread).
    fill_decay : float
        k per unit of price, one for both sides.
    adverse_selection : float
        xi, price: mean move of the mid against the filled maker at `horizon_seconds`.
    running_penalty, terminal_penalty : float
        eta and gamma.
    competition : float
        c: given, or estimated.
    crowd : CompetitionEstimate or None
        Where c comes from, or why it could not be estimated; None when it was given.
    covariance : (7, 7) float64
        Of the parameters in the order of `PARAMETERS`. Zero between the intensities, xi and the variance, which are
        estimated from different moments of the session; what that leaves out is not known. A given competition has
        no error.
    fill_share, half_spread : float
        `half_spread` is the time mean over the session.
    intensity : IntensityFit
        At this competition.
    imbalance_p_value : float
        Wald's, that both arrivals are one (robust; before `symmetric` makes them one).
    sides : SideTest or None
        None where a side alone does not tell its decay.
    adverse : MarkOuts
    horizon_seconds : float
        The horizon of `adverse` that xi is taken at.
    volatility : IntradayVolatility
    notes : tuple of str
    """

    ask_arrival: float
    bid_arrival: float
    fill_decay: float
    adverse_selection: float
    running_penalty: float
    terminal_penalty: float
    competition: float
    crowd: CompetitionEstimate | None
    covariance: Floats
    fill_share: float
    half_spread: float
    intensity: IntensityFit
    imbalance_p_value: float
    sides: SideTest | None
    adverse: MarkOuts
    horizon_seconds: float
    volatility: IntradayVolatility
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows of `covariance`, as the game spells them."""
        return PARAMETERS

    @property
    def values(self) -> Floats:
        """(7,) the parameters in that order."""
        return np.array([getattr(self, name) for name in PARAMETERS])

    @property
    def standard_errors(self) -> Floats:
        """(7,) their standard errors."""
        return np.sqrt(np.diag(self.covariance))

    def game(
        self, *, max_inventory: int, horizon: float, initial_mean: float = 0.0, initial_std: float = 0.0
    ) -> MarketMakingGame:
        """The market-making game with these parameters; `horizon` in seconds.

        Raises
        ------
        ValueError
            When a parameter is out of the game's range (an estimated decay that is not positive, say).
        """
        return self._game(self.values, max_inventory, horizon, initial_mean, initial_std)

    def sample_games(
        self,
        count: int,
        *,
        rng: np.random.Generator,
        max_inventory: int,
        horizon: float,
        initial_mean: float = 0.0,
        initial_std: float = 0.0,
    ) -> list[MarketMakingGame]:
        """Games drawn from the parameters' uncertainty, for bands by sampling.

        Positive parameters are drawn log-normal with the first-order covariance of their logarithms, so that no draw
        leaves the game's range; adverse selection is normal, and so is competition, put to the end of [0, 1] when it
        falls outside.
        """
        return [
            self._game(row, max_inventory, horizon, initial_mean, initial_std)
            for row in self.sample(require_count("count", count), rng=rng)
        ]

    def sample(self, count: int, *, rng: np.random.Generator) -> Floats:
        """(count, 7) draws of the parameters; see `sample_games`."""
        values = self.values
        in_logs = ~np.isin(PARAMETERS, ("adverse_selection", "competition")) & (values > 0)
        slope = np.where(in_logs, 1.0 / np.where(in_logs, values, 1.0), 1.0)
        centre = np.where(in_logs, np.log(np.where(in_logs, values, 1.0)), values)
        covariance = self.covariance * np.outer(slope, slope)
        # The symmetric root: it exists also when a parameter has no error.
        weights, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(weights, 0.0))
        draws = centre + rng.standard_normal((count, len(PARAMETERS))) @ root.T
        drawn = np.asarray(np.where(in_logs, np.exp(np.where(in_logs, draws, 0.0)), draws))
        drawn[:, -1] = np.clip(drawn[:, -1], 0.0, 1.0)
        return drawn

    def _game(
        self, values: Floats, max_inventory: int, horizon: float, initial_mean: float, initial_std: float
    ) -> MarketMakingGame:
        from mfg_core.market.market_making import MarketMakingGame

        ask, bid, decay, adverse, running, terminal, competition = (float(v) for v in values)
        return MarketMakingGame(
            ask_arrival=ask,
            bid_arrival=bid,
            fill_decay=decay,
            adverse_selection=adverse,
            running_penalty=running,
            terminal_penalty=terminal,
            competition=competition,
            horizon=horizon,
            max_inventory=max_inventory,
            initial_mean=initial_mean,
            initial_std=initial_std,
        )


def calibrate_market_making(
    book: BookPath,
    trades: Trades,
    *,
    tick: float,
    max_ticks: int,
    session_end: float,
    risk_aversion: float,
    lot: float = 1.0,
    typical_inventory: float = 1.0,
    liquidation_impact: float = 0.0,
    competition: float | Literal["estimated"] = "estimated",
    symmetric: bool = False,
    fill_share: float = 1.0,
    level: float = 0.95,
    horizon_seconds: float = 10.0,
    horizons: Sequence[float] = (1.0, 10.0, 60.0),
    volatility_method: str = "pre_averaging",
    covariates: Sequence[Covariate] = (),
    evidence: str = "all",
    sign_rule: str | None = None,
    inside: str = "exclude",
    within: float = 0.0,
    blocks: int = 50,
) -> MarketCalibration:
    """A, k, xi, sigma, eta and gamma of one session, with covariance and notes.

    Parameters
    ----------
    book, trades, tick, max_ticks, session_end, covariates, evidence, sign_rule, inside, within, blocks
        See `calibrate_intensity`.
    risk_aversion, lot : float
        See `running_penalty_from_risk`; the variance is that of `intraday_volatility`.
    typical_inventory, liquidation_impact : float
        See `terminal_penalty_from_liquidation`; the half-spread is the session's time mean.
    competition : float or "estimated"
        c of the game, 0 to 1, which A and k are fitted at; or estimated with them, the best quote standing for the
        crowd's (`calibrate_competition`). Where the data do not tell it, it is `DEFAULT_COMPETITION`, and a note says
        why.
    symmetric : bool
        One arrival rate for both sides. At c near 1 an imbalance that is noise skews the equilibrium.
    level : float
        Of the interval that decides whether c is told.
    fill_share : float
        Share of the orders that reach a quote and fill this maker, in (0, 1]: 1 is a quote that is always first in
        the queue. It is not estimated.
    horizon_seconds : float
        Horizon of the mark-outs that gives xi; added to `horizons` when it is not among them.
    volatility_method : str
        Of `intraday_volatility`.

    Raises
    ------
    ValueError
        When an argument is out of range, or the session does not tell a parameter.
    """
    fill_share = require_positive("fill_share", fill_share)
    if fill_share > 1:
        raise ValueError(f"fill_share must be at most 1; was {fill_share}")
    if isinstance(competition, str) and competition != "estimated":
        raise ValueError(f"competition must be 'estimated' or a number from 0 to 1; was {competition!r}")
    horizon_seconds = require_positive("horizon_seconds", horizon_seconds)
    options: dict[str, Any] = {
        "tick": tick,
        "max_ticks": max_ticks,
        "session_end": session_end,
        "covariates": tuple(covariates),
        "evidence": evidence,
        "sign_rule": sign_rule,
        "inside": inside,
        "within": within,
        "blocks": blocks,
    }
    crowd = None
    if isinstance(competition, str):
        crowd = calibrate_competition(book, trades, level=level, symmetric=symmetric, **options)
        weight = crowd.used
    else:
        weight = require_nonnegative("competition", competition)
    if crowd is not None and crowd.fit is not None and weight == crowd.value:
        fit = crowd.fit
    else:
        fit = calibrate_intensity(book, trades, competition=weight, symmetric=symmetric, **options)
    adverse = mark_outs(
        book,
        trades,
        sorted({*map(float, horizons), horizon_seconds}),
        session_end=session_end,
        sign_rule=sign_rule,
        within=within,
        blocks=blocks,
    )
    kept = book.time <= session_end
    volatility = intraday_volatility(book.time[kept], book.mid[kept], method=volatility_method)
    half_spread = _mean_half_spread(book, session_end)
    sides, imbalance = side_test(fit), imbalance_p_value(fit)

    column = int(np.flatnonzero(adverse.horizons == horizon_seconds)[0])
    xi, xi_error = float(adverse.impact[2, column]), float(adverse.impact_error[2, column])
    if not np.isfinite(xi_error):
        raise ValueError(f"horizon_seconds {horizon_seconds:g} leaves too few orders before the session's end")
    arrivals, intensities = game_intensities(fit, crowd, weight, fill_share)
    eta = running_penalty_from_risk(risk_aversion, max(volatility.variance, 0.0), lot=lot)
    gamma = terminal_penalty_from_liquidation(
        half_spread, typical_inventory=typical_inventory, impact=liquidation_impact
    )
    covariance = np.zeros((7, 7))
    covariance[np.ix_(_INTENSITIES, _INTENSITIES)] = intensities
    covariance[3, 3] = xi_error**2
    covariance[4, 4] = running_penalty_from_risk(risk_aversion, volatility.variance_error, lot=lot) ** 2
    return MarketCalibration(
        ask_arrival=arrivals[0],
        bid_arrival=arrivals[1],
        fill_decay=fit.fill_decay,
        adverse_selection=xi,
        running_penalty=eta,
        terminal_penalty=gamma,
        competition=weight,
        crowd=crowd,
        covariance=covariance,
        fill_share=fill_share,
        half_spread=half_spread,
        intensity=fit,
        imbalance_p_value=imbalance,
        sides=sides,
        adverse=adverse,
        horizon_seconds=horizon_seconds,
        volatility=volatility,
        notes=(*_notes(fit, adverse, volatility, sides, xi, half_spread), *_crowd_notes(crowd, weight, imbalance)),
    )


def _mean_half_spread(book: BookPath, session_end: float) -> float:
    """Time mean of the half-spread while there is one."""
    seconds = np.diff(np.append(np.minimum(book.time, session_end), require_finite("session_end", session_end)))
    half = book.half_spread
    seen = np.isfinite(half) & (seconds > 0)
    if not seen.any():
        raise ValueError("book must have both quotes for some time before session_end")
    return float(half[seen] @ seconds[seen] / seconds[seen].sum())


_INTENSITIES = (0, 1, 2, 6)
"""Places of A_a, A_b, k and c in `PARAMETERS`."""


def _crowd_notes(crowd: CompetitionEstimate | None, c: float, imbalance: float) -> list[str]:
    notes = []
    if crowd is not None and not crowd.identified:
        notes.append(f"The data do not tell competition ({crowd.reason}); {c:g} is a choice, half-way to either end.")
    elif crowd is not None and crowd.value != c:
        notes.append(f"The estimate of competition, {crowd.value:.3g} ± {crowd.error:.2g}, is put to {c:g}.")
    if c > 0.9 and imbalance >= 0.05:
        notes.append(
            f"The arrivals of the sides do not differ beyond noise (p = {imbalance:.2g}), yet at competition {c:.3g} "
            "the equilibrium turns their difference into a large skew: symmetric = true gives both sides one rate."
        )
    return notes


def _notes(
    fit: IntensityFit,
    adverse: MarkOuts,
    volatility: IntradayVolatility,
    sides: SideTest | None,
    xi: float,
    half_spread: float,
) -> tuple[str, ...]:
    notes = [*fit.notes, *(note for note in adverse.notes if note not in fit.notes)]
    notes.append(
        "Arrivals count orders that reach a quote, whatever their size, as one fill of one lot, by a maker first in "
        "the queue unless fill_share says otherwise."
    )
    if sides is not None and sides.p_value < 0.01:
        notes.append(
            f"The sides differ: decay {sides.ask:.4g} for asks and {sides.bid:.4g} for bids (p = {sides.p_value:.2g}); "
            "the game has one, between the two."
        )
    if xi >= half_spread:
        notes.append(
            f"The mid moves {xi:.4g} against a fill, not less than the mean half-spread {half_spread:.4g}: at the "
            "quoted spread fills lose money on average."
        )
    if volatility.variance <= 0:
        notes.append("The estimated variance is not positive: no running penalty. Use another volatility_method.")
    return tuple(notes)
