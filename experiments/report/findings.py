"""The headline findings: sentences that are computed from the numbers, the unwelcome ones too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from experiments.analysis import Analysis, HonestyRow, PairedRow
from experiments.html import signed as _signed
from experiments.statistics import few_seeds, least_p

LEVEL = 0.05
"""A corrected p below this is called a difference."""
_TOO_FEW = "Too few seeds to tell whether a learner beats the best fixed arm"


Row = TypeVar("Row")


class Finding(NamedTuple):
    """A headline and the sentences below it.

    Attributes:
        tone: "good", "bad" or "plain" for the agents under test.
        cell: place of the comparison that it speaks of, among all; None if it speaks of several.
    """

    title: str
    text: str
    tone: str = "plain"
    cell: int | None = None


def findings(analyses: Sequence[Analysis]) -> list[Finding]:
    """What a reader should take away, the verdict first; findings that have nothing to say are left out."""
    makers: tuple[Callable[[Sequence[Analysis]], Finding | None], ...]
    makers = (_own, _verdict, _recall, _ceiling, _gap, _arms, _replay, _stuck)
    return [finding for make in makers if (finding := make(analyses)) is not None]


def where(analysis: Analysis, analyses: Sequence[Analysis]) -> str:
    """The parts of a comparison's name that distinguish it from the others, " at ..."; empty if it is alone."""
    names = [
        name + (" (simulated)" if i == 0 and analysis.simulated else "")
        for i, name in enumerate(analysis.key)
        if len({other.key[i] for other in analyses}) > 1
    ]
    return f" at {' · '.join(names)}" if names else ""


def signed(value: float) -> str:
    """A number with its sign and three decimals."""
    return _signed(value, 3)


def span(low: float, high: float) -> str:
    """An interval."""
    return f"[{signed(low)}, {signed(high)}]"


def p_value(p: float) -> str:
    """A p-value as text writes it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _recorded(rows: Sequence[tuple[Analysis, Row]]) -> Sequence[tuple[Analysis, Row]]:
    """Those of recorded worlds, if there are any: a headline on a simulated world would hide them."""
    return [row for row in rows if not row[0].simulated] or rows


def _learners(analyses: Sequence[Analysis]) -> Iterator[tuple[Analysis, PairedRow, HonestyRow]]:
    """Every learner's comparison with the best fixed arm, in every cell."""
    for analysis in analyses:
        for agent, pair in analysis.versus_best_fixed().items():
            if analysis.cell.role(agent) == "learner":
                yield analysis, pair, analysis.honesty[agent]


def _own(analyses: Sequence[Analysis]) -> Finding | None:
    """How a user's own agents did, before all else: the best of them where it did best."""
    rows = [
        (analysis, pair)
        for analysis in analyses
        for agent, pair in analysis.versus_best_fixed().items()
        if analysis.cell.entrants[agent].own
    ]
    if not rows:
        return None
    analysis, best = max(_recorded(rows), key=lambda row: row[1].difference)
    learners = [agent for agent in analysis.ranking() if analysis.cell.role(agent) == "learner"]
    over_seeds = "" if math.isnan(best.difference_lo) else f" {span(best.difference_lo, best.difference_hi)}"
    text = (
        f"Against the best fixed arm: {signed(best.difference)}{over_seeds} a round{where(analysis, analyses)}, "
        f"{p_value(best.p_holm)} after Holm's correction"
    )
    held = analysis.summary[best.agent]
    if not math.isnan(held.holdout):
        text += f"; in the hold-out {signed(held.holdout)}"
        text += "" if math.isnan(held.holdout_qlo) else f" {span(held.holdout_qlo, held.holdout_qhi)}"
    place = learners.index(best.agent) + 1
    title = f"Your agent {best.agent} is number {place} of {len(learners)} learners{where(analysis, analyses)}"
    clear = best.p_holm < LEVEL
    return Finding(
        title, text + ".", "plain" if not clear else "good" if best.difference > 0 else "bad", analyses.index(analysis)
    )


