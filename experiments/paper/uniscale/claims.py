"""The claims of UniScale: an agent of a cell, alone or against another on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments import statistics
from experiments.config import ConfigError
from experiments.paper import claims
from experiments.paper.claims import Finding, Section
from experiments.paper.uniscale import measures
from experiments.paper.uniscale.measures import Window
from experiments.results import Cell, CellKey
from experiments.statistics import Estimate

CLAIMS = Path(__file__).parent / "claims.toml"
FEW = 5
"""Seeds of the paper."""
OWN, BLIND = "uniscale", "linucb_arm_only"
"""The learner, and the kind of the same learner without a query."""
WARMUP = 50
"""Rounds that no metric but regret counts."""


class Claim(claims.Claim, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A claim about an agent.

    Attributes:
        scenario, preference, agent, metric: what is measured. Accuracies in per cent.
        other: the agent it is compared with, on the same episodes.
        other_world: where `other` plays, if in another world (same seeds, so still paired).
        rounds: the window; by default all after the warm-up, for regret all.
    """

    preference: str
    scenario: str = "stationary"
    agent: str
    metric: Literal["reward", "accuracy", "cost", "regret"]
    other_world: str | None = None
    rounds: tuple[int, int] | None = None

    @property
    def where(self) -> str:
        """The preference."""
        return self.preference

    def write(self, value: float) -> str:
        """A number of this claim."""
        if self.compare == "ratio":
            return f"{value:.3g}×"
        digits = {"reward": 4, "accuracy": 2, "cost": 1, "regret": 2}[self.metric]
        sign = "+" if self.compared else ""
        return f"{value:{sign}.{digits}f}".replace("-", "−")

    def columns(self) -> Mapping[str, Any]:
        """Columns of the CSV file."""
        names = ("preference", "scenario", "agent", "other", "metric")
        return {name: getattr(self, name) or "" for name in names}


def find(section: Section[Claim], claim: Claim, world: str, cells: Sequence[Cell]) -> Finding[Claim]:
    """Measures a claim in one world, over all seeds and over the first FEW.

    Raises:
        ConfigError: naming the claim whose cell or agent is not there.
    """
    own = _cell(section, claim, cells, world, claim.agent)
    there = None if claim.other is None else _cell(section, claim, cells, claim.other_world or world, claim.other)
    start = 0 if claim.metric == "regret" else WARMUP
    window = Window(*claim.rounds) if claim.rounds else Window(start, own.rounds)
    scale = 100.0 if claim.metric == "accuracy" else 1.0

    def estimate(seeds: int | None, agent: str = claim.agent) -> Estimate:
        mine = scale * measures.measure(own, agent, claim.metric, window, seeds)
        if there is None or claim.other is None:
            return statistics.estimate(mine)
        other = scale * measures.measure(there, claim.other, claim.metric, window, seeds)
        return statistics.ratio(mine, other) if claim.compare == "ratio" else statistics.estimate(mine - other)

    try:
        ours, few = estimate(None), estimate(FEW)
        blind = own.of_kind(BLIND) if claim.agent == OWN and claim.compared else None
        ignoring = None if blind is None or blind == claim.other else estimate(None, blind)
    except ValueError as error:
        raise ConfigError(f"claim {claim.text!r}: {error}") from None
    return Finding(section, claim, world, bool(own.references["simulated"]), ours, len(own.seeds), few, FEW, ignoring)


def _cell(section: Section[Claim], claim: Claim, cells: Sequence[Cell], world: str, agent: str) -> Cell:
    key = CellKey(world, claim.scenario, claim.preference)
    for cell in cells:
        if cell.key == key:
            if agent not in cell.agents:
                raise ConfigError(f"claim {claim.text!r}: {section.config} has no agent {agent!r}")
            return cell
    raise ConfigError(f"claim {claim.text!r}: {section.config} has no cell {key.label!r}")
