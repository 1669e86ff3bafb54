"""What agents are handed: made in one place, and numbered as it is delivered."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import knn, mlp, neural_linear_thompson, neural_linear_ucb, neural_ucb, probe_online
from agents.agent import Agent
from agents.handed import make_feedback, make_observation, observed, recorded, returned
from agents.spec import Spec
from uis_env import worlds
from uis_env.bandit import Phase, Reward, tabulate
from uis_env.world import Channels

KEY = jax.random.key(0)
LEARNERS: dict[str, Callable[[Spec], Agent]] = {
    "knn": partial(knn, neighbours=5, memory=12),
    "knn joint": partial(knn, neighbours=5, memory=12, joint=True),
    "neural_ucb": partial(neural_ucb, hidden=4, batch=4, replay=12),
    "mlp": partial(mlp, hidden=4, batch=4, replay=12),
    "neural_linear_ucb": partial(neural_linear_ucb, hidden=(4,), features=3, every=5, batch=4, replay=12),
    "neural_linear_thompson": partial(neural_linear_thompson, hidden=(4,), features=3, every=5, batch=4, replay=12),
    "probe_online": partial(probe_online, hidden=(4,), every=5, steps=1, batch=4, replay=12),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_feedback_of_every_third_round_leaves_no_gaps(spec: Spec, name: str) -> None:
    """An agent that hears of rounds 0, 3, 6, ... is one that heard of as many rounds in a row."""
    agent = LEARNERS[name](spec)
    random = np.random.default_rng(0)
    contexts, actions = random.normal(size=(20, spec.context)), random.integers(spec.arms, size=20)
    rewards = random.random(20)

    @partial(jax.jit, static_argnames="apart")
    def learn(apart: int) -> Any:
        def hear(state: Any, i: Any) -> tuple[Any, None]:
            seen = make_observation(
                apart * i, jnp.asarray(contexts)[i], jnp.ones(spec.arms, bool), jnp.ones(5), jnp.ones(3)
            )
            reward = jnp.asarray(rewards)[i]
            channels = Channels(*[reward] * 6)
            back = make_feedback(seen, jnp.asarray(actions)[i], reward, reward, channels, number=i)
            return agent.update(jax.random.fold_in(KEY, i), state, back), None

        return jax.lax.scan(hear, agent.init(KEY), jnp.arange(20))[0]

    rare, steady = learn(3), learn(1)
    jax.tree.map(np.testing.assert_array_equal, rare, steady)
    filled = [leaf for leaf in jax.tree.leaves(rare) if leaf.dtype == jnp.int32 and leaf.shape == (12,)]
    assert [int((ring < 0).sum()) for ring in filled] == [0]


@pytest.mark.parametrize("made", ["Observation", "Feedback", "FullInformation"])
def test_each_is_made_in_one_place(made: str) -> None:
    """A field more (a delay, a budget that is left) is one edit."""
    calls = [
        path.name
        for folder in ("agents", "experiments", "uis_env")
        for path in Path(folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and made in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]
    assert calls == ["handed.py"]


def test_the_tables_of_a_bandit_are_what_is_handed() -> None:
    """Every field against the world's own arrays."""
    world = worlds.load("Synthetic", queries=12, draws=3)
    bandit = tabulate(world, [Phase(Reward()), Phase(Reward(cost=0.5))])
    seen = observed(bandit, 7, 5, 1)
    back = returned(bandit, seen, 5, 2, 1, 4)
    full = recorded(bandit, jnp.array([5, 3]), jnp.array([2, 0]), 1)
    assert (int(seen.round), int(back.number), int(back.action)) == (7, 7, 4)
    np.testing.assert_array_equal(seen.context, bandit.context[5])
    np.testing.assert_array_equal(seen.preference, [1, 0, 0.5, 0, 0])
    for name, table in world.channels._asdict().items():
        if table is None:
            assert getattr(back.channels, name) is None
            assert getattr(full.channels, name) is None
        else:
            assert getattr(back.channels, name) == np.float32(table[5, 2, 4])
            np.testing.assert_array_equal(getattr(full.channels, name), table[[5, 3], [2, 0]])
    assert back.reward == full.reward[0, 4] == np.float32(bandit.reward[1, 5, 2, 4])
