"""The page: what it says without any script, and the places where the figures are drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from experiments.analysis import Analysis, PairedRow
from experiments.report.data import payload
from experiments.report.findings import LEVEL, findings, p_value, signed, span
from experiments.results import PERCENTILES
from experiments.tables import UNITS, percent

HERE = Path(__file__).parent
DIMENSIONS = ("world", "scenario", "preference")

TERMS = (
    ("reward", "quality − λ·cost (or the weights shown), mean per round; a pilot's cost is charged."),
    (
        "best fixed arm",
        "per seed the single arm with the highest summed expected reward on that very tape, among the arms on offer in "
        "every round: known only in hindsight, and the baseline that matters.",
    ),
    ("fixed_elsewhere", "every query with the arm that was best on the other query folds."),
    (
        "table oracle",
        "the best arm per query by the table's own expectation; optimistic where sample pools are finite: luck counts.",
    ),
    (
        "cross-fitted oracle",
        "sample pools split in halves, the arm chosen on one half and valued on the other; a lower bound.",
    ),
    (
        "ceiling",
        "five query folds: ridge regression per arm on the same context features with full information on the other "
        "folds, against the fixed arm of the same folds. “No signal” when its interval over queries includes zero.",
    ),
    (
        "gap closed",
        "share of the way from the best fixed arm to the table oracle, in expected reward on the same tapes; blank "
        "where the interval of the gap includes zero.",
    ),
    ("fresh, replayed", "rounds on a query asked for the first time, and all others."),
    (
        "stuck",
        "share of seeds that spend over half of all rounds on one arm while regret in the last quarter is over 1.1 "
        "times the best fixed arm's.",
    ),
    (
        "intervals",
        "95% bootstrap intervals (expanded percentiles) over seeds, paired by seed, or over seeds and queries at once.",
    ),
    (
        "p",
        "sign-flip test of the paired differences, Holm-corrected over every agent against the best fixed arm in all "
        "comparisons on this page (references left out).",
    ),
)


def page(analyses: Sequence[Analysis], manifest: Mapping[str, Any]) -> str:
    """The whole document: no request to any network, the same bytes for the same inputs."""
    name = str(manifest["config"]["name"])
    plain = json.dumps(payload(analyses), separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=False)
    scripts = "".join(f"<script>\n{_text(part)}</script>\n" for part in ("charts.js", "figures.js", "page.js"))
    several = len(analyses) > 1
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)}: agents compared</title>
<style>
{_text("style.css")}</style>
</head>
<body>
<div class="page">
{_header(analyses, manifest)}
<section class="cards" aria-label="findings">
{"".join(_card(*finding) for finding in findings(analyses))}</section>
{_overview(analyses) if several else ""}
{_picker(analyses) if several else ""}
<main>
{"".join(_facts(i, analysis) for i, analysis in enumerate(analyses))}
{FIGURES}
{"".join(_table(i, analysis) for i, analysis in enumerate(analyses))}
</main>
<section>
<h2>What the words mean</h2>
<dl class="terms">{"".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in TERMS)}</dl>
</section>
<section>
<h2>What was run</h2>
{_manifest(manifest)}
</section>
</div>
<div id="tip" role="tooltip"></div>
<script type="application/json" id="data">{plain.replace("<", chr(92) + "u003c")}</script>
{scripts}</body>
</html>
"""


