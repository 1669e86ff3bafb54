"""Worlds by name, folder or function. A world is built or read when it is asked for, never on import."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from uis_env.imports import call_function, find_function, is_code
from uis_env.stored import META, load_world, world_files
from uis_env.world import World


class Entry(NamedTuple):
    """Where a world's loader is, and one line about it. The id in Gymnasium names the version of its data."""

    module: str
    loader: str
    summary: str


WORLDS: Mapping[str, Entry] = MappingProxyType(
    {
        "Recorded": Entry(
            "uis_env.worlds.recorded", "recorded", "real answers of three local LLMs to 378 verifiable queries, 54 arms"
        ),
        "Recorded-v1": Entry(
            "uis_env.worlds.recorded",
            "recorded_v1",
            "real answers of four local LLMs to 1,082 verifiable queries of 23 task families, 48 arms",
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


def gym_id(name: str) -> str:
    """The id in Gymnasium of a world of that name. The version is that of the data: a name without one is version 0.

    Example:
        >>> from uis_env.worlds import gym_id
        >>> gym_id("Recorded"), gym_id("Recorded-v1")
        ('UIS/Recorded-v0', 'UIS/Recorded-v1')
    """
    return f"UIS/{name}" if re.search(r"-v\d+$", name) else f"UIS/{name}-v0"


def load(
    what: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]] = (), code: bool = True, /, **options: Any
) -> World:
    """The world of that name, in that folder, or that a function makes: the one way to name a world.

    Looked for in this order: a shipped name; a folder that `save_world` wrote, relative to each
    of `folders`, then to the working directory; `module:function`, the module in the working directory, then in the
    last of `folders` to the first, then among what is installed.

    Args:
        what: the name, the path, or `module:function`.
        folders: where to look besides the working directory.
        code: whether a function may be named; False where the text may come from a file of data.
        **options: keyword arguments of a shipped world or of the function. The function must return the same world for
            the same options, everywhere.

    Raises:
        ValueError: naming what exists and where it was looked for; or the option that is not taken; or file and line of
            an error in the function.

    Example:
        >>> from uis_env import worlds
        >>> worlds.load("Recorded")
        <World 'Recorded', recorded: 378 queries x 16 draws x 54 arms>
        >>> worlds.load("Synthetic", queries=8, draws=2)
        <World 'Synthetic', simulated: 8 queries x 2 draws x 40 arms>
    """
    name = os.fspath(what)
    if name in WORLDS:
        entry = WORLDS[name]
        loader: Callable[..., World] = getattr(importlib.import_module(entry.module), entry.loader)
        try:
            inspect.signature(loader).bind(**options)
        except TypeError as error:
            raise ValueError(f"world {name!r}: {error}") from None
        return loader(**options)
    if (path := find_stored(name, folders)) is not None:
        if options:
            raise ValueError(f"world {name!r} is read from a folder and takes no options, got {', '.join(options)}")
        return load_world(path)
    if is_code(name):
        if not code:
            raise ValueError(f"world {name!r}: code is named in configs and on the command line only; give the World")
        world = call_function(name, find_function(name, folders[::-1]), options)
        if not isinstance(world, World):
            raise ValueError(f"{name}: returned {type(world).__name__}, expected a World")
        return world
    close = difflib.get_close_matches(name, WORLDS, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    looked = ", ".join(str(place) for place in _places(name, folders))
    raise ValueError(
        f"unknown world {name!r}, expected one of {', '.join(WORLDS)}{hint}; or a folder with {META} "
        f"(none at {looked}); or module:function"
    )


def find_stored(name: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]] = ()) -> Path | None:
    """The path of a stored world, relative to each of `folders`, then to the working directory; else None."""
    return next((place for place in _places(name, folders) if world_files(place) is not None), None)


def _places(name: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    return list(dict.fromkeys(Path(folder, name) for folder in (*folders, ".")))
