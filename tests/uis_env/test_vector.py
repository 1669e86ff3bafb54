"""UISVectorEnv: the scalar environment n times, Gymnasium's conventions at the end of episodes, and refusals."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from uis_env.env import UISEnv
from uis_env.scenarios import SCENARIOS
from uis_env.tape import tape
from uis_env.vector import UISVectorEnv
from uis_env.workflow import WorkflowEnv, WorkflowVectorEnv
from uis_env.world import World

Factory = Callable[..., World]


def make(world: World, num_envs: int = 3, **options: Any) -> UISVectorEnv:
    envs = gym.make_vec("uis_env:UIS/World-v0", num_envs=num_envs, world=world, **{"cost_weight": 50.0} | options)
    assert isinstance(envs, UISVectorEnv)
    return envs


def sample(random: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    return np.array([random.choice(np.flatnonzero(mask)) for mask in masks])


def assert_same(got: Any, expected: Any, path: str = "") -> None:
    """Equal values, types and dtypes, through dicts and object arrays."""
    assert type(got) is type(expected), path
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), path
        for key in expected:
            assert_same(got[key], expected[key], f"{path}/{key}")
    elif expected.dtype == object:
        for i in range(len(expected)):
            if isinstance(expected[i], np.ndarray | dict):
                assert_same(got[i], expected[i], f"{path}/{i}")
            else:
                assert got[i] == expected[i], path
    else:
        assert got.dtype == expected.dtype, path
        np.testing.assert_array_equal(got, expected, err_msg=path)


@pytest.mark.parametrize(
    "options",
    [
        *({"scenario": name, "horizon": 9} for name in SCENARIOS),
        {"horizon": 1},
        {"horizon": 4, "observation": "dict", "scenario": "price_change"},
        {"horizon": 5, "order": "iid", "queries": [0, 1, 4]},
    ],
    ids=str,
)
def test_same_as_gymnasium_s_own_vector_of_scalar_environments(world_factory: Factory, options: dict[str, Any]) -> None:
    world = world_factory(missing={0: (0,), 7: (1, 4)})
    envs = make(world, **options)
    sync = SyncVectorEnv(
        [lambda: UISEnv(world, cost_weight=50.0, **options)] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert envs.action_space == sync.action_space and envs.observation_space == sync.observation_space
    random = np.random.default_rng(0)
    for got, expected in zip(envs.reset(seed=8), sync.reset(seed=8), strict=True):
        assert_same(got, expected)
    masks = envs.action_masks()
    for _ in range(20):
        actions = sample(random, masks)
        ours, theirs = envs.step(actions), sync.step(actions)
        for name, got, expected in zip(("obs", "reward", "end", "cut", "info"), ours, theirs, strict=True):
            assert_same(got, expected, name)
        masks = envs.action_masks()
        np.testing.assert_array_equal(masks, ours[4]["action_mask"] == 1)
        assert ours[0] in envs.observation_space
    for got, expected in zip(envs.reset(), sync.reset(), strict=True):
        assert_same(got, expected)


MODES = {"same_step": AutoresetMode.SAME_STEP, "next_step": AutoresetMode.NEXT_STEP, "disabled": AutoresetMode.DISABLED}
GAMES: list[tuple[Any, Any, dict[str, Any]]] = [
    (UISEnv, UISVectorEnv, {"horizon": 3, "cost_weight": 50.0}),
    (UISEnv, UISVectorEnv, {"horizon": 7, "scenario": "lost_model", "observation": "dict"}),
    (UISEnv, UISVectorEnv, {"horizon": 1500, "order": "iid"}),
    (UISEnv, UISVectorEnv, {"horizon": 4, "unavailable": "fallback", "scenario": "lost_model"}),
    (WorkflowEnv, WorkflowVectorEnv, {"deadline": 12.0, "token_budget": 1500.0, "reward": {"tokens": 1e-4}}),
    (WorkflowEnv, WorkflowVectorEnv, {"deadline": None, "token_budget": 900.0, "quorum": 2, "observation": "dict"}),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("game", range(len(GAMES)))
def test_all_modes_are_those_of_gymnasium_s_own_vector(world_factory: Factory, game: int, mode: str) -> None:
    """Also where only some sub-environments are reset, with and without seeds."""
    scalar, vector, options = GAMES[game]
    world = world_factory(missing={0: (0,), 7: (1, 4)})
    envs = vector(world, 4, autoreset=mode, **options)
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is MODES[mode]
    sync = SyncVectorEnv([lambda: scalar(world, **options)] * 4, autoreset_mode=MODES[mode])
    random = np.random.default_rng(game)

    def both(method: str, *args: Any, **kwargs: Any) -> Any:
        ours = getattr(envs, method)(*args, **copy.deepcopy(kwargs))
        theirs = getattr(sync, method)(*args, **copy.deepcopy(kwargs))
        for got, expected in zip(ours, theirs, strict=True):
            assert_same(got, expected)
        assert ours[0] in envs.observation_space
        return ours

    both("reset", seed=5)
    for _ in range(60):
        masks = np.ones((4, 5), bool) if "unavailable" in options else envs.action_masks()
        _, _, ended, _, _ = both("step", sample(random, masks))
        if mode == "disabled" and ended.any():
            both("reset", options={"reset_mask": ended})
        elif random.random() < 0.1 and not (mode == "next_step" and ended.any()):
            mask = random.random(4) < 0.5
            mask[random.integers(4)] = True
            both("reset", seed=random.choice([None, 3, 9]), options={"reset_mask": mask})
    twin = pickle.loads(pickle.dumps(envs))
    if mode != "disabled":
        actions = np.zeros(4, int) if "unavailable" in options else envs.action_masks().argmax(axis=1)
        for got, expected in zip(twin.step(actions), envs.step(actions), strict=True):
            assert_same(got, expected)


def test_disabled_waits_for_a_reset(tiny_world: World) -> None:
    envs = make(tiny_world, horizon=1, autoreset="disabled")
    envs.reset(seed=0)
    assert envs.step([0, 0, 0])[2].all()
    with pytest.raises(ResetNeeded, match="sub-environment 0 has ended"):
        envs.step([0, 0, 0])


@pytest.mark.parametrize("wrapper", ["NormalizeObservation", "FlattenObservation", "RecordEpisodeStatistics"])
def test_next_step_is_what_vector_wrappers_want(tiny_world: World, wrapper: str) -> None:
    envs = getattr(gym.wrappers.vector, wrapper)(make(tiny_world, horizon=4, autoreset="next_step"))
    envs.reset(seed=0)
    for _ in range(11):
        observations, *_ = envs.step(np.zeros(3, int))
    assert observations.shape == (3, 3)


def test_no_round_is_lost(tiny_world: World) -> None:
    """Every step of one-query episodes pays, and sub-environment i plays the tapes of seed + i, one episode a step."""
    envs = make(tiny_world, num_envs=64, horizon=1)
    schedule = envs.episodes.schedule
    _, infos = envs.reset(seed=100)
    for episode in range(30):
        expected = [tape(schedule, 100 + i, episode=episode).query[0] for i in range(64)]
        assert infos["query"].tolist() == expected
        _, rewards, terminated, truncated, infos = envs.step(np.zeros(64, int))
        assert terminated.all() and not truncated.any()
        draws = [tape(schedule, 100 + i, episode=episode).draw[0] for i in range(64)]
        quality = tiny_world.channels.quality[expected, draws, 0]
        np.testing.assert_array_equal(infos["final_info"]["quality"], quality)
        assert rewards.dtype == np.float64 and (rewards > quality - 1).all() and (rewards <= quality).all()


@pytest.mark.parametrize("horizon", [1, 3, 1023, 1025, 2500])
def test_windows_join_without_a_seam(tiny_world: World, horizon: int) -> None:
    envs = make(tiny_world, num_envs=2, horizon=horizon)
    asked = [envs.reset(seed=3)[1]["query"]]
    asked += [envs.step([0, 1])[4]["query"] for _ in range(2999)]
    episodes = -(-3000 // horizon)
    for i in range(2):
        parts = [tape(envs.episodes.schedule, 3 + i, episode=episode).query for episode in range(episodes)]
        expected = np.concatenate(parts)[:3000]
        got = np.array(asked)[:, i]
        # The step that ends an episode already shows the first query of the next one.
        np.testing.assert_array_equal(got, expected)


def test_windows_shrink_with_the_number_of_copies(tiny_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = make(tiny_world, horizon=50), make(tiny_world, horizon=50)
    long.reset(seed=0)
    monkeypatch.setattr("uis_env.episodes.MOST_AHEAD", 21)
    short.reset(seed=0)
    assert len(short.episodes.rounds([0, 1, 2], 0, 0).query) == 7
    for _ in range(120):
        for got, expected in zip(short.step([0, 1, 2]), long.step([0, 1, 2]), strict=True):
            assert_same(got, expected)


def test_seeds_by_list_and_episodes_without_seed(tiny_world: World) -> None:
    envs = make(tiny_world, horizon=6)
    schedule = envs.episodes.schedule

    def first(seeds: list[int], episode: int) -> list[int]:
        return [int(tape(schedule, seed, episode=episode).query[0]) for seed in seeds]

    assert envs.reset(seed=[9, 2, 5])[1]["query"].tolist() == first([9, 2, 5], 0)
    assert envs.reset()[1]["query"].tolist() == first([9, 2, 5], 1)
    assert envs.reset(seed=4)[1]["query"].tolist() == first([4, 5, 6], 0)
    for _ in range(6):
        infos = envs.step([0, 0, 0])[4]
    assert infos["query"].tolist() == first([4, 5, 6], 1)
    assert envs.reset()[1]["query"].tolist() == first([4, 5, 6], 2)


def test_a_first_reset_without_a_seed_draws_one_from_np_random(tiny_world: World) -> None:
    def asked() -> list[int]:
        envs = make(tiny_world, num_envs=8)
        envs.np_random = np.random.default_rng(42)
        return envs.reset()[1]["query"].tolist()

    assert asked() == asked()
    assert (
        make(tiny_world, num_envs=64).reset()[1]["query"].tolist()
        != make(tiny_world, num_envs=64).reset()[1]["query"].tolist()
    )


def test_what_is_returned_stays(tiny_world: World) -> None:
    envs = make(tiny_world, horizon=3, scenario="lost_model")
    observation, infos = envs.reset(seed=0)
    kept, copies = [], []
    for _ in range(7):
        kept += [observation, infos["action_mask"], infos["query"]]
        copies += [array.copy() for array in kept[-3:]]
        observation, rewards, _, _, infos = envs.step([0, 1, 0])
        kept.append(rewards)
        copies.append(rewards.copy())
    for i, array in enumerate(kept):
        np.testing.assert_array_equal(array, copies[i])
        assert not any(np.shares_memory(array, other) for other in kept[:i])
    query = int(infos["query"][0])
    infos["action_mask"][:] = 0
    infos["query"][:] = -1
    assert envs.action_masks().any()
    with pytest.raises(ValueError, match=f"is not on offer for query 'query-{query}'"):
        envs.step(envs.action_masks().argmin(axis=1))
    envs.step(envs.action_masks().argmax(axis=1))


def test_metadata_and_spec(tiny_world: World) -> None:
    envs = make(tiny_world, num_envs=64)
    assert envs.num_envs == 64 and envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.spec is not None and envs.spec.id == "UIS/World-v0"
    assert gym.make_vec("uis_env:UIS/Recorded-v0", num_envs=2).spec.kwargs["world"] == "Recorded"


def test_one_error_for_a_bad_action(tiny_world: World) -> None:
    envs = make(tiny_world, scenario="new_model", scenario_options={"model": "large"})
    with pytest.raises(ResetNeeded, match="call reset"):
        envs.step([0, 0, 0])
    with pytest.raises(ResetNeeded, match="call reset"):
        envs.action_masks()
    _, infos = envs.reset(seed=0)
    query = infos["query"][1]
    with pytest.raises(
        ValueError, match=rf"sub-environment 1: action 2 \(large/single@1\) is not on offer for query 'query-{query}'"
    ):
        envs.step([0, 2, 3])
    with pytest.raises(ValueError, match=r"sub-environment 2: action 5 is outside 0\.\.4"):
        envs.step([0, 1, 5])
    with pytest.raises(ValueError, match=r"sub-environment 0: action -1 is outside 0\.\.4"):
        envs.step([-1, 1, 0])
    for bad in ([0, 0], [0.0, 1.0, 0.0], 0, [[0, 0, 0]], [True, False, True]):
        with pytest.raises(ValueError, match="expected 3 integers"):
            envs.step(bad)
    assert envs.step(np.array([0, 1, 1], np.uint8))[4]["arm"].tolist() == [0, 1, 1]


def test_bad_options_are_refused(tiny_world: World) -> None:
    for num_envs in (0, 2.0, True):
        with pytest.raises(ValueError, match="expected an integer >= 1"):
            UISVectorEnv(tiny_world, num_envs=num_envs)  # type: ignore[arg-type]
    assert make(tiny_world, num_envs=np.int64(2)).num_envs == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="autoreset is 'never', expected 'next_step' or 'same_step' or 'disabled'"):
        make(tiny_world, autoreset="never")
    with pytest.raises(TypeError, match="argument 'auto_reset'; did you mean 'autoreset'"):
        make(tiny_world, auto_reset="never")
    envs = make(tiny_world)
    with pytest.raises(ValueError, match="expected all of them in the first reset"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    for mask in (np.zeros(3, bool), np.ones(2, bool), np.ones(3), [True] * 3):
        with pytest.raises(ValueError, match=r"reset_mask is .*, expected"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="reset takes no options"):
        envs.reset(options={"round": 1})
    for bad in ([1.5, 2, 3], 1.5, "abc", True, [1, True, 2], -1, [0, -1, 2]):
        with pytest.raises(ValueError, match="seed is"):
            envs.reset(seed=bad)
    with pytest.raises(ValueError, match="got 2 seeds for 3 sub-environments"):
        envs.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="reward weight cost is -1"):
        make(tiny_world, cost_weight=-1)


@pytest.mark.parametrize("between", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_copies_go_on_alike(tiny_world: World, between: Callable[[UISVectorEnv], UISVectorEnv]) -> None:
    envs = make(tiny_world, horizon=5)
    envs.reset(seed=0)
    twin = between(envs)
    for _ in range(7):
        for got, expected in zip(twin.step([0, 1, 2]), envs.step([0, 1, 2]), strict=True):
            assert_same(got, expected)


def test_gymnasium_s_wrappers_take_it(tiny_world: World) -> None:
    envs = gym.wrappers.vector.RecordEpisodeStatistics(make(tiny_world, horizon=4))
    envs.reset(seed=0)
    total = np.zeros(3)
    for _ in range(4):
        _, rewards, _, _, infos = envs.step(np.zeros(3, int))
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total)
    assert infos["episode"]["l"].tolist() == [4, 4, 4]
