"""The names of the random streams: one for each use of a key, and none stored in a state."""

from __future__ import annotations

from enum import IntEnum

import jax
from jax import Array


class Stream(IntEnum):
    """Constants for `jax.random.fold_in`."""

    TIES = 1
    COIN = 2
    EXPLORE = 3
    POSTERIOR = 4
    DRAWS = 5
    NETWORK = 6
    BATCHES = 7
    WRAPPED = 8


def stream(key: Array, name: Stream) -> Array:
    """The key of a named stream."""
    return jax.random.fold_in(key, int(name))
