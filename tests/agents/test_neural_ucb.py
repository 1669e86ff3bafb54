"""NeuralUCB and the online MLP: gradients as automatic ones, the bonus by its diagonal formula, and they learn."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.agent import Agent, Feedback, Observation
from agents.check import check_agent
from agents.handed import make_feedback, make_observation
from agents.neural_ucb import Network, forward, mlp, neural_ucb, squared_gradients
from agents.spec import Spec
from uis_env.world import Channels

ARMS, CONTEXT = 5, 3


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def make_spec() -> Spec:
    ids = np.arange(ARMS, dtype=np.int32)
    plain = np.zeros(ARMS, np.float32)
    return Spec(
        arms=ARMS, context=CONTEXT, features=np.eye(ARMS, dtype=np.float32), model=ids % 2, method=ids * 0, budget=ids,
        log_budget=plain, list_cost=plain, list_quality=plain, channels=("quality",), horizon=600,
    )  # fmt: skip


def observation(context: Any, number: int = 0) -> Observation:
    return make_observation(jnp.int32(number), jnp.asarray(context), jnp.ones(ARMS, bool), jnp.ones(5), jnp.ones(2))


def feedback(seen: Observation, action: Any, reward: Any) -> Feedback:
    return make_feedback(seen, action, reward, 0.0, Channels(reward))


def test_squared_gradients_are_those_of_automatic_differentiation() -> None:
    random = np.random.default_rng(0)
    weights = Network(jnp.asarray(random.normal(size=(6, 4))), jnp.asarray(random.normal(size=6)))
    z = jnp.asarray(random.normal(size=4))
    by_unit, by_output = squared_gradients(weights, z, forward(weights, z)[1])
    gradient = jax.grad(lambda w: forward(w, z)[0])(weights)
    np.testing.assert_allclose(jnp.outer(by_unit, z**2), gradient.hidden**2, rtol=1e-12)
    np.testing.assert_allclose(by_output, gradient.out**2, rtol=1e-12)


def test_bonus_is_the_diagonal_formula_over_all_rounds() -> None:
    alpha, ridge = 0.7, 0.5
    agent = neural_ucb(make_spec(), alpha=alpha, ridge=ridge, hidden=8, rate=0.0)  # the network stays as it started
    state = agent.init(jax.random.key(3))
    weights, update = state.weights, jax.jit(agent.update)
    random = np.random.default_rng(1)

    slope = jax.jit(jax.grad(lambda w, z: forward(w, z)[0]))

    def gradient(context: Any, arm: int) -> np.ndarray[Any, Any]:
        z = jnp.concatenate([jnp.asarray(context) / np.linalg.norm(context), jnp.eye(ARMS)[arm]]) / np.sqrt(2)
        parts = slope(weights, z)
        return np.concatenate([np.ravel(part) for part in parts])

    size = len(gradient(np.ones(CONTEXT), 0))
    total = np.full(size, ridge)
    for number in range(12):
        context, arm = random.normal(size=CONTEXT), int(random.integers(ARMS))
        total += size * gradient(context, arm) ** 2
        state = update(jax.random.key(number), state, feedback(observation(context, number), arm, 1.0))
    context = random.normal(size=CONTEXT)
    expected = [alpha * np.sqrt((gradient(context, arm) ** 2 / total).sum()) for arm in range(ARMS)]
    found = agent.act(jax.random.key(0), state, observation(context, 12)).scores
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_starts_from_zero_and_breaks_the_tie_uniformly() -> None:
    agent = mlp(make_spec(), epsilon=0.0)
    choice = agent.act(jax.random.key(0), agent.init(jax.random.key(0)), observation(np.ones(CONTEXT)))
    assert (np.asarray(choice.scores) == 0).all()
    np.testing.assert_allclose(choice.propensities, np.full(ARMS, 1 / ARMS))


def test_random_arms_have_their_share() -> None:
    agent = mlp(make_spec(), epsilon=0.2)
    state = agent.init(jax.random.key(0))
    state = agent.update(jax.random.key(1), state, feedback(observation(np.ones(CONTEXT)), 2, 1.0))
    choice = agent.act(jax.random.key(2), state, observation(np.ones(CONTEXT), 1))
    propensities = np.sort(np.asarray(choice.propensities))
    np.testing.assert_allclose(propensities, [0.04] * 4 + [0.84], rtol=1e-6)


def play(agent: Agent, rounds: int) -> tuple[float, float]:
    """Mean reward of the first and the last quarter where the sign of the first feature says which arm is right."""

    def step(state: Any, number: Any) -> tuple[Any, Any]:
        key = jax.random.fold_in(jax.random.key(5), number)
        context = jax.random.normal(key, (CONTEXT,)).at[-1].set(1.0)
        seen = observation(context)._replace(round=number)
        action = agent.act(key, state, seen).action
        reward = jnp.where(action == jnp.where(context[0] > 0, 1, 3), 0.9, 0.2)
        back = feedback(seen, 0, 0.0)._replace(action=action, reward=reward)
        return agent.update(key, state, back), reward

    _, rewards = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(rounds)))(agent.init(jax.random.key(0)))
    quarter = rounds // 4
    return float(rewards[:quarter].mean()), float(rewards[-quarter:].mean())


@pytest.mark.parametrize("factory", [neural_ucb, mlp])
def test_learns_what_no_single_arm_can_earn(factory: Any) -> None:
    first, last = play(factory(make_spec(), warmup=40), 600)
    assert last > first
    assert last > 0.75  # always arm 1 earns .55


def test_keeps_the_contract() -> None:
    check_agent(lambda spec: neural_ucb(spec, warmup=1, hidden=4, steps=1, batch=4), make_spec(), rounds=3)


def test_refuses_units_that_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="hidden is 7, expected an even number"):
        neural_ucb(make_spec(), hidden=7)
