import numpy as np
import pytest

from mfg_core.intraday.intraday_volatility import intraday_volatility

SIGMA, SECONDS, CHANGES = 0.02, 20_000.0, 5_000


def simulate(rng, noise, sigma=SIGMA):
    """Brownian price at random times, with independent noise."""
    time = np.sort(rng.uniform(0, SECONDS, CHANGES))
    level = np.broadcast_to(sigma, CHANGES) if np.ndim(sigma) == 0 else sigma
    path = 100.0 + np.cumsum(level * rng.standard_normal(CHANGES) * np.sqrt(np.diff(time, prepend=0.0)))
    return time, path + noise * rng.standard_normal(CHANGES)


def sample(method, noise, runs=80, seed=1):
    rng = np.random.default_rng(seed)
    return [intraday_volatility(*simulate(rng, noise), method=method) for _ in range(runs)]


@pytest.mark.parametrize("method", ["pre_averaging", "two_scale"])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_the_variance_is_unbiased_with_and_without_noise_and_its_error_is_the_scatter(method, noise):
    found = sample(method, noise)
    variance, error = np.array([f.variance for f in found]), np.array([f.variance_error for f in found])
    scatter = variance.std(ddof=1)
    assert abs(variance.mean() - SIGMA**2) < 4 * scatter / np.sqrt(len(found))
    # The scatter of 80 runs is known to 8 %, the mean of the errors (each to 16 %) to 2 %: three and a half together.
    assert np.sqrt((error**2).mean()) == pytest.approx(scatter, rel=0.3)
    covered = np.abs(variance - SIGMA**2) < 1.96 * error
    # Binomial(80, 0.95) less the 2 % that an error known to a sixth costs: standard deviation 0.027.
    assert covered.mean() > 0.93 - 3 * 0.027
    assert np.mean([f.noise_variance for f in found]) == pytest.approx(noise**2, abs=0.02 * noise**2 + 3e-5)


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_realised_kernel_has_the_bias_that_its_weights_give(noise):
    found = sample("realised_kernel", noise)
    variance = np.array([f.variance for f in found])
    # E = sigma^2 + 2 n omega^2 (1 - k(1/(H+1))) / T for the weights' first step; H differs between runs.
    x = 1.0 / (np.array([f.scale for f in found]) + 1.0)
    bias = 2 * CHANGES * noise**2 * 6 * x**2 * (1 - x) / SECONDS
    miss = variance - SIGMA**2 - bias
    assert bias.mean() > 0
    assert abs(miss.mean()) < 4 * miss.std(ddof=1) / np.sqrt(miss.size)


def test_noise_swamps_the_plain_variance_and_not_the_robust_ones():
    found = sample("pre_averaging", 0.1, runs=5)
    plain = CHANGES * 2 * 0.1**2 / SECONDS
    assert plain > 10 * SIGMA**2
    assert all(f.variance < 1.6 * SIGMA**2 for f in found)
    # At 300 s a change holds 0.12 of variance and 0.02 of noise.
    assert np.mean([f.realised_variance for f in found]) == pytest.approx(SIGMA**2 + 2 * 0.01 / 300, rel=0.3)


def test_a_volatility_that_moves_leaves_the_mean_variance():
    rng = np.random.default_rng(3)
    sigma = SIGMA * (1.0 + 0.5 * np.cos(np.linspace(0, 2 * np.pi, CHANGES)))
    truth = SIGMA**2 * (1 + 0.5 * 0.25)
    found = [intraday_volatility(*simulate(rng, 0.03, sigma)) for _ in range(80)]
    variance, error = np.array([f.variance for f in found]), np.array([f.variance_error for f in found])
    assert abs(variance.mean() - truth) < 4 * variance.std(ddof=1) / np.sqrt(80)
    assert np.sqrt((error**2).mean()) == pytest.approx(variance.std(ddof=1), rel=0.3)


@pytest.mark.parametrize("method", ["pre_averaging", "two_scale", "realised_kernel"])
def test_each_method_equals_its_formula_written_as_loops(method):
    rng = np.random.default_rng(4)
    time, price = simulate(rng, 0.02)
    time, price = time[:400], price[:400]
    found = intraday_volatility(time, price, method=method)
    n, k = 399, found.scale
    moves = np.diff(price)
    if method == "pre_averaging":
        g = np.minimum(np.arange(k + 1) / k, 1 - np.arange(k + 1) / k)
        mean = np.mean([sum(g[j] * moves[i + j - 1] for j in range(1, k)) ** 2 for i in range(n - k + 2)])
        noise = sum((g[j + 1] - g[j]) ** 2 for j in range(k))
        expected = n * (mean - 0.5 * noise * np.mean(moves**2)) / (sum(g**2) - 0.5 * noise)
    elif method == "two_scale":
        slow = np.mean([(price[i + k] - price[i]) ** 2 for i in range(n + 1 - k)])
        expected = n * (slow - np.mean(moves**2)) / (k - 1)
    else:
        ends = np.concatenate([[price[:2].mean()], price[2:-2], [price[-2:].mean()]])
        r = np.diff(ends)
        expected = r @ r
        for h in range(1, k + 1):
            x = h / (k + 1)
            weight = 1 - 6 * x**2 + 6 * x**3 if x <= 0.5 else 2 * (1 - x) ** 3
            expected += 2 * weight * (r[h:] @ r[:-h])
    assert found.variance * found.seconds == pytest.approx(expected, rel=1e-9)


def test_repeated_prices_holes_and_several_rows_at_one_time_do_not_count():
    time, price = simulate(np.random.default_rng(5), 0.02)
    one = intraday_volatility(time, price)
    padded_time = np.repeat(time, 3)
    padded = np.repeat(price, 3)
    padded[::3] = 55.0
    padded_time[2::3] += np.append(0.5 * np.diff(time), 0.0)
    padded[2::3][:-1] = np.nan
    two = intraday_volatility(padded_time, padded)
    assert two == one


def test_the_last_bits_of_a_price_are_no_change():
    ticks = 10_000 + np.cumsum(np.random.default_rng(3).choice([-1, 0, 0, 1], 3000))
    time = np.arange(ticks.size, dtype=float)
    # The same mids from quotes 1 and 3 ticks apart: 0.5 (b + a) rounds differently.
    apart = np.arange(ticks.size) % 2
    mixed = intraday_volatility(time, 0.5 * ((ticks - apart) * 0.01 + (ticks + 1 + apart) * 0.01))
    exact = intraday_volatility(time, (2 * ticks + 1) * 0.5)
    assert mixed.changes == exact.changes
    assert mixed.variance == pytest.approx(1e-4 * exact.variance, rel=1e-9)


def test_the_unit_of_price_squares():
    time, price = simulate(np.random.default_rng(6), 0.02)
    one, ten = intraday_volatility(time, price), intraday_volatility(time, 16.0 * price)
    assert ten.variance == pytest.approx(256.0 * one.variance, rel=1e-12)
    assert ten.volatility_error == pytest.approx(16.0 * one.volatility_error, rel=1e-12)


def test_too_few_changes_are_refused():
    with pytest.raises(ValueError, match="mid must change at least 100 times; changed 49 times"):
        intraday_volatility(np.arange(50.0), np.arange(50.0))
    with pytest.raises(ValueError, match="method must be one of"):
        intraday_volatility(np.arange(200.0), np.arange(200.0), method="guess")
