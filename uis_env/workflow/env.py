"""Workflows as Gymnasium environments: one task, or many side by side."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from uis_env.outcomes import World
from uis_env.workflow.core import LEFT, Progress, Situation, Tasks, Workflow

Array = NDArray[Any]


class WorkflowEnv(gym.Env[Any, Any]):
    """A task of S queries with a deadline and a token budget; see `Workflow`.

    `reset(seed=s)` plays the task of s, each `reset()` after it the next task of the same seed. Action: `Discrete(K)`,
    an id of the catalog. Observation: float32 `Box`, the query's context and, as shares in [0, 1], the steps, needed
    successes, seconds and tokens left. `terminated` is True when the task has succeeded or failed; `truncated` never.

    `info` holds, after a step, what came back of the arm: `arm` (its name), `right` (whether the step succeeded),
    `success` (whether the task did), and `seconds` and `tokens` left (infinite without a limit); and always `query`
    (its row in the world) and `action_mask` ((K,) int8, 1 = on offer).

    Args:
        world: a World, or the name of a shipped one.
        **options: those of `Workflow`: steps, deadline, token_budget, quorum, reward, ...

    Attributes:
        workflow: what is played.

    Raises:
        ValueError: naming the option that does not fit and what was expected.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, world: World | str = "LatencyAware", **options: Any) -> None:
        self.workflow = Workflow(world, **options)
        self.observation_space, self.action_space = _spaces(self.workflow)
        self._seed: int | None = None
        self._episode = 0
        self._progress: Progress | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts a task: the first one of `seed`, or without it the next one. There are no options.

        Raises:
            ValueError: if `options` holds anything.
        """
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        super().reset(seed=seed)
        if seed is None and self._seed is not None:
            self._episode += 1
        else:
            self._seed = int(self.np_random.integers(1 << 32)) if seed is None else seed
            self._episode = 0
        self._tasks: Tasks = self.workflow.tasks([self._seed], self._episode)
        self._progress = self.workflow.begin(1)
        return self._observe({})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Answers the query observed with one arm.

        Raises:
            ValueError: if the action is not an integer in the range, or its arm is not on offer.
            ResetNeeded: before the first `reset` and after the end of a task.
        """
        if self._progress is None or self._progress.done[0]:
            raise ResetNeeded("no task is running: call reset() before step()")
        try:
            arm = operator.index(action)
        except TypeError:
            raise ValueError(f"action {action!r} is not an integer (an arm's id)") from None
        _check(self.workflow, self._situation, np.array([arm]))
        before = self._progress
        self._progress, reward, success = self.workflow.advance(self._tasks, before, np.array([arm]))
        observation, info = self._observe(
            {
                "arm": self.workflow.world.catalog.arms[arm].name,
                "right": bool(self._progress.need[0] < before.need[0]),
                "success": bool(success[0]),
                "seconds": float(self._progress.seconds[0]),
                "tokens": float(self._progress.tokens[0]),
            }
        )
        return observation, float(reward[0]), bool(self._progress.done[0]), False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """(K,) bool, the arms on offer for the query observed (the method that MaskablePPO asks)."""
        if self._progress is None:
            raise ResetNeeded("no task has begun: call reset() before action_masks()")
        return np.array(self._situation.mask[0], bool)

    def _observe(self, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        assert self._progress is not None
        self._situation: Situation = self.workflow.situation(self._tasks, self._progress)
        mask = self._situation.mask[0].astype(np.int8)
        return self._situation.observation[0], info | {"query": int(self._situation.query[0]), "action_mask": mask}


class WorkflowVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` tasks of `WorkflowEnv`, with equal results: sub-environment i of `reset(seed=s)` plays the tasks of s
    + i.

    A task that ends is followed at once by the next one of its seed (autoreset SAME_STEP); the observation and the info
    it ended with are in `infos["final_obs"]` and `infos["final_info"]`.

    Args:
        world: a World, or the name of a shipped one.
        num_envs: n.
        **options: those of `Workflow`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, world: World | str = "LatencyAware", num_envs: int = 1, **options: Any) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}, expected an integer >= 1")
        self.num_envs = num_envs
        self.workflow = Workflow(world, **options)
        self.single_observation_space, self.single_action_space = _spaces(self.workflow)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._names = np.array([arm.name for arm in self.workflow.world.catalog.arms], object)
        self._seeds: list[int] = []
        self._episode: Array = np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts a task in every sub-environment: the first ones of the seeds, or without a seed the next ones.

        Raises:
            ValueError: if there are not n seeds, or `options` holds anything.
        """
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        if seed is None and self._seeds:
            super().reset()
            self._episode = self._episode + 1
        else:
            if seed is None:
                super().reset()
                seed = int(self.np_random.integers(1 << 32))
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else [int(s) for s in seed]
            if len(seeds) != self.num_envs:
                raise ValueError(f"got {len(seeds)} seeds for {self.num_envs} sub-environments")
            super().reset(seed=seeds[0])
            self._seeds, self._episode = seeds, np.zeros(self.num_envs, np.int64)
        self._tasks = self.workflow.tasks(self._seeds, self._episode)
        self._progress = self.workflow.begin(self.num_envs)
        observations, infos = self._observe()
        return observations, self._flagged(infos)

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Answers one query in every sub-environment.

        Raises:
            ValueError: if actions are not n integers in the range, or an arm is not on offer.
            ResetNeeded: before the first `reset`.
        """
        if not self._seeds:
            raise ResetNeeded("no task is running: call reset() before step()")
        arms = np.asarray(actions)
        if arms.shape != (self.num_envs,) or arms.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {arms.shape} and dtype {arms.dtype}, expected {self.num_envs} integers (arms' ids)"
            )
        _check(self.workflow, self._situation, arms)
        before = self._progress
        self._progress, rewards, success = self.workflow.advance(self._tasks, before, arms)
        came_back = {
            "arm": self._names[arms],
            "right": self._progress.need < before.need,
            "success": success,
            "seconds": self._progress.seconds.astype(np.float64),
            "tokens": self._progress.tokens.astype(np.float64),
        }
        done = self._progress.done
        observations, seen = self._observe()
        infos: dict[str, Any] = came_back | seen
        if done.any():
            final = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(done):
                final[i] = observations[i].copy()
            ended = {name: values.copy() for name, values in infos.items()}
            ended |= {f"_{name}": done.copy() for name in infos}
            self._episode = self._episode + done
            fresh = self.workflow.tasks(self._seeds, self._episode)
            begun = self.workflow.begin(self.num_envs)
            turn = done[:, None]
            self._tasks = Tasks(
                group=np.where(done, fresh.group, self._tasks.group),
                query=np.where(turn, fresh.query, self._tasks.query),
                draw=np.where(turn, fresh.draw, self._tasks.draw),
            )
            self._progress = Progress(
                *(np.where(done, new, old) for new, old in zip(begun, self._progress, strict=True))
            )
            observations, seen = self._observe()
            infos = self._flagged(came_back | seen)
            infos |= {"final_obs": final, "_final_obs": done.copy(), "final_info": ended, "_final_info": done.copy()}
        else:
            infos = self._flagged(infos)
        return observations, rewards.astype(np.float64), done.copy(), np.zeros(self.num_envs, bool), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """(n, K) bool, the arms on offer for the queries observed."""
        if not self._seeds:
            raise ResetNeeded("no task has begun: call reset() before action_masks()")
        return np.array(self._situation.mask, bool)

    def _observe(self) -> tuple[Any, dict[str, Any]]:
        self._situation = self.workflow.situation(self._tasks, self._progress)
        seen = {"query": self._situation.query.astype(np.int64), "action_mask": self._situation.mask.astype(np.int8)}
        return self._situation.observation, seen

    def _flagged(self, infos: dict[str, Any]) -> dict[str, Any]:
        return infos | {f"_{name}": np.ones(self.num_envs, bool) for name in infos}


def _spaces(flow: Workflow) -> tuple[spaces.Box, spaces.Discrete]:
    context = flow.tables.context
    low, high = context.min(axis=0), context.max(axis=0)
    flat = low == high  # a Box must not be flat
    low, high = np.where(flat, np.minimum(low, 0), low), np.where(flat, np.maximum(high, 1), high)
    bounds = (np.append(low, np.zeros(LEFT)), np.append(high, np.ones(LEFT)))
    box = spaces.Box(bounds[0].astype(np.float32), bounds[1].astype(np.float32), dtype=np.float32)
    return box, spaces.Discrete(len(flow.world.catalog))


def _check(flow: Workflow, seen: Situation, arms: Array) -> None:
    count = len(flow.world.catalog)
    for i, arm in enumerate(arms.tolist()):
        if not 0 <= arm < count:
            raise ValueError(f"action {arm} is expected to be an arm's id in 0..{count - 1}")
        if not seen.mask[i, arm]:
            name = flow.world.catalog.arms[arm].name
            raise ValueError(f"arm {arm} ({name}) is not on offer for query {int(seen.query[i])}; see action_mask")
