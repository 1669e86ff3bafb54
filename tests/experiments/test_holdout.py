"""The hold-out: its queries are new, learning goes on in it, and nothing before it changes what it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import Agent, Choice, rollout
from agents.choosing import pick_best
from experiments.analysis import analyse
from experiments.cells import all_games
from experiments.config import ConfigError, parse_config
from experiments.runner import Progress, Runner
from experiments.store import read_runs, write_runs
from uis_env import in_test_split, worlds
from uis_env.tape import Schedule, Stretch, tapes

SEEDS = [5, 6, 7]


def config(**changes: Any) -> Any:
    plain = {
        "name": "holdout",
        "rounds": 130,
        "seeds": 4,
        "block": 2,
        "holdout": 37,
        "worlds": [{"name": "Synthetic", "options": {"queries": 60, "draws": 4}}],
        "preferences": [{"name": "p", "cost": 0.05}],
        "agents": [{"name": "best_fixed"}, {"name": "linucb"}],
    }
    return parse_config(plain | changes, "test")


@pytest.mark.parametrize("scenario", ["stationary", "price_change", "query_mix_shift", "preference_mix"])
def test_train_queries_first_then_test_queries_only(scenario: str) -> None:
    [(_, make)] = all_games(config(scenarios=[{"name": scenario}]))
    game = make()
    test = in_test_split(game.world)
    tape = tapes(game.schedule, SEEDS)
    assert tape.query.shape == (3, 167)
    assert not test[tape.query[:, :130]].any()
    assert test[tape.query[:, 130:]].all()


def test_true_takes_as_many_rounds_as_there_are_test_queries_and_asks_each_once() -> None:
    [(_, make)] = all_games(config(holdout=True))
    game = make()
    test = np.flatnonzero(in_test_split(game.world))
    asked = tapes(game.schedule, SEEDS, game.schedule.rounds).query
    assert game.schedule.holdout == len(test) == 15
    for row in asked:
        np.testing.assert_array_equal(np.sort(row), test)


def test_rounds_before_the_holdout_are_those_of_the_same_stretches_alone() -> None:
    [(_, make)] = all_games(config())
    schedule = make().schedule
    alone = Schedule(schedule.rounds, schedule.draws, schedule.learning, schedule.phases, schedule.order)
    for part, whole in zip(tapes(alone, SEEDS), tapes(schedule, SEEDS), strict=True):
        np.testing.assert_array_equal(part, whole[:, : schedule.rounds])


def counting() -> Agent:
    """Its state counts updates; it plays arm (updates mod 3), so a skipped or added update shows in every action."""

    def act(key: Any, state: Any, seen: Any) -> Choice:
        scores = jnp.where(jnp.arange(seen.mask.shape[0]) == state % 3, 1.0, 0.0)
        return pick_best(key, scores, seen.mask)

    return Agent(lambda key: jnp.int32(0), act, lambda key, state, back: state + 1)


@pytest.mark.parametrize(("rounds", "bins", "chunk"), [(130, 100, 7), (130, 9, 50), (120, 12, 1000), (131, 10, 1000)])
def test_the_state_counts_every_round_once_whatever_the_bins_and_chunks(rounds: int, bins: int, chunk: int) -> None:
    game = all_games(config(rounds=rounds))[0][1]()
    schedule, agent = game.schedule, counting()
    plan = rollout.make_plan(rounds, 1, bins, chunk, schedule.holdout)
    seeds = rollout.make_seeds(game.bandit, [schedule] * 3, SEEDS, "a")
    carry = rollout.start(agent, 1, game.tables, seeds)
    actions, parts, numbers = [], [], []
    for number in range(plan.chunks):
        part = rollout.make_rounds(plan, [schedule] * 3, SEEDS, seeds.keys, number)
        carry, found, trace = rollout.advance(agent, plan, game.tables, seeds, carry, part, trace=True)
        assert trace is not None
        numbers.append(np.asarray(part.number))
        actions.append(np.asarray(trace.action))
        parts.append(jax.tree.map(np.asarray, found))
    number, action = np.concatenate(numbers), np.concatenate(actions, axis=1)
    played = number < plan.horizon
    np.testing.assert_array_equal(number[played], np.arange(rounds + 37))
    np.testing.assert_array_equal(action[:, played], np.tile(np.arange(rounds + 37) % 3, (3, 1)))
    pulls = np.concatenate([part.arms for part in parts], axis=1)[:, : plan.bins]
    np.testing.assert_array_equal(pulls[:, : plan.learning_bins].sum(axis=(1, 2)), rounds)
    np.testing.assert_array_equal(pulls[:, plan.learning_bins :].sum(axis=(1, 2)), 37)
    np.testing.assert_array_equal(carry.arm_count, pulls[:, : plan.learning_bins].sum(axis=1))
    assert all((histogram.sum(axis=1) == rounds).all() for histogram in map(np.asarray, carry.histograms.values()))


def test_leads_equal_those_played_by_hand_in_gymnasium(tmp_path: Path) -> None:
    made = config()
    runner = Runner(made, tmp_path)
    [cell] = runner.run(Progress())
    [(_, make)] = runner.games
    game = make()
    arm = cell.references["best_fixed"]["arm"]
    env = gym.make(
        "uis_env:UIS/Synthetic-v0",
        world_options={"queries": 60, "draws": 4},
        horizon=130,
        holdout=37,
        cost_weight=0.05,
        cost_channel="dollars",
    )
    test = in_test_split(game.world)
    weight = np.bincount(np.flatnonzero(~test), minlength=60) / (~test).sum()
    assert arm == int(np.argmax(weight @ game.bandit.expected[0].astype(np.float64)))
    for i, seed in enumerate(cell.seeds):
        _, info = env.reset(seed=int(seed))
        total, by_query, done = 0.0, np.zeros(60), False
        for t in range(167):
            query = info["query"]
            assert not done
            _, reward, done, _, info = env.step(arm)
            if t >= 130:
                total += reward
                by_query[query] += reward
        assert done
        np.testing.assert_allclose(cell.holdout_fixed[i], by_query, rtol=1e-12)
    [row] = [row for row in analyse([cell])[0].summary.values() if row.agent == "linucb"]
    runs = cell.agents["linucb"]
    lead = (runs.holdout_reward.astype(np.float64) - cell.holdout_fixed).sum(axis=1) / 37
    assert row.holdout == pytest.approx(lead.mean())
    assert row.holdout_lo < row.holdout < row.holdout_hi
    assert not runs.query_count[:, test].any()
    assert not runs.holdout_count[:, ~test].any()
    assert (runs.holdout_count.sum(axis=1) == 37).all()
    assert (runs.query_count.sum(axis=1) == 130).all()
    assert runs.totals["fresh"].max() <= (~test).sum()
    write_runs(tmp_path, [cell])
    [again] = read_runs(tmp_path)
    np.testing.assert_array_equal(again.holdout_fixed, cell.holdout_fixed)
    np.testing.assert_array_equal(again.agents["linucb"].holdout_reward, runs.holdout_reward)


def test_a_pilot_takes_train_queries_only(tmp_path: Path) -> None:
    [(_, make)] = all_games(config(pilot=10))
    game = make()
    test = in_test_split(game.world)
    for seed in SEEDS:
        queries, _ = game.pilot_of(seed)
        assert not test[queries].any()
        asked = tapes(game.schedule_of(seed), [seed]).query[0]
        assert not np.isin(queries, asked).any()
        np.testing.assert_array_equal(asked[130:], tapes(game.schedule, [seed]).query[0, 130:])


def test_a_world_without_test_queries_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"rounds.*hold-out"):
        all_games(config(worlds=[{"name": "Synthetic", "options": {"queries": 1, "draws": 4}}]))[0][1]()


def test_a_sweep_takes_no_holdout() -> None:
    with pytest.raises(ConfigError, match="holdout"):
        config(preferences=[], sweeps=[{"cost": [0.1, 1.0]}])


def test_a_holdout_needs_a_last_stretch_of_its_own() -> None:
    with pytest.raises(ValueError, match="hold-out of 5 rounds"):
        Schedule(20, 1, (Stretch(0, 0, np.arange(3)),), holdout=5)


@pytest.mark.parametrize("value", [-1, 2.5, "x"])
def test_gymnasium_refuses_other_holdouts(value: Any) -> None:
    with pytest.raises(ValueError, match="holdout"):
        gym.make("uis_env:UIS/Synthetic-v0", holdout=value)


def test_without_a_holdout_nothing_is_split() -> None:
    world = worlds.load("Synthetic", queries=60, draws=4)
    env = gym.make("uis_env:UIS/World-v0", world=world, horizon=60)
    _, info = env.reset(seed=0)
    seen = {int(info["query"])}
    for _ in range(59):
        seen.add(int(env.step(0)[4]["query"]))
    assert seen == set(range(60))
