"""A folder of simulated worlds: each is simulated once, then read back by the hash of everything it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from uis_env.stored import load_world, save_world
from uis_env.world import World


def cache_folder() -> Path:
    """`$UIS_CACHE`, else `$XDG_CACHE_HOME/uis_env`, else `~/.cache/uis_env`; it need not exist."""
    if own := os.environ.get("UIS_CACHE"):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "uis_env"
    return Path.home() / ".cache" / "uis_env"


def key_hash(key: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the sha256 of `key` as canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cached_world(key: Mapping[str, Any], build: Callable[[], World]) -> World:
    """The world that `build` makes, from the cache if it is there, whole and undamaged; else built and stored.

    Several processes may ask at once: each file appears whole or not at all, and as `key` fixes the outcome they all
    write the same bytes.

    Args:
        key: plain JSON that fixes the world: all parameters and the simulator's version; `key["world"]` is its name.
        build: makes the world.

    Returns:
        The world. A damaged file is replaced, and a folder that cannot be written is done without; both with a warning.
    """
    path = cache_folder() / f"{key['world']}-{key_hash(key)}"
    try:
        return load_world(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, OSError) as error:
        warnings.warn(f"cached world is not used and made again: {error}", stacklevel=3)
    world = build()
    try:
        save_world(world, path)
    except OSError as error:
        warnings.warn(f"world is not cached, and will be made again next time: {error}", stacklevel=3)
    return world
