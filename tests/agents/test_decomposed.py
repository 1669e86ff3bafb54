"""Quality and cost apart: the priced channels are learned by ridge, and prices and preferences take effect at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import decomposed_linucb, decomposed_thompson
from agents.handed import make_feedback, make_observation
from agents.priced import penalty
from uis_env.world import Channels

ROUNDS = 300
PREFERENCE = jnp.asarray([1.0, 0.2, 0.7, 1e-3, 0.1], jnp.float32)


@pytest.fixture(scope="module")
def spec(spec_factory):
    return spec_factory(channels=("quality", "score", "dollars", "tokens", "latency"))


@pytest.fixture(scope="module")
def rounds(spec):
    """Contexts, actions and channels (T,) whose cost is list cost x price x (1 + 0.3 length)."""
    random = np.random.default_rng(0)
    context = random.normal(size=(ROUNDS, spec.context)).astype(np.float32)
    context[:, -1] = 1
    action = random.integers(spec.arms, size=ROUNDS)
    price = np.array([1.0, 0.5, 2.0], np.float32)
    cost = spec.list_cost[action] * price[spec.model[action]] * np.exp(0.3 * context[:, 1])
    others = {"tokens": 100 * (1 + action), "latency": 2.0 + context[:, 0], "score": 0.1 * action}
    return context, action, price, cost.astype(np.float32), {k: v.astype(np.float32) for k, v in others.items()}


def feedback(context, action, price, cost, others, t):
    channels = {name: values[t] for name, values in others.items()}
    seen = make_observation(t, context[t], jnp.ones(6, bool), PREFERENCE, price)
    return make_feedback(seen, action[t], jnp.zeros(()), cost[t], Channels(jnp.zeros(()), dollars=cost[t], **channels))


def learned(model, rounds):
    @jax.jit
    def run(data):
        step = lambda state, t: (model.observe(state, feedback(*data, t)), None)  # noqa: E731
        return jax.lax.scan(step, model.init(), jnp.arange(ROUNDS))[0]

    return run(jax.tree.map(jnp.asarray, rounds))


def ridge(z, y, start, strength):
    gram = z.T @ z + strength * np.eye(z.shape[1])
    return start + np.linalg.solve(gram, z.T @ (y - z @ start))


@pytest.mark.parametrize("transform", ["linear", "clipped", "log"])
def test_penalty_is_the_ridge_prediction_at_the_prices_of_the_moment(spec_factory, spec, rounds, transform):
    ends = (0.05, 4.0)
    spec = spec_factory(channels=spec.channels, transform=transform, ends=ends)
    context, action, price, cost, others = rounds
    model = penalty(spec, columns=(1,), ridge=0.5)
    state, x, now = learned(model, rounds), np.array([0.2, -0.7, 1.0, 1.0]), np.array([3.0, 1.0, 0.1])
    found = model.predict(state, jnp.asarray(x, jnp.float32), PREFERENCE, jnp.asarray(now, jnp.float32))
    weights = np.asarray(PREFERENCE, np.float64)
    multiple = cost / price[spec.model[action]] / spec.list_cost[action]
    seen = np.log(multiple).sum() if transform == "log" else 1 + multiple.sum()
    common = seen / (len(cost) + 1)
    start = np.array([common, 0.0])
    for arm in range(spec.arms):
        mine, factor = action == arm, now[spec.model[arm]]
        z = np.column_stack([np.ones(mine.sum()), context[mine, 1]]).astype(np.float64)
        at = np.array([1.0, x[1]])
        ratio = cost[mine] / price[spec.model[arm]] / spec.list_cost[arm]
        low, high = ends
        if transform == "log":
            value = at @ ridge(z, np.log(ratio), start, 0.5) + np.log(spec.list_cost[arm] * factor)
            g = np.clip((value - np.log(low)) / np.log(high / low), 0, 1)
        else:
            value = at @ ridge(z, ratio, start, 0.5) * spec.list_cost[arm] * factor
            g = value if transform == "linear" else np.clip((value - low) / (high - low), 0, 1)
        rest = {name: at @ ridge(z, others[name][mine], np.zeros(2), 0.5) for name in others}
        expected = (
            weights[2] * g + weights[3] * rest["tokens"] + weights[4] * rest["latency"] - weights[1] * rest["score"]
        )
        np.testing.assert_allclose(found[arm], expected, rtol=2e-4, atol=1e-5)


def test_list_costs_that_are_all_off_by_one_factor_are_found_out_for_arms_never_tried(spec, rounds):
    model = penalty(spec)
    context, action, price, cost, others = rounds
    plain = jnp.asarray([1.0, 0, 1, 0, 0])
    few = action < 3  # arms 3, 4, 5 are never played
    data = tuple(part[few] for part in (context, action)), cost[few] * 5, {k: v[few] for k, v in others.items()}
    state = model.init()
    for t in range(30):
        state = model.observe(state, feedback(*data[0], price, data[1], data[2], t))
    found = np.asarray(model.predict(state, jnp.zeros(spec.context).at[-1].set(1), plain, jnp.ones(3)))
    ratio = found[3:] / spec.list_cost[3:]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert 4 < ratio[0] < 6.5


def test_before_any_round_the_penalty_is_the_list_cost(spec):
    model = penalty(spec)
    prices = jnp.asarray([1.0, 2.0, 3.0])
    found = model.predict(model.init(), jnp.zeros(spec.context), jnp.asarray([1.0, 0, 0.5, 0, 0]), prices)
    np.testing.assert_allclose(found, 0.5 * spec.list_cost * np.asarray(prices)[spec.model], rtol=1e-6)


@pytest.mark.parametrize("transform", ["linear", "log"])
def test_a_free_model_teaches_nothing_about_its_cost(spec_factory, rounds, transform):
    spec = spec_factory(transform=transform, ends=(0.05, 4.0))
    model = penalty(spec)
    context, action, price, cost, others = rounds
    free = (context, action, 0 * price, 0 * cost, others)
    state = learned(model, free)
    for leaf, fresh in zip(jax.tree.leaves(state), jax.tree.leaves(model.init()), strict=True):
        np.testing.assert_array_equal(leaf, fresh)
    prices = jnp.asarray([0.0, 1.0, 1.0])
    charge = model.predict(state, jnp.zeros(spec.context), jnp.asarray([1.0, 0, 1, 0, 0]), prices)
    assert np.isfinite(charge).all()
    assert (np.asarray(charge)[spec.model == 0] == 0).all()


def test_a_column_outside_the_context_is_refused(spec):
    with pytest.raises(ValueError, match=r"cost column 4 is not one of the context's 0\.\.3"):
        decomposed_linucb(spec, cost_columns=(1, 4))


@pytest.mark.parametrize("factory", [decomposed_linucb, decomposed_thompson])
def test_a_new_preference_takes_effect_without_new_data(spec, rounds, factory):
    """After learning that dear arms are better, raising the price of cost turns to a cheap arm at once."""
    agent = factory(spec, 0.0)
    context, action, _, _, others = rounds
    cost = spec.list_cost[action]

    @jax.jit
    def run():
        def step(state, t):
            told = feedback(context, action, np.ones(3, np.float32), cost, others, t)
            told = told._replace(channels=told.channels._replace(quality=action[t] / 5.0))
            return agent.update(jax.random.key(0), state, told), None

        return jax.lax.scan(step, agent.init(jax.random.key(0)), jnp.arange(ROUNDS))[0]

    context, action, cost, others = jax.tree.map(jnp.asarray, (context, action, cost, others))
    state = run()
    seen = make_observation(
        jnp.asarray(ROUNDS), jnp.asarray([0.1, 0.1, 0.1, 1.0]), jnp.ones(6, bool), jnp.zeros(5), jnp.ones(3)
    )

    def choice(weight):
        preference = jnp.asarray([1.0, 0, weight, 0, 0])
        return int(agent.act(jax.random.key(1), state, seen._replace(preference=preference)).action)

    assert choice(0.0) >= 4
    assert choice(20.0) == 0
