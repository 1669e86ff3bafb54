"""Tasks of several dependent queries under a deadline and a token budget: settings, tables, tapes and transitions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.bandit import Phase, Reward, tabulate
from uis_env.episodes import resolve_reward
from uis_env.streams import Rounds, Streams, query_rows
from uis_env.workflow.rules import Progress, TaskRules, task_rules
from uis_env.world import World
from uis_env.worlds import load

Array = NDArray[Any]


class Tables(NamedTuple):
    """What a step looks up: Q queries, R draws, K arms, G groups.

    Attributes:
        context: (Q, D) float32.
        mask: (Q, K) bool, arms on offer.
        right: (Q, R, K) bool, whether the step succeeds.
        seconds, tokens: (Q, R, K) float32; zeros where the task has no deadline or no token budget.
        spent: (Q, R, K) float32, λ·cost in units of reward.
        members: (G, M) int32, the queries of each group, repeated to the length of the largest (see `sizes`).
        sizes: (G,) int32, how many of `members` count.
    """

    context: Array
    mask: Array
    right: Array
    seconds: Array
    tokens: Array
    spent: Array
    members: Array
    sizes: Array


class Tasks(NamedTuple):
    """n tapes: group (n,), query and draw (n, S) of every step, int32."""

    group: Array
    query: Array
    draw: Array


class Situation(NamedTuple):
    """What a policy for n tasks may use: `observation` (n, D + 4) is what the environment shows, the rest is the same
    in natural units, with the query's id for policies that know the tables.
    """

    observation: Array
    query: Array
    group: Array
    steps: Array
    need: Array
    seconds: Array
    tokens: Array
    mask: Array


Policy = Callable[[Situation], Array]
"""Actions (n,) for n tasks."""


class Workflow(Streams):
    """A task: S queries one after the other, each answered by an arm, with a deadline and a token budget.

    The queries of a task come from one of the world's groups (drawn uniformly; a task's steps are alike), with
    replacement. A step succeeds if its quality is at least 1/2. The task succeeds as soon as `quorum` steps have; it
    fails as soon as that cannot happen any more, or when seconds or tokens run out (the step that overruns does not
    count; one that uses up what is left, but for `rounding`, does). Every step pays −λ·cost, and success pays the
    reward's `quality` weight, so the return is `success − λ·spent`: what came before and what is left matter, this is a
    Markov decision process, not a bandit.

    Args:
        world: a World, or the name of a shipped one.
        steps: S.
        deadline: seconds for the whole task, None for no deadline.
        token_budget: completion tokens for the whole task, None for no limit.
        quorum: successes that make the task a success (None: all S).
        reward: a Reward, or a mapping of some of its settings over the world's defaults; `score` and `offset` must be
            0.
        grouped: False draws the steps of a task from all queries.
        split: "train" or "test" asks the world's frozen split of its queries only (see `uis_env.split`).
        queries: rows of the queries to ask (None: all), where another split is wanted.
        context: name of the world's context (None: the first).
        observation: "flat" or "dict".
        unavailable: what is done with arms that are not on offer, see `Episodes`.
        world_options: keyword arguments of a named world.

    Attributes:
        steps, deadline, token_budget, quorum, reward, context: the settings, resolved.
        rules: how steps, successes, seconds and tokens are used up.
        tables: what a step looks up.
        groups: names of the groups.

    Raises:
        ValueError: naming the option that does not fit and what was expected.
    """

    def __init__(
        self,
        world: World | str = "LatencyAware",
        *,
        steps: int = 4,
        deadline: float | None = 60.0,
        token_budget: float | None = 30_000.0,
        quorum: int | None = None,
        reward: Reward | Mapping[str, Any] | None = None,
        grouped: bool = True,
        split: str | None = None,
        queries: Sequence[int] | None = None,
        context: str | None = None,
        observation: str = "flat",
        unavailable: str = "error",
        world_options: Mapping[str, Any] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "world")}
        self._source = world, given
        if isinstance(world, World) and world_options:
            raise ValueError("world_options belong to a world given by name")
        self.world = world if isinstance(world, World) else load(world, (), False, **(world_options or {}))
        self.steps = steps
        self.quorum = steps if quorum is None else quorum
        if steps < 1 or not 1 <= self.quorum <= steps:
            raise ValueError(f"steps is {steps} and quorum {quorum}, expected 1 <= quorum <= steps")
        for name, limit, channel in (
            ("deadline", deadline, "latency"),
            ("token_budget", token_budget, "tokens"),
        ):
            if limit is None:
                continue
            if not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{name} is {limit}, expected a number > 0, or None")
            if getattr(self.world.channels, channel) is None:
                raise ValueError(f"{name} is {limit}, but world {self.world.name!r} has no {channel}; expected None")
        self.deadline, self.token_budget = deadline, token_budget
        self.reward = resolve_reward(self.world, None, None, reward)
        if self.reward.score or self.reward.offset:
            raise ValueError("a workflow pays success and charges costs: score and offset must be 0")
        self.context = context
        self.tables, self.groups = _tables(self, grouped, query_rows(self.world, queries, split), context)
        self.horizon, (seconds, tokens) = steps, self.limits
        self.rules: TaskRules = task_rules(steps, self.quorum, float(self.reward.quality), seconds, tokens)
        self.observations, self.masks = self.tables.context, self.tables.mask.view(np.int8)
        right, spent = (part.mean(axis=1, dtype=np.float64) for part in (self.tables.right, self.tables.spent))
        self.expected = (self.reward.quality * right - spent).astype(np.float32)
        context_columns = {"context": slice(0, self.observations.shape[1])}
        self._open(observation, context_columns, unavailable)

    @property
    def limits(self) -> tuple[float, float]:
        """Seconds and tokens of a task, infinite where there is no limit."""
        return (self.deadline or math.inf, self.token_budget or math.inf)

    @cached_property
    def table(self) -> Array:
        """(Q·R·K, 4) float32, the columns that the rules read."""
        columns = (getattr(self.tables, name) for name in self.rules.columns)
        return np.stack([column.astype(np.float32) for column in columns], axis=-1).reshape(-1, 4)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the rules show."""
        return tuple(self.rules.before(np, self.rules.begin(np, ())))

    def rounds(self, seeds: Sequence[int], episode: int | Array, start: int, share: int = 1) -> Rounds:
        """See `Streams.rounds`; whole tasks."""
        tasks = self.tasks(seeds, episode)
        query, draw = (part[:, start:].T.astype(np.int64, order="C") for part in (tasks.query, tasks.draw))
        _, draws, arms = self.tables.right.shape
        return Rounds(query, query, query, (query * draws + draw) * arms)

    def begin(self, count: int) -> Progress:
        """`count` tasks before their first step."""
        return self.rules.begin(np, (count,))

    def situation(self, tasks: Tasks, progress: Progress) -> Situation:
        """What is seen now (of tasks that are over: their last query)."""
        query = tasks.query[np.arange(len(tasks.query)), np.minimum(progress.step, self.steps - 1)]
        shares = self.rules.shares(np, progress)
        return Situation(
            observation=np.concatenate([self.tables.context[query], shares], axis=1, dtype=np.float32),
            query=query,
            group=tasks.group,
            steps=self.steps - progress.step,
            need=progress.need,
            seconds=progress.seconds,
            tokens=progress.tokens,
            mask=self.tables.mask[query],
        )

    def advance(self, tasks: Tasks, progress: Progress, actions: Array) -> tuple[Progress, Array, Array]:
        """One step of every task that is not over.

        Args:
            tasks: n tapes.
            progress: where they stand.
            actions: (n,) arms on offer.

        Returns:
            progress, (n,) float32 rewards (0 for tasks that were over), (n,) bool whether the task succeeded just now.
        """
        rows = np.arange(len(actions))
        at = np.minimum(progress.step, self.steps - 1)
        cell = (tasks.query[rows, at], tasks.draw[rows, at], actions)
        found = {name: getattr(self.tables, name)[cell] for name in self.rules.columns}
        after, reward, shown = self.rules.step(np, progress, found)
        return after, reward, shown["success"] > 0

    def tasks(self, seeds: Sequence[int], episode: int | Array = 0) -> Tasks:
        """The tapes of (seed, episode); episode 0 is the one that `reset(seed=seed)` plays."""
        episodes = np.broadcast_to(episode, len(seeds)).tolist()
        parts = [self._task(seed, number) for seed, number in zip(seeds, episodes, strict=True)]
        return Tasks(*(np.array(part, np.int32) for part in zip(*parts, strict=True)))

    def _task(self, seed: int, episode: int) -> tuple[int, Array, Array]:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, episode, 7])))
        group = int(rng.integers(len(self.groups)))
        place = rng.integers(self.tables.sizes[group], size=self.steps)
        return group, self.tables.members[group, place], rng.integers(self.tables.right.shape[1], size=self.steps)


