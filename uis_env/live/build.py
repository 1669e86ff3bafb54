"""From a recording to a world: the pools of `recorder` as a table of outcomes that is played offline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.costs import ModelCard, compute_and_memory, dollars, eflops, prefill
from uis_env.estimators import METHODS, Returned, draw, expect, orders
from uis_env.listing import public
from uis_env.live.config import LiveArm, LiveConfig, make_catalog
from uis_env.live.context import context_table
from uis_env.live.ledger import shaped
from uis_env.live.samples import Recorded, read_recording
from uis_env.outcomes import Channels, World, fill_unrecorded, mean_ends
from uis_env.pools import Pool
from uis_env.worlds.recorded import shared_prefix

Array = NDArray[Any]
DRAWS = 16


def build(config: LiveConfig, folder: Path, name: str = "Own", draws: int = DRAWS) -> World:
    """The world of a recording. Its arms are those of the config that independent samples decide.

    Answers are read, graded and scored by the config as it is now. Where samples of a query are missing or cannot be
    used, the arms of that model and style are not recorded for it; `provenance["left_out"]` says why and how often.

    Channels: dollars where every model has a price, eflops where every one has a shape (and scoring asks nobody),
    score where most replies told log-probabilities or the scorer gave one, latency (modelled from medians, as in the
    shipped world) where every server told timings; dollars, eFLOPs, tokens and latency only where most replies told
    their usage.

    Args:
        config: with the models, styles and questions that were recorded.
        folder: a recording.
        name: of the world.
        draws: R, permutations of each pool.

    Raises:
        ValueError: naming the file, key or arm that is not as expected.
        FileNotFoundError: if there is no recording.
    """
    data = read_recording(config, folder)
    pools, count = data.pools, len(data.queries)
    arms, left_out = _arms(config, data.scored)
    keys = {key: orders(i, count, draws, pool.size) for i, (key, pool) in enumerate(pools.items())}
    absent = _absent(config, data)

    def stack(estimate: Any) -> Channels:
        """The channels of every arm, arms last, NaN in holes; those that not all have are dropped."""
        rows = []
        for arm in arms:
            key = (arm.model, arm.style)
            row = _costed(config.pool.models[arm.model].card, pools[key], estimate(key, arm.method, arm.budget[0]))
            if "best" in arm.method and not config.scorer.free:
                each = (slice(None), *[None] * (row["quality"].ndim - 1))
                row["dollars"] = row["dollars"] + arm.budget[0] * data.scoring[key][each]
            for array in row.values():
                array[~data.whole[key]] = np.nan
            rows.append(row)
        arrays = {part: np.stack([row[part] for row in rows], axis=-1) for part in rows[0]}
        return Channels(**{part: array.astype(np.float32) for part, array in arrays.items() if part not in absent})

    def half(part: int) -> Any:
        def estimate(key: tuple[str, str], method: str, n: int) -> Returned:
            size = pools[key].size
            pool = pools[key].part(slice(0, size // 2) if part == 0 else slice(size // 2, size))
            if n <= pool.size:
                return expect(pool, method, n)
            return Returned(*[np.full(count, np.nan)] * len(Returned._fields))

        return estimate

    channels, recorded = fill_unrecorded(
        stack(lambda key, method, n: draw(pools[key], method, n, keys[key])), str(folder)
    )
    exact = stack(lambda key, method, n: expect(pools[key], method, n))
    expected = Channels(**{part: np.where(recorded, array, 0) for part, array in exact.present().items()})
    costs = config.reward.cost_channel in expected.present()
    return World(
        name=name,
        simulated=False,
        catalog=make_catalog(arms, config.pool),
        contexts={"questions": context_table(config.context, [query.question for query in data.queries])},
        channels=channels,
        expected=expected,
        recorded=recorded,
        query_ids=tuple(query.query_id for query in data.queries),
        groups=tuple(query.family for query in data.queries),
        halves=(stack(half(0)), stack(half(1))),
        cost_ends=mean_ends(expected),
        defaults={"cost": config.reward.cost, "cost_channel": config.reward.cost_channel} if costs else {"cost": 0.0},
        provenance={
            "source": "recorded with python -m uis_env.live record",
            "recording": dict(data.facts),
            "public": public(config.pool.cards.values()),
            "left_out": {"cells": dict(data.holes), "arms": left_out, "channels": absent},
            "expectation": "exact for every arm and channel: over all orders of the pool, without replacement",
            "latency": "modelled: median milliseconds per uncached prompt token and per decoded token of the pool",
        },
    )


def _absent(config: LiveConfig, data: Recorded) -> dict[str, str]:
    """The channels that the world does not have, and why."""
    absent = {} if data.scored else {"score": "most replies told no log-probabilities, or the scorer is another"}
    if not config.pool.priced:
        absent["dollars"] = "not every model has a price"
    if not all(map(shaped, config.pool.cards.values())):
        absent["eflops"] = "not every model has a shape"
    elif not config.scorer.free:
        absent["eflops"] = "the scorer's calls are not in it"
    pools = data.pools.values()
    if not all(np.isfinite(pool.prefill_ms).all() and np.isfinite(pool.decode_ms).all() for pool in pools):
        absent["latency"] = "not every reply told its timings"
    if not data.used:
        absent |= dict.fromkeys(("dollars", "eflops", "tokens", "latency"), "most replies told no usage")
    return absent


def _arms(config: LiveConfig, scored: bool) -> tuple[list[LiveArm], dict[str, str]]:
    """(The config's arms that can be estimated from its pools, or without arms every method at powers of two; why the
    others cannot).
    """
    asked = config.arms or tuple(
        LiveArm(model, method, style, (2**i,))
        for model in config.pool.models
        for style, samples in config.record.items()
        for method in METHODS
        for i in range(1 if method == "single" else 1 + int(math.log2(samples)))
        if method == "single" or i > 0
    )
    arms, left_out = [], {}
    for arm in asked:
        if arm.method not in METHODS or arm.style not in config.record:
            left_out[arm.arm.name] = "independent samples do not decide it"
        elif arm.budget[0] > config.record[arm.style]:
            raise ValueError(f"{arm.arm.name}: only {config.record[arm.style]} samples are recorded per query")
        elif "best" in arm.method and not scored:
            left_out[arm.arm.name] = "it needs scores"
        else:
            arms.append(arm)
    if not arms:
        reasons = ", ".join(sorted(set(left_out.values())))
        raise ValueError(f"{config.path}.arms: none can be estimated from samples of {list(config.record)}: {reasons}")
    return arms, left_out


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
