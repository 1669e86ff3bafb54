"""Neural-linear agents: retraining on schedule, posteriors rebuilt exactly, and a gain where linear features fail."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import linucb, neural_linear, neural_linear_thompson, neural_linear_ucb
from agents.handed import make_feedback, make_observation
from agents.neural_linear import Network
from uis_env.world import Channels

KEY = jax.random.key(0)
EVERY, REPLAY, RIDGE = 8, 20, 0.5
SMALL = {"hidden": (8,), "features": 4, "every": EVERY, "steps": 4, "batch": 16, "replay": REPLAY}


@pytest.fixture(scope="module", params=[neural_linear.SLICE, 6])
def history(request, spec, data_factory):
    """States after every round of a run with fixed actions, and the data; the replay fills one slice or several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_linear, "SLICE", request.param)
        yield run_rounds(spec, data_factory)


def run_rounds(spec, data_factory):
    data = data_factory(spec, 40)
    actions = jnp.asarray(np.random.default_rng(0).integers(spec.arms, size=40), jnp.int32)
    agent = neural_linear_ucb(spec, ridge=RIDGE, **SMALL)

    @jax.jit
    def run():
        def step(state, t):
            seen = make_observation(t, data.context[t], data.mask[t], data.preference, data.prices)
            told = make_feedback(seen, actions[t], data.reward[t, actions[t]], 1.0, Channels(1.0))
            state = agent.update(jax.random.fold_in(KEY, t), state, told)
            return state, state

        return jax.lax.scan(step, agent.init(KEY), jnp.arange(40))[1]

    return run(), data, actions


def test_the_network_changes_at_block_ends_only(history):
    states, *_ = history
    weights = jax.tree.leaves(states.params)[1]
    changed = np.array([(weights[t] != weights[t - 1]).any() for t in range(1, 40)])
    np.testing.assert_array_equal(1 + np.flatnonzero(changed), [7, 15, 23, 31, 39])


@pytest.mark.parametrize("t", [5, 7, 15, 31, 36])
def test_posteriors_are_those_of_the_replay_and_the_rounds_since(spec, history, t):
    states, data, actions = history
    params = jax.tree.map(lambda leaf: leaf[t], states.params)
    rebuilt = (t + 1) // EVERY * EVERY
    used = np.arange(max(0, rebuilt - REPLAY) if rebuilt else 0, t + 1)
    z, _ = Network(spec.arms, (8,), 4).apply(params, data.context[used])
    z, arm = np.asarray(z, np.float64), np.asarray(actions)[used]
    y = np.asarray(data.reward, np.float64)[used, arm]
    for a in range(spec.arms):
        mine = z[arm == a]
        precision = RIDGE * np.eye(5) + mine.T @ mine
        root = np.asarray(states.belief.belief.root[t][:, a].T, np.float64)
        np.testing.assert_allclose(root.T @ root, np.linalg.inv(precision), rtol=1e-3, atol=1e-4)
        expected = np.linalg.solve(precision, mine.T @ y[arm == a])
        np.testing.assert_allclose(states.belief.belief.mean[t, a], expected, atol=1e-3)


def test_features_have_one_length_so_that_new_arms_have_one_bonus(spec, history):
    states, data, _ = history
    params = jax.tree.map(lambda leaf: leaf[-1], states.params)
    z, heads = Network(spec.arms, (8,), 4).apply(params, 10 * data.context[:20])
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.sqrt(2), rtol=1e-4)
    assert heads.shape == (20, spec.arms)


@pytest.mark.slow
@pytest.mark.parametrize("factory", [neural_linear_ucb, neural_linear_thompson])
def test_learns_what_is_not_linear_in_the_context(spec_factory, data_factory, play, factory):
    """Arm 0 is right where x0 and x1 have the same sign, arm 1 elsewhere: a linear learner is right half the time."""
    random, rounds = np.random.default_rng(0), 6000
    spec = spec_factory(arms=2, context=3, features=np.eye(2, dtype=np.float32), horizon=rounds)
    context = np.column_stack([random.choice([-1.0, 1.0], (rounds, 2)), np.ones(rounds)])
    same = context[:, 0] == context[:, 1]
    data = data_factory(spec, rounds)._replace(
        context=jnp.asarray(context, jnp.float32),
        reward=jnp.asarray(np.column_stack([same, ~same]), jnp.float32),
    )
    right = {}
    for name, make in {"linear": linucb, "neural": partial(factory, every=50)}.items():
        actions = np.asarray(play(make(spec), data)[1].action[0])
        right[name] = np.mean((actions == 0)[-2000:] == same[-2000:])
    assert right["neural"] > 0.95
    assert right["linear"] < 0.7
