"""The floor under a round of disjoint LinUCB: bytes it must read and flops it must do, at this machine's own rates.

To score K arms exactly, K matrices of D x D must be read, multiplied by the context, and one of them written back. At
60 arms and 32 features that is 240 KiB, which stays in a core's second-level cache; so bandwidth is measured there. On
an accelerator all seeds are read at once, and bandwidth is that of reading them all, one time after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from experiments.speed.clock import Timing, cores

READS, PRODUCTS = 60_000, 40
"""How many reads of the working set and how many matrix products one timing makes on every core."""
DEVICE_READS, DEVICE_PRODUCTS = 2_000, 10_000
"""The same, on an accelerator."""
SIZE = 512


def bytes_per_round(arms: int, dim: int) -> int:
    """float32: all roots, means and the context read, one root and mean written."""
    return 4 * (arms * dim * dim + arms * dim + dim + dim * dim + dim)


def flops_per_round(arms: int, dim: int) -> int:
    """Products with all roots and means, squares, and a rank-one change of one root."""
    return 2 * arms * dim * dim + 4 * arms * dim + 6 * dim * dim


def cases(arms: int, dim: int, seeds: int) -> dict[str, Callable[[], int]]:
    """What has to be timed beside the agents: reads of that working set and matrix products.

    On CPUs all cores work at once, each on a seed of its own; an accelerator works on all seeds together.
    """
    size = bytes_per_round(arms, dim) // 4
    if jax.default_backend() == "cpu":
        return {"read": _on_all_cores(lambda: _reads(size), READS), "product": _on_all_cores(_products, PRODUCTS)}

    # Every step waits for the last one, as rounds do.
    @jax.jit
    def reads(held: Array) -> Array:
        seen: Array = lax.fori_loop(0, DEVICE_READS, lambda _, seen: jnp.abs(held - seen).max(), jnp.float32(0))
        return seen

    @jax.jit
    def products(square: Array) -> Array:
        product: Array = lax.fori_loop(0, DEVICE_PRODUCTS, lambda _, seen: jnp.tanh(seen @ square), square)
        return product

    return {
        "read": _on_device(reads, jnp.ones(seeds * size, jnp.float32), seeds * DEVICE_READS),
        "product": _on_device(products, jnp.eye(SIZE, dtype=jnp.float32), DEVICE_PRODUCTS),
    }


def _on_device(function: Callable[[Array], Array], argument: Array, count: int) -> Callable[[], int]:
    def run() -> int:
        function(argument).block_until_ready()
        return count

    return run


def _on_all_cores(make: Callable[[], Callable[[], object]], count: int) -> Callable[[], int]:
    work = [make() for _ in range(cores())]  # memory of its own for each

    def run() -> int:
        with ThreadPoolExecutor(len(work)) as pool:
            for done in [pool.submit(part) for part in work]:
                done.result()
        return len(work) * count

    return run


def _reads(size: int) -> Callable[[], object]:
    half = np.ones(size // 2, np.float32)
    again, other = np.broadcast_to(half, (READS, 1, len(half))), half.copy()[:, None]
    return lambda: again @ other  # the same memory time and again, in one call


def _products() -> Callable[[], object]:
    square = np.ones((SIZE, SIZE), np.float32)
    return lambda: [square @ square for _ in range(PRODUCTS)]


def floor(arms: int, dim: int, timings: dict[str, Timing], rate: float) -> dict[str, Any]:
    """Rounds per second that all cores together, or an accelerator, could reach, and the share that was reached.

    Args:
        arms: K.
        dim: D.
        timings: of `cases`.
        rate: rounds per second of disjoint LinUCB.
    """
    moved, done = bytes_per_round(arms, dim), flops_per_round(arms, dim)
    bandwidth, arithmetic = moved * timings["read"].rate, 2 * SIZE**3 * timings["product"].rate
    limit = min(bandwidth / moved, arithmetic / done)
    return {
        "bytes_per_round": moved,
        "flops_per_round": done,
        "read_per_second": bandwidth,
        "matmul_per_second": arithmetic,
        "rounds_per_second": limit,
        "share_reached": rate / limit,
    }
