"""Worlds by name. A world is built or read when it is asked for, never on import."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from uis_env.outcomes import World


class Entry(NamedTuple):
    """Where a world's loader is, and one line about it."""

    module: str
    loader: str
    summary: str


WORLDS: Mapping[str, Entry] = MappingProxyType(
    {
        "Recorded": Entry(
            "uis_env.worlds.recorded", "recorded", "real answers of three local LLMs to 378 verifiable queries, 54 arms"
        ),
        "Synthetic": Entry(
            "uis_env.worlds.synthetic",
            "synthetic",
            "simulated: item response theory over five models and a noisy verifier, known parameters",
        ),
        "TreeSearch": Entry(
            "uis_env.worlds.tree_search",
            "tree_search",
            "simulated: UniScale's PRM-guided tree search, 288 arms over 210 problems, calibrated to published numbers",
        ),
        "LatencyAware": Entry(
            "uis_env.worlds.latency_aware",
            "latency_aware",
            "simulated: voting, best-of-N and beam search on 1,000 problems, 22 arms, tokens and seconds as published",
        ),
        "LiveCodeBench": Entry(
            "uis_env.worlds.live_code_bench",
            "live_code_bench",
            "real correctness of five models x N on 1,055 coding problems, assumed costs; data not shipped",
        ),
    }
)


def load(name: str, **options: Any) -> World:
    """The world of that name (as in `UIS/<name>-v0`); options go to its loader.

    Raises:
        ValueError: naming the worlds that exist, or the option that this one does not take.
    """
    if name not in WORLDS:
        raise ValueError(f"unknown world {name!r}, expected one of {', '.join(WORLDS)}")
    entry = WORLDS[name]
    loader: Callable[..., World] = getattr(importlib.import_module(entry.module), entry.loader)
    try:
        inspect.signature(loader).bind(**options)
    except TypeError as error:
        raise ValueError(f"world {name!r}: {error}") from None
    return loader(**options)
