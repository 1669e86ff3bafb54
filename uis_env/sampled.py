"""Sample pools to tables: what every arm returns in every draw, in expectation, and in each half of the samples.

One builder for recorded, live and simulated worlds: estimators (what a method makes of samples) × costs × channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm
from uis_env.costs import ModelCard, compute_and_memory, dollars, eflops, prefill
from uis_env.estimators import Returned, draw, expect
from uis_env.pools import Pool
from uis_env.world import Channels, fill_unrecorded

Array = NDArray[Any]
Costs = Callable[[Arm, Pool, Returned], Channels]
"""Adds what the samples cost. All costs are linear in what returned, so expectations go in and come out."""
Expectation = Callable[[Arm, Pool], Returned]


class Table(NamedTuple):
    """The tables of a World: channels (Q, R, K), expected (Q, K), recorded (Q, K), halves (Q, K) or None."""

    channels: Channels
    expected: Channels
    recorded: Array
    halves: tuple[Channels, Channels] | None


def exact(arm: Arm, pool: Pool) -> Returned:
    """The exact expectation over all orders of the pool, without replacement."""
    return expect(pool, arm.method, arm.budget[0])


def tabulate_pools(
    arms: Sequence[Arm],
    pools: Sequence[Pool],
    orders: Sequence[Array],
    costs: Costs,
    where: str,
    expectation: Expectation = exact,
    halves: bool = True,
) -> Table:
    """What arms return when they read the samples of their model and style.

    A query without samples in a pool (`Pool.whole`) is a hole of that pool's arms. A channel is kept where all arms
    have it.

    Args:
        arms: K arms of the methods in `estimators.METHODS`, their budget a number of samples.
        pools: one per (model, style) of the arms, all of the same Q queries.
        orders: per pool (Q, R, N) int32, see `World`; N is at least the largest budget.
        costs: adds costs to what returned.
        where: what opens an error message, a folder say.
        expectation: of an arm on a pool.
        halves: whether to tell halves: expectations from the first and the last half of every pool's samples, NaN where
            a half has fewer samples than the budget.

    Raises:
        ValueError: naming the arm whose method or budget cannot be, or that has no pool.
    """
    place = {(pool.model, pool.style): i for i, pool in enumerate(pools)}
    drawn, means, parts = [], [], []
    for arm in arms:
        if (arm.model, arm.style) not in place:
            raise ValueError(f"{where}: arm {arm.name!r} has no samples")
        i = place[arm.model, arm.style]
        rows = pools[i].whole
        pool, order, half = pools[i].take(rows), orders[i][rows], pools[i].size // 2
        read = _scored(pool)

        def cost(returned: Returned, arm: Arm = arm, pool: Pool = pool, rows: Array = rows) -> Channels:
            return _spread(costs(arm, pool, returned), rows)

        drawn.append(cost(draw(read, arm.method, arm.budget[0], order)))
        means.append(cost(expectation(arm, read)))
        if halves:
            pair = (read.part(slice(0, half)), read.part(slice(half, pool.size)))
            parts.append([cost(_half(arm, part, expectation)) for part in pair])
    channels, recorded = fill_unrecorded(stack(drawn), where)
    expected = {name: np.where(recorded, array, 0) for name, array in stack(means).present().items()}
    pairs = (stack([pair[0] for pair in parts]), stack([pair[1] for pair in parts])) if halves else None
    return Table(channels, Channels(**expected), recorded, pairs)


def costed(card: ModelCard, pool: Pool, returned: Returned) -> Channels:
    """What samples of a model returned and cost: dollars with a price, eFLOPs with a shape, seconds with timings.

    The prompt is read once per query and shared by its samples; the prefix common to all queries is in the cache.
    Seconds are modelled from medians: the machine was busy, single times are noise.
    """
    each = (slice(None), *[None] * (returned.quality.ndim - 1))
    cached = np.full_like(pool.prompt, shared_prefix(pool))[each]
    prompt = pool.prompt[each]
    spent = None
    if card.shaped:
        compute, memory = compute_and_memory(card, prompt, returned.tokens, returned.squares, returned.steps)
        spent = eflops(compute + prefill(card, prompt - cached), memory)
    milliseconds = np.median(pool.prefill_ms) * (prompt - cached) + np.median(pool.decode_ms) * returned.steps
    return Channels(
        quality=returned.quality,
        score=None if np.isnan(pool.score).any() else returned.score,
        dollars=None if card.price is None else dollars(card.price, prompt - cached, cached, returned.tokens),
        eflops=spent,
        tokens=returned.tokens,
        latency=None if np.isnan(pool.prefill_ms + pool.decode_ms).any() else milliseconds / 1000,
    )


def shared_prefix(pool: Pool) -> int:
    """Prompt tokens that all queries of a pool have in common (template and worked examples).

    Recorded cache hits depend on which query came before and on the server, so they are not a property of an arm. What
    they tell is the length of the common prefix: the smallest hit that covers at least half of the shortest prompt.
    """
    hits = pool.cached[pool.cached >= pool.prompt.min() / 2]
    return int(hits.min()) if hits.size else 0


def stack(arms: Sequence[Channels]) -> Channels:
    """One float32 array per channel that all arms have, arms last."""
    shared = [name for name in arms[0].present() if all(name in arm.present() for arm in arms)]
    return Channels(**{name: np.stack([getattr(arm, name) for arm in arms], -1).astype(np.float32) for name in shared})


def _scored(pool: Pool) -> Pool:
    """The pool with a constant where there are no scores: estimators stay finite, and nobody asks for the best."""
    return replace(pool, score=np.ones_like(pool.score)) if np.isnan(pool.score).any() else pool


def _half(arm: Arm, part: Pool, expectation: Expectation) -> Returned:
    """The expectation from half a pool; NaN where the half has fewer samples than the budget."""
    if arm.budget[0] > part.size:
        return Returned(*[np.full(len(part.answer), np.nan)] * len(Returned._fields))
    return expectation(arm, part)


def _spread(channels: Channels, rows: Array) -> Channels:
    """The channels of some queries as those of all, NaN in the others."""
    if rows.all():
        return channels
    filled = {}
    for name, array in channels.present().items():
        filled[name] = np.full((len(rows), *array.shape[1:]), np.nan)
        filled[name][rows] = array
    return Channels(**filled)
