"""Splits, purge and paths: published counts, and the purge again by its definition, row by row."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.errors import WindowError
from backtests.walk.combinatorial import (
    CombinatorialSettings,
    inner_folds,
    make_groups,
    make_splits,
    path_splits,
    pieces,
    purged,
)


@pytest.mark.parametrize(
    ("groups", "tested", "splits", "paths"), [(6, 2, 15, 5), (10, 8, 45, 36), (4, 2, 6, 3), (5, 2, 10, 4)]
)
def test_counts_are_the_published_ones(groups, tested, splits, paths):
    settings = CombinatorialSettings(groups, tested, purge=0)
    assert (settings.splits, settings.paths) == (splits, paths)
    assert len(make_splits(range(100), settings)) == splits
    assert path_splits(settings).shape == (paths, groups)


def test_the_second_path_of_six_groups_by_two_is_the_published_one():
    """Lopez de Prado (2018), figure 12.2: (G1,S2)(G2,S6)(G3,S6)(G4,S7)(G5,S8)(G6,S9)."""
    found = path_splits(CombinatorialSettings(6, 2)) + 1
    assert found[1].tolist() == [2, 6, 6, 7, 8, 9]
    assert found[0].tolist() == [1, 1, 2, 3, 4, 5]


@given(st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))))
def test_each_tested_group_of_each_split_is_in_exactly_one_path(sizes):
    settings = CombinatorialSettings(*sizes, purge=0)
    table = path_splits(settings)
    cells = [(group, split) for path in table for group, split in enumerate(path)]
    tested = [(group, split.index) for split in make_splits(range(64), settings) for group in split.groups]
    assert sorted(cells) == sorted(tested)
    assert settings.paths == math.comb(settings.groups - 1, settings.test_groups - 1)


def by_definition(n, tests, label_end, embargo):
    """Rows that may train, decided one by one from the three cases of an overlap and the embargo."""
    kept = []
    for row in range(n):
        allowed = True
        for test in tests:
            start, end = row, label_end[row]
            first, last = test[0], max(label_end[t] for t in test)
            starts_inside = first <= start <= last
            ends_inside = first <= end <= last
            envelops = start <= first and last <= end
            embargoed = last < row <= last + embargo
            allowed &= not (starts_inside or ends_inside or envelops or embargoed)
        if allowed:
            kept.append(row)
    return kept


@st.composite
def labelled_tests(draw):
    n = draw(st.integers(4, 40))
    horizons = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    edges = sorted(draw(st.sets(st.integers(0, n), min_size=2, max_size=6)))
    tests = [range(a, b) for a, b in itertools.pairwise(edges)][:: draw(st.sampled_from([1, 2]))]
    return n, tests, np.arange(n) + np.array(horizons), draw(st.integers(0, 6))


@given(labelled_tests())
def test_the_purge_is_that_of_the_definition(case):
    n, tests, label_end, embargo = case
    train = purged((range(n),), tests, label_end, embargo)
    assert [row for piece in train for row in piece] == by_definition(n, tests, label_end.tolist(), embargo)
    assert all(before.stop < after.start for before, after in itertools.pairwise(train))


def test_each_case_of_an_overlap_is_purged():
    tests = [range(10, 12)]
    at = {"starts inside": (11, 15), "ends inside": (8, 10), "envelops": (7, 14), "free": (6, 9)}
    for words, (row, end) in at.items():
        label_end = np.arange(20)
        label_end[row] = end
        kept = [r for piece in purged((range(20),), tests, label_end) for r in piece]
        assert (row in kept) == (words == "free"), words


@given(
    st.integers(2, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.integers(30, 80),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_no_label_of_training_touches_one_of_the_test(sizes, n, purge, embargo):
    settings = CombinatorialSettings(*sizes, purge=purge, embargo=embargo)
    try:
        splits = make_splits(range(5, 5 + n), settings)
    except WindowError:
        assert n // settings.groups <= 2 * purge + embargo
        return
    for split in splits:
        tested = {row for test in split.tests for row in test}
        labels = {row + ahead for row in tested for ahead in range(purge + 1)}
        for row in (row for piece in split.train for row in piece):
            assert not labels & set(range(row, row + purge + 1))
            assert not any(row - back in labels for back in range(1, embargo + 1))
            assert 5 <= row < 5 + n


def test_groups_cover_all_rows_and_differ_by_one_row_at_most():
    groups = make_groups(range(3, 26), 5)
    assert [row for group in groups for row in group] == list(range(3, 26))
    assert sorted({len(group) for group in groups}) == [4, 5]
    with pytest.raises(WindowError, match="groups must be at most the 4 sessions"):
        make_groups(range(4), 5)


def test_an_embargo_may_be_a_share_of_the_sessions():
    settings = CombinatorialSettings(4, 1, purge=0, embargo=0.07)
    assert settings.embargo_sessions(100) == 7
    assert settings.embargo_sessions(101) == 8
    assert make_splits(range(100), settings)[0].train == (range(32, 100),)


@given(st.integers(2, 6), st.integers(0, 3), st.integers(0, 2))
def test_inner_folds_test_every_row_of_the_training_once_and_stay_inside_it(folds, purge, embargo):
    candidates = (range(4, 40), range(50, 71))
    rows = [row for piece in candidates for row in piece]
    label_end = np.arange(100) + purge
    splits = inner_folds(candidates, folds, label_end, embargo)
    assert [row for split in splits for test in split.tests for row in test] == rows
    for split in splits:
        kept = by_definition(100, split.tests, label_end.tolist(), embargo)
        assert [row for piece in split.train for row in piece] == [row for row in kept if row in set(rows)]
        assert all(any(test.start >= c.start and test.stop <= c.stop for c in candidates) for test in split.tests)


def test_what_leaves_nothing_to_train_is_one_sentence():
    with pytest.raises(
        WindowError, match=r"purge 30 and embargo 0 must leave training sessions in every split; .* 1, 3"
    ):
        make_splits(range(80), CombinatorialSettings(4, 2, purge=30))
    with pytest.raises(WindowError, match="fold 1 of 2 over 10 sessions leaves none"):
        inner_folds((range(10),), 2, np.arange(10) + 9)
    with pytest.raises(ValueError, match="label_end must not lie before its row; does in row 1"):
        purged((range(2),), (range(1),), np.array([0, 0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 1}, "groups must be at least 2; was 1"),
        ({"test_groups": 6}, r"test_groups must be below groups \(6\)"),
        ({"purge": -1}, "purge must be at least 0; was -1"),
        ({"embargo": 1.5}, r"embargo must be whole sessions, or a share in \[0, 1\)"),
        ({"embargo": -1}, "embargo must be whole sessions"),
        ({"groups": 30, "test_groups": 15}, "at most 5,000 splits; 30 and 15 make 155,117,520"),
        ({"groups": 10**9, "test_groups": 5 * 10**8}, "1000000000 and 500000000 make more than 5,000: take fewer"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        CombinatorialSettings(**({"groups": 6, "test_groups": 2} | change))


def test_a_size_that_is_not_whole_is_refused():
    with pytest.raises(TypeError, match=r"groups must be a whole number; was 6\.0"):
        CombinatorialSettings(6.0, 2)
    with pytest.raises(TypeError, match="embargo must be a number of sessions or a share of them; was '1'"):
        CombinatorialSettings(6, 2, embargo="1")


def test_pieces_of_nothing_are_none():
    assert pieces(np.array([], dtype=np.int64)) == ()
