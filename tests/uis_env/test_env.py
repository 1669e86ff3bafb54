"""UISEnv: Gymnasium's rules, tapes behind resets, what a step returns, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from uis_env.bandit import Bandit, Phase, Reward, tabulate
from uis_env.env import UISEnv
from uis_env.episodes import WINDOW
from uis_env.scenarios import SCENARIOS, Scenario, Segment
from uis_env.spaces import ArmSpace
from uis_env.tape import tape
from uis_env.world import World

Factory = Callable[..., World]
CHANNELS = ("quality", "score", "dollars", "eflops", "tokens", "latency")
SETTINGS: list[dict[str, Any]] = [
    *({"scenario": name} for name in SCENARIOS),
    *({"scenario": name, "observation": "dict"} for name in ("stationary", "price_change", "preference_switch")),
    {"horizon": 1},
    {"horizon": 2, "scenario": "new_model"},
    {"horizon": 3, "scenario": "lost_model"},
    {"order": "iid", "cost_channel": "eflops"},
    {"reward": {"score": 0.2, "tokens": 1e-4, "latency": 1e-3}},
    {"reward": Reward(quality=0.5, cost=0.3, offset=0.3, transform="log", cost_channel="dollars")},
    {"queries": [0, 3, 5, 7]},
]


def make(world: World, **options: Any) -> UISEnv:
    env = gym.make("uis_env:UIS/World-v0", world=world, **{"cost_weight": 50.0} | options)
    assert isinstance(env, UISEnv)
    return env


def bandit_of(env: UISEnv) -> Bandit:
    return tabulate(env.episodes.world, env.episodes.scenario.phases)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_check_env_has_nothing_to_say(tiny_world: World, settings: dict[str, Any]) -> None:
    check_env(make(tiny_world, **settings))


@pytest.mark.parametrize("context", ["plain", "wide"])
def test_check_env_on_a_partly_recorded_world(world_factory: Factory, context: str) -> None:
    world = world_factory(missing={0: (0,), 3: (0, 1), 4: (4,)}, without=("score", "latency"))
    check_env(make(world, context=context, order="iid"))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", ["Recorded", "Synthetic"])
def test_shipped_worlds_pass_check_env(name: str, scenario: str) -> None:
    priced = {"cost_channel": "dollars", "cost_weight": 20_000.0} if name == "Recorded" else {}
    check_env(gym.make(f"uis_env:UIS/{name}-v0", scenario=scenario, **priced))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("order", ["passes", "iid"])
def test_an_episode_is_the_tape_looked_up(tiny_world: World, scenario: str, order: str) -> None:
    env = make(tiny_world, scenario=scenario, order=order, horizon=60)
    bandit = bandit_of(env)
    played = tape(env.episodes.schedule, 11)
    random = np.random.default_rng(0)
    observation, info = env.reset(seed=11)
    for t, (q, r, p) in enumerate(zip(*played, strict=True)):
        assert info["query"] == q
        np.testing.assert_array_equal(observation[:3], bandit.context[q])
        np.testing.assert_array_equal(info["action_mask"], bandit.mask[p, q])
        np.testing.assert_array_equal(env.action_masks(), bandit.mask[p, q])
        action = random.choice(np.flatnonzero(info["action_mask"]))
        observation, reward, terminated, truncated, info = env.step(action)
        assert type(reward) is float and reward == bandit.reward[p, q, r, action]
        assert type(terminated) is bool and terminated == (t == 59) and truncated is False
        v = bandit.variant[p]
        for name in CHANNELS:
            assert type(info[name]) is np.float64 and info[name] == getattr(bandit.channels, name)[v, q, r, action]
        assert info["regret"] == bandit.regret[p, q, action] and type(info["regret"]) is np.float64
        assert info["arm"] == action and type(info["arm"]) is type(info["query"]) is np.int64
    assert observation in env.observation_space


def test_info_has_the_same_numeric_keys_at_reset_and_step(world_factory: Factory) -> None:
    env = make(world_factory(without=("score", "latency")), horizon=3)
    for seed in (np.int64(5), None):
        _, before = env.reset(seed=seed)
        assert before.keys() == {"arm", "quality", "dollars", "eflops", "tokens", "regret", "query", "action_mask"}
        assert before["arm"] == -1 and all(np.isnan(before[n]) for n in ("quality", "dollars", "tokens", "regret"))
        for _ in range(3):
            info = env.step(2)[4]
            assert {name: value.dtype for name, value in info.items()} == {n: v.dtype for n, v in before.items()}


def test_the_last_observation_stays(tiny_world: World) -> None:
    env = make(tiny_world, horizon=2, observation="dict")
    env.reset(seed=0)
    before, *_, info_before = env.step(0)
    after, _, terminated, _, info = env.step(0)
    assert terminated and info["query"] == info_before["query"]
    for name, part in before.items():
        np.testing.assert_array_equal(part, after[name])
        assert not np.shares_memory(part, after[name])


def test_resets_play_the_episodes_of_a_seed(tiny_world: World) -> None:
    env = make(tiny_world, horizon=7)

    def queries(**options: Any) -> list[int]:
        asked = [env.reset(**options)[1]["query"]]
        asked += [env.step(0)[4]["query"] for _ in range(6)]
        return asked

    def of(seed: int, episode: int) -> list[int]:
        return tape(env.episodes.schedule, seed, episode=episode).query.tolist()

    assert [queries(seed=5), queries(), queries()] == [of(5, 0), of(5, 1), of(5, 2)]
    assert queries(seed=5) == of(5, 0)
    env.reset()  # left at once: the next reset goes on to the next episode all the same
    assert queries() == of(5, 2)
    assert queries(seed=6) == of(6, 0)


def test_a_first_reset_without_a_seed_draws_one_from_np_random(tiny_world: World) -> None:
    first = []
    for _ in range(2):
        env = make(tiny_world)
        env.np_random = np.random.default_rng(42)
        first.append([env.reset()[1]["query"], *(env.step(0)[4]["query"] for _ in range(20))])
    assert first[0] == first[1]
    one, other = ([env.reset()[1]["query"]] + [env.step(0)[4]["query"] for _ in range(20)] for env in fresh(tiny_world))
    assert one != other


def fresh(world: World) -> list[UISEnv]:
    return [make(world), make(world)]


@pytest.mark.parametrize("horizon", [1, 3, WINDOW - 1, WINDOW + 1, 3 * WINDOW])
def test_windows_join_without_a_seam(tiny_world: World, horizon: int) -> None:
    env = make(tiny_world, horizon=horizon)
    rounds = 2 * WINDOW + 100
    asked = []
    for episode in range(-(-rounds // horizon)):
        info = env.reset(seed=3 if episode == 0 else None)[1]
        for _ in range(min(horizon, rounds)):
            asked.append(info["query"])
            info = env.step(1)[4]
    expected = np.concatenate(
        [
            tape(env.episodes.schedule, 3, 0, min(horizon, rounds), episode).query
            for episode in range(-(-rounds // horizon))
        ]
    )
    assert asked == expected.tolist()


def test_a_long_horizon_needs_no_memory(tiny_world: World) -> None:
    env = make(tiny_world, horizon=10**12, scenario="lost_model")
    observation, _ = env.reset(seed=0)
    assert env.step(3)[2] is False and observation.base.shape[0] == WINDOW


def test_nothing_returned_is_returned_twice_or_read_again(tiny_world: World) -> None:
    env = make(tiny_world, horizon=5)
    kept, copies = [], []
    observation, info = env.reset(seed=1)
    for _ in range(12):
        kept += [observation, info["action_mask"], env.action_masks()]
        copies += [array.copy() for array in kept[-3:]]
        observation, _, terminated, _, info = env.step(0)
        if terminated:
            kept += [observation, info["action_mask"]]
            copies += [array.copy() for array in kept[-2:]]
            observation, info = env.reset()
    for i, array in enumerate(kept):
        np.testing.assert_array_equal(array, copies[i])
        assert not any(np.shares_memory(array, other) for other in kept[:i])
    info["action_mask"][:] = 0  # the caller's own copy
    assert env.action_masks().all()
    env.step(0)


@pytest.mark.parametrize(
    "scenario, parts",
    [
        ("stationary", {}),
        ("lost_model", {}),
        ("silent_quality_loss", {}),
        ("price_change", {"prices": [1.0, 1.0]}),
        ("preference_switch", {"preference": [1.0, 0.0, 50.0, 0.0, 0.0]}),
    ],
)
def test_preference_and_prices_are_seen_when_they_vary(tiny_world: World, scenario: str, parts: dict[str, Any]) -> None:
    flat, _ = make(tiny_world, scenario=scenario).reset(seed=0)
    env = make(tiny_world, scenario=scenario, observation="dict")
    observation, info = env.reset(seed=0)
    assert set(observation) == {"context", "action_mask", *parts}
    np.testing.assert_array_equal(observation["action_mask"], info["action_mask"])
    assert not np.shares_memory(observation["action_mask"], info["action_mask"])
    for name, expected in parts.items():
        np.testing.assert_allclose(observation[name], expected)
    np.testing.assert_array_equal(flat, np.concatenate([observation[n] for n in ("context", *parts)]))


def test_preference_and_prices_of_each_round(tiny_world: World) -> None:
    cheap = Phase(Reward(cost=1.0), price={"large": 0.5})
    mixed = Scenario("mixed", (Phase(Reward(cost=2.0)), cheap, Phase(Reward(cost=2.0))), (Segment(0.0, None),))
    env = UISEnv(tiny_world, scenario=mixed, horizon=200)
    bandit, played = bandit_of(env), tape(env.episodes.schedule, 4)
    assert len(env.episodes.observations) == 2 * 24  # two distinct conditions in three phases
    observation, _ = env.reset(seed=4)
    for q, _, p in zip(*played, strict=True):
        expected = np.concatenate([bandit.context[q], bandit.preference[p], bandit.prices[p]])
        np.testing.assert_array_equal(observation, expected)
        observation = env.step(0)[0]


def test_bounds_are_the_range_of_the_table(tiny_world: World) -> None:
    space = make(tiny_world, scenario="preference_switch").observation_space
    assert isinstance(space, spaces.Box) and space.dtype == np.float32 and space.shape == (8,)
    context = tiny_world.contexts["plain"]
    np.testing.assert_array_equal(space.low[:2], context.min(axis=0)[:2])
    np.testing.assert_array_equal(space.high[:2], context.max(axis=0)[:2])
    # The bias and the weights that stay are constant.
    assert space.low[2:].tolist() == [0, 0, 0, 5, 0, 0] and space.high[2:].tolist() == [1, 1, 1, 50, 1, 1]


def test_masked_arms_are_refused_by_name(tiny_world: World) -> None:
    env = make(tiny_world, scenario="new_model", horizon=30, scenario_options={"model": "large"})
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [1, 1, 0, 0, 0] and info["action_mask"].dtype == np.int8
    expected = rf"action 3 \(large/best_of_n@4\) is not on offer for query 'query-{info['query']}'"
    with pytest.raises(ValueError, match=expected):
        env.step(3)
    for _ in range(10):  # a refusal changes nothing
        _, _, _, _, info = env.step(env.action_space.sample(info["action_mask"]))
    assert info["action_mask"].all()
    env.step(3)


@pytest.mark.parametrize("action", [5, -1, 10**30])
def test_actions_outside_the_range_are_refused(tiny_world: World, action: int) -> None:
    env = make(tiny_world)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"action {action} is outside 0\.\.4"):
        env.step(action)


@pytest.mark.parametrize("action", [1.0, "1", None, np.array([1]), np.float32(1), True, np.True_])
def test_actions_that_are_no_integers_are_refused(tiny_world: World, action: Any) -> None:
    env = make(tiny_world)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not an integer"):
        env.step(action)


@pytest.mark.parametrize("action", [2, np.int64(2), np.uint8(2), np.array(2)])
def test_any_integer_will_do(tiny_world: World, action: Any) -> None:
    env = make(tiny_world)
    env.reset(seed=0)
    assert env.names[env.step(action)[4]["arm"]] == "large/single@1"


def test_steps_need_a_running_episode(tiny_world: World) -> None:
    env = make(tiny_world, horizon=1)
    for attempt in (lambda: env.step(0), env.action_masks):
        with pytest.raises(ResetNeeded, match="call reset"):
            attempt()
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ResetNeeded, match="no episode is running"):
        env.step(0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cost_weight": float("nan")}, "reward weight cost is nan"),
        ({"cost_weight": -0.1}, "reward weight cost is -0.1"),
        ({"cost_weight": "high"}, "reward weight cost is 'high'"),
        ({"cost_weight": 1e308}, r"reward weight cost is above 3.4e\+38"),
        ({"reward": {"quality": 3e38, "tokens": 3e38}}, "rewards of up to .* leave the range of float32"),
        ({"cost_channel": "euros"}, "cost_channel is 'euros'"),
        ({"reward": {"speed": 1.0}}, r"unknown reward settings \['speed'\]; expected quality, score, cost"),
        ({"reward": 1.0}, "expected a Reward or a mapping"),
        ({"scenario": "calm"}, "unknown scenario 'calm'; expected one of stationary"),
        ({"scenario": "stationary", "scenario_options": {"x": 1}}, "scenario 'stationary'.*'x'"),
        ({"scenario": "price_change", "scenario_options": {"model": "huge"}}, "names model 'huge'"),
        ({"scenario": "lost_model", "scenario_options": {"model": "huge"}}, "unknown model"),
        ({"context": "deep"}, "no context 'deep'; it has plain, wide"),
        ({"order": "sorted"}, "order is 'sorted', expected 'passes' or 'iid'"),
        ({"observation": "image"}, "observation is 'image', expected 'flat' or 'dict'"),
        ({"horizon": 0}, "horizon is 0, expected an integer >= 1"),
        ({"horizon": 10.0}, "horizon is 10.0, expected an integer >= 1"),
        ({"queries": []}, "one row number or more"),
        ({"queries": [0, 24]}, r"distinct rows in 0\.\.23 of world 'Tiny'"),
        ({"queries": [1, 1]}, "distinct rows"),
        ({"queries": ["a"]}, "one row number or more"),
        ({"world_options": {"a": 1}}, "a World was given"),
    ],
)
def test_bad_options_are_refused(tiny_world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tiny_world, **options)


def test_unknown_options_and_worlds_are_refused(tiny_world: World) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'speed'\. Options: world, horizon, holdout, "):
        make(tiny_world, speed=3)
    with pytest.raises(TypeError, match="argument 'horzion'; did you mean 'horizon'"):
        make(tiny_world, horzion=3)
    with pytest.raises(ValueError, match="unknown world 'Nowhere', expected one of"):
        UISEnv("Nowhere")
    with pytest.raises(TypeError, match="world"):
        gym.make("uis_env:UIS/World-v0")
    env = make(tiny_world)
    with pytest.raises(ValueError, match=r"reset takes no options, got \['round'\]"):
        env.reset(options={"round": 3})
    for options in (5, "round", [1]):
        with pytest.raises(ValueError, match=r"options is .*, expected a mapping or None"):
            env.reset(options=options)  # type: ignore[arg-type]
    for seed in (-1, 1.5, "a", True, 2**64):
        with pytest.raises(ValueError, match=r"seed is .*, expected an integer in 0\.\.2\*\*64 - 1"):
            env.reset(seed=seed)  # type: ignore[arg-type]
    mixed = Scenario("mine", (Phase(),), (Segment(0.0, 0),))
    with pytest.raises(ValueError, match="a Scenario holds its own rewards"):
        UISEnv(tiny_world, scenario=mixed, cost_weight=1.0)
    with pytest.raises(ValueError, match="are for named scenarios"):
        UISEnv(tiny_world, scenario=mixed, scenario_options={"factor": 1})


def test_rewards_start_from_the_defaults_of_the_world(world_factory: Factory) -> None:
    world = world_factory(defaults={"cost": 3.0, "cost_channel": "eflops"})

    def reward(**options: Any) -> Reward:
        return UISEnv(world, **options).episodes.reward

    assert reward() == Reward(cost=3.0, cost_channel="eflops")
    assert reward(cost_weight=0) == Reward(cost=0, cost_channel="eflops")
    assert reward(cost_channel="dollars") == Reward(cost=3.0)
    assert reward(reward={"score": 1.0}) == Reward(cost=3.0, score=1.0, cost_channel="eflops")
    assert reward(reward=Reward(tokens=1.0), cost_weight=2) == Reward(tokens=1.0, cost=2)


@pytest.mark.parametrize("between", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_alike_and_apart(tiny_world: World, between: Callable[[UISEnv], UISEnv]) -> None:
    env = make(tiny_world, horizon=40, scenario="price_change")
    env.reset(seed=2)
    env.step(1)
    twin = between(env)
    for action in (0, 3, 2):
        for got, expected in zip(twin.step(action), env.step(action), strict=True):
            np.testing.assert_equal(got, expected)
    twin.step(0)
    assert twin.step(1)[4]["query"] != env.step(1)[4]["query"]


def test_space_samples_what_is_always_on_offer(world_factory: Factory) -> None:
    space = make(world_factory(missing={0: (1,), 5: (4,)})).action_space
    assert isinstance(space, ArmSpace) and space == spaces.Discrete(5)
    space.seed(0)
    assert {int(space.sample()) for _ in range(100)} == {0, 2, 3}
    assert {int(space.sample(np.array([0, 1, 0, 0, 1], np.int8))) for _ in range(50)} == {1, 4}
    twin = pickle.loads(pickle.dumps(space))
    assert [twin.sample() for _ in range(9)] == [space.sample() for _ in range(9)]
    assert type(make(world_factory()).action_space) is spaces.Discrete


def test_gymnasium_s_sync_vector_env_takes_it(tiny_world: World) -> None:
    envs = gym.make_vec(
        "uis_env:UIS/World-v0",
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
        world=tiny_world,
        horizon=4,
        observation="dict",
    )
    _, infos = envs.reset(seed=0)
    assert infos["action_mask"].shape == (3, 5)
    for _ in range(9):
        _, rewards, _, _, _ = envs.step(envs.action_space.sample())
    assert rewards.shape == (3,)
    envs.close()


def test_the_spec_makes_it_again(tiny_world: World) -> None:
    env = make(tiny_world, scenario="price_change", horizon=5)
    assert env.spec is not None
    again = env.spec.make()
    np.testing.assert_array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])
