"""A first look at an agent: a few seeds on a small world, without a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from agents import rollout
from agents.agent import Agent
from agents.spec import make_spec
from uis_env import worlds
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario
from uis_env.world import World


def trial(
    make: Callable[..., Agent],
    world: World | None = None,
    reward: Reward | None = None,
    rounds: int = 100,
    seeds: int = 2,
    pilot: int = 0,
    **options: Any,
) -> NDArray[np.float64]:
    """(S,) mean reward per round of an agent; for a comparison with intervals, run a config.

    Args:
        make: a factory, `(spec, **options) -> Agent`.
        world: what is played; None takes 60 simulated queries (`UIS/Synthetic-v0`).
        reward: what a round pays; None takes the world's own.
        rounds: of an episode.
        seeds: S, episodes 0, 1, ..., the same for every agent.
        pilot: queries with the outcomes of all arms that an agent with a `fit` learns from first; free here.
        **options: hyper-parameters of the agent.

    Example:
        >>> from agents import linucb, random, trial
        >>> trial(linucb, alpha=0.1).shape
        (2,)
        >>> bool(trial(linucb, rounds=400).mean() > trial(random, rounds=400).mean())
        True
    """
    world = worlds.load("Synthetic", queries=60, draws=4) if world is None else world
    reward = Reward(**world.defaults) if reward is None else reward
    made = make_scenario("stationary", world, reward)
    bandit, schedule = tabulate(world, made.phases), made.schedule(world, rounds)
    agent = make(make_spec(world, reward, rounds), **options)
    tables = rollout.make_tables(bandit)
    block = rollout.make_seeds(bandit, [schedule] * seeds, range(seeds), make.__name__)
    plan = rollout.make_plan(rounds, seeds_per_call=1)
    told = None
    if pilot:
        random = np.random.default_rng(0)
        places = [random.integers(size, size=(seeds, pilot)) for size in bandit.reward.shape[1:3]]
        told = (jnp.asarray(places[0], jnp.int32), jnp.asarray(places[1], jnp.int32))
    carry, total = rollout.start(agent, 1, tables, block, told), np.zeros(seeds)
    for chunk in range(plan.chunks):
        played = rollout.make_rounds(plan, [schedule] * seeds, range(seeds), block.keys, chunk)
        carry, bins, _ = rollout.advance(agent, plan, tables, block, carry, played)
        total += np.asarray(bins.sums, np.float64)[:, :, rollout.METRICS.index("reward")].sum(axis=1)
    return np.asarray(total / rounds)
