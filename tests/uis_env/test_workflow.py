"""Workflows: transitions by hand, Gymnasium's rules, dynamic programming against brute force, baselines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from uis_env.arms import Arm
from uis_env.bandit import Reward
from uis_env.workflow import Workflow, WorkflowEnv, WorkflowVectorEnv, play
from uis_env.workflow.core import Situation, Tasks
from uis_env.workflow.instances import uncertain_speeds
from uis_env.workflow.plan import plan
from uis_env.workflow.policies import best_arm, greedy, one_arm, step_blind, uniform_split
from uis_env.world import Channels, World

Factory = Callable[..., World]
LIMITS: dict[str, Any] = {"deadline": 12.0, "token_budget": 1500.0, "reward": {"tokens": 1e-4, "latency": 1e-2}}


def whole_world(
    factory: Factory, queries: int, draws: int, arms: int, seed: int, most: int = 4, fraction: float = 0.0
) -> World:
    """A world whose seconds and tokens are small whole numbers, plus up to `fraction`."""
    rng = np.random.default_rng(seed)
    shape = (queries, draws, arms)
    channels = Channels(
        rng.integers(0, 2, shape).astype(np.float32),
        tokens=(rng.integers(0, most, shape) + fraction * rng.random(shape)).astype(np.float32),
        latency=(rng.integers(0, most, shape) + fraction * rng.random(shape)).astype(np.float32),
    )
    return factory(
        queries,
        draws,
        arms=tuple(Arm("m", "single", (i + 1,)) for i in range(arms)),
        groups=("g",) * queries,
        channels=channels,
        expected=Channels(**{n: x.mean(axis=1) for n, x in channels.present().items()}),
        cost_ends={},
    )


def brute_force(flow: Workflow) -> float:
    """The best expected return over *every* deterministic policy that sees all that happened so far."""
    world = flow.world
    queries, draws, arms = world.channels.quality.shape
    assert world.channels.tokens is not None and world.channels.latency is not None
    seconds, tokens = world.channels.latency.tolist(), world.channels.tokens.tolist()
    right = world.channels.quality.tolist()
    # A history is what was asked and drawn before, and the query now asked; actions before it follow from the policy.
    histories = [
        (*past, query)
        for length in range(flow.steps)
        for past in itertools.product(itertools.product(range(queries), range(draws)), repeat=length)
        for query in range(queries)
    ]
    best = -math.inf
    for choice in itertools.product(range(arms), repeat=len(histories)):
        policy = dict(zip(histories, choice, strict=True))
        total = 0.0
        for path in itertools.product(itertools.product(range(queries), range(draws)), repeat=flow.steps):
            time, money, need = flow.deadline or math.inf, flow.token_budget or math.inf, flow.quorum
            for step, (q, r) in enumerate(path):
                a = policy[(*path[:step], q)]
                time -= seconds[q][r][a]
                money -= tokens[q][r][a]
                total -= flow.reward.latency * seconds[q][r][a] + flow.reward.tokens * tokens[q][r][a]
                if time < 0 or money < 0:
                    break
                need -= right[q][r][a] == 1
                if need == 0:
                    total += flow.reward.quality
                    break
                if need > flow.steps - step - 1:
                    break
        best = max(best, total / (queries * draws) ** flow.steps)
    return best


CASES = [
    # queries, steps, quorum, deadline, budget
    (1, 3, None, 5.0, 6.0),
    (1, 3, 2, 4.0, 5.0),
    (1, 3, 1, 3.0, None),
    (2, 2, None, 4.0, 4.0),
    (2, 2, 1, None, 3.0),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dynamic_programming_equals_brute_force(world_factory: Factory, case: Any, seed: int) -> None:
    queries, steps, quorum, deadline, budget = case
    world = whole_world(world_factory, queries, 2, 2, seed)
    reward = Reward(quality=1.0, tokens=0.01, latency=0.02)
    flow = Workflow(world, steps=steps, quorum=quorum, deadline=deadline, token_budget=budget, reward=reward)
    exact = brute_force(flow)
    for optimistic in (False, True):  # whole units: both roundings are exact
        found = plan(flow, int(deadline or 1), int(budget or 1), optimistic)
        assert found.value.shape == (1,)
        assert found.value[0] == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_brackets_the_optimum(world_factory: Factory, seed: int) -> None:
    world = whole_world(world_factory, 1, 2, 2, seed, fraction=0.9)
    flow = Workflow(world, steps=3, deadline=5.0, token_budget=6.0, quorum=2, reward=Reward(tokens=0.01, latency=0.02))
    exact = brute_force(flow)
    coarse = [plan(flow, 3, 3, optimistic).value[0] for optimistic in (False, True)]
    fine = [plan(flow, 300, 300, optimistic).value[0] for optimistic in (False, True)]
    assert coarse[0] - 1e-6 <= exact <= coarse[1] + 1e-6
    assert fine[0] - 1e-6 <= exact <= fine[1] + 1e-6
    assert fine[1] - fine[0] <= coarse[1] - coarse[0] + 1e-9


@pytest.mark.parametrize("units", [1, 2, 3])
def test_a_bound_does_not_count_on_an_overrun_to_end_a_lost_task(world_factory: Factory, units: int) -> None:
    one = np.ones((1, 1, 1), np.float32)  # three steps of 1 s in 3 s, never right: -.1 each; by units of 3 s, two fit
    channels = Channels(0 * one, latency=one)
    expected = Channels(0 * one[0], latency=one[0])
    arms = (Arm("m", "single", (1,)),)
    world = world_factory(1, 1, arms=arms, groups=("g",), channels=channels, expected=expected, cost_ends={})
    flow = Workflow(world, steps=3, quorum=1, deadline=3.0, token_budget=None, reward=Reward(latency=0.1))
    low, high = plan(flow, units), plan(flow, units, optimistic=True)
    earned = play(flow, low, flow.tasks([0]))[0][0]
    assert earned == pytest.approx(-0.3)
    assert low.value[0] <= -0.3 + 1e-6 and high.value[0] >= -0.3 - 1e-6
    if units == 3:
        assert low.value[0] == high.value[0] == pytest.approx(-0.3)


def test_a_plan_earns_its_value() -> None:
    world = uncertain_speeds(queries=20, draws=20)
    flow = Workflow(world, steps=5, deadline=20.0, token_budget=None, quorum=4, reward=Reward(latency=0.002))
    found = plan(flow, 20)
    returns, succeeded = play(flow, found, flow.tasks(range(4000)))
    error = returns.std() / math.sqrt(len(returns))
    assert abs(returns.mean() - found.value[0]) < 4 * error
    assert 0.1 < succeeded.mean() < 0.99


def test_looking_at_what_is_left_pays_where_it_should() -> None:
    world = uncertain_speeds()
    flow = Workflow(world, steps=6, deadline=24.0, token_budget=None, reward=Reward(latency=0.002))
    oracle = plan(flow, 24)
    train, test = flow.tasks(range(600)), flow.tasks(range(10_000, 12_000))
    value = play(flow, oracle, test)[0].mean()
    for policy in (greedy(flow), uniform_split(flow), best_arm(flow, train), step_blind(flow, train)):
        assert play(flow, policy, test)[0].mean() < 0.9 * value


def by_hand(factory: Factory, **options: Any) -> tuple[Workflow, Tasks]:
    """Two queries, one draw, two arms: seconds 1 and 4, tokens 10 and 40; arm 0 is right on query 0, arm 1 always."""
    channels = Channels(
        np.array([[[1, 1]], [[0, 1]]], np.float32),
        tokens=np.full((2, 1, 2), (10, 40), np.float32),
        latency=np.full((2, 1, 2), (1, 4), np.float32),
    )
    world = factory(
        2,
        1,
        arms=(Arm("m", "single", (1,)), Arm("m", "best_of_n", (4,))),
        groups=("g", "g"),
        channels=channels,
        expected=Channels(**{n: x.mean(axis=1) for n, x in channels.present().items()}),
        cost_ends={},
    )
    settings = {"steps": 3, "deadline": 9.0, "token_budget": 90.0, "reward": Reward(2.0, tokens=0.01, latency=0.1)}
    flow = Workflow(world, **(settings | options))
    return flow, Tasks(np.zeros(1, np.int32), np.array([[0, 1, 0]], np.int32), np.zeros((1, 3), np.int32))


@pytest.mark.parametrize(
    ("options", "actions", "rewards", "left"),
    [
        # a success pays the quality weight, every step −(0.01·tokens + 0.1·seconds)
        ({}, (0, 1, 0), (-0.2, -0.8, 1.8), (3.0, 30.0)),
        # a wrong step ends a task that needs them all
        ({}, (0, 0), (-0.2, -0.2), (7.0, 70.0)),
        # a deadline that is met exactly is met; the budget is not
        ({"token_budget": 200.0, "deadline": 12.0}, (1, 1, 1), (-0.8, -0.8, 1.2), (0.0, 80.0)),
        ({"deadline": 20.0}, (1, 1, 1), (-0.8, -0.8, -0.8), (8.0, -30.0)),
        ({"token_budget": 200.0}, (1, 1, 1), (-0.8, -0.8, -0.8), (-3.0, 80.0)),
        # a quorum forgives a wrong step, and ends the task as soon as it is reached
        ({"quorum": 2}, (0, 0, 0), (-0.2, -0.2, 1.8), (6.0, 60.0)),
        ({"quorum": 2}, (0, 1), (-0.2, 1.2), (4.0, 40.0)),
        ({"deadline": None, "token_budget": None}, (1, 1, 1), (-0.8, -0.8, 1.2), (math.inf, math.inf)),
    ],
)
def test_a_task_by_hand(
    world_factory: Factory, options: Any, actions: Any, rewards: Any, left: tuple[float, float]
) -> None:
    flow, tasks = by_hand(world_factory, **options)
    progress = flow.begin(1)
    for i, (action, expected) in enumerate(zip(actions, rewards, strict=True)):
        assert not progress.done[0]
        progress, reward, success = flow.advance(tasks, progress, np.array([action]))
        assert reward[0] == pytest.approx(expected, abs=1e-6)
        assert success[0] == (i == len(actions) - 1 and expected > 0)
    assert progress.done[0]
    assert (progress.seconds[0], progress.tokens[0]) == left
    after, reward, success = flow.advance(tasks, progress, np.array([1]))  # nothing happens to a task that is over
    assert reward[0] == 0 and not success[0]
    for old, new in zip(progress, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("seconds", [0.7, 1.1, 0.1, 1 / 3])
@pytest.mark.parametrize("steps", [3, 7, 10])
def test_fractions_that_use_up_a_limit_exactly_are_within_it(
    world_factory: Factory, seconds: float, steps: int
) -> None:
    amounts = np.full((1, 1, 1), seconds, np.float32)
    channels = Channels(np.ones((1, 1, 1), np.float32), tokens=amounts, latency=amounts)
    expected = Channels(**{n: x.mean(axis=1) for n, x in channels.present().items()})
    arms = (Arm("m", "single", (1,)),)
    world = world_factory(1, 1, arms=arms, groups=("g",), channels=channels, expected=expected, cost_ends={})
    exact = {"deadline": steps * seconds, "token_budget": steps * seconds}
    for scale, success in ((1.0, True), (0.9999, False)):
        limits = {name: scale * limit for name, limit in exact.items()}
        flow = Workflow(world, steps=steps, reward=Reward(), **limits)
        best = plan(flow, steps, steps)
        assert best.value[0] == success
        returns, succeeded = play(flow, best, flow.tasks([0]))
        assert succeeded[0] == returns[0] == success


def test_the_observation_shows_what_is_left(world_factory: Factory) -> None:
    flow, tasks = by_hand(world_factory)
    progress = flow.begin(1)
    np.testing.assert_allclose(flow.situation(tasks, progress).observation[0, -4:], 1)
    progress, *_ = flow.advance(tasks, progress, np.array([1]))
    seen = flow.situation(tasks, progress)
    np.testing.assert_allclose(seen.observation[0], [*flow.tables.context[1], 2 / 3, 2 / 3, 5 / 9, 50 / 90], rtol=1e-6)
    assert (seen.query[0], seen.steps[0], seen.need[0], seen.seconds[0], seen.tokens[0]) == (1, 2, 2, 5.0, 50.0)


def test_queries_of_a_task_are_of_one_group(tiny_world: World) -> None:
    flow = Workflow(tiny_world, steps=6, queries=range(0, 24, 2), **LIMITS)
    tasks = flow.tasks(range(300))
    groups = np.array(tiny_world.groups)[tasks.query]
    assert (groups == groups[:, :1]).all()
    assert [flow.groups[g] for g in tasks.group] == groups[:, 0].tolist()
    assert set(tasks.query.ravel().tolist()) == set(range(0, 24, 2))
    assert set(tasks.draw.ravel().tolist()) == {0, 1, 2}
    shares = np.bincount(tasks.group) / 300
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)
    mixed = Workflow(tiny_world, steps=6, grouped=False, **LIMITS).tasks(range(50))
    assert (np.array(tiny_world.groups)[mixed.query] != np.array(tiny_world.groups)[mixed.query[:, :1]]).any()
    np.testing.assert_array_equal(tasks.query[[7]], flow.tasks([7]).query)
    assert (tasks.query[7] != flow.tasks([7], 1).query[0]).any()


@pytest.mark.parametrize("options", [{}, {"deadline": None}, {"token_budget": None, "quorum": 2}, {"context": "wide"}])
def test_check_env_has_nothing_to_say(tiny_world: World, options: dict[str, Any]) -> None:
    check_env(WorkflowEnv(tiny_world, **(LIMITS | options)), skip_render_check=True)


def test_registered() -> None:
    env = gym.make("uis_env:UIS/Workflow-v0", world="Synthetic", deadline=20.0, token_budget=4000, steps=3)
    assert isinstance(env, WorkflowEnv)
    envs = gym.make_vec("uis_env:UIS/Workflow-v0", num_envs=3, world="Synthetic", deadline=20.0, token_budget=4000)
    assert isinstance(envs, WorkflowVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_vector_equals_scalar(world_factory: Factory) -> None:
    world = world_factory(missing={0: (0,), 3: (0, 1), 4: (4,)})
    options = LIMITS | {"quorum": 2}
    count = 5
    many = WorkflowVectorEnv(world, count, **options)
    single = [WorkflowEnv(world, **options) for _ in range(count)]
    observations, infos = many.reset(seed=3)
    for i, env in enumerate(single):
        observation, info = env.reset(seed=3 + i)
        np.testing.assert_array_equal(observation, observations[i])
        np.testing.assert_array_equal(info["action_mask"], infos["action_mask"][i])
    random = np.random.default_rng(0)
    ended = 0
    for _ in range(60):
        actions = np.array([random.choice(np.flatnonzero(mask)) for mask in many.action_masks()])
        observations, rewards, terminated, truncated, infos = many.step(actions)
        assert not truncated.any()
        for i, env in enumerate(single):
            observation, reward, done, _, info = env.step(actions[i])
            assert (reward, done) == (rewards[i], terminated[i])
            for name in ("arm", "right", "success", "seconds", "tokens"):
                back = infos["final_info"] if done else infos
                assert info[name] == back[name][i]
            if done:
                ended += 1
                np.testing.assert_array_equal(observation, infos["final_obs"][i])
                assert infos["final_info"]["query"][i] == info["query"] and infos["final_info"]["_query"][i]
                observation, info = env.reset()
            np.testing.assert_array_equal(observation, observations[i])
            assert observation in env.observation_space
            assert info["query"] == infos["query"][i]
    assert ended > 20


def test_resets_play_the_tasks_of_a_seed(tiny_world: World) -> None:
    env = WorkflowEnv(tiny_world, **LIMITS)
    first = [env.reset(**options)[1]["query"] for options in ({"seed": 5}, {}, {}, {"seed": 5}, {})]
    of = [int(env.workflow.tasks([5], episode).query[0, 0]) for episode in range(3)]
    assert first == [*of, *of[:2]]


def test_env_refuses_what_makes_no_sense(world_factory: Factory) -> None:
    env = WorkflowEnv(world_factory(missing=dict.fromkeys(range(24), (0,))), **LIMITS)
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(1)
    env.reset(seed=0)
    for action, message in ((5, "0..4"), (-1, "0..4"), (1.5, "not an integer"), (0, "not on offer")):
        with pytest.raises(ValueError, match=message):
            env.step(action)
    with pytest.raises(ValueError, match="options"):
        env.reset(options={"query": 1})
    while not env.step(1)[2]:
        pass
    with pytest.raises(ResetNeeded):
        env.step(1)
    many = WorkflowVectorEnv(world_factory(), 2, **LIMITS)
    with pytest.raises(ResetNeeded):
        many.step([0, 0])
    many.reset(seed=0)
    with pytest.raises(ValueError, match="2 integers"):
        many.step([0.5, 1.0])
    with pytest.raises(ValueError, match="3 seeds"):
        many.reset(seed=[1, 2, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "quorum"),
        ({"quorum": 9}, "quorum"),
        ({"deadline": -1.0}, "deadline is -1.0"),
        ({"token_budget": math.nan}, "token_budget is nan"),
        ({"reward": {"score": 0.1}}, "score"),
        ({"reward": {"tokens": -1.0}}, "tokens is -1.0"),
        ({"reward": {"latency": math.nan}}, "latency is nan"),
        ({"reward": {"tokens": (1.0, 2.0)}}, "expected one number"),
        ({"queries": [0, 0]}, "distinct"),
        ({"world_options": {"seed": 1}}, "given by name"),
    ],
)
def test_settings_are_checked(tiny_world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workflow(tiny_world, **(LIMITS | options))


def test_a_limit_needs_its_channel(world_factory: Factory) -> None:
    world = world_factory(without=("latency",))
    with pytest.raises(ValueError, match="no latency"):
        Workflow(world, **LIMITS)
    flow = Workflow(world, deadline=None, token_budget=500.0, reward={})
    assert flow.limits == (math.inf, 500.0)


def test_baselines_choose_as_they_say(tiny_world: World) -> None:
    flow = Workflow(tiny_world, **LIMITS)
    everything = np.arange(24)
    blank = np.zeros(24)
    seen = Situation(blank, everything, blank, blank, blank, blank, blank, flow.tables.mask)
    right = flow.tables.right.mean(axis=1)
    np.testing.assert_array_equal(greedy(flow)(seen), (right - flow.tables.spent.mean(axis=1)).argmax(axis=1))
    chosen = uniform_split(flow)(seen)
    seconds, tokens = flow.tables.seconds.mean(axis=1), flow.tables.tokens.mean(axis=1)
    for q, arm in enumerate(chosen):
        fits = (seconds[q] <= 3.0) & (tokens[q] <= 375.0)
        assert right[q, arm] == right[q, fits].max() if fits.any() else True
    np.testing.assert_array_equal(one_arm(flow, 2)(seen), 2)
    tasks = flow.tasks(range(400))
    assert play(flow, step_blind(flow, tasks), tasks)[0].mean() >= play(flow, best_arm(flow, tasks), tasks)[0].mean()


def test_uncertain_speeds_has_the_durations_it_says() -> None:
    world = uncertain_speeds(queries=4, draws=8)
    assert world.simulated and world.channels.latency is not None
    for q in range(4):
        assert sorted(world.channels.latency[q, :, 2].tolist()) == [3, 3, 3, 3, 6, 6, 12, 12]
        assert world.channels.quality[q].sum(axis=0).tolist() == ([3, 6, 8] if q % 2 else [6, 8, 8])
    for options in ({"queries": 3}, {"draws": 6}):
        with pytest.raises(ValueError, match="expected"):
            uncertain_speeds(**options)
