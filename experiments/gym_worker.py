"""An episode of an agent of any library, on the Gymnasium environment; what worker processes run. It imports no JAX."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from experiments.config import Config
from uis_env import worlds
from uis_env.env import UISEnv
from uis_env.imports import describe, find_function
from uis_env.scenarios import make_scenario
from uis_env.tape import Schedule


class GymAgent(Protocol):
    """An agent of any library. `reset(seed)`, called once before the first round, is optional."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> int:
        """The arm to play; `info["action_mask"]` says which are on offer."""

    def learn(
        self, observation: Any, action: int, reward: float, next_observation: Any, done: bool, info: Mapping[str, Any]
    ) -> None:
        """Learns from a round; `info` holds what the arm returned (quality, cost channels)."""


class GymAgentError(RuntimeError):
    """An agent of a user failed; the message is one line that says where."""


class Job(NamedTuple):
    """What is played, in a form that travels to other processes.

    Attributes:
        config: as JSON.
        world, scenario, preference: names of the cell.
        code: `module:make` of the agent.
        options: keyword arguments of `make`, as JSON.
    """

    config: bytes
    world: str
    scenario: str
    preference: str
    code: str
    options: bytes


def play_episode(job: Job, schedule: Schedule, seed: int) -> NDArray[np.int32]:
    """(T,) the arms that a new agent plays on the tape of a seed.

    The global generators of `random`, NumPy and, if it is loaded, PyTorch start from the seed.

    Raises:
        GymAgentError: naming file and line, or the seed and round, if the agent fails or plays what it cannot.
    """
    env = _environment(job[:4])
    env.episodes.schedule, env.episodes.horizon = schedule, schedule.horizon  # type: ignore[attr-defined]
    where = "make"
    try:
        make = find_function(job.code, _config(job.config).folders)
        _seed_everything(seed)
        agent = make(env, **msgspec.json.decode(job.options))
        for name in ("act", "learn"):
            if not callable(getattr(agent, name, None)):
                raise GymAgentError(f"{job.code} returned {type(agent).__name__}, which has no method {name!r}")
        where = "reset"
        if hasattr(agent, "reset"):
            agent.reset(seed)
        actions = np.empty(schedule.horizon, np.int32)
        observation, info = env.reset(seed=seed)
        for number in range(schedule.horizon):
            where = f"act in round {number} of seed {seed}"
            arm = _arm(agent.act(observation, info), info["action_mask"])
            after, reward, terminated, truncated, returned = env.step(arm)
            where = f"learn in round {number} of seed {seed}"
            agent.learn(observation, arm, reward, after, terminated or truncated, returned)
            observation, info = after, returned
            actions[number] = arm
    except GymAgentError:
        raise
    except (Exception, SystemExit) as error:
        raise GymAgentError(f"{job.code}: {where}: {describe(error)}") from error
    return actions


def _arm(action: Any, mask: NDArray[np.int8]) -> int:
    """The action as an int.

    Raises:
        ValueError: if it is no integer, or not on offer.
    """
    plain = action.item() if isinstance(action, np.ndarray | np.generic) and np.size(action) == 1 else action
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise ValueError(f"action is {action!r}, expected an integer in 0..{len(mask) - 1}")
    if not (0 <= plain < len(mask) and mask[plain]):
        raise ValueError(f"action {plain} is not on offer; expected one of those where info['action_mask'] is 1")
    return plain


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@functools.lru_cache(maxsize=1)
def _config(text: bytes) -> Config:
    return msgspec.json.decode(text, type=Config)


@functools.lru_cache(maxsize=2)
def _environment(cell: tuple[bytes, str, str, str]) -> UISEnv:
    """The environment of a cell; its schedule is set for every seed."""
    config = _config(cell[0])
    world = next(part for part in config.worlds if part.name == cell[1])
    scenario = next(part for part in config.scenarios if part.name == cell[2])
    preference = next(part for part in config.preferences if part.name == cell[3])
    loaded = worlds.load(world.what, config.folders, **world.options)
    made = make_scenario(scenario.what, loaded, preference.reward, **scenario.options)
    return UISEnv(
        loaded, scenario=made, context=world.context, horizon=config.rounds, order=config.order, holdout=config.holdout
    )


def begin_worker() -> None:
    """Ctrl-C is the parent's to hear; a worker whose parent is gone ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def takes_options(make: Any, options: Mapping[str, Any]) -> str | None:
    """Why `make(env, **options)` cannot be called; None if it can."""
    try:
        inspect.signature(make).bind(None, **options)
    except TypeError as error:
        return str(error)
    except ValueError:  # a class of an extension module, say, that has no signature
        return None
    return None
