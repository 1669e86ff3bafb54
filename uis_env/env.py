"""UISEnv: one stream of queries as a Gymnasium environment."""

from __future__ import annotations

import operator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from uis_env.episodes import Episodes
from uis_env.outcomes import World


class UISEnv(gym.Env[Any, Any]):
    """A stream of queries: for each, choose an arm (model, method, budget) and get `quality − λ·cost`.

    An episode is a tape: `reset(seed=s)` plays `tape(schedule, s)`, each `reset()` after it the next episode of the
    same seed (a first `reset()` without a seed draws one from `np_random`). `terminated` is True with the last of
    `horizon` rounds; as no query follows, the last observation is returned again. `truncated` is always False.

    Action: `Discrete(K)`, an id of the catalog. Observation: float32 `Box`, the query's context, and the preference (5
    weights) and prices (a factor per model) if they vary between the phases of the scenario; or the same parts as a
    `Dict`, with the action mask.

    `info` holds, after a step, what came back: `arm` (its name), `quality`, and as far as the world has them `score`,
    `dollars`, `eflops` (tera), `tokens`, `latency` (seconds), and the expected `regret`; and always, for the query now
    observed, `query` (its row in the world) and `action_mask` ((K,) int8, 1 = on offer).

    Args:
        world: a World, or the name of a shipped one.
        **options: those of `Episodes`: horizon, cost_weight, scenario, ...

    Attributes:
        episodes: what is played: world, reward, scenario, schedule and tables.

    Raises:
        ValueError: naming the option that does not fit and what was expected.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, world: World | str, **options: Any) -> None:
        self.episodes = Episodes(world, **options)
        self.observation_space = self.episodes.observation_space
        self.action_space = self.episodes.action_space
        self._names: list[str] = self.episodes.names.tolist()
        self._seed: int | None = None
        self._episode = 0
        self._left = 0
        self._first = self._length = self._at = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode: the first one of `seed`, or without it the next one. There are no options.

        Returns:
            (observation, info) of the first query.

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
            self._episode, self._length = 0, 0
        self._left = self.episodes.horizon
        self._at = self._episode * self.episodes.horizon - self._first
        if not 0 <= self._at < self._length:
            self._look_ahead(0)
        info = {"query": self._query[self._at], "action_mask": self._mask[self._at]}
        return self.episodes.observe(self._seen[self._at], self._mask[self._at]), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one arm on the query observed.

        Args:
            action: an integer in 0..K-1 that is on offer.

        Returns:
            (observation, reward, terminated, truncated, info), with Python floats and bools.

        Raises:
            ValueError: if the action is not an integer in the range, or its arm is not on offer.
            ResetNeeded: before the first `reset` and after the end of an episode.
        """
        if not self._left:
            raise ResetNeeded("no episode is running: call reset() before step()")
        try:
            arm = operator.index(action)
        except TypeError:
            raise ValueError(f"action {action!r} is not an integer (an arm's id)") from None
        played, at = self.episodes, self._at
        if not (0 <= arm < played.arms and played.masks.item(self._cell[at] * played.arms + arm)):
            raise played.refusal(arm, self._query[at])
        reward, regret, *returned = played.table[self._row[at] + arm].tolist()
        info: dict[str, Any] = dict(zip(played.channels, returned, strict=True))
        info["arm"] = self._names[arm]
        info["regret"] = regret
        self._left -= 1
        if not self._left:
            info["query"], info["action_mask"] = self._query[at], self._mask[at].copy()
            return played.observe(self._seen[at].copy(), info["action_mask"]), reward, True, False, info
        at += 1
        if at == self._length:
            self._look_ahead(played.horizon - self._left)
            at = 0
        self._at = at
        info["query"], info["action_mask"] = self._query[at], self._mask[at]
        return played.observe(self._seen[at], info["action_mask"]), reward, False, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """(K,) bool, the arms on offer for the query observed (the method that MaskablePPO asks)."""
        if not self._length:
            raise ResetNeeded("no episode has begun: call reset() before action_masks()")
        offered: NDArray[np.bool_] = self.episodes.masks[self._cell[self._at]].astype(bool)
        return offered

    def _look_ahead(self, start: int) -> None:
        """Fetches the rounds after `start` of this episode; their observations and masks are each handed out once."""
        assert self._seed is not None
        rounds = self.episodes.rounds([self._seed], self._episode, start)
        self._first = self._episode * self.episodes.horizon + start
        self._length = len(rounds.query)
        self._at = 0
        self._seen = self.episodes.observations[rounds.seen[:, 0]]
        self._mask = self.episodes.masks[rounds.cell[:, 0]]
        self._query: list[int] = rounds.query[:, 0].tolist()
        self._cell: list[int] = rounds.cell[:, 0].tolist()
        self._row: list[int] = rounds.row[:, 0].tolist()
