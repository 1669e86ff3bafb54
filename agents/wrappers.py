"""Agents made from agents: exploration with exact propensities, and a random warm-up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from agents.agent import Agent, Choice, Observation, State
from agents.choosing import Stream, masked, pick_uniform, real, stream, uniform_policy


def explore(agent: Agent, epsilon: float | Array, decay: float | Array = 0.0) -> Agent:
    """Plays a uniformly random arm with probability `epsilon / (1 + decay t)` in round t, else what `agent` plays.

    The propensities are the exact mixture where the agent's own are known, which makes a deterministic policy fit for
    off-policy evaluation; where the agent's are NaN they stay NaN.
    """

    def act(key: Array, state: State, observation: Observation) -> Choice:
        inner = agent.act(key, state, observation)
        random = pick_uniform(stream(key, Stream.EXPLORE), observation.mask)
        share = real(epsilon) / (1.0 + real(decay) * observation.round)
        coin = jax.random.uniform(stream(key, Stream.COIN), dtype=share.dtype) < share
        propensities = (1.0 - share) * inner.propensities + share * random.propensities
        return Choice(jnp.where(coin, random.action, inner.action), propensities, inner.scores)

    return agent._replace(act=act)


def warm_up(agent: Agent, rounds: int | Array) -> Agent:
    """Plays uniformly random arms in the first `rounds` rounds; the agent learns from them as from any others."""
    if isinstance(rounds, int) and rounds == 0:
        return agent

    def act(key: Array, state: State, observation: Observation) -> Choice:
        mask = observation.mask

        def random() -> Choice:
            action = pick_uniform(stream(key, Stream.EXPLORE), mask).action
            return Choice(action, uniform_policy(mask), masked(real(jnp.zeros(mask.shape)), mask))

        choice: Choice = lax.cond(observation.round < rounds, random, lambda: agent.act(key, state, observation))
        return choice

    return agent._replace(act=act)
