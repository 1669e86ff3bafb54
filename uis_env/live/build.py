"""From a recording to a world: the pools of `recorder` as a table of outcomes that is played offline."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from uis_env.arms import Arm
from uis_env.estimators import METHODS, Returned, orders
from uis_env.listing import public
from uis_env.live.config import LiveArm, LiveConfig, make_catalog
from uis_env.live.context import context_table
from uis_env.live.samples import Recorded, read_recording
from uis_env.pools import Pool
from uis_env.sampled import costed, tabulate_pools
from uis_env.world import Channels, World, mean_ends

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
    arms, left_out = _arms(config, data)
    pools = {key: pool.without(~data.whole[key]) for key, pool in data.pools.items()}
    keys = tuple(orders(i, len(data.queries), draws, pool.size) for i, pool in enumerate(pools.values()))
    absent = _absent(config, data)

    def cost(arm: Arm, pool: Pool, returned: Returned) -> Channels:
        """What a method returned and cost, the calls of its scorer included."""
        channels = costed(config.pool.models[arm.model].card, pool, returned)
        if "best" in arm.method and not config.scorer.free and channels.dollars is not None:
            key = (arm.model, arm.style)
            each = (data.whole[key], *[None] * (returned.quality.ndim - 1))
            channels = channels._replace(dollars=channels.dollars + arm.budget[0] * data.scoring[key][each])
        return Channels(**{name: array for name, array in channels.present().items() if name not in absent})

    table = tabulate_pools([arm.arm for arm in arms], tuple(pools.values()), keys, cost, str(folder))
    expected = table.expected
    costs = config.reward.cost_channel in expected.present()
    return World(
        name=name,
        simulated=False,
        catalog=make_catalog(arms, config.pool),
        contexts={"questions": context_table(config.context, [query.question for query in data.queries])},
        channels=table.channels,
        expected=expected,
        recorded=table.recorded,
        query_ids=tuple(query.query_id for query in data.queries),
        groups=tuple(query.family for query in data.queries),
        halves=table.halves,
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
        pools=tuple(_told(pool, data) for pool in pools.values()),
        orders=keys,
    )


def _told(pool: Pool, data: Recorded) -> Pool:
    """The pool as a world keeps it: NaN where no server told scores or token counts."""
    if not data.scored:
        pool = replace(pool, score=np.full_like(pool.score, np.nan))
    return pool if data.used else replace(pool, tokens=np.full_like(pool.tokens, np.nan))


def _absent(config: LiveConfig, data: Recorded) -> dict[str, str]:
    """The channels that the world does not have, and why."""
    absent = {} if data.scored else {"score": "most replies told no log-probabilities, or the scorer is another"}
    if not config.pool.priced:
        absent["dollars"] = "not every model has a price"
    if not all(card.shaped for card in config.pool.cards.values()):
        absent["eflops"] = "not every model has a shape"
    elif not config.scorer.free:
        absent["eflops"] = "the scorer's calls are not in it"
    pools = data.pools.values()
    if not all(np.isfinite(pool.prefill_ms).all() and np.isfinite(pool.decode_ms).all() for pool in pools):
        absent["latency"] = "not every reply told its timings"
    if not data.used:
        absent |= dict.fromkeys(("dollars", "eflops", "tokens", "latency"), "most replies told no usage")
    return absent


def _arms(config: LiveConfig, data: Recorded) -> tuple[list[LiveArm], dict[str, str]]:
    """(The config's arms that can be estimated from its pools, or without arms every method at powers of two; why the
    others cannot).
    """
    asked = config.arms or tuple(
        LiveArm(model, method, style, (2**i,))
        for model in config.recorded()
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
        elif (arm.model, arm.style) not in data.pools:
            left_out[arm.arm.name] = "no query has all its samples"
        elif "best" in arm.method and not data.scored:
            left_out[arm.arm.name] = "it needs scores"
        else:
            arms.append(arm)
    if not arms:
        reasons = ", ".join(sorted(set(left_out.values())))
        raise ValueError(f"{config.path}.arms: none can be estimated from samples of {list(config.record)}: {reasons}")
    return arms, left_out
