"""From a config to cells that can be played: worlds loaded, rewards tabulated, tapes scheduled, agents made."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import AGENTS
from agents.agent import Agent, Spec
from agents.rollout import Tables, make_tables
from agents.text import text_features
from agents.wrappers import only
from experiments.config import AgentConfig, Config, ConfigError, PreferenceConfig, ScenarioConfig, WorldConfig
from experiments.references import askable, round_weights
from experiments.results import CellKey
from uis_env import worlds
from uis_env.arms import ArmCatalog
from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.outcomes import World
from uis_env.scenarios import Scenario, make_scenario
from uis_env.tape import Schedule

Array = NDArray[Any]
Factory = Callable[..., Agent]
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
def _load(kind: str, options: tuple[tuple[str, Any], ...]) -> World:
    return worlds.load(kind, **dict(options))


def load_world(part: WorldConfig, where: str) -> World:
    """The world of a config entry (cached), which has the context asked for; ConfigError names the entry."""
    hashable = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(part.options.items()))
    try:
        world = _load(part.what, hashable)
        world.outcomes(part.context)
        return world
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise ConfigError(f"{where} ({part.name!r}): {error}") from None


def make_game(config: Config, world: WorldConfig, scenario: ScenarioConfig, preference: PreferenceConfig) -> Game:
    """Tabulates one cell.

    Raises:
        ConfigError: naming the entry of the config that does not fit.
    """
    loaded = load_world(world, f"worlds[{config.worlds.index(world)}]")
    settings = {name: getattr(preference, name) for name in preference.__struct_fields__ if name != "name"}
    where = f"preferences[{config.preferences.index(preference)}] ({preference.name!r})"
    try:
        reward = Reward(**settings)
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
    tables = make_tables(bandit, weight=round_weights(schedule, queries), asked=askable(schedule, queries))
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


def make_spec(
    world: World, context: str | None, preference: PreferenceConfig | Reward, horizon: int, arms: str = "catalog"
) -> Spec:
    """What agents may know in advance: sizes, arm features, list costs, and the models' sizes as a prior.

    The arm features are the catalog's, or with `arms="text"` those of the arms' descriptions.
    """
    expected = getattr(world.expected, preference.cost_channel)
    cost = np.zeros(len(world.catalog)) if expected is None else expected.mean(axis=0, dtype=np.float64)
    return Spec(
        arms=len(world.catalog),
        context=world.outcomes(context).context.shape[1],
        features=world.catalog.features if arms == "catalog" else _text(world),
        model=world.catalog.model_index,
        method=world.catalog.recipe_index,
        budget=_places([arm.budget for arm in world.catalog.arms], world.catalog.budgets),
        log_budget=np.log2([math.prod(arm.budget) for arm in world.catalog.arms]).astype(np.float32),
        list_cost=cost.astype(np.float32),
        list_quality=_public_strength(world, cost),
        channels=tuple(world.channels.present()),
        horizon=horizon,
        transform=preference.transform,
        ends=preference.ends or world.cost_ends.get(preference.cost_channel, (0.0, 1.0)),
    )


def _text(world: World) -> NDArray[np.float32]:
    """(K, F) features of the arms' descriptions; ConfigError if they do not tell the arms apart."""
    try:
        return text_features(world.catalog.descriptions)[0]
    except ValueError as error:
        raise ConfigError(f"arms = 'text' on world {world.name!r}: {error}") from None


def _places(labels: Sequence[Any], known: Sequence[Any]) -> Array:
    """(K,) int32: each label's place among the known ones."""
    return np.array([known.index(label) for label in labels], np.int32)


def _public_strength(world: World, cost: Array) -> Array:
    """(K,) float32: larger models first (by parameters, else by list cost), the dearer arm of a model first."""
    names = world.catalog.feature_names
    size = world.catalog.features[:, names.index("log_params")] if "log_params" in names else cost
    rank = np.unique(size, return_inverse=True)[1]
    return (rank + cost / (cost.max() * 2 or 1.0)).astype(np.float32)


def make_agent(part: AgentConfig, spec: Spec, catalog: ArmCatalog, where: str, extra: Mapping[str, Factory]) -> Agent:
    """Calls the factory of a config entry, and keeps the agent to the arms that the entry names.

    Raises:
        ConfigError: naming the entry, if there is no such kind, it does not take the options, or no such arm.
    """
    if part.what not in extra and part.what not in AGENTS:
        raise ConfigError(f"{where}: unknown agent {part.what!r}; expected one of {', '.join(AGENTS)}")
    factory = extra[part.what] if part.what in extra else AGENTS[part.what].factory
    try:
        inspect.signature(factory).bind(spec, **part.options)
    except TypeError as error:
        raise ConfigError(f"{where}.options: {part.what} {error}") from None
    for name, parameter in inspect.signature(factory).parameters.items():
        value = part.options.get(name, 0)
        if not str(parameter.annotation).startswith("float"):
            continue
        if isinstance(value, bool | str | list) or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{where}.options.{name}: {value!r}, expected a finite number")
    try:
        agent = factory(spec, **part.options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}.options: {error}") from None
    if not isinstance(agent, Agent):
        raise ConfigError(f"{where}: {part.what} returned {type(agent).__name__}, expected agents.Agent")
    if not part.pilot:
        agent = agent._replace(fit=None)
    if part.only is None:
        return agent
    try:
        arms = catalog.mask(part.only.models, part.only.methods, part.only.budgets, part.only.styles)
    except KeyError as error:
        raise ConfigError(f"{where}.only: {error.args[0]}") from None
    if not arms.any():
        raise ConfigError(f"{where}.only: no arm has such a model, method, budget and style together")
    return only(agent, arms)


def numbers(part: AgentConfig, extra: Mapping[str, Factory]) -> dict[str, float]:
    """The numbers of a config entry that its factory takes as arrays, too, so that one program serves all of them.

    A discount is none of them: whether it is 1 decides what is computed.
    """
    parameters = inspect.signature(extra.get(part.what) or AGENTS[part.what].factory).parameters.values()
    given = {p.name: part.options.get(p.name, p.default) for p in parameters if "Array" in str(p.annotation)}
    return {name: n for name, n in given.items() if type(n) in (int, float) and name != "discount"}


def own_agent(text: str) -> tuple[str, Factory]:
    """`module:factory` to (label, factory); the module is looked for in the working directory, too.

    Raises:
        ConfigError: if there is no such module or factory.
    """
    module, _, attribute = text.partition(":")
    if not module or not attribute:
        raise ConfigError(f"--agent {text}: expected MODULE:FACTORY")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--agent {text}: {error}") from None
    except SyntaxError as error:
        raise ConfigError(f"--agent {text}: {error.filename}:{error.lineno}: {error.msg}") from None
    if not callable(factory):
        raise ConfigError(f"--agent {text}: {attribute} is not callable, expected factory(spec) -> Agent")
    return f"{module}.{attribute}", factory
