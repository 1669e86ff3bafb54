"""The contract of an agent: four pure functions, what they are handed, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from uis_env.world import Channels

State = Any
"""An agent's own pytree of arrays."""


class Privileged(NamedTuple):
    """What no agent sees in production; filled in only for agents marked `privileged` (oracles, hindsight).

    Attributes:
        expected: (K,) expected reward of every arm in this round.
        hindsight: (K,) mean expected reward over the rounds of this tape; -inf for arms that are not always on offer.
        elsewhere: (K,) the same mean over queries of other folds, for an arm chosen on other queries.
    """

    expected: Array
    hindsight: Array
    elsewhere: Array


class Observation(NamedTuple):
    """What an agent sees before it acts.

    Attributes:
        round: () int32, from 0; unbatched under the driver, so a `lax.cond` on it stays a branch.
        context: (D,) float32.
        mask: (K,) bool, arms on offer.
        preference: (W,) float32, the reward's weights.
        prices: (M,) float32, factor on each model's list price.
        privileged: None, except for privileged agents.
    """

    round: Array
    context: Array
    mask: Array
    preference: Array
    prices: Array
    privileged: Privileged | None = None


class Choice(NamedTuple):
    """What an agent decides.

    Attributes:
        action: () int32.
        propensities: (K,) probability of each arm given the state, exact; NaN where it has no closed form. Where
            `Agent.estimated` says so they are estimates, never 0 for an arm on offer.
        scores: (K,) what the arms were ranked by; -inf where masked. Both are of JAX's default float type.
    """

    action: Array
    propensities: Array
    scores: Array


class Feedback(NamedTuple):
    """The outcome of the chosen arm, and of no other.

    Attributes:
        round: () int32, when the arm was played; forgetting goes by it.
        context: (D,), mask: (K,), preference: (W,), prices: (M,): as observed.
        action: () int32.
        reward: () float32.
        cost: () float32, in the unit that the reward prices.
        channels: () float32 each: quality, score, dollars, eflops, tokens, latency; None where the world has no such
            channel.
        number: () int32, outcomes delivered before this one, late and missing ones not among them; unbatched under
            the driver. Ring buffers and retraining schedules go by it: it has no gaps.
    """

    round: Array
    context: Array
    mask: Array
    preference: Array
    prices: Array
    action: Array
    reward: Array
    cost: Array
    channels: Channels
    number: Array


class FullInformation(NamedTuple):
    """Full information on n queries, for pilots and offline training (its cost is charged by the driver).

    Attributes:
        context: (n, D); mask: (n, K); preference: (W,); prices: (M,).
        reward, cost: (n, K).
        channels: (n, K) each; None where the world has no such channel.
    """

    context: Array
    mask: Array
    preference: Array
    prices: Array
    reward: Array
    cost: Array
    channels: Channels


class Agent(NamedTuple):
    """A bandit algorithm: pure functions that nobody but the driver scans, maps or jits.

    Attributes:
        init: key -> state.
        act: (key, state, Observation) -> Choice.
        update: (key, state, Feedback) -> state.
        fit: optional (key, state, FullInformation) -> state, called once before the first round if a pilot is given.
        privileged: whether observations carry `Privileged` (references only).
        estimated: whether propensities are estimates (from posterior draws, say) and not exact.
        seeds_per_call: how many seeds a CPU should run side by side. Agents with heavy inner work gain from several:
            those that train a network in every round, or search all rounds so far.
    """

    init: Callable[[Array], State]
    act: Callable[[Array, State, Observation], Choice]
    update: Callable[[Array, State, Feedback], State]
    fit: Callable[[Array, State, FullInformation], State] | None = None
    privileged: bool = False
    seeds_per_call: int = 1
    estimated: bool = False
