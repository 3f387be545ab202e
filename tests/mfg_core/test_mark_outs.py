import numpy as np
import pytest

from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.mark_outs import clustered_mean, mark_outs


def simulate(rng, *, seconds=2000.0, impact=0.02, noise=0.01, rate=0.5):
    """Orders that move the mid for good by `impact`, at once, in a mid that also jumps by itself."""
    at = np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
    side = rng.choice([-1, 1], at.size)
    jumps = np.sort(rng.uniform(0, seconds, rng.poisson(seconds)))
    time = np.concatenate([at, jumps])
    move = np.concatenate([impact * side, rng.normal(0, noise, jumps.size)])
    order = np.argsort(time)
    path = 100.0 + np.concatenate([[0.0], np.cumsum(move[order])])
    book = BookPath(np.concatenate([[0.0], time[order]]), path - 0.05, path + 0.05)
    before = path[book.row_before(at)]
    return book, Trades(at, before + side * 0.05, np.ones(at.size), side)


def test_impact_equals_a_loop_and_the_spread_splits_into_impact_and_what_is_kept():
    book, trades = simulate(np.random.default_rng(1), seconds=200.0)
    found = mark_outs(book, trades, [1.0, 30.0], session_end=200.0)
    for column, horizon in enumerate((1.0, 30.0)):
        moves = {1: [], -1: []}
        late = 0
        for t, side in zip(trades.time, trades.side, strict=True):
            if t + horizon > 200.0:
                late += 1
                continue
            start = book.mid[max(i for i in range(book.time.size) if book.time[i] < t)]
            end = book.mid[max(i for i in range(book.time.size) if book.time[i] <= t + horizon)]
            moves[int(side)].append(side * (end - start))
        assert found.impact[0, column] == pytest.approx(np.mean(moves[1]), rel=1e-10)
        assert found.impact[1, column] == pytest.approx(np.mean(moves[-1]), rel=1e-10)
        assert found.impact[2, column] == pytest.approx(np.mean(moves[1] + moves[-1]), rel=1e-10)
        assert found.after_end[column] == late
    np.testing.assert_allclose(found.effective, found.impact + found.realised, rtol=1e-12)
    # Quotes are 0.05 from the mid; prices near 100 round at 1e-14.
    np.testing.assert_allclose(found.effective, 0.05, atol=1e-12)


def test_the_impact_is_unbiased_and_its_errors_cover_overlapping_horizons():
    rng = np.random.default_rng(2)
    runs = 60
    found = [mark_outs(*simulate(rng), [2.0, 20.0], session_end=2000.0) for _ in range(runs)]
    impact, error = np.array([m.impact[2] for m in found]), np.array([m.impact_error[2] for m in found])
    scatter = impact.std(axis=0, ddof=1)
    # Sides are drawn independently, so later orders add nothing to the mean; four errors of the runs' mean.
    assert (np.abs(impact.mean(axis=0) - 0.02) < 4 * scatter / np.sqrt(runs)).all()
    # 9 % scatter of a scatter over 60 runs, three and a half of it; blocks of 40 s cut few overlaps of 20 s.
    assert error.mean(axis=0) / scatter == pytest.approx(np.ones(2), abs=0.32)


def test_errors_that_ignore_the_overlap_are_too_small_when_orders_persist():
    rng = np.random.default_rng(3)
    runs = 50
    means, plain, robust = [], [], []
    for _ in range(runs):
        book, _ = simulate(rng, rate=0.01, noise=0.02)
        at = np.sort(rng.uniform(0, 2000.0, 1000))
        side = np.where(np.floor(at / 25.0) % 2 == 0, 1, -1)
        found = mark_outs(book, Trades(at, np.full(at.size, 100.0), np.ones(at.size), side), [20.0], session_end=2000.0)
        mid = book.mid
        kept = at + 20.0 <= 2000.0
        moves = side[kept] * (mid[book.row_at(at[kept] + 20.0)] - mid[book.row_before(at[kept])])
        means.append(found.impact[2, 0])
        robust.append(found.impact_error[2, 0])
        plain.append(moves.std() / np.sqrt(moves.size))
    scatter = np.std(means, ddof=1)
    assert np.mean(plain) < 0.5 * scatter
    # 10 % scatter of the scatter, and blocks of two horizons lose the covariance across their borders.
    assert np.mean(robust) == pytest.approx(scatter, rel=0.4)


def test_missing_mids_and_late_orders_are_left_out_and_counted():
    book = BookPath([0.0, 2.0, 3.0], [99.0, np.nan, 100.0], [101.0, 101.0, 102.0])
    trades = Trades([0.5, 1.0, 2.5, 9.5], np.full(4, 101.0), np.ones(4), [1, 1, -1, 1])
    found = mark_outs(book, trades, [1.0], session_end=10.0)
    # At 1.0 the mid one second later is missing (the row at 2.0 holds then), at 2.5 the mid before is.
    assert found.without_mid.tolist() == [2]
    assert found.after_end.tolist() == [1]
    assert found.orders[:, 0].tolist() == [1, 0, 1]
    assert found.impact[0, 0] == 0.0
    assert np.isnan(found.impact[1, 0])


def test_the_future_after_the_horizon_does_not_matter():
    book, trades = simulate(np.random.default_rng(5), seconds=100.0)
    one = mark_outs(book, trades, [5.0], session_end=50.0)
    changed = BookPath(book.time, np.where(book.time > 50.0, 1.0, book.bid), book.ask)
    two = mark_outs(changed, trades, [5.0], session_end=50.0)
    np.testing.assert_array_equal(one.impact, two.impact)


def test_clustered_errors_of_blocks_of_one_are_the_ordinary_ones():
    values = np.random.default_rng(6).normal(size=50)
    mean, error = clustered_mean(values, np.arange(50))
    assert mean == pytest.approx(values.mean(), rel=1e-14)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-12)
    assert np.isnan(clustered_mean(values, np.zeros(50, dtype=np.int64))[1])


def test_bad_horizons_are_refused():
    book, trades = simulate(np.random.default_rng(7), seconds=20.0)
    with pytest.raises(ValueError, match="horizons must be positive and finite seconds"):
        mark_outs(book, trades, [0.0], session_end=20.0)
