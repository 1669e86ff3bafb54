"""Latency- and token-aware test-time compute (arXiv 2509.09864): sweeps over prices of tokens and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from experiments import html
from experiments.config import Config
from experiments.paper import page as shared
from experiments.paper.claims import Finding, counts
from experiments.paper.latency.claims import CLAIMS, Claim, find
from experiments.paper.protocol import Protocol
from experiments.sweeps import report
from experiments.sweeps.measures import Sweep
from experiments.sweeps.rows import area_rows


def files(
    findings: Sequence[Finding[Claim]],
    cells: Mapping[str, Sequence[Sweep]],
    configs: Mapping[str, Config],
    skipped: Mapping[str, str],
) -> Mapping[str, str]:
    """The report, and the tables of all sweeps."""
    made = report.files([sweep for own in cells.values() for sweep in own])
    lead = f"""<p class="sub">The protocol of "Latency and Token-Aware Test-Time Compute" (arXiv 2509.09864): every
price of tokens and of seconds, all policies on common questions that the training queries are not among. Its runs are
not public as a table: the worlds math500 and numina are <b>simulated</b>, calibrated to the published accuracies,
tokens and seconds of the configurations before any agent ran, and not changed since. How much the simulated embedding
tells of a query is our choice, and decides what an adaptive policy can gain.</p>
<p><span class="badge loud">math500, numina: simulated outcomes</span>
<span class="badge">Recorded: recorded outcomes</span></p>
{shared.left_out(skipped)}"""
    own = ", ".join(
        f'<a href="{escape(name)}/report.html">{escape(name)}</a> ({escape(config.description)})'
        for name, config in configs.items()
    )
    body = f"""<section class="cards">{_cards(findings, [sweep for part in cells.values() for sweep in part])}</section>
{shared.claims(findings)}
{made.sections}
{report.terms()}
<p class="caption">Runs: {own}.</p>"""
    over = "Unified Inference Scaling · the paper's protocol"
    title = "Latency- and token-aware compute reproduced"
    return {"report.html": html.document(f"{title} (simulated)", over, title, lead, body), **made.tables}


def _cards(findings: Sequence[Finding[Claim]], sweeps: Sequence[Sweep]) -> str:
    """Counts of verdicts, what the probe gains, and what could be gained."""
    items = [("Published comparisons", f"{counts(findings)}.", "plain")]
    for policy, title in (
        ("probe", "What the probe gains at equal tokens"),
        ("oracle_cross_fitted", "What an oracle would gain (cross-fitted)"),
    ):
        told = []
        for sweep in sweeps:
            rows = {row.policy: row for row in area_rows(sweep) if row.axis == "tokens"}
            if policy in rows:
                row = rows[policy]
                ends = f"[{100 * row.difference_lo:+.1f}, {100 * row.difference_hi:+.1f}]"
                told.append(f"{row.world}: {100 * row.difference:+.1f} {ends}".replace("-", "−"))
        if told:
            items.append((title, f"Points of accuracy against static configurations. {'; '.join(told)}.", "plain"))
    return html.cards(items)


PROTOCOL = Protocol(
    name="latency",
    title="Latency- and token-aware test-time compute",
    told="Choosing the method and its samples per query at explicit prices of tokens and seconds (arXiv 2509.09864).",
    configs=("latency_sweep", "latency_recorded"),
    claims=CLAIMS,
    claim=Claim,
    find=find,
    files=files,
)
