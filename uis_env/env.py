"""UISEnv: one stream of queries as a Gymnasium environment, over any rules."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from uis_env.episodes import Episodes
from uis_env.render import FPS, MODES, Frame, render
from uis_env.spaces import arm_of, check_options, no_options, one_of, seed_of
from uis_env.streams import Streams
from uis_env.world import World


class UISEnv(gym.Env[Any, Any]):
    """A stream of queries: for each, choose an arm (model, method, budget) and get `quality − λ·cost`.

    An episode is a tape: `reset(seed=s)` plays `tape(schedule, s)`, each `reset()` after it the next episode of the
    same seed (a first `reset()` without a seed draws one from `np_random`). `terminated` is True with the last of
    `horizon` rounds; as no query follows, the last observation is returned again. `truncated` is always False. Rounds
    do not influence each other: use γ = 0 or `horizon=1` where a library discounts.

    Action: `Discrete(K)`, an id of the catalog. Observation: float32 `Box`, the query's context, and the preference (5
    weights) and prices (a factor per model) if they vary between the phases of the scenario; or the same parts as a
    `Dict`, with the action mask.

    `info` has the same keys at `reset` and `step`, all NumPy numbers: `arm` (int64, the arm played; its name is
    `env.unwrapped.names[arm]`), `quality` and, as far as the world has them, `score`, `dollars`, `eflops` (tera),
    `tokens`, `latency` (seconds), and the expected `regret` (float64); -1 and NaN at `reset`, when nothing was returned
    yet. And, for the query now observed, `query` (int64, its row in the world) and `action_mask` ((K,) int8, 1 = on
    offer).

    Args:
        world: a World, or the name of a shipped one.
        render_mode: "ansi" (a line per round), "rgb_array" (a picture) or None.
        **options: those of `Episodes`: horizon, cost_weight, scenario, split, ...

    Attributes:
        episodes: what is played: world, reward, scenario, schedule and tables.
        names: (K,) arm names.

    Raises:
        TypeError: if there is no such option; names the nearest one and all there are.
        ValueError: naming the option that does not fit and what was expected.

    Example:
        >>> import gymnasium as gym
        >>> env = gym.make("uis_env:UIS/Recorded-v0", horizon=200, split="train")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(3)
        >>> str(env.unwrapped.names[info["arm"]])
        'smollm2-135m/best_of_n-direct@8'
    """

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": FPS}  # noqa: RUF012
    episodes: Streams

    def __init__(self, world: World | str, *, render_mode: str | None = None, **options: Any) -> None:
        check_options(options, Episodes.__init__, UISEnv.__init__)
        self._open(Episodes(world, **options), render_mode)

    def _open(self, played: Streams, render_mode: str | None) -> None:
        one_of("render_mode", render_mode, (*MODES, None))
        self.episodes, self.render_mode = played, render_mode
        self.observation_space = played.observation_space
        self.action_space = played.action_space
        self.names: NDArray[Any] = played.names
        self._ids = list(np.arange(played.arms))
        self._nothing = dict.fromkeys(("reward", "regret", *played.channels), np.float64("nan"))
        self._seed: int | None = None
        self._episode = 0
        self._round, self._running = 0, False
        self._first = self._length = self._at = 0
        self._state: Any = None
        self._frame: Frame

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode: the first one of `seed`, or without it the next one. There are no options.

        Returns:
            (observation, info) of the first query.

        Raises:
            ValueError: if the seed is not an integer in 0..2**64 - 1, or `options` holds anything.
        """
        no_options(options)
        seed = None if seed is None else seed_of(seed)
        super().reset(seed=seed)
        if seed is None and self._seed is not None:
            self._episode += 1
        else:
            self._seed = int(self.np_random.integers(1 << 32)) if seed is None else seed
            self._episode, self._length = 0, 0
        self._round, self._running = 0, True
        self._at = self._episode * self.episodes.horizon - self._first
        if not 0 <= self._at < self._length:
            self._look_ahead(self._episode, 0)
        rules = self.episodes.rules
        if rules is None:
            info: dict[str, Any] = dict(self._nothing)
            del info["reward"]
        else:
            self._state = rules.begin(np, ())
            info = _entries(rules.before(np, self._state))
        info["arm"] = np.int64(-1)
        if self.render_mode is not None:
            self._frame = Frame(self._cell[self._at], int(self._query[self._at]))
        return self._observed(info), info

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
        if not self._running:
            raise ResetNeeded("no episode is running: call reset() before step()")
        played, at = self.episodes, self._at
        arm = action if type(action) is int else arm_of(action)
        if not (0 <= arm < played.arms and played.masks.item(self._cell[at] * played.arms + arm)):
            if played.fallback is None or not 0 <= arm < played.arms:
                raise played.refusal(arm, int(self._query[at]))
            arm = int(played.fallback[self._cell[at], arm])
        row = played.table[self._row[at] + arm]
        self._round += 1
        if played.rules is None:
            info: dict[str, Any] = dict(zip(self._nothing, row.astype(np.float64), strict=True))
            reward, terminated = float(info.pop("reward")), self._round == played.horizon
        else:
            found = {name: row[i] for i, name in enumerate(played.rules.columns)}
            self._state, paid, shown = played.rules.step(np, self._state, found)
            info = _entries(shown)
            reward, terminated = float(paid), bool(self._state.done)
        info["arm"] = self._ids[arm]
        if self.render_mode is not None:
            self._frame = self._frame.after(self._cell[at], int(self._query[at]), arm, reward)
        self._running = not terminated
        if self._round < played.horizon:
            self._at += 1
            if self._at == self._length:
                self._look_ahead(self._episode, self._round)
        return self._observed(info), reward, terminated, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """(K,) bool, the arms on offer for the query observed (the method that MaskablePPO asks)."""
        if not self._length:
            raise ResetNeeded("no episode has begun: call reset() before action_masks()")
        offered: NDArray[np.bool_] = self.episodes.masks[self._cell[self._at]].astype(bool)
        return offered

    def references(self, seed: int) -> dict[str, float]:
        """`best_fixed`, `random` and `oracle`: what the episode of `reset(seed=seed)` returns to them.

        See `Episodes.references`. Only where rounds do not influence each other.
        """
        if not isinstance(self.episodes, Episodes):
            raise NotImplementedError("rounds influence each other here, so arms cannot be judged round by round")
        return self.episodes.references(seed)

    def render(self) -> Any:
        """The episode so far: a line of text, or a (272, 480, 3) uint8 picture; None without a `render_mode`."""
        if self.render_mode is None:
            gym.logger.warn("render() was called, but the environment was made without a render_mode")
            return None
        if not self._length:
            raise ResetNeeded("no episode has begun: call reset() before render()")
        return render(self.render_mode, self.episodes, self._frame)

    def _observed(self, info: dict[str, Any]) -> Any:
        """Adds the query and the mask to `info`; both and the observation are handed out once."""
        at = self._at
        seen, mask = self._seen[at], self._mask[at]
        if self._round == self.episodes.horizon:  # the last ones a second time
            seen, mask = seen.copy(), mask.copy()
        info["query"], info["action_mask"] = self._query[at], mask
        return self.episodes.observe(seen, mask, self._state)

    def _look_ahead(self, episode: int, start: int) -> None:
        """Fetches the rounds after `start` of an episode; their observations and masks are each handed out once."""
        assert self._seed is not None
        rounds = self.episodes.rounds([self._seed], episode, start)
        self._first = episode * self.episodes.horizon + start
        self._length = len(rounds.query)
        self._at = 0
        self._seen = self.episodes.observations[rounds.seen[:, 0]]
        self._mask = self.episodes.masks[rounds.cell[:, 0]]
        self._query: list[np.int64] = list(rounds.query[:, 0])
        self._cell: list[int] = rounds.cell[:, 0].tolist()
        self._row: list[int] = rounds.row[:, 0].tolist()

    def __getstate__(self) -> dict[str, Any]:
        """Without the rounds looked up ahead, which a copy fetches again."""
        ahead = ("_seen", "_mask", "_query", "_cell", "_row")
        return {name: value for name, value in self.__dict__.items() if name not in ahead}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._length:
            self._look_ahead(self._episode, min(self._round, self.episodes.horizon - 1))


def _entries(shown: dict[str, Any]) -> dict[str, Any]:
    """NumPy scalars of () arrays; float64 for float32."""
    return {name: np.float64(x) if x.dtype == np.float32 else x[()] for name, x in shown.items()}
