"""Every agent by name: the contract, double precision, and learning on the synthetic world."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import AGENTS, Agent, check_agent, rollout
from agents.check import example_feedback, example_log, example_observation
from agents.spec import make_spec
from uis_env import worlds
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario

OPTIONS = {
    "fixed": {"arm": 2},
    "neural_linear_ucb": {"hidden": (4,), "features": 3, "every": 3, "steps": 2, "batch": 4},
    "neural_linear_thompson": {"hidden": (4,), "features": 3, "every": 3, "steps": 2, "batch": 4},
    "probe": {"hidden": (4,), "batch": 4, "epochs": 2},
    "probe_online": {"hidden": (4,), "batch": 4, "epochs": 2, "replay": 8, "every": 3, "steps": 2},
}
QUICK = {"random", "oracle", "pilot_then_best", "linucb", "linear_thompson"}
"""Agents whose whole contract is checked in every run (compilation takes seconds each); the others' in slow runs."""
KEY = jax.random.key(0)
PREFERENCE = Reward(cost=10.0)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in AGENTS]
)
def test_every_agent_keeps_the_contract(spec, name):
    check_agent(AGENTS[name](spec, **OPTIONS.get(name, {})), spec, rounds=3)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_states_keep_their_types_in_both_precisions(spec, name, x64):
    """By tracing alone: no weak types, no float32 under x64 (nor the reverse), the same state out as in."""
    with jax.enable_x64(x64):
        agent = AGENTS[name](spec, **OPTIONS.get(name, {}))
        seen = example_observation(spec, 1, agent.privileged)

        def described(tree):
            return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]

        state = jax.eval_shape(agent.init, KEY)
        choice = jax.eval_shape(agent.act, KEY, state, seen)
        told = example_feedback(spec, seen, jnp.zeros((), jnp.int32))
        after = jax.eval_shape(agent.update, KEY, state, told)
        assert described(after) == described(state)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        real = jnp.float64 if x64 else jnp.float32
        assert all(not leaf.weak_type and leaf.dtype in (real, jnp.int32) for leaf in jax.tree.leaves(state))
        assert [leaf.dtype for leaf in choice] == [jnp.int32, real, real]
        if agent.fit is not None:
            fitted = jax.eval_shape(agent.fit, KEY, state, example_log(spec, 4))
            assert described(fitted) == described(state)


def test_the_public_mapping_is_immutable_and_described():
    with pytest.raises(TypeError):
        AGENTS["mine"] = AGENTS["random"]
    for name, entry in AGENTS.items():
        factory = entry.factory
        assert entry.name == name
        assert entry.role in ("reference", "baseline", "learner")
        assert inspect.getdoc(factory).splitlines()[0].endswith((".", ":"))
        parameters = list(inspect.signature(factory).parameters.values())
        assert parameters[0].name == "spec"
        assert name == "fixed" or all(p.default is not p.empty for p in parameters[1:])


@pytest.fixture(scope="module")
def game():
    world = worlds.load("Synthetic")
    scenario = make_scenario("stationary", world, PREFERENCE)
    bandit = tabulate(world, scenario.phases)
    return world, bandit, scenario


def regrets(game, name, rounds, seeds=3, **options):
    """(seeds, rounds) regret under the driver."""
    world, bandit, scenario = game
    agent = AGENTS[name](make_spec(world, PREFERENCE, rounds), **options)
    assert isinstance(agent, Agent)
    schedules = [scenario.schedule(world, rounds)] * seeds
    plan = rollout.make_plan(rounds, seeds_per_call=1)
    tables = rollout.make_tables(bandit)
    block = rollout.make_seeds(bandit, schedules, range(seeds), name)
    carry = rollout.start(agent, 1, tables, block)
    played = rollout.make_rounds(plan, schedules, range(seeds), block.keys, 0)
    return np.asarray(rollout.advance(agent, plan, tables, block, carry, played, trace=True)[2].regret)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linucb", {"alpha": 0.3}),
        ("hierarchical_logit_thompson", {}),
        pytest.param("linear_thompson", {}, marks=pytest.mark.slow),
        pytest.param("epsilon_greedy", {"epsilon": 0.3, "decay": 0.005}, marks=pytest.mark.slow),
        pytest.param("decomposed_linucb", {}, marks=pytest.mark.slow),
        pytest.param("neural_linear_ucb", {}, marks=pytest.mark.slow),
    ],
)
def test_regret_on_the_synthetic_world_is_sublinear(game, name, options):
    rounds = 8000
    found = regrets(game, name, rounds, **options).mean(axis=0)
    early, late = found[:500].mean(), found[-2000:].mean()
    assert late < 0.6 * early
    assert late < 0.5 * game[1].regret.mean()  # half of what random arms cost


def test_the_oracle_has_no_regret(game):
    assert regrets(game, "oracle", 200, seeds=1).max() == 0
