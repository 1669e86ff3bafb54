"""UISVectorEnv: many streams of queries side by side, one lookup per table and round for all of them."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray

from uis_env.episodes import Episodes
from uis_env.spaces import check_options, no_options, one_of, positive, seeds_of
from uis_env.streams import Rounds, Streams
from uis_env.world import World

Array = NDArray[Any]
AUTORESET = {mode.name.lower(): mode for mode in AutoresetMode}
"""The values of `autoreset`."""


class UISVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` streams of `UISEnv`, with equal results: sub-environment i of `reset(seed=s)` plays the tape of s + i.

    `infos` maps each key of the scalar `info` to an array of n entries, and `_key` to the n bools that say whose they
    are. What follows the step that ends an episode is Gymnasium's autoreset mode:

    - "same_step": that step returns the first observation of the next episode, so no round is lost; what the last round
      returned is in `infos["final_obs"]` and `infos["final_info"]`;
    - "next_step": it returns the last observation, and the next step begins the next episode, whatever its action, with
      reward 0 (what the vector wrappers NormalizeObservation and FlattenObservation want);
    - "disabled": `reset(options={"reset_mask": mask})` begins the next episodes where the mask is True.

    Args:
        world: a World, or the name of a shipped one.
        num_envs: n.
        autoreset: "same_step", "next_step" or "disabled".
        render_mode: None; `UISEnv` draws.
        **options: those of `Episodes`: horizon, cost_weight, scenario, split, ...

    Attributes:
        episodes: what is played: world, reward, scenario, schedule and tables.
        names: (K,) arm names.
        autoreset_mode: Gymnasium's name of `autoreset`, also in `metadata`.

    Raises:
        TypeError: if there is no such option; names the nearest one and all there are.
        ValueError: naming the option that does not fit and what was expected.

    Example:
        >>> import gymnasium as gym
        >>> envs = gym.make_vec("uis_env:UIS/Recorded-v0", num_envs=4, horizon=200)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, *_ = envs.step([3, 3, 7, 7])
        >>> rewards.shape
        (4,)
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        world: World | str,
        num_envs: int = 1,
        *,
        autoreset: str = "same_step",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        check_options(options, Episodes.__init__, UISVectorEnv.__init__)
        self._open(Episodes(world, **options), num_envs, autoreset, render_mode)

    def _open(self, played: Streams, num_envs: int, autoreset: str, render_mode: str | None) -> None:
        one_of("render_mode", render_mode, (None,))
        one_of("autoreset", autoreset, tuple(AUTORESET))
        self.autoreset_mode = AUTORESET[autoreset]
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.num_envs = positive("num_envs", num_envs)
        self.render_mode, self.episodes, self.names = None, played, played.names
        self.single_observation_space = played.observation_space
        self.single_action_space = played.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._columns = np.arange(self.num_envs)
        self._everything, self._all = np.ones((self.num_envs, played.arms), np.int8), np.ones(self.num_envs, bool)
        self._seeds: list[int] = []
        self._state: Any = None
        self._rounds: Rounds | None = None
        # Numbers while all sub-environments are in the same round of the same episode, else (n,) arrays.
        self._episode: Any = 0
        self._round: Any = 0
        self._ended: Any = False
        # The window of rounds looked up: its first round, counted over episodes, and its length.
        self._first: Any = 0
        self._length: Any = 0
        self._index: Any = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode in every sub-environment: the first ones of the seeds, or without a seed the next ones.

        Args:
            seed: sub-environment i takes seed + i, or seed[i] of n.
            options: `reset_mask`, (n,) bool, resets only where it is True.

        Returns:
            (observations, infos), n entries each.

        Raises:
            ValueError: if there are not n seeds, or an option does not fit.
        """
        others = dict(options) if isinstance(options, dict) else options
        mask = others.pop("reset_mask", None) if isinstance(others, dict) else None
        no_options(others)
        which = self._all if mask is None else self._checked_mask(mask)
        seeds = None if seed is None else seeds_of(seed, self.num_envs)
        super().reset(seed=None if seeds is None else seeds[0])
        if seeds is None and not self._seeds:
            first = int(self.np_random.integers(1 << 32))
            seeds = [first + i for i in range(self.num_envs)]
        if seeds is not None and which.all():
            self._seeds, self._episode, self._round, self._ended = seeds, -1, 0, False
            self._first = self._length = 0
        elif seeds is not None:
            self._spread()
            self._seeds = [new if here else old for new, old, here in zip(seeds, self._seeds, which, strict=True)]
            self._episode, self._length = np.where(which, -1, self._episode), np.where(which, 0, self._length)
        self._turn(which)
        observations, seen = self._observe()
        infos = self._nothing() | seen
        if not which.all():
            infos = {name: _where(which, x, np.zeros((), x.dtype)) for name, x in infos.items()}
        return observations, self._flagged(infos, which)

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Plays one arm in every sub-environment.

        Args:
            actions: (n,) integers in 0..K-1 that are on offer.

        Returns:
            (observations, (n,) float64 rewards, (n,) bool terminations, (n,) bool truncations, infos).

        Raises:
            ValueError: if actions are not n integers in the range, or an arm is not on offer.
            ResetNeeded: before the first `reset`, and with autoreset "disabled" after the end of an episode.
        """
        if self._rounds is None:
            raise ResetNeeded("no episode is running: call reset() before step()")
        arms = np.asarray(actions)
        if arms.shape != (self.num_envs,) or arms.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {arms.shape} and dtype {arms.dtype}, expected {self.num_envs} integers (arms' ids)"
            )
        over = self._over()
        if over is not None and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded(
                f"sub-environment {int(over.argmax())} has ended: call reset(options={{'reset_mask': ...}})"
            )
        if over is not None and over.all():
            terminated, rewards, infos = np.zeros(self.num_envs, bool), np.zeros(self.num_envs), self._nothing()
        else:
            rewards, terminated, infos = self._play(arms.astype(np.int64, copy=False), over)
        if over is not None:
            self._turn(over)
            infos = infos if over.all() else self._mixed(over, infos)
        if not terminated.any():
            self._fetch()
            observations, seen = self._observe()
            infos = self._flagged(infos | seen, self._all)
        elif self.autoreset_mode is AutoresetMode.SAME_STEP:
            observations, infos = self._follow(terminated, infos)
        else:
            if isinstance(self._round, int) and terminated.all():
                self._ended = True
            else:
                self._spread()
                self._ended = terminated.copy()
            self._fetch()
            observations, seen = self._observe()
            infos = self._flagged(infos | seen, self._all)
        return observations, rewards, terminated, np.zeros(self.num_envs, bool), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """(n, K) bool, the arms on offer for the queries observed."""
        if self._rounds is None:
            raise ResetNeeded("no episode has begun: call reset() before action_masks()")
        offered: NDArray[np.bool_] = self.episodes.masks[self._rounds.cell[self._index]].astype(bool)
        return offered

    def _play(self, arms: Array, over: Array | None) -> tuple[Array, Array, dict[str, Any]]:
        """Rewards, terminations and what `infos` tells of a round, but for those that are over."""
        played, rounds, index = self.episodes, self._rounds, self._index
        assert rounds is not None
        if over is not None:  # their actions do not count
            arms = np.where(over, played.masks[rounds.cell[index]].argmax(axis=1), arms)
        if arms.view(np.uint64).max() >= played.arms:  # negative numbers wrap round to large ones
            self._refuse((arms < 0) | (arms >= played.arms), arms)
        if played.fallback is not None:
            arms = played.fallback[rounds.cell[index], arms].astype(np.int64)
        elif not played.all_on_offer:
            offered = played.masks.take(rounds.cell[index] * played.arms + arms)
            if not offered.all():
                self._refuse(offered == 0, arms)
        found = played.table.take(rounds.row[index] + arms, axis=0)
        self._round = self._round + 1 if over is None else self._round + ~over
        if played.rules is None:
            returned = found.astype(np.float64)
            infos = {name: returned[:, i] for i, name in enumerate(played.channels, 2)}
            infos["regret"] = returned[:, 1]
            rewards = returned[:, 0].copy()
            terminated = np.zeros(self.num_envs, bool)
            terminated[:] = self._round == played.horizon
        else:
            columns = {name: found[:, i] for i, name in enumerate(played.rules.columns)}
            self._state, rewards, shown = played.rules.step(np, self._state, columns)
            infos, rewards = _wide(shown), rewards.astype(np.float64)
            terminated = np.array(self._state.done)
        infos["arm"] = arms.copy()
        if over is not None:
            rewards, terminated = np.where(over, 0.0, rewards), terminated & ~over
        return rewards, terminated, infos

    def _follow(self, terminated: Array, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Begins the next episodes; what ended goes into Gymnasium's `final_` entries."""
        self._fetch()
        last, seen = self._observe()
        infos = infos | seen
        final = np.full(self.num_envs, None, object)
        for i, observation in enumerate(iterate(self.observation_space, last)):
            if terminated[i]:
                final[i] = observation
        self._turn(terminated)
        observations, seen = self._observe()
        ended, going = infos, self._nothing() | seen
        if not terminated.all():
            ended = {name: _where(terminated, x, np.zeros((), x.dtype)) for name, x in infos.items()}
            going = self._mixed(terminated, infos) | seen
        return observations, self._flagged(going, self._all) | {
            "final_obs": final,
            "final_info": self._flagged(ended, terminated),
            "_final_obs": terminated.copy(),
            "_final_info": terminated.copy(),
        }

    def _over(self) -> Array | None:
        """(n,) which sub-environments have ended and wait for a reset; None if none has."""
        if isinstance(self._ended, bool):
            return self._all if self._ended else None
        return self._ended if self._ended.any() else None

    def _turn(self, which: Array) -> None:
        """Begins the next episodes of some sub-environments."""
        rules = self.episodes.rules
        begun = None if rules is None else rules.begin(np, (self.num_envs,))
        if which.all() and isinstance(self._round, int):
            self._episode, self._round, self._ended, self._state = self._episode + 1, 0, False, begun
        else:
            self._spread()
            self._episode = self._episode + which
            self._round, self._ended = np.where(which, 0, self._round), self._ended & ~which
            if begun is not None:
                parts = zip(begun, self._state or begun, strict=True)
                self._state = type(begun)(*(np.where(which, new, old) for new, old in parts))
        self._fetch()

    def _spread(self) -> None:
        """Lets every sub-environment have a position of its own."""
        if isinstance(self._round, int):
            for name in ("_episode", "_round", "_first", "_length"):
                setattr(self, name, np.full(self.num_envs, getattr(self, name), np.int64))
            self._ended = np.full(self.num_envs, self._ended)
            if self._rounds is not None:
                self._rounds = Rounds(*(np.array(part) for part in self._rounds))

    def _fetch(self) -> None:
        """Sets the place of the rounds now observed, and looks them up where the window does not hold them."""
        played, horizon = self.episodes, self.episodes.horizon
        if isinstance(self._round, int):
            start = min(self._round, horizon - 1)
            at = self._episode * horizon + start - self._first
            if not 0 <= at < self._length:
                self._rounds = played.rounds(self._seeds, self._episode, start, self.num_envs)
                self._first, self._length, at = self._episode * horizon + start, len(self._rounds.query), 0
            self._index = at
            return
        assert self._rounds is not None
        starts = np.minimum(self._round, horizon - 1)
        at = self._episode * horizon + starts - self._first
        late = (at < 0) | (at >= self._length)
        for start in np.unique(starts[late]).tolist():
            here = np.flatnonzero(late & (starts == start))
            part = played.rounds([self._seeds[i] for i in here], self._episode[here], start, self.num_envs)
            length = len(part.query)
            if length > len(self._rounds.query):
                more = ((0, length - len(self._rounds.query)), (0, 0))
                self._rounds = Rounds(*(np.pad(whole, more) for whole in self._rounds))
            for whole, new in zip(self._rounds, part, strict=True):
                whole[:length, here] = new
            self._first[here], self._length[here], at[here] = self._episode[here] * horizon + start, length, 0
        self._index = at, self._columns

    def _observe(self) -> tuple[Any, dict[str, Any]]:
        """Observations and infos of the queries now observed, in fresh arrays."""
        played, rounds, index = self.episodes, self._rounds, self._index
        assert rounds is not None
        # A copy is a block of memory; `np.ones` sets its elements one by one.
        mask = self._everything.copy() if played.all_on_offer else played.masks.take(rounds.cell[index], axis=0)
        seen = played.observations.take(rounds.seen[index], axis=0)
        return played.observe(seen, mask, self._state), {"query": rounds.query[index].copy(), "action_mask": mask}

    def _nothing(self) -> dict[str, Any]:
        """What `infos` tells when nothing was returned yet."""
        played, arm = self.episodes, np.full(self.num_envs, -1, np.int64)
        if played.rules is not None:
            return _wide(played.rules.before(np, played.rules.begin(np, (self.num_envs,)))) | {"arm": arm}
        nothing: dict[str, Any] = {name: np.full(self.num_envs, np.nan) for name in (*played.channels, "regret")}
        return nothing | {"arm": arm}

    def _mixed(self, begun: Array, infos: dict[str, Any]) -> dict[str, Any]:
        """`infos` with nothing returned where an episode has just begun."""
        nothing = self._nothing()
        return {name: _where(begun, nothing[name], x) if name in nothing else x for name, x in infos.items()}

    def _flagged(self, infos: dict[str, Any], whose: Array) -> dict[str, Any]:
        """Adds `_key`: which sub-environments have the key."""
        return infos | dict.fromkeys(["_" + name for name in infos], whose.copy())

    def _checked_mask(self, mask: Any) -> Array:
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask is {mask!r}, expected ({self.num_envs},) bools, at least one of them True")
        if self._rounds is None and not mask.all():
            raise ValueError("reset_mask leaves sub-environments out, expected all of them in the first reset")
        return mask.copy()

    def _refuse(self, bad: Array, arms: Array) -> NoReturn:
        assert self._rounds is not None
        i = int(np.argmax(bad))
        error = self.episodes.refusal(int(arms[i]), int(self._rounds.query[self._index][i]))
        raise ValueError(f"sub-environment {i}: {error}")

    def __getstate__(self) -> dict[str, Any]:
        """Without the rounds looked up ahead, which a copy fetches again."""
        return self.__dict__ | {"_rounds": self._rounds is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        begun = self._rounds
        self._rounds = None
        if begun:
            if not isinstance(self._round, int):
                self._length = np.zeros_like(self._length)
                self._rounds = Rounds(*(np.zeros((0, self.num_envs), np.int64) for _ in Rounds._fields))
            else:
                self._length = 0
            self._fetch()


def _where(mask: Array, yes: Array, no: Array) -> Array:
    """`np.where` by sub-environment, for (n, ...) arrays."""
    return np.where(mask.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _wide(shown: dict[str, Any]) -> dict[str, Any]:
    """float64 for float32."""
    return {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in shown.items()}
