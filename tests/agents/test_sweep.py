"""A sweep is what every preference alone would be, in one program; what no preference changes is computed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import rollout
from agents.agent import Agent, Choice
from agents.decomposed import decomposed_linucb
from agents.handed import make_observation, recorded
from agents.linear import linucb_arm_only
from agents.pilot import pilot_then_best
from agents.probe import probe, probe_online
from agents.rollout import Tables, block_keys, make_plan, make_rounds, make_seeds, make_tables
from agents.spec import make_spec
from agents.sweep import SweepPlan, Swept, sweep
from uis_env.bandit import Phase, Reward, tabulate
from uis_env.scenarios import preference_mix
from uis_env.tape import Schedule, Stretch, Tape, tapes

ROUNDS, SEEDS = 20, 3
WEIGHTS = {"tokens": [0.0, 1e-4, 1e-3, 1e-2, 1e-3], "latency": [0.0, 0.0, 0.01, 0.1, 0.5]}
SMALL: dict[str, Any] = {"hidden": (8,), "epochs": 3, "batch": 16}
FACTORIES = {
    "arm_only": (linucb_arm_only, {}),
    "decomposed": (decomposed_linucb, {}),
    "pilot_then_best": (pilot_then_best, {}),
    "probe_online": (probe_online, {**SMALL, "replay": 32, "every": 5, "steps": 2}),
}


@pytest.fixture(scope="module")
def world(tiny_world):
    return tiny_world


@pytest.fixture(scope="module")
def spec(world):
    """The world has no price list; these agents get one."""
    return replace(make_spec(world, Reward(), ROUNDS), list_cost=world.expected.dollars.mean(axis=0))


@pytest.fixture(scope="module")
def schedule(world):
    """The last twenty queries are asked; the first four are the pilot's."""
    return Schedule(ROUNDS, world.channels.quality.shape[1], (Stretch(0, 0, np.arange(4, 24, dtype=np.int32)),))


@pytest.fixture(scope="module")
def pilot():
    return jnp.tile(jnp.arange(4, dtype=jnp.int32), (SEEDS, 1)), jnp.zeros((SEEDS, 4), jnp.int32)


def stacked(world) -> Tables:
    """All preferences as phases of one bandit."""
    return make_tables(tabulate(world, preference_mix(world, Reward(), **WEIGHTS).phases))


def swept(agent: Agent, world, schedule, pilot, seeds_per_call: int, **options: Any) -> Swept:
    played = Tape(*map(jnp.asarray, tapes(schedule, range(SEEDS))))
    rehearsal = options.get("rehearsal")
    plan = SweepPlan(seeds_per_call, 1, 0 if rehearsal is None else rehearsal.query.shape[1])
    return sweep(agent, plan, stacked(world), block_keys(range(SEEDS), "a"), played, pilot, **options)


def alone(agent: Agent, world, schedule, pilot, preference: int) -> np.ndarray[Any, Any]:
    """(S, T) actions of one preference, by the driver."""
    weights = {name: values[preference] for name, values in WEIGHTS.items()}
    bandit = tabulate(world, [Phase(Reward(**weights))])
    tables, plan = make_tables(bandit), make_plan(ROUNDS, seeds_per_call=1, bins=4)
    seeds = make_seeds(bandit, [schedule] * SEEDS, range(SEEDS), "a")
    carry = rollout.start(agent, 1, tables, seeds, pilot if agent.fit else None)
    rounds = make_rounds(plan, [schedule] * SEEDS, range(SEEDS), seeds.keys, 0)
    trace = rollout.advance(agent, plan, tables, seeds, carry, rounds, trace=True)[2]
    assert trace is not None
    return np.asarray(trace.action)


@pytest.mark.parametrize(
    "name", ["arm_only", *(pytest.param(n, marks=pytest.mark.slow) for n in FACTORIES if n != "arm_only")]
)
def test_a_sweep_plays_every_preference_as_if_alone(name, world, spec, schedule, pilot):
    factory, options = FACTORIES[name]
    agent = factory(spec, **options)
    log = pilot if agent.fit else None
    for seeds_per_call in (2, 5):  # in batches with one left over, all at once
        action = np.asarray(swept(agent, world, schedule, log, seeds_per_call).action)
        assert action.shape == (SEEDS, 5, ROUNDS)
        for preference in (0, 2, 4):
            np.testing.assert_array_equal(action[:, preference], alone(agent, world, schedule, pilot, preference))
    assert name == "pilot_then_best" or len(np.unique(action)) > 1


