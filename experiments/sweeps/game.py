"""What a sweep is played on: one bandit whose phases are the preferences, one set of questions, one pilot."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.agent import Agent
from agents.rollout import Tables, make_tables
from agents.sweep import SweepPlan
from experiments.cells import PILOT, load_world
from experiments.config import WEIGHTS, Config, ConfigError, PreferenceConfig, WorldConfig
from experiments.results import CellKey
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import preference_mix
from uis_env.tape import Schedule, Stretch, Tape, tapes
from uis_env.world import World

Array = NDArray[Any]
_REHEARSAL = 10
REFERENCES = ("best_fixed", "fixed_elsewhere", "random", "oracle", "oracle_cross_fitted", "oracle_published")
"""Policies that a sweep has from its tables (`measures`); none of its agents may have such a name."""


@dataclass(frozen=True, eq=False)
class SweepGame:
    """A cell of a sweep.

    Attributes:
        key: its names.
        world: what is played.
        preferences: P of them.
        tables: of a bandit with the preferences as its phases.
        questions: (n,) int32, what every seed asks, each once.
        training: (m,) int32, the queries of the pilot and of rehearsals; none without a pilot.
        schedule: one pass over the questions.
    """

    key: CellKey
    world: World
    preferences: tuple[PreferenceConfig, ...]
    tables: Tables
    questions: Array
    training: Array
    schedule: Schedule

    def tape(self, seeds: Sequence[int] | Array) -> Tape:
        """(S, T) rounds, the same at every preference."""
        return tapes(self.schedule, seeds)

    def pilot(self, seeds: Sequence[int]) -> tuple[Array, Array]:
        """(S, m) queries, the same for all seeds, and draws."""
        random = [np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1, PILOT)))) for seed in seeds]
        drawn = [one.integers(self.schedule.draws, size=len(self.training), dtype=np.int32) for one in random]
        return np.tile(self.training, (len(seeds), 1)), np.stack(drawn)

    def rehearsal(self, seeds: Sequence[int], rounds: int) -> Tape:
        """(S, rounds) on the pilot's queries, a preference drawn for every round."""
        stretch = Stretch(0, None, self.training)
        schedule = Schedule(rounds, self.schedule.draws, (stretch,), len(self.preferences))
        return tapes(schedule, seeds, episodes=np.full(len(seeds), _REHEARSAL))

    def episodes(self, seeds: Sequence[int], agent: Agent, plan: SweepPlan) -> tuple[Tape, Any, Tape | None]:
        """Tape, pilot and rehearsal as `agents.sweep.sweep` takes them; an agent that rehearses gets no pilot."""
        before = self.rehearsal(seeds, plan.rehearsal) if plan.rehearsal else None
        given = len(self.training) > 0 and agent.fit is not None and before is None
        return self.tape(seeds), self.pilot(seeds) if given else None, before


def make_sweep(config: Config, part: WorldConfig) -> SweepGame:
    """Tabulates the sweep on one world.

    Raises:
        ConfigError: naming the entry of the config that does not fit.
    """
    for i, agent in enumerate(config.agents):
        if agent.name in REFERENCES:
            raise ConfigError(f"agents[{i}].name: {agent.name!r} is a policy that a sweep has from its tables")
    world = load_world(config, part)
    preferences = config.swept
    weights = {name: [getattr(preference, name) for preference in preferences] for name in WEIGHTS}
    try:
        mixed = preference_mix(world, Reward(cost_channel=preferences[0].cost_channel), **weights)
        bandit = tabulate(world, mixed.phases, part.context)
    except ValueError as error:
        raise ConfigError(f"sweeps on world {part.name!r}: {error}") from None
    queries = len(world.query_ids)
    if config.pilot >= queries:
        raise ConfigError(f"pilot: {config.pilot} queries of {queries} would leave none to play in {part.name}")
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((config.first_seed, 0, PILOT))))
    shuffled = random.permutation(queries)
    # Every so-many-th of the queries by rising mean quality of their arms: both parts are equally hard.
    ordered = shuffled[world.expected.quality.mean(axis=1)[shuffled].argsort(kind="stable")]
    training = np.sort(ordered[np.arange(config.pilot) * queries // max(config.pilot, 1)]).astype(np.int32)
    questions = np.setdiff1d(np.arange(queries, dtype=np.int32), training)
    if config.rounds != len(questions):
        raise ConfigError(
            f"rounds: {config.rounds}, expected {len(questions)} in {part.name}: every seed asks each question that "
            "the pilot leaves once"
        )
    schedule = Schedule(config.rounds, world.channels.quality.shape[1], (Stretch(0, 0, questions),))
    key = CellKey(part.name, "stationary", "sweep")
    return SweepGame(key, world, preferences, make_tables(bandit), questions, training, schedule)


def all_sweeps(config: Config) -> list[tuple[CellKey, Callable[[], SweepGame]]]:
    """Every cell with a function that makes it (once)."""
    return [
        (CellKey(part.name, "stationary", "sweep"), functools.cache(functools.partial(make_sweep, config, part)))
        for part in config.worlds
    ]
