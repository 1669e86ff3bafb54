"""Masks, ties and propensities: what is reported is what happens."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agents import epsilon_greedy, explore, linear_thompson, linear_thompson_shared, linucb, random, ties
from agents.choosing import pick_best, pick_sampled, pick_uniform
from agents.fusion import fuse
from agents.handed import make_observation

ARMS = 6
KEYS = jax.random.split(jax.random.key(0), 4000)
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)  # XLA takes subnormal numbers for zero
best = jax.jit(pick_best, static_argnames="exact")
sampled = jax.jit(pick_sampled)
uniform = jax.jit(pick_uniform)


def shares(actions):
    return np.bincount(np.asarray(actions), minlength=ARMS) / len(actions)


def within_noise(found, expected, n, sigmas=5.0):
    np.testing.assert_array_less(np.abs(found - expected), sigmas * np.sqrt(expected * (1 - expected) / n) + 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    scores=arrays.arrays(np.float32, ARMS, elements=st.one_of(NUMBERS, st.sampled_from([0.0, 1.0, np.inf]))),
    mask=arrays.arrays(bool, ARMS).filter(np.any),
    seed=st.integers(0, 2**31 - 1),
)
def test_choices_respect_masks_and_propensities_are_distributions(scores, mask, seed):
    key = jax.random.key(seed)
    for choice in (best(key, scores, mask), best(key, scores, mask, exact=True), uniform(key, mask)):
        action, propensities = int(choice.action), np.asarray(choice.propensities)
        assert mask[action]
        assert propensities[action] > 0
        assert (propensities[~mask] == 0).all()
        np.testing.assert_allclose(propensities.sum(), 1, rtol=1e-6)
        assert (np.asarray(choice.scores)[~mask] == -np.inf).all()
    assert scores[int(best(key, scores, mask, exact=True).action)] == scores[mask].max()
    drawn = sampled(key, scores, mask)
    assert scores[int(drawn.action)] == scores[mask].max()
    assert np.isnan(drawn.propensities).all()


@pytest.fixture(params=["cpu", "accelerator"])
def device(request, monkeypatch):
    """Ties as CPUs break them, and as accelerators do."""
    if request.param == "accelerator":
        monkeypatch.setattr(ties.lax, "platform_dependent", lambda scores, cpu, default: default(scores))


@pytest.mark.parametrize("count", [1, 2, 3, 31, 60, 65])
def test_the_greatest_score_is_found_wherever_it_stands(count, device):
    rows = np.random.default_rng(count).random((count, count), np.float32)
    rows[np.diag_indices(count)] += 1
    choices = jax.jit(jax.vmap(lambda scores: pick_best(KEYS[0], scores, jnp.ones(count, bool))))(rows)
    np.testing.assert_array_equal(choices.action, np.arange(count))
    np.testing.assert_array_equal(choices.propensities, np.eye(count))


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_a_tie_is_seen_wherever_it_stands(count, device):
    """Both of any two that lead are played, about as often."""
    keys, mask = KEYS[:200], jnp.ones(count, bool)
    pick = jax.jit(jax.vmap(pick_best, (0, None, None)))
    for pair in itertools.combinations(range(count), 2):
        scores = jnp.zeros(count).at[jnp.asarray(pair)].set(1.0)
        actions = pick(keys, scores, mask).action
        within_noise(np.bincount(actions, minlength=count) / len(keys), np.asarray(scores) / 2, len(keys))


def test_exact_ties_are_broken_uniformly(device):
    scores, mask = jnp.asarray([1.0, 3.0, 3.0, 0.0, 3.0, 5.0]), jnp.asarray([True, True, True, True, True, False])
    choices = jax.jit(jax.vmap(lambda key: pick_best(key, scores, mask)))(KEYS)
    expected = np.array([0, 1, 1, 0, 1, 0]) / 3
    np.testing.assert_allclose(choices.propensities[0], expected, rtol=1e-6)
    within_noise(shares(choices.action), expected, len(KEYS))


def test_infinite_scores_tie_with_each_other_only(device):
    """An arm that nobody tried yet may score infinity."""
    scores = jnp.asarray([9.0, jnp.inf, 0.0, jnp.inf, jnp.inf, -jnp.inf])
    choices = jax.jit(jax.vmap(lambda key: pick_best(key, scores, jnp.ones(ARMS, bool))))(KEYS)
    expected = np.array([0, 1, 0, 1, 1, 0]) / 3
    np.testing.assert_allclose(choices.propensities[0], expected, rtol=1e-6)
    within_noise(shares(choices.action), expected, len(KEYS))


def test_rounding_ties_unless_the_scores_are_exact():
    scores = jnp.asarray([2.0, np.nextafter(np.float32(2), np.float32(3)), 0, 0, 0, 0], jnp.float32)
    mask = jnp.ones(ARMS, bool)
    np.testing.assert_allclose(best(KEYS[0], scores, mask).propensities, [0.5, 0.5, 0, 0, 0, 0])
    np.testing.assert_allclose(best(KEYS[0], scores, mask, exact=True).propensities, [0, 1, 0, 0, 0, 0])
    apart = scores.at[1].set(2.001)
    np.testing.assert_allclose(best(KEYS[0], apart, mask).propensities, [0, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("make", "number", "expected"),
    [
        (random, 0, None),
        (partial(linucb, warmup=3), 2, None),
        (partial(linucb, warmup=3), 3, [0, 0, 0, 1, 0, 0]),
        (partial(epsilon_greedy, epsilon=0.3), 5, [0.06, 0.06, 0.06, 0.76, 0.06, 0]),
        (partial(epsilon_greedy, epsilon=0.3, decay=0.5), 4, [0.02, 0.02, 0.02, 0.92, 0.02, 0]),
        (partial(epsilon_greedy, epsilon=0.3, warmup=9), 4, None),
        (lambda spec: explore(linucb(spec), 0.5), 7, [0.1, 0.1, 0.1, 0.6, 0.1, 0]),
        (lambda spec: explore(epsilon_greedy(spec, 0.5), 0.5), 7, [0.15, 0.15, 0.15, 0.4, 0.15, 0]),
        (lambda spec: explore(explore(epsilon_greedy(spec, 0.5), 0.5), 0.5), 7, [0.175, 0.175, 0.175, 0.3, 0.175, 0]),
    ],
)
def test_propensities_match_frequencies(spec, make, number, expected):
    agent, mask = make(spec), jnp.arange(ARMS) < 5
    expected = np.array([0.2] * 5 + [0]) if expected is None else np.array(expected)
    seen = make_observation(
        jnp.asarray(number, jnp.int32), jnp.ones(spec.context), mask, jnp.asarray([1.0, 0, 0, 0, 0]), jnp.ones(3)
    )
    state = agent.init(jax.random.key(0))
    if hasattr(state, "belief"):
        mean = state.belief.mean.at[3].set(5.0)
        state = state._replace(belief=state.belief._replace(mean=mean))
    choices = jax.jit(jax.vmap(lambda key: agent.act(key, state, seen)))(KEYS)
    np.testing.assert_allclose(choices.propensities, np.broadcast_to(expected, (len(KEYS), ARMS)), atol=1e-6)
    within_noise(shares(choices.action), expected, len(KEYS))


@pytest.mark.parametrize("factory", [linear_thompson, linear_thompson_shared])
def test_thompson_propensities_are_estimated_when_asked_for(spec, data_factory, play, factory):
    draws = 100
    agent = factory(spec, scale=0.3, propensity_draws=draws)
    state, _ = play(agent, data_factory(spec, 30))
    state = jax.tree.map(lambda leaf: leaf[0], state)
    mask = jnp.arange(ARMS) != 1
    seen = make_observation(jnp.asarray(30), jnp.ones(spec.context), mask, jnp.asarray([1.0, 0, 0, 0, 0]), jnp.ones(3))
    choices = jax.jit(jax.vmap(lambda key: agent.act(key, state, seen)))(KEYS[:1000])
    mean = np.asarray(choices.propensities).mean(axis=0)
    assert mean[1] == 0
    np.testing.assert_allclose(np.asarray(choices.propensities).sum(axis=1), 1, rtol=1e-5)
    assert np.asarray(choices.propensities)[:, np.asarray(mask)].min() >= 1 / (draws + 5) - 1e-7  # never 0
    assert agent.estimated and not factory(spec).estimated
    assert np.sum(mean > 0.02) >= 2
    within_noise(shares(choices.action), mean, 1000)
    silent = factory(spec, scale=0.3)
    assert np.isnan(silent.act(KEYS[0], state, seen).propensities).all()


@pytest.mark.parametrize("factory", [linear_thompson, linear_thompson_shared])
def test_thompson_sampling_breaks_ties_uniformly(spec, factory):
    """With nothing to draw, the arm of the lowest number had been played for ever."""
    agent = factory(spec, scale=0.0, propensity_draws=10)
    mask = jnp.arange(ARMS) != 1
    seen = make_observation(jnp.asarray(0), jnp.ones(spec.context), mask, jnp.asarray([1.0, 0, 0, 0, 0]), jnp.ones(3))
    state = agent.init(KEYS[0])
    choices = jax.jit(jax.vmap(lambda key: agent.act(key, state, seen)))(KEYS)
    expected = np.asarray(mask) / 5
    np.testing.assert_allclose(choices.propensities[0], expected, atol=1e-6)
    within_noise(shares(choices.action), expected, len(KEYS))


def test_shared_posterior_draws_have_the_posterior_covariance(spec, data_factory, play):
    """What shared Thompson sampling draws has the joint mean and covariance of all arms' scores, not only marginals."""
    agent = linear_thompson_shared(spec, scale=0.5)
    state, _ = play(agent, data_factory(spec, 25))
    belief = jax.tree.map(lambda leaf: leaf[0], state)
    x = jnp.asarray([0.3, -1.0, 0.5, 1.0])
    seen = make_observation(jnp.asarray(25), x, jnp.ones(ARMS, bool), jnp.asarray([1.0, 0, 0, 0, 0]), jnp.ones(3))
    scores = np.asarray(jax.jit(jax.vmap(lambda key: agent.act(key, belief, seen).scores))(KEYS))
    fused = fuse(spec, "kronecker")
    phi = np.stack([fused.features(x, jnp.asarray(arm)) for arm in range(ARMS)])
    covariance = 0.25 * phi @ np.asarray(belief.root.T @ belief.root) @ phi.T
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(scores.mean(axis=0), phi @ belief.mean, atol=5 * spread.max() / np.sqrt(len(KEYS)))
    np.testing.assert_allclose(np.cov(scores.T), covariance, atol=6 * spread.max() ** 2 / np.sqrt(len(KEYS)))
