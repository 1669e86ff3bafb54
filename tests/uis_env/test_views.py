"""Fallbacks, the grid of actions, vectors of rewards, pictures, and copies for other processes."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from uis_env import WORLDS, GridActions, UISEnv, VectorReward, World
from uis_env.arms import Arm
from uis_env.fallback import ranking, substitutes
from uis_env.render import GLYPHS, HEIGHT, WIDTH
from uis_env.workflow import WorkflowEnv
from uis_env.worlds import gym_id

Factory = Callable[..., World]
SHIPPED = [name for name in WORLDS if name != "LiveCodeBench"]
ID = {name: f"uis_env:{gym_id(name)}" for name in SHIPPED} | {"Workflow": "uis_env:UIS/Workflow-v0"}
BUDGETS = tuple(Arm(m, t, (n,)) for m in ("small", "large") for t in ("best_of_n", "majority") for n in (1, 2, 4, 16))


@given(st.lists(st.booleans(), min_size=16, max_size=16).filter(any), st.integers(0, 15))
def test_a_substitute_is_the_nearest_budget_else_the_cheapest(offered: list[bool], wanted: int) -> None:
    from tests.conftest import make_world

    world = make_world(arms=BUDGETS)
    assert world.expected.dollars is not None
    mask = np.array([offered], np.int8)
    [[got]] = substitutes(ranking(world, [BUDGETS[wanted]], "dollars"), mask)
    alike = [k for k in range(16) if offered[k] and BUDGETS[k][:2] == BUDGETS[wanted][:2]]
    if offered[wanted]:
        assert got == wanted
    elif alike:
        far = [abs(np.log2(BUDGETS[k].budget[0] / BUDGETS[wanted].budget[0])) for k in alike]
        assert abs(np.log2(BUDGETS[got].budget[0] / BUDGETS[wanted].budget[0])) == min(far) and got in alike
        assert got == alike[int(np.argmin(far))]  # the smaller of two that are equally near
    else:
        cost = world.expected.dollars.mean(axis=0)
        assert cost[got] == min(cost[k] for k in range(16) if offered[k])


def test_fallback_plays_what_info_says(world_factory: Factory) -> None:
    world = world_factory(arms=BUDGETS, missing=dict.fromkeys(range(24), (0, 1, 2)) | {3: tuple(range(15))})
    strict, lax = (UISEnv(world, unavailable=u, cost_weight=50.0, horizon=50) for u in ("error", "fallback"))
    assert lax.action_space == spaces.Discrete(16) and type(lax.action_space) is spaces.Discrete
    check_env(lax, skip_render_check=True)
    lax.reset(seed=0)
    _, info = strict.reset(seed=0)
    for _ in range(50):
        query, mask = info["query"], info["action_mask"]
        _, reward, _, _, shown = lax.step(1)
        assert shown["arm"] == (15 if query == 3 else 3) and mask[shown["arm"]]
        with pytest.raises(ValueError, match="unavailable='fallback'"):
            strict.step(1)
        _, expected, _, _, info = strict.step(shown["arm"])
        assert reward == expected
    with pytest.raises(ValueError, match="unavailable is 'skip', expected 'error' or 'fallback'"):
        UISEnv(world, unavailable="skip")
    lax.reset(seed=1)
    with pytest.raises(ValueError, match="outside"):
        lax.step(16)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_world_has_a_grid(name: str) -> None:
    env = GridActions(gym.make(ID[name], horizon=5000))
    catalog = env.unwrapped.episodes.world.catalog  # type: ignore[attr-defined]
    env.reset(seed=0)
    for m, model in enumerate(catalog.models):
        for r, (method, style) in enumerate(catalog.recipes):
            for b, budget in enumerate(catalog.budgets):
                arm = catalog.arms[env.step(np.array([m, r, b]))[4]["arm"]]
                there = Arm(model, method, budget, style) in catalog.arms
                alike = any(other[:2] == (model, method) for other in catalog.arms)
                assert arm == (model, method, budget, style) if there else arm[:2] == (model, method) or not alike
    space = env.action_space
    assert isinstance(space, spaces.MultiDiscrete) and len(pickle.dumps(env)) < 1_000_000


def test_the_grid_follows_masks(world_factory: Factory) -> None:
    env = GridActions(UISEnv(world_factory(arms=BUDGETS), scenario="lost_model", horizon=30))
    env.reset(seed=0)
    models = [env.unwrapped.names[env.step([1, 0, 0])[4]["arm"]].partition("/")[0] for _ in range(30)]
    assert models[:10] == models[20:] != models[10:20] and len(set(models[10:20])) == 1
    env.reset(seed=0)
    for bad in ([0, 2, 0], [0.0, 0.0, 0.0], [0, 0], 3):
        with pytest.raises(ValueError, match="outside MultiDiscrete"):
            env.step(bad)
    with pytest.raises(ValueError, match="expected a UISEnv, got CartPoleEnv"):
        GridActions(gym.make("CartPole-v1"))


@pytest.mark.parametrize("without", [(), ("latency",), ("dollars", "eflops"), ("latency", "dollars")])
def test_vectors_of_rewards(world_factory: Factory, without: tuple[str, ...]) -> None:
    world = world_factory(without=without)
    plain = UISEnv(world, horizon=20)
    env = VectorReward(UISEnv(world, horizon=20))
    cost = [n for n in ("dollars", "eflops") if n not in without][:1]
    assert env.objectives == ("quality", *cost, *(["latency"] if "latency" not in without else []))
    assert env.reward_space.shape == (env.reward_dim,) == (len(env.objectives),)
    assert env.unwrapped.reward_space == env.reward_space  # type: ignore[attr-defined]
    env.reset(seed=0)
    plain.reset(seed=0)
    for t in range(20):
        _, vector, _, _, info = env.step(t % 5)
        _, reward, _, _, _ = plain.step(t % 5)
        assert vector in env.reward_space and info["reward"] == reward
        np.testing.assert_array_equal(
            vector, np.float32([info[n] * (1 if n == "quality" else -1) for n in env.objectives])
        )
    with pytest.raises(ValueError, match="without rules"):
        VectorReward(WorkflowEnv(world_factory(), deadline=None, token_budget=500.0))


@pytest.mark.parametrize("name", [*SHIPPED, "Workflow"])
def test_pictures(name: str) -> None:
    text, image = (gym.make(ID[name], render_mode=mode) for mode in ("ansi", "rgb_array"))
    with pytest.raises(ResetNeeded):
        text.render()
    text.reset(seed=0)
    image.reset(seed=0)
    before = image.render()
    assert isinstance(before, np.ndarray) and before.shape == (HEIGHT, WIDTH, 3) and before.dtype == np.uint8
    assert str(text.render()).startswith("round 0/") and "nothing played yet" in str(text.render())
    _, reward, *_, info = text.step(1)
    image.step(1)
    line, after = str(text.render()), image.render()
    assert line.startswith("round 1/") and f"reward {reward:.3f}" in line and "\n" not in line
    assert text.unwrapped.names[info["arm"]] in line  # type: ignore[attr-defined]
    assert (
        isinstance(after, np.ndarray) and (after != before).any() and len(np.unique(after.reshape(-1, 3), axis=0)) > 3
    )
    text.reset()
    assert str(text.render()).startswith("round 0/")


def test_render_modes_are_checked(tiny_world: World) -> None:
    with pytest.raises(ValueError, match="render_mode is 'human', expected 'ansi' or 'rgb_array' or None"):
        UISEnv(tiny_world, render_mode="human")
    check_env(gym.make("uis_env:UIS/World-v0", world=tiny_world, render_mode="rgb_array"))
    frames = gym.wrappers.RenderCollection(UISEnv(tiny_world, render_mode="ansi"))
    frames.reset(seed=0)
    frames.step(0)
    assert [line[:8] for line in frames.render()] == ["round 0/", "round 1/"]
    assert len({len(glyph) for glyph in GLYPHS.values()}) == 1


@pytest.mark.parametrize("name", [*SHIPPED, "Workflow"])
@pytest.mark.parametrize("vector", [False, True])
def test_pickles_of_shipped_worlds_are_small_and_go_on_alike(name: str, vector: bool) -> None:
    made: Any = (gym.make_vec if vector else gym.make)(ID[name], **({"num_envs": 64} if vector else {}))
    made.reset(seed=3)
    action: Any = np.zeros(64, int) if vector else 0
    for _ in range(5):
        made.step(action)
        if not vector and name == "Workflow":
            made.reset()
    data = pickle.dumps(made)
    assert len(data) < 1_000_000
    twin = pickle.loads(data)
    for got, expected in zip(twin.step(action)[:3], made.step(action)[:3], strict=True):
        np.testing.assert_array_equal(got, expected)


def _first(env: UISEnv) -> tuple[int, float]:
    _, info = env.reset(seed=7)
    return int(info["query"]), env.step(2)[1]


def test_copies_work_in_spawned_processes() -> None:
    env = gym.make("uis_env:UIS/Recorded-v0", split="test")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_first, (env,)) == _first(env)  # type: ignore[arg-type]
