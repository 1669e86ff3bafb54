"""What the scalar and the vector environment share: settings, spaces, gather tables and the indices of the rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.outcomes import World
from uis_env.scenarios import Scenario, make_scenario
from uis_env.tape import tapes
from uis_env.worlds import load

Array = NDArray[Any]
WINDOW = 1024
"""Rounds of a tape that are looked up ahead (at least one pass over the queries): a million rounds need no memory."""
MOST_AHEAD = 1 << 20
"""Rounds looked up ahead in all sub-environments together."""


class Rounds(NamedTuple):
    """L rounds of n tapes as indices into the tables of `Episodes`, (L, n) int64 each.

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


class ArmSpace(spaces.Discrete):
    """`Discrete(K)` whose `sample()`, when no mask is given, draws among the arms on offer in every round.

    So code that knows nothing of masks can sample in scenarios where models come and go.
    """

    def __init__(self, always: Array) -> None:
        """`always` is (K,) bool, at least one True."""
        super().__init__(len(always))
        self.always = always.astype(np.int8)

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """An arm; `mask` (int8) and `probability` as in `Discrete`."""
        if probability is not None:
            return super().sample(mask=mask, probability=probability)
        return super().sample(mask=self.always if mask is None else mask)


class Episodes:
    """A world, a reward and a scenario, resolved; its tables are read, never written.

    Args:
        world: a World, or the name of a shipped one.
        horizon: rounds of an episode, before those of the hold-out.
        holdout: rounds that follow and ask test queries only, while the others ask train queries only (True: as many
            as there are test queries; see `uis_env.in_test_split`). 0: no such rounds, all queries are asked.
        cost_weight: λ >= 0, the price of cost in units of reward (None: the world's default).
        cost_channel: "dollars" or "eflops" (None: the world's default).
        reward: a Reward, or a mapping of some of its settings over the world's defaults.
        scenario: the name of a scenario, or a Scenario (which holds its own rewards).
        scenario_options: keyword arguments of a named scenario.
        context: name of the world's context (None: the first).
        order: "passes" (shuffled passes over the queries) or "iid".
        queries: rows of the queries to ask (None: all); for a split into training and test, say.
        observation: "flat" or "dict".
        world_options: keyword arguments of a named world.

    Attributes:
        world, reward, scenario, schedule: what is played.
        horizon: rounds of an episode, those of the hold-out included.
        observation_space, action_space: of one environment.
        observations: (places·Q, D) float32, rows that are observed.
        masks: (P·Q, K) int8, 1 = on offer.
        table: (P·Q·R·K, 2 + C) float32: reward, expected regret and the C channels.
        channels: their names.
        names: (K,) arm names.

    Raises:
        ValueError: naming the option that does not fit and what was expected.
    """

    def __init__(
        self,
        world: World | str,
        *,
        horizon: int = 1000,
        holdout: int | bool = False,
        cost_weight: float | None = None,
        cost_channel: str | None = None,
        reward: Reward | Mapping[str, Any] | None = None,
        scenario: Scenario | str = "stationary",
        scenario_options: Mapping[str, Any] | None = None,
        context: str | None = None,
        order: str = "passes",
        queries: Sequence[int] | None = None,
        observation: str = "flat",
        world_options: Mapping[str, Any] | None = None,
    ) -> None:
        if observation not in ("flat", "dict"):
            raise ValueError(f"observation is {observation!r}, expected 'flat' or 'dict'")
        if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
            raise ValueError(f"horizon is {horizon!r}, expected an integer >= 1")
        if not isinstance(holdout, bool | int | np.integer) or holdout < 0:
            raise ValueError(f"holdout is {holdout!r}, expected rounds >= 0, or True for as many as test queries")
        if isinstance(world, World):
            if world_options:
                raise ValueError(f"world_options {sorted(world_options)} are for named worlds; a World was given")
            self.world = world
        else:
            self.world = load(world, **(world_options or {}))
        self.reward = resolve_reward(self.world, cost_weight, cost_channel, reward)
        if isinstance(scenario, Scenario):
            if scenario_options:
                raise ValueError(f"scenario_options {sorted(scenario_options)} are for named scenarios")
            if cost_weight is not None or cost_channel is not None or reward is not None:
                raise ValueError("a Scenario holds its own rewards; cost_weight, cost_channel and reward go unused")
            self.scenario = scenario
        else:
            self.scenario = make_scenario(scenario, self.world, self.reward, **(scenario_options or {}))
        asked = _check_queries(self.world, queries)
        self.schedule = self.scenario.schedule(self.world, int(horizon), order, asked, holdout)
        self.horizon = self.schedule.horizon
        bandit = tabulate(self.world, self.scenario.phases, context)
        self.queries, self.draws, self.arms = bandit.reward.shape[1:]

        self.table = _pack(bandit)
        self.channels = tuple(bandit.channels.present())
        self.masks: Array = bandit.mask.reshape(-1, self.arms).view(np.int8)
        self.names: Array = np.array([arm.name for arm in self.world.catalog.arms], object)
        self._blocks, self._place, self.observations = _observations(bandit)

        always: Array = np.asarray(bandit.mask.all(axis=(0, 1)))
        self.all_on_offer = bool(always.all())
        masked = always.any() and not self.all_on_offer
        self.action_space: spaces.Discrete = ArmSpace(always) if masked else spaces.Discrete(self.arms)
        low, high = _bounds(self.observations)
        self._flat = observation == "flat"
        self.observation_space: spaces.Space[Any] = spaces.Box(low, high, dtype=np.float32)
        if not self._flat:
            parts: dict[str, spaces.Space[Any]] = {
                name: spaces.Box(low[block], high[block], dtype=np.float32) for name, block in self._blocks.items()
            }
            self.observation_space = spaces.Dict(parts | {"action_mask": spaces.MultiBinary(self.arms)})

    def __deepcopy__(self, memo: dict[int, Any]) -> Episodes:
        """Itself: nothing writes to it."""
        return self

    def rounds(self, seeds: Sequence[int], episode: int, start: int) -> Rounds:
        """What comes after round `start` of the tapes of (seed, episode): a part of this episode, or whole episodes."""
        most = max(1, min(max(WINDOW, self.queries), MOST_AHEAD // len(seeds)))
        count = max(1, most // self.horizon) if start == 0 else 1
        length = min(most, self.horizon - start)
        tape = tapes(
            self.schedule,
            [seed for seed in seeds for _ in range(count)],
            start,
            length,
            np.tile(np.arange(episode, episode + count), len(seeds)),
        )
        query, draw, phase = (part.reshape(len(seeds), -1).T for part in tape)
        query = seen = cell = query.astype(np.int64, order="C")
        if len(self._place) > 1:
            cell = phase * self.queries + query
            seen = self._place[phase] * self.queries + query
        row = cell * self.draws
        row += draw
        row *= self.arms
        return Rounds(query, seen, cell, row)

    def observe(self, flat: Array, mask: Array) -> Any:
        """Observations in the form of the space, from (..., D) rows of `observations` and (..., K) rows of `masks`."""
        if self._flat:
            return flat
        return {name: flat[..., block] for name, block in self._blocks.items()} | {"action_mask": mask.copy()}

    def refusal(self, arm: int, query: int) -> ValueError:
        """Why an action cannot be played."""
        if not 0 <= arm < self.arms:
            return ValueError(f"action {arm} is outside 0..{self.arms - 1}")
        return ValueError(
            f"action {arm} ({self.names[arm]}) is not on offer for query {self.world.query_ids[query]!r} in this "
            "round; choose among info['action_mask'] (action_space.sample takes it as mask=)"
        )


def resolve_reward(
    world: World, cost_weight: float | None, cost_channel: str | None, reward: Reward | Mapping[str, Any] | None
) -> Reward:
    """The world's default reward, changed by settings of `Reward`, or replaced by one; then λ and its channel."""
    known = [field.name for field in dataclasses.fields(Reward)]
    settings = dict(world.defaults)
    if isinstance(reward, Reward):
        settings = {name: getattr(reward, name) for name in known}
    elif isinstance(reward, Mapping):
        settings |= reward
    elif reward is not None:
        raise ValueError(f"reward is {reward!r}, expected a Reward or a mapping of its settings")
    if cost_weight is not None:
        settings["cost"] = cost_weight
    if cost_channel is not None:
        settings["cost_channel"] = cost_channel
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"unknown reward settings {unknown}; expected {', '.join(known)}")
    return Reward(**settings)


def _check_queries(world: World, queries: ArrayLike | None) -> Array | None:
    if queries is None:
        return None
    rows = np.asarray(queries)
    count = len(world.query_ids)
    if rows.ndim != 1 or rows.size == 0 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError("queries are expected to be a sequence of one row number or more")
    if rows.min() < 0 or rows.max() >= count or len(np.unique(rows)) != len(rows):
        raise ValueError(f"queries are expected to be distinct rows in 0..{count - 1} of world {world.name!r}")
    return rows.astype(np.int32)


def _pack(bandit: Bandit) -> Array:
    """(P·Q·R·K, 2 + C) float32: reward, regret and the channels side by side, so that a step is one lookup."""
    channels = [channel[bandit.variant] for channel in bandit.channels.present().values()]
    regret = np.broadcast_to(bandit.regret[:, :, None, :], bandit.reward.shape)
    return np.stack([bandit.reward, regret, *channels], axis=-1).reshape(-1, 2 + len(channels))


def _observations(bandit: Bandit) -> tuple[dict[str, slice], Array, Array]:
    """The blocks of a flat observation, each phase's place in the table, and the table, (places·Q, D) float32.

    Preference and prices are part of it only if they vary between phases.
    """
    extra = {
        name: table
        for name, table in (("preference", bandit.preference), ("prices", bandit.prices))
        if (table != table[0]).any()
    }
    blocks, end = {"context": slice(0, bandit.context.shape[1])}, bandit.context.shape[1]
    for name, table in extra.items():
        blocks[name] = slice(end, end + table.shape[1])
        end += table.shape[1]
    if not extra:
        return blocks, np.zeros(len(bandit.reward), np.int64), bandit.context
    conditions, place = np.unique(np.concatenate(list(extra.values()), axis=1), axis=0, return_inverse=True)
    queries = len(bandit.context)
    table = np.concatenate(
        [np.tile(bandit.context, (len(conditions), 1)), np.repeat(conditions, queries, axis=0)], axis=1
    )
    return blocks, place.reshape(-1).astype(np.int64), table


def _bounds(table: Array) -> tuple[Array, Array]:
    """(D,) the range of each column; a constant one gets a range that also holds 0 and 1 (a Box must not be flat)."""
    low, high = table.min(axis=0), table.max(axis=0)
    flat = low == high
    return np.where(flat, np.minimum(low, 0), low), np.where(flat, np.maximum(high, 1), high)
