"""What is played in the place of an arm that is not on offer, or that there is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm
from uis_env.world import World

Array = NDArray[Any]


def ranking(world: World, wanted: Sequence[Arm], cost_channel: str) -> Array:
    """(n, K) integers, arms' ids, for each wanted arm from the best substitute to the worst.

    First come the arms of the same model and method: those of the same style before others, then by the distance of
    their budgets (the sum over entries of |log2|; the smaller budget where two are equally near), so the arm itself is
    the nearest. Then come all others, the cheapest first.

    Args:
        world: its catalog, and its expected costs, averaged over the queries on which an arm was recorded.
        wanted: n triples, which need not be in the catalog.
        cost_channel: what "cheapest" goes by; where the world lacks it, another of dollars, eFLOPs and tokens.
    """
    arms, cost = world.catalog.arms, _mean_cost(world, cost_channel)
    rows = []
    for want in wanted:
        alike = np.array([arm[:2] == want[:2] for arm in arms])
        other = np.array([arm.style != want.style for arm in arms]) & alike
        far = np.array([_distance(arm.budget, want.budget) for arm in arms]) * alike
        small = np.array([np.prod(arm.budget, dtype=float) for arm in arms]) * alike
        rows.append(np.lexsort((cost, small, far, other, ~alike)))
    return np.array(rows, np.int16 if len(arms) < 1 << 15 else np.int32)


def substitutes(ranked: Array, masks: Array) -> Array:
    """(m, n) the best-ranked arm on offer, for (m, K) masks that each offer one at least."""
    distinct, which = np.unique(np.packbits(masks.astype(bool), axis=1), axis=0, return_inverse=True)
    first = [int(np.argmax(which.reshape(-1) == i)) for i in range(len(distinct))]
    best = [np.take_along_axis(ranked, masks[row][ranked].argmax(axis=1)[:, None], axis=1)[:, 0] for row in first]
    found: Array = np.array(best)[which.reshape(-1)]
    return found


def _mean_cost(world: World, channel: str) -> Array:
    for name in (channel, "dollars", "eflops", "tokens"):
        table = getattr(world.expected, name)
        if table is not None:
            count = np.maximum(world.recorded.sum(axis=0), 1)
            mean: Array = (table * world.recorded).sum(axis=0, dtype=np.float64) / count
            return np.where(world.recorded.any(axis=0), mean, np.inf)
    return np.zeros(len(world.catalog))


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Sum over the entries of |log2 of their ratio|; over the products for budgets of unlike lengths."""
    if len(one) != len(other):
        one, other = (int(np.prod(one)),), (int(np.prod(other)),)
    return float(sum(abs(np.log2(max(a, 0.5) / max(b, 0.5))) for a, b in zip(one, other, strict=True)))
