"""Published claims as data: what was claimed, how ours is judged, and the files and tables of what was found."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from experiments.config import ConfigError
from experiments.statistics import Estimate
from experiments.tables import to_csv

VERDICTS = {
    "yes": "our interval holds the published number, or lies on the side that was claimed in words",
    "sign only": "our interval lies on the published side of zero (of one, for ratios), but elsewhere",
    "open": "our interval includes zero (one)",
    "no": "our interval lies on the other side; for a value of its own, does not hold the published number",
}


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published claim; a protocol's own claims say what of ours is measured.

    Attributes:
        text: the claim in words.
        published: the published number, in the unit of ours; None for a claim in words only.
        expect: for a claim in words, on which side of zero (of one, for a ratio) ours should lie.
        other: what it is compared with; None for a value of its own.
        compare: difference or ratio.
        why: what is known of the reason, where ours disagrees.
    """

    text: str
    published: float | None = None
    expect: Literal["above", "below"] | None = None
    other: str | None = None
    compare: Literal["difference", "ratio"] = "difference"
    why: str = ""

    def __post_init__(self) -> None:
        if (self.published is None) == (self.expect is None):
            raise ValueError("expected either a published number or the side on which ours should lie")
        if self.published is None and not self.compared:
            raise ValueError("a claim in words compares two agents")

    @property
    def compared(self) -> bool:
        """Whether ours is a difference or a ratio."""
        return self.other is not None

    @property
    def where(self) -> str:
        """At which settings, in a few words."""
        return ""

    def write(self, value: float) -> str:
        """A number of this claim."""
        return f"{value:.3g}×" if self.compare == "ratio" else f"{value:.4g}".replace("-", "−")

    def columns(self) -> Mapping[str, Any]:
        """What is measured, as columns of the CSV file."""
        return {}


C = TypeVar("C", bound=Claim)


class Section(msgspec.Struct, Generic[C], frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Claims under one heading, each evaluated in each of `worlds` of one config.

    `published = false`: expectations of our own, which no count of published comparisons includes.
    """

    title: str
    note: str = ""
    published: bool = True
    config: str
    worlds: Annotated[tuple[str, ...], Meta(min_length=1)] = ("A", "B")
    claims: Annotated[tuple[C, ...], Meta(min_length=1)]


@dataclass(frozen=True)
class Finding(Generic[C]):
    """A claim in one world.

    Attributes:
        section, claim: what was published.
        world: where ours was measured; `simulated` says what kind it is.
        ours: with its interval.
        seeds: how many there are in all.
        few: over the first `few_seeds`, as in the paper; None where that is not asked.
    """

    section: Section[C]
    claim: C
    world: str
    simulated: bool
    ours: Estimate
    seeds: int
    few: Estimate | None = None
    few_seeds: int = 0

    @property
    def verdict(self) -> str:
        """Whether ours agrees: a key of VERDICTS."""
        return judge(self.claim, self.ours)

    @property
    def few_verdict(self) -> str:
        """The same with few seeds."""
        return "" if self.few is None else judge(self.claim, self.few)


def load_claims(path: Path, kind: type[C]) -> tuple[Section[C], ...]:
    """Reads claims of a kind.

    Raises:
        ConfigError: naming file and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(data, dict[str, tuple[Section[kind], ...]])["sections"]  # type: ignore[valid-type]
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from None


def evaluate(
    sections: Sequence[Section[C]],
    cells: Mapping[str, Any],
    find: Callable[[Section[C], C, str, Any], Finding[C]],
) -> list[Finding[C]]:
    """Every claim in every world; sections whose config was not run are left out.

    Raises:
        ConfigError: naming the claim whose cell or agent is not in its config.
    """
    return [
        find(section, claim, world, cells[section.config])
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
    if not claim.compared:
        assert claim.published is not None
        return "yes" if ours.low <= claim.published <= ours.high else "no"
    neutral = 1.0 if claim.compare == "ratio" else 0.0
    if ours.low <= neutral <= ours.high:
        return "open"
    above = claim.expect == "above" if claim.published is None else claim.published > neutral
    if (ours.low > neutral) != above:
        return "no"
    return "yes" if claim.published is None or ours.low <= claim.published <= ours.high else "sign only"


def counts(findings: Iterable[Finding[C]]) -> str:
    """How many comparisons came out how, in words."""
    verdicts = [found.verdict for found in findings if found.claim.compared and found.section.published]
    return f"{len(verdicts)} published comparisons: " + ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS
    )


def claims_csv(findings: Sequence[Finding[C]]) -> str:
    """One line per claim and world: published, ours with its interval, verdict; for all seeds and for few."""
    nothing = float("nan")
    own = list(findings[0].claim.columns()) if findings else []
    header = (
        *("section", "claim", "config", "world", "simulated", *own, "compare", "published", "expect", "seeds"),
        *("ours", "lo", "hi", "agrees", "ours_few", "lo_few", "hi_few", "agrees_few", "why"),
    )
    return to_csv(
        header,
        (
            (
                *(f.section.title, f.claim.text, f.section.config, f.world, int(f.simulated)),
                *f.claim.columns().values(),
                f.claim.compare if f.claim.compared else "",
                nothing if f.claim.published is None else float(f.claim.published),
                *(f.claim.expect or "", f.seeds, *f.ours, f.verdict),
                *(f.few or (nothing,) * 3),
                *(f.few_verdict, f.claim.why),
            )
            for f in findings
        ),
    )
