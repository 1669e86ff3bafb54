"""Multi-host JAX: every process plays its share of the units on its own devices, all into one shared directory.

No value crosses between hosts, so results are those of one process. JAX only says which process this is, of how many.
"""

from __future__ import annotations

import re
import time
from typing import Any

import jax

from experiments import interrupts
from experiments.clock import Progress
from experiments.config import ConfigError
from experiments.player import Player
from experiments.runner import Threads, groups
from experiments.store import RunError, Store, Unit

POLL = 1.0
"""Seconds between two looks at the directory."""


def join(text: str) -> None:
    """Joins the JAX job of `HOST:PORT,I/N` (process I of N; HOST:PORT is where process 0 listens).

    `auto` lets JAX find out by itself, as it can under Slurm, Open MPI and on TPU pods.

    Raises:
        ConfigError: if the text is none of this.
        RunError: if the other processes cannot be reached.
    """
    place = re.fullmatch(r"([^,\s]+:\d+),(\d+)/(\d+)", text)
    if text != "auto" and (place is None or int(place[2]) >= int(place[3])):
        raise ConfigError(f"--distributed {text}: expected HOST:PORT,I/N with I of 0 .. N-1, or auto")
    # The processes part when the last one is done, which is the first one with its tables: that may take an hour.
    options: dict[str, Any] = {"shutdown_timeout_seconds": 3600}
    if place:
        options |= {"coordinator_address": place[1], "process_id": int(place[2]), "num_processes": int(place[3])}
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"--distributed {text}: {error}") from None


def share(units: list[Unit], size: int, index: int, count: int) -> list[Unit]:
    """The units that process `index` of `count` plays, of all units of a run (in groups of `size`, see `groups`).

    It does not depend on what is done, so that processes may start and resume at different times. Each stripe of
    groups starts one process further on than the last, lest an agent always meet the same process.
    """
    return [unit for i, group in enumerate(groups(units, size)) if (i + i // count) % count == index for unit in group]


class Hosts:
    """Plays one process's share of the units on its threads and devices, then waits until all units are whole.

    Args:
        threads: what plays the share.
        patience: seconds to wait without any unit of the others turning up.
        index, count: which process this is, and how many there are.
    """

    def __init__(self, threads: Threads, patience: float, index: int, count: int) -> None:
        self._threads = threads
        self._patience = patience
        self._index, self._count = index, count
        self.first = index == 0
        self.alone = False
        self.label = f"{threads.label} of process {index} of {count}"

    def facts(self, player: Player) -> dict[str, Any]:
        """Those of this process."""
        return player.facts()

    def play(self, player: Player, units: list[Unit], store: Store, progress: Progress) -> None:
        """Plays its share of the missing units, then waits for the others.

        Raises:
            RunError: if the others' units stay away.
        """
        mine = set(share(player.units(), len(player.devices), self._index, self._count))
        self._threads.play(player, [unit for unit in units if unit in mine], store, progress)
        waiting = [unit for unit in units if unit not in mine]
        last = time.monotonic()
        while waiting:
            interrupts.check()
            left = [unit for unit in waiting if not store.done(unit)]
            if len(left) < len(waiting):
                progress.advance(player.rounds([unit for unit in waiting if unit not in left]), "other processes")
                waiting, last = left, time.monotonic()
            elif time.monotonic() - last > self._patience:
                raise RunError(
                    f"{len(waiting)} units of other processes are not in {store.root} and none came for "
                    f"{self._patience:g} s (such as {waiting[0].path}): do all hosts see this directory, and do all "
                    f"{self._count} processes run? What is whole is kept; run the same commands again to go on"
                )
            else:
                time.sleep(POLL)
