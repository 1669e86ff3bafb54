"""UISVectorEnv: many streams of queries side by side, one lookup per table and round for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from uis_env.episodes import Episodes
from uis_env.outcomes import World

Array = NDArray[Any]


class UISVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` streams of `UISEnv`, with equal results: sub-environment i of `reset(seed=s)` plays the tape of s + i.

    All episodes have one length, so all end in the same round. That step returns the first observations of the next
    episodes (autoreset SAME_STEP, so no round is lost); what the last round returned is in `infos["final_obs"]` and
    `infos["final_info"]`. Elsewhere `infos` maps each key of the scalar `info` to an array of n entries, float64 for
    what came back, and `_key` to n True.

    Args:
        world: a World, or the name of a shipped one.
        num_envs: n.
        **options: those of `Episodes`: horizon, cost_weight, scenario, ...

    Attributes:
        episodes: what is played: world, reward, scenario, schedule and tables.

    Raises:
        ValueError: naming the option that does not fit and what was expected.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, world: World | str, num_envs: int = 1, **options: Any) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}, expected an integer >= 1")
        self.num_envs = num_envs
        self.episodes = Episodes(world, **options)
        self.single_observation_space = self.episodes.observation_space
        self.single_action_space = self.episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._everything, self._all = np.ones((num_envs, self.episodes.arms), np.int8), np.ones(num_envs, bool)
        self._seeds: list[int] = []
        self._episode = self._left = 0
        self._first = self._length = self._at = 0

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode in every sub-environment: the first ones of the seeds, or without a seed the next ones.

        Args:
            seed: sub-environment i takes seed + i, or seed[i] of n.
            options: there are none.

        Returns:
            (observations, infos), n entries each.

        Raises:
            ValueError: if there are not n seeds, or `options` holds anything.
        """
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        if seed is None:
            super().reset()
            seeds = self._seeds or None
        else:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else [int(s) for s in seed]
            if len(seeds) != self.num_envs:
                raise ValueError(f"got {len(seeds)} seeds for {self.num_envs} sub-environments")
            super().reset(seed=seeds[0])
            self._length = 0
        if seeds is None:
            first = int(self.np_random.integers(1 << 32))
            seeds = [first + i for i in range(self.num_envs)]
        self._begin(seeds, self._episode + 1 if self._length else 0)
        observations, infos = self._observe()
        return observations, self._flagged(infos)

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Plays one arm in every sub-environment.

        Args:
            actions: (n,) integers in 0..K-1 that are on offer.

        Returns:
            (observations, (n,) float64 rewards, (n,) bool terminations, (n,) bool truncations, infos).

        Raises:
            ValueError: if actions are not n integers in the range, or an arm is not on offer.
            ResetNeeded: before the first `reset`.
        """
        if not self._length:
            raise ResetNeeded("no episode is running: call reset() before step()")
        arms = np.asarray(actions)
        if arms.shape != (self.num_envs,) or arms.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {arms.shape} and dtype {arms.dtype}, expected {self.num_envs} integers (arms' ids)"
            )
        arms = arms.astype(np.int64, copy=False)
        played, rounds, at = self.episodes, self._rounds, self._at
        if arms.view(np.uint64).max() >= played.arms:  # negative numbers wrap round to large ones
            self._refuse((arms < 0) | (arms >= played.arms), arms)
        if not played.all_on_offer:
            offered = played.masks.take(rounds.cell[at] * played.arms + arms)
            if not offered.all():
                self._refuse(offered == 0, arms)
        returned = played.table.take(rounds.row[at] + arms, axis=0).astype(np.float64)
        infos = {name: returned[:, i] for i, name in enumerate(played.channels, 2)}
        infos["arm"] = played.names.take(arms)
        infos["regret"] = returned[:, 1]
        rewards = returned[:, 0].copy()

        self._left -= 1
        terminated = np.zeros(self.num_envs, bool)
        if self._left:
            self._at += 1
            if self._at == self._length:
                self._look_ahead(played.horizon - self._left)
            observations, seen = self._observe()
            infos.update(seen)
        else:
            terminated[:] = True
            final, seen = self._observe()
            self._begin(self._seeds, self._episode + 1)
            observations, infos = self._end(final, infos | seen)
        return observations, rewards, terminated, np.zeros(self.num_envs, bool), self._flagged(infos)

    def action_masks(self) -> NDArray[np.bool_]:
        """(n, K) bool, the arms on offer for the queries observed."""
        if not self._length:
            raise ResetNeeded("no episode has begun: call reset() before action_masks()")
        offered: NDArray[np.bool_] = self.episodes.masks[self._rounds.cell[self._at]].astype(bool)
        return offered

    def _begin(self, seeds: list[int], episode: int) -> None:
        self._seeds, self._episode = seeds, episode
        self._left = self.episodes.horizon
        self._at = episode * self.episodes.horizon - self._first
        if not 0 <= self._at < self._length:
            self._look_ahead(0)

    def _look_ahead(self, start: int) -> None:
        """Fetches the rounds after `start` of these episodes."""
        self._rounds = self.episodes.rounds(self._seeds, self._episode, start)
        self._first = self._episode * self.episodes.horizon + start
        self._length, self._at = len(self._rounds.query), 0

    def _observe(self) -> tuple[Any, dict[str, Any]]:
        """Observations and infos of the queries now observed, in fresh arrays."""
        played, rounds, at = self.episodes, self._rounds, self._at
        # A copy is a block of memory; `np.ones` sets its elements one by one.
        mask = self._everything.copy() if played.all_on_offer else played.masks.take(rounds.cell[at], axis=0)
        seen = played.observations.take(rounds.seen[at], axis=0)
        return played.observe(seen, mask), {"query": rounds.query[at].copy(), "action_mask": mask}

    def _end(self, final: Any, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The first observations and infos of the next episodes, with what ended in Gymnasium's `final_` entries."""
        final_obs = np.empty(self.num_envs, object)
        for i, observation in enumerate(iterate(self.observation_space, final)):
            final_obs[i] = observation
        observations, seen = self._observe()
        return observations, {"final_obs": final_obs, "final_info": self._flagged(infos)} | seen

    def _flagged(self, infos: dict[str, Any]) -> dict[str, Any]:
        """Adds `_key`, which sub-environments have the key: all of them."""
        infos.update(dict.fromkeys(["_" + name for name in infos], self._all.copy()))
        return infos

    def _refuse(self, bad: Array, arms: Array) -> NoReturn:
        i = int(np.argmax(bad))
        error = self.episodes.refusal(int(arms[i]), int(self._rounds.query[self._at][i]))
        raise ValueError(f"sub-environment {i}: {error}")
