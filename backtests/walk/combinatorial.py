"""Combinatorial purged cross-validation: which rows train, which test, and how the tests join into paths.

    groups  G1 ... GN   consecutive rows, equally long but for one row
    splits  S1 ... SM   one for each choice of k groups to test, in lexicographic order; the others train
    paths   phi = k/N M = C(N-1, k-1): each group is tested phi times; path j takes each group's j-th test

After Lopez de Prado (2018, "Advances in Financial Machine Learning", sections 7.4 and 12.4).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from backtests.errors import WindowError

MOST_SPLITS = 5000
"""Splits above which the settings are taken for a slip: C(20, 10) would be 184,756 trainings of every pod."""


@dataclass(frozen=True, slots=True)
class CombinatorialSettings:
    """How many groups there are, how many of them a split tests, and what is kept out of training beside them.

    Attributes
    ----------
    groups, test_groups : int
        N and k, 1 <= k < N.
    purge : int
        Label horizon in sessions: what is learnt from row t is not known before row t + purge, so its label is the
        interval [t, t + purge]. A training row whose label shares a row with that of a tested row is dropped.
    embargo : int or float
        Sessions after the last label of a test group in which nothing trains, for dependence that outlasts the
        labels; below 1 and not whole, a share of all sessions (rounded up).
    """

    groups: int
    test_groups: int
    purge: int = 1
    embargo: int | float = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name, least in (("groups", 2), ("test_groups", 1), ("purge", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number; was {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}; was {value}")
        if self.test_groups >= self.groups:
            raise ValueError(
                f"test_groups must be below groups ({self.groups}), or nothing trains; was {self.test_groups}"
            )
        if isinstance(self.embargo, bool) or not isinstance(self.embargo, int | float):
            raise TypeError(f"embargo must be a number of sessions or a share of them; was {self.embargo!r}")
        share = isinstance(self.embargo, float)
        if not (0 <= self.embargo < math.inf) or (share and self.embargo >= 1.0):
            raise ValueError(f"embargo must be whole sessions, or a share in [0, 1) of them; was {self.embargo}")
        # C(N, k) >= N, and that of a thousand million groups would never be done counting
        if self.groups > MOST_SPLITS or self.splits > MOST_SPLITS:
            made = f"{self.splits:,}" if self.groups <= 50 else f"more than {MOST_SPLITS:,}"
            raise ValueError(
                f"groups and test_groups must make at most {MOST_SPLITS:,} splits; {self.groups} and "
                f"{self.test_groups} make {made}: take fewer groups"
            )

    @property
    def splits(self) -> int:
        """Number of splits, C(N, k)."""
        return math.comb(self.groups, self.test_groups)

    @property
    def paths(self) -> int:
        """Number of paths, k/N C(N, k)."""
        return self.splits * self.test_groups // self.groups

    def embargo_sessions(self, n_sessions: int) -> int:
        """The embargo in sessions, of `n_sessions` that the groups hold."""
        if isinstance(self.embargo, int):
            return self.embargo
        return math.ceil(Fraction(str(self.embargo)) * n_sessions)


@dataclass(frozen=True, slots=True)
class Split:
    """One choice of groups to test.

    Attributes
    ----------
    index : int
        From 0, in lexicographic order of the groups.
    groups : tuple of int
        Those tested, from 0.
    train : tuple of range
        Rows that train, as consecutive pieces.
    tests : tuple of range
        Rows of each tested group.
    """

    index: int
    groups: tuple[int, ...]
    train: tuple[range, ...]
    tests: tuple[range, ...]

    @property
    def ranges(self) -> tuple[range, ...]:
        """The training rows, under the name that every kind of training window has."""
        return self.train


def make_groups(rows: range, groups: int) -> tuple[range, ...]:
    """`rows` cut into consecutive groups, the first ones a row longer where it does not come out even."""
    if len(rows) < groups:
        raise WindowError(f"groups must be at most the {len(rows)} sessions that there are to test; was {groups}")
    size, rest = divmod(len(rows), groups)
    edges = [rows.start + size * index + min(index, rest) for index in range(groups + 1)]
    return tuple(range(start, stop) for start, stop in itertools.pairwise(edges))


def make_splits(rows: range, settings: CombinatorialSettings) -> tuple[Split, ...]:
    """The splits of `rows`, in lexicographic order of the groups tested.

    Raises
    ------
    WindowError
        When a group would be empty, or purge and embargo leave a split without training rows.

    Examples
    --------
    >>> [(split.groups, split.train) for split in make_splits(range(9), CombinatorialSettings(3, 1))]
    [((0,), (range(4, 9),)), ((1,), (range(0, 2), range(7, 9))), ((2,), (range(0, 5),))]
    """
    groups = make_groups(rows, settings.groups)
    label_end = np.arange(rows.stop) + settings.purge
    embargo = settings.embargo_sessions(len(rows))
    splits = []
    for index, chosen in enumerate(itertools.combinations(range(settings.groups), settings.test_groups)):
        tests = tuple(groups[group] for group in chosen)
        train = purged((rows,), tests, label_end, embargo)
        if not train:
            raise WindowError(
                f"purge {settings.purge} and embargo {embargo} must leave training sessions in every split; the split "
                f"that tests groups {', '.join(str(group + 1) for group in chosen)} has none"
            )
        splits.append(Split(index, chosen, train, tests))
    return tuple(splits)


def purged(
    candidates: Sequence[range], tests: Sequence[range], label_end: NDArray[np.int64], embargo: int = 0
) -> tuple[range, ...]:
    """Candidate rows that may train beside `tests`, as consecutive pieces in order.

    The label of row t is the interval [t, label_end[t]]; a test range's is that from its first row to the latest end
    among its rows. A row is dropped when its label starts inside that of a test range, ends inside it, or envelops
    it, and when it is one of the `embargo` rows after it.

    Parameters
    ----------
    candidates, tests : sequence of range
    label_end : (T,) int
        Row in which the label of each row ends; at or after the row.
    embargo : int
        Rows.
    """
    rows = np.arange(label_end.size)
    if np.any(label_end < rows):
        raise ValueError(f"label_end must not lie before its row; does in row {int(np.argmax(label_end < rows))}")
    keep = np.zeros(rows.size, dtype=np.bool_)
    for piece in candidates:
        keep[piece.start : piece.stop] = True
    for test in tests:
        first, last = test.start, int(label_end[test.start : test.stop].max())
        keep &= (label_end < first) | (rows > last + embargo)
    return pieces(np.flatnonzero(keep))


def pieces(rows: NDArray[np.int64]) -> tuple[range, ...]:
    """Increasing rows as ranges without holes.

    >>> pieces(np.array([3, 4, 5, 9]))
    (range(3, 6), range(9, 10))
    """
    if rows.size == 0:
        return ()
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    return tuple(range(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks))


def path_splits(settings: CombinatorialSettings) -> NDArray[np.int64]:
    """Index (paths, N) of the split from which each path takes each group: path j takes the j-th that tests it.

    Examples
    --------
    >>> (path_splits(CombinatorialSettings(6, 2)) + 1)[1].tolist()
    [2, 6, 6, 7, 8, 9]
    """
    chosen = itertools.combinations(range(settings.groups), settings.test_groups)
    tested: list[list[int]] = [[] for _ in range(settings.groups)]
    for index, groups in enumerate(chosen):
        for group in groups:
            tested[group].append(index)
    return np.array(tested, dtype=np.int64).T


def inner_folds(
    candidates: Sequence[range], folds: int, label_end: NDArray[np.int64], embargo: int = 0
) -> tuple[Split, ...]:
    """Purged K-fold splits of the rows of a training window: each fold is tested once, the others train.

    A fold that holds a seam of the candidates is tested as several ranges.

    Raises
    ------
    WindowError
        When there are fewer rows than folds, or a fold leaves no training rows.
    """
    rows = np.concatenate([np.arange(piece.start, piece.stop) for piece in candidates])
    if rows.size < folds:
        raise WindowError(
            f"inner_folds must be at most the {rows.size} sessions of the training window that begins with row "
            f"{rows[0]}; was {folds}"
        )
    splits = []
    for index, part in enumerate(make_groups(range(rows.size), folds)):
        tests = pieces(rows[part.start : part.stop])
        train = purged(candidates, tests, label_end, embargo)
        if not train:
            raise WindowError(
                f"inner_folds must leave training sessions beside each fold; fold {index + 1} of {folds} over "
                f"{rows.size} sessions leaves none after purge and embargo: lengthen the training window"
            )
        splits.append(Split(index, (index,), train, tests))
    return tuple(splits)
