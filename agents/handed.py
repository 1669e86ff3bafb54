"""What agents are handed: observations, feedback and full information, each made in one place.

The `make_*` functions take values; `observed`, `returned` and `recorded` look them up in the tables of a bandit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from agents.agent import Feedback, FullInformation, Observation, Privileged
from uis_env.bandit import Bandit
from uis_env.world import Channels

OnDevice = Any
"""A `Bandit`, NumPy in `uis_env` and JAX arrays here."""


def make_observation(
    round: ArrayLike,
    context: ArrayLike,
    mask: ArrayLike,
    preference: ArrayLike,
    prices: ArrayLike,
    privileged: Privileged | None = None,
) -> Observation:
    """An observation of the given values; the fields are those of `Observation`.

    >>> from agents import make_observation
    >>> seen = make_observation(3, [0.5, 1.0], [True, False, True], [1, 0, 0, 0, 0], [1.0])
    >>> seen.round, seen.mask.shape
    (Array(3, dtype=int32), (3,))
    """
    return Observation(
        round=jnp.asarray(round, jnp.int32),
        context=jnp.asarray(context),
        mask=jnp.asarray(mask, bool),
        preference=jnp.asarray(preference),
        prices=jnp.asarray(prices),
        privileged=privileged,
    )


def make_feedback(
    seen: Observation,
    action: ArrayLike,
    reward: ArrayLike,
    cost: ArrayLike,
    channels: Channels,
    number: ArrayLike | None = None,
) -> Feedback:
    """The outcome of `action` in the round of `seen`.

    Args:
        seen: what the agent saw when it chose.
        action: () int32.
        reward: ().
        cost: (), in the unit that the reward prices.
        channels: () each, None where the world has no such channel.
        number: how many outcomes were delivered before this one; None says that every round's was.

    >>> from agents import make_feedback, make_observation
    >>> from uis_env.world import Channels
    >>> seen = make_observation(3, [0.5], [True, True], [1, 0, 0, 0, 0], [1.0])
    >>> make_feedback(seen, action=1, reward=0.8, cost=0.2, channels=Channels(quality=1.0), number=1).number
    Array(1, dtype=int32)
    """
    return Feedback(
        round=seen.round,
        context=seen.context,
        mask=seen.mask,
        preference=seen.preference,
        prices=seen.prices,
        action=jnp.asarray(action, jnp.int32),
        reward=jnp.asarray(reward),
        cost=jnp.asarray(cost),
        channels=jax.tree.map(jnp.asarray, channels),
        number=seen.round if number is None else jnp.asarray(number, jnp.int32),
    )


def make_full_information(
    context: ArrayLike,
    mask: ArrayLike,
    preference: ArrayLike,
    prices: ArrayLike,
    reward: ArrayLike,
    cost: ArrayLike,
    channels: Channels,
) -> FullInformation:
    """Full information of the given values; the fields are those of `FullInformation`."""
    return FullInformation(
        context=jnp.asarray(context),
        mask=jnp.asarray(mask, bool),
        preference=jnp.asarray(preference),
        prices=jnp.asarray(prices),
        reward=jnp.asarray(reward),
        cost=jnp.asarray(cost),
        channels=jax.tree.map(jnp.asarray, channels),
    )


def observed(
    bandit: OnDevice, round: ArrayLike, query: Any, phase: Any, privileged: Privileged | None = None
) -> Observation:
    """What an agent sees of a query in a phase of a tabulated bandit."""
    return make_observation(
        *(round, bandit.context[query], bandit.mask[phase, query], bandit.preference[phase], bandit.prices[phase]),
        privileged,
    )


def returned(bandit: OnDevice, seen: Observation, query: Any, draw: Any, phase: Any, action: Any) -> Feedback:
    """What the tables of a bandit return for an action."""
    variant = bandit.variant[phase]
    return make_feedback(
        seen,
        action,
        reward=bandit.reward[phase, query, draw, action],
        cost=bandit.cost[variant, query, draw, action],
        channels=jax.tree.map(lambda table: table[variant, query, draw, action], bandit.channels),
    )


def recorded(bandit: Bandit | OnDevice, queries: Array, draw: Array, phase: int = 0) -> FullInformation:
    """Full information on the given (n,) queries and draws, as a pilot records it."""
    variant = bandit.variant[phase]
    return make_full_information(
        context=bandit.context[queries],
        mask=bandit.mask[phase, queries],
        preference=bandit.preference[phase],
        prices=bandit.prices[phase],
        reward=bandit.reward[phase, queries, draw],
        cost=bandit.cost[variant, queries, draw],
        channels=jax.tree.map(lambda table: table[variant, queries, draw], bandit.channels),
    )