FIGURES = """
<div class="figures needs-js">
<figure id="forest-figure" class="wide">
<h3>Against the best fixed arm</h3>
<div id="forest"></div>
<figcaption>Difference in mean reward per round, paired by seed. Thick bars: 95% over seeds; thin: over seeds and
queries. Filled: Holm-corrected p below .05. Arrows lie off the scale. Below the line: what could be had.</figcaption>
</figure>
<figure class="wide">
<header><h3>Over the rounds</h3>
<div class="segments" id="kinds">
<button type="button" value="lead" aria-pressed="true">lead over best fixed arm</button>
<button type="button" value="regret" aria-pressed="false">regret</button>
</div></header>
<div class="chips" id="chips"></div>
<div id="curves"></div>
<figcaption>Summed over the rounds, in expected reward (the luck of draws is out of it), a pilot's charge from the
start; bands are 95% over seeds. Dashed verticals: conditions change. Thin grey: learners not chosen.</figcaption>
</figure>
<figure id="plane-figure">
<h3>Quality and cost</h3>
<div id="plane"></div>
<div class="legend">
<span><i class="ring" style="color:var(--n1)"></i>references and baselines</span>
<span><i class="box" style="background:var(--n2);border-radius:50%;height:7px;width:7px"></i>fixed arms</span>
<span><i style="border-color:var(--n0)"></i>best coin tosses between fixed arms</span>
<span><i style="border-top-style:dashed;border-color:var(--n1)"></i>coin between cheapest and best-quality arm</span>
<span><i style="border-top-style:dotted;border-color:var(--n1)"></i>table oracle at every λ</span>
</div>
<figcaption>Means per round. An agent above the solid line does better than any mixture of fixed arms at the same
cost.</figcaption>
</figure>
<figure id="replay-figure">
<h3>Fresh and replayed queries</h3>
<div id="replay"></div>
<div class="legend"><span><i class="ring" style="color:var(--muted)"></i>fresh</span>
<span><i class="box" style="background:var(--muted);border-radius:50%"></i>replayed</span></div>
<figcaption>What an agent earns only on queries it has seen is memory. Fresh rounds come first, so some of the
distance is learning; the best fixed arm shows how much is neither. Where conditions change, so does what rounds
pay.</figcaption>
</figure>
<figure class="wide">
<header><h3>Which arms are played</h3>
<div class="segments" id="dimensions">
<button type="button" value="model" aria-pressed="true">model</button>
<button type="button" value="method" aria-pressed="false">method</button>
<button type="button" value="budget" aria-pressed="false">budget</button>
</div></header>
<div class="legend" id="shares-legend"></div>
<div id="shares"></div>
<figcaption>Share of all seeds' rounds (0 to 100%, upwards) from the first round to the last.</figcaption>
</figure>
</div>
"""


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _header(analyses: Sequence[Analysis], manifest: Mapping[str, Any]) -> str:
    config = manifest["config"]
    agents = dict.fromkeys(agent for analysis in analyses for agent in analysis.cell.agents)
    cell = analyses[0].cell
    kinds = {analysis.key.world: analysis.simulated for analysis in analyses}
    badges = "".join(
        f'<span class="badge{" loud" if simulated else ""}">{escape(world)}: '
        f"{'simulated' if simulated else 'recorded'} outcomes</span>"
        for world, simulated in kinds.items()
    )
    counts = [
        _count(len(agents), "agent"),
        _count(len(analyses), "comparison"),
        _count(len(cell.seeds), "seed"),
        _count(cell.rounds, "round"),
    ]
    return f"""<header>
<div class="over">Unified Inference Scaling · paired comparison</div>
<h1>{escape(str(config["name"]))}</h1>
<p class="sub">{escape(str(config.get("description", "")))}</p>
<p><b>{" × ".join(counts)}</b></p>
<p>{badges}</p>
</header>"""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _card(title: str, text: str, tone: str) -> str:
    return f'<article class="card {tone}"><h3>{escape(title)}</h3><p>{escape(text)}</p></article>\n'


def _place(analysis: Analysis) -> str:
    """The name of a comparison; a simulated world says so."""
    world, scenario, preference = (escape(part) for part in analysis.key)
    return f"{world}{' (simulated)' if analysis.simulated else ''} · {scenario} · {preference}"


def _overview(analyses: Sequence[Analysis]) -> str:
    """Agents by comparisons: the difference from the best fixed arm, shaded within each comparison."""
    versus = [
        {agent: row for agent, row in analysis.versus_best_fixed().items() if agent != analysis.cell.oracle}
        for analysis in analyses
    ]
    roles = {agent: one.role for analysis in analyses for agent, one in analysis.cell.entrants.items()}
    places: dict[str, list[float]] = {}
    for rows in versus:
        for place, agent in enumerate(sorted(rows, key=lambda agent: -rows[agent].difference)):
            places.setdefault(agent, []).append(place / len(rows))
    if not places:
        return ""
    body = ""
    for agent in sorted(places, key=lambda agent: sum(places[agent]) / len(places[agent])):
        body += f'<tr class="{roles[agent]}"><td class="name">{_breakable(agent)}</td>'
        for rows in versus:
            body += _shaded(rows[agent], rows.values()) if agent in rows else "<td></td>"
        body += "</tr>\n"
    return f"""<section>
<h2>All comparisons</h2>
<div class="scroll"><table class="heat"><thead>{_overview_head(analyses)}</thead>
<tbody>
{body}</tbody></table></div>
<p class="caption">Reward per round minus that of the best fixed arm of the same rounds; agents by mean rank. Blue is
better, orange worse; bold where the Holm-corrected p is below .05. Choose a column to look closer.</p>
</section>"""


def _shaded(row: PairedRow, column: Iterable[PairedRow]) -> str:
    largest = max(abs(other.difference) for other in column) or 1.0
    strength = round(55 * math.sqrt(abs(row.difference) / largest))
    colour = "good" if row.difference > 0 else "bad"
    return (
        f'<td class="{"clear" if row.p_holm < LEVEL else ""}" '
        f'style="background:color-mix(in srgb,var(--{colour}) {strength}%,transparent)">{signed(row.difference)}</td>'
    )


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


