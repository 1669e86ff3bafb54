"""Gaussian posteriors against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.posterior import Gaussian, diagonal, forget, observe, observe_batch, prior, stale_variance

DIM, ROUNDS, RIDGE = 5, 40, 0.7


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def sample():
    random = np.random.default_rng(0)
    return random.normal(size=(ROUNDS, DIM)), random.normal(size=ROUNDS), random.uniform(0.1, 2.0, ROUNDS)


def sequential(belief, xs, ys, weights):
    step = jax.jit(lambda b, x, y, w: observe(b, x, w * (y - x @ b.mean), w))
    for x, y, w in zip(xs, ys, weights, strict=True):
        belief = step(belief, jnp.asarray(x), y, w)
    return belief


def test_observations_one_by_one_give_the_ridge_solution(sample):
    xs, ys, weights = sample
    belief = sequential(prior(RIDGE, DIM), xs, ys, weights)
    precision = RIDGE * np.eye(DIM) + (xs * weights[:, None]).T @ xs
    np.testing.assert_allclose(belief.root.T @ belief.root, np.linalg.inv(precision), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(belief.mean, np.linalg.solve(precision, xs.T @ (weights * ys)), rtol=1e-9)


def test_batch_equals_sequential_from_any_belief(sample):
    xs, ys, weights = sample
    start = diagonal(np.linspace(0.5, 2, DIM), np.arange(DIM))
    one, other = sequential(start, xs, ys, weights), observe_batch(start, xs, ys, weights)
    np.testing.assert_allclose(one.root.T @ one.root, other.root.T @ other.root, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9)


def test_several_targets_share_one_root(sample):
    xs, ys, weights = sample
    many = np.stack([ys, -2 * ys, np.ones(ROUNDS)], axis=1)
    start = prior(RIDGE, DIM)
    together = observe_batch(Gaussian(jnp.zeros((3, DIM)), start.root), xs, many, weights)
    stepped = Gaussian(jnp.zeros((3, DIM)), start.root)
    step = jax.jit(lambda b, x, y, w: observe(b, x, w * (y - b.mean @ x), w))
    for x, y, w in zip(xs, many, weights, strict=True):
        stepped = step(stepped, jnp.asarray(x), y, w)
    for column in range(3):
        alone = observe_batch(start, xs, many[:, column], weights)
        np.testing.assert_allclose(together.mean[column], alone.mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(stepped.mean[column], alone.mean, rtol=1e-9, atol=1e-12)


def test_an_observation_of_weight_zero_changes_nothing(sample):
    xs, *_ = sample
    before = diagonal(np.linspace(0.5, 2, DIM))
    after = observe(before, jnp.asarray(xs[0]), jnp.asarray(0.0), 0.0)
    np.testing.assert_array_equal(after.root, before.root)
    np.testing.assert_array_equal(after.mean, before.mean)


def test_forgetting_is_the_discounted_ridge_solution(sample):
    xs, ys, _ = sample
    gamma, belief = 0.9, prior(RIDGE, DIM)

    @jax.jit
    def step(belief, x, y):
        belief = forget(belief, gamma, RIDGE)
        return observe(belief, x, y - x @ belief.mean)

    for x, y in zip(xs, ys, strict=True):
        belief = step(belief, jnp.asarray(x), y)
    powers = gamma ** np.arange(ROUNDS)[::-1]
    precision = RIDGE * np.eye(DIM) + (xs * powers[:, None]).T @ xs
    np.testing.assert_allclose(belief.root.T @ belief.root, np.linalg.inv(precision), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(belief.mean, np.linalg.solve(precision, xs.T @ (powers * ys)), rtol=1e-8)


def test_forgetting_for_ever_ends_at_the_prior_and_never_beyond(sample):
    xs, ys, weights = sample
    learned = observe_batch(prior(RIDGE, DIM), xs, ys, weights)
    for keep in (0.5, 1e-3, 0.0):
        faded = forget(learned, jnp.asarray(keep), RIDGE)
        largest = np.linalg.eigvalsh(faded.root.T @ faded.root).max()
        assert largest <= 1 / RIDGE * (1 + 1e-12)
    np.testing.assert_allclose(faded.root.T @ faded.root, np.eye(DIM) / RIDGE, atol=1e-12)
    np.testing.assert_allclose(faded.mean, 0, atol=1e-12)


@pytest.mark.parametrize("keep", [1.0, 0.99, 0.5, 1e-6, 0.0])
def test_stale_variance_lies_between_the_exact_one_and_the_prior(sample, keep):
    xs, ys, weights = sample
    learned = observe_batch(prior(RIDGE, DIM), xs, ys, weights)
    exact = forget(learned, jnp.asarray(keep), RIDGE)
    for x in xs[:10]:
        before, bound = np.sum((learned.root @ x) ** 2), x @ x / RIDGE
        value = float(stale_variance(before, jnp.asarray(bound), keep))
        assert np.sum((exact.root @ x) ** 2) <= value * (1 + 1e-9)
        assert value <= bound * (1 + 1e-9)
    if keep == 1:
        np.testing.assert_allclose(value, before, rtol=1e-12)


def test_stale_variance_of_features_that_are_all_zero_is_zero_however_long_ago():
    assert float(stale_variance(jnp.asarray(0.0), jnp.asarray(0.0), jnp.asarray(0.0))) == 0.0
