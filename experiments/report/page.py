"""The page: what it says without any script, and the places where the figures are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.analysis import Analysis
from experiments.report.data import payload
from experiments.report.findings import Finding, findings, signed, span
from experiments.report.sections import families, overview, ranked, who

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
        "a policy with full information on other queries, from the same context features: quality and cost regressed "
        "apart (or one fixed arm, where nothing else cross-validates), ten splits into five folds averaged, over the "
        "same best fixed arm as all gains. “No signal” when its interval over queries includes zero.",
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
        "95%, paired: over seeds by bootstrap (expanded percentiles), over seeds and queries by variance components "
        "(what seeds, queries and noise contribute).",
    ),
    (
        "p",
        "sign-flip test of the paired differences, Holm-corrected over every agent against the best fixed arm in all "
        "comparisons on this page (references left out). It assumes that differences would be symmetric about zero if "
        "there were none: with strongly skewed ones it rejects in up to 9% instead of 5%. Fewer than 6 seeds cannot "
        "reach .05.",
    ),
)


def page(analyses: Sequence[Analysis], manifest: Mapping[str, Any]) -> str:
    """The whole document: no request to any network, the same bytes for the same inputs."""
    name = str(manifest["config"]["name"])
    found = findings(analyses)
    start = next((finding.cell for finding in found if finding.cell is not None), 0)
    shown = payload(analyses) | {"name": name, "start": start}
    plain = json.dumps(shown, separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=False)
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
{"".join(_card(finding, analyses) for finding in found)}</section>
{overview(analyses) if several else ""}
{_picker(analyses) if several else ""}
<main>
{"".join(_facts(i, analysis) for i, analysis in enumerate(analyses))}
{_text("figures.html")}
{"".join(ranked(i, analysis) for i, analysis in enumerate(analyses))}
{"".join(families(i, analysis) for i, analysis in enumerate(analyses))}
</main>
{who(analyses, manifest)}
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


def _card(finding: Finding, analyses: Sequence[Analysis]) -> str:
    go = ""
    if finding.cell is not None and len(analyses) > 1:
        go = f' <button type="button" class="go needs-js" data-cell="{finding.cell}">Show this comparison</button>'
    return (
        f'<article class="card {finding.tone}"><h3>{escape(finding.title)}</h3><p>{escape(finding.text)}</p>{go}'
        "</article>\n"
    )


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
    fact("reward per round", "quality − λ·cost", known["phases"][0]["description"])
    if best:
        fact("best fixed arm", f"{best['value']:.3f}", known["catalog"][best["arm"]]["name"])
        interval = "" if ceiling["low"] is None else span(ceiling["low"], ceiling["high"])
        silent = ' <span class="badge loud">no signal</span>' if ceiling["no_signal"] else ""
        fact(
            "ceiling of the context",
            signed(ceiling["value"]) + silent,
            f"{interval} over the best fixed arm; {signed(ceiling['out_of_sample']['value'])} over other queries' best",
        )
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


def _manifest(manifest: Mapping[str, Any]) -> str:
    facts = ""
    for key, value in sorted(manifest.items()):
        if key in ("config", "agents", "format"):
            continue
        text = ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, Mapping) else str(value)
        facts += f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
    config = escape(json.dumps(manifest["config"], indent=1, ensure_ascii=False))
    return f"""<dl class="terms">{facts}</dl>
<details><summary>the config as resolved</summary><pre>{config}</pre></details>"""
