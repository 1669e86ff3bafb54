"""The report: what was published beside what we measured, where they disagree, and the tables and figures behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from experiments import report
from experiments.analysis import REFERENCES
from experiments.config import Config
from experiments.paper.claims import FEW, WARMUP, Claim, Finding, formatted
from experiments.paper.figures import Figure, figures
from experiments.paper.measures import Estimate
from experiments.paper.rows import AgentRow, HorizonRow, RecoveryRow, by_cell
from experiments.results import Cell, CellKey

VERDICTS = {
    "yes": "our interval holds the published number, or lies on the side that was claimed in words",
    "sign only": "our interval lies on the published side of zero (of one, for ratios), but elsewhere",
    "open": "our interval includes zero (one)",
    "no": "our interval lies on the other side; for a value of its own, does not hold the published number",
}


def page(
    findings: Sequence[Finding],
    cells: Mapping[str, Sequence[Cell]],
    configs: Mapping[str, Config],
    agents: Sequence[AgentRow],
    recoveries: Sequence[RecoveryRow],
    horizons: Sequence[HorizonRow],
    skipped: Mapping[str, str],
) -> str:
    """The whole document, self-contained.

    Args:
        findings: every claim in every world.
        cells: by name of the config.
        configs: by name.
        agents: rows of the tables by cell.
        recoveries: rows of the table of drifts.
        horizons: rows of the table of horizons.
        skipped: config -> why it was not run.
    """
    style = (Path(report.__file__).parent / "style.css").read_text(encoding="utf-8")
    left_out = "".join(f"<p><b>Not run: {escape(name)}.</b> {escape(why)}</p>" for name, why in skipped.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>UniScale reproduced (simulated)</title>
<style>
{style}td.text {{ text-align: left; white-space: normal; min-width: 220px; }}
</style>
</head>
<body>
<div class="page">
<header>
<div class="over">Unified Inference Scaling · the paper's protocol</div>
<h1>UniScale reproduced</h1>
<p class="sub">The protocol of UniScale (arXiv 2605.30898) with {_most_seeds(cells)} seeds, and with the first {FEW} of
them as in the paper. Its data is not public: the tree-search worlds are <b>simulated</b>, calibrated to published
accuracies and costs before any agent ran, and not changed since. Weights, cost normaliser, encoder, ridge and change
points are not published and are our choice (see the configs). Metrics count the rounds after the {WARMUP} random ones,
regret all rounds.</p>
<p><span class="badge loud">A, B: simulated outcomes</span>
<span class="badge">LiveCodeBench: recorded correctness, assumed costs</span>
<span class="badge">Recorded: recorded outcomes</span></p>
{left_out}</header>
<section class="cards">{_cards(findings, agents)}</section>
<h2>Claims</h2>
<dl class="terms">{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in VERDICTS.items())}</dl>
{_claims(findings)}
<h2>Where we disagree, and why</h2>
{_disagreements(findings)}
{_horizons(horizons)}
{_recoveries(recoveries)}
{_configs(cells, configs, agents)}
</div>
</body>
</html>
"""


def _most_seeds(cells: Mapping[str, Sequence[Cell]]) -> int:
    return max(len(cell.seeds) for part in cells.values() for cell in part)


def _cards(findings: Sequence[Finding], agents: Sequence[AgentRow]) -> str:
    """Counts of verdicts over comparisons, and the baseline that matters."""
    compared = [finding for finding in findings if finding.claim.other is not None]
    counts = {verdict: sum(finding.verdict == verdict for finding in compared) for verdict in VERDICTS}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    cards = [
        ("Published comparisons", f"{len(compared)} (claim, world) pairs: {told}.", "plain"),
    ]
    own = [row for row in agents if row.config == "uniscale_main" and row.agent == "uniscale"]
    if own:
        lines = "; ".join(
            f"{row.world}, {row.preference}: {signed(row.fixed)} [{signed(row.fixed_lo)}, {signed(row.fixed_hi)}]"
            for row in own
        )
        behind = all(row.fixed_hi < 0 for row in own)
        title = "The best fixed arm beats UniScale" if behind else "UniScale against the best fixed arm"
        cards.append((title, f"UniScale minus the best single arm in hindsight, per round. {lines}.", "bad"))
    learners = [
        row
        for row in agents
        if row.config == "uniscale_main" and row.agent not in (*REFERENCES, "random") and not math.isnan(row.fixed)
    ]
    if learners:
        best = max(learners, key=lambda row: row.fixed)
        text = (
            f"The nearest is {best.agent} ({best.world}, {best.preference}): "
            f"{signed(best.fixed)} [{signed(best.fixed_lo)}, {signed(best.fixed_hi)}]."
        )
        title = "No learner reaches the best fixed arm" if best.fixed_hi < 0 else "Learners and the best fixed arm"
        cards.append((title, text, "plain"))
    return "".join(
        f'<article class="card {tone}"><h3>{escape(title)}</h3><p>{escape(text)}</p></article>\n'
        for title, text, tone in cards
    )


