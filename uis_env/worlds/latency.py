"""Tail latency of the arms of any world that has seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.world import World


def latency_percentiles(world: World, levels: Sequence[float] = (50, 95, 99)) -> NDArray[Any]:
    """(K, len(levels)) float64 seconds: percentiles of each arm's latency over its recorded queries and all draws.

    NaN for an arm that is recorded on no query. A load (`Phase.load`) multiplies them.

    Raises:
        ValueError: if the world has no latency.
    """
    latency = world.channels.latency
    if latency is None:
        raise ValueError(f"world {world.name!r} has no latency")
    result = np.full((len(world.catalog), len(levels)), np.nan)
    for arm, recorded in enumerate(world.recorded.T):
        if recorded.any():
            result[arm] = np.percentile(latency[recorded, :, arm].astype(np.float64), levels)
    return result
