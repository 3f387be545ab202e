"""The configuration of `fairfield calibrate`: files of one instrument's day, a window, and what the game needs."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fairfield.config import FilePath, Section, read_config

FEEDS = {"lobster": 2, "binance": 1, "b3_orders": 1}
"""The feeds, and the number of files that each has."""


class FeedSection(Section):
    """What is read: a LOBSTER message and order-book file, a Binance capture, B3's order events, or a store's session.

    `instrument` names one of a B3 file or of a store; for the others it is what the page calls it. `quotes`: where a
    capture's best quotes come from. With `store` there are `venue`, `instrument` and `session` and no feed and files.
    """

    feed: Literal["lobster", "binance", "b3_orders"] | None = None
    files: list[FilePath] = Field(default=[])
    instrument: str | None = Field(default=None, min_length=1, max_length=40)
    quotes: Literal["auto", "ticker", "depth"] = "auto"
    store: FilePath | None = None
    venue: str | None = Field(default=None, min_length=1, max_length=40)
    session: date | None = None

    @model_validator(mode="after")
    def _files(self) -> FeedSection:
        if self.store is not None:
            if self.feed is not None or self.files:
                raise ValueError("store must be given without feed and files: the session is read from one of the two")
            for name in ("venue", "instrument", "session"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} must be given with store")
            return self
        for name in ("venue", "session"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must be given with store only")
        if self.feed is None:
            raise ValueError("feed must be lobster, binance or b3_orders, or a store must be given")
        if len(self.files) != FEEDS[self.feed]:
            wanted = "the message file and the orderbook file" if self.feed == "lobster" else "one file"
            raise ValueError(f"files must be {wanted}; was {len(self.files)}")
        if self.feed == "b3_orders" and self.instrument is None:
            raise ValueError("instrument must be given: a file of B3 holds several")
        return self


class WindowSection(Section):
    """The part of the day, in the clock of the feed, and the market's price step.

    `parts` of equal length are fitted separately too; `currency` is a word.
    """

    tick: float = Field(gt=0.0)
    start: time | None = None
    end: time | None = None
    parts: int = Field(default=3, ge=1, le=12)
    currency: str = Field(default="price", min_length=1, max_length=12)

    @model_validator(mode="after")
    def _order(self) -> WindowSection:
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"start must be before end; was {self.start} and {self.end}")
        return self


class IntensitySection(Section):
    """The fit of A exp(-k distance): see `mfg_core.calibrate_intensity` for what each value means."""

    max_ticks: int = Field(ge=1, le=100_000)
    evidence: Literal["all", "arrivals", "depth"] = "all"
    inside: Literal["exclude", "at_touch"] = "exclude"
    join_within: float = Field(default=0.0, ge=0.0)
    blocks: int = Field(default=50, ge=2, le=10_000)


class AdverseSection(Section):
    """Mark-outs: the seconds after a fill at which the mid is compared, and the one that gives adverse selection."""

    horizon: float = Field(default=10.0, gt=0.0)
    horizons: list[float] = Field(default=[0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0], min_length=1)

    @model_validator(mode="after")
    def _positive(self) -> AdverseSection:
        for seconds in self.horizons:
            if seconds <= 0:
                raise ValueError(f"horizons must be positive seconds; was {seconds}")
        return self


class CalibratedGameSection(Section):
    """The rest of the game: limits and tastes that no data tell.

    `lot` is the inventory unit in shares or contracts (the mean order size when left out); `risk_aversion` is per unit
    of the currency; `horizon` in seconds; `competition` from 0 (alone) to 1 (against the crowd), or "estimated";
    `symmetric` gives both sides one arrival rate; `fill_share` the share of orders that fill us when they reach our
    quote; `typical_inventory` (half of max_inventory when left out) is the position in lots whose liquidation at the
    close costs what the terminal penalty says.
    """

    risk_aversion: float = Field(ge=0.0)
    max_inventory: int = Field(ge=1, le=1000)
    horizon: float = Field(gt=0.0)
    lot: float | None = Field(default=None, gt=0.0)
    competition: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["estimated"] = "estimated"
    symmetric: bool = False
    fill_share: float = Field(default=1.0, gt=0.0, le=1.0)
    typical_inventory: float | None = Field(default=None, gt=0.0)
    liquidation_impact: float = Field(default=0.0, ge=0.0)


class UncertaintySection(Section):
    """Level of the bands; simulated replicates of the test of the gaps (0: p values as if parameters were known).

    `draws` games are drawn from the estimates to check the bands of first order; 0 leaves that out.
    """

    replicates: int = Field(default=0, ge=0, le=10_000)
    draws: int = Field(default=40, ge=0, le=10_000)
    seed: int = Field(default=1, ge=0)
    level: float = Field(default=0.95, gt=0.5, lt=1.0)


class CalibrationConfig(Section):
    """A whole configuration file of `fairfield calibrate`."""

    title: str | None = Field(default=None, min_length=1, max_length=120)
    data: FeedSection
    window: WindowSection
    intensity: IntensitySection
    adverse_selection: AdverseSection = AdverseSection()
    game: CalibratedGameSection
    uncertainty: UncertaintySection = UncertaintySection()


def load_calibration_config(path: Path) -> CalibrationConfig:
    """The checked configuration in the TOML file `path`; its paths stay as they are written.

    Raises
    ------
    ConfigError
        When the file cannot be read, has an unknown key or a value that breaks a rule.
    """
    return read_config(path, CalibrationConfig)
