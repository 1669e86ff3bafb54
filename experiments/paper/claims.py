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
    "sign only": "our interval lies on the published side of zero (of one, for ratios), but not at the number",
    "no": "our interval lies on the other side, or is narrow and shows no side; a value of its own lies elsewhere",
    "cannot tell": "half the width of our interval exceeds half the published effect; in words: it includes zero",
}
STATUS = {
    "fitted": "the simulator was fitted to this number: agreement says how good the fit is, and nothing more",
    "by construction": "a policy that ignores the query does as well, so the claim says nothing about learning from it",
    "free": "neither: only these are counted, each published number once, by its worst verdict",
}
_WORST = ("no", "cannot tell", "sign only", "yes", "")


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published claim; a protocol's own claims say what of ours is measured.

    Attributes:
        text: the claim in words.
        published: the published number, in the unit of ours; None for a claim in words only.
        expect: for a claim in words, on which side of zero (of one, for a ratio) ours should lie.
        other: what it is compared with; None for a value of its own.
        compare: difference or ratio.
        why: what is known of the reason, where ours disagrees.
        fitted: whether the simulator was fitted to it.
        number: which published number this is, where one number is compared with several of ours; by default the claim
            stands for itself.
    """

    text: str
    published: float | None = None
    expect: Literal["above", "below"] | None = None
    other: str | None = None
    compare: Literal["difference", "ratio"] = "difference"
    why: str = ""
    fitted: bool = False
    number: str = ""

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

    `published = false`: expectations of our own, which no count of published comparisons includes. `fitted = true`: the
    simulator was fitted to all of them.
    """

    title: str
    note: str = ""
    published: bool = True
    fitted: bool = False
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
        blind: the same of a policy that ignores the query, in the place of the one that was claimed to look at it; None
            where there is none.
    """

    section: Section[C]
    claim: C
    world: str
    simulated: bool
    ours: Estimate
    seeds: int
    few: Estimate | None = None
    few_seeds: int = 0
    blind: Estimate | None = None

    @property
    def status(self) -> str:
        """A key of STATUS; empty for what is not published."""
        if not self.section.published:
            return ""
        if self.section.fitted or self.claim.fitted:
            return "fitted"
        return "by construction" if self.blind is not None and judge(self.claim, self.blind) == "yes" else "free"

    @property
    def number(self) -> tuple[str, ...]:
        """Which published number it is compared with."""
        return (self.claim.number,) if self.claim.number else (self.section.title, self.claim.text)

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
    """Whether ours agrees: a key of VERDICTS; empty without an interval.

    First: an interval whose half width exceeds half the published effect (its distance from zero, or from one for
    ratios) cannot tell, whatever it holds: few seeds must not agree more. Then a comparison is "yes" if the interval
    holds the published number and lies on its side, "sign only" if it lies on that side but elsewhere, else "no"; a
    value of its own is "yes" if the interval holds the published one, else "no". A claim in words is "yes" or "no" by
    the side, and cannot be told if the interval includes zero (one).
    """
    if math.isnan(ours.low):
        return ""
    neutral = 1.0 if claim.compared and claim.compare == "ratio" else 0.0
    beside = ours.low > neutral or ours.high < neutral
    if claim.published is None:
        agrees = (ours.low > neutral) == (claim.expect == "above")
        return "cannot tell" if not beside else "yes" if agrees else "no"
    if ours.half > abs(claim.published - neutral) / 2:
        return "cannot tell"
    holds = ours.low <= claim.published <= ours.high
    if not claim.compared:
        return "yes" if holds else "no"
    if not beside or (ours.low > neutral) != (claim.published > neutral):
        return "no"
    return "yes" if holds else "sign only"


def counts(findings: Iterable[Finding[C]]) -> str:
    """How many published comparisons are fitted, by construction and free, and how the free ones came out, in words.

    Each published number counts once: as fitted if the simulator was fitted to it, as by construction if it is so
    wherever it was compared, else by the worst verdict of what is free.
    """
    numbers: dict[tuple[str, ...], list[Finding[C]]] = {}
    for found in findings:
        if found.claim.compared and found.section.published:
            numbers.setdefault(found.number, []).append(found)
    kinds = dict.fromkeys(STATUS, 0)
    verdicts = []
    for several in numbers.values():
        status = {found.status for found in several}
        kind = "fitted" if "fitted" in status else "free" if "free" in status else "by construction"
        kinds[kind] += 1
        if kind == "free":
            verdicts.append(min((found.verdict for found in several if found.status == "free"), key=_WORST.index))
    no, signs = verdicts.count("no") + verdicts.count("sign only"), verdicts.count("sign only")
    parts = ", ".join(f"{kind} {number}" for kind, number in kinds.items())
    yes = verdicts.count("yes")
    return (
        f"{len(numbers)} published comparison{'' if len(numbers) == 1 else 's'}: {parts}: {yes} yes / "
        f"{no} no{f' ({signs} with the sign)' if signs else ''} / {verdicts.count('cannot tell')} cannot tell"
    )


def claims_csv(findings: Sequence[Finding[C]]) -> str:
    """One line per claim and world: published, ours with its interval, verdict; for all seeds and for few."""
    nothing = float("nan")
    own = list(findings[0].claim.columns()) if findings else []
    header = (
        *("section", "claim", "config", "world", "simulated", *own, "compare", "published", "expect", "seeds"),
        *("ours", "lo", "hi", "agrees", "status", "number", "blind", "blind_lo", "blind_hi"),
        *("ours_few", "lo_few", "hi_few", "agrees_few", "why"),
    )
    return to_csv(
        header,
        (
            (
                *(f.section.title, f.claim.text, f.section.config, f.world, int(f.simulated)),
                *f.claim.columns().values(),
                f.claim.compare if f.claim.compared else "",
                nothing if f.claim.published is None else float(f.claim.published),
                *(f.claim.expect or "", f.seeds, *f.ours, f.verdict, f.status, " · ".join(f.number)),
                *(f.blind or (nothing,) * 3),
                *(f.few or (nothing,) * 3),
                *(f.few_verdict, f.claim.why),
            )
            for f in findings
        ),
    )
