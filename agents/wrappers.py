"""Agents made from agents: exploration with exact propensities, a random warm-up, fewer arms, and families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation, State
from agents.choosing import masked, pick_uniform, real, uniform_policy
from agents.streams import Stream, stream


def explore(agent: Agent, epsilon: float | Array, decay: float | Array = 0.0) -> Agent:
    """Plays a uniformly random arm with probability `epsilon / (1 + decay t)` in round t, else what `agent` plays.

    The propensities are the exact mixture where the agent's own are known, which makes a deterministic policy fit for
    off-policy evaluation; where the agent's are NaN they stay NaN.
    """

    def act(key: Array, state: State, observation: Observation) -> Choice:
        # What is wrapped may explore, too: of the same key both would toss one coin, at the greater of the two shares.
        inner = agent.act(stream(key, Stream.WRAPPED), state, observation)
        mask = observation.mask
        share = real(epsilon) / (1.0 + real(decay) * observation.round)
        coin = jax.random.uniform(stream(key, Stream.COIN), dtype=share.dtype) < share
        action = lax.cond(coin, _any_arm, lambda *_: inner.action, key, mask)
        propensities = (1.0 - share) * inner.propensities + share * uniform_policy(mask)
        return Choice(action, propensities, inner.scores)

    return agent._replace(act=act)


def _any_arm(key: Array, mask: Array) -> Array:
    return pick_uniform(stream(key, Stream.EXPLORE), mask).action


def warm_up(agent: Agent, rounds: int | Array) -> Agent:
    """Plays uniformly random arms in the first `rounds` rounds; the agent learns from them as from any others."""
    if isinstance(rounds, int) and rounds == 0:
        return agent

    def act(key: Array, state: State, observation: Observation) -> Choice:
        mask = observation.mask

        def random() -> Choice:
            return Choice(_any_arm(key, mask), uniform_policy(mask), masked(real(jnp.zeros(mask.shape)), mask))

        choice: Choice = lax.cond(observation.round < rounds, random, lambda: agent.act(key, state, observation))
        return choice

    return agent._replace(act=act)


def only(agent: Agent, arms: NDArray[np.bool_]) -> Agent:
    """Restricts an agent to the given (K,) arms: they are all it is offered, learns from a pilot, and can play.

    The game stays the same, and with it the regret, which counts the arms that the agent may not play. In a round that
    offers none of its arms it is offered what there is.
    """
    own = jnp.asarray(arms)

    def within(mask: Array) -> Array:
        both = mask & own
        return jnp.where(both.any(axis=-1, keepdims=True), both, mask)

    def act(key: Array, state: State, observation: Observation) -> Choice:
        return agent.act(key, state, observation._replace(mask=within(observation.mask)))

    def update(key: Array, state: State, feedback: Feedback) -> State:
        return agent.update(key, state, feedback._replace(mask=within(feedback.mask)))

    fit = agent.fit
    if fit is None:
        return agent._replace(act=act, update=update)

    def fit_within(key: Array, state: State, full: FullInformation) -> State:
        return fit(key, state, full._replace(mask=within(full.mask)))

    return agent._replace(act=act, update=update, fit=fit_within)


class Member(NamedTuple):
    """The () numbers that an agent of a family was given, and its own state."""

    numbers: dict[str, Array]
    inner: State


def family(make: Callable[..., Agent], **numbers: float) -> Callable[[Mapping[str, float]], Agent]:
    """Agents that differ in numbers alone and share `act`, `update` and `fit`: these compile once for all of them.

    Numbers ride in the state, so only `init` knows them.

    Args:
        make: takes the numbers, which may be traced, by name.
        numbers: of any one member.

    Returns:
        A function of the numbers that gives the member.
    """
    fit = make(**numbers).fit

    def act(key: Array, state: Member, observation: Observation) -> Choice:
        return make(**state.numbers).act(key, state.inner, observation)

    def update(key: Array, state: Member, feedback: Feedback) -> Member:
        return state._replace(inner=make(**state.numbers).update(key, state.inner, feedback))

    def fit_member(key: Array, state: Member, full: FullInformation) -> Member:
        own = make(**state.numbers).fit
        assert own is not None
        return state._replace(inner=own(key, state.inner, full))

    def member(numbers: Mapping[str, float]) -> Agent:
        agent = make(**numbers)

        def init(key: Array) -> Member:
            return Member({name: real(number) for name, number in numbers.items()}, agent.init(key))

        return agent._replace(init=init, act=act, update=update, fit=None if fit is None else fit_member)

    return member
