"""The look-ahead wall: what a pod may see at a close, and nothing later."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_pipeline.daily.adjust import (
    fill_since_last_close,
    window_price_factor,
    window_share_factor,
    window_total_return,
)
from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, DailyPanel

_PRICES: Final = frozenset(PRICE_FIELDS)


def _whole_number(name: str, value: object) -> int:
    """Return an argument as int; bool, float and string are refused rather than guessed at."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number; was {value!r}")
    return int(value)


class MarketView:
    """What was public at the close of row `now` of a panel, together with the pod's own account.

    Every array handed out is a new, read-only copy: neither it nor its `.base` leads to a later row. Adjusted
    values use only events with `ex_session <= now` and `known_session <= now`. A view is cheap to make: one per
    decision.

    Parameters
    ----------
    panel : DailyPanel
        The whole panel.
    now : int
        Row of the decision session; its close is known.
    first : int, optional
        First visible row (the start of the training data); rows before it cannot be asked for.
    weights : (N,) array_like, optional
        The pod's weights of net asset value at this close; zeros when not given.
    net_asset_value : float, optional
        The pod's net asset value, R$; NaN when not given.

    Raises
    ------
    TypeError
        When an index is not a whole number.
    ValueError
        When an index is outside the panel, or the weights are not N finite numbers.

    Examples
    --------
    >>> import numpy as np
    >>> grid = np.array([[10.0], [10.5], [10.2]])
    >>> prices = dict.fromkeys(("open", "high", "low", "close", "vwap", "bid", "ask"), grid)
    >>> panel = DailyPanel(np.array(["2024-01-02", "2024-01-03", "2024-01-04"], dtype="datetime64[D]"), ("PETR4",),
    ...     **prices, volume=100 + 0 * grid, traded_value=100 * grid, trade_count=1 + 0 * grid,
    ...     lot_size=np.array([100]), risk_free=np.zeros(3))
    >>> view = MarketView(panel, 1)
    >>> view.history("close", 2).ravel().tolist()
    [10.0, 10.5]
    >>> view.history("close", 3)
    Traceback (most recent call last):
    ValueError: window must be in [1, 2], the visible sessions up to 2024-01-03; was 3
    """

    __slots__ = ("_first", "_net_asset_value", "_now", "_panel", "_weights")

    def __init__(
        self,
        panel: DailyPanel,
        now: int,
        *,
        first: int = 0,
        weights: ArrayLike | None = None,
        net_asset_value: float | None = None,
    ) -> None:
        """Check the place in the panel and copy the account."""
        now, first = _whole_number("now", now), _whole_number("first", first)
        if not 0 <= now < panel.sessions.size:
            raise ValueError(f"now must be a row of the panel, in [0, {panel.sessions.size}); was {now}")
        if not 0 <= first <= now:
            raise ValueError(f"first must be in [0, now = {now}]; was {first}")
        held = np.zeros(len(panel.instruments)) if weights is None else np.array(weights, dtype=np.float64)
        if held.shape != (len(panel.instruments),) or not np.all(np.isfinite(held)):
            raise ValueError(f"weights must be {len(panel.instruments)} finite numbers; was {weights!r}")
        held.setflags(write=False)
        self._panel, self._now, self._first, self._weights = panel, now, first, held
        self._net_asset_value = math.nan if net_asset_value is None else float(net_asset_value)

    def __repr__(self) -> str:
        """Return the session and the size of what is visible."""
        return f"MarketView(session={self.session}, n_sessions={self.n_sessions}, instruments={len(self.instruments)})"

    @property
    def session(self) -> np.datetime64:
        """Date of the decision session."""
        date: np.datetime64 = self._panel.sessions[self._now]
        return date

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the N columns."""
        return self._panel.instruments

    @property
    def n_sessions(self) -> int:
        """Number of visible sessions, the decision session included."""
        return self._now - self._first + 1

    @property
    def members(self) -> NDArray[np.bool_]:
        """Which instruments have become members of the universe by this close, (N,), read-only."""
        return _frozen(np.asarray(self._panel.member_from <= self._now))

    @property
    def weights(self) -> NDArray[np.float64]:
        """The pod's weights at this close, (N,), read-only."""
        return self._weights

    @property
    def net_asset_value(self) -> float:
        """The pod's net asset value at this close, R$; NaN in training."""
        return self._net_asset_value

    def _start(self, window: object) -> int:
        count = _whole_number("window", window)
        if not 1 <= count <= self.n_sessions:
            raise ValueError(
                f"window must be in [1, {self.n_sessions}], the visible sessions up to {self.session}; was {count}"
            )
        return self._now - count + 1

    def sessions(self, window: int) -> NDArray[np.datetime64]:
        """Return the dates of the last `window` visible sessions, (window,)."""
        return _frozen(np.array(self._panel.sessions[self._start(window) : self._now + 1]))

    def history(self, field: str, window: int, adjusted: bool = True) -> NDArray[np.float64]:
        """Return the last `window` visible rows of a panel field, (window, N); the last row is the decision session.

        Parameters
        ----------
        field : str
            One of `data_pipeline.daily.panel.GRID_FIELDS`.
        window : int
            Number of rows.
        adjusted : bool, optional
            Express prices and volumes in shares of the decision session: prices by splits and cash, volume by
            splits. Traded value and trade count are the same either way.

        Raises
        ------
        TypeError, ValueError
            When the field is unknown, or the window is not a whole number of visible sessions.
        """
        if not isinstance(field, str) or field not in GRID_FIELDS:
            raise ValueError(f"field must be one of {', '.join(GRID_FIELDS)}; was {field!r}")
        if not isinstance(adjusted, (bool, np.bool_)):
            raise TypeError(f"adjusted must be True or False; was {adjusted!r}")
        start = self._start(window)
        rows = getattr(self._panel, field)[start : self._now + 1]
        if adjusted and field in _PRICES:
            return _frozen(np.multiply(rows, window_price_factor(self._panel.factors, start, self._now)))
        if adjusted and field == "volume":
            return _frozen(np.multiply(rows, window_share_factor(self._panel.factors, start, self._now)))
        return _frozen(np.array(rows))

    def returns(self, window: int, *, since_last_close: bool = False) -> NDArray[np.float64]:
        """Return simple total returns of the last `window` sessions, (window, N), splits and net cash included.

        NaN where the close of the session or of the session before is absent; the first visible row has no visible
        session before it and is NaN.

        With `since_last_close` the first close after silent sessions has the whole move since the last close in the
        window (of adjusted closes, so with gross cash), as an account books it; the silent sessions stay NaN.
        So does a session that no instrument has a plain return in: the data have a hole before it, and what happened
        in a hole is not the move of one session.
        """
        start = self._start(window)
        result = window_total_return(self._panel.factors, self._panel.close, start, self._now)
        if since_last_close:
            fill_since_last_close(result, self._panel.factors, start, self._now)
        if start == self._first:
            result[0] = np.nan
        return _frozen(result)

    def risk_free(self, window: int) -> NDArray[np.float64]:
        """Return the simple return of cash in each of the last `window` sessions, (window,)."""
        return _frozen(np.array(self._panel.risk_free[self._start(window) : self._now + 1]))

    def eligible(self, min_median_value: float, window: int, min_presence: float) -> NDArray[np.bool_]:
        """Return which members of the universe were liquid in the last `window` sessions, (N,).

        Parameters
        ----------
        min_median_value : float
            Least median traded value, R$ per session; sessions without a trade count as zero.
        window : int
            Number of visible sessions looked at.
        min_presence : float
            Least fraction of those sessions with a trade, in [0, 1].
        """
        if not (math.isfinite(min_median_value) and min_median_value >= 0.0):
            raise ValueError(f"min_median_value must be zero or positive and finite; was {min_median_value}")
        if not 0.0 <= min_presence <= 1.0:
            raise ValueError(f"min_presence must be in [0, 1]; was {min_presence}")
        rows = slice(self._start(window), self._now + 1)
        presence = np.mean(~np.isnan(self._panel.close[rows]), axis=0)
        return _frozen(
            self.members
            & (presence >= min_presence)
            & _median_reaches(self._panel.traded_value[rows], min_median_value)
        )

    def at(self, sessions_back: int) -> MarketView:
        """Return the view of the close `sessions_back` sessions earlier, for replays in training.

        The earlier view starts at the same first row and holds no account (zero weights, NaN net asset value).
        """
        back = _whole_number("sessions_back", sessions_back)
        if not 0 <= back < self.n_sessions:
            raise ValueError(f"sessions_back must be in [0, {self.n_sessions}), the visible sessions; was {back}")
        return MarketView(self._panel, self._now - back, first=self._first)


def _median_reaches(values: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Whether the median of each column of `values` (W, N), which are finite, is at least `level`.

    By counting: only a column with exactly half of its values at the level needs its median.
    """
    count = np.count_nonzero(values >= level, axis=0)
    reaches = np.asarray(2 * count > len(values))
    split = np.flatnonzero(2 * count == len(values))
    reaches[split] = np.median(values[:, split], axis=0) >= level
    return reaches


def _frozen(array: NDArray) -> NDArray:  # type: ignore[type-arg]
    array.setflags(write=False)
    return array
