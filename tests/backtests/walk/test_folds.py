from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.walk.folds import FoldSettings, check_stitchable, make_folds

settings_and_length = st.builds(
    FoldSettings,
    train=st.integers(2, 40),
    test=st.integers(1, 20),
    step=st.none() | st.integers(1, 25),
    purge=st.integers(0, 10),
    embargo=st.integers(0, 10),
    anchored=st.booleans(),
).flatmap(
    lambda settings: st.tuples(
        st.just(settings), st.integers(settings.train + settings.gap + 1, settings.train + settings.gap + 90)
    )
)


@given(settings_and_length)
def test_training_ends_before_the_gap_and_the_gap_before_the_test(case):
    settings, n_sessions = case
    for fold in make_folds(n_sessions, settings):
        assert max(fold.train) + settings.gap < min(fold.test)
        assert min(fold.train) >= 0
        assert max(fold.test) < n_sessions


@given(settings_and_length)
def test_windows_have_the_asked_lengths_and_only_the_end_of_the_data_shortens_a_test(case):
    settings, n_sessions = case
    folds = make_folds(n_sessions, settings)
    for fold in folds:
        grown = fold.index * settings.stride if settings.anchored else 0
        assert len(fold.train) == settings.train + grown
        assert len(fold.test) == settings.test or max(fold.test) == n_sessions - 1
    assert [fold.index for fold in folds] == list(range(len(folds)))


@given(settings_and_length)
def test_touching_windows_test_every_later_session_exactly_once(case):
    settings, n_sessions = case
    touching = FoldSettings(
        settings.train,
        settings.test,
        purge=settings.purge,
        embargo=settings.embargo,
        anchored=settings.anchored,
    )
    folds = make_folds(n_sessions, touching)
    check_stitchable(folds)
    tested = [row for fold in folds for row in fold.test]
    assert tested == list(range(settings.train + settings.gap, n_sessions))


@given(settings_and_length)
def test_more_data_never_moves_an_earlier_fold(case):
    settings, n_sessions = case
    short = make_folds(n_sessions, settings)
    long = make_folds(n_sessions + 30, settings)
    assert all(a.train == b.train and a.test.start == b.test.start for a, b in zip(short, long, strict=False))


@given(settings_and_length, st.integers(0, 60))
def test_warm_up_lies_before_the_test(case, lookback):
    settings, n_sessions = case
    fold = make_folds(n_sessions, settings)[-1]
    if lookback > fold.test.start:
        with pytest.raises(ValueError, match="lookback must be at most"):
            fold.warm_up(lookback)
        return
    rows = fold.warm_up(lookback)
    assert len(rows) == lookback
    assert all(row < min(fold.test) for row in rows)


def test_a_window_longer_than_the_data_says_what_it_needs():
    with pytest.raises(ValueError, match=r"250 training sessions, a gap of 5 .* need 256 sessions, the data have 200"):
        make_folds(200, FoldSettings(train=250, test=20, purge=2, embargo=3))


def test_overlapping_or_parted_test_windows_cannot_be_joined():
    for step in (3, 5):
        with pytest.raises(ValueError, match="step must be equal to test"):
            check_stitchable(make_folds(40, FoldSettings(train=10, test=4, step=step)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 1}, "train must be at least 2; was 1"),
        ({"test": 0}, "test must be at least 1; was 0"),
        ({"purge": -1}, "purge must be at least 0; was -1"),
        ({"step": 0}, "step must be at least 1; was 0"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        FoldSettings(**({"train": 10, "test": 5} | change))


def test_a_size_that_is_not_whole_is_refused():
    with pytest.raises(TypeError, match=r"train must be a whole number of sessions; was 10\.5"):
        FoldSettings(train=10.5, test=5)