def _verdict(analyses: Sequence[Analysis]) -> Finding | None:
    """Leads over the best fixed arm, by the stricter of the two intervals: over seeds and queries."""
    rows = [(analysis, pair) for analysis, pair, _ in _learners(analyses)]
    if not rows:
        return None
    wins = [(analysis, pair) for analysis, pair in rows if pair.p_holm < LEVEL and pair.difference > 0]
    firm = [(analysis, pair) for analysis, pair in wins if not pair.difference_qlo <= 0]
    analysis, best = max(_recorded(firm or wins or rows), key=lambda row: row[1].difference)
    cell = analyses.index(analysis)
    over_seeds = "" if math.isnan(best.difference_lo) else f" {span(best.difference_lo, best.difference_hi)}"
    lead = f"{signed(best.difference)}{over_seeds} a round{where(analysis, analyses)}"
    if not wins:
        text = (
            f"The nearest was {best.agent}: {lead}, {p_value(best.p_holm)} after Holm's correction. The best fixed arm "
            "is the single arm with the highest expected reward over the very same rounds, known only in hindsight."
        )
        tests = sum(row.family == "primary" for analysis in analyses for row in analysis.paired)
        least = least_p(best.seeds) * tests
        if few := few_seeds(best.seeds):
            return Finding(
                "Too few seeds to tell whether a learner beats the best fixed arm", f"{text} {few}", cell=cell
            )
        if least > LEVEL:
            text += (
                f" With {best.seeds} seeds and {tests} tests no corrected p can be below {min(1.0, least):.2g}: "
                "no difference could have been shown."
            )
            return Finding(_TOO_FEW, text, cell=cell)
        return Finding("No learner beat the best fixed arm", text, "bad", cell)
    text = f"The largest lead is that of {best.agent}: {lead}, {p_value(best.p_holm)} after Holm's correction."
    if not math.isnan(best.difference_qlo):
        text += f" Over seeds and queries the interval is {span(best.difference_qlo, best.difference_qhi)}."
    if not firm:
        text += " It includes zero: with other queries of the kind the lead might not show."
        title = f"{_subject(wins)} led the best fixed arm{_scope(wins, analyses)}, but not beyond doubt"
        return Finding(title, text + _new_queries(wins), "plain", cell)
    if len(wins) > len(firm):
        text += f" {len(wins) - len(firm)} more leads are significant over seeds only."
    return Finding(
        f"{_subject(firm)} beat the best fixed arm{_scope(firm, analyses)}", text + _new_queries(firm), "good", cell
    )


def _subject(rows: Sequence[tuple[Analysis, PairedRow]]) -> str:
    agents = sorted({pair.agent for _, pair in rows})
    return agents[0] if len(agents) == 1 else f"{len(agents)} learners"


def _scope(rows: Sequence[tuple[Analysis, PairedRow]], analyses: Sequence[Analysis]) -> str:
    return "" if len(analyses) == 1 else f" in {len({a.key for a, _ in rows})} of {len(analyses)} comparisons"


def _new_queries(rows: Sequence[tuple[Analysis, PairedRow]]) -> str:
    """How many of these leads hold in the hold-out, by the interval over seeds and queries; empty without one."""
    held = [analysis.summary[pair.agent] for analysis, pair in rows]
    if any(math.isnan(row.holdout) for row in held):
        return ""
    kept = sum(row.holdout_qlo > 0 for row in held)
    which = "the lead holds" if len(held) == kept == 1 else f"{kept} of these {len(held)} leads hold"
    return f" On queries that no earlier round asked (the hold-out) {which}."


def _ceiling(analyses: Sequence[Analysis]) -> Finding | None:
    known = [(analysis, analysis.cell.references["ceiling"]) for analysis in analyses]
    known = [(analysis, ceiling) for analysis, ceiling in known if ceiling is not None]
    if not known:
        return None
    silent = sum(ceiling["no_signal"] for _, ceiling in known)
    analysis, best = max(_recorded(known), key=lambda row: row[1]["value"])
    cell = analyses.index(analysis)
    interval = "" if best["low"] is None else f" {span(best['low'], best['high'])}"
    text = (
        "A policy that knows every outcome of the other queries, and sees the same features, gains "
        f"{signed(best['value'])}{interval} a round over the best fixed arm{where(analysis, analyses)}; over the best "
        f"fixed arm of those other queries {signed(best['out_of_sample']['value'])}."
    )
    if silent == len(known):
        return Finding("The context shows no signal", text + " That interval over queries includes zero.", cell=cell)
    if silent:
        text += f" In {silent} of {len(known)} comparisons the interval over queries includes zero: no signal."
    shares = [(row.ceiling_share, row.agent) for cell, _, row in _learners(analyses) if cell is analysis]
    if shares and max(shares)[0] > 0:
        text += f" The best learner there, {max(shares)[1]}, earned {max(shares)[0]:.0%} of that."
    elif shares:
        text += " No learner there earned any of it."
    return Finding(f"Context is worth up to {signed(best['value'])} a round", text, cell=cell)


def _gap(analyses: Sequence[Analysis]) -> Finding | None:
    rows = [(a, row) for a, _, row in _learners(analyses) if not math.isnan(row.oracle_share)]
    if not rows:
        return None
    analysis, best = max(_recorded(rows), key=lambda row: row[1].oracle_share)
    text = f"{signed(best.oracle_gap)} a round lie between the best fixed arm and the table's own oracle"
    text += where(analysis, analyses)
    if not math.isnan(best.cross_fitted_gap):
        text += (
            f"; with arms chosen on one half of the samples and valued on the other, {signed(best.cross_fitted_gap)}. "
            "Finite pools reward luck, so the truth lies between the two"
        )
    text += "."
    if best.oracle_share <= 0:
        return Finding("No learner closes any of the gap to the oracle", text, "bad", analyses.index(analysis))
    title = f"{best.agent} closes {best.oracle_share:.0%} of the gap to the oracle"
    return Finding(title, text, "good" if best.oracle_share_lo > 0 else "plain", analyses.index(analysis))


