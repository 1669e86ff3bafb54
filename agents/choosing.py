"""From scores to a choice: masks, uniform tie-breaking, exact propensities, and the names of the random streams."""

from __future__ import annotations

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from agents.agent import Choice


class Stream(IntEnum):
    """Constants for `jax.random.fold_in`: one independent stream per use of a key, none stored in a state."""

    TIES = 1
    COIN = 2
    EXPLORE = 3
    POSTERIOR = 4
    DRAWS = 5
    NETWORK = 6
    BATCHES = 7
    WRAPPED = 8


ROUNDING = 16
"""Scores within so many units in the last place of the greatest tie with it."""


def stream(key: Array, name: Stream) -> Array:
    """The key of a named stream."""
    return jax.random.fold_in(key, int(name))


def real(value: object) -> Array:
    """An array of JAX's default float type (float32, or float64 with x64 enabled), never weakly typed."""
    return jnp.asarray(value, jnp.result_type(float))


def masked(scores: Array, mask: Array) -> Array:
    """(K,) scores with -inf where an arm is not on offer."""
    return jnp.where(mask, scores, -jnp.inf)


def uniform_policy(mask: Array) -> Array:
    """(K,) the same probability for every arm on offer."""
    return mask / real(mask.sum())


def pick_uniform(key: Array, mask: Array, scores: Array | None = None) -> Choice:
    """An arm on offer, uniformly at random; `scores` (zeros by default) are only reported."""
    priority = jax.random.uniform(key, mask.shape)
    action = jnp.argmax(jnp.where(mask, priority, -1.0)).astype(jnp.int32)
    scores = real(jnp.zeros(mask.shape)) if scores is None else scores
    return Choice(action, uniform_policy(mask), masked(scores, mask))


def pick_best(key: Array, scores: Array, mask: Array, exact: bool = False) -> Choice:
    """The arm on offer with the greatest score; ties are broken uniformly, and the propensities say so.

    Scores that differ by rounding alone tie: equal bonuses of different arms come out of a matrix product unequal in
    the last bits, in an order that depends on the machine and on `seeds_per_call`.

    Args:
        key: of this round; only the stream TIES is used.
        scores: (K,) float.
        mask: (K,) bool.
        exact: only exact maxima tie (for scores that are looked up, not computed).
    """
    scores = masked(scores, mask)
    slack = 0.0 if exact else ROUNDING * float(np.finfo(scores.dtype).eps)

    def least(top: Array) -> Array:
        largest = np.finfo(scores.dtype).max  # an infinite score ties with its like
        return top - slack * jnp.minimum(jnp.abs(top), largest)

    def draw(top: Array) -> Array:
        priority = jax.random.uniform(stream(key, Stream.TIES), mask.shape)
        return jnp.argmax(jnp.where((scores >= least(top)) & mask, priority, -1.0)).astype(jnp.int32)

    # A tie is rare and random bits are the dearest part of a CPU's round. A loop of at most one step is skipped there
    # while no seed has a tie; of a `cond`, seeds side by side would run both branches in every round. Accelerators wait
    # longer for the host to see whether to loop than they draw.
    def draw_if_tied(scores: Array) -> Array:
        leader, top, second = _top_two(scores)
        tied = second >= least(top)
        return lax.while_loop(lambda carry: carry[1], lambda _: (draw(top), jnp.asarray(False)), (leader, tied))[0]

    action = lax.platform_dependent(scores, cpu=draw_if_tied, default=lambda scores: draw(scores.max()))
    best = (scores >= least(scores.max())) & mask
    return Choice(action, best / real(best.sum()), scores)


def _top_two(scores: Array) -> tuple[Array, Array, Array]:
    """() int32 place of the greatest of (K,) scores, its value, and the greatest of the others (-inf if K is 1).

    By comparing halves, which a CPU does for many scores at once; a reduction goes through them one by one.
    """
    half = 1 << (len(scores) - 1).bit_length()
    first = jnp.pad(scores, (0, half - len(scores)), constant_values=-jnp.inf)
    place, second = jnp.arange(half, dtype=jnp.int32), jnp.full_like(first, -jnp.inf)
    while half > 1:
        half //= 2
        later = first[half:] > first[:half]
        beaten = jnp.where(later, first[:half], first[half:])
        second = jnp.maximum(beaten, jnp.maximum(second[:half], second[half:]))
        place = jnp.where(later, place[half:], place[:half])
        first = jnp.where(later, first[half:], first[:half])
    return place[0], first[0], second[0]


def pick_sampled(key: Array, scores: Array, mask: Array, draws: Array | None = None) -> Choice:
    """The arm on offer whose sampled score is greatest (posterior sampling); exact ties are broken uniformly.

    Draws tie where there is nothing to draw: features that are all zero, a scale of zero.

    Args:
        key: of this round; only the stream TIES is used.
        scores: (K,) one draw of every arm's score.
        mask: (K,) bool.
        draws: (M, K) further draws from the same posterior; the share that each arm wins estimates its propensity.
            Without them the propensities are NaN.
    """
    choice = pick_best(key, scores, mask, exact=True)
    if draws is None:
        return choice._replace(propensities=jnp.full(mask.shape, jnp.nan, scores.dtype))
    draws = masked(draws, mask)
    winners = real((draws == draws.max(axis=-1, keepdims=True)) & mask)
    return choice._replace(propensities=(winners / winners.sum(axis=-1, keepdims=True)).mean(axis=0))
