"""What the environments play: rows of tables, the rounds of tapes as indices into them, and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from uis_env.bandit import Reward
from uis_env.fallback import ranking, substitutes
from uis_env.rules import Rules
from uis_env.spaces import action_space, observation_space, one_of
from uis_env.split import in_test_split
from uis_env.world import World

Array = NDArray[Any]


class Rounds(NamedTuple):
    """L rounds of n tapes as indices into the tables of `Streams`, (L, n) int64 each.

    Attributes:
        query: row of the query.
        seen: row of `observations`.
        cell: row of `masks`.
        row: plus the action, the row of `table`.
    """

    query: Array
    seen: Array
    cell: Array
    row: Array


class Streams:
    """The tables of a game, read and never written; `Episodes` and `Workflow` fill them.

    Attributes:
        world: whose arms are played.
        reward: in force, before a scenario changes it.
        horizon: the most rounds of an episode.
        arms: K.
        names: (K,) arm names.
        rules: what a step does beyond the lookup; None if there is nothing.
        observations: (n, D) float32, rows that are observed.
        masks: (m, K) int8, 1 = on offer.
        expected: (m, K) float32, an arm's expected reward in a step, for pictures and references.
        all_on_offer: whether every arm is always on offer.
        fallback: (m, K) integers, the arm played for every arm chosen; None if arms that are not on offer are refused.
        action_space, observation_space: of one environment.
    """

    world: World
    reward: Reward
    horizon: int
    rules: Rules | None = None
    observations: Array
    masks: Array
    expected: Array
    _source: tuple[Any, dict[str, Any]] | None = None

    @property
    def table(self) -> Array:
        """(rows, C) float32: what a round returns. Without rules reward, regret and channels; else the columns that
        they read.
        """
        raise NotImplementedError

    @property
    def channels(self) -> tuple[str, ...]:
        """What `info` tells of an outcome, besides `arm` and, without rules, `regret`."""
        raise NotImplementedError

    def rounds(self, seeds: Sequence[int], episode: int | Array, start: int, share: int = 1) -> Rounds:
        """What comes after round `start` of the tapes of (seed, episode): a part of this episode, or whole episodes.

        `share` tapes or more share the memory.
        """
        raise NotImplementedError

    def _open(self, observation: str, blocks: Mapping[str, slice], unavailable: str) -> None:
        """Completes the tables with spaces and substitutes."""
        one_of("observation", observation, ("flat", "dict"))
        one_of("unavailable", unavailable, ("error", "fallback"))
        self.arms = self.masks.shape[1]
        self.names: Array = np.array([arm.name for arm in self.world.catalog.arms], object)
        self.all_on_offer = bool(self.masks.all())
        self.fallback: Array | None = None
        if unavailable == "fallback" and not self.all_on_offer:
            ranked = ranking(self.world, self.world.catalog.arms, self.reward.cost_channel)
            self.fallback = substitutes(ranked, self.masks)
        self.action_space: spaces.Discrete = action_space(self.masks, self.fallback is not None)
        self._flat, self._blocks = observation == "flat", blocks
        shares = 0 if self.rules is None else self.rules.entries
        self.observation_space = observation_space(self.observations, blocks, self.arms, self._flat, shares)

    def __deepcopy__(self, memo: dict[int, Any]) -> Streams:
        """Itself: it is never modified."""
        return self

    def __reduce__(self) -> Any:
        """A named world is made again from its name, so that a copy for another process stays small."""
        if self._source is None or isinstance(self._source[0], World):
            return super().__reduce__()
        return _again, (type(self), *self._source)

    def observe(self, seen: Array, mask: Array, state: Any = None) -> Any:
        """Observations in the form of the space, from (..., D) rows of `observations` and (..., K) rows of `masks`."""
        if self.rules is not None:
            left = self.rules.shares(np, state)
            if self._flat:
                return np.concatenate([seen, left], axis=-1)
            return {name: seen[..., block] for name, block in self._blocks.items()} | {
                "left": left,
                "action_mask": mask.copy(),
            }
        if self._flat:
            return seen
        return {name: seen[..., block] for name, block in self._blocks.items()} | {"action_mask": mask.copy()}

    def refusal(self, arm: int, query: int) -> ValueError:
        """Why an action cannot be played."""
        if not 0 <= arm < self.arms:
            return ValueError(f"action {arm} is outside 0..{self.arms - 1}")
        return ValueError(
            f"action {arm} ({self.names[arm]}) is not on offer for query {self.world.query_ids[query]!r} in this "
            "round; choose among info['action_mask'] (action_space.sample takes it as mask=), "
            "or make the environment with unavailable='fallback'"
        )


def _again(kind: Any, world: str, options: dict[str, Any]) -> Any:
    return kind(world, **options)


def query_rows(world: World, queries: Any, split: str | None) -> Array | None:
    """The rows of the queries that are asked, int32; None for all.

    Raises:
        ValueError: if the rows are not distinct rows of the world, or both are given.
    """
    one_of("split", split, ("train", "test", None))
    if split is not None:
        if queries is not None:
            raise ValueError(f"split is {split!r} and queries are given, expected one of them")
        rows = np.flatnonzero(in_test_split(world) == (split == "test"))
        if not rows.size:
            raise ValueError(f"split is {split!r}, but world {world.name!r} has no such query")
        return rows.astype(np.int32)
    if queries is None:
        return None
    rows = np.asarray(queries)
    count = len(world.query_ids)
    if rows.ndim != 1 or rows.size == 0 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError("queries are expected to be a sequence of one row number or more")
    if rows.min() < 0 or rows.max() >= count or len(np.unique(rows)) != len(rows):
        raise ValueError(f"queries are expected to be distinct rows in 0..{count - 1} of world {world.name!r}")
    return rows.astype(np.int32)