def _claims(findings: Sequence[Finding]) -> str:
    """One table per section: claim, published, and per world ours with its verdict, for all seeds and for few."""
    parts = []
    for section in dict.fromkeys(finding.section for finding in findings):
        own = [finding for finding in findings if finding.section is section]
        worlds = list(dict.fromkeys(finding.world for finding in own))
        seeds = own[0].seeds
        header = "".join(
            f"<th>{escape(world)}{' (simulated)' if _simulated(own, world) else ''}, {seeds} seeds: ours, agrees?</th>"
            f"<th>{FEW} seeds</th>"
            for world in worlds
        )
        rows = []
        for claim in section.claims:
            write = formatted(claim)
            mode = f" <small>{escape(claim.preference)}</small>"
            line = [f'<td class="text">{escape(claim.text)}{mode}</td>']
            line.append(f"<td>{_published(claim)}</td>")
            for world in worlds:
                finding = next(f for f in own if f.claim is claim and f.world == world)
                line.append(f"<td>{_estimate(finding.ours, write)}<br>{_verdict(finding.verdict)}</td>")
                line.append(f"<td>{_estimate(finding.few, write)}<br>{_verdict(finding.few_verdict)}</td>")
            rows.append("<tr>" + "".join(line) + "</tr>")
        note = f'<p class="caption">{escape(section.note)}</p>' if section.note else ""
        head = f'<tr><th class="name">claim</th><th>published</th>{header}</tr>'
        parts.append(f"<h3>{escape(section.title)}</h3>{note}{_table(head, rows)}")
    return "\n".join(parts)


def _simulated(findings: Iterable[Finding], world: str) -> bool:
    return any(finding.simulated for finding in findings if finding.world == world)


def _disagreements(findings: Sequence[Finding]) -> str:
    """Comparisons that came out the other way or open, with what is known of the reason."""
    rows = [
        f'<tr><td class="text">{escape(f.section.title)}: {escape(f.claim.text)}</td><td>{escape(f.world)}</td>'
        f"<td>{_published(f.claim)}</td>"
        f"<td>{_estimate(f.ours, formatted(f.claim))}</td><td>{_verdict(f.verdict)}</td>"
        f'<td class="text">{escape(f.claim.why)}</td></tr>'
        for f in findings
        if f.claim.other is not None and f.verdict in ("no", "open")
    ]
    if not rows:
        return "<p>Nowhere, among comparisons.</p>"
    head = (
        '<tr><th class="name">claim</th><th>world</th><th>published</th><th>ours</th><th>agrees?</th><th>why</th></tr>'
    )
    return _table(head, rows)


def _horizons(rows: Sequence[HorizonRow]) -> str:
    if not rows:
        return ""
    body = [
        f"<tr><td>{escape(row.world)}</td><td>{escape(row.preference)}</td>{_name(row.agent)}<td>{row.horizon:,}</td>"
        f"<td>{row.reward:.4f}</td><td>{_interval(row.fixed, row.fixed_lo, row.fixed_hi)}</td>"
        f"<td>{_interval(row.context, row.context_lo, row.context_hi)}</td></tr>"
        for row in rows
        if row.agent not in REFERENCES
    ]
    head = (
        "<tr><th>world</th><th>mode</th><th class='name'>agent</th><th>rounds</th><th>reward</th>"
        "<th>− best fixed arm</th><th>− its like without a query (arm_only)</th></tr>"
    )
    return f"<h2>From when on context pays</h2>{_table(head, body)}"


def _recoveries(rows: Sequence[RecoveryRow]) -> str:
    if not rows:
        return ""

    def wait(value: float, low: float, high: float, most: int) -> str:
        return f"<td>{'never' if value == most else f'{value:.0f}'} <small>[{low:.0f}, {high:.0f}]</small></td>"

    body = [
        f"<tr><td>{escape(row.world)}</td><td>{escape(row.preference)}</td><td>{escape(row.scenario)}</td>"
        f"<td>{row.change}</td>{_name(row.agent)}<td>{plain(row.regret_before, 3)}</td>"
        f"<td>{plain(row.regret_after, 3)}</td><td>{plain(row.regret_end, 3)}</td>"
        f"{wait(row.recover, row.recover_lo, row.recover_hi, row.most)}"
        f"{wait(row.settle, row.settle_lo, row.settle_hi, row.most)}<td>{row.reward:.4f}</td>"
        f"<td>{_interval(row.own, row.own_lo, row.own_hi)}</td><td>{row.accuracy:.1%}</td><td>{row.cost:,.1f}</td></tr>"
        for row in rows
        if row.agent not in REFERENCES
    ]
    head = (
        "<tr><th>world</th><th>from mode</th><th>drift</th><th>at round</th><th class='name'>agent</th>"
        "<th>regret before</th><th>after</th><th>at the end</th><th>rounds to recover</th><th>to settle</th>"
        "<th>reward</th><th>− UniScale</th><th>accuracy</th><th>cost</th></tr>"
    )
    told = (
        "Regret per round over the 30 rounds before a change, after it, and before the next one. Recovered: regret "
        "over 30 rounds, as a share of the random policy's under the same conditions, is within a tenth of what it was "
        "before the change. Settled: regret over 30 rounds is within a tenth of that at the end. 0: nothing was lost."
    )
    return f"<h2>Drifts and recovery</h2><p class='caption'>{told}</p>{_table(head, body)}"


