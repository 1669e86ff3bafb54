"""Agents of any library in a comparison: worker processes play their episodes, the driver counts them as any others.

The arms that an agent plays on the Gymnasium environment are all that is taken from there. The driver, whose tables
hold the same bits, plays them again, so every number of a run is computed in one place.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from agents.agent import Agent, Choice, Feedback, Observation, State
from experiments.gym_worker import GymAgentError, Job, begin_worker, play_episode
from experiments.store import RunError
from uis_env.tape import Schedule


@functools.cache
def replay(rounds: int) -> Agent:
    """An agent whose state is the (T,) int32 arms to play; the state that it starts with is to be replaced."""

    def act(key: Array, arms: State, observation: Observation) -> Choice:
        unknown = jnp.full(observation.mask.shape, jnp.nan)
        return Choice(arms[observation.round], unknown, jnp.where(observation.mask, 0.0, -jnp.inf))

    def update(key: Array, arms: State, feedback: Feedback) -> State:
        return arms

    return Agent(lambda key: jnp.zeros(rounds, jnp.int32), act, update)


class Actors:
    """Worker processes that play episodes.

    Args:
        processes: how many; with one or less, episodes are played in this process.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def play(
        self, job: Job, episodes: Sequence[tuple[Schedule, int]], stop: threading.Event, told: Callable[[int], None]
    ) -> NDArray[np.int32]:
        """(S, T) the arms of (schedule, seed) pairs; `told` is called with the rounds of each one that is done.

        Raises:
            RunError: naming the agent, file and line, if it fails.
            InterruptedError: soon after `stop` is set.
        """
        if self.processes <= 1:
            played = []
            for schedule, seed in episodes:
                if stop.is_set():
                    raise InterruptedError
                played.append(_checked(functools.partial(play_episode, job, schedule, seed)))
                told(schedule.horizon)
            return np.stack(played)
        futures = [self._open().submit(play_episode, job, schedule, seed) for schedule, seed in episodes]
        waiting: set[Future[NDArray[np.int32]]] = set(futures)
        try:
            while waiting:
                if stop.is_set():
                    raise InterruptedError
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    told(len(_checked(future.result)))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return np.stack([future.result() for future in futures])

    def close(self) -> None:
        """Ends the workers."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None

    def _open(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(self.processes, get_context("spawn"), begin_worker)
            return self._pool


def _checked(play: Callable[[], Any]) -> Any:
    try:
        return play()
    except GymAgentError as error:
        raise RunError(str(error)) from error
    except BrokenProcessPool as error:
        raise RunError(f"a process that played an agent died ({error}); what is whole is kept") from error
