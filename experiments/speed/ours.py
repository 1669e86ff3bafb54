"""Our agents on the problem: blocks of seeds on threads, as the runner plays them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agents import rollout
from agents.agent import Agent
from experiments.backend import compiler_options
from experiments.speed.problem import Array, Problem

BINS = 100


class Ours:
    """An agent's compiled programs for one problem.

    Args:
        problem: what to play.
        agent: an agent of that problem.
        seeds: how many; 0, 1, ... in equal blocks, the last of them filled up.
        threads: blocks, side by side.
        seeds_per_call: seeds side by side within a block (None: chosen as the runner chooses).

    Attributes:
        compile_seconds: tracing and compiling.
    """

    def __init__(
        self, problem: Problem, agent: Agent, seeds: int, threads: int, seeds_per_call: int | None = None
    ) -> None:
        block = -(-seeds // threads)
        horizon = problem.schedule.horizon
        self.problem = problem
        self.blocks = [range(first, first + block) for first in range(0, block * threads, block)]
        self.plan = rollout.make_plan(
            horizon, rollout.choose_seeds_per_call(agent, block, seeds_per_call), BINS, horizon
        )
        begin = time.perf_counter()
        seeds_of_first = self._seeds(self.blocks[0])
        start = rollout.start.lower(agent, self.plan.seeds_per_call, problem.tables, seeds_of_first)
        self._start = start.compile(compiler_options())
        carry = self._start(problem.tables, seeds_of_first)
        rounds = self._rounds(self.blocks[0], seeds_of_first)
        advance = rollout.advance.lower(agent, self.plan, problem.tables, seeds_of_first, carry, rounds)
        self._advance = advance.compile(compiler_options())
        self.compile_seconds = time.perf_counter() - begin
        self._regret: list[Array] = []

    def run(self) -> int:
        """Plays all seeds, tapes and keys included; returns the rounds played."""
        with ThreadPoolExecutor(len(self.blocks)) as pool:
            self._regret = list(pool.map(self._play, self.blocks))
        return len(self.blocks) * len(self.blocks[0]) * self.plan.horizon

    def regret(self, seeds: int, rounds: int) -> Array:
        """(seeds,) regret that the last run's first seeds summed up in their first rounds, a whole number of bins."""
        bins, rest = divmod(rounds, self.plan.bin_rounds)
        assert not rest
        summed: Array = np.concatenate(self._regret)[:seeds, :bins].sum(axis=1, dtype=np.float64)
        return summed

    def _play(self, seeds: range) -> Array:
        own = self._seeds(seeds)
        carry = self._start(self.problem.tables, own)
        _, bins, _ = self._advance(self.problem.tables, own, carry, self._rounds(seeds, own))
        return np.asarray(bins.sums)[..., rollout.METRICS.index("regret")]

    def _seeds(self, seeds: range) -> rollout.Seeds:
        return rollout.make_seeds(self.problem.bandit, [self.problem.schedule] * len(seeds), seeds, "speed")

    def _rounds(self, seeds: range, own: rollout.Seeds) -> rollout.Rounds:
        return rollout.make_rounds(self.plan, [self.problem.schedule] * len(seeds), seeds, own.keys, 0)
