"""A small synthetic linear bandit, and one compiled way to play it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.agent import Agent, Choice, Privileged
from agents.handed import make_feedback, make_observation
from agents.spec import Spec
from uis_env.world import Channels

ARMS, CONTEXT, MODELS = 6, 4, 3


class Data(NamedTuple):
    """T rounds of a bandit whose rewards are linear in the context, one weight vector per arm, plus noise."""

    context: Any
    mask: Any
    reward: Any
    preference: Any
    prices: Any


def make_spec(arms: int = ARMS, context: int = CONTEXT, horizon: int = 1000, **changes: Any) -> Spec:
    random = np.random.default_rng(5)
    ids = np.arange(arms)
    parts: dict[str, Any] = {
        "arms": arms,
        "context": context,
        "features": np.column_stack([ids % MODELS == m for m in range(MODELS)] + [random.normal(size=arms)]).astype(
            np.float32
        ),
        "model": (ids % MODELS).astype(np.int32),
        "method": (ids // MODELS).astype(np.int32),
        "budget": (ids // MODELS).astype(np.int32),
        "log_budget": (ids // MODELS).astype(np.float32),
        "list_cost": np.linspace(0.2, 1.0, arms, dtype=np.float32),
        "list_quality": (ids % MODELS).astype(np.float32),
        "channels": ("quality", "dollars", "tokens"),
        "horizon": horizon,
        "constants": (context - 1,),
    }
    return Spec(**(parts | changes))


def make_data(spec: Spec, rounds: int, seed: int = 0, masked: float = 0.0, noise: float = 0.3) -> Data:
    random = np.random.default_rng(seed)
    context = random.normal(size=(rounds, spec.context))
    context[:, -1] = 1
    weights = random.normal(size=(spec.context, spec.arms)) * 0.3
    mask = random.random((rounds, spec.arms)) >= masked
    mask[np.arange(rounds), random.integers(spec.arms, size=rounds)] = True
    reward = context @ weights + noise * random.normal(size=(rounds, spec.arms))
    return Data(
        jnp.asarray(context, jnp.float32),
        jnp.asarray(mask),
        jnp.asarray(reward, jnp.float32),
        jnp.asarray([1.0, 0, 0.5, 0, 0], jnp.float32),
        jnp.ones(MODELS, jnp.float32),
    )


def play_round(agent: Agent, data: Data, key: Any, state: Any, t: Any) -> tuple[Any, Choice]:
    now = jax.random.fold_in(key, t)
    x, mask, rewards = data.context[t], data.mask[t], data.reward[t]
    known = Privileged(rewards, data.reward.mean(axis=0), -data.reward.mean(axis=0)) if agent.privileged else None
    seen = make_observation(t, x, mask, data.preference, data.prices, known)
    choice = agent.act(now, state, seen)
    reward = rewards[choice.action]
    cost = 0.1 * (1.0 + choice.action)
    channels = Channels(jax.nn.sigmoid(reward), dollars=cost, tokens=100.0 * cost)
    return agent.update(now, state, make_feedback(seen, choice.action, reward, cost, channels)), choice


def play_rounds(agent: Agent, data: Data, keys: Any, seeds_per_call: int = 1) -> tuple[Any, Choice]:
    def run(key: Any) -> tuple[Any, Choice]:
        rounds = jnp.arange(data.context.shape[0])
        return jax.lax.scan(partial(play_round, agent, data, key), agent.init(key), rounds)

    return jax.vmap(run)(keys) if seeds_per_call > 1 else jax.lax.map(run, keys)


compiled = jax.jit(play_rounds, static_argnames=("agent", "seeds_per_call"))


@pytest.fixture(scope="session")
def spec_factory() -> Callable[..., Spec]:
    """`make_spec(arms, context, horizon, **changes)`: 3 models, (method, budget) by thirds, channels and list costs."""
    return make_spec


@pytest.fixture(scope="session")
def spec() -> Spec:
    """6 arms, 4 context features."""
    return make_spec()


@pytest.fixture(scope="session")
def data_factory() -> Callable[..., Data]:
    """`make_data(spec, rounds, seed, masked, noise)`."""
    return make_data


@pytest.fixture(scope="session")
def play() -> Callable[..., tuple[Any, Choice]]:
    """`play(agent, data, seeds=1, seeds_per_call=1)`: final states (seeds, ...) and all choices (seeds, T, ...)."""

    def run(agent: Agent, data: Data, seeds: int = 1, seeds_per_call: int = 1) -> tuple[Any, Choice]:
        keys = jax.random.split(jax.random.key(0), seeds)
        return jax.block_until_ready(compiled(agent, data, keys, seeds_per_call))

    return run


@pytest.fixture(scope="session")
def play_traced() -> Callable[..., tuple[Any, Choice]]:
    """`play_traced(agent, data, keys)`, not compiled: for agents with traced hyper-parameters."""
    return play_rounds
