import numpy as np
import pytest

from mfg_core.daily.impact_regression import close_location, regress_impact, usual_volume


def panel(rng, days=150, instruments=40, k0=1.6, k1=0.9, b=0.3, noise=1.0, market=0.8):
    """Location, relative volume and return with known slopes, a crowd that moves together, and a market move."""
    common = rng.uniform(-0.8, 0.8, (days, 1))
    location = np.clip(common + rng.uniform(-0.6, 0.6, (days, instruments)), -1.0, 1.0)
    volume = np.exp(0.5 * rng.standard_normal((days, instruments)))
    q = location * volume
    crowd = q.mean(axis=1, keepdims=True)
    # Noise whose size differs by day: the errors must be robust to it.
    size = noise * np.exp(0.5 * rng.standard_normal((days, 1)))
    shock = market * rng.standard_normal((days, 1))
    returns = (k0 + k1 * np.abs(crowd)) * q + b * location + shock + size * rng.standard_normal(q.shape)
    return returns, location, volume


def dense_regression(returns, location, volume):
    """The same slopes and errors with one dummy per day and explicit loops over clusters."""
    days, n = returns.shape
    q = location * volume
    m = np.abs(q.mean(axis=1, keepdims=True)) * np.ones_like(q)
    dummies = np.kron(np.eye(days), np.ones((n, 1)))
    x = np.column_stack([q.ravel(), (m * q).ravel(), location.ravel(), dummies])
    slope = np.linalg.lstsq(x, returns.ravel(), rcond=None)[0]
    residual = (returns.ravel() - x @ slope).reshape(days, n)
    x = x.reshape(days, n, -1)
    bread = np.linalg.inv(np.einsum("tni,tnj->ij", x, x))
    meat = np.zeros_like(bread)
    for t in range(days):
        score = x[t].T @ residual[t]
        meat += np.outer(score, score)
    return slope[:3], (bread @ meat @ bread)[:3, :3] * days / (days - 1)


def test_slopes_and_errors_equal_the_regression_with_one_dummy_per_day():
    data = panel(np.random.default_rng(1), days=70, instruments=15)
    found = regress_impact(*data)
    slope, covariance = dense_regression(*data)
    np.testing.assert_allclose(found.slope, slope, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-7)
    np.testing.assert_allclose(found.crowd, (data[1] * data[2]).mean(axis=1), rtol=1e-12)
    assert (found.days, found.observations, found.dropped) == (70, 70 * 15, int((data[2] > 5).sum()))


def test_known_slopes_are_recovered_and_the_errors_are_the_scatter():
    rng = np.random.default_rng(11)
    runs = [regress_impact(*panel(rng)) for _ in range(200)]
    slopes = np.array([run.slope for run in runs])
    errors = np.array([np.sqrt(np.diag(run.covariance)) for run in runs])
    truth = np.array([1.6, 0.9, 0.3])
    scatter = slopes.std(axis=0, ddof=1)
    assert (np.abs(slopes.mean(axis=0) - truth) < 4 * scatter / np.sqrt(200)).all()
    # 200 runs give the scatter to 5 %; clustered errors are a few per cent low with 150 days.
    np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)), scatter, rtol=0.2)
    coverage = (np.abs(slopes - truth) < 1.96 * errors).mean(axis=0)
    # 95 % of 200 binomial runs is 190 +- 3.1; four deviations below, and the small-sample loss, is 0.88.
    assert (coverage > 0.88).all()


def test_errors_agree_with_a_bootstrap_over_days():
    rng = np.random.default_rng(3)
    returns, location, volume = panel(rng, days=120, instruments=20)
    found = regress_impact(returns, location, volume)
    slopes = []
    for _ in range(300):
        rows = rng.integers(0, 120, 120)
        slopes.append(regress_impact(returns[rows], location[rows], volume[rows]).slope)
    # 300 draws give the bootstrap's error to 4 %.
    np.testing.assert_allclose(np.std(slopes, axis=0, ddof=1), np.sqrt(np.diag(found.covariance)), rtol=0.2)


def test_a_random_walk_without_impact_has_none_though_its_close_location_goes_with_its_return():
    rng = np.random.default_rng(6)
    path = np.cumsum(rng.standard_normal((120, 60, 50)) / np.sqrt(50), axis=2)
    high, low, close = np.maximum(path.max(axis=2), 0), np.minimum(path.min(axis=2), 0), path[..., -1]
    volume = np.exp(0.5 * rng.standard_normal(close.shape))
    location = close_location(high, low, close)
    found = regress_impact(close, location, volume)
    error = np.sqrt(np.diag(found.covariance))
    assert abs(found.slope[0]) < 4 * error[0]
    assert abs(found.slope[1]) < 4 * error[1]
    assert found.slope[2] > 20 * error[2]
    # Without the location as a regressor the same walk shows a large "impact".
    q = location * volume
    assert (q * close).sum() / (q * q).sum() > 0.7


def test_a_day_with_few_instruments_and_outsize_volumes_are_left_out():
    returns, location, volume = panel(np.random.default_rng(2), days=80, instruments=20)
    volume = np.minimum(volume, 4.9)
    clean = regress_impact(returns[:79], location[:79], volume[:79])
    thin = [x.copy() for x in (returns, location, volume)]
    thin[0][79, 9:] = np.nan
    found = regress_impact(*thin)
    np.testing.assert_array_equal(found.slope, clean.slope)
    assert np.isnan(found.crowd[79])
    thin[2][0, 0] = 5.1
    assert regress_impact(*thin).dropped == 1


@pytest.mark.parametrize(
    ("days", "instruments", "constant"), [(59, 20, False), (100, 9, False), (100, 20, True)]
)  # fmt: skip
def test_too_small_or_collinear_panels_give_no_slopes(days, instruments, constant):
    returns, location, volume = panel(np.random.default_rng(2), days=days, instruments=instruments)
    found = regress_impact(returns, location, np.ones_like(volume) if constant else volume)
    assert np.isnan(found.slope).all()
    assert np.isnan(found.covariance).all()


def test_usual_volume_is_the_geometric_mean_of_the_sessions_before():
    rng = np.random.default_rng(4)
    volume = np.exp(rng.normal(10.0, 1.0, (90, 3)))
    volume[rng.random(volume.shape) < 0.2] = 0.0
    found = usual_volume(volume, window=30, minimum=10)
    for t, i in ((0, 0), (12, 1), (45, 2), (89, 0)):
        before = volume[max(0, t - 30) : t, i]
        before = before[before > 0]
        if before.size < 10:
            assert np.isnan(found[t, i])
        else:
            assert found[t, i] == pytest.approx(np.exp(np.log(before).mean()), rel=1e-10)
    later = volume.copy()
    later[45:] *= 7.0
    np.testing.assert_array_equal(usual_volume(later, 30, 10)[:46], found[:46])


def test_close_location_is_one_at_the_high_minus_one_at_the_low_and_absent_without_a_range():
    high, low = np.array([[3.0, 3.0, 3.0, 2.0]]), np.array([[1.0, 1.0, 1.0, 2.0]])
    found = close_location(high, low, np.array([[3.0, 1.0, 2.0, 2.0]]))
    np.testing.assert_array_equal(found, [[1.0, -1.0, 0.0, np.nan]])