def _arms(analyses: Sequence[Analysis]) -> Finding | None:
    places: dict[str, list[str]] = {}
    for analysis in analyses:
        known = analysis.cell.references
        if known["best_fixed"] is not None:
            arm = known["catalog"][known["best_fixed"]["arm"]]["name"]
            places.setdefault(arm, []).append(where(analysis, analyses).removeprefix(" at "))
    if sum(map(len, places.values())) < 2:
        return None
    if len(places) == 1:
        return Finding("One arm is the best fixed one throughout", f"It is {next(iter(places))}.")
    told = [
        f"{arm} at {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "") for arm, names in places.items()
    ]
    text = "; ".join(told[:3]) + ("; …" if told[3:] else ".")
    return Finding(f"{len(places)} different arms are the best fixed one", text)


def _replay(analyses: Sequence[Analysis]) -> Finding | None:
    rows = []
    still = [a for a in analyses if len(a.cell.references["segments"]) == 1 and not a.cell.references["holdout"]]
    for analysis, pair, _ in _learners(still):
        row, fixed = analysis.summary[pair.agent], analysis.summary[pair.other]
        extra = (row.reward_replayed - row.reward_fresh) - (fixed.reward_replayed - fixed.reward_fresh)
        if not math.isnan(extra):
            rows.append((analysis, (extra, row)))
    if not rows:
        return None
    analysis, (extra, row) = max(_recorded(rows), key=lambda found: found[1][0])
    if extra <= 0:
        return None
    return Finding(
        "Some of the learning is memory",
        f"{row.agent} earned {signed(row.reward_fresh)} a round on fresh queries and {signed(row.reward_replayed)} on "
        f"replayed ones{where(analysis, analyses)}, {signed(extra)} beyond what the best fixed arm shows. Fresh rounds "
        "come first, so part of it is learning that would carry over.",
        cell=analyses.index(analysis),
    )


def _recall(analyses: Sequence[Analysis]) -> Finding | None:
    """What a learner's lead at the end of the rounds says of new queries: learned or recalled."""
    rows = [
        (analysis, analysis.late_lead(pair.agent), analysis.summary[pair.agent])
        for analysis, pair, _ in _learners(analyses)
        if analysis.late_lead(pair.agent) > 0 and not math.isnan(analysis.summary[pair.agent].holdout)
    ]
    if not rows:
        return None
    lost = [row for row in rows if row[2].holdout < row[1] / 2]
    if not lost:
        analysis, _, row = max(rows, key=lambda found: found[2].holdout)
        return Finding(
            "What was learned holds on new queries",
            f"In the hold-out, whose queries no earlier round asked, {row.agent} leads the fixed arm chosen on the "
            f"other queries by {signed(row.holdout)} {span(row.holdout_qlo, row.holdout_qhi)} a round"
            f"{where(analysis, analyses)}. Every learner that leads in the last quarter of the rounds keeps at least "
            "half of that lead there.",
            "good" if row.holdout_qlo > 0 else "plain",
            analyses.index(analysis),
        )
    analysis, late, row = max(lost, key=lambda found: found[1] - found[2].holdout)
    return Finding(
        "Some of the learning is memory",
        f"In the last quarter of the rounds, where most queries come again, {row.agent} leads the best fixed arm by "
        f"{signed(late)} a round; in the hold-out, on queries that it was never asked, by {signed(row.holdout)} "
        f"{span(row.holdout_qlo, row.holdout_qhi)}{where(analysis, analyses)}.",
        "bad",
        analyses.index(analysis),
    )


def _stuck(analyses: Sequence[Analysis]) -> Finding | None:
    worst: dict[str, float] = {}
    for _, pair, row in _learners(analyses):
        if row.stuck > 0:
            worst[pair.agent] = max(worst.get(pair.agent, 0.0), row.stuck)
    if not worst:
        return None
    ordered = sorted(worst, key=lambda agent: -worst[agent])
    told = ", ".join(f"{agent} ({worst[agent]:.0%} of seeds)" for agent in ordered[:5])
    return Finding(
        f"{len(ordered)} learner{'s' * (len(ordered) > 1)} got stuck on a poor arm",
        f"At worst: {told}. Stuck means that one arm took over half of all rounds while regret in the last quarter was "
        "over 1.1 times the best fixed arm's.",
        "bad",
    )
