"""The numbers of the protocol, one row per agent and cell, drift or horizon: the columns of the CSV files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from experiments import statistics
from experiments.paper.uniscale import measures
from experiments.paper.uniscale.claims import WARMUP
from experiments.paper.uniscale.measures import Window
from experiments.results import Cell

OWN = "uniscale"
"""The kind of UniScale's learner: its first entry in a config is the published one, the others vary it."""
HORIZONS = (210, 1000, 5000)
MARK = 130
"""The paper reports cumulative regret after 130 rounds, too."""


class AgentRow(NamedTuple):
    """An agent in a cell over the rounds after the warm-up; regrets count from the first round.

    `fixed` is reward minus the best fixed arm's, `own` minus UniScale's, paired by seed. `cost_median` is the median
    over rounds of the mean cost of the arm that was played.
    """

    config: str
    world: str
    scenario: str
    preference: str
    simulated: int
    agent: str
    kind: str
    role: str
    seeds: int
    first: int
    last: int
    reward: float
    reward_lo: float
    reward_hi: float
    fixed: float
    fixed_lo: float
    fixed_hi: float
    own: float
    own_lo: float
    own_hi: float
    accuracy: float
    cost: float
    cost_median: float
    regret_130: float
    regret: float
    regret_lo: float
    regret_hi: float


class RecoveryRow(NamedTuple):
    """An agent after a change of conditions (`measures.Recovery`), waits of at most `most` rounds.

    `reward` is over the rounds from the change to the next one, `own` minus UniScale's.
    """

    config: str
    world: str
    scenario: str
    preference: str
    agent: str
    role: str
    change: int
    most: int
    regret_before: float
    regret_after: float
    regret_end: float
    recover: float
    recover_lo: float
    recover_hi: float
    settle: float
    settle_lo: float
    settle_hi: float
    reward: float
    own: float
    own_lo: float
    own_hi: float
    accuracy: float
    cost: float


class HorizonRow(NamedTuple):
    """Mean reward after the warm-up up to a horizon, and minus that of the best fixed arm and of arm-only LinUCB."""

    world: str
    preference: str
    agent: str
    role: str
    horizon: int
    reward: float
    fixed: float
    fixed_lo: float
    fixed_hi: float
    context: float
    context_lo: float
    context_hi: float


def agent_rows(config: str, cells: Sequence[Cell]) -> Iterator[AgentRow]:
    """One row per agent and cell."""
    for cell in cells:
        window, whole = Window(WARMUP, cell.rounds), Window(0, cell.rounds)
        for agent in cell.agents:
            reward = measures.measure(cell, agent, "reward", window)
            regret = statistics.estimate(measures.measure(cell, agent, "regret", whole))
            marked = cell.rounds > MARK and MARK % cell.bin_rounds == 0
            priced = cell.references["arms"]["cost"] is not None
            yield AgentRow(
                config,
                *cell.key,
                int(bool(cell.references["simulated"])),
                agent,
                *cell.entrants[agent][:2],
                len(cell.seeds),
                *window,
                *statistics.estimate(reward),
                *_against(cell, agent, cell.best_fixed, window),
                *_against(cell, agent, cell.of_kind(OWN), window),
                float(measures.measure(cell, agent, "accuracy", window).mean()),
                float(measures.measure(cell, agent, "cost", window).mean()) if priced else np.nan,
                measures.median_cost(cell, agent, window) if priced else np.nan,
                float(measures.measure(cell, agent, "regret", Window(0, MARK)).mean()) if marked else np.nan,
                *regret,
            )


def recovery_rows(config: str, cells: Sequence[Cell]) -> Iterator[RecoveryRow]:
    """One row per agent and change of conditions, for the cells in which something changes."""
    for cell in cells:
        yardstick = cell.of_kind("random")
        if yardstick is None:
            continue
        starts = [*cell.references["segments"], cell.rounds]
        for start, stop in pairwise(starts[1:]):
            window = Window(start, stop)
            for agent in cell.agents:
                if agent == yardstick:
                    continue
                found = measures.recovery(cell, agent, window, yardstick)
                yield RecoveryRow(
                    config,
                    *cell.key,
                    agent,
                    cell.role(agent),
                    start,
                    stop - start,
                    *found[:3],
                    *found.recover,
                    *found.settle,
                    float(measures.measure(cell, agent, "reward", window).mean()),
                    *_against(cell, agent, cell.of_kind(OWN), window),
                    float(measures.measure(cell, agent, "accuracy", window).mean()),
                    float(measures.measure(cell, agent, "cost", window).mean()),
                )


def horizon_rows(cells: Sequence[Cell], horizons: Sequence[int] = HORIZONS) -> Iterator[HorizonRow]:
    """One row per agent, cell and horizon within the run."""
    for cell in cells:
        for agent in cell.agents:
            for horizon in horizons:
                if horizon > cell.rounds:
                    continue
                window = Window(WARMUP, horizon)
                yield HorizonRow(
                    cell.key.world,
                    cell.key.preference,
                    agent,
                    cell.role(agent),
                    horizon,
                    float(measures.measure(cell, agent, "reward", window).mean()),
                    *_against(cell, agent, cell.best_fixed, window),
                    *_against(cell, agent, cell.of_kind("linucb_arm_only"), window),
                )


def _against(cell: Cell, agent: str, other: str | None, window: Window) -> tuple[float, float, float]:
    """Paired difference in reward with its interval; NaN where there is no other."""
    if other is None:
        return np.nan, np.nan, np.nan
    mine, theirs = (measures.measure(cell, name, "reward", window) for name in (agent, other))
    return statistics.estimate(mine - theirs)


def by_cell(rows: Sequence[AgentRow]) -> Mapping[tuple[str, str, str], list[AgentRow]]:
    """Rows by (world, scenario, preference), best reward first."""
    cells: dict[tuple[str, str, str], list[AgentRow]] = {}
    for row in sorted(rows, key=lambda row: -row.reward):
        cells.setdefault((row.world, row.scenario, row.preference), []).append(row)
    return {key: cells[key] for key in sorted(cells)}
