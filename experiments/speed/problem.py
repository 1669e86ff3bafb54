"""What every implementation is timed on: one simulated world, its tables and its tapes."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Tables, make_tables
from agents.spec import Spec, make_spec
from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.bandit import Bandit, tabulate
from uis_env.bandit import Reward as RewardSettings
from uis_env.scenarios import make_scenario
from uis_env.tape import Schedule, Tape, tapes
from uis_env.world import Channels, World, mean_ends

Array = NDArray[Any]
MODELS = ("sim-a", "sim-b", "sim-c")
METHODS = ("best_of_n", "weighted_best_of_n", "majority", "self_refine")
LARGEST = 64
"""The budgets are spread between 1 and this, evenly in their logarithm."""
COST_WEIGHT = 20.0
"""λ, per US dollar."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A tabulated bandit, how its tapes are drawn, and what agents may know of its arms.

    Attributes:
        world: simulated; its outcomes mean nothing but work for a learner.
        bandit: one phase, in NumPy; `tables` the same on JAX's device.
        schedule: T rounds in shuffled passes over the queries.
        spec: sizes, arm features, list costs.
    """

    world: World
    bandit: Bandit
    tables: Tables
    schedule: Schedule
    spec: Spec

    def tapes(self, seeds: range) -> Tape:
        """The episodes of the seeds, (S, T) each."""
        return tapes(self.schedule, seeds)


@functools.cache
def make_problem(
    arms: int = 60, dim: int = 32, rounds: int = 2000, queries: int = 400, draws: int = 4, collinear: bool = False
) -> Problem:
    """Simulates a world whose success probabilities are logistic in the context, and tabulates `quality − λ·cost`.

    Args:
        arms: K, a multiple of the 12 pairs of a model and a method, with K / 12 budgets each: more arms have no more
            features.
        dim: D; the last feature is a constant 1, the others are standard normal over sqrt(D).
        rounds: T.
        queries: Q.
        draws: R.
        collinear: the feature before the last is a constant 1, too, so that one direction is never learned about, as
            where an indicator of every family of queries stands beside a constant.

    Raises:
        ValueError: if `arms` is not a multiple of 12.
    """
    labels = list(itertools.product(MODELS, METHODS))
    budgets, rest = divmod(arms, len(labels))
    if rest or not budgets:
        raise ValueError(f"arms is {arms}, expected a multiple of {len(labels)}")
    random = np.random.default_rng(0)
    context = random.standard_normal((queries, dim)) / np.sqrt(dim)
    context[:, -2 if collinear else -1 :] = 1
    samples = LARGEST ** np.linspace(0, 1, budgets)
    log_price = random.uniform(np.log(1e-4), np.log(3e-3), len(MODELS))
    weights = random.standard_normal((len(labels), 1, dim)) + 0.3 * random.standard_normal((len(labels), budgets, dim))
    weights[..., -1] += 0.3 * np.log2(samples)
    chance = 1 / (1 + np.exp(-context @ weights.reshape(arms, dim).T))
    own = np.repeat(log_price, arms // len(MODELS))
    dollars = np.exp(own) * np.tile(samples, len(labels)) / LARGEST
    features, feature_names = arm_features(
        labels={
            name: np.repeat(column, budgets).tolist()
            for name, column in zip(("model", "method"), zip(*labels, strict=True), strict=True)
        },
        numbers={"log2_n": np.tile(np.log2(samples), len(labels)), "log_price": own},
    )
    expected = Channels(
        quality=chance.astype(np.float32),
        dollars=np.broadcast_to(dollars, (queries, arms)).astype(np.float32),
    )
    world = World(
        name="Speed",
        simulated=True,
        catalog=ArmCatalog(
            arms=tuple(Arm(model, method, (n,)) for model, method in labels for n in range(1, budgets + 1)),
            features=features,
            feature_names=feature_names,
            descriptions=tuple(
                f"simulated {m}, {method}, budget {n}" for m, method in labels for n in range(1, budgets + 1)
            ),
        ),
        contexts={"features": context.astype(np.float32)},
        channels=Channels(
            quality=(random.random((queries, draws, arms)) < chance[:, None]).astype(np.float32),
            dollars=np.broadcast_to(dollars, (queries, draws, arms)).astype(np.float32),
        ),
        expected=expected,
        recorded=np.ones((queries, arms), bool),
        query_ids=tuple(str(q) for q in range(queries)),
        groups=("simulated",) * queries,
        cost_ends=mean_ends(expected),
        provenance={"source": "simulated by experiments.speed; nothing was recorded"},
    )
    scenario = make_scenario("stationary", world, RewardSettings(cost=COST_WEIGHT))
    bandit = tabulate(world, scenario.phases)
    return Problem(
        world=world,
        bandit=bandit,
        tables=make_tables(bandit),
        schedule=scenario.schedule(world, rounds),
        spec=replace(
            make_spec(world, RewardSettings(cost=COST_WEIGHT), rounds), list_cost=np.asarray(dollars, np.float32)
        ),
    )
