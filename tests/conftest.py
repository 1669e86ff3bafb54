"""Small worlds that tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from uis_env.arms import Arm, ArmCatalog, one_hot
from uis_env.world import Channels, World, mean_ends

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ARMS = (
    Arm("small", "single", (1,)),
    Arm("small", "best_of_n", (4,)),
    Arm("large", "single", (1,)),
    Arm("large", "best_of_n", (4,)),
    Arm("large", "majority", (8,)),
)


def make_world(
    queries: int = 24,
    draws: int = 3,
    *,
    arms: tuple[Arm, ...] = ARMS,
    missing: Mapping[int, tuple[int, ...]] | None = None,
    without: tuple[str, ...] = (),
    seed: int = 0,
    **changes: Any,
) -> World:
    """A simulated world with 0/1 quality and every channel, of three query groups and two contexts.

    Args:
        queries, draws: Q and R.
        arms: the catalog.
        missing: query -> arms that were not recorded.
        without: channels that the world does not have.
        seed: of its numbers.
        **changes: fields of World to set otherwise.
    """
    random = np.random.default_rng(seed)
    count = len(arms)
    shape = (queries, draws, count)
    recorded = np.ones((queries, count), bool)
    for query, lost in (missing or {}).items():
        recorded[query, list(lost)] = False
    chance = random.uniform(0.1, 0.9, (queries, count))
    samples = np.array([arm.budget[0] for arm in arms])
    size = np.array([8.0 if arm.model == "large" else 1.0 for arm in arms])
    tokens = samples * random.integers(20, 200, shape).astype(np.float64)
    columns = {
        "quality": (random.random(shape) < chance[:, None, :]).astype(np.float64),
        "score": random.normal(size=shape),
        "dollars": tokens * size * 1e-6,
        "eflops": tokens * size * 1e-3,
        "tokens": tokens,
        "latency": tokens / samples / 50,
    }
    expected = {name: table.mean(axis=1) for name, table in columns.items()} | {"quality": chance}

    def channels(tables: Mapping[str, Any], keep: Any) -> Channels:
        return Channels(
            **{name: np.where(keep, t, 0).astype(np.float32) for name, t in tables.items() if name not in without}
        )

    hot, names = one_hot([arm.model for arm in arms])
    mean = channels(expected, recorded)
    context = random.normal(size=(queries, 3)).astype(np.float32)
    context[:, -1] = 1
    parts: dict[str, Any] = {
        "name": "Tiny",
        "simulated": True,
        "catalog": ArmCatalog(
            arms=arms,
            features=np.concatenate([hot, np.log2(samples)[:, None]], axis=1).astype(np.float32),
            feature_names=(*names, "log2_n"),
            descriptions=tuple(arm.name for arm in arms),
        ),
        "contexts": {"plain": context, "wide": random.normal(size=(queries, 5)).astype(np.float32)},
        "channels": channels(columns, recorded[:, None, :]),
        "expected": mean,
        "recorded": recorded,
        "query_ids": tuple(f"query-{i}" for i in range(queries)),
        "groups": tuple(("algebra", "logic", "words")[i % 3] for i in range(queries)),
        "cost_ends": mean_ends(mean),
    }
    return World(**(parts | changes))


@pytest.fixture(scope="session")
def tiny_world() -> World:
    """24 queries, 3 draws, 5 arms of two models; all channels, everything recorded."""
    return make_world()


@pytest.fixture(scope="session")
def world_factory() -> Callable[..., World]:
    """`make_world`, for worlds that differ from `tiny_world`."""
    return make_world
