"""References of an episode against brute force, and `evaluate` against paired differences by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

import uis_env
from experiments.config import load_config
from uis_env import UISEnv, World, evaluate
from uis_env.evaluation import student
from uis_env.workflow import WorkflowEnv

Factory = Callable[..., World]


def played(env: UISEnv, seed: int, arms: Any) -> tuple[float, list[int]]:
    """The return of one arm, or of one per round, and the queries asked."""
    _, info = env.reset(seed=seed)
    total, queries, over, t = 0.0, [], False, 0
    while not over:
        queries.append(int(info["query"]))
        _, reward, over, _, info = env.step(arms if isinstance(arms, int) else arms[t])
        total, t = total + reward, t + 1
    return total, queries


@pytest.mark.parametrize(
    "options",
    [{}, {"scenario": "preference_mix"}, {"scenario": "query_mix_shift", "order": "iid"}, {"holdout": 9}],
    ids=str,
)
def test_references_are_what_playing_them_returns(tiny_world: World, options: dict[str, Any]) -> None:
    env = UISEnv(tiny_world, cost_weight=50.0, horizon=30, **options)
    returns = [played(env, 4, arm)[0] for arm in range(5)]
    known = env.references(4)
    assert known.keys() == {"best_fixed", "random", "oracle"}
    rounds = env.episodes.rounds([4], 0, 0)
    expected = env.episodes.expected[rounds.cell[: env.episodes.horizon, 0]].astype(float)
    assert env.episodes.best_fixed_arm(4) == expected.sum(axis=0).argmax()
    assert known["best_fixed"] == pytest.approx(returns[int(expected.sum(axis=0).argmax())])
    assert known["random"] == pytest.approx(np.mean(returns))
    assert known["oracle"] == pytest.approx(played(env, 4, expected.argmax(axis=1).tolist())[0])


def test_full_information_is_what_every_arm_would_have_paid(world_factory: Factory) -> None:
    env = UISEnv(world_factory(missing={0: (1,), 4: (0, 3)}), cost_weight=50.0, horizon=30, scenario="preference_mix")
    rows = list(env.episodes.full_information(6))  # type: ignore[attr-defined]
    assert len(rows) == 30
    observation, info = env.reset(seed=6)
    for t, (seen, mask, rewards) in enumerate(rows):
        np.testing.assert_array_equal(seen, observation)
        np.testing.assert_array_equal(mask, info["action_mask"])
        np.testing.assert_array_equal(np.isnan(rewards), mask == 0)
        arm = np.flatnonzero(mask)[t % mask.sum()]
        observation, reward, *_, info = env.step(arm)
        assert np.float32(reward) == rewards[arm]


def test_references_under_masks(world_factory: Factory) -> None:
    world = world_factory(missing={q: (q % 5,) for q in range(24)})
    env = UISEnv(world, cost_weight=50.0, horizon=40)
    known = env.references(1)
    assert np.isnan(known["best_fixed"]) and known["oracle"] > known["random"]
    assert env.episodes.best_fixed_arm(1) is None
    some = UISEnv(world_factory(missing={0: (1,)}), cost_weight=50.0, horizon=40)
    assert some.episodes.best_fixed_arm(0) != 1


def test_long_episodes_are_judged_in_parts(tiny_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    env = UISEnv(tiny_world, horizon=300, scenario="surge")
    whole = env.references(3)
    monkeypatch.setattr("uis_env.episodes.MOST_AHEAD", 7)
    assert env.references(3) == pytest.approx(whole)


def test_evaluate_pairs_by_seed(tiny_world: World) -> None:
    env = UISEnv(tiny_world, cost_weight=50.0, horizon=20)
    result = evaluate(lambda observation, info: np.int64(2), gym.wrappers.TimeLimit(env, 100), seeds=[3, 8, 5])
    np.testing.assert_allclose(result.policy, [played(env, s, 2)[0] / 20 for s in (3, 8, 5)])
    difference = result.policy - np.array([env.references(s)["random"] / 20 for s in (3, 8, 5)])
    found = result.over("random")
    low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
    assert found == pytest.approx((difference.mean(), low, high))
    assert "best_fixed" in str(result) and "3 episodes" in str(result)
    one = evaluate(lambda observation, info: 0, env, seeds=1).over()
    assert np.isnan(one.low) and np.isnan(one.high)
    with pytest.raises(ValueError, match="reference is 'best'"):
        result.over("best")
    for game, seeds in ((env, []), (env, 0), (env, [1.5]), (gym.make("CartPole-v1"), 3)):
        with pytest.raises(ValueError, match="expected"):
            evaluate(lambda observation, info: 0, game, seeds=seeds)
    with pytest.raises(NotImplementedError, match="influence"):
        WorkflowEnv(tiny_world, deadline=None, token_budget=500.0).references(0)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 31, 1000])
def test_quantiles_of_student_s_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.002)


@pytest.mark.parametrize("split", ["train", "test"])
def test_split_asks_the_frozen_split(split: str) -> None:
    env = gym.make("uis_env:UIS/Recorded-v0", split=split, horizon=400).unwrapped
    assert isinstance(env, UISEnv)
    test = uis_env.in_test_split(env.episodes.world)
    assert set(played(env, 0, 3)[1]) == set(np.flatnonzero(test == (split == "test")).tolist())


def test_split_excludes_queries_and_holdout(tiny_world: World) -> None:
    for options, message in (
        ({"split": "dev"}, "split is 'dev', expected 'train' or 'test' or None"),
        ({"split": "test", "queries": [0]}, "split is 'test' and queries are given"),
        ({"split": "test", "holdout": True}, "a hold-out has its own split"),
    ):
        with pytest.raises(ValueError, match=message):
            UISEnv(tiny_world, **options)


def test_the_default_preference_stands_in_the_quickstart() -> None:
    reward = gym.make("uis_env:UIS/Recorded-v0").unwrapped.episodes.reward  # type: ignore[attr-defined]
    config = load_config(Path("paper_configs/quickstart.toml"))
    assert reward in [
        uis_env.Reward(cost=preference.cost, cost_channel=preference.cost_channel) for preference in config.preferences
    ]


def test_no_parameter_is_forgotten_in_a_pickle() -> None:
    """`Episodes` and `Workflow` are made again from all of their arguments."""
    for kind in (uis_env.Episodes, uis_env.Workflow):
        made = kind("Synthetic", world_options={"queries": 30, "draws": 2})
        assert made._source is not None
        assert set(made._source[1]) == set(inspect.signature(kind.__init__).parameters) - {"self", "world"}
