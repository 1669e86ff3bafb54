"""Hierarchical logit Thompson sampling against its formula, written out in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import hierarchical_logit_thompson
from agents.handed import make_feedback, make_full_information, make_observation
from agents.hierarchical import DEVIATIONS, FLOOR
from uis_env.world import Channels

KEY = jax.random.key(0)
CLIP = 2.0


def design(spec, x, arm):
    """The features of logit q(x, a): [1, m, h, (h, b), m n, a, x, m x]."""
    pairs = sorted({(h, b) for h, b in zip(spec.method.tolist(), spec.budget.tolist(), strict=True)})
    models, methods = spec.model.max() + 1, spec.method.max() + 1
    x = np.clip(x, -CLIP, CLIP)
    model = np.eye(models)[spec.model[arm]]
    method = np.eye(methods)[spec.method[arm]]
    pair = np.eye(len(pairs))[pairs.index((spec.method[arm], spec.budget[arm]))]
    own = np.kron(model, x)
    parts = ([1.0], model, method, pair, model * spec.log_budget[arm], np.eye(spec.arms)[arm], x, own)
    return np.concatenate(parts), [len(part) for part in parts]


def prior(spec):
    _, sizes = design(spec, np.zeros(spec.context), 0)
    return np.diag(np.concatenate([np.full(n, sd) for n, sd in zip(sizes, DEVIATIONS.values(), strict=True)]) ** 2)


def logistic(z):
    return 1 / (1 + np.exp(-z))


@pytest.fixture(scope="module")
def rounds(spec):
    random = np.random.default_rng(0)
    context = 1.5 * random.normal(size=(60, spec.context)).astype(np.float32)
    return context, random.integers(spec.arms, size=60), random.integers(2, size=60).astype(np.float32)


def test_updates_are_extended_kalman_steps(spec, rounds):
    context, action, quality = rounds
    agent = hierarchical_logit_thompson(spec, clip=CLIP, scale=0.0)

    @jax.jit
    def run(context, action, quality):
        def step(state, t):
            one = jnp.ones(())
            seen = make_observation(t, context[t], jnp.ones(6, bool), jnp.ones(5), jnp.ones(3))
            told = make_feedback(seen, action[t], one, one, Channels(quality[t], dollars=one, tokens=one))
            return agent.update(KEY, state, told), None

        return jax.lax.scan(step, agent.init(KEY), jnp.arange(60))[0]

    state = run(context, action, quality)
    mean, covariance = np.zeros(len(prior(spec))), prior(spec)
    for x, a, y in zip(context.astype(np.float64), action, quality, strict=True):
        phi, _ = design(spec, x, a)
        p = logistic(phi @ mean)
        h = max(p * (1 - p), FLOOR)
        gain = covariance @ phi / (1 + h * phi @ covariance @ phi)
        mean = mean + gain * (y - p)
        covariance = covariance - h * np.outer(gain, covariance @ phi)
    np.testing.assert_allclose(state.logit.mean, mean, atol=1e-4)
    np.testing.assert_allclose(state.logit.root.T @ state.logit.root, covariance, atol=1e-4)

    seen = make_observation(
        jnp.asarray(60), jnp.asarray(context[0]), jnp.ones(6, bool), jnp.asarray([2.0, 0, 0, 0, 0]), jnp.ones(3)
    )
    expected = [2 * logistic(design(spec, context[0].astype(np.float64), a)[0] @ mean) for a in range(6)]
    np.testing.assert_allclose(agent.act(KEY, state, seen).scores, expected, rtol=1e-4)


def test_a_pilot_is_fitted_to_the_posterior_mode(spec):
    random = np.random.default_rng(1)
    n, weight = 25, 0.5
    context = random.normal(size=(n, spec.context)).astype(np.float32)
    quality, mask = random.integers(2, size=(n, 6)), random.random((n, 6)) < 0.8
    cost = jnp.ones((n, 6))
    log = make_full_information(
        jnp.asarray(context),
        jnp.asarray(mask),
        jnp.ones(5),
        jnp.ones(3),
        cost,
        cost,
        Channels(quality.astype(np.float32), dollars=cost, tokens=cost),
    )
    agent = hierarchical_logit_thompson(spec, clip=CLIP, pilot_weight=weight)
    mean = np.asarray(agent.fit(KEY, agent.init(KEY), log).logit.mean, np.float64)
    gradient = -np.linalg.solve(prior(spec), mean)
    for q in range(n):
        for a in range(6):
            phi, _ = design(spec, context[q].astype(np.float64), a)
            gradient += weight * mask[q, a] * (quality[q, a] - logistic(phi @ mean)) * phi
    assert np.abs(gradient).max() < 1e-3
    assert np.abs(mean).max() > 0.1


def test_unknown_groups_are_refused_and_deviations_replace_the_defaults(spec):
    with pytest.raises(ValueError, match=r"unknown deviations \['queries'\]"):
        hierarchical_logit_thompson(spec, deviations={"queries": 1.0})
    root = hierarchical_logit_thompson(spec, deviations={"grand": 7.0}).init(KEY).logit.root
    assert root[0, 0] == 7.0
    np.testing.assert_allclose(np.diag(root)[1:], np.sqrt(np.diag(prior(spec)))[1:], rtol=1e-6)
