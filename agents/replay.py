"""A ring of the outcomes delivered last, for agents that train on them again or search them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from agents.choosing import real
from agents.spec import Spec

LONGEST = 4096


class Replay(NamedTuple):
    """N places, filled in the order in which outcomes are delivered, whatever rounds they are of.

    Attributes:
        context: (N, D), what was regressed on.
        action: (N,) int32, -1 where empty.
        target: (N,), what came of it: reward or quality.
    """

    context: Array
    action: Array
    target: Array


def empty(size: int, dim: int) -> Replay:
    """A ring of `size` places for contexts of `dim` features."""
    return Replay(real(jnp.zeros((size, dim))), jnp.full(size, -1, jnp.int32), real(jnp.zeros(size)))


def remember(replay: Replay, number: Array, context: Array, action: Array, target: Array) -> Replay:
    """Puts the outcome delivered as `number` (`Feedback.number`) in its place, over the one of N deliveries ago."""
    place = number % len(replay.action)
    new = (real(context), action, real(target))
    put = lax.dynamic_update_index_in_dim
    return Replay(*(put(part, row, place, 0) for part, row in zip(replay, new, strict=True)))


def filled(replay: Replay, number: Array) -> Array:
    """() how many places hold an outcome after the delivery of `number`."""
    return jnp.minimum(number + 1, len(replay.action))


def ring_size(spec: Spec, asked: int | None) -> int:
    """N as asked for; None takes the horizon, at most 4096."""
    return min(spec.horizon, LONGEST) if asked is None else asked
