"""From a recording to a world: the pools of `recorder` as a table of outcomes that is played offline."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.costs import ModelCard, compute_and_memory, dollars, eflops, prefill
from uis_env.estimators import METHODS, Returned, draw, expect, orders
from uis_env.live.config import LiveArm, LiveConfig, make_catalog
from uis_env.live.context import context_table
from uis_env.live.ledger import shaped
from uis_env.outcomes import Channels, World, fill_unrecorded, mean_ends
from uis_env.pools import Pool, read_pool, read_queries
from uis_env.worlds.recorded import shared_prefix

Array = NDArray[Any]
DRAWS = 16


def build(config: LiveConfig, folder: Path, name: str = "Own", draws: int = DRAWS) -> World:
    """The world of a complete recording. Its arms are those of the config that independent samples decide.

    Channels: dollars where every model has a price, eflops where every one has a shape, score where every server told
    log-probabilities, latency (modelled from medians, as in the shipped world) where every server told timings.

    Args:
        config: that the folder was recorded with.
        folder: a recording.
        name: of the world.
        draws: R, permutations of each pool.

    Raises:
        ValueError: naming the file, row or arm that is not as expected.
        FileNotFoundError: if a pool is missing.
    """
    manifest = folder / "manifest.json"
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    if facts.get("digest") != config.digest:
        raise ValueError(f"{manifest}: recorded from another config or other queries")
    queries = read_queries(folder / "queries.jsonl")
    ids = tuple(query.query_id for query in queries)
    pools = {
        (model, style): read_pool(folder / f"{model}.{style}.jsonl", ids)
        for model in config.pool.models
        for style in config.record
    }
    scored = not any(np.isnan(pool.score).any() for pool in pools.values())
    arms = _arms(config, scored)
    # Pools without scores are never asked for the best of several; a constant keeps the estimators finite.
    filled = {key: pool if scored else replace(pool, score=np.ones_like(pool.score)) for key, pool in pools.items()}
    keys = {key: orders(i, len(queries), draws, pool.size) for i, (key, pool) in enumerate(filled.items())}
    timed = all(np.isfinite(pool.prefill_ms).all() and np.isfinite(pool.decode_ms).all() for pool in pools.values())

    def stack(estimate: Any) -> Channels:
        """The channels of every arm, arms last; those that not all have are dropped."""
        rows = []
        for arm in arms:
            key = (arm.model, arm.style)
            card = config.pool.models[arm.model].card
            rows.append(_costed(card, filled[key], estimate(key, arm.method, arm.budget[0])))
        arrays = {part: np.stack([row[part] for row in rows], axis=-1) for part in rows[0]}
        absent = {"score": not scored, "latency": not timed, "dollars": not config.pool.priced}
        absent["eflops"] = not all(map(shaped, config.pool.cards.values()))
        kept = {part: array.astype(np.float32) for part, array in arrays.items() if not absent.get(part)}
        return Channels(**kept)

    def half(part: int) -> Any:
        def estimate(key: tuple[str, str], method: str, n: int) -> Returned:
            size = filled[key].size
            pool = filled[key].part(slice(0, size // 2) if part == 0 else slice(size // 2, size))
            if n <= pool.size:
                return expect(pool, method, n)
            return Returned(*[np.full(len(queries), np.nan)] * len(Returned._fields))

        return estimate

    channels, recorded = fill_unrecorded(
        stack(lambda key, method, n: draw(filled[key], method, n, keys[key])), str(folder)
    )
    expected = stack(lambda key, method, n: expect(filled[key], method, n))
    return World(
        name=name,
        simulated=False,
        catalog=make_catalog(arms, config.pool),
        contexts={"questions": context_table(config.context, [query.question for query in queries])},
        channels=channels,
        expected=expected,
        recorded=recorded,
        query_ids=ids,
        groups=tuple(query.family for query in queries),
        halves=(stack(half(0)), stack(half(1))),
        cost_ends=mean_ends(expected),
        defaults={"cost": config.reward.cost, "cost_channel": config.reward.cost_channel},
        provenance={
            "source": "recorded with python -m uis_env.live record",
            "recording": facts,
            "expectation": "exact for every arm and channel: over all orders of the pool, without replacement",
            "latency": "modelled: median milliseconds per uncached prompt token and per decoded token of the pool",
        },
    )


def _arms(config: LiveConfig, scored: bool) -> list[LiveArm]:
    """The config's arms that can be estimated from its pools, or without arms every method at powers of two."""
    methods = METHODS if scored else tuple(m for m in METHODS if "best" not in m)
    asked = config.arms or tuple(
        LiveArm(model, method, style, (2**i,))
        for model in config.pool.models
        for style, samples in config.record.items()
        for method in methods
        for i in range(1 if method == "single" else 1 + int(math.log2(samples)))
        if method == "single" or i > 0
    )
    arms = []
    for arm in asked:
        if arm.method in METHODS and arm.style in config.record:
            if arm.budget[0] > config.record[arm.style]:
                raise ValueError(f"{arm.arm.name}: only {config.record[arm.style]} samples are recorded per query")
            if arm.method not in methods:
                raise ValueError(f"{arm.arm.name}: needs scores, but not every server told log-probabilities")
            arms.append(arm)
    if not arms:
        raise ValueError(f"{config.path}.arms: none of them can be estimated from samples of {list(config.record)}")
    return arms


def _costed(card: ModelCard, pool: Pool, returned: Returned) -> dict[str, Array]:
    """What the samples returned and cost; NaN where the model has no price or shape, or the server told no times.

    The prompt is read once per query and shared by its samples; the prefix common to all queries is in the cache.
    """
    each = (slice(None), *[None] * (returned.quality.ndim - 1))
    cached = np.full_like(pool.prompt, shared_prefix(pool))[each]
    prompt, nothing = pool.prompt[each], np.full_like(returned.quality, np.nan)
    costs = {"dollars": nothing, "eflops": nothing}
    if card.price is not None:
        costs["dollars"] = dollars(card.price, prompt - cached, cached, returned.tokens)
    if shaped(card):
        compute, memory = compute_and_memory(card, prompt, returned.tokens, returned.squares, returned.steps)
        costs["eflops"] = eflops(compute + prefill(card, prompt - cached), memory)
    times = np.median(pool.prefill_ms) * (prompt - cached) + np.median(pool.decode_ms) * returned.steps
    return {
        "quality": returned.quality,
        "score": returned.score,
        **costs,
        "tokens": returned.tokens,
        "latency": times / 1000,
    }
