"""Cells that tests share: policies that learn nothing, played on real tapes and tables in NumPy; and a small sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from experiments.config import Config, parse_config
from experiments.references import references
from experiments.results import PERCENTILES, AgentRuns, Cell, CellKey, Entrant, concatenate
from experiments.runner import Progress, Runner
from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.scenarios import make_scenario
from uis_env.tape import Tape, tape
from uis_env.world import World

Array = np.ndarray[Any, Any]
Policy = Callable[[Bandit, Tape, np.random.Generator], Array]


def always(arm: int) -> Policy:
    return lambda bandit, tape, random: np.full(len(tape.query), arm)


def best_fixed(bandit: Bandit, tape: Tape, random: np.random.Generator) -> Array:
    mean = bandit.expected[tape.phase, tape.query].mean(axis=0)
    offered = bandit.mask[tape.phase, tape.query].all(axis=0)
    return np.full(len(tape.query), np.where(offered, mean, -np.inf).argmax())


def oracle(bandit: Bandit, tape: Tape, random: np.random.Generator) -> Array:
    table = np.where(bandit.mask, bandit.expected, -np.inf)[tape.phase, tape.query]
    return np.asarray(table.argmax(axis=1))


def uniform(bandit: Bandit, tape: Tape, random: np.random.Generator) -> Array:
    mask = bandit.mask[tape.phase, tape.query]
    return np.asarray(np.where(mask, random.random(mask.shape), -1).argmax(axis=1))


def improving(share: float) -> Policy:
    """The oracle's arm with a probability that grows to `share`, else a uniform one."""

    def choose(bandit: Bandit, tape: Tape, random: np.random.Generator) -> Array:
        rounds = len(tape.query)
        good = random.random(rounds) < share * np.minimum(1, np.arange(rounds) / (0.6 * rounds))
        return np.where(good, oracle(bandit, tape, random), uniform(bandit, tape, random))

    return choose


POLICIES: Mapping[str, Policy] = {
    "oracle": oracle,
    "best_fixed": best_fixed,
    "random": uniform,
    "learner": improving(0.9),
    "slow": improving(0.3),
    "stubborn": always(3),
}


ENTRANTS: Mapping[str, Entrant] = {
    "oracle": Entrant("oracle", "reference"),
    "best_fixed": Entrant("best_fixed", "reference"),
    "random": Entrant("random", "baseline"),
}


def entrants(names: Iterable[str]) -> dict[str, Entrant]:
    """What policies of these names are: learners, but for the usual ones."""
    return {name: ENTRANTS.get(name, Entrant(name, "learner")) for name in names}


def play(bandit: Bandit, played: Tape, action: Array, bin_rounds: int, charge: float) -> AgentRuns:
    """The runs of one seed."""
    query, draw, phase = played
    rounds, (_, queries, arms) = len(query), bandit.mask.shape
    variant = bandit.variant[phase]
    first = np.zeros(rounds, bool)
    first[np.unique(query, return_index=True)[1]] = True
    values = {
        "reward": bandit.reward[phase, query, draw, action],
        "regret": bandit.regret[phase, query, action],
        "cost": bandit.cost[variant, query, draw, action],
    }
    for name in ("quality", "dollars", "eflops", "tokens", "latency"):
        table = getattr(bandit.channels, name)
        values[name] = np.zeros(rounds) if table is None else table[variant, query, draw, action]
    values |= {
        "optimal": values["regret"] == 0,
        "fresh": first,
        "fresh_reward": np.where(first, values["reward"], 0),
    }
    bins = -(-rounds // bin_rounds)
    place = np.arange(rounds) // bin_rounds
    totals = {name: np.array([array.sum(dtype=np.float64)]) for name, array in values.items()}
    totals |= {
        **{
            total: np.array([np.quantile(values[name], share)])
            for name, shares in PERCENTILES.items()
            for total, share in shares.items()
        },
        "pilot_cost": np.array([charge / 2]),
        "pilot_charge": np.array([charge]),
    }
    pulls = np.zeros((bins, arms), np.int64)
    np.add.at(pulls, (place, action), 1)
    return AgentRuns(
        totals=totals,
        curves={
            name: np.bincount(place, values[name], bins)[None].astype(np.float32)
            for name in ("reward", "regret", "quality", "cost")
        },
        arms=pulls,
        arm_count=pulls.sum(axis=0)[None].astype(np.int32),
        query_reward=np.bincount(query, values["reward"], queries)[None].astype(np.float32),
        query_count=np.bincount(query, minlength=queries)[None].astype(np.int32),
    )


def make_cell(
    world: World,
    scenario: str = "stationary",
    preference: str = "plain",
    *,
    reward: Reward | None = None,
    policies: Mapping[str, Policy] = POLICIES,
    seeds: int = 12,
    rounds: int = 400,
    bin_rounds: int = 20,
    charges: Mapping[str, float] | None = None,
) -> Cell:
    """A cell of `policies` on the tapes of seeds 0, 1, ...; `charges` are pilots' charges by agent."""
    made = make_scenario(scenario, world, reward or Reward(cost=50.0))
    bandit = tabulate(world, made.phases)
    schedule = made.schedule(world, rounds)
    queries = len(world.query_ids)
    agents = {
        name: concatenate(
            [
                play(
                    bandit,
                    tape(schedule, seed),
                    policy(bandit, tape(schedule, seed), np.random.default_rng((seed, i))),
                    bin_rounds,
                    (charges or {}).get(name, 0.0),
                )
                for seed in range(seeds)
            ]
        )
        for i, (name, policy) in enumerate(policies.items())
    }
    return Cell(
        key=CellKey(world.name, scenario, preference),
        rounds=rounds,
        bin_rounds=bin_rounds,
        seeds=np.arange(seeds),
        agents=agents,
        entrants=entrants(agents),
        references=references(world, made, bandit, schedule, (np.arange(queries) % 5).astype(np.int32)),
    )


@pytest.fixture(scope="session")
def cell_factory() -> Callable[..., Cell]:
    """`make_cell`."""
    return make_cell


@pytest.fixture(scope="session")
def tiny_cell(tiny_world: World) -> Cell:
    """Six agents, 12 seeds and 400 rounds on the tiny world."""
    return make_cell(tiny_world)


SWEEP: dict[str, Any] = {
    "name": "small",
    "rounds": 24,
    "seeds": 3,
    "block": 2,
    "pilot": 16,
    "worlds": [{"name": "small", "kind": "LatencyAware", "options": {"queries": 40, "draws": 3, "cache": False}}],
    "sweeps": [
        {"tokens": {"low": 1e-6, "high": 1e-3, "points": 4}, "latency": [0.0, 0.01]},
        {"latency": {"low": 1e-4, "high": 1e-1, "points": 4}},
    ],
    "agents": [
        {"name": "arm_only", "kind": "linucb_arm_only", "seeds_per_call": 4, "pilot": False},
        {"name": "probe", "options": {"hidden": [8], "epochs": 2, "batch": 32}, "seeds_per_call": 64},
    ],
}


@pytest.fixture(scope="session")
def sweep_config() -> Callable[..., Config]:
    """Makes the small config, some keys set otherwise."""
    return lambda **changes: parse_config({**SWEEP, **changes}, "small.toml")


@pytest.fixture(scope="session")
def small(sweep_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(run directory, runner, sweep)."""
    root = tmp_path_factory.mktemp("sweep")
    runner = Runner(sweep_config(), root, workers=1)
    [sweep] = runner.run(Progress())
    return root, runner, sweep
