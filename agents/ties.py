"""The greatest of many scores, with ties broken uniformly at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from agents.streams import Stream, stream


def argmax_ties(key: Array, scores: Array, mask: Array, slack: float) -> tuple[Array, Array]:
    """() int32 place of the greatest score and (K,) bool, all that tie with it.

    Args:
        key: of this round; only the stream TIES is used.
        scores: (K,) float, -inf where masked.
        mask: (K,) bool.
        slack: scores that fall short of the greatest by at most this share of it tie.
    """

    def least(top: Array) -> Array:
        largest = np.finfo(scores.dtype).max  # equal infinities tie
        return top - slack * jnp.minimum(jnp.abs(top), largest)

    def draw(top: Array) -> Array:
        priority = jax.random.uniform(stream(key, Stream.TIES), mask.shape)
        return jnp.argmax(jnp.where((scores >= least(top)) & mask, priority, -1.0)).astype(jnp.int32)

    # A tie is rare and random bits are the most expensive part of a CPU's round. A loop of at most one step is skipped
    # there while no seed has a tie; of a `cond`, mapped seeds would run both branches in every round. Accelerators wait
    # longer for the host to see whether to loop than they draw.
    def draw_if_tied(scores: Array) -> Array:
        leader, top, second = _top_two(scores)
        tied = second >= least(top)
        return lax.while_loop(lambda carry: carry[1], lambda _: (draw(top), jnp.asarray(False)), (leader, tied))[0]

    action = lax.platform_dependent(scores, cpu=draw_if_tied, default=lambda scores: draw(scores.max()))
    return action, (scores >= least(scores.max())) & mask


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
