"""UniScale's own part of its report: what its data is, horizons, drifts, and the tables and figures of all cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from experiments import html
from experiments.config import Config
from experiments.html import interval, signed, table
from experiments.paper import page as shared
from experiments.paper.claims import Finding, counts
from experiments.paper.uniscale.claims import FEW, WARMUP, Claim
from experiments.paper.uniscale.figures import figures
from experiments.paper.uniscale.rows import OWN, AgentRow, HorizonRow, RecoveryRow, by_cell
from experiments.results import Cell, CellKey

MAIN = "uniscale_main"


def page(
    findings: Sequence[Finding[Claim]],
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
    seeds = max(len(cell.seeds) for part in cells.values() for cell in part)
    lead = f"""<p class="sub">The protocol of UniScale (arXiv 2605.30898) with {seeds} seeds, and with the first {FEW}
of them as in the paper. Its data is not public: the tree-search worlds are <b>simulated</b>, calibrated to published
accuracies and costs before any agent ran, and not changed since. Weights, cost normaliser, encoder, ridge and change
points are not published and are our choice (see the configs). With our fusion, query and arm features side by side, the
learner is <b>blind to the query</b>: no query can change its ranking of arms by predicted reward. The rows
<i>uniscale_kronecker</i> show the same learner with products of both, which can. Metrics count the rounds after the
{WARMUP} random ones,
regret all rounds.</p>
<p><span class="badge loud">A, B: simulated outcomes</span>
<span class="badge">LiveCodeBench: recorded correctness, assumed costs</span>
<span class="badge">Recorded: recorded outcomes</span></p>
{shared.left_out(skipped)}"""
    body = f"""<section class="cards">{_cards(findings, agents, cells.get(MAIN, ()))}</section>
{shared.claims(findings)}
{_horizons(horizons)}
{_recoveries(recoveries)}
{_configs(cells, configs, agents)}"""
    over = "Unified Inference Scaling · the paper's protocol"
    return html.document("UniScale reproduced (simulated)", over, "UniScale reproduced", lead, body)


def _cards(findings: Sequence[Finding[Claim]], agents: Sequence[AgentRow], cells: Sequence[Cell]) -> str:
    """Counts of verdicts over comparisons, and the baseline that matters."""
    cards = [("Published comparisons", f"{counts(findings)}.", "plain")]
    main = [row for row in agents if row.config == MAIN]
    learner = {cell.key: cell.of_kind(OWN) for cell in cells}
    own = [row for row in main if row.agent == learner[CellKey(row.world, row.scenario, row.preference)]]
    if own:
        lines = "; ".join(
            f"{row.world}, {row.preference}: {signed(row.fixed)} [{signed(row.fixed_lo)}, {signed(row.fixed_hi)}]"
            for row in own
        )
        behind = all(row.fixed_hi < 0 for row in own)
        title = "The best fixed arm beats UniScale" if behind else "UniScale against the best fixed arm"
        cards.append((title, f"UniScale minus the best single arm in hindsight, per round. {lines}.", "bad"))
    learners = [row for row in main if row.role == "learner" and not math.isnan(row.fixed)]
    if learners:
        best = max(learners, key=lambda row: row.fixed)
        text = (
            f"The nearest is {best.agent} ({best.world}, {best.preference}): "
            f"{signed(best.fixed)} [{signed(best.fixed_lo)}, {signed(best.fixed_hi)}]."
        )
        title = "No learner reaches the best fixed arm" if best.fixed_hi < 0 else "Learners and the best fixed arm"
        cards.append((title, text, "plain"))
    return html.cards(cards)


def _horizons(rows: Sequence[HorizonRow]) -> str:
    if not rows:
        return ""
    body = [
        f"<tr><td>{escape(row.world)}</td><td>{escape(row.preference)}</td>{html.name(row.agent)}<td>{row.horizon:,}</td>"
        f"<td>{row.reward:.4f}</td><td>{interval(row.fixed, row.fixed_lo, row.fixed_hi)}</td>"
        f"<td>{interval(row.context, row.context_lo, row.context_hi)}</td></tr>"
        for row in rows
        if row.role != "reference"
    ]
    head = (
        "<tr><th>world</th><th>mode</th><th class='name'>agent</th><th>rounds</th><th>reward</th>"
        "<th>− best fixed arm</th><th>− arm-only LinUCB (sees no query)</th></tr>"
    )
    return f"<h2>From when on context pays</h2>{table(head, body)}"


def _recoveries(rows: Sequence[RecoveryRow]) -> str:
    if not rows:
        return ""

    def wait(value: float, low: float, high: float, most: int) -> str:
        return f"<td>{'never' if value == most else f'{value:.0f}'} <small>[{low:.0f}, {high:.0f}]</small></td>"

    body = [
        f"<tr><td>{escape(row.world)}</td><td>{escape(row.preference)}</td><td>{escape(row.scenario)}</td>"
        f"<td>{row.change}</td>{html.name(row.agent)}<td>{html.plain(row.regret_before, 3)}</td>"
        f"<td>{html.plain(row.regret_after, 3)}</td><td>{html.plain(row.regret_end, 3)}</td>"
        f"{wait(row.recover, row.recover_lo, row.recover_hi, row.most)}"
        f"{wait(row.settle, row.settle_lo, row.settle_hi, row.most)}<td>{row.reward:.4f}</td>"
        f"<td>{interval(row.own, row.own_lo, row.own_hi)}</td><td>{row.accuracy:.1%}</td><td>{row.cost:,.1f}</td></tr>"
        for row in rows
        if row.role != "reference"
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
    return f"<h2>Drifts and recovery</h2><p class='caption'>{told}</p>{table(head, body)}"


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
            parts.append(_agents(cell, rows) + html.figures(drawn[cell.key]) + "</details>")
    return "\n".join(parts)


def _agents(cell: Cell, rows: Sequence[AgentRow]) -> str:
    body = [
        f'<tr class="{"reference" if row.role == "reference" else ""}">{html.name(row.agent)}'
        f"<td>{interval(row.reward, row.reward_lo, row.reward_hi, html.plain)}</td>"
        f"<td>{interval(row.fixed, row.fixed_lo, row.fixed_hi)}</td>"
        f"<td>{interval(row.own, row.own_lo, row.own_hi)}</td>"
        f"<td>{row.accuracy:.1%}</td><td>{_cost(row.cost)}</td><td>{_cost(row.cost_median)}</td>"
        f"<td>{two(row.regret_130)}</td><td>{interval(row.regret, row.regret_lo, row.regret_hi, two)}</td></tr>"
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
    return f"{table(head, body)}<p class='caption'>Expected reward over all rounds: {'; '.join(lines)}.</p>"


def two(value: float) -> str:
    """A number with two digits."""
    return html.plain(value, 2)


def _cost(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}" if value >= 1 else f"{value:.4f}"
