"""The plan of a workflow against expectimax over everything that can happen, on drawn instances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env.arms import Arm
from uis_env.bandit import Reward
from uis_env.workflow import Policy, Workflow, play
from uis_env.workflow.core import Tasks
from uis_env.workflow.plan import plan
from uis_env.workflow.policies import greedy, one_arm, step_blind, uniform_split
from uis_env.world import Channels, World

Factory = Callable[..., World]


@dataclass(frozen=True)
class Instance:
    """Sizes, tables in whole units, and rules."""

    groups: tuple[str, ...]
    quality: Any
    seconds: Any
    tokens: Any
    missing: Any
    options: dict[str, Any]

    def flow(self, factory: Factory) -> Workflow:
        queries, draws, arms = self.quality.shape
        channels = Channels(self.quality, tokens=self.tokens, latency=self.seconds)
        world = factory(
            queries,
            draws,
            arms=tuple(Arm("m", "single", (i + 1,)) for i in range(arms)),
            groups=self.groups,
            recorded=~self.missing,
            channels=channels,
            expected=Channels(**{n: x.mean(axis=1) for n, x in channels.present().items()}),
            cost_ends={},
        )
        return Workflow(world, **self.options)


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    """Up to 4 steps, with up to 8 choices and outcomes each."""
    queries, draws, arms = draw(st.sampled_from([(1, 1, 3), (1, 2, 2), (2, 1, 2), (2, 2, 2), (1, 4, 2), (3, 1, 2)]))
    steps = draw(st.integers(1, 4 if queries * draws * arms <= 6 else 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (queries, draws, arms)
    missing = rng.random((queries, arms)) < draw(st.sampled_from([0.0, 0.4]))
    missing[missing.all(axis=1), 0] = False
    keep = ~missing[:, None, :]
    deadline, budget = (draw(st.one_of(st.none(), st.integers(1, 9))) for _ in range(2))
    grouped = draw(st.booleans())
    return Instance(
        groups=tuple(f"g{i % (1 + grouped)}" for i in range(queries)),
        quality=np.where(keep, rng.choice([0.0, 0.5, 1.0], shape), 0).astype(np.float32),
        seconds=np.where(keep, rng.integers(0, 5, shape), 0).astype(np.float32),
        tokens=np.where(keep, rng.integers(0, 5, shape), 0).astype(np.float32),
        missing=missing,
        options={
            "steps": steps,
            "quorum": draw(st.integers(1, steps)),
            "deadline": deadline and float(deadline),
            "token_budget": budget and float(budget),
            "reward": Reward(
                quality=draw(st.sampled_from([1.0, 0.0, 3.0])),
                tokens=draw(st.sampled_from([0.0, 0.03, 0.3])),
                latency=draw(st.sampled_from([0.0, 0.05, 0.5])),
            ),
            "grouped": grouped,
        },
    )


def expectimax(flow: Workflow, group: int) -> float:
    """The best expected return of a task of a group: a tree of all that can happen, in which no states are merged."""
    world, reward = flow.world, flow.reward
    assert world.channels.tokens is not None and world.channels.latency is not None
    members = [q for q, name in enumerate(world.groups) if len(flow.groups) == 1 or name == flow.groups[group]]
    _, draws, arms = world.channels.quality.shape

    def value(steps: int, need: int, time: float, money: float) -> float:
        if need == 0:
            return reward.quality
        if need > steps:
            return 0.0
        total = 0.0
        for q in members:
            best = -math.inf
            for a in range(arms):
                if not world.recorded[q, a]:
                    continue
                mean = 0.0
                for r in range(draws):
                    took, used = float(world.channels.latency[q, r, a]), float(world.channels.tokens[q, r, a])
                    mean -= (reward.latency * took + reward.tokens * used) / draws
                    if took <= time and used <= money:
                        right = world.channels.quality[q, r, a] >= 0.5
                        mean += value(steps - 1, need - right, time - took, money - used) / draws
                best = max(best, mean)
            total += best / len(members)
        return total

    return value(flow.steps, flow.quorum, flow.deadline or math.inf, flow.token_budget or math.inf)


def all_tasks(flow: Workflow, group: int) -> Tasks:
    """Every task of a group, all equally likely."""
    members = flow.tables.members[group, : flow.tables.sizes[group]].tolist()
    cells = list(itertools.product(members, range(flow.tables.right.shape[1])))
    paths = np.array(list(itertools.product(cells, repeat=flow.steps)), np.int32)
    return Tasks(np.full(len(paths), group, np.int32), paths[..., 0], paths[..., 1])


@settings(max_examples=150, deadline=None)
@given(instance=instances())
def test_the_plan_is_the_optimum_and_earns_it(world_factory: Factory, instance: Instance) -> None:
    flow = instance.flow(world_factory)
    found = plan(flow, int(flow.deadline or 1), int(flow.token_budget or 1))
    others: list[Policy] = [greedy(flow), uniform_split(flow), step_blind(flow, flow.tasks(range(20)))]
    others += [one_arm(flow, arm) for arm in range(flow.tables.mask.shape[1])]
    for group in range(len(flow.groups)):
        best = expectimax(flow, group)
        assert found.value[group] == pytest.approx(best, abs=1e-6)
        tasks = all_tasks(flow, group)
        assert play(flow, found, tasks)[0].mean() == pytest.approx(best, abs=1e-5)
        for policy in others:
            assert play(flow, policy, tasks)[0].mean() <= best + 1e-5


@settings(max_examples=50, deadline=None)
@given(instance=instances(), units=st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_any_grid_brackets_the_optimum(world_factory: Factory, instance: Instance, units: tuple[int, int]) -> None:
    flow = instance.flow(world_factory)
    low, high = (plan(flow, *units, optimistic) for optimistic in (False, True))
    for group in range(len(flow.groups)):
        best = expectimax(flow, group)
        assert low.value[group] - 1e-6 <= best <= high.value[group] + 1e-6
        assert play(flow, low, all_tasks(flow, group))[0].mean() >= low.value[group] - 1e-5
