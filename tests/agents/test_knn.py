"""k-NN against NumPy written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import knn
from agents.fusion import unit_features
from agents.handed import make_feedback, make_observation
from uis_env.world import Channels

KEY = jax.random.key(0)


def learned(agent, spec, context, action, reward):
    @jax.jit
    def run(context, action, reward):
        def step(state, t):
            seen = make_observation(t, context[t], jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
            return agent.update(KEY, state, make_feedback(seen, action[t], reward[t], 0.0, Channels(0.0))), None

        return jax.lax.scan(step, agent.init(KEY), jnp.arange(len(action)))[0]

    return run(jnp.asarray(context), jnp.asarray(action, jnp.int32), jnp.asarray(reward))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("rounds", "memory"), [(4, 32), (50, 32)])
def test_estimates_are_those_of_the_nearest_rounds_in_memory(spec, joint, rounds, memory):
    random, k, strength = np.random.default_rng(0), 7, 1.5
    context = random.normal(size=(rounds, spec.context)).astype(np.float32)
    action, reward = random.integers(6, size=rounds), random.normal(size=rounds).astype(np.float32)
    agent = knn(spec, k, strength, joint, epsilon=0.0, memory=memory)
    state = learned(agent, spec, context, action, reward)
    x = random.normal(size=spec.context).astype(np.float32)
    seen = make_observation(jnp.asarray(rounds), jnp.asarray(x), jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
    found = agent.act(KEY, state, seen).scores

    kept = np.arange(rounds)[-memory:]
    arms = unit_features(spec.features)
    expected = []
    for arm in range(6):
        distance = np.sum((context[kept] - x) ** 2, axis=1)
        if joint:
            unit = context / np.linalg.norm(context, axis=1, keepdims=True)
            distance = np.sum((unit[kept] - x / np.linalg.norm(x)) ** 2, axis=1)
            distance = distance + np.sum((arms[action[kept]] - arms[arm]) ** 2, axis=1)
            expected.append(reward[kept[np.argsort(distance)[:k]]].mean())
            continue
        near = kept[np.argsort(distance)[:k]]
        own, all_own = near[action[near] == arm], action == arm
        mean = (reward[all_own].sum() + strength * reward.mean()) / (all_own.sum() + strength)
        expected.append((reward[own].sum() + strength * mean) / (len(own) + strength))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_pair_that_came_again_is_one_neighbour(spec):
    """Jointly: two rounds of one query and one arm take one of the k places, and both count in the mean."""
    random = np.random.default_rng(1)
    context = random.normal(size=(3, spec.context)).astype(np.float32)[[0, 1, 0, 2]]
    action, reward = np.array([2, 2, 2, 2]), np.array([0.0, 8.0, 1.0, 64.0], np.float32)
    agent = knn(spec, neighbours=2, joint=True, epsilon=0.0)
    state = learned(agent, spec, context, action, reward)
    seen = make_observation(jnp.asarray(4), jnp.asarray(context[0]), jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
    unit = context / np.linalg.norm(context, axis=1, keepdims=True)
    second = 8.0 if unit[0] @ unit[1] > unit[0] @ unit[3] else 64.0
    np.testing.assert_allclose(agent.act(KEY, state, seen).scores, np.full(6, (0.0 + 1.0 + second) / 3), rtol=1e-6)


def test_without_data_all_arms_tie(spec):
    for joint in (False, True):
        agent = knn(spec, joint=joint, epsilon=0.0)
        seen = make_observation(jnp.asarray(0), jnp.ones(spec.context), jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
        np.testing.assert_allclose(agent.act(KEY, agent.init(KEY), seen).propensities, 1 / 6, rtol=1e-6)


def test_pairs_that_are_equally_near_are_one_neighbour_whatever_the_rounding(spec):
    """The orders of one vector are equally far from the diagonal, and float32 sums in any order do not say so."""
    orders = np.array(list(itertools.permutations([0.1, 0.2, 0.3, 0.7])), np.float32)
    rewards = np.arange(len(orders), dtype=np.float32)
    agent = knn(spec, neighbours=1, joint=True, epsilon=0.0, memory=32)
    state = learned(agent, spec, orders, np.zeros(len(orders), int), rewards)
    seen = make_observation(len(orders), jnp.ones(4), jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
    np.testing.assert_allclose(agent.act(KEY, state, seen).scores, rewards.mean(), rtol=1e-6)
