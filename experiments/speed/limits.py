"""The floor under a round of disjoint LinUCB: bytes it must read and flops it must do, at this machine's own rates.

To score K arms exactly, K matrices of D x D must be read, multiplied by the context, and one of them written back. At
60 arms and 32 features that is 240 KiB, which stays in a core's second-level cache; so bandwidth is measured there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.speed.clock import Timing, cores

READS, PRODUCTS = 4000, 8
"""How many reads of the working set and how many matrix products one timing makes."""
SIZE = 512


def bytes_per_round(arms: int, dim: int) -> int:
    """float32: all roots, means and the context read, one root and mean written."""
    return 4 * (arms * dim * dim + arms * dim + dim + dim * dim + dim)


def flops_per_round(arms: int, dim: int) -> int:
    """Products with all roots and means, squares, and a rank-one change of one root."""
    return 2 * arms * dim * dim + 4 * arms * dim + 6 * dim * dim


def cases(arms: int, dim: int) -> dict[str, Callable[[], int]]:
    """What has to be timed beside the agents: one core's reads at that working set, and its matrix products."""
    half = np.ones(bytes_per_round(arms, dim) // 8, np.float32)
    other, tiny = half.copy(), np.ones(1, np.float32)
    square = np.ones((SIZE, SIZE), np.float32)

    def read() -> int:
        for _ in range(READS):
            half.dot(other)
        return READS

    def call() -> int:
        for _ in range(READS):
            tiny.dot(tiny)
        return READS

    def product() -> int:
        for _ in range(PRODUCTS):
            square @ square
        return PRODUCTS

    return {"read": read, "call": call, "product": product}


def floor(arms: int, dim: int, timings: dict[str, Timing], rate: float) -> dict[str, Any]:
    """Rounds per second that all cores could reach, and the share of it that was reached.

    Args:
        arms: K.
        dim: D.
        timings: of `cases`.
        rate: rounds per second of disjoint LinUCB.
    """
    moved, done = bytes_per_round(arms, dim), flops_per_round(arms, dim)
    bandwidth = moved / (1 / timings["read"].rate - 1 / timings["call"].rate)
    arithmetic = 2 * SIZE**3 * timings["product"].rate
    limit = cores() / max(moved / bandwidth, done / arithmetic)
    return {
        "bytes_per_round": moved,
        "flops_per_round": done,
        "read_per_second_per_core": bandwidth,
        "matmul_per_second_per_core": arithmetic,
        "rounds_per_second": limit,
        "share_reached": rate / limit,
    }
