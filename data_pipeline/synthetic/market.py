"""The simulated economy: factor returns, the companies' own returns, order flow and its impact, as log-price moves.

The stylised facts (Cont 2001) and where each comes from here:

- heavy tails: Student-t shocks under GARCH (Bollerslev 1987; Gopikrishnan et al. 1999 measure the exponent 3);
- volatility clustering and the leverage effect: GJR-GARCH(1,1) (Glosten, Jagannathan & Runkle 1993);
- co-movement: market factor, sector factors and own returns (Fama & French 1993 in form);
- results days: once a quarter a company's own news is three times as large (Beaver 1968; Patell & Wolfson 1981);
- momentum: a slow company-specific drift; reversal: the transient part of the impact of order flow decays
  (Lehmann 1990 and Jegadeesh 1990 for the fact; Obizhaeva & Wang 2013 for the mechanism);
- autocorrelated order imbalance with a common part (Chordia, Roll & Subrahmanyam 2002).

Order flow is drawn independently of the news, so that flow and return relate through the impact alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.synthetic.companies import Listing, distress_row
from data_pipeline.synthetic.config import ExchangeConfig
from data_pipeline.synthetic.streams import FloatArray, autoregression, normals, stream, students, uniforms

SESSIONS_PER_YEAR = 252
OVERNIGHT_SHARE = 0.3
"""Fraction of the variance of the news that arrives between the close and the opening."""

MARKET_GARCH = (0.02, 0.08, 0.90)
"""(alpha, gamma, beta): reaction, extra reaction to falls, memory."""

COMPANY_GARCH = (0.05, 0.03, 0.90)
SECTOR_VOLATILITY = 0.10
RESULTS_MULTIPLE = 3.0
RESULTS_PERIOD = 63
CROWD_FLOW = 0.2
OWN_FLOW = 0.3
"""Standard deviations of the crowd's flow and of a paper's departure from it, before the bound."""

FLOW_MEMORY = 0.1
FLOW_BOUND = 0.7
FRAUD_LOG_JUMP = float(np.log(0.3))
TAKEOVER_LOG_JUMP = float(np.log(1.28))


@dataclass(frozen=True, slots=True)
class Market:
    """Log-price moves of the efficient mid, in total-return terms; arrays (sessions, instruments).

    `overnight` and `intraday` add up to the session's total log return; `volatility` is the conditional standard
    deviation of the session's news; `flow` the signed order flow in typical daily volumes, `crowd` (sessions,) its mean
    over the population; `transient` the part of
    past impact that has yet to decay; `market` (sessions,) the factor's log return and `market_volatility` its
    conditional standard deviation.
    """

    overnight: FloatArray
    intraday: FloatArray
    volatility: FloatArray
    flow: FloatArray
    crowd: FloatArray
    transient: FloatArray
    traded: np.ndarray
    market: FloatArray
    market_volatility: FloatArray
    crash_rows: tuple[int, ...]


def simulate_market(
    config: ExchangeConfig, listings: tuple[Listing, ...], risk_free: FloatArray, sessions: int
) -> Market:
    """The economy of `sessions` sessions; `risk_free` (sessions,) is the simple return of cash over each session."""
    crash_rows, crash_sizes = _market_crashes(config, sessions)
    market, market_volatility = _market_factor(config, sessions, crash_rows, crash_sizes)
    sector, sector_volatility = _sector_factors(config, sessions)
    own, own_volatility = _company_returns(config, listings, sessions)
    results = _results_days(config, listings, sessions)
    own, own_volatility = own * results, own_volatility * results
    scale, jumps = _named_histories(listings, sessions)

    beta = np.array([paper.beta for paper in listings])
    loading = np.array([paper.sector_loading for paper in listings])
    factor = [paper.sector % config.sector_factors for paper in listings]
    news = scale * (market[:, None] * beta + sector[:, factor] * loading + own)
    variance = (market_volatility[:, None] * beta) ** 2 + (sector_volatility[:, factor] * loading) ** 2
    volatility = scale * np.sqrt(variance + own_volatility**2)

    drift = config.equity_premium / SESSIONS_PER_YEAR * beta + np.log1p(risk_free)[:, None]
    drift = drift - 0.5 * volatility**2 * (1.0 + _impact_variance(config)) + _slow_drift(config, listings, sessions)

    traded = _presence(config, listings, sessions)
    crowd, own_flow = _order_flow(config, listings, sessions)
    flow = np.where(traded, crowd[:, None] + own_flow, 0.0)
    pushed = volatility * (config.temporary_impact + config.crowd_impact * np.abs(crowd))[:, None] * flow
    transient = _decay(config.transient_share * pushed, config.impact_memory)
    released = np.vstack([np.zeros(len(listings)), (config.impact_memory - 1.0) * transient[:-1]])

    gap = OVERNIGHT_SHARE * news + np.sqrt(OVERNIGHT_SHARE * (1.0 - OVERNIGHT_SHARE)) * volatility * np.column_stack(
        [normals(stream(config.seed, "overnight", paper.ticker), sessions) for paper in listings]
    )
    return Market(
        overnight=gap + drift + jumps + released,
        intraday=news - gap + pushed,
        volatility=volatility,
        flow=flow,
        crowd=crowd,
        transient=transient,
        traded=traded,
        market=market,
        market_volatility=market_volatility,
        crash_rows=crash_rows,
    )


def garch_path(
    shocks: FloatArray, volatility: FloatArray, coefficients: tuple[float, float, float], forced: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """GJR-GARCH(1,1) returns and their conditional standard deviations, each (sessions, columns).

    `shocks` have unit variance; `volatility` (columns,) is the unconditional standard deviation per session. A value
    of `forced` that is not NaN takes the place of that session's return and enters the next variances as such.
    """
    alpha, gamma, beta = coefficients
    variance = volatility**2
    base = variance * (1.0 - alpha - 0.5 * gamma - beta)
    returns, deviation = np.empty_like(shocks), np.empty_like(shocks)
    for row in range(len(shocks)):
        deviation[row] = np.sqrt(variance)
        returns[row] = np.where(np.isnan(forced[row]), deviation[row] * shocks[row], forced[row])
        square = returns[row] ** 2
        variance = base + (alpha + gamma * (returns[row] < 0.0)) * square + beta * variance
    return returns, deviation


def _market_crashes(config: ExchangeConfig, sessions: int) -> tuple[tuple[int, ...], FloatArray]:
    rng = stream(config.seed, "market", "crashes")
    draws = uniforms(rng, (config.market_crashes, 2))
    slots = (np.arange(config.market_crashes) + 0.15 + 0.7 * draws[:, 0]) / max(config.market_crashes, 1)
    return tuple(int(row) for row in slots * sessions), -np.log(0.92 - 0.04 * draws[:, 1])


def _market_factor(
    config: ExchangeConfig, sessions: int, crash_rows: tuple[int, ...], sizes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    shocks = students(stream(config.seed, "market", "shocks"), (sessions, 1), config.tail_degrees)
    forced = np.full((sessions, 1), np.nan)
    forced[list(crash_rows), 0] = -sizes
    level = np.array([config.market_volatility / np.sqrt(SESSIONS_PER_YEAR)])
    returns, deviation = garch_path(shocks, level, MARKET_GARCH, forced)
    return _centred(returns[:, 0]), deviation[:, 0]


def _sector_factors(config: ExchangeConfig, sessions: int) -> tuple[FloatArray, FloatArray]:
    columns = [
        students(stream(config.seed, "sector", str(number)), sessions, config.tail_degrees)
        for number in range(config.sector_factors)
    ]
    level = np.full(config.sector_factors, SECTOR_VOLATILITY / np.sqrt(SESSIONS_PER_YEAR))
    shocks = np.column_stack(columns)
    returns, deviation = garch_path(shocks, level, COMPANY_GARCH, np.full_like(shocks, np.nan))
    return _centred(returns), deviation


def _centred(path: FloatArray) -> FloatArray:
    """The path less its mean over the exchange's life.

    What all papers share (factors, the crowd's flow) has no average of its own, so that the market of every seed
    shows the stated premium: six years of a 20 % market leave a standard error of 8 % a year otherwise.
    """
    return np.asarray(path - path.mean(axis=0))


def _company_returns(
    config: ExchangeConfig, listings: tuple[Listing, ...], sessions: int
) -> tuple[FloatArray, FloatArray]:
    """Own returns; the second class of a company shares nine tenths of the variance of the first."""
    columns = []
    for paper in listings:
        shock = students(stream(config.seed, "company", paper.company), sessions, config.tail_degrees)
        if paper.role == "second_class":
            own = normals(stream(config.seed, "class", paper.ticker), sessions)
            shock = np.sqrt(0.9) * shock + np.sqrt(0.1) * own
        columns.append(shock)
    shocks = np.column_stack(columns)
    level = np.array([paper.volatility for paper in listings]) / np.sqrt(SESSIONS_PER_YEAR)
    return garch_path(shocks, level, COMPANY_GARCH, np.full_like(shocks, np.nan))


def _results_days(config: ExchangeConfig, listings: tuple[Listing, ...], sessions: int) -> FloatArray:
    """Multiple of a company's own news: RESULTS_MULTIPLE on one drawn session of each quarter, else 1."""
    starts = np.arange(0, sessions, RESULTS_PERIOD)
    multiple = np.ones((sessions, len(listings)))
    for column, paper in enumerate(listings):
        draws = uniforms(stream(config.seed, "results", paper.company), len(starts))
        rows = starts + (draws * RESULTS_PERIOD / 3).astype(np.int64)
        multiple[rows[rows < sessions], column] = RESULTS_MULTIPLE
    return multiple


def _slow_drift(config: ExchangeConfig, listings: tuple[Listing, ...], sessions: int) -> FloatArray:
    """Company-specific drift per session: AR(1), the source of momentum."""
    memory = 0.5 ** (1.0 / config.momentum_half_life)
    shocks = np.column_stack([normals(stream(config.seed, "drift", paper.company), sessions) for paper in listings])
    return autoregression(shocks, memory) * config.momentum_volatility / SESSIONS_PER_YEAR


def _order_flow(config: ExchangeConfig, listings: tuple[Listing, ...], sessions: int) -> tuple[FloatArray, FloatArray]:
    """Crowd's flow (sessions,) and each paper's own departure from it, in typical daily volumes.

    The crowd is the mean of a population without end, not of the listed papers, so that one paper more leaves the
    others' prices as they were.
    """

    def path(key: str, size: float) -> FloatArray:
        shocks = normals(stream(config.seed, "flow", key), sessions)
        return np.asarray(FLOW_BOUND * np.tanh(size / FLOW_BOUND * autoregression(shocks, FLOW_MEMORY)))

    own = np.column_stack([path(paper.ticker, OWN_FLOW) for paper in listings])
    return _centred(path("crowd", CROWD_FLOW)), own


def _impact_variance(config: ExchangeConfig) -> float:
    """Variance that order flow adds to a session's return, as a fraction of the news's (bounds left aside)."""
    typical = config.temporary_impact + config.crowd_impact * CROWD_FLOW * np.sqrt(2.0 / np.pi)
    return float(typical**2 * (CROWD_FLOW**2 + OWN_FLOW**2))


def _decay(pushes: FloatArray, memory: float) -> FloatArray:
    """What is left of past pushes at each close."""
    left = np.empty_like(pushes)
    level = np.zeros(pushes.shape[1])
    for row in range(len(pushes)):
        level = memory * level + pushes[row]
        left[row] = level
    return left


def _presence(config: ExchangeConfig, listings: tuple[Listing, ...], sessions: int) -> np.ndarray:
    """Whether each paper trades in each session: listed, and drawn for the illiquid ones."""
    rows = np.arange(sessions)
    columns = []
    for paper in listings:
        listed = (rows >= paper.first_row) & (rows < paper.end_row)
        draws = uniforms(stream(config.seed, "presence", paper.ticker), sessions)
        drawn = draws < paper.presence
        drawn[[min(paper.first_row, sessions - 1), paper.end_row - 1]] = True
        columns.append(listed & drawn)
    return np.column_stack(columns)


def _named_histories(listings: tuple[Listing, ...], sessions: int) -> tuple[FloatArray, FloatArray]:
    """Volatility multiples and log jumps of the papers with a history of their own, each (sessions, instruments)."""
    scale, jumps = np.ones((sessions, len(listings))), np.zeros((sessions, len(listings)))
    for column, paper in enumerate(listings):
        if paper.role not in ("fraud", "bankruptcy", "takeover"):
            continue
        row = distress_row(paper)
        elapsed = np.arange(sessions - row)
        if paper.role == "fraud":
            jumps[row, column] = FRAUD_LOG_JUMP
            scale[row:, column] = 1.0 + 2.0 * np.exp(-elapsed / 40.0)
        elif paper.role == "bankruptcy":
            jumps[row, column] = np.log(0.6)
            jumps[row + 1 :, column] = -0.025
            scale[row:, column] = 2.2
        else:
            jumps[row, column] = TAKEOVER_LOG_JUMP
            scale[row:, column] = 0.12
    return scale, jumps
