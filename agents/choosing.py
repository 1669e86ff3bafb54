"""From scores to a choice: masks, uniform tie-breaking, exact propensities."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.agent import Choice
from agents.streams import Stream, stream
from agents.ties import argmax_ties

ROUNDING = 16
"""Scores within this many units in the last place of the maximum count as ties."""


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
    action, best = argmax_ties(key, scores, mask, 0.0 if exact else ROUNDING * float(np.finfo(scores.dtype).eps))
    return Choice(action, best / real(best.sum()), scores)


def pick_sampled(key: Array, scores: Array, mask: Array, draws: Array | None = None) -> Choice:
    """The arm on offer whose sampled score is greatest (posterior sampling); exact ties are broken uniformly.

    Draws tie where there is nothing to draw: features that are all zero, a scale of zero.

    Args:
        key: of this round; only the stream TIES is used.
        scores: (K,) one draw of every arm's score.
        mask: (K,) bool.
        draws: (M, K) further draws from the same posterior. Of K' arms on offer, the propensity of one that wins n of
            them is estimated as (n + 1) / (M + K'): never 0. Without draws the propensities are NaN.
    """
    choice = pick_best(key, scores, mask, exact=True)
    if draws is None:
        return choice._replace(propensities=jnp.full(mask.shape, jnp.nan, scores.dtype))
    draws = masked(draws, mask)
    winners = real((draws == draws.max(axis=-1, keepdims=True)) & mask)
    wins = (winners / winners.sum(axis=-1, keepdims=True)).sum(axis=0)
    return choice._replace(propensities=(wins + mask) / (len(draws) + real(mask.sum())))


def pick_thompson(key: Array, sample: Callable[[Array, tuple[int, ...]], Array], mask: Array, draws: int = 0) -> Choice:
    """Posterior sampling: one draw of every arm's score decides, `draws` further ones estimate the propensities.

    Args:
        key: of this round; the streams POSTERIOR, DRAWS and TIES are used.
        sample: (key, shape) -> (*shape, K) posterior draws of the scores.
        mask: (K,) bool.
        draws: M; 0 leaves the propensities NaN.
    """
    others = sample(stream(key, Stream.DRAWS), (draws,)) if draws else None
    return pick_sampled(key, sample(stream(key, Stream.POSTERIOR), ()), mask, others)
