"""The config that compares agents on a world of the user's own."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from uis_env.files import atomic_write
from uis_env.split import in_test_split
from uis_env.stored import save_world
from uis_env.world import World

CONFIG = "compare.toml"
REFERENCES = ("oracle", "best_fixed", "cheapest", "random")
LEARNERS = ("linucb", "linear_thompson", "hierarchical_logit_thompson", "greedy")
SEEDS = 16
MOST_ROUNDS = 1000


def comparison(world: World) -> str:
    """A TOML config of `python -m experiments run`, to lie in the folder of the stored world.

    It plays each query four times at most, under plain quality and, if the world has one, under its default reward; its
    last rounds ask test queries only, if the world has any.

    Example:
        >>> import tomllib, uis_env
        >>> from uis_env.worlds.comparison import comparison
        >>> config = tomllib.loads(comparison(uis_env.worlds.load("Recorded")))
        >>> config["rounds"], [preference["name"] for preference in config["preferences"]]
        (1000, ['quality', 'default'])
    """
    preferences = ['[[preferences]]\nname = "quality"']
    if world.defaults:
        settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in world.defaults.items())
        preferences.append(f'[[preferences]]\nname = "default"\n{settings}')
    agents = [f'[[agents]]\nname = "{name}"' for name in (*REFERENCES, *LEARNERS)]
    holdout = "true" if in_test_split(world).any() else "0"
    head = (
        f'name = "compare"\nrounds = {min(MOST_ROUNDS, 4 * len(world.query_ids))}\nholdout = {holdout}\n'
        f'seeds = {SEEDS}\n\n[[worlds]]\nname = "own"\nkind = "."  # the folder of this file'
    )
    return "\n\n".join([head, *preferences, *agents]) + "\n"


def save_comparison(world: World, path: str | os.PathLike[str]) -> str:
    """Saves a world with its config in one folder; returns the command that compares agents on it.

    Raises:
        WriteError: naming the file that cannot be written.
    """
    folder = Path(path)
    save_world(world, folder)
    atomic_write(folder / CONFIG, comparison(world).encode())
    return f"python -m experiments run {shlex.quote(str(folder / CONFIG))}"
