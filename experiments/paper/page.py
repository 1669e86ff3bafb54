"""What the pages of all protocols share: claims beside what we measured, disagreements, and the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments import html
from experiments.paper.claims import STATUS, VERDICTS, Claim, Finding, counts


def claims(findings: Sequence[Finding[Any]]) -> str:
    """The verdicts explained, and one table per section: claim, published, and per world ours with its verdict."""
    parts = ["<h2>Claims</h2>", _verdicts()]
    for section in dict.fromkeys(finding.section for finding in findings):
        own = [finding for finding in findings if finding.section is section]
        worlds = list(dict.fromkeys(finding.world for finding in own))
        seeds = own[0].seeds
        few = own[0].few_seeds
        header = "".join(
            f"<th>{escape(world)}{' (simulated)' if _simulated(own, world) else ''}, {seeds} seeds: ours, agrees?</th>"
            + (f"<th>{few} seeds</th>" if few else "")
            for world in worlds
        )
        rows = []
        for claim in section.claims:
            said = claim.where.lower() in f"{section.title} {claim.text}".lower()
            where = "" if said else f" <small>{escape(claim.where)}</small>"
            line = [f'<td class="text">{escape(claim.text)}{where}</td>']
            line.append(f"<td>{_published(claim)}</td>")
            for world in worlds:
                finding = next(f for f in own if f.claim is claim and f.world == world)
                line.append(f"<td>{html.interval(*finding.ours, claim.write)}<br>{_judged(finding)}</td>")
                if finding.few is not None:
                    line.append(
                        f"<td>{html.interval(*finding.few, claim.write)}<br>{_verdict(finding.few_verdict)}</td>"
                    )
            counted = any(f.status in ("", "free") for f in own if f.claim is claim)
            rows.append(f'<tr class="{"" if counted else "uncounted"}">' + "".join(line) + "</tr>")
        note = f'<p class="caption">{escape(section.note)}</p>' if section.note else ""
        head = f'<tr><th class="name">claim</th><th>published</th>{header}</tr>'
        parts.append(f"<h3>{escape(section.title)}</h3>{note}{html.table(head, rows)}")
    return "\n".join([*parts, "<h2>Where we disagree, and why</h2>", _disagreements(findings)])


def left_out(skipped: Mapping[str, str]) -> str:
    """Configs that were not run, each with the reason."""
    return "".join(f"<p><b>Not run: {escape(name)}.</b> {escape(why)}</p>" for name, why in skipped.items())


def index(protocols: Sequence[tuple[str, str, str, Sequence[Finding[Any]] | None]]) -> str:
    """The page over all protocols: (name of the folder, title, a sentence, findings) each; None: of an earlier run."""
    parts = []
    for name, title, told, findings in protocols:
        counted = "" if findings is None else f"<p>{escape(counts(findings))}.</p>"
        parts.append(
            f'<article class="card plain"><h3><a href="{escape(name)}/report.html">{escape(title)}</a></h3>'
            f"<p>{escape(told)}</p>{counted}</article>"
        )
    lead = """<p class="sub">What was published beside what we measured. None of the papers' data is public: their
worlds are <b>simulated</b> here, calibrated to published numbers before any agent ran; each report says so, and shows
recorded outcomes beside them.</p>"""
    body = f'<section class="cards">{"".join(parts)}</section><h2>Verdicts</h2>{_verdicts()}'
    return html.document(
        "Papers reproduced (simulated)", "Unified Inference Scaling", "Papers reproduced (simulated)", lead, body
    )


def _verdicts() -> str:
    told = {**VERDICTS, **STATUS}.items()
    terms = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in told)
    return f'<style>tr.uncounted, .uncounted {{ opacity: 0.55; }}</style><dl class="terms">{terms}</dl>'


def _simulated(findings: Sequence[Finding[Any]], world: str) -> bool:
    return any(finding.simulated for finding in findings if finding.world == world)


def _disagreements(findings: Sequence[Finding[Any]]) -> str:
    """What is not "yes", with what is known of the reason: comparisons, and values that have one."""
    rows = [
        f'<tr><td class="text">{escape(f.section.title)}: {escape(f.claim.text)}</td><td>{escape(f.world)}</td>'
        f"<td>{_published(f.claim)}</td>"
        f"<td>{html.interval(*f.ours, f.claim.write)}</td><td>{_verdict(f.verdict)}</td>"
        f'<td class="text">{escape(f.claim.why)}</td></tr>'
        for f in findings
        if (f.claim.compared or f.claim.why) and f.verdict not in ("yes", "") and f.status in ("", "free")
    ]
    if not rows:
        return "<p>Nowhere.</p>"
    head = (
        '<tr><th class="name">claim</th><th>world</th><th>published</th><th>ours</th><th>agrees?</th><th>why</th></tr>'
    )
    return html.table(head, rows)


def _judged(finding: Finding[Any]) -> str:
    """The verdict, grey and with its reason where it does not count."""
    if finding.status in ("", "free"):
        return _verdict(finding.verdict)
    return f'<span class="uncounted">{escape(finding.verdict)} ({escape(finding.status)})</span>'


def _verdict(verdict: str) -> str:
    colour = {"yes": "var(--good)", "sign only": "var(--good)", "no": "var(--bad)"}.get(verdict, "var(--muted)")
    return f'<span style="color:{colour}">{escape(verdict)}</span>'


def _published(claim: Claim) -> str:
    return str(claim.expect) if claim.published is None else claim.write(claim.published)
