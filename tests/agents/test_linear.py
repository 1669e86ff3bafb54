"""Linear bandits: posteriors against float64, invariances, bonuses, mapped runs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import (
    decomposed_linucb,
    greedy,
    hierarchical_logit_thompson,
    knn,
    linear_thompson,
    linear_thompson_shared,
    linucb,
    linucb_arm_only,
    linucb_shared,
    neural_linear_ucb,
)
from agents.fusion import fuse
from agents.handed import make_feedback, make_full_information, make_observation
from uis_env.world import Channels

LONG = 100_000
"""Rounds after which a float32 posterior must still agree with float64."""


def correlated(data, seed=1):
    """The same rewards with contexts that nearly span a plane: a condition number of 1e4."""
    random = np.random.default_rng(seed)
    context = np.asarray(data.context, np.float64)
    context[:, 1] = context[:, 0] + 0.01 * random.normal(size=len(context))
    return data._replace(context=jnp.asarray(context, jnp.float32))


def learn(agent, data, actions, queries):
    """The scores on some queries after the given actions."""

    @jax.jit
    def run(data, actions, queries):
        def step(state, t):
            x, mask, reward = data.context[t], data.mask[t], data.reward[t, actions[t]]
            channels = Channels(jax.nn.sigmoid(reward), dollars=reward**2)
            seen = make_observation(t, x, mask, data.preference, data.prices)
            feedback = make_feedback(seen, actions[t], reward, 1.0 + reward**2, channels)
            return agent.update(jax.random.fold_in(jax.random.key(1), t), state, feedback), None

        state, _ = jax.lax.scan(step, agent.init(jax.random.key(0)), jnp.arange(len(actions)))
        seen = partial(make_observation, jnp.asarray(len(actions)))
        everything = jnp.ones(data.mask.shape[1], bool)
        given = (data.preference, data.prices)
        return state, jax.vmap(lambda x: agent.act(jax.random.key(2), state, seen(x, everything, *given)).scores)(
            queries
        )

    return run(data, jnp.asarray(actions, jnp.int32), queries)


def closed_form(phi, y, ridge):
    precision = ridge * np.eye(phi.shape[1]) + phi.T @ phi
    return np.linalg.solve(precision, phi.T @ y), np.linalg.inv(precision)


@pytest.mark.parametrize("hard", [False, True])
def test_disjoint_posterior_after_100k_rounds_of_float32(spec_factory, data_factory, play, hard):
    spec = spec_factory(arms=3, context=6)
    data = data_factory(spec, LONG, masked=0.4)
    data = correlated(data) if hard else data
    state, choices = play(linucb(spec, ridge=0.5), data)
    actions = np.asarray(choices.action[0])
    for arm in range(spec.arms):
        mine = actions == arm
        x, y = np.asarray(data.context, np.float64)[mine], np.asarray(data.reward, np.float64)[mine, arm]
        mean, covariance = closed_form(x, y, 0.5)
        assert mine.sum() > 1000
        queries = np.asarray(data.context[:50], np.float64)
        root = np.asarray(state.belief.root[0][:, arm].T, np.float64)
        deviation = np.linalg.norm(root @ queries.T, axis=0)
        np.testing.assert_allclose(deviation, np.sqrt(np.sum(queries @ covariance * queries, axis=1)), rtol=1e-3)
        np.testing.assert_allclose(queries @ np.asarray(state.belief.mean[0, arm]), queries @ mean, atol=1e-3)


@pytest.mark.parametrize("kind", ["concat", "kronecker", "hadamard", "arm"])
def test_shared_posterior_after_100k_rounds_of_float32(spec_factory, data_factory, play, kind):
    spec = spec_factory(arms=6, context=4)
    data = data_factory(spec, LONG, masked=0.4)
    state, choices = play(linucb_shared(spec, alpha=1.0, ridge=0.5, fusion=kind), data)
    fused = fuse(spec, kind)
    actions = np.asarray(choices.action[0])
    phi = np.asarray(jax.jit(jax.vmap(fused.features))(data.context, choices.action[0]), np.float64)
    y = np.asarray(data.reward, np.float64)[np.arange(LONG), actions]
    mean, covariance = closed_form(phi, y, 0.5)
    queries = data.context[:50]
    joint = np.asarray(
        jax.vmap(lambda x: jax.vmap(lambda arm: fused.features(x, arm))(jnp.arange(spec.arms)))(queries), np.float64
    )
    predicted = np.asarray(jax.vmap(lambda x: fused.scores(state.mean[0], x))(queries))
    deviation = np.asarray(jax.vmap(lambda x: fused.deviations(state.root[0], x))(queries))
    np.testing.assert_allclose(predicted, joint @ mean, atol=1e-3)
    np.testing.assert_allclose(deviation, np.sqrt(np.einsum("qkd,de,qke->qk", joint, covariance, joint)), rtol=1e-3)


def test_double_precision_state_and_exact_posterior(spec, data_factory, play):
    with jax.enable_x64(True):
        data = data_factory(spec, 500, masked=0.2)
        state, choices = play(linucb(spec, ridge=2.0), data)
        assert state.belief.root.dtype == jnp.float64
        actions = np.asarray(choices.action[0])
        mine = actions == actions[0]
        mean, covariance = closed_form(
            np.asarray(data.context, np.float64)[mine], np.asarray(data.reward, np.float64)[mine, actions[0]], 2.0
        )
        root = np.asarray(state.belief.root[0][:, actions[0]].T)
        np.testing.assert_allclose(root.T @ root, covariance, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(state.belief.mean[0, actions[0]], mean, rtol=1e-9)


@pytest.mark.parametrize("factory", [linucb_shared, decomposed_linucb])
def test_full_information_at_once_equals_one_by_one(spec, data_factory, factory):
    data = data_factory(spec, 30)
    agent = factory(spec, alpha=0.5)
    n, k = data.reward.shape
    full = make_full_information(
        data.context,
        jnp.ones((n, k), bool),
        data.preference,
        data.prices,
        data.reward,
        1.0 + data.reward**2,
        Channels(jax.nn.sigmoid(data.reward), dollars=data.reward**2, tokens=jnp.zeros((n, k))),
    )
    fitted = jax.jit(agent.fit)(jax.random.key(0), agent.init(jax.random.key(0)), full)
    repeated = jax.tree.map(
        lambda a: jnp.repeat(a, k, axis=0) if a.ndim == 2 else a, data._replace(mask=jnp.ones((n, k), bool))
    )
    seen = make_observation(jnp.asarray(0), data.context[0], data.mask[0] | True, data.preference, data.prices)

    @jax.jit
    def one_by_one(data):
        def step(state, t):
            reward = data.reward[t, t % k]
            channels = Channels(jax.nn.sigmoid(reward), dollars=reward**2, tokens=jnp.zeros(()))
            seen = make_observation(t, data.context[t], data.mask[t], data.preference, data.prices)
            back = make_feedback(seen, t % k, reward, 1.0 + reward**2, channels)
            return agent.update(jax.random.key(0), state, back), None

        return jax.lax.scan(step, agent.init(jax.random.key(0)), jnp.arange(n * k))[0]

    one, other = (agent.act(jax.random.key(0), state, seen).scores for state in (fitted, one_by_one(repeated)))
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


PERMUTABLE = {
    "linucb": partial(linucb, alpha=1.0),
    "linucb discounted": partial(linucb, alpha=1.0, discount=0.98),
    "greedy": greedy,
    "concat": partial(linucb_shared, alpha=1.0),
    "kronecker": partial(linucb_shared, alpha=1.0, fusion="kronecker"),
    "arm only": partial(linucb_arm_only, alpha=1.0),
    "thompson mean": partial(linear_thompson, scale=0.0),
    "shared thompson mean": partial(linear_thompson_shared, scale=0.0),
    "decomposed": partial(decomposed_linucb, alpha=1.0),
    "hierarchical mean": partial(hierarchical_logit_thompson, scale=0.0),
    "knn": partial(knn, neighbours=7, epsilon=0.0),
    "joint knn": partial(knn, neighbours=3, joint=True, epsilon=0.0),
}


@pytest.mark.parametrize("name", PERMUTABLE)
def test_scores_follow_a_permutation_of_the_arms(spec_factory, data_factory, name):
    order = np.array([3, 0, 5, 1, 4, 2])
    spec = spec_factory(channels=("quality", "dollars"))
    per_arm = ("features", "model", "method", "budget", "log_budget", "list_cost", "list_quality")
    permuted = spec_factory(channels=spec.channels, **{name: getattr(spec, name)[order] for name in per_arm})
    data = data_factory(spec, 120)
    actions = np.random.default_rng(3).integers(spec.arms, size=120)
    _, scores = learn(PERMUTABLE[name](spec), data, actions, data.context[:8])
    moved = data._replace(reward=data.reward[:, order], mask=data.mask[:, order])
    _, other = learn(PERMUTABLE[name](permuted), moved, np.argsort(order)[actions], data.context[:8])
    np.testing.assert_allclose(other, scores[:, order], rtol=2e-4, atol=2e-5)
    assert np.std(scores) > 0.01


def test_bonus_of_an_arm_without_data_is_that_of_the_prior(spec, data_factory):
    alpha, ridge = 0.7, 4.0
    data = data_factory(spec, 50)
    actions = np.random.default_rng(0).integers(spec.arms - 1, size=50)
    queries = data.context[:5]
    _, scores = learn(linucb(spec, alpha, ridge), data, actions, queries)
    expected = alpha * np.linalg.norm(queries, axis=1) / np.sqrt(ridge)
    np.testing.assert_allclose(scores[:, -1], expected, rtol=1e-6)
    _, scores = learn(linucb(spec, alpha, ridge, discount=0.9), data, actions, queries)
    np.testing.assert_allclose(scores[:, -1], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["concat", "kronecker", "arm"])
def test_all_arms_start_with_the_same_bonus_in_a_shared_model(spec, data_factory, kind):
    data, agent = data_factory(spec, 1), linucb_shared(spec, alpha=1.0, fusion=kind)
    seen = make_observation(jnp.asarray(0), data.context[0], jnp.ones(spec.arms, bool), data.preference, data.prices)
    choice = agent.act(jax.random.key(0), agent.init(jax.random.key(0)), seen)
    np.testing.assert_allclose(choice.scores, choice.scores[0], rtol=1e-6)
    np.testing.assert_allclose(choice.propensities, 1 / spec.arms, rtol=1e-6)


def test_discounted_bonus_of_a_neglected_arm_grows_back_to_the_prior(spec, data_factory):
    data = data_factory(spec, 400)
    actions = np.where(np.arange(400) < 50, 1, 0)
    queries = data.context[:5]
    agent = linucb(spec, alpha=1.0, discount=0.95)
    (state, scores), (_, kept) = learn(agent, data, actions, queries), learn(linucb(spec, 1.0), data, actions, queries)
    bonus = np.asarray(scores[:, 1]) - queries @ state.belief.mean[1]
    assert (bonus > 0.99 * np.linalg.norm(queries, axis=1)).all()
    assert (np.asarray(kept[:, 1]) < bonus).all()


def test_alpha_may_be_traced(spec, data_factory, play, play_traced):
    data = data_factory(spec, 200)
    keys = jax.random.split(jax.random.key(0), 1)

    def actions(alpha):
        return play_traced(linucb(spec, alpha=alpha), data, keys)[1].action[0]

    greedy_run, wide = jax.jit(jax.vmap(actions))(jnp.asarray([0.0, 3.0]))
    np.testing.assert_array_equal(wide, play(linucb(spec, alpha=3.0), data)[1].action[0])
    assert (greedy_run != wide).any()


SLOW = pytest.mark.slow
MAPPED = [
    pytest.param(linucb, id="linucb"),
    pytest.param(partial(linucb_shared, alpha=1.0), id="linucb_shared"),
    pytest.param(linear_thompson_shared, id="linear_thompson_shared", marks=SLOW),
    pytest.param(hierarchical_logit_thompson, id="hierarchical", marks=SLOW),
    pytest.param(partial(knn, neighbours=5), id="knn", marks=SLOW),
    pytest.param(
        partial(neural_linear_ucb, every=20, steps=3, hidden=(8,), features=4), id="neural_linear_ucb", marks=SLOW
    ),
]


@pytest.mark.parametrize("factory", MAPPED)
def test_seeds_side_by_side_act_as_one_at_a_time(spec, data_factory, play, factory):
    agent, data = factory(spec), data_factory(spec, 80, masked=0.3)
    one, other = play(agent, data, seeds=4, seeds_per_call=1)[1], play(agent, data, seeds=4, seeds_per_call=4)[1]
    np.testing.assert_array_equal(one.action, other.action)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-5)
    assert len(np.unique(np.asarray(one.action), axis=0)) > 1
