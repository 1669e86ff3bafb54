"""Seconds from played rounds to tables and report: references, statistics, pages of a large comparison."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.analysis import analyse
from experiments.references import references
from experiments.report.page import page
from experiments.results import PERCENTILES, AgentRuns, Array, Cell, CellKey, Entrant
from experiments.tables import write_tables
from uis_env.bandit import Bandit, Reward, tabulate
from uis_env.files import atomic_write
from uis_env.scenarios import make_scenario
from uis_env.worlds.synthetic import synthetic

PRICES = (300.0, 1000.0, 3000.0, 10_000.0)
ROUNDS, BINS = 10_000, 200


def command(queries: int = 5000, seeds: int = 32, agents: int = 17, path: Path | None = None) -> int:
    """Prints, and writes to `path` as JSON, the seconds of each step for four cells of agents that play at random."""
    world = synthetic(queries=queries, draws=4)
    took = dict.fromkeys(("references", "analysis", "tables and page"), 0.0)
    cells = []
    for i, price in enumerate(PRICES):
        scenario = make_scenario("stationary", world, Reward(cost=price))
        bandit, schedule = tabulate(world, scenario.phases), scenario.schedule(world, ROUNDS)
        begin = time.perf_counter()
        known = references(world, scenario, bandit, schedule, (np.arange(queries) % 5).astype(np.int32))
        took["references"] += time.perf_counter() - begin
        random = np.random.default_rng(i)
        runs = {f"agent{n}": _runs(bandit, seeds, random) for n in range(agents - 2)}
        runs = {"best_fixed": _runs(bandit, seeds, random), "random": _runs(bandit, seeds, random), **runs}
        told = {
            name: Entrant(name, "reference" if name == "best_fixed" else "baseline" if name == "random" else "learner")
            for name in runs
        }
        cells.append(
            Cell(
                key=CellKey("Synthetic", "stationary", f"price {price:g}"),
                rounds=ROUNDS,
                bin_rounds=ROUNDS // BINS,
                seeds=np.arange(seeds),
                agents=runs,
                references=known,
                entrants=told,
            )
        )
    begin = time.perf_counter()
    analyses = analyse(cells)
    took["analysis"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), analyses)
        page(analyses, {"config": {"name": "speed"}})
    took["tables and page"] = time.perf_counter() - begin
    took["all"] = sum(took.values())
    console = Console()
    console.print(f"{agents} agents × {len(PRICES)} cells × {seeds} seeds × {queries:,} queries")
    for name, seconds in took.items():
        console.print(f"{name:16} {seconds:6.1f} s", highlight=False)
    if path is not None:
        sizes = {"agents": agents, "cells": len(PRICES), "seeds": seeds, "queries": queries}
        atomic_write(path, (json.dumps({"sizes": sizes, "seconds": took}, indent=1) + "\n").encode())
    return 0


def _runs(bandit: Bandit, seeds: int, random: np.random.Generator) -> AgentRuns:
    """An agent that plays its own favourite arm in some rounds, every query equally often."""
    _, queries, arms = bandit.mask.shape
    mean = bandit.expected[0].mean(axis=0)
    values: dict[str, Array] = {
        name: random.normal(size=(seeds, BINS)) for name in ("reward", "regret", "quality", "cost")
    }
    arm = random.integers(arms, size=seeds)
    per_query = bandit.expected[0][:, arm].T * (ROUNDS / queries) + random.normal(size=(seeds, queries)) / 2
    values["reward"] += mean[arm][:, None] * ROUNDS / BINS
    names = ("dollars", "eflops", "tokens", "latency", "optimal", "fresh", "fresh_reward", "pilot_cost", "pilot_charge")
    totals: dict[str, Any] = {name: value.sum(axis=1) for name, value in values.items()}
    totals |= {name: random.random(seeds) for shares in PERCENTILES.values() for name in shares}
    totals |= {name: np.zeros(seeds) for name in names} | {"fresh": np.full(seeds, float(queries))}
    return AgentRuns(
        totals=totals,
        curves={name: value.astype(np.float32) for name, value in values.items()},
        arms=random.integers(9, size=(BINS, arms)),
        arm_count=random.integers(99, size=(seeds, arms)).astype(np.int32),
        query_reward=per_query.astype(np.float32),
        query_count=np.full((seeds, queries), ROUNDS // queries, np.int32),
    )
