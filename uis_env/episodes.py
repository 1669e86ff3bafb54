"""Episodes of the bandit: settings become gather tables and the indices of the rounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.scenarios import Scenario, make_scenario
from uis_env.spaces import positive, seed_of
from uis_env.streams import Rounds, Streams, query_rows
from uis_env.tape import tapes
from uis_env.world import World
from uis_env.worlds import load

Array = NDArray[Any]
WINDOW = 1024
"""Rounds of a tape that are looked up ahead (at least one pass over the queries): a million rounds need no memory."""
MOST_AHEAD = 1 << 20
"""Rounds looked up ahead in all sub-environments together."""


class Episodes(Streams):
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
        split: "train" or "test" asks the world's frozen split of its queries only (see `uis_env.split`).
        queries: rows of the queries to ask (None: all), where another split is wanted.
        observation: "flat" or "dict".
        unavailable: "error" refuses an arm that is not on offer; "fallback" plays another in its place: the nearest
            budget of the same model and method on offer, else the cheapest arm on offer; `info` says which.
        world_options: keyword arguments of a named world.

    Attributes:
        reward, scenario, schedule: what is played, beside what `Streams` has.
        horizon: rounds of an episode, those of the hold-out included.
        place: (P,) int64, which block of Q rows of `observations` a phase shows.

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
        split: str | None = None,
        queries: Sequence[int] | None = None,
        observation: str = "flat",
        unavailable: str = "error",
        world_options: Mapping[str, Any] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "world")}
        self._source = world, given
        if not isinstance(holdout, bool | int | np.integer) or holdout < 0:
            raise ValueError(f"holdout is {holdout!r}, expected rounds >= 0, or True for as many as test queries")
        if isinstance(world, World):
            if world_options:
                raise ValueError(f"world_options {sorted(world_options)} are for named worlds; a World was given")
            self.world = world
        else:
            self.world = load(world, (), False, **(world_options or {}))
        self.reward = resolve_reward(self.world, cost_weight, cost_channel, reward)
        if isinstance(scenario, Scenario):
            if scenario_options:
                raise ValueError(f"scenario_options {sorted(scenario_options)} are for named scenarios")
            if cost_weight is not None or cost_channel is not None or reward is not None:
                raise ValueError("a Scenario holds its own rewards; cost_weight, cost_channel and reward go unused")
            self.scenario = scenario
        else:
            self.scenario = make_scenario(scenario, self.world, self.reward, **(scenario_options or {}))
        rounds = positive("horizon", horizon)
        if holdout and split is not None:
            raise ValueError(f"split is {split!r} and holdout {holdout!r}: a hold-out has its own split")
        asked = query_rows(self.world, queries, split)
        self.schedule = self.scenario.schedule(self.world, rounds, order, asked, holdout)
        self.horizon = self.schedule.horizon
        bandit = tabulate(self.world, self.scenario.phases, context)
        self.queries, self.draws, arms = bandit.reward.shape[1:]
        self._table, self._channels = _pack(bandit), tuple(bandit.channels.present())
        self.masks = bandit.mask.reshape(-1, arms).view(np.int8)
        self.expected = bandit.expected.reshape(-1, arms)
        blocks, self.place, self.observations = _observations(bandit)
        self._open(observation, blocks, unavailable)

    @property
    def table(self) -> Array:
        """(P·Q·R·K, 2 + C) float32: reward, expected regret and the C channels."""
        return self._table

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the C channels."""
        return self._channels

    def references(self, seed: int, episode: int = 0) -> dict[str, float]:
        """Returns (sums of rewards) that the tape of (seed, episode) has for who learns nothing.

        `best_fixed`: the arm with the highest expected return on this tape among those on offer in every round (NaN if
        there is none). `oracle`: in every round the arm with the highest expected reward. `random`: the mean over the
        arms on offer.
        """
        return self._hindsight(seed, episode)[1]

    def best_fixed_arm(self, seed: int, episode: int = 0) -> int | None:
        """The arm that `references` calls best fixed; None if no arm is on offer in every round."""
        return self._hindsight(seed, episode)[0]

    def full_information(self, seed: int, episode: int = 0) -> Iterator[tuple[Array, Array, Array]]:
        """The rounds of an episode with the rewards of all arms, for libraries that want them; no learner sees them.

        Yields:
            (D,) float32 of the flat observation, (K,) int8 mask, and (K,) float32 rewards (NaN where masked).
        """
        start, rewards = 0, self._table[:, 0].reshape(-1, self.arms)
        while start < self.horizon:
            rounds = self.rounds([seed_of(seed)], episode, start)
            stop = min(len(rounds.cell), self.horizon - start)
            for seen, cell, row in zip(rounds.seen[:stop, 0], rounds.cell[:stop, 0], rounds.row[:stop, 0], strict=True):
                mask = self.masks[cell].copy()
                yield self.observations[seen].copy(), mask, np.where(mask, rewards[row // self.arms], np.float32("nan"))
            start += stop

    def _hindsight(self, seed: int, episode: int) -> tuple[int | None, dict[str, float]]:
        rewards = self._table[:, 0].reshape(-1, self.arms)
        expected, earned, random, oracle = np.zeros(self.arms), np.zeros(self.arms), 0.0, 0.0
        always, start = np.ones(self.arms, bool), 0
        while start < self.horizon:
            rounds = self.rounds([seed_of(seed)], episode, start)
            stop = min(len(rounds.cell), self.horizon - start)
            cell, row = rounds.cell[:stop, 0], rounds.row[:stop, 0] // self.arms
            mask, paid = self.masks[cell] > 0, rewards[row].astype(np.float64)
            worth = self.expected[cell].astype(np.float64)
            always &= mask.all(axis=0)
            expected += worth.sum(axis=0)
            earned += paid.sum(axis=0)
            random += float((np.where(mask, paid, 0).sum(axis=1) / mask.sum(axis=1)).sum())
            best = np.where(mask, worth, -np.inf).argmax(axis=1)
            oracle += float(paid[np.arange(stop), best].sum())
            start += stop
        arm = int(np.where(always, expected, -np.inf).argmax()) if always.any() else None
        fixed = float("nan") if arm is None else float(earned[arm])
        return arm, {"best_fixed": fixed, "random": random, "oracle": oracle}

    def rounds(self, seeds: Sequence[int], episode: int | Array, start: int, share: int = 1) -> Rounds:
        """See `Streams.rounds`."""
        most = max(1, min(max(WINDOW, self.queries), MOST_AHEAD // max(share, len(seeds))))
        count = max(1, most // self.horizon) if start == 0 else 1
        length = min(most, self.horizon - start)
        tape = tapes(
            self.schedule,
            [seed for seed in seeds for _ in range(count)],
            start,
            length,
            (np.broadcast_to(episode, len(seeds))[:, None] + np.arange(count)).ravel(),
        )
        query, draw, phase = (part.reshape(len(seeds), -1).T for part in tape)
        query = seen = cell = query.astype(np.int64, order="C")
        if len(self.place) > 1:
            cell = phase * self.queries + query
            seen = self.place[phase] * self.queries + query
        row = cell * self.draws
        row += draw
        row *= self.arms
        return Rounds(query, seen, cell, row)


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
