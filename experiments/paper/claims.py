"""Published claims as data: what was claimed, how ours is computed, and whether the two agree."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from experiments.config import ConfigError
from experiments.paper import measures
from experiments.paper.measures import Estimate, Window
from experiments.results import Cell, CellKey

CLAIMS = Path(__file__).parent / "claims.toml"
FEW = 5
"""Seeds of the paper."""
WARMUP = 50
"""Rounds that no metric but regret counts."""


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published claim.

    Attributes:
        text: the claim in words.
        published: the published number, in the unit of ours; None for a claim in words only.
        expect: for a claim in words, on which side of zero (of one, for a ratio) ours should lie.
        scenario, preference, agent, metric: what is measured. Accuracies in per cent.
        other: the agent it is compared with, on the same episodes; None for a value of its own.
        other_world: where `other` plays, if in another world (same seeds, so still paired).
        compare: agent minus other, or agent / other.
        rounds: the window; by default all after the warm-up, for regret all.
        why: what is known of the reason, where ours disagrees.
    """

    text: str
    published: float | None = None
    expect: Literal["above", "below"] | None = None
    preference: str
    scenario: str = "stationary"
    agent: str
    metric: Literal["reward", "accuracy", "cost", "regret"]
    other: str | None = None
    other_world: str | None = None
    compare: Literal["difference", "ratio"] = "difference"
    rounds: tuple[int, int] | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if (self.published is None) == (self.expect is None):
            raise ValueError("expected either a published number or the side on which ours should lie")
        if self.published is None and self.other is None:
            raise ValueError("a claim in words compares two agents")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Claims under one heading, each evaluated in each of `worlds` of one config."""

    title: str
    note: str = ""
    config: str
    worlds: Annotated[tuple[str, ...], Meta(min_length=1)] = ("A", "B")
    claims: Annotated[tuple[Claim, ...], Meta(min_length=1)]


@dataclass(frozen=True)
class Finding:
    """A claim in one world.

    Attributes:
        section, claim: what was published.
        world: where ours was measured; `simulated` says what kind it is.
        ours: over all seeds.
        few: over the first FEW seeds, as in the paper.
        seeds: how many there are in all.
        verdict, few_verdict: "yes", "sign only", "open", "no" (`judge`).
    """

    section: Section
    claim: Claim
    world: str
    simulated: bool
    ours: Estimate
    few: Estimate
    seeds: int
    verdict: str
    few_verdict: str


def load_claims(path: Path = CLAIMS) -> tuple[Section, ...]:
    """Reads claims.

    Raises:
        ConfigError: naming file and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(data, dict[str, tuple[Section, ...]])["sections"]
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from None


def evaluate(sections: Sequence[Section], cells: Mapping[str, Sequence[Cell]]) -> list[Finding]:
    """Every claim in every world; sections whose config was not run are left out.

    Raises:
        ConfigError: naming the claim whose cell or agent is not in its config.
    """
    return [
        _find(section, claim, world, cells[section.config])
        for section in sections
        if section.config in cells
        for claim in section.claims
        for world in section.worlds
    ]


def judge(claim: Claim, ours: Estimate) -> str:
    """Whether ours agrees.

    A value of its own: "yes" if the published number lies in our interval, else "no". A comparison: "yes" if our
    interval holds the published number and lies on its side of zero (one, for ratios), "sign only" if it lies on that
    side but elsewhere, "open" if it includes zero, "no" if it lies on the other side. In words: the same without a
    number.
    """
    if math.isnan(ours.low):
        return ""
    if claim.other is None:
        assert claim.published is not None
        return "yes" if ours.low <= claim.published <= ours.high else "no"
    neutral = 1.0 if claim.compare == "ratio" else 0.0
    if ours.low <= neutral <= ours.high:
        return "open"
    above = claim.expect == "above" if claim.published is None else claim.published > neutral
    if (ours.low > neutral) != above:
        return "no"
    return "yes" if claim.published is None or ours.low <= claim.published <= ours.high else "sign only"


def _find(section: Section, claim: Claim, world: str, cells: Sequence[Cell]) -> Finding:
    own = _cell(section, claim, cells, world, claim.agent)
    there = None if claim.other is None else _cell(section, claim, cells, claim.other_world or world, claim.other)
    start = 0 if claim.metric == "regret" else WARMUP
    window = Window(*claim.rounds) if claim.rounds else Window(start, own.rounds)
    scale = 100.0 if claim.metric == "accuracy" else 1.0

    def estimate(seeds: int | None) -> Estimate:
        mine = scale * measures.measure(own, claim.agent, claim.metric, window, seeds)
        if there is None or claim.other is None:
            return measures.mean(mine)
        other = scale * measures.measure(there, claim.other, claim.metric, window, seeds)
        return measures.ratio(mine, other) if claim.compare == "ratio" else measures.mean(mine - other)

    try:
        ours, few = estimate(None), estimate(FEW)
    except ValueError as error:
        raise ConfigError(f"claim {claim.text!r}: {error}") from None
    simulated = bool(own.references["simulated"])
    return Finding(section, claim, world, simulated, ours, few, len(own.seeds), judge(claim, ours), judge(claim, few))


def _cell(section: Section, claim: Claim, cells: Sequence[Cell], world: str, agent: str) -> Cell:
    key = CellKey(world, claim.scenario, claim.preference)
    for cell in cells:
        if cell.key == key:
            if agent not in cell.agents:
                raise ConfigError(f"claim {claim.text!r}: {section.config} has no agent {agent!r}")
            return cell
    raise ConfigError(f"claim {claim.text!r}: {section.config} has no cell {key.label!r}")


def formatted(claim: Claim) -> Callable[[float], str]:
    """How numbers of a claim are written."""
    if claim.compare == "ratio":
        return lambda x: f"{x:.3g}×"
    digits = {"reward": 4, "accuracy": 2, "cost": 1, "regret": 2}[claim.metric]
    sign = "" if claim.other is None else "+"
    return lambda x: f"{x:{sign}.{digits}f}".replace("-", "−")