def test_other_weights_are_the_same_program(world, spec, schedule):
    agent = linucb_arm_only(spec)
    before = sweep._cache_size()
    played = Tape(*map(jnp.asarray, tapes(schedule, range(SEEDS))))
    for scale in (1.0, 2.0, 3.0):
        weights = {name: [scale * value for value in values] for name, values in WEIGHTS.items()}
        tables = make_tables(tabulate(world, preference_mix(world, Reward(), **weights).phases))
        sweep(agent, SweepPlan(2), tables, block_keys(range(SEEDS), "a"), played)
    assert sweep._cache_size() == before + 1


@pytest.mark.parametrize("seeds_per_call", [2, 5])
def test_what_no_preference_changes_is_fitted_once_per_seed(world, spec, schedule, pilot, seeds_per_call):
    fitted, rewarded = [], []

    def by_quality(key, state, full):
        jax.debug.callback(lambda: fitted.append(1))
        return full.channels.quality.mean(axis=0)

    def by_reward(key, state, full):
        jax.debug.callback(lambda x: rewarded.append(1), full.reward[0, 0])
        return full.reward.mean(axis=0)

    def act(key, state, seen):
        action = jnp.argmax(seen.preference[0] * state)
        return Choice(action.astype(jnp.int32), jax.nn.one_hot(action, spec.arms), state)

    for fit in (by_quality, by_reward):
        agent = Agent(lambda key: jnp.zeros(spec.arms), act, lambda key, state, feedback: state, fit)
        jax.block_until_ready(swept(agent, world, schedule, pilot, seeds_per_call))
    jax.effects_barrier()
    believed = 1  # the scores at quality alone are asked of a state of their own
    assert len(fitted) <= SEEDS * (1 + believed)
    assert len(rewarded) >= SEEDS * 5


def test_believed_is_what_the_fitted_agent_predicts(world, spec, schedule, pilot):
    agent = probe(spec, **SMALL)
    believed = np.asarray(swept(agent, world, schedule, pilot, 5).believed)
    assert believed.shape == (SEEDS, ROUNDS, spec.arms)
    keys = block_keys(range(SEEDS), "a")
    played = tapes(schedule, range(SEEDS))
    bandit: Any = stacked(world).bandit
    log = recorded(bandit, pilot[0][1], pilot[1][1])
    state = agent.fit(keys.fit[1], agent.init(keys.init[1]), log)
    query = played.query[1, 7]
    seen = make_observation(jnp.int32(0), bandit.context[query], bandit.mask[0, query], jnp.eye(5)[0], bandit.prices[0])
    np.testing.assert_allclose(believed[1, 7], agent.act(keys.act[1], state, seen).scores, rtol=1e-5)
    assert swept(agent, world, schedule, None, 5).believed is None


def test_a_rehearsed_agent_learns_from_all_preferences_and_then_no_more(world, spec, schedule):
    """With a rehearsal, deterministic choices depend on query and preference alone, and beat those without one."""
    agent = decomposed_linucb(spec, alpha=0.0)
    other = Schedule(200, 3, (Stretch(0, None, np.arange(4, 24, dtype=np.int32)),), phases=5)
    before = Tape(*map(jnp.asarray, tapes(other, range(SEEDS))))
    repeated = tapes(Schedule(40, 3, schedule.stretches), range(SEEDS))
    plan = SweepPlan(5, 1, 200)
    tables, keys = stacked(world), block_keys(range(SEEDS), "a")
    action = np.asarray(sweep(agent, plan, tables, keys, Tape(*map(jnp.asarray, repeated)), None, before).action)
    for seed in range(SEEDS):
        order = [np.argsort(repeated.query[seed, part]) for part in (slice(0, 20), slice(20, 40))]
        first, second = action[seed, :, :20][:, order[0]], action[seed, :, 20:][:, order[1]]
        np.testing.assert_array_equal(first, second)
    expected = np.asarray(tables.bandit.expected)

    def earned(action) -> float:
        places = np.arange(5)[None, :, None], repeated.query[:, None, :], action
        return float(expected[places].mean())

    cold = swept(agent, world, Schedule(40, 3, schedule.stretches), None, 5)
    assert earned(action) > earned(np.asarray(cold.action)) + 0.02
