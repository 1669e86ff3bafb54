import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments import statistics


def test_multiplicities_resample_units_evenly():
    counts = statistics.multiplicities(7)
    assert counts.shape == (statistics.RESAMPLES, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.08)
    np.testing.assert_array_equal(counts, statistics.multiplicities(7))


def test_interval_of_a_normal_mean_is_as_wide_as_students_t():
    values = np.random.default_rng(0).normal(size=12)
    normal = values.mean() + values.std() / np.sqrt(12) * np.random.default_rng(1).normal(size=200_000)
    expected = stats.t.interval(0.95, 11, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(12))
    np.testing.assert_allclose(statistics.interval(normal, 12), expected, atol=0.02)


@pytest.mark.parametrize("seeds", [10, 32])
def test_intervals_of_means_cover_at_their_level(seeds):
    random = np.random.default_rng(seeds)
    values = random.normal(1.0, 2.0, size=(seeds, 2000))
    low, high = statistics.mean_interval(values)
    coverage = ((low <= 1.0) & (high >= 1.0)).mean()
    assert 0.935 <= coverage <= 0.965
    plain = np.quantile(statistics.mean_replicates(values), [0.025, 0.975], axis=0)
    assert ((plain[0] <= 1.0) & (plain[1] >= 1.0)).mean() < coverage


def test_interquartile_intervals_cover_and_ignore_an_outlier():
    random = np.random.default_rng(0)
    hits = []
    for _ in range(150):
        low, high = statistics.interquartile_interval(random.normal(size=20))
        hits.append(low <= 0 <= high)
    assert np.mean(hits) > 0.88
    clean = np.arange(12.0)
    assert statistics.interquartile_mean(np.append(clean[:-1], 1e9)) == statistics.interquartile_mean(clean) == 5.5


def test_interquartile_interval_matches_resampling_by_hand():
    values = np.random.default_rng(3).normal(size=9)
    counts = statistics.multiplicities(9).astype(int)
    replicates = [np.sort(np.repeat(values, row))[2:-2].mean() for row in counts]
    np.testing.assert_allclose(
        statistics.interquartile_interval(values), statistics.interval(np.array(replicates), 9), rtol=1e-12
    )


def test_one_seed_has_no_interval():
    assert np.isnan(statistics.mean_interval(np.array([1.0]))).all()
    assert np.isnan(statistics.interquartile_interval(np.array([1.0]))).all()


def test_ratio_of_means_has_the_interval_of_paired_replicates():
    random = np.random.default_rng(0)
    mine, other = random.gamma(4, size=40), random.gamma(9, size=40)
    found = statistics.ratio(mine, other)
    counts = statistics.multiplicities(40)
    low, high = statistics.interval((counts @ mine) / (counts @ other), 40)
    assert found == pytest.approx((mine.mean() / other.mean(), low, high))
    assert found.low < found.value < found.high


def test_improvement_counts_ties_half():
    assert statistics.improvement(np.array([1.0, 2.0, 0.0, -1.0])) == 0.625
    np.testing.assert_array_equal(statistics.improvement(np.array([[1.0, 0.0], [1.0, 0.0]])), [1.0, 0.5])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8))
def test_sign_flip_is_exact_for_few_seeds(values):
    sums = np.array([np.dot(signs, values) for signs in itertools.product((1, -1), repeat=len(values))])
    expected = (np.abs(sums) >= abs(sum(values))).mean()
    np.testing.assert_allclose(statistics.sign_flip(np.array(values) / 8), expected, rtol=1e-12)


def test_sign_flip_of_many_seeds_is_close_to_the_normal_limit_and_never_zero():
    random = np.random.default_rng(0)
    differences = random.normal(size=(40, 3)) + np.array([0.0, 0.3, 9.0])
    p = statistics.sign_flip(differences)
    z = differences.sum(axis=0) / np.sqrt((differences**2).sum(axis=0))
    np.testing.assert_allclose(p[:2], 2 * stats.norm.sf(np.abs(z[:2])), atol=0.02)
    assert p[2] == 1 / (statistics.FLIPS + 1)
    np.testing.assert_array_equal(p, statistics.sign_flip(differences))


@pytest.mark.parametrize("seeds", [8, 30])
def test_sign_flip_agrees_with_scipy(seeds):
    differences = np.random.default_rng(seeds).normal(0.2, 1.0, size=(seeds, 2))
    other = stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose(statistics.sign_flip(differences), other.pvalue, atol=1e-12 if seeds == 8 else 0.02)


@pytest.mark.parametrize("seeds", [1, 2, 5, 6, 14, 15, 40])
def test_the_least_p_is_that_of_differences_of_one_sign(seeds):
    p, least = statistics.sign_flip(np.arange(1.0, seeds + 1)), statistics.least_p(seeds)
    assert p == pytest.approx(least) or (seeds > 14 and least <= p < 3 * least)  # a random sign pattern may be the same
    said = statistics.few_seeds(seeds)
    assert bool(said) == (statistics.least_p(seeds) > 0.05)
    assert not said or f"With {seeds} seed" in said


@pytest.mark.parametrize("seeds", [8, 16])
def test_the_sign_flip_test_rejects_too_often_where_differences_are_skewed(seeds):
    """The numbers of its docstring."""
    random = np.random.default_rng(seeds)
    skewed = statistics.sign_flip(random.exponential(size=(seeds, 4000)) - 1)
    assert (skewed <= 0.05).mean() == pytest.approx(0.09, abs=0.015)
    normal = statistics.sign_flip(random.normal(size=(seeds, 4000)))
    assert (normal <= 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_sign_flip_does_not_depend_on_batches(monkeypatch):
    differences = np.random.default_rng(0).normal(size=(20, 3))
    whole = statistics.sign_flip(differences)
    monkeypatch.setattr(statistics, "_BATCH", 5000)
    np.testing.assert_array_equal(statistics.sign_flip(differences), whole)


@pytest.mark.parametrize("seeds", [1, 2, 10, 40])
def test_sign_flip_of_no_difference_is_one(seeds):
    np.testing.assert_array_equal(statistics.sign_flip(np.zeros((seeds, 2))), [1.0, 1.0])


def test_sign_flip_rejects_at_its_level_under_the_null():
    differences = np.random.default_rng(0).laplace(size=(9, 1500))
    rejected = (statistics.sign_flip(differences) <= 0.05).mean()
    assert 0.03 <= rejected <= 0.065


def test_holm_matches_a_hand_computation():
    # sorted: .005·4 = .020, .01·3 = .030, .03·2 = .060, .04·1 = .040 raised to .060
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.5, 0.6]), [1.0, 1.0])
    assert statistics.holm([]).shape == (0,)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_properties(p, random):
    adjusted = statistics.holm(p)
    raw = np.array(p)
    assert (adjusted >= raw).all() and (adjusted <= 1).all()
    assert (adjusted <= np.minimum(1, raw * len(p)) + 1e-15).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)
    np.testing.assert_allclose(statistics.holm(raw[shuffled]), adjusted[shuffled])
    # rejecting what is adjusted to at most alpha is Holm's sequential procedure
    for alpha in (0.01, 0.05, 0.3):
        rejected = 0
        for k, value in enumerate(np.sort(raw)):
            if value * (len(p) - k) > alpha:
                break
            rejected += 1
        assert (adjusted <= alpha).sum() == rejected


def test_holm_controls_the_familywise_error():
    random = np.random.default_rng(0)
    errors = [(statistics.holm(random.random(8)) <= 0.05).any() for _ in range(3000)]
    assert np.mean(errors) < 0.06
