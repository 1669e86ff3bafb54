"""The tables of the page: agents by comparisons, agents ranked within one, and by family of queries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from experiments.analysis import Analysis, PairedRow, SummaryRow
from experiments.report.findings import LEVEL, p_value, signed
from experiments.results import PERCENTILES, Entrant
from experiments.tables import UNITS, percent

COLUMNS = 8
"""Most learners in the table of families."""


def overview(analyses: Sequence[Analysis]) -> str:
    """Agents by comparisons: the difference from the best fixed arm, shaded within each comparison."""
    versus = [
        {agent: row for agent, row in analysis.versus_best_fixed().items() if agent != analysis.cell.oracle}
        for analysis in analyses
    ]
    entrants = {agent: one for analysis in analyses for agent, one in analysis.cell.entrants.items()}
    places: dict[str, list[float]] = {}
    for rows in versus:
        for place, agent in enumerate(sorted(rows, key=lambda agent: -rows[agent].difference)):
            places.setdefault(agent, []).append(place / len(rows))
    if not places:
        return ""
    body = ""
    for agent in sorted(places, key=lambda a: (not entrants[a].own, sum(places[a]) / len(places[a]))):
        body += f'<tr class="{_kind(entrants[agent])}"><td class="name">{_breakable(agent)}</td>'
        for rows in versus:
            body += _shaded(rows[agent], rows.values()) if agent in rows else "<td></td>"
        body += "</tr>\n"
    return f"""<section>
<div class="bar"><h2>All comparisons</h2></div>
<div class="scroll"><table class="heat" data-file="comparisons"><thead>{_overview_head(analyses)}</thead>
<tbody>
{body}</tbody></table></div>
<p class="caption">Reward per round minus that of the best fixed arm of the same rounds; agents by mean rank, your
own first. Blue is better, orange worse; bold where the Holm-corrected p is below .05. Choose a column to look
closer.</p>
</section>"""


def _overview_head(analyses: Sequence[Analysis]) -> str:
    """A row per dimension that varies, equal neighbours joined; the last row's headings choose a comparison."""
    varied = [i for i in range(3) if len({analysis.key[i] for analysis in analyses}) > 1]
    head = ""
    for part in varied:
        cells = f'<th class="name">{"agent" if part == varied[-1] else ""}</th>'
        for _, group in groupby(range(len(analyses)), lambda i, end=part + 1: analyses[i].key[:end]):  # type: ignore[misc]
            members = list(group)
            first = analyses[members[0]]
            name = escape(first.key[part]) + (" (simulated)" if part == 0 and first.simulated else "")
            if part == varied[-1]:
                cells += "".join(f'<th><button type="button" data-cell="{i}">{name}</button></th>' for i in members)
            else:
                cells += f'<th colspan="{len(members)}">{name}</th>'
        head += f"<tr>{cells}</tr>"
    return head


def _shaded(row: PairedRow, column: Iterable[PairedRow]) -> str:
    largest = max(abs(other.difference) for other in column) or 1.0
    return _tinted(row.difference, largest, "clear" if row.p_holm < LEVEL else "")


def ranked(index: int, analysis: Analysis) -> str:
    """The ranked table of a comparison."""
    unit = UNITS.get(analysis.cell.references["cost_channel"] or "")
    versus = analysis.versus_best_fixed()
    head = [("#", "w1"), ("agent", "name"), ("reward", ""), ("vs best fixed", ""), ("Holm p", "w1"), ("quality", "")]
    head += [(f"cost, {unit.label}", "")] if unit else []
    seconds = tuple(PERCENTILES["latency"]) if "latency" in analysis.cell.references["channels"] else ()
    head += [(f"{name.removeprefix('latency_')}, s", "") for name in seconds]
    held = analysis.cell.references["holdout"] is not None
    head += [("hold-out", "")] if held else []
    head += [("gap closed", ""), ("fresh", "w1"), ("replayed", "w1"), ("optimal arm", "w2"), ("stuck", "w2")]
    rows = ""
    for rank, agent in enumerate(analysis.ranking(), 1):
        row, honest, pair = analysis.summary[agent], analysis.honesty[agent], versus.get(agent)
        entrant = analysis.cell.entrants[agent]
        half = f" <small>±{(row.reward_hi - row.reward_lo) / 2:.3f}</small>"
        cells = [
            _cell(rank, str(rank), "w1"),
            _cell(agent, "", "name"),
            _cell(row.reward, f"{row.reward:.3f}{'' if math.isnan(row.reward_lo) else half}"),
            _cell(pair.difference, signed(pair.difference), "clear" if pair.p_holm < LEVEL else "")
            if pair
            else _cell(0.0 if agent == analysis.cell.best_fixed else math.nan, "—"),
            _cell(
                pair.p_holm if pair else math.nan,
                p_value(pair.p_holm).removeprefix("p ").removeprefix("= ") if pair else "",
                "w1",
            ),
            _cell(row.quality, f"{row.quality:.3f}"),
            *([_cell(row.cost, f"{row.cost * unit.factor:#.3g}")] if unit else []),
            *(_cell(getattr(row, name), f"{getattr(row, name):.3g}") for name in seconds),
            *([_held(row)] if held else []),
            _cell(honest.oracle_share, percent(honest.oracle_share)),
            _cell(row.reward_fresh, f"{row.reward_fresh:.3f}", "w1"),
            _cell(row.reward_replayed, f"{row.reward_replayed:.3f}", "w1"),
            _cell(row.optimal_rate, percent(row.optimal_rate), "w2"),
            _cell(honest.stuck, percent(honest.stuck), "w2")
            if entrant.role == "learner"
            else _cell(math.nan, "", "w2"),
        ]
        rows += f'<tr class="{_kind(entrant)}">{"".join(cells)}</tr>\n'
    columns = "".join(f'<th class="{kind}"><button type="button">{escape(name)}</button></th>' for name, kind in head)
    return f"""<section class="cell" data-cell="{index}">
<div class="bar"><h2>Ranked</h2></div>
<div class="scroll"><table class="sortable" data-file="ranked-{index}"><thead><tr>{columns}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="caption">{_place(analysis)}. ± is half the 95% interval over seeds; bold where the Holm-corrected p is below
.05. References, in italics, see what no agent sees in production. Choose a heading to sort.</p>
</section>
"""


