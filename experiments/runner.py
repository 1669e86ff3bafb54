"""Runs a config: what is missing is played, each unit written when whole, so that a killed run resumes where it was."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agents.registry import Factory
from experiments import interrupts, provenance
from experiments.clock import Progress
from experiments.config import Config
from experiments.gym_agents import Actors
from experiments.player import InterruptedRunError, Player
from experiments.results import Cell
from experiments.store import FORMAT, Store, StoreError, Unit, gather, read_manifest, write_json
from experiments.sweeps.measures import Sweep
from uis_env.lock import DirectoryLock

__all__ = ["Executor", "InterruptedRunError", "Progress", "Runner", "Threads", "groups"]


class Executor(Protocol):
    """Where units are played; who plays them changes nothing in their files.

    Attributes:
        label: in words, for people.
        first: whether this process is the one that collects.
        alone: whether no other process writes to the run directory.
    """

    label: str
    first: bool
    alone: bool

    def facts(self, player: Player) -> dict[str, Any]:
        """`Player.facts` of the place where units are played."""

    def play(self, player: Player, units: list[Unit], store: Store, progress: Progress) -> None:
        """Returns when all of the units are whole in the store."""


class Threads:
    """Units on threads of this process, and blocks of seeds on all its devices.

    Args:
        workers: how many threads; None takes one per core.
    """

    first = alone = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.label = f"{self.workers} threads"

    def facts(self, player: Player) -> dict[str, Any]:
        """Those of this process."""
        return player.facts()

    def play(self, player: Player, units: list[Unit], store: Store, progress: Progress) -> None:
        """Plays and saves; Ctrl-C or an error ends it within a chunk of rounds."""

        def play(group: list[Unit]) -> None:
            for unit, runs in zip(group, player.play(group, progress), strict=True):
                store.save(unit, runs)

        player.actors = Actors(self.workers)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="unit")
        futures: set[Future[None]] = {pool.submit(play, group) for group in groups(units, len(player.devices))}
        try:
            while futures:
                interrupts.check()
                done, futures = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            player.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            player.actors.close()
        pool.shutdown()


class Runner:
    """One config and its run directory.

    Args:
        config: what to run.
        root: the run directory.
        extra: factories of agents that are not in the registry.
        workers: threads that play units; None takes one per core.
        executor: where units are played instead of on threads.

    Raises:
        ConfigError: if an agent, world or scenario cannot be made.
        StoreError: if the directory belongs to another config.
    """

    def __init__(
        self,
        config: Config,
        root: Path,
        extra: Mapping[str, Factory] | None = None,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.config = config
        self.executor = executor or Threads(workers)
        self.player = Player(config, extra, _block_of(root, config))
        self.games = self.player.games
        self.store = Store(root, self.key, git_commit())
        self.lock = DirectoryLock(root)
        self.reused = 0

    def units(self) -> list[Unit]:
        """All work units, cell by cell."""
        return self.player.units()

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """Versions, device and settings of the place where units are played."""
        return self.executor.facts(self.player)

    def key(self, unit: Unit) -> dict[str, Any]:
        """What decides the numbers of a unit, plain JSON: two units of equal keys hold the same bytes."""
        environment = {name: value for name, value in self.facts.items() if name != "worlds"}  # the cell has its own
        plain = self.player.key(unit) | {"environment": environment}
        return json.loads(json.dumps(plain))  # type: ignore[no-any-return]

    def manifest(self, commits: Mapping[str, int]) -> dict[str, Any]:
        """What the results depend on; `commits` says how many units each checkout played."""
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "config_hash": self.config.digest,
            "commits": dict(commits),
            "seed_block": self.player.block,
            "driver": provenance.driver(),
            "agents": self.player.described(),
            **self.facts,
        }

    def open(self) -> None:
        """Looks whether the run directory can take this config.

        Raises:
            StoreError: if another version wrote it, or it holds results of a config whose cells differ (the keys are
                named); another agent, more seeds, one more world, scenario or preference are welcome.
        """
        if not (self.store.root / "manifest.json").exists():
            return
        if self.store.holds_results():
            old = read_manifest(self.store.root)
        elif not (self.store.root / "runs.npz").exists():  # a config that could not be played holds no folder
            return
        else:
            raise StoreError(f"{self.store.root} holds results without their units. Choose another --out")
        keys = _clashes(old["config"], self.config.to_json())
        if old["seed_block"] != self.player.block:
            keys.append("block")
        if keys:
            raise StoreError(
                f"{self.store.root} holds results of another config; these keys differ: {', '.join(keys)}. "
                "Choose another --out, or remove the folder."
            )

    def run(self, progress: Progress) -> list[Any]:
        """Plays what is missing and returns all cells (none, if another process is the one that collects).

        Raises:
            InterruptedRunError: if it was stopped before all units were whole.
            RunError: if units cannot be played where they should be.
            BusyError: if another process plays in the run directory.
        """
        begin = time.perf_counter()
        with self.lock if self.executor.alone else nullcontext():
            self.open()
            if self.executor.alone:
                self.store.tidy()
            units = self.units()
            missing, notes, damaged, commits = self._look(units)
            self.reused = len(units) - len(missing)
            if self.executor.first:
                planned = commits + Counter({self.store.commit or "unknown": len(missing)})
                write_json(self.store.root / "manifest.json", self.manifest(planned))
            progress.start(self.player.rounds(missing), damaged, notes)
            self.executor.play(self.player, missing, self.store, progress)
            if not self.executor.first:
                return []
            cells = self.collect()
            total = time.perf_counter() - begin
            write_json(self.store.root / "timings.json", self.player.clock.to_json(total, self.reused))
        return cells

    def _look(self, units: list[Unit]) -> tuple[list[Unit], list[str], list[Path], Counter[str]]:
        """The units to play, why those of other code are played again, damaged files, and commits of what is kept."""
        missing: list[Unit] = []
        damaged: list[Path] = []
        changed: dict[tuple[str, str], int] = {}
        commits: Counter[str] = Counter()
        for unit in units:
            stored = self.store.read(unit)
            if stored is None:
                missing.append(unit)
                damaged += [path for path in (self.store.root / unit.path,) if path.exists()]
            elif keys := differences(stored.key, self.key(unit)):
                missing.append(unit)
                reason = unit.agent, ", ".join(keys)
                changed[reason] = changed.get(reason, 0) + 1
            else:
                commits[stored.commit or "unknown"] += 1
        notes = [
            f"{count} units of {agent} are played again: {keys} differ{'' if ',' in keys else 's'} from what made them"
            for (agent, keys), count in changed.items()
        ]
        return missing, notes, damaged, commits

    def collect(self) -> list[Any]:
        """All cells from the unit files (of a sweep: `Sweep`), with their references."""
        from experiments.references import fixed_in_holdout, references

        player, cells = self.player, []
        names = [part.name for part in self.config.agents]
        if self.config.sweeps:
            return [
                Sweep(game(), player.seeds, gather(self.store, key, names, player.blocks), player.entrants)
                for key, game in self.games
            ]
        for key, game in self.games:
            made = game()
            known = references(made.world, made.scenario, made.bandit, made.schedule, np.asarray(made.tables.fold))
            agents = gather(self.store, key, names, player.blocks)
            held = None
            if made.schedule.holdout and known["best_fixed"] is not None:
                held = fixed_in_holdout(made.bandit, made.schedule, player.seeds, known["best_fixed"]["arm"])
            if known["best_fixed"] is None:  # no arm is always on offer: these two played any
                fixed = {name for name in names if player.entrants[name].kind in ("best_fixed", "fixed_elsewhere")}
                agents = {name: runs for name, runs in agents.items() if name not in fixed} or agents
            cells.append(
                Cell(
                    key=key,
                    rounds=self.config.rounds,
                    bin_rounds=player.plan(names[0], made.schedule).bin_rounds,
                    seeds=player.seeds,
                    agents=agents,
                    entrants={name: player.entrants[name] for name in agents},
                    references=known,
                    holdout_fixed=held,
                )
            )
        return cells


def groups(units: list[Unit], size: int) -> list[list[Unit]]:
    """Units of one cell and agent together, `size` of them at most: what is played at once."""
    together: dict[tuple[Any, str], list[Unit]] = {}
    for unit in units:
        together.setdefault((unit.cell, unit.agent), []).append(unit)
    return [group[i : i + size] for group in together.values() for i in range(0, len(group), size)]


def _block_of(root: Path, config: Config) -> int:
    """Seeds per unit: what a run in this directory began with, where it had fewer seeds than a whole block."""
    block = min(config.block, config.seeds)
    with suppress(StoreError):
        old = read_manifest(root)
        if old["config"].get("block") == config.block and old["seed_block"] < block:
            return int(old["seed_block"])
    return block


def _clashes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys of two configs whose units cannot lie in one directory; entries of equal name must be equal."""
    free = {"name", "description", "seeds", "agents", "worlds", "scenarios", "preferences"}
    keys = [key for name in sorted({*old, *new} - free) for key in differences(old.get(name), new.get(name), name)]
    for part in ("worlds", "scenarios", "preferences"):
        before = {entry["name"]: entry for entry in old.get(part, [])}
        for entry in new[part]:
            if entry["name"] in before:
                keys += differences(before[entry["name"]], entry, f"{part}.{entry['name']}")
    return keys


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The keys at which two plain JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in sorted({**old, **new}) if key != "description"]
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [path]


def git_commit() -> str | None:
    """The checkout's commit, `-dirty` behind it if tracked files differ; None outside a checkout."""
    root = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() or None
