"""The contract of an agent: four pure functions, what they are handed, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from numpy.typing import NDArray

from uis_env.outcomes import Channels

State = Any
"""An agent's own pytree of arrays."""


@dataclass(frozen=True, eq=False)
class Spec:
    """The sizes and the public knowledge about arms that a factory closes over.

    Attributes:
        arms: K.
        context: D, features per query.
        features: (K, F) float32 description of each arm.
        model: (K,) int32, each arm's model as an index into `prices`.
        method: (K,) int32, each arm's method as an index.
        budget: (K,) int32, each arm's budget as an index.
        log_budget: (K,) float32, log2 of the samples (or paths) that the budget buys.
        list_cost: (K,) float32, what each arm costs on average according to public knowledge (price list, shapes), in
            the unit that the reward prices; zeros where nothing is known.
        list_quality: (K,) float32, a public prior of each arm's strength (log parameters, say), for "strongest".
        channels: names of the channels that a Feedback will carry.
        horizon: T, rounds of an episode (for buffers).
        transform: g of the cost term of the reward, "linear", "clipped" or "log" (`uis_env.bandit.Reward`).
        ends: (low, high) of a clipped or log cost.
    """

    arms: int
    context: int
    features: NDArray[np.float32]
    model: NDArray[np.int32]
    method: NDArray[np.int32]
    budget: NDArray[np.int32]
    log_budget: NDArray[np.float32]
    list_cost: NDArray[np.float32]
    list_quality: NDArray[np.float32]
    channels: tuple[str, ...]
    horizon: int
    transform: str = "linear"
    ends: tuple[float, float] = (0.0, 1.0)


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
        propensities: (K,) probability of each arm given the state; NaN where it has no closed form.
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
        seeds_per_call: how many seeds a CPU should run side by side. Agents with heavy inner work gain from several:
            those that train a network in every round, or search all rounds so far.
    """

    init: Callable[[Array], State]
    act: Callable[[Array, State, Observation], Choice]
    update: Callable[[Array, State, Feedback], State]
    fit: Callable[[Array, State, FullInformation], State] | None = None
    privileged: bool = False
    seeds_per_call: int = 1