def _kind(entrant: Entrant) -> str:
    return entrant.role + " own" * entrant.own


def _held(row: SummaryRow) -> str:
    return _cell(row.holdout, signed(row.holdout), "clear" if row.holdout_qlo > 0 or row.holdout_qhi < 0 else "")


def families(index: int, analysis: Analysis) -> str:
    """Leads over the best fixed arm by family of queries; nothing where there is one family, or no such arm."""
    known = analysis.cell.references["families"]
    leads = analysis.by_family()
    if len(known["names"]) < 2 or not leads:
        return ""
    learners = [agent for agent in analysis.ranking() if agent in leads and analysis.cell.role(agent) == "learner"]
    agents = sorted(learners, key=lambda agent: not analysis.cell.entrants[agent].own)[:COLUMNS]
    head = "".join(f"<th>{_breakable(agent)}</th>" for agent in agents)
    largest = max((abs(lead) for agent in agents for lead in leads[agent] if not math.isnan(lead)), default=1.0) or 1.0
    body = ""
    for i, name in enumerate(known["names"]):
        cells = "".join(_tinted(leads[agent][i], largest) for agent in agents)
        count = sum(place == i for place in known["query"])
        arm = escape(known["arms"][i]) if known["arms"] else ""
        body += f'<tr><td class="name">{_breakable(name)}</td><td>{count}</td>{cells}<td class="name">{arm}</td></tr>\n'
    return f"""<section class="cell" data-cell="{index}">
<div class="bar"><h2>By family of queries</h2></div>
<div class="scroll"><table class="heat" data-file="families-{index}"><thead><tr><th class="name">family</th>
<th>queries</th>{head}<th class="name">its best fixed arm</th></tr></thead>
<tbody>
{body}</tbody></table></div>
<p class="caption">{_place(analysis)}. Mean reward per round minus that of the best fixed arm of all rounds, on the
rounds that ask queries of the family; the learners that rank highest. The last column is the arm that is best on the
family alone.</p>
</section>
"""


def who(analyses: Sequence[Analysis], manifest: Mapping[str, Any]) -> str:
    """What each agent is, with which settings, and whether it sees what no agent sees in production."""
    about = manifest.get("agents", {})
    entrants = {agent: one for analysis in analyses for agent, one in analysis.cell.entrants.items()}
    body = ""
    for agent in sorted(entrants, key=lambda agent: not entrants[agent].own):
        entrant, known = entrants[agent], about.get(agent, {})
        settings = ", ".join(f"{name} = {_setting(value)}" for name, value in known.get("options", {}).items())
        sees = "the whole tape or table" if entrant.role == "reference" else "its own arm's outcome"
        body += (
            f'<tr class="{_kind(entrant)}"><td class="name">{_breakable(agent)}</td>'
            f'<td class="text">{entrant.role}</td><td class="text">{escape(known.get("summary", ""))}</td>'
            f'<td class="text">{_breakable(settings)}</td><td class="text">{sees}</td></tr>\n'
        )
    return f"""<section>
<div class="bar"><h2>The agents</h2></div>
<div class="scroll"><table data-file="agents"><thead><tr><th class="name">agent</th><th class="text">role</th>
<th class="text">what it is</th><th class="text">settings</th><th class="text">sees</th></tr></thead>
<tbody>
{body}</tbody></table></div>
<p class="caption">Settings hold every option, defaults resolved. A reference sees what no agent sees in production; a
baseline learns nothing; learners are what the comparison is about.</p>
</section>
"""


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _tinted(value: float, largest: float, kind: str = "") -> str:
    """A cell with a difference, shaded by its sign and its size beside the largest one."""
    if math.isnan(value):
        return "<td></td>"
    colour, strength = "good" if value > 0 else "bad", round(55 * math.sqrt(abs(value) / largest))
    shade = f"background:color-mix(in srgb,var(--{colour}) {strength}%,transparent)"
    return f'<td class="{kind}" style="{shade}">{signed(value)}</td>'


def _cell(value: float | str, text: str, kind: str = "") -> str:
    """A cell that shows `text` and sorts by `value`; NaN shows nothing."""
    if isinstance(value, str):
        return f'<td class="{kind}" data-value="{escape(value)}">{_breakable(value)}</td>'
    if math.isnan(value):
        return f'<td class="{kind}" data-value="">{text if text == "—" else ""}</td>'
    return f'<td class="{kind}" data-value="{value:.6g}">{text.replace("-", "−")}</td>'


def _breakable(name: str) -> str:
    """A name that may be broken after underscores."""
    return escape(name).replace("_", "_<wbr>")


def _place(analysis: Analysis) -> str:
    """The name of a comparison; a simulated world says so."""
    world, scenario, preference = (escape(part) for part in analysis.key)
    return f"{world}{' (simulated)' if analysis.simulated else ''} · {scenario} · {preference}"
