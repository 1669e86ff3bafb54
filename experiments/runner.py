"""Runs a config: what is missing is played, each unit written when whole, so that a killed run resumes where it was."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agents.registry import Factory
from experiments import interrupts
from experiments.cells import world_digests
from experiments.config import Config
from experiments.player import InterruptedRunError, Player, Progress
from experiments.results import Cell
from experiments.store import Store, StoreError, Unit, gather, read_json, write_json
from experiments.sweeps.measures import Sweep

__all__ = ["Executor", "InterruptedRunError", "Progress", "Runner", "Threads", "groups"]


class Executor(Protocol):
    """Where units are played; who plays them changes nothing in their files.

    Attributes:
        label: in words, for people.
        first: whether this process is the one that collects.
    """

    label: str
    first: bool

    def facts(self, player: Player) -> dict[str, Any]:
        """`Player.facts` of the place where units are played."""

    def play(self, player: Player, units: list[Unit], store: Store, progress: Progress) -> None:
        """Returns when all of the units are whole in the store."""


class Threads:
    """Units on threads of this process, and blocks of seeds on all its devices.

    Args:
        workers: how many threads; None takes one per core.
    """

    first = True

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
        self.store = Store(root, config.digest)
        self.executor = executor or Threads(workers)
        self.player = Player(config, extra)
        self.games = self.player.games

    def units(self) -> list[Unit]:
        """All work units, cell by cell."""
        return self.player.units()

    def manifest(self) -> dict[str, Any]:
        """What the results depend on; written first, so that a resumed run can tell whether it is the same."""
        return {
            "config": self.config.to_json(),
            "config_hash": self.config.digest,
            "git_commit": _git_commit(),
            "seed_block": self.player.block,
            **self.executor.facts(self.player),
        }

    def open(self) -> None:
        """Claims the run directory.

        Raises:
            StoreError: naming the keys that differ, if it holds the results of another config.
        """
        path = self.store.root / "manifest.json"
        if path.exists() and self.store.holds_results():  # a config that could not be played holds no folder
            old = read_json(path)
            if old.get("config_hash") != self.store.digest:
                keys = ", ".join(differences(old.get("config", {}), self.config.to_json())) or "config_hash"
                raise StoreError(
                    f"{self.store.root} holds results of another config; these keys differ: {keys}. "
                    "Choose another --out, or remove the folder."
                )
            now = world_digests(self.config)
            if lost := [name for name, digest in old.get("worlds", now).items() if digest != now[name]]:
                raise StoreError(
                    f"{self.store.root} holds results of other data of world {', '.join(lost)}. "
                    "Choose another --out, or remove the folder."
                )
        write_json(path, self.manifest())

    def run(self, progress: Progress) -> list[Any]:
        """Plays what is missing and returns all cells (none, if another process is the one that collects).

        Raises:
            InterruptedRunError: if it was stopped before all units were whole.
            RunError: if units cannot be played where they should be.
        """
        begin = time.perf_counter()
        self.open()
        units = self.units()
        missing = [unit for unit in units if not self.store.done(unit)]
        damaged = [path for unit in missing if (path := self.store.root / unit.path).exists()]
        progress.start(self.player.rounds(missing), damaged)
        self.executor.play(self.player, missing, self.store, progress)
        if not self.executor.first:
            return []
        cells = self.collect()
        total = time.perf_counter() - begin
        path = self.store.root / "timings.json"
        if missing or not path.exists():  # a run may have been killed between its last unit and this file
            write_json(path, self.player.clock.to_json(total, len(units) - len(missing)))
        return cells

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


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The keys at which two plain JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in sorted({**old, **new}) if key != "description"]
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [path]


def _git_commit() -> str | None:
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
