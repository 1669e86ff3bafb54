"""Bandits made step-blind: what they are told on workflows, what they cannot see, and that they learn."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from agents import AGENTS, Agent, Choice, Feedback, Observation
from agents.spec import make_spec
from agents.workflow_bandit import blind_policy, learn_blind
from agents.workflow_policy import draw_tasks
from uis_env.bandit import Reward
from uis_env.workflow import Workflow, play
from uis_env.workflow.core import Tasks
from uis_env.workflow.instances import uncertain_speeds
from uis_env.workflow.policies import greedy

KEY = jax.random.key(0)


class Heard(NamedTuple):
    """Sums over all feedback, and how much there was."""

    count: Array
    sums: Array


def in_turns(arms: int) -> Agent:
    """Plays the arms in turns and adds up what it is told, weighted by the round."""

    def act(key: Array, state: Heard, seen: Observation) -> Choice:
        nothing = jnp.zeros(arms)
        return Choice(seen.round % arms, nothing, nothing)

    def update(key: Array, state: Heard, back: Feedback) -> Heard:
        quality, tokens, latency = back.channels.quality, back.channels.tokens, back.channels.latency
        assert tokens is not None and latency is not None
        told = jnp.stack([back.reward, quality, tokens, latency, back.context[0], back.action])
        return Heard(state.count + 1, state.sums + told * (1 + back.round % 7))

    return Agent(lambda key: Heard(jnp.int32(0), jnp.zeros(6)), act, update)


@pytest.mark.parametrize("quorum", [None, 2])
def test_a_bandit_is_told_of_the_steps_it_played_and_the_return_after_each(quorum: int | None) -> None:
    flow = Workflow(
        uncertain_speeds(8, 4), steps=4, quorum=quorum, deadline=12.0, token_budget=1500.0, reward=Reward(latency=0.01)
    )
    learned = learn_blind(flow, in_turns(3), KEY, 40)
    tables = jax.tree.map(jnp.asarray, flow.tables)
    count, sums, returns = 0, np.zeros(6), []
    channels = flow.world.channels
    assert channels.tokens is not None and channels.latency is not None
    for key in jax.random.split(jax.random.split(KEY)[1], 40):
        tasks = Tasks(*map(np.asarray, draw_tasks(jax.random.split(key, 3)[0], flow.rules, tables, 1)))
        progress, rewards, rows = flow.begin(1), [], []
        while not progress.done[0]:
            step, arm = int(progress.step[0]), (count + len(rows)) % 3
            progress, reward, _ = flow.advance(tasks, progress, np.array([arm]))
            q, r = tasks.query[0, step], tasks.draw[0, step]
            own = (channels.quality[q, r, arm], channels.tokens[q, r, arm], channels.latency[q, r, arm])
            rewards.append(float(reward[0]))
            rows.append([*own, flow.tables.context[q, 0], arm])
        for i, row in enumerate(rows):
            sums += np.array([sum(rewards[i:]), *row]) * (1 + (count + i) % 7)
        count += len(rows)
        returns.append(sum(rewards))
    assert int(learned.rounds) == int(learned.state.count) == count
    np.testing.assert_allclose(learned.state.sums, sums, rtol=1e-4)
    np.testing.assert_allclose(learned.returns, returns, atol=1e-5)


@pytest.mark.parametrize("name", ["linucb", "hierarchical_logit_thompson"])
def test_a_bandit_learns_the_arm_that_pays_and_sees_the_query_alone(name: str) -> None:
    """One step, no limits: a bandit, where the best policy is known."""
    world = uncertain_speeds(20, 20)
    flow = Workflow(world, steps=1, deadline=None, token_budget=None, reward=Reward(latency=0.03), grouped=False)
    agent = AGENTS[name](make_spec(flow.world, flow.reward, 3000))
    learned = learn_blind(flow, agent, KEY, 3000)
    policy = blind_policy(flow, agent, learned, jax.random.key(1))
    tasks = flow.tasks(range(3000))
    best = play(flow, greedy(flow), tasks)[0].mean()
    assert play(flow, policy, tasks)[0].mean() > 0.95 * best
    assert learned.returns[:100].mean() < 0.95 * best
    seen = flow.situation(tasks, flow.begin(3000))
    late = seen._replace(observation=np.zeros_like(seen.observation), seconds=np.zeros(3000), tokens=np.zeros(3000))
    np.testing.assert_array_equal(policy(late), policy(seen))


def test_arms_that_are_not_on_offer_are_never_played() -> None:
    world = uncertain_speeds(20, 20)
    recorded = world.recorded.copy()
    recorded[::2, 0] = False
    flow = Workflow(replace(world, recorded=recorded), steps=3, deadline=20.0, token_budget=None, reward=Reward())
    agent = AGENTS["linucb"](make_spec(flow.world, flow.reward, 300))
    policy = blind_policy(flow, agent, learn_blind(flow, agent, KEY, 100), KEY)
    tasks = flow.tasks(range(500))
    seen = flow.situation(tasks, flow.begin(500))
    assert seen.mask[np.arange(500), policy(seen)].all()
    assert not seen.mask.all()
