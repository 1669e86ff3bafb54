"""What a run leaves behind, in memory: per-seed totals and curves of every agent in every cell of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from agents.registry import Role

Array = NDArray[Any]
PERCENTILES = {
    "cost": {"cost_median": 0.5},
    "latency": {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99},
}
"""Channel -> names of totals -> the share of the rounds that do not pass it."""


class CellKey(NamedTuple):
    """One comparison: all agents of a cell play identical episodes."""

    world: str
    scenario: str
    preference: str

    @property
    def label(self) -> str:
        """A readable label."""
        return " · ".join(self)


class Entrant(NamedTuple):
    """What an entry of a config is, whatever its label.

    Attributes:
        kind: as in the registry, or what names a user's agent.
        role: that of the kind (`agents.registry`).
        own: whether it is a user's agent, which the registry does not have.
    """

    kind: str
    role: Role
    own: bool = False


@dataclass(frozen=True, eq=False)
class AgentRuns:
    """S seeds of one agent in one cell; C curve bins, K arms, Q queries.

    Attributes:
        totals: name -> (S,) float64 sums over the T rounds before the hold-out: `rollout.METRICS` (`optimal` and
            `fresh` are counts of rounds), and `PERCENTILES` of a round's cost and latency (where there is one),
            `pilot_cost` (in the unit of cost, 0 without a pilot) and `pilot_charge` (what that pilot takes from the
            summed reward).
        curves: name -> (S, C) float32 sums per bin of `reward`, `regret`, `quality` and `cost`.
        arms: (C, K) int64 pulls per bin, summed over seeds.
        arm_count: (S, K) int32 pulls per seed.
        query_reward: (S, Q) float32 summed reward by query.
        query_count: (S, Q) int32 rounds by query.
        holdout_reward, holdout_count: (S, Q), the same in the hold-out; None without one.
    """

    totals: Mapping[str, Array]
    curves: Mapping[str, Array]
    arms: Array
    arm_count: Array
    query_reward: Array
    query_count: Array
    holdout_reward: Array | None = None
    holdout_count: Array | None = None


@dataclass(frozen=True, eq=False)
class SweepRuns:
    """S seeds of one agent at P preferences; T rounds, K arms. All else is looked up from the tapes.

    Attributes:
        action: (S, P, T) uint16, the arm of every round.
        believed: (S, T, K) float32, what it predicted of every arm's quality before the first round (`agents.sweep`);
            None without a pilot.
    """

    action: Array
    believed: Array | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """All agents of one comparison.

    Attributes:
        key: world, scenario, preference.
        rounds: T.
        bin_rounds: rounds per curve bin (the last bin may hold fewer).
        seeds: (S,) the seeds, one tape each.
        agents: name -> runs, in the order of the config.
        entrants: name -> kind and role.
        references: plain JSON: what `experiments.references` computes for this cell.
        holdout_fixed: (S, Q) float64 summed reward by query, in the hold-out, of the fixed arm that is best on the
            train queries; None without a hold-out, or where no arm is always on offer.
    """

    key: CellKey
    rounds: int
    bin_rounds: int
    seeds: Array
    agents: Mapping[str, AgentRuns]
    entrants: Mapping[str, Entrant]
    references: Mapping[str, Any] = field(default_factory=dict)
    holdout_fixed: Array | None = None

    def of_kind(self, kind: str) -> str | None:
        """The first agent of a kind; None if there is none."""
        return next((name for name in self.agents if self.entrants[name].kind == kind), None)

    @property
    def best_fixed(self) -> str | None:
        """The agent that is the best fixed arm of the same rounds."""
        return self.of_kind("best_fixed")

    @property
    def oracle(self) -> str | None:
        """The agent that is the table's oracle."""
        return self.of_kind("oracle")

    def role(self, agent: str) -> Role:
        """What an agent is: "reference", "baseline" or "learner"."""
        return self.entrants[agent].role

    def mean_reward(self, agent: str) -> Array:
        """(S,) float64 mean reward per round, the pilot's cost charged."""
        totals = self.agents[agent].totals
        return np.asarray((totals["reward"] - totals["pilot_charge"]) / self.rounds)


Runs = TypeVar("Runs", AgentRuns, SweepRuns)


def concatenate(parts: list[Runs]) -> Runs:
    """Joins blocks of seeds, in order."""

    def join(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    first = parts[0]
    if isinstance(first, SweepRuns):
        return SweepRuns(  # type: ignore[return-value]
            action=join("action"), believed=None if first.believed is None else join("believed")
        )
    return AgentRuns(
        totals={name: np.concatenate([part.totals[name] for part in parts]) for name in first.totals},
        curves={name: np.concatenate([part.curves[name] for part in parts]) for name in first.curves},
        arms=np.sum([part.arms for part in parts], axis=0),
        arm_count=join("arm_count"),
        query_reward=join("query_reward"),
        query_count=join("query_count"),
        holdout_reward=None if first.holdout_reward is None else join("holdout_reward"),
        holdout_count=None if first.holdout_count is None else join("holdout_count"),
    )
