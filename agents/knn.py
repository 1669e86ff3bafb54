"""k-nearest-neighbour routing: what past rounds on similar queries returned."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from agents.agent import Agent, Choice, Feedback, Observation
from agents.choosing import pick_best, real
from agents.fusion import unit_features
from agents.ranges import ranged
from agents.replay import Replay, empty, remember, ring_size
from agents.spec import Spec
from agents.wrappers import explore, warm_up


class Memory(NamedTuple):
    """The rewards delivered last, and (K,) sums over all of them: `total` of rewards, `plays` of rounds."""

    replay: Replay
    total: Array
    plays: Array


@ranged
def knn(
    spec: Spec,
    neighbours: int = 50,
    strength: float | Array = 2.0,
    joint: bool = False,
    epsilon: float | Array = 0.05,
    decay: float | Array = 0.0,
    memory: int | None = None,
    warmup: int = 0,
) -> Agent:
    """k-NN: each arm's mean reward among the nearest past rounds, with epsilon exploration.

    By query (the default): the k rounds whose contexts are nearest (Euclidean), whatever their arm; an arm's estimate
    is their mean reward on that arm, shrunk towards the arm's overall mean as if `strength` more of them had returned
    it (and that mean towards the mean of all rounds), because few of k neighbours played any one arm. Jointly: the k
    past (query, arm) pairs nearest to each (query, this arm) pair, both sides with features of length one (else the
    longer side alone would say which pairs are near); no shrinkage. Pairs that are exactly as near as one another, as
    a query that came again with the same arm, are one neighbour of the k, and each of them counts in the mean.

    Args:
        spec: sizes, and arm features for `joint`.
        neighbours: k.
        strength: pseudo-counts of the shrinkage.
        joint: neighbours among (query, arm) pairs.
        epsilon: share of random arms, `epsilon / (1 + decay t)`.
        decay: >= 0, per round.
        memory: N, outcomes kept (None: the horizon, at most 4096).
        warmup: rounds of uniformly random arms.

    Example:
        >>> from agents import knn, trial
        >>> trial(knn, neighbours=10).shape
        (2,)
    """
    size = ring_size(spec, memory)
    count = min(neighbours, size)
    arms = real(unit_features(spec.features))
    apart = jnp.sum((arms[:, None] - arms) ** 2, axis=-1)

    def query(context: Array) -> Array:
        x = real(context)
        return x / jnp.maximum(jnp.linalg.norm(x), 1e-12) if joint else x

    def init(key: Array) -> Memory:
        return Memory(empty(size, spec.context), real(jnp.zeros(spec.arms)), real(jnp.zeros(spec.arms)))

    def means(state: Memory) -> Array:
        overall = state.total.sum() / jnp.maximum(state.plays.sum(), 1.0)
        return (state.total + real(strength) * overall) / jnp.maximum(state.plays + real(strength), 1e-6)

    def by_query(state: Memory, distance: Array) -> Array:
        nearness, place = lax.top_k(-distance, count)
        weight = real(nearness > -jnp.inf)
        arm = jnp.where(nearness > -jnp.inf, state.replay.action[place], 0)
        total = jnp.zeros(spec.arms, weight.dtype).at[arm].add(weight * state.replay.target[place])
        plays = jnp.zeros(spec.arms, weight.dtype).at[arm].add(weight)
        return (total + real(strength) * means(state)) / jnp.maximum(plays + real(strength), 1e-6)

    def by_pair(state: Memory, distance: Array) -> Array:
        far = apart[state.replay.action] + distance[:, None]

        # Squared distances of unit vectors, at most 8: equal ones come out of float32 sums this far apart.
        slack = 32 * float(jnp.finfo(far.dtype).eps)  # type: ignore[no-untyped-call]

        # The next larger distance, k times over: a few passes over (N, K), where K partial sorts cost ten times as much
        def further(_: Array, edge: Array) -> Array:
            return jnp.where(far > edge + slack, far, jnp.inf).min(axis=0)

        edge = lax.fori_loop(0, count, further, jnp.full(spec.arms, -1.0, far.dtype))
        weight = real((far <= edge + slack) & (far < jnp.inf))
        return state.replay.target @ weight / jnp.maximum(weight.sum(axis=0), 1.0)

    def act(key: Array, state: Memory, observation: Observation) -> Choice:
        distance = jnp.sum((state.replay.context - query(observation.context)) ** 2, axis=-1)
        distance = jnp.where(state.replay.action >= 0, distance, jnp.inf)
        scores = by_pair(state, distance) if joint else by_query(state, distance)
        return pick_best(key, scores, observation.mask)

    def update(key: Array, state: Memory, feedback: Feedback) -> Memory:
        arm, reward = feedback.action, real(feedback.reward)
        replay = remember(state.replay, feedback.number, query(feedback.context), arm, reward)
        return Memory(replay, state.total.at[arm].add(reward), state.plays.at[arm].add(1.0))

    # jointly, (N, K) distances fill a cache at one seed a time
    return warm_up(explore(Agent(init, act, update, seeds_per_call=1 if joint else 4), epsilon, decay), warmup)
