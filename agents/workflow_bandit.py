"""Bandits made step-blind: they play the steps of workflows as rounds, and never see what is left of the task."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from agents.agent import Agent, Choice, State
from agents.handed import make_observation, observed, returned
from agents.workflow_policy import OnDevice, advance, draw_tasks, observe
from uis_env.bandit import Bandit, Phase, tabulate
from uis_env.workflow.core import Policy, Situation, Workflow
from uis_env.workflow.rules import TaskRules


class Blind(NamedTuple):
    """What a bandit has learned on workflows.

    Attributes:
        state: the agent's.
        rounds: () int32, steps played.
        returns: (n,) float32, the return of every task it learned on.
    """

    state: State
    rounds: Array
    returns: Array


def learn_blind(flow: Workflow, agent: Agent, key: Array, count: int) -> Blind:
    """Lets a bandit learn on `count` fresh tasks of `flow`, one after the other.

    A step is a round: the agent sees the query's context, and the outcome of every step at the end of its task.
    `Feedback.reward` is the return from the step to the end of the task, so that an arm is credited with what it led
    to; quality, tokens and seconds are the step's own.

    Args:
        flow: the workflow; give it training queries only (`queries=`) to test on others.
        agent: made for the workflow's world.
        key: fixes everything.
        count: n, tasks.
    """
    tables, bandit = (jax.tree.map(jnp.asarray, part) for part in (flow.tables, _bandit(flow)))
    learned: Blind = _learn(agent, flow.rules, count, tables, bandit, key)
    return learned


def blind_policy(flow: Workflow, agent: Agent, learned: Blind, key: Array) -> Policy:
    """The agent as it was after learning, as a `uis_env.workflow` policy; `key` draws what it chooses at random."""
    bandit = _bandit(flow)

    @jax.jit
    def choose(key: Array, context: Array, mask: Array) -> Array:
        def one(key: Array, context: Array, mask: Array) -> Array:
            return _act(agent, key, learned.state, learned.rounds, context, mask, bandit).action

        return jax.vmap(one)(jax.random.split(key, len(context)), context, mask)

    def policy(seen: Situation) -> Any:
        step = jax.random.fold_in(key, int(seen.steps.max()))
        return np.asarray(choose(step, flow.tables.context[seen.query], seen.mask))

    return policy


def _bandit(flow: Workflow) -> Bandit:
    return tabulate(flow.world, [Phase(flow.reward)], flow.context)


def _act(agent: Agent, key: Array, state: State, rounds: Array, context: Array, mask: Array, bandit: Any) -> Choice:
    return agent.act(key, state, make_observation(rounds, context, mask, bandit.preference[0], bandit.prices[0]))


@partial(jax.jit, static_argnames=("agent", "rules", "count"))
def _learn(agent: Agent, rules: TaskRules, count: int, tables: OnDevice, bandit: OnDevice, key: Array) -> Blind:
    first, rest = jax.random.split(key)
    size = tables.context.shape[1]

    def task(carry: tuple[State, Array], key: Array) -> tuple[tuple[State, Array], Array]:
        state, rounds = carry
        drawn, played, told = jax.random.split(key, 3)
        tasks = draw_tasks(drawn, rules, tables, 1)

        def step(progress: OnDevice, xs: tuple[Array, Array]) -> tuple[OnDevice, tuple[Array, Array, Array]]:
            number, key = xs
            observation, mask = observe(rules, tables, tasks, progress)
            now = rounds + number
            action = _act(agent, key, state, now, observation[0, :size], mask[0], bandit).action
            after, reward = advance(rules, tables, tasks, progress, action[None])
            return after, (action, reward[0], ~progress.done[0])

        numbers = jnp.arange(rules.steps, dtype=jnp.int32)
        keys = jax.random.split(played, rules.steps)
        _, (actions, rewards, going) = lax.scan(step, rules.begin(jnp, (1,)), (numbers, keys))
        to_go = jnp.cumsum(rewards[::-1])[::-1]

        def learn(state: State, xs: Any) -> tuple[State, None]:
            number, key, query, draw, action, value, happened = xs
            seen = observed(bandit, rounds + number, query, 0)
            feedback = returned(bandit, seen, query, draw, 0, action)._replace(reward=value)
            after = agent.update(key, state, feedback)
            return jax.tree.map(lambda new, old: jnp.where(happened, new, old), after, state), None

        keys = jax.random.split(told, rules.steps)
        xs = (numbers, keys, tasks.query[0], tasks.draw[0], actions, to_go, going)
        state, _ = lax.scan(learn, state, xs)
        return (state, rounds + going.sum(dtype=jnp.int32)), to_go[0]

    (state, rounds), returns = lax.scan(task, (agent.init(first), jnp.int32(0)), jax.random.split(rest, count))
    return Blind(state, rounds, returns)
