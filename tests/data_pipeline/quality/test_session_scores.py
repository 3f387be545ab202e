"""Scores of sessions by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.quality.session_scores import score_records, session_scores

DAYS = np.arange(np.datetime64("2023-01-02"), np.datetime64("2023-03-01"))


def market(count: int, instruments: int = 40) -> np.ndarray:
    return np.ones((count, instruments), dtype=bool)


def test_a_partial_file_lowers_the_score_of_its_session_only():
    traded = market(30)
    traded[25, 10:] = False
    scores, words = session_scores(DAYS[:30], traded, {})
    assert scores[25] == 0.25
    assert (np.delete(scores, 25) == 1.0).all()
    assert words[25] == "10 instruments traded, 40 usually"


def test_shares_that_come_and_go_are_no_defect_and_a_file_that_lacks_half_is():
    rng = np.random.default_rng(7)
    told, false = 0, 0
    for _ in range(40):
        traded = rng.random((59, 60)) < 0.8
        traded[40, rng.permutation(60)[:30]] = False
        scores, words = session_scores(np.arange(np.datetime64("2023-01-02"), np.datetime64("2023-03-02")), traded, {})
        told += bool(words[40]) and 0.3 < scores[40] < 0.8
        false += sum(bool(said) for row, said in enumerate(words) if row != 40)
    assert told == 40
    # four deviations, from 20 sessions: less than one session in fifty
    assert false < 0.02 * 40 * 58


def test_the_first_sessions_tell_no_deviation():
    traded = market(6)
    traded[1, 36:], traded[2, 20:] = False, False
    scores, _ = session_scores(DAYS[:6], traded, {})
    assert scores.tolist() == [1.0, 1.0, 20 / 38, 1.0, 1.0, 1.0]


def test_bad_rows_count_against_the_rows_of_their_session():
    defects = {"quarantined": [{"session": "2023-01-05"}] * 10, "suspicious": [{"session": "2023-01-06"}] * 4}
    scores, words = session_scores(DAYS[:10], market(10), defects)
    assert scores[3] == 1 - 10 / 50
    assert scores[4] == 1 - 4 / 40
    assert words[3] == "10 quarantined"
    assert [r["session"] for r in score_records(DAYS[:10], scores, words)] == ["2023-01-05", "2023-01-06"]


@given(st.lists(st.integers(1, 40), min_size=2, max_size=45), st.integers(1, 44))
def test_a_score_uses_nothing_after_its_session(presents, cut):
    traded = np.arange(40)[None, :] < np.array(presents)[:, None]
    changed = traded.copy()
    changed[cut:] = False
    whole, _ = session_scores(DAYS[: len(presents)], traded, {})
    other, _ = session_scores(DAYS[: len(presents)], changed, {})
    np.testing.assert_array_equal(whole[:cut], other[:cut])
    assert ((whole >= 0) & (whole <= 1)).all()
