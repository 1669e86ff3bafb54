"""Plays work units: programs compiled once per agent, one block of seeds per device, runs handed back in NumPy."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents import AGENTS, rollout
from agents.agent import Agent
from agents.registry import Factory
from agents.rollout import METRICS, Bins, Carry, Plan, Rounds
from agents.spec import Spec, make_spec
from agents.sweep import SweepPlan, Swept, sweep
from agents.wrappers import family
from experiments import backend, provenance
from experiments.cells import Game, all_games, load_world, world_digests
from experiments.clock import Clock, Progress
from experiments.config import AgentConfig, Config, ConfigError
from experiments.entrants import check_references, entrant, make_agent, numbers, own_factories
from experiments.gym_agents import Actors
from experiments.gym_worker import Job
from experiments.results import PERCENTILES, AgentRuns, Array, CellKey, Entrant, SweepRuns
from experiments.store import RunError, Unit
from experiments.sweeps.game import SweepGame, all_sweeps
from uis_env.arms import ArmCatalog
from uis_env.split import holdout_rounds
from uis_env.tape import Schedule

CURVES = ("reward", "regret", "quality", "cost")


class InterruptedRunError(RuntimeError):
    """The run was stopped; what is whole is kept."""


class Player:
    """A config's cells, agents and compiled programs. It writes nothing.

    Args:
        config: what to play.
        extra: factories by kind, beside the registry's and those of `module:factory`.
        block: seeds per unit; None takes the config's, or all seeds if they are fewer.

    Attributes:
        actors: who plays the agents of other libraries; of one process, unless the executor says otherwise.

    Raises:
        ConfigError: if an agent, world or scenario cannot be made.
    """

    def __init__(self, config: Config, extra: Mapping[str, Factory] | None = None, block: int | None = None) -> None:
        self.config = config
        self.devices = jax.local_devices()
        self._compiler_options = backend.compiler_options()
        self.clock = Clock()
        self.stop = threading.Event()
        self.games: list[tuple[CellKey, Callable[[], Any]]] = all_sweeps(config) if config.sweeps else all_games(config)
        self._game = dict(self.games)
        given = dict(extra or {})
        self._extra = own_factories([p for p in config.agents if p.what not in given], config.folders) | given
        self.actors = Actors(1)
        self._agents: dict[tuple[Any, ...], Agent] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._driver = provenance.driver()
        self._families: dict[tuple[Any, ...], Callable[[Mapping[str, float]], Agent]] = {}
        self._compiled: dict[tuple[Any, ...], Future[Any]] = {}
        self._lock = threading.Lock()
        self.block = block or min(config.block, config.seeds)
        self.blocks = -(-config.seeds // self.block)
        self.seeds = np.arange(config.first_seed, config.first_seed + config.seeds)
        check_references(config.agents)
        for key, _ in self.games:
            for part in config.agents:
                self._agent(part.name, key)
        first = self.games[0][0]
        self.entrants: Mapping[str, Entrant] = {
            part.name: entrant(part, self._agent(part.name, first), self._extra) for part in config.agents
        }

    def units(self) -> list[Unit]:
        """All work units, cell by cell."""
        return [
            Unit(key, agent.name, block)
            for key, _ in self.games
            for agent in self.config.agents
            for block in range(self.blocks)
        ]

    def rounds(self, units: Sequence[Unit]) -> int:
        """Rounds of all seeds (and preferences of a sweep) in these units."""
        return sum(self._horizon(unit.cell.world) for unit in units) * self.block * (len(self.config.swept) or 1)

    def facts(self) -> dict[str, Any]:
        """What the bits of a result depend on besides config and sources: worlds, versions, device, compiler."""
        return {"worlds": world_digests(self.config), **provenance.environment()}

    def key(self, unit: Unit) -> dict[str, Any]:
        """What decides the numbers of a unit, but for the environment: cell, agent, block and sources."""
        seeds = [seed for seed in self._seeds_of(unit) if seed in self.seeds]
        return {
            "cell": self._cell(unit.cell),
            "agent": self._entry(unit.agent),
            "block": {"size": self.block, "first_seed": seeds[0], "seeds": len(seeds)},
            "driver": self._driver,
        }

    def described(self) -> dict[str, Any]:
        """Name -> what each agent is, for the manifest: kind, role, summary, resolved options, digest of its sources.

        Raises:
            ConfigError: naming the entry of a user's agent whose source holds something that looks like a key.
        """
        found = {}
        for i, part in enumerate(self.config.agents):
            entrant, factory = self.entrants[part.name], self._factory(part)
            found[part.name] = self._entry(part.name) | {
                "role": entrant.role,
                "own": entrant.own,
                "summary": (inspect.getdoc(factory) or "").partition("\n")[0],
            }
            if entrant.own:
                try:
                    found[part.name]["text"] = provenance.source_text(
                        factory, f"agents[{i}] ({part.name!r})", part.code
                    )
                except ValueError as error:
                    raise ConfigError(str(error)) from None
        return found

    def _cell(self, key: CellKey) -> dict[str, Any]:
        """What decides the game of a cell: settings, not labels."""
        config = self.config
        world = next(part for part in config.worlds if part.name == key.world)
        found: dict[str, Any] = {
            "world": {"digest": world_digests(config)[world.name], "context": world.context, "arms": world.arms},
            **{name: getattr(config, name) for name in ("rounds", "holdout", "order", "pilot", "bins")},
        }
        if config.sweeps:
            return found | {"sweeps": msgspec.to_builtins(config.sweeps)}
        scenario = next(part for part in config.scenarios if part.name == key.scenario)
        preference = msgspec.to_builtins(next(part for part in config.preferences if part.name == key.preference))
        del preference["name"]
        return found | {
            "scenario": {"kind": scenario.what, "options": dict(scenario.options)},
            "preference": preference | {"ends": preference["ends"] and list(preference["ends"])},
        }

    def _entry(self, name: str) -> dict[str, Any]:
        """What decides an agent: every option with its resolved default, and the sources. Its name seeds its keys."""
        if name not in self._entries:
            part = self._part(name)
            factory = self._factory(part)
            defaults = {
                parameter.name: parameter.default
                for parameter in inspect.signature(factory).parameters.values()
                if parameter.default is not inspect.Parameter.empty
            }
            options = {key: _plain(value) for key, value in (defaults | dict(part.options)).items()}
            self._entries[name] = {
                **{key: value for key, value in msgspec.to_builtins(part).items() if key != "seeds_per_call"},
                "kind": part.what,
                "options": dict(sorted(options.items())),
                "seeds_per_call": self._seeds_per_call(name),
                "source": provenance.agent_source(factory, part.gym is not None, part.code),
            }
        return self._entries[name]

    def _factory(self, part: AgentConfig) -> Factory:
        return self._extra[part.what] if part.what in self._extra else AGENTS[part.what].factory

    def play(self, units: list[Unit], progress: Progress) -> Sequence[AgentRuns | SweepRuns]:
        """Plays units that differ in their block only, one block per device.

        Raises:
            InterruptedRunError: soon after `stop` is set.
            RunError: if an agent chose arms that were not on offer.
        """
        cell, name, _ = units[0]
        with self._lock:
            made = self._game[cell]()
        agent = self._agent(name, cell)
        if isinstance(made, SweepGame):
            return self._sweep(made, agent, units, progress)
        plan = self.plan(name, made.schedule)
        mesh = None if len(self.devices) == 1 else Mesh(np.array(self.devices), ("seeds",))
        padded = units + units[-1:] * (len(self.devices) - len(units))
        seeds = [seed for unit in padded for seed in self._seeds_of(unit)]
        part = self._part(name)
        if part.gym:  # an agent of another library plays no seed that only fills up a block
            seeds = [seed if seed in self.seeds else seeds[0] for seed in seeds]
        schedules = [made.schedule_of(seed) for seed in seeds]
        blocks = rollout.make_seeds(made.bandit, schedules, seeds, name)
        pilot = None
        if made.pilot and agent.fit is not None:
            parts = [made.pilot_of(seed) for seed in seeds]
            pilot = tuple(jnp.asarray(np.stack(column)) for column in zip(*parts, strict=True))

        args: tuple[Any, ...] = (made.tables, blocks, pilot)
        if mesh is not None:
            args = _spread(mesh, *args)
        carry: Carry = self._compile(name, rollout.start, (agent, plan.seeds_per_call), args, mesh=mesh)(*args)
        if part.gym:
            carry = carry._replace(state=jnp.asarray(self._gym_arms(part, made, seeds, schedules, progress)))
            progress = Progress()
        bins: list[Bins] = []
        for chunk in range(plan.chunks):
            rounds = rollout.make_rounds(plan, schedules, seeds, blocks.keys, chunk)
            args = (made.tables, blocks, carry, rounds)
            if mesh is not None:
                args = _spread(mesh, *args)
            rounds_of = agent._replace(init=_none)  # no round calls it; all that members of a family differ in is in it
            step = self._compile(name, rollout.advance, (rounds_of, plan), args, mesh=mesh)
            if self.stop.is_set():
                raise InterruptedRunError
            begin = time.perf_counter()
            carry, part, _ = jax.block_until_ready(step(*args))
            bins.append(jax.tree.map(np.asarray, part))
            self._refuse(int(np.asarray(carry.refused).sum()), cell, name)
            self.clock.add("run", name, time.perf_counter() - begin)
            played = int((plan.numbers(chunk) < plan.horizon).sum()) * self.block * len(units)
            self.clock.add("rounds", name, played)
            progress.advance(played, f"{cell.label} · {name}")
        last = jax.tree.map(np.asarray, carry._replace(state=()))
        result: list[AgentRuns] = []
        for i, unit in enumerate(units):
            mine = [seed for seed in self._seeds_of(unit) if seed in self.seeds]
            rows = slice(i * self.block, i * self.block + len(mine))
            prices = [made.pilot_price(seed) if pilot is not None else (0.0, 0.0) for seed in mine]
            result.append(_reduce(last, bins, plan, made, np.array(prices, np.float64), rows))
        return result

    def _gym_arms(
        self, part: AgentConfig, made: Game, seeds: list[int], schedules: list[Schedule], progress: Progress
    ) -> Array:
        """(S, T) the arms that an agent of another library plays; each seed is played once."""
        episodes = dict(zip(seeds, schedules, strict=True))
        job = Job(msgspec.json.encode(self.config), *made.key, part.what, msgspec.json.encode(part.options))
        label, begin = f"{made.key.label} · {part.name}", time.perf_counter()
        try:
            arms = self.actors.play(
                job,
                [(schedule, seed) for seed, schedule in episodes.items()],
                self.stop,
                lambda rounds: progress.advance(rounds, label),
            )
        except InterruptedError:
            raise InterruptedRunError from None
        except RunError as error:
            raise RunError(f"agents[{self.config.agents.index(part)}] ({part.name!r}): {error}") from error
        self.clock.add("run", part.name, time.perf_counter() - begin)
        played = dict(zip(episodes, arms, strict=True))
        return np.stack([played[seed] for seed in seeds])

    def _sweep(self, made: SweepGame, agent: Agent, units: list[Unit], progress: Progress) -> list[SweepRuns]:
        """Plays units of a sweep: one call of one program for all their preferences and seeds."""
        name = units[0].agent
        part = self._part(name)
        mesh = None if len(self.devices) == 1 else Mesh(np.array(self.devices), ("seeds",))
        padded = units + units[-1:] * (len(self.devices) - len(units))
        seeds = [seed for unit in padded for seed in self._seeds_of(unit)]
        together = 1 if jax.default_backend() == "cpu" else self.block
        plan = SweepPlan(self._seeds_per_call(name), together, part.rehearsal)
        args: tuple[Any, ...] = (made.tables, rollout.block_keys(seeds, name), *made.episodes(seeds, agent, plan))
        if mesh is not None:
            args = _spread(mesh, *args)
        step = self._compile(name, sweep, (agent, plan), args, mesh=mesh)
        if self.stop.is_set():
            raise InterruptedRunError
        begin = time.perf_counter()
        swept: Swept = jax.tree.map(np.asarray, jax.block_until_ready(step(*args)))
        mask, query = np.asarray(made.tables.bandit.mask[0]), np.asarray(args[2].query)[:, None, :]
        offered = (swept.action >= 0) & (swept.action < mask.shape[1])
        offered &= mask[query, np.clip(swept.action, 0, mask.shape[1] - 1)]
        self._refuse(int((~offered).sum()), units[0].cell, name)
        rounds = self.rounds(units)
        self.clock.add("run", name, time.perf_counter() - begin)
        self.clock.add("rounds", name, rounds)
        progress.advance(rounds, f"{units[0].cell.label} · {name}")
        result = []
        for i, unit in enumerate(units):
            rows = slice(i * self.block, i * self.block + sum(seed in self.seeds for seed in self._seeds_of(unit)))
            believed = None if swept.believed is None else np.asarray(swept.believed[rows])
            result.append(SweepRuns(np.asarray(swept.action[rows], np.uint16), believed))
        return result

    def _refuse(self, refused: int, cell: CellKey, name: str) -> None:
        """Ends the run if an agent chose arms that were not on offer: what they would return is no result."""
        if refused:
            raise RunError(
                f"agents[{self.config.agents.index(self._part(name))}] ({name!r}) chose an arm that was not on offer "
                f"in {refused} rounds of {cell.label}; expected one where `mask` is True (agents.check_agent checks it)"
            )

    def _part(self, name: str) -> AgentConfig:
        return next(part for part in self.config.agents if part.name == name)

    def _agent(self, name: str, key: CellKey) -> Agent:
        """The agent of a config entry in a cell; cells and worlds of the same `Spec` share it: it compiles once."""
        world = next(part for part in self.config.worlds if part.name == key.world)
        preferences = self.config.preferences or self.config.swept
        preference = next((part for part in preferences if part.name == key.preference), preferences[0])
        known = (name, key.world, preference.cost_channel, preference.transform, preference.ends)
        with self._lock:
            if known not in self._agents:
                part = self._part(name)
                where = f"agents[{self.config.agents.index(part)}] ({name!r})"
                loaded = load_world(self.config, world)
                try:
                    spec = make_spec(loaded, preference.reward, self._horizon(world.name), world.context, world.arms)
                except ValueError as error:
                    raise ConfigError(f"{where}, {world.name} · {preference.name}: {error}") from None
                content = (name, loaded.catalog.arms, *map(_hashable, vars(spec).values()))
                if content not in self._agents:
                    self._agents[content] = self._make(part, spec, loaded.catalog, where, content[1:])
                self._agents[known] = self._agents[content]
                if self._agents[known].privileged and self.config.sweeps:
                    raise ConfigError(f"{where}: a sweep has its references from the tables, leave {part.what!r} out")
            return self._agents[known]

    def _horizon(self, world: str) -> int:
        """Rounds of an episode in a world, those of the hold-out included."""
        part = next(part for part in self.config.worlds if part.name == world)
        loaded = load_world(self.config, part)
        return self.config.rounds + holdout_rounds(loaded, self.config.holdout)

    def _make(self, part: AgentConfig, spec: Spec, catalog: ArmCatalog, where: str, content: tuple[Any, ...]) -> Agent:
        """The agent of a config entry; entries that differ in numbers alone, as in a sweep of alpha, are a family."""
        agent = make_agent(part, spec, catalog, where, self._extra)
        if part.code is not None or agent.privileged:
            return agent
        others = [other for other in self.config.agents if other.code is None]
        if [_kind(other, self._extra) for other in others].count(_kind(part, self._extra)) == 1:
            return agent
        own = numbers(part, self._extra)

        def make(**given: Any) -> Agent:
            options = {**part.options, **given}
            return make_agent(msgspec.structs.replace(part, options=options), spec, catalog, where, self._extra)

        known = (_kind(part, self._extra), *content)
        if known not in self._families:
            self._families[known] = family(make, **own)
        return self._families[known](own)

    def _seeds_per_call(self, name: str) -> int:
        """How many seeds run side by side, or preferences in a sweep; it follows from the agent in the first cell."""
        part, agent = self._part(name), self._agent(name, self.games[0][0])
        if part.rehearsal:
            return len(self.config.swept)  # it learns no more, so all share one state
        return rollout.choose_seeds_per_call(agent, len(self.config.swept) or self.block, part.seeds_per_call)

    def plan(self, name: str, schedule: Schedule) -> Plan:
        """Static sizes of a comparison without sweeps."""
        chunk = max(1, CHUNK // self.block)
        return rollout.make_plan(schedule.rounds, self._seeds_per_call(name), self.config.bins, chunk, schedule.holdout)

    def let_go(self) -> None:
        """Frees compiled programs; those in use stay until they are done."""
        self._compiled.clear()
        jax.clear_caches()

    def _seeds_of(self, unit: Unit) -> range:
        """The seeds of a unit, those that only fill up its block included."""
        first = self.config.first_seed + unit.block * self.block
        return range(first, first + self.block)

    def _compile(
        self, agent: str, function: Any, static: tuple[Any, ...], args: tuple[Any, ...], **options: Any
    ) -> Any:
        """The compiled program for these static values and shapes; the first thread to ask compiles, others wait."""
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(args))
        key = (function, *static, jax.tree.structure(args), shapes)
        with self._lock:
            future = self._compiled.get(key)
            mine = future is None
            if future is None:
                if len(self._compiled) >= PROGRAMS:
                    self.let_go()
                future = self._compiled[key] = Future()
        if mine:
            begin = time.perf_counter()
            try:
                future.set_result(function.lower(*static, *args, **options).compile(self._compiler_options))
            except BaseException as error:
                future.set_exception(error)
                raise
            self.clock.add("compile", agent, time.perf_counter() - begin)
        return future.result()


def _kind(part: AgentConfig, extra: Mapping[str, Factory]) -> str:
    """All of a config entry but its name and its numbers."""
    fixed = {key: value for key, value in part.options.items() if key not in numbers(part, extra)}
    return repr(msgspec.structs.replace(part, name="", kind=part.what, options=dict(sorted(fixed.items()))))


def _plain(value: Any) -> Any:
    """An option as plain JSON: what is none becomes its text."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _none(key: Any) -> Any:
    """In the place of an `init` that is not called."""