def _picker(analyses: Sequence[Analysis]) -> str:
    groups = ""
    simulated = {analysis.key.world for analysis in analyses if analysis.simulated}
    for part, dimension in enumerate(DIMENSIONS):
        names = list(dict.fromkeys(analysis.key[part] for analysis in analyses))
        if len(names) == 1:
            continue
        buttons = "".join(
            f'<button type="button" data-part="{part}" data-name="{escape(name)}" aria-pressed="false">{escape(name)}'
            f"{' (simulated)' if part == 0 and name in simulated else ''}</button>"
            for name in names
        )
        groups += f'<div class="segments"><span class="over">{dimension}</span>{buttons}</div>'
    return f'<nav class="picker needs-js" id="picker" aria-label="comparison">{groups}</nav>'


def _facts(index: int, analysis: Analysis) -> str:
    """The numbers that frame a comparison."""
    known = analysis.cell.references
    counts = known["counts"]
    facts = []

    def fact(term: str, value: str, text: str) -> None:
        facts.append(f'<div><span class="over">{term}</span><b>{value}</b><span>{escape(text)}</span></div>')

    best, cross, ceiling = known["best_fixed"], known["cross_fitted"], known["ceiling"]
    if best:
        fact("best fixed arm", f"{best['value']:.3f}", known["catalog"][best["arm"]]["name"])
        interval = "" if ceiling["low"] is None else span(ceiling["low"], ceiling["high"])
        silent = ' <span class="badge loud">no signal</span>' if ceiling["no_signal"] else ""
        fact("ceiling of the context", signed(ceiling["value"]) + silent, f"{interval} over a fixed arm")
    if cross:
        fact("cross-fitted oracle", f"{cross['value']:.3f}", f"lower bound; {cross['arms']} arms both halves can value")
    told = "optimistic: finite pools reward luck" if cross else "the best arm for each query, by the table"
    fact("table oracle", f"{known['oracle']['value']:.3f}", told)
    world = f"{counts['arms']} arms, {counts['draws']} draws each"
    if known["verifier"]:
        world += f"; verifier: {known['verifier'].partition(';')[0]}"
    fact("queries", f"{counts['queries']:,}", world)
    phases = ""
    if len(known["phases"]) > 1:
        items = "".join(f"<li>{escape(p['description'])} ({p['share']:.0%} of rounds)</li>" for p in known["phases"])
        phases = f"<p class='caption'>Conditions change during an episode:</p><ol class='caption'>{items}</ol>"
    loud = ' <span class="badge loud">simulated</span>' if analysis.simulated else ""
    return f"""<section class="cell" data-cell="{index}">
<h2>{" · ".join(escape(part) for part in analysis.key)}{loud}</h2>
<div class="facts">{"".join(facts)}</div>{phases}
</section>
"""


def _table(index: int, analysis: Analysis) -> str:
    """The ranked table of a comparison."""
    unit = UNITS.get(analysis.cell.references["cost_channel"] or "")
    versus = analysis.versus_best_fixed()
    head = [("#", "w1"), ("agent", "name"), ("reward", ""), ("vs best fixed", ""), ("Holm p", "w1"), ("quality", "")]
    head += [(f"cost, {unit.label}", "")] if unit else []
    seconds = tuple(PERCENTILES["latency"]) if "latency" in analysis.cell.references["channels"] else ()
    head += [(f"{name.removeprefix('latency_')}, s", "") for name in seconds]
    head += [("gap closed", ""), ("fresh", "w1"), ("replayed", "w1"), ("optimal arm", "w2"), ("stuck", "w2")]
    rows = ""
    for rank, agent in enumerate(analysis.ranking(), 1):
        row, honest, pair = analysis.summary[agent], analysis.honesty[agent], versus.get(agent)
        role = analysis.cell.role(agent)
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
            _cell(honest.oracle_share, percent(honest.oracle_share)),
            _cell(row.reward_fresh, f"{row.reward_fresh:.3f}", "w1"),
            _cell(row.reward_replayed, f"{row.reward_replayed:.3f}", "w1"),
            _cell(row.optimal_rate, percent(row.optimal_rate), "w2"),
            _cell(honest.stuck, percent(honest.stuck), "w2") if role == "learner" else _cell(math.nan, "", "w2"),
        ]
        rows += f'<tr class="{role}">{"".join(cells)}</tr>\n'
    columns = "".join(f'<th class="{kind}"><button type="button">{escape(name)}</button></th>' for name, kind in head)
    return f"""<section class="cell" data-cell="{index}">
<h2>Ranked</h2>
<div class="scroll"><table class="sortable"><thead><tr>{columns}</tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="caption">{_place(analysis)}. ± is half the 95% interval over seeds; bold where the Holm-corrected p is below
.05. References, in italics, see what no agent sees in production. Choose a heading to sort.</p>
</section>
"""


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


def _manifest(manifest: Mapping[str, Any]) -> str:
    facts = ""
    for key, value in sorted(manifest.items()):
        if key == "config":
            continue
        told = ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, Mapping) else str(value)
        facts += f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(told)}</dd>"
    config = escape(json.dumps(manifest["config"], indent=1, ensure_ascii=False))
    return f"""<dl class="terms">{facts}</dl>
<details><summary>the config as resolved</summary><pre>{config}</pre></details>"""