def play(flow: Workflow, policy: Policy, tasks: Tasks) -> tuple[Array, Array]:
    """Plays n tasks to their ends.

    Returns:
        (n,) float64 returns and (n,) bool successes.
    """
    progress = flow.begin(len(tasks.group))
    total, succeeded = np.zeros(len(tasks.group)), np.zeros(len(tasks.group), bool)
    while not progress.done.all():
        progress, reward, success = flow.advance(tasks, progress, policy(flow.situation(tasks, progress)))
        total += reward
        succeeded |= success
    return total, succeeded


def _tables(
    flow: Workflow, grouped: bool, queries: Array | None, context: str | None
) -> tuple[Tables, tuple[str, ...]]:
    world = flow.world
    rows = np.arange(len(world.query_ids)) if queries is None else queries
    costs = tabulate(world, [Phase(dataclasses.replace(flow.reward, quality=0.0))], context)
    labels = np.array(world.groups)[rows] if grouped else np.full(rows.size, "all")
    groups = tuple(sorted(set(labels.tolist())))
    members = [rows[labels == group] for group in groups]
    none = np.zeros_like(costs.reward[0])
    channels = costs.channels
    tables = Tables(
        context=costs.context,
        mask=costs.mask[0],
        right=world.channels.quality >= 0.5,
        seconds=none if flow.deadline is None or channels.latency is None else channels.latency[0],
        tokens=none if flow.token_budget is None or channels.tokens is None else channels.tokens[0],
        spent=-costs.reward[0],
        members=np.stack([np.resize(part, max(map(len, members))) for part in members]).astype(np.int32),
        sizes=np.array([len(part) for part in members], np.int32),
    )
    return tables, groups