def _hashable(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


PROGRAMS = 200
"""Compiled programs that are kept. Each takes some 150 memory maps, of which Linux gives a process 65,530."""

CHUNK = 1 << 16
"""Rounds times seeds between two looks at the stop flag: a second or so for most agents."""


def _spread(mesh: Mesh, tables: Any, *by_seed: Any) -> tuple[Any, ...]:
    """Arguments of `start` and `advance` on all devices of a mesh: seeds divided, all else whole."""
    whole, split = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("seeds")))
    rounds: Any = (whole, split, split, split)  # only the numbers of the rounds are shared
    specs = [Rounds(*rounds) if isinstance(part, Rounds) else split for part in by_seed]
    return jax.device_put((tables, *by_seed), (whole, *specs))  # type: ignore[no-any-return]


def _reduce(carry: Any, bins: list[Bins], plan: Plan, game: Game, prices: Array, rows: slice) -> AgentRuns:
    """Chunks and carry to the runs of some of the seeds, in float64 where sums are long."""
    sums = np.concatenate([part.sums[rows] for part in bins], axis=1)[:, : plan.learning_bins]
    totals = dict(zip(METRICS, sums.sum(axis=1, dtype=np.float64).T, strict=True))
    for name, shares in PERCENTILES.items():
        if name in carry.histograms:
            histogram, ends = carry.histograms[name][rows], np.asarray(game.tables.ends[name])
            totals |= {total: rollout.percentile(histogram, ends, share) for total, share in shares.items()}
    totals["pilot_cost"], totals["pilot_charge"] = prices.T
    arms = np.concatenate([part.arms[rows] for part in bins], axis=1)[:, : plan.learning_bins]
    reward, count = carry.query_reward[rows], carry.query_count[rows]
    held = {}
    if plan.holdout:  # no query is asked both before the hold-out and in it
        test = np.isin(np.arange(reward.shape[1]), game.schedule.stretches[-1].queries)
        held = {"holdout_reward": reward * test, "holdout_count": count * test}
        reward, count = reward * ~test, count * ~test
    return AgentRuns(
        totals=totals,
        curves={name: sums[..., METRICS.index(name)] for name in CURVES},
        arms=arms.sum(axis=0, dtype=np.int64),
        arm_count=carry.arm_count[rows],
        query_reward=reward,
        query_count=count,
        **held,
    )
