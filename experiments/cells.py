"""From a config to cells that can be played: worlds loaded, rewards tabulated, tapes scheduled, agents made."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Tables, make_tables
from experiments.config import Config, ConfigError, PreferenceConfig, ScenarioConfig, WorldConfig
from experiments.results import CellKey
from uis_env import worlds
from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.imports import is_code
from uis_env.scenarios import Scenario, make_scenario
from uis_env.stored import world_digest, world_files
from uis_env.tape import Schedule
from uis_env.world import World

Array = NDArray[Any]
PILOT = 9
"""Stream of the random numbers that choose a pilot."""


@dataclass(frozen=True, eq=False)
class Game:
    """A cell that can be played.

    Attributes:
        key: its names.
        world, scenario, reward: what is played.
        bandit: the tables in NumPy; `tables` the same on the device, with what metrics need.
        schedule: how tapes are drawn.
        pilot: queries that leave the tape (per seed) for agents that fit.
    """

    key: CellKey
    world: World
    scenario: Scenario
    reward: Reward
    bandit: Bandit
    tables: Tables
    schedule: Schedule
    pilot: int

    def pilot_of(self, seed: int) -> tuple[Array, Array]:
        """(n,) queries and draws of the pilot of a seed."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 0, PILOT))))
        asked = np.unique(np.concatenate([stretch.queries for stretch in self.schedule.learning]))
        queries = random.choice(asked, size=self.pilot, replace=False).astype(np.int32)
        return queries, random.integers(self.schedule.draws, size=self.pilot, dtype=np.int32)

    def schedule_of(self, seed: int) -> Schedule:
        """The schedule of a seed: without its pilot's queries."""
        return self.schedule.without(self.pilot_of(seed)[0]) if self.pilot else self.schedule

    def pilot_price(self, seed: int) -> tuple[float, float]:
        """(cost, charge) of a seed's pilot: all arms on all its queries; the charge is in units of summed reward.

        It is played in the first phase; where the phase is drawn in every round, the charge is the mean over them.
        """
        queries, draws = self.pilot_of(seed)
        first = self.schedule.stretches[0].phase
        phases = range(self.schedule.phases) if first is None else [first]
        costs, charges = zip(*(self._pilot_price(queries, draws, phase) for phase in phases), strict=True)
        return float(np.mean(costs)), float(np.mean(charges))

    def _pilot_price(self, queries: Array, draws: Array, phase: int) -> tuple[float, float]:
        reward, paid = self.scenario.phases[phase].reward, self.bandit.mask[phase, queries]
        variant = self.bandit.variant[phase]
        gross = reward.offset + reward.quality * self.bandit.channels.quality[variant, queries, draws]
        if reward.score:
            assert self.bandit.channels.score is not None
            gross = gross + reward.score * self.bandit.channels.score[variant, queries, draws]
        net = self.bandit.reward[phase, queries, draws]
        cost = self.bandit.cost[variant, queries, draws]
        return float(cost[paid].sum(dtype=np.float64)), float((gross - net)[paid].sum(dtype=np.float64))


@functools.lru_cache(maxsize=8)
def _load(what: str, folders: tuple[str, ...], options: tuple[tuple[str, Any], ...], stamp: int) -> tuple[World, str]:
    world = worlds.load(what, folders, **dict(options))
    return world, world_digest(world)


def _loaded(config: Config, part: WorldConfig) -> tuple[World, str]:
    """The world of an entry and its digest, kept until its files change."""
    hashable = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(part.options.items()))
    where = f"worlds[{config.worlds.index(part)}] ({part.name!r})"
    try:
        stored = None if part.what in worlds.WORLDS else worlds.find_stored(part.what, config.folders)
        files = () if stored is None else world_files(stored) or ()
        stamp = max((file.stat().st_mtime_ns for file in files), default=0)
        world, digest = _load(part.what, config.folders, hashable, stamp)
        world.context(part.context)
        return world, digest
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{where}: {error}") from error


def load_world(config: Config, part: WorldConfig) -> World:
    """The world of a config's entry (cached), which has the context asked for; ConfigError names the entry."""
    return _loaded(config, part)[0]


def world_digests(config: Config) -> dict[str, str]:
    """The digest of each of a config's worlds, by the entry's name: what was played, wherever it came from."""
    return {part.name: _loaded(config, part)[1] for part in config.worlds}


def own_world(text: str) -> WorldConfig:
    """The entry of `--world TEXT`: a shipped name, a folder or `module:function`, with a label made of it."""
    words = text.replace(":", ".") if is_code(text) else Path(text).resolve().name
    name = re.sub(r"[^A-Za-z0-9._=+-]", "-", words).lstrip("._=+-")[:64] or "world"
    return WorldConfig(name=name, kind=text)


def make_game(config: Config, world: WorldConfig, scenario: ScenarioConfig, preference: PreferenceConfig) -> Game:
    """Tabulates one cell.

    Raises:
        ConfigError: naming the entry of the config that does not fit.
    """
    loaded = load_world(config, world)
    where = f"preferences[{config.preferences.index(preference)}] ({preference.name!r})"
    try:
        reward = preference.reward
        where = f"scenarios[{config.scenarios.index(scenario)}]"
        made = make_scenario(scenario.what, loaded, reward, **scenario.options)
        where = f"preferences[{config.preferences.index(preference)}] ({preference.name!r})"
        bandit = tabulate(loaded, made.phases, world.context)
        where = "rounds"
        schedule = made.schedule(loaded, config.rounds, config.order, holdout=config.holdout)
    except ValueError as error:
        raise ConfigError(f"{where} on world {world.name!r}: {error}") from None
    key = CellKey(world.name, scenario.name, preference.name)
    fewest = min(len(stretch.queries) for stretch in schedule.learning)
    if config.pilot >= fewest:
        raise ConfigError(f"pilot: {config.pilot} queries of {fewest} would leave none to play in {key.label}")
    queries = len(loaded.query_ids)
    tables = make_tables(bandit, weight=schedule.weights(queries), asked=schedule.asked(queries))
    return Game(key, loaded, made, reward, bandit, tables, schedule, config.pilot)


def all_games(config: Config) -> list[tuple[CellKey, Callable[[], Game]]]:
    """Every cell with a function that makes it (once), in order: worlds, then scenarios, then preferences."""
    return [
        (
            CellKey(world.name, scenario.name, preference.name),
            functools.cache(functools.partial(make_game, config, world, scenario, preference)),
        )
        for world in config.worlds
        for scenario in config.scenarios
        for preference in config.preferences
    ]
