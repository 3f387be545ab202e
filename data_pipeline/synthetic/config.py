"""The settings of a synthetic exchange, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime

MINIMUM_INSTRUMENTS = 24
"""Every role of `companies.ROLES` exists from this many instruments on."""

MAXIMUM_INSTRUMENTS = 400
_EARLIEST = date(2000, 1, 1)
_LATEST = date(2100, 12, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeConfig:
    """Settings of a synthetic exchange.

    Attributes
    ----------
    seed : int
        Non-negative; two exchanges with the same settings have the same bytes.
    first_session, last_session : datetime.date
        The exchange trades on B3's sessions between these days, both included.
    instruments : int
        Shares, preferred shares and units (the ETF is extra). Names are added at the end of a fixed list, so that
        the first ones keep their own random streams whatever the number.
    sectors, sector_factors : int
        Sectors are labels; each loads on one of the sector factors.
    market_volatility, equity_premium : float
        Of the market factor, per year (252 sessions); the premium is over CDI and holds over the exchange's life. The
        volatility is that of GARCH at rest; crashes and what follows them come on top (some 4 % a year).
    tail_degrees : int
        Degrees of freedom of the Student-t shocks, even. 6 under GARCH gives the tail exponent near 3 that
        Gopikrishnan et al. (1999) find.
    temporary_impact, crowd_impact : float
        eta0 and eta1: a session in which a paper's signed flow is q daily volumes moves its price by
        volatility * (eta0 + eta1 |m|) q, where m is the crowd's flow, the mean of q. eta0 = 1 is the
        order of Almgren et al. (2005): 0.314 X/V permanent and 0.142 (X/V)^0.6 temporary, at X/V about a tenth.
    transient_share, impact_memory : float
        The share of that move that decays, and the fraction of it left after each session.
    momentum_volatility : float
        Standard deviation of the slow company-specific drift, per year.
    momentum_half_life : float
        Of that drift, in sessions.
    market_crashes : int
        Sessions on which the market factor falls by 8 to 12 %.
    option_underlyings : int
        Shares with listed options, as far as there are so many that trade in every session; some 15 records a session
        each.
    """

    seed: int
    first_session: date
    last_session: date
    instruments: int = 60
    sectors: int = 15
    sector_factors: int = 5
    market_volatility: float = 0.15
    equity_premium: float = 0.05
    tail_degrees: int = 6
    temporary_impact: float = 1.0
    crowd_impact: float = 3.0
    transient_share: float = 0.25
    impact_memory: float = 0.7
    momentum_volatility: float = 0.16
    momentum_half_life: float = 120.0
    market_crashes: int = 2
    option_underlyings: int = 4

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("first_session", "last_session"):
            _check_date(name, getattr(self, name))
        if self.last_session <= self.first_session:
            raise ValueError(f"last_session must be after first_session {self.first_session}; was {self.last_session}")
        for name, low, high in _INTEGER_RULES:
            _check_integer(name, getattr(self, name), low, high)
        for name, floor, ceiling in _FLOAT_RULES:
            _check_float(name, getattr(self, name), floor, ceiling)
        if self.tail_degrees % 2:
            raise ValueError(f"tail_degrees must be even; was {self.tail_degrees}")

    def as_json(self) -> Mapping[str, object]:
        """The settings as JSON types, in a fixed order."""
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}


_INTEGER_RULES = (
    ("seed", 0, 2**63 - 1),
    ("instruments", MINIMUM_INSTRUMENTS, MAXIMUM_INSTRUMENTS),
    ("sectors", 1, 30),
    ("sector_factors", 1, 10),
    ("tail_degrees", 4, 100),
    ("market_crashes", 0, 20),
    ("option_underlyings", 0, MAXIMUM_INSTRUMENTS),
)
_FLOAT_RULES = (
    ("market_volatility", 0.01, 1.0),
    ("equity_premium", -0.5, 0.5),
    ("temporary_impact", 0.0, 10.0),
    ("crowd_impact", 0.0, 20.0),
    ("transient_share", 0.0, 1.0),
    ("impact_memory", 0.0, 0.99),
    ("momentum_volatility", 0.0, 0.5),
    ("momentum_half_life", 1.0, 2520.0),
)


def _check_date(name: str, value: object) -> None:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime.date; was {value!r}")
    if not _EARLIEST <= value <= _LATEST:
        raise ValueError(f"{name} must lie between {_EARLIEST} and {_LATEST}; was {value}")


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer; was {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}; was {value}")


def _check_float(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; was {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}; was {value}")
