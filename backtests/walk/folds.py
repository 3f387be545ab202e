"""Where each training window ends and each test window begins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from backtests.errors import WindowError


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """How the windows of a walk-forward are laid over the sessions.

    Attributes
    ----------
    train : int
        Sessions of a training window (of the first one when `anchored`).
    test : int
        Sessions of a test window; the last one may be shorter.
    step : int or None
        Sessions from one test window to the next; None means `test`, so that test windows touch.
    purge : int
        Label horizon: what is learnt from row t is not known before row t + purge. So many sessions are dropped after
        the training window, because a label that starts in them would end in the test window.
    embargo : int
        Further sessions dropped, for serial dependence that outlasts the labels.
    anchored : bool
        True: every training window starts at the first session and grows. False: it rolls with constant length.
    """

    train: int
    test: int
    step: int | None = None
    purge: int = 1
    embargo: int = 0
    anchored: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name, least in (("train", 2), ("test", 1), ("purge", 0), ("embargo", 0)):
            _check_whole(name, getattr(self, name), least)
        if self.step is not None:
            _check_whole("step", self.step, 1)

    @property
    def gap(self) -> int:
        """Sessions that lie between the end of training and the start of test."""
        return self.purge + self.embargo

    @property
    def stride(self) -> int:
        """Sessions from one test window to the next."""
        return self.test if self.step is None else self.step


@dataclass(frozen=True, slots=True)
class Fold:
    """One training window and the test window after it, as ranges of session rows.

    The law of every fold: `train.max() + gap < test.min()`.
    """

    index: int
    train: range
    test: range

    @property
    def ranges(self) -> tuple[range, ...]:
        """The training rows, under the name that every kind of training window has."""
        return (self.train,)

    def warm_up(self, lookback: int) -> range:
        """The `lookback` rows right before the test window: all that an indicator's state may be built from.

        Raises
        ------
        ValueError
            When fewer than `lookback` sessions lie before the test window.
        """
        _check_whole("lookback", lookback, 0)
        start = self.test.start - lookback
        if start < 0:
            raise ValueError(
                f"lookback must be at most {self.test.start}, the sessions before the test window of fold {self.index};"
                f" was {lookback}: shorten the pod's windows or lengthen the training window"
            )
        return range(start, self.test.start)


def make_folds(n_sessions: int, settings: FoldSettings) -> tuple[Fold, ...]:
    """Folds over `n_sessions` rows, in time order.

    The first training window starts at row 0; the k-th test window starts `k * step` rows after the first. The last
    test window ends with the data.

    Raises
    ------
    WindowError
        A ValueError: when the training window, the gap and one test session do not fit into the data.

    Examples
    --------
    >>> [(fold.train, fold.test) for fold in make_folds(10, FoldSettings(train=4, test=3, purge=1))]
    [(range(0, 4), range(5, 8)), (range(3, 7), range(8, 10))]
    """
    _check_whole("n_sessions", n_sessions, 1)
    need = settings.train + settings.gap + 1
    if need > n_sessions:
        raise WindowError(
            f"the training window must fit into the data: {settings.train} training sessions, a gap of {settings.gap} "
            f"and one test session need {need} sessions, the data have {n_sessions}; shorten the window or add data"
        )
    first_test = settings.train + settings.gap
    folds = []
    for index, test_start in enumerate(range(first_test, n_sessions, settings.stride)):
        train_stop = test_start - settings.gap
        train_start = 0 if settings.anchored else train_stop - settings.train
        test_stop = min(test_start + settings.test, n_sessions)
        folds.append(Fold(index, range(train_start, train_stop), range(test_start, test_stop)))
    return tuple(folds)


def check_stitchable(folds: tuple[Fold, ...]) -> None:
    """Refuse folds whose test windows do not follow each other session by session (one account runs through all)."""
    for before, after in itertools.pairwise(folds):
        if before.test.stop != after.test.start:
            raise WindowError(
                "step must be equal to test, so that the test windows join into one account; "
                f"fold {before.index} ends before row {before.test.stop} and fold {after.index} starts at row "
                f"{after.test.start}"
            )


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number of sessions; was {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; was {value}")
