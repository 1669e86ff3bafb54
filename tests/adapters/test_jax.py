"""The functional environment: UISEnv bit for bit on the tapes of seeds, and episodes of the same law without them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uis_env import UISEnv, World
from uis_env.adapters.jax import make
from uis_env.adapters.jax_tables import SWAPS, tape_of
from uis_env.workflow import WorkflowEnv

Factory = Callable[..., World]
SEEDS = (3, 11, 4)
LIMITS: dict[str, Any] = {"deadline": 12.0, "token_budget": 1500.0, "reward": {"tokens": 1e-4, "latency": 1e-2}}
BANDITS: list[dict[str, Any]] = [
    {"horizon": 1},
    {"horizon": 30, "scenario": "preference_mix"},
    {"horizon": 30, "scenario": "price_change", "order": "iid"},
    {"horizon": 40, "scenario": "lost_model"},
    {"horizon": 40, "scenario": "new_model", "unavailable": "fallback"},
    {"horizon": 30, "holdout": True, "context": "wide"},
]
FLOWS: list[dict[str, Any]] = [
    LIMITS,
    LIMITS | {"quorum": 2, "steps": 6},
    LIMITS | {"deadline": None, "token_budget": 900.1},
    LIMITS | {"deadline": 7.7, "token_budget": None, "grouped": False},
]


def game(world: World, case: int) -> tuple[UISEnv, Any, Any]:
    if case < len(BANDITS):
        options = BANDITS[case] | {"cost_weight": 50.0}
        return UISEnv(world, **options), *make(world, seeds=SEEDS, **options)
    options = FLOWS[case - len(BANDITS)]
    return WorkflowEnv(world, **options), *make("Workflow", seeds=SEEDS, world=world, **options)


@pytest.mark.parametrize("case", range(len(BANDITS) + len(FLOWS)))
def test_every_step_is_that_of_the_environment_bit_for_bit(world_factory: Factory, case: int) -> None:
    """Rewards, observations, masks and infos of whole episodes, scanned on the device."""
    scalar, env, params = game(world_factory(missing={0: (0,), 3: (1,)}), case)
    random, horizon, played = np.random.default_rng(case), scalar.episodes.horizon, set()
    names = {*env.channels, "arm"} | ({"regret"} if scalar.episodes.rules is None else set())

    @jax.jit
    def scanned(key: Any, actions: Any) -> Any:
        def one(state: Any, action: Any) -> Any:
            mask = env.action_mask(state, params)
            _, state, *rest = env.step(key, state, action, params)
            return state, (mask, *rest)

        observation, state = env.reset(key, params)
        return observation, tape_of(state.episode, params), jax.lax.scan(one, state, actions)[1]

    for number in range(6):
        key = jax.random.key(number)
        seed = SEEDS[int(scanned(key, jnp.zeros(horizon, jnp.int32))[1])]
        played.add(seed)
        first, info = scalar.reset(seed=seed)
        masks, actions, expected, over = [], [], [], False
        while not over:
            masks.append(info["action_mask"])
            free = scalar.episodes.fallback is not None
            actions.append(int(random.integers(5) if free else random.choice(np.flatnonzero(masks[-1]))))
            seen, reward, over, _, info = scalar.step(actions[-1])
            expected.append((seen, np.float32(reward), over, info))
        padded = jnp.array(actions + [0] * (horizon - len(actions)))
        start, _, (offered, rewards, ended, cut, infos) = jax.tree.map(np.asarray, scanned(key, padded))
        np.testing.assert_array_equal(start, first)
        np.testing.assert_array_equal(offered[: len(masks)], masks)
        assert rewards.dtype == np.float32 and not cut.any()
        for t, (seen, reward, over, info) in enumerate(expected):
            np.testing.assert_array_equal(infos["final_observation"][t], seen)
            assert (rewards[t], ended[t]) == (reward, over)
            for name in names:
                assert np.float32(infos[name][t]) == np.float32(info[name]), name
            if not over:
                assert infos["query"][t] == info["query"]
                np.testing.assert_array_equal(infos["action_mask"][t], info["action_mask"])
    assert len(played) > 1


def roll(env: Any, params: Any, key: int, rounds: int, action: int = 1) -> Any:
    def one(state: Any, _: Any) -> Any:
        after = env.step(jax.random.key(0), state, action, params)
        return after[1], (state.query, state.draw, state.phase, state.episode, after[2])

    return jax.tree.map(
        np.asarray, jax.lax.scan(one, env.reset(jax.random.key(key), params)[1], None, length=rounds)[1]
    )


def test_fresh_episodes_are_passes_over_the_queries(tiny_world: World) -> None:
    env, params = make(tiny_world, horizon=72, scenario="query_mix_shift")
    queries, draws, _, episodes, _ = roll(env, params, 0, 72 * 300)
    queries, draws, episodes = queries.reshape(300, 72), draws.reshape(300, 72), episodes.reshape(300, 72, 2)
    assert len(np.unique(episodes.reshape(300, 144)[:, :2], axis=0)) == 300  # each of them another episode
    stretches = UISEnv(tiny_world, horizon=72, scenario="query_mix_shift").episodes.schedule.stretches  # type: ignore[attr-defined]
    for stretch, stop in zip(stretches, [stretches[1].start, 72], strict=True):
        size = len(stretch.queries)
        for start in range(stretch.start, stop - size + 1, size):
            passes = np.sort(queries[:, start : start + size], axis=1)
            assert (passes == np.sort(stretch.queries)).all()
        # Every query is as likely as another in every place of a pass, and after every other one.
        first = np.bincount(queries[:, stretch.start], minlength=24)[stretch.queries]
        assert ((first - 300 / size) ** 2 / (300 / size)).sum() < size + 5 * np.sqrt(2 * size)
    counts = np.bincount(draws.ravel(), minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.01)
    assert SWAPS >= 16


def test_fresh_tasks_and_phases_have_the_law_of_the_tapes(tiny_world: World) -> None:
    env, params = make("Workflow", world=tiny_world, deadline=None, token_budget=1e6, steps=5, reward={"latency": 0.01})
    queries, _, _, episodes, _ = roll(env, params, 1, 4000)
    groups = np.array(tiny_world.groups)[queries]
    for episode in np.unique(episodes, axis=0):
        assert len(set(groups[(episodes == episode).all(axis=1)])) == 1
    # The first steps of tasks: groups are equally likely, and so are their queries.
    first = queries[np.r_[True, (episodes[1:] != episodes[:-1]).any(axis=1)]]
    np.testing.assert_allclose(np.bincount(first, minlength=24) / len(first), 1 / 24, atol=0.03)
    env, params = make(tiny_world, horizon=100, scenario="preference_mix", order="iid")
    queries, _, phases, _, _ = roll(env, params, 2, 6000)
    np.testing.assert_allclose(np.bincount(phases) / 6000, 1 / 3, atol=0.03)
    np.testing.assert_allclose(np.bincount(queries, minlength=24) / 6000, 1 / 24, atol=0.012)


def test_params_are_mapped_over_prices(tiny_world: World) -> None:
    weights = (0.0, 10.0, 300.0)
    made = [make(tiny_world, horizon=20, cost_weight=weight) for weight in weights]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *(params for _, params in made))
    env = made[0][0]

    def first(params: Any) -> Any:
        return env.step(jax.random.key(0), env.reset(jax.random.key(5), params)[1], 3, params)[2]

    together = jax.vmap(first)
    one = made[0][1]._replace(table=stacked.table)
    axes = one._replace(**dict.fromkeys(one._fields))._replace(table=0)
    sparing = jax.vmap(first, (axes,))
    alone = [e.step(jax.random.key(0), e.reset(jax.random.key(5), p)[1], 3, p)[2] for e, p in made]
    np.testing.assert_array_equal(together(stacked), jnp.stack(alone))
    np.testing.assert_array_equal(sparing(one), jnp.stack(alone))
    assert len({float(reward) for reward in alone}) == 3


def test_the_shape_of_gymnax(tiny_world: World) -> None:
    env, params = make(tiny_world, horizon=2, values="five", scenario="lost_model", order="iid")
    assert params is env.default_params and params.max_steps_in_episode == 2 and env.num_actions == 5
    action_space, space = env.action_space(params), env.observation_space(params)
    assert action_space.n == 5 and action_space.contains(4) and not action_space.contains(5)
    reference = UISEnv(tiny_world, scenario="lost_model").observation_space
    assert space.shape == reference.shape and space.contains(env.reset(jax.random.key(0))[0])
    assert space.contains(space.sample(jax.random.key(0))) and action_space.sample(jax.random.key(0)).dtype == jnp.int32
    _, state = env.reset(jax.random.PRNGKey(0))  # keys of both kinds
    done = [env.step(jax.random.PRNGKey(0), state, 0)[3]]
    for _ in range(3):
        _, state, _, over, _ = env.step(jax.random.PRNGKey(0), state, 0)
        done.append(over)
    assert [bool(x) for x in done] == [False, False, True, False] and state.time == 1
    for action in (-1, 5):
        assert jnp.isnan(env.step(jax.random.key(0), state, action)[2])
    assert make(tiny_world, horizon=2)[0].step(jax.random.key(0), state, 0)[4].dtype == bool


def test_masked_arms_pay_nan(world_factory: Factory) -> None:
    world = world_factory(missing=dict.fromkeys(range(24), (2,)))
    for options, expected in (({}, True), ({"unavailable": "fallback"}, False)):
        env, _ = make(world, **options)
        _, state = env.reset(jax.random.key(0))
        _, _, reward, _, _, info = env.step(jax.random.key(0), state, 2)
        assert bool(jnp.isnan(reward)) is expected
        assert info["arm"] == (2 if expected else 0)


def test_bad_options_are_refused(tiny_world: World) -> None:
    for options, message in (
        ({"values": "seven"}, "values is 'seven', expected 'six' or 'five'"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed is -1"),
        ({"horizon": 0}, "horizon is 0"),
        ({"observation": "dict"}, "flat"),
    ):
        with pytest.raises(ValueError, match=message):
            make(tiny_world, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'horizon'"):
        make(tiny_world, horzion=3)
    with pytest.raises(ValueError, match="tables were given"):
        make(gym.make("uis_env:UIS/Synthetic-v0").unwrapped.episodes, horizon=3)  # type: ignore[attr-defined]


def test_the_environments_import_no_jax() -> None:
    code = "import sys, uis_env, uis_env.adapters; print('jax' in sys.modules, 'uis_env.adapters.jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
