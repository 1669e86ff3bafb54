"""The learned workflow policy: the environment's transitions, and better than policies blind to what is left."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.workflow_policy import (
    Learned,
    Settings,
    advance,
    draw_tasks,
    greedy_policy,
    observe,
    train,
)
from uis_env.arms import Arm
from uis_env.bandit import Reward
from uis_env.workflow import Workflow, play
from uis_env.workflow.core import Tasks
from uis_env.workflow.instances import uncertain_speeds
from uis_env.workflow.plan import plan
from uis_env.workflow.policies import best_arm, greedy, one_arm, step_blind, uniform_split
from uis_env.world import Channels, World


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": 12.0, "token_budget": 1500.0},
        {"deadline": 9.0, "token_budget": None, "quorum": 2},
        {"deadline": None, "token_budget": 900.0, "steps": 6, "quorum": 4},
    ],
    ids=str,
)
def test_transitions_are_those_of_the_environment_bit_for_bit(
    world_factory: Callable[..., World], options: Any
) -> None:
    world = world_factory(missing={0: (0,), 3: (0, 1), 4: (4,)})
    flow = Workflow(world, **options, reward={"tokens": 1e-4, "latency": 1e-2})
    rules, tables = flow.rules, jax.tree.map(jnp.asarray, flow.tables)
    numpy_tasks = flow.tasks(range(64))
    tasks = Tasks(*map(jnp.asarray, numpy_tasks))
    step, look = jax.jit(partial(advance, rules)), jax.jit(partial(observe, rules))
    mine, theirs = rules.begin(jnp, (64,)), flow.begin(64)
    random = np.random.default_rng(0)
    for _ in range(flow.steps + 1):
        seen = flow.situation(numpy_tasks, theirs)
        observation, mask = look(tables, tasks, mine)
        np.testing.assert_array_equal(observation, seen.observation)
        np.testing.assert_array_equal(mask, seen.mask)
        actions = np.array([random.choice(np.flatnonzero(row)) for row in seen.mask])
        theirs, expected, _ = flow.advance(numpy_tasks, theirs, actions)
        mine, reward = step(tables, tasks, mine, jnp.asarray(actions))
        np.testing.assert_array_equal(reward, expected)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert theirs.done.all()


def test_seconds_that_use_up_the_deadline_exactly_are_within_it_here_too(world_factory: Callable[..., World]) -> None:
    amounts = np.full((1, 1, 1), 0.7, np.float32)
    channels = Channels(np.ones((1, 1, 1), np.float32), latency=amounts)
    expected = Channels(np.ones((1, 1), np.float32), latency=amounts[:, 0])
    arms = (Arm("m", "single", (1,)),)
    world = world_factory(1, 1, arms=arms, groups=("g",), channels=channels, expected=expected, cost_ends={})
    flow = Workflow(world, steps=3, deadline=3 * 0.7, token_budget=None, reward=Reward())
    rules, tables, tasks = flow.rules, jax.tree.map(jnp.asarray, flow.tables), flow.tasks([0])
    progress, total = rules.begin(jnp, (1,)), 0.0
    for _ in range(3):
        progress, reward = advance(rules, tables, tasks, progress, jnp.zeros(1, jnp.int32))
        total += float(reward[0])
    assert total == play(flow, one_arm(flow, 0), tasks)[0][0] == 1


def test_tasks_are_drawn_as_the_tapes_are(tiny_world: World) -> None:
    flow = Workflow(tiny_world, queries=range(0, 24, 2), deadline=12.0, token_budget=1500.0)
    tables = jax.tree.map(jnp.asarray, flow.tables)
    tasks = jax.tree.map(np.asarray, draw_tasks(jax.random.key(0), flow.rules, tables, 3000))
    groups = np.array(tiny_world.groups)[tasks.query]
    assert (groups == np.array(flow.groups)[tasks.group][:, None]).all()
    counts = np.bincount(tasks.query.ravel(), minlength=24)
    assert (counts[1::2] == 0).all()
    np.testing.assert_allclose(counts[::2] / counts.sum(), 1 / 12, atol=0.01)
    np.testing.assert_allclose(np.bincount(tasks.draw.ravel()) / tasks.draw.size, 1 / 3, atol=0.02)


SHORT = Settings(hidden=(16,), updates=60, tasks=256)


@pytest.fixture(scope="module")
def flow() -> Workflow:
    return Workflow(uncertain_speeds(20, 20), steps=2, deadline=7.0, token_budget=None, reward=Reward(latency=0.002))


@pytest.fixture(scope="module")
def learned(flow: Workflow) -> Learned:
    return train(flow, jax.random.key(0), SHORT)


def test_training_comes_near_the_plan(flow: Workflow, learned: Learned) -> None:
    assert learned.returns.shape == (60,)
    assert learned.returns[-10:].mean() > learned.returns[:10].mean() + 0.05
    tasks = flow.tasks(range(4000))
    value = play(flow, greedy_policy(flow, learned, SHORT), tasks)[0].mean()
    assert value > 0.9 * play(flow, plan(flow, 7), tasks)[0].mean()


def test_the_same_key_learns_the_same(flow: Workflow, learned: Learned) -> None:
    again, other = (train(flow, jax.random.key(key), SHORT) for key in (0, 1))
    np.testing.assert_array_equal(learned.returns, again.returns)
    assert (learned.returns != other.returns).any()


def test_a_blind_policy_ignores_what_is_left(flow: Workflow, learned: Learned) -> None:
    situation = flow.situation(flow.tasks(range(50)), flow.begin(50))
    early, late = (situation._replace(observation=situation.observation.copy()) for _ in range(2))
    for seen, seconds in ((early, 6), (late, 1)):  # the last step: time for every arm, or for the quickest alone
        seen.observation[:, -4:] = (1 / 2, 1 / 2, seconds / 7, 1)
    policy = greedy_policy(flow, learned, SHORT)
    assert (policy(early) != policy(late)).any()
    blind = SHORT._replace(blind=True)
    policy = greedy_policy(flow, train(flow, jax.random.key(0), blind), blind)
    np.testing.assert_array_equal(policy(early), policy(late))


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "deadline", "quorum"), [(6, 24, None), (5, 16, 4)])
def test_learned_policy_is_near_the_plan(steps: int, deadline: int, quorum: int | None) -> None:
    """And above policies blind to what is left; on queries that it was not trained on and that they know."""
    world = uncertain_speeds(queries=160)
    options: dict[str, Any] = {"steps": steps, "deadline": float(deadline), "token_budget": None, "quorum": quorum}
    options["reward"] = Reward(latency=0.002)
    flow, training = (Workflow(world, queries=range(low, low + 80), **options) for low in (80, 0))
    tasks = flow.tasks(range(20_000, 26_000))
    value = play(flow, greedy_policy(flow, train(training, jax.random.key(0))), tasks)[0]
    assert value.mean() > 0.9 * play(flow, plan(flow, deadline), tasks)[0].mean()
    some = flow.tasks(range(1000))
    for policy in (greedy(flow), uniform_split(flow), best_arm(flow, some), step_blind(flow, some)):
        gain = value - play(flow, policy, tasks)[0]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))
