"""Work units as Ray tasks: workers play, this process saves, so that the files are those of a local run.

Worker processes import the same code by name: every node needs the same checkout and packages at the same paths, and
so do the modules of `--agent`. Ray adds the folder that the run was started from to the workers' path.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import secrets
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from experiments import interrupts
from experiments.config import Config, ConfigError
from experiments.store import RunError

if TYPE_CHECKING:
    from experiments.clock import Progress
    from experiments.player import Player
    from experiments.results import AgentRuns, SweepRuns
    from experiments.store import Store, Unit

Job = tuple[bytes, float, int | None]
"""What a worker makes its player of: the config as JSON, GPUs per task, seeds per unit."""
Reply = tuple[Sequence["AgentRuns | SweepRuns"], dict[str, dict[str, float]]]


class Cluster:
    """Units as tasks on a Ray cluster. A task whose worker is lost is played again elsewhere.

    Args:
        address: of a running cluster (`HOST:PORT`, `auto`); `local` starts one on this machine, for this run only.
        gpus: GPUs a task holds; a fraction lets tasks share one, 0 keeps them on CPUs.
        workers: tasks at a time, with `local`; None takes one per core.
        retries: how often a task is tried again when its worker is lost.

    Raises:
        ConfigError: if Ray is not installed, or the GPUs are neither whole nor a fraction of one.
    """

    first = alone = True

    def __init__(
        self,
        address: str,
        gpus: float = 0.0,
        workers: int | None = None,
        retries: int = 3,
    ) -> None:
        if gpus < 0 or (gpus > 1 and gpus % 1):
            raise ConfigError(f"--gpus-per-task {gpus:g}: expected a whole number, or a fraction of one")
        # Both are read when Ray is imported: nothing is reported to anybody, and CPU tasks keep their environment.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if address == "local":
            # Ray listens on all interfaces and runs what it is sent: only who knows this token may send something.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ModuleNotFoundError:
            raise ConfigError("--cluster needs Ray: pip install -e '.[cluster]'") from None
        self.label = f"Ray ({address})"
        self._ray = ray
        self._gpus = gpus
        self._retries = retries
        options: dict[str, Any] = {}
        if address == "local":
            options = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        if not ray.is_initialized():
            try:
                if place := re.fullmatch(r"(.+):(\d+)", address):  # Ray itself would go on trying for a long time
                    socket.create_connection((place[1].removeprefix("ray://"), int(place[2])), timeout=10).close()
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
            except (OSError, OverflowError, ValueError, RuntimeError) as error:
                raise RunError(f"--cluster {address}: no cluster there ({error})") from None

    def facts(self, player: Player) -> dict[str, Any]:
        """Those of a worker."""
        from experiments.cells import world_digests

        task = self._remote(_facts).remote(self._job(player))
        facts: dict[str, Any] = self._get(task, "the first task")
        for name, digest in world_digests(player.config).items():
            if facts["worlds"][name] != digest:
                raise RunError(
                    f"world {name!r} is another one on a worker ({facts['worlds'][name][:12]}) than here "
                    f"({digest[:12]}); expected the same data and a function that returns the same world every time"
                )
        return facts

    def play(self, player: Player, units: list[Unit], store: Store, progress: Progress) -> None:
        """Hands out all units and saves what comes back, as it comes.

        Raises:
            RunError: if a unit failed, its workers were lost too often, or workers differ in what results depend on.
        """
        from experiments.runner import groups

        job = self._job(player)
        facts = self._ray.put(self.facts(player))
        play = self._remote(_play)
        tasks = {play.remote(job, group, facts): group for group in groups(units, max(1, int(self._gpus)))}
        try:
            while tasks:
                interrupts.check()
                done, _ = self._ray.wait(list(tasks), num_returns=1, timeout=0.2)
                if not done:
                    continue  # Ctrl-C is heard between two waits
                [task] = done
                group = tasks.pop(task)
                runs, counted = self._get(task, str(group[0].path.with_suffix("")))
                for unit, part in zip(group, runs, strict=True):
                    store.save(unit, part)
                player.clock.merge(counted)
                progress.advance(player.rounds(group), f"{group[0].cell.label} · {group[0].agent}")
        except BaseException:
            for task in tasks:
                self._ray.cancel(task, force=True)  # leaving a cluster waits for what still runs there
            raise

    def _job(self, player: Player) -> Job:
        return msgspec.json.encode(player.config), self._gpus, player.block

    def _remote(self, function: Any) -> Any:
        return self._ray.remote(function).options(
            num_cpus=1, num_gpus=self._gpus, max_retries=self._retries, retry_exceptions=False
        )

    def _get(self, task: Any, what: str) -> Any:
        """What a task returned; its error in one line."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(task)
        except RayTaskError as error:
            cause = error.cause
            raise RunError(f"{what}: {type(cause).__name__}: {cause}") from None
        except RayError as error:
            raise RunError(
                f"{what}: lost {self._retries + 1} times ({type(error).__name__}); what is whole is kept, "
                "run the same command again to go on"
            ) from None


@functools.lru_cache(maxsize=1)
def _player(job: Job) -> tuple[Player, dict[str, Any]]:
    """The player of a worker process, which keeps worlds and programs from task to task, and its facts."""
    config, gpus, block = job
    if gpus == 0:
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif gpus < 1:
        # Processes that share a GPU: each takes its part of the memory, and no more.
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * gpus:.4f}"
    from experiments import backend

    backend.configure()
    from experiments.player import Player

    player = Player(msgspec.json.decode(config, type=Config), block=block)
    return player, player.facts()


def _facts(job: Job) -> dict[str, Any]:
    return _player(job)[1]


def _play(job: Job, units: list[Unit], facts: dict[str, Any]) -> Reply:
    """Plays units on a worker.

    Raises:
        RunError: if it would give other bits than the worker that the manifest tells of.
    """
    from experiments.clock import Progress
    from experiments.runner import differences

    player, mine = _player(job)
    if keys := differences(facts, mine):
        raise RunError(f"the worker on {socket.gethostname()} differs from the first one in {', '.join(keys)}")
    player.clock.take()
    return player.play(units, Progress()), player.clock.take()
