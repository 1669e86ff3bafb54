"""The frozen split of a world's queries: three quarters to train on, a quarter to test on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from uis_env.world import World

TEST = 4
"""Every fourth query is a test query."""


def in_test_split(world: World) -> NDArray[np.bool_]:
    """Which queries belong to the test split, by a hash of the query id within its group; the same on every machine.

    Groups, and the queries within each, are ordered by the SHA-256 of their names, and every fourth query of that order
    is a test query. So each group gives a quarter of its queries, to within one, and all of them together a quarter;
    neither the order of the world's rows nor a seed matters. A world of one query has no test query.

    Args:
        world: the queries' ids and groups.

    Returns:
        (Q,) bool, True for test queries; the others are train queries.

    Example:
        >>> import uis_env
        >>> test = uis_env.in_test_split(uis_env.worlds.load("Recorded"))
        >>> test.shape, int(test.sum())
        ((378,), 95)
    """
    names = [tuple(_hash(part) for part in pair) for pair in zip(world.groups, world.query_ids, strict=True)]
    order = sorted(range(len(names)), key=names.__getitem__)
    test = np.zeros(len(names), np.bool_)
    test[order[1::TEST]] = True
    return test


def holdout_rounds(world: World, holdout: int | bool) -> int:
    """The rounds of a hold-out: as many as asked for, or for True as many as the world has test queries."""
    return int(in_test_split(world).sum()) if holdout is True else int(holdout)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