def _configs(cells: Mapping[str, Sequence[Cell]], configs: Mapping[str, Config], agents: Sequence[AgentRow]) -> str:
    parts = []
    for name, own in cells.items():
        described = escape(configs[name].description)
        link = f'<a href="{escape(name)}/report.html">its own report</a>'
        parts.append(f"<h2>{escape(name)}</h2><p class='caption'>{described}; {link}</p>")
        drawn = {cell.key: charts for cell, charts in figures(name, own)}
        for key, rows in by_cell([row for row in agents if row.config == name]).items():
            cell = next(cell for cell in own if cell.key == CellKey(*key))
            simulated = " (simulated)" if rows[0].simulated else ""
            parts.append(f"<details><summary>{escape(cell.key.label)}{simulated}</summary>")
            parts.append(_agents(cell, rows) + _figures(drawn[cell.key]) + "</details>")
    return "\n".join(parts)


def _agents(cell: Cell, rows: Sequence[AgentRow]) -> str:
    body = [
        f'<tr class="{"reference" if row.agent in REFERENCES else ""}">{_name(row.agent)}'
        f"<td>{_interval(row.reward, row.reward_lo, row.reward_hi, plain)}</td>"
        f"<td>{_interval(row.fixed, row.fixed_lo, row.fixed_hi)}</td>"
        f"<td>{_interval(row.own, row.own_lo, row.own_hi)}</td>"
        f"<td>{row.accuracy:.1%}</td><td>{_cost(row.cost)}</td><td>{_cost(row.cost_median)}</td>"
        f"<td>{plain(row.regret_130, 2)}</td><td>{_interval(row.regret, row.regret_lo, row.regret_hi, two)}</td></tr>"
        for row in rows
    ]
    unit = {"eflops": "tera-eFLOPs", "dollars": "USD"}.get(cell.references["cost_channel"] or "", "")
    head = (
        "<tr><th class='name'>agent</th><th>reward</th><th>− best fixed arm</th><th>− UniScale</th><th>accuracy</th>"
        f"<th>mean cost, {unit}</th><th>median cost</th><th>regret@130</th><th>regret@{cell.rounds}</th></tr>"
    )
    known = cell.references
    lines = [
        f"{label} {known[name]['value']:.4f}"
        for name, label in (
            ("best_fixed", "best fixed arm"),
            ("group_oracle", "best arm per level or group"),
            ("cross_fitted", "cross-fitted oracle"),
            ("oracle", "table oracle (optimistic)"),
        )
        if known[name] is not None
    ]
    body = [row.replace(" <small>", "<br><small>") for row in body]
    return f"{_table(head, body)}<p class='caption'>Expected reward over all rounds: {'; '.join(lines)}.</p>"


def _figures(drawn: Sequence[Figure]) -> str:
    return '<div class="figures">' + "".join(
        f"<figure><h3>{escape(title)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        for title, svg, caption in drawn
    ) + "</div>"  # fmt: skip


def _table(head: str, rows: Sequence[str]) -> str:
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _name(agent: str) -> str:
    return f'<td class="name">{escape(agent)}</td>'


def _verdict(verdict: str) -> str:
    colour = {"yes": "var(--good)", "sign only": "var(--good)", "no": "var(--bad)"}.get(verdict, "var(--muted)")
    return f'<span style="color:{colour}">{escape(verdict)}</span>'


def _published(claim: Claim) -> str:
    return str(claim.expect) if claim.published is None else formatted(claim)(claim.published)


def _estimate(ours: Estimate, write: Callable[[float], str]) -> str:
    spread = "" if math.isnan(ours.low) else f" <small>[{write(ours.low)}, {write(ours.high)}]</small>"
    return f"{write(ours.value)}{spread}"


def _interval(value: float, low: float, high: float, write: Callable[[float], str] | None = None) -> str:
    if math.isnan(value):
        return ""
    return _estimate(Estimate(value, low, high), write or signed)


def signed(value: float) -> str:
    """A difference in reward."""
    return f"{value:+.4f}".replace("-", "−")


def plain(value: float, digits: int = 4) -> str:
    """A number; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def two(value: float) -> str:
    """A number with two digits."""
    return plain(value, 2)


def _cost(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}" if value >= 1 else f"{value:.4f}"
