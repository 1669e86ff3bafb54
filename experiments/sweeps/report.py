"""The files and the page of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import html
from experiments.config import Config
from experiments.sweeps import rows
from experiments.sweeps.figures import figures
from experiments.sweeps.measures import Sweep
from experiments.tables import to_csv
from uis_env.files import atomic_write

TERMS = (
    ("question", "all policies answer the same questions, each once per seed; those of the pilot are not among them."),
    ("accuracy, tokens, seconds", "expected values of what was chosen: nobody gains by the luck of a draw."),
    ("static configuration", "always the same arm."),
    ("mixtures of them", "the upper hull of the static configurations: a coin tossed between two of them."),
    ("best_fixed, fixed_elsewhere", "per preference, the best arm of these questions in hindsight; of the pilot's."),
    ("oracle", "per question the arm with the highest expected reward (cross-fitted: chosen and valued on different "
     "halves of the samples; published: chosen and valued on the same stored draws, which is optimistic)."),
    ("intervals", "95% bootstrap over questions and seeds, the same resamples for all policies."),
)  # fmt: skip


class Files(NamedTuple):
    """What is written of the sweeps of a config: CSV texts by name, and the sections of the page."""

    tables: dict[str, str]
    sections: str


def files(sweeps: Sequence[Sweep]) -> Files:
    """Tables and page sections of some sweeps."""
    tables = {}
    for name, kind, make in (
        ("points.csv", rows.PointRow, rows.point_rows),
        ("static.csv", rows.ArmRow, rows.arm_rows),
        ("shares.csv", rows.ShareRow, rows.share_rows),
        ("area.csv", rows.AreaRow, rows.area_rows),
        ("equal.csv", rows.EqualRow, rows.equal_rows),
        ("calibration.csv", rows.CalibrationRow, rows.calibration_rows),
    ):
        tables[name] = to_csv(kind._fields, (row for sweep in sweeps for row in make(sweep)))
    return Files(tables, "\n".join(_section(sweep) for sweep in sweeps))


def write(root: Path, config: Config, sweeps: Sequence[Sweep]) -> None:
    """Writes the CSV files and report.html below `root`, each atomically."""
    made = files(sweeps)
    simulated = any(sweep.game.world.simulated for sweep in sweeps)
    badge = '<span class="badge loud">simulated outcomes</span>' if simulated else ""
    lead = f'<p class="sub">{escape(config.description)}</p><p>{badge}</p>'
    page = html.document(config.name, "Unified Inference Scaling · sweep", config.name, lead, made.sections + terms())
    for name, text in {**made.tables, "report.html": page}.items():
        atomic_write(root / name, text.encode())


def terms() -> str:
    """The words of the page."""
    listed = "".join(f"<dt>{escape(word)}</dt><dd>{escape(told)}</dd>" for word, told in TERMS)
    return f'<h2>Words</h2><dl class="terms">{listed}</dl>'


def _section(sweep: Sweep) -> str:
    game = sweep.game
    simulated = " (simulated)" if game.world.simulated else " (recorded)"
    told = (
        f"{len(game.questions)} questions × {len(sweep.seeds)} seeds × {len(game.preferences)} preferences, "
        f"{len(sweep.arms)} configurations; {len(game.training)} other queries are the pilot's."
    )
    return "\n".join(
        [
            f"<h2>{escape(game.key.world)}{simulated}</h2><p class='caption'>{escape(told)}</p>",
            html.figures(figures(sweep)),
            "<h3>At equal tokens, at equal seconds: accuracy against all static configurations</h3>",
            _areas(sweep),
            "<details><summary>Against every static configuration</summary>" + _equals(sweep) + "</details>",
            "<details><summary>Policies at some prices</summary>" + _points(sweep) + "</details>",
            "<details><summary>Static configurations</summary>" + _arms(sweep) + "</details>",
            _calibration(sweep),
        ]
    )


def _areas(sweep: Sweep) -> str:
    by_name: dict[str, dict[str, rows.AreaRow]] = {}
    for row in rows.area_rows(sweep):
        by_name.setdefault(row.policy, {})[row.axis] = row
    body = []
    for name, own in by_name.items():
        kind = "" if name in sweep.agents else "reference"
        cells = "".join(
            f"<td>{html.interval(row.difference, row.difference_lo, row.difference_hi, _points_of)}</td>"
            f'<td class="w1">{_amount(row.low)} – {_amount(row.high)}</td>'
            for row in (own[axis] for axis in ("tokens", "seconds") if axis in own)
        )
        body.append(f'<tr class="{kind}">{html.name(name)}{cells}</tr>')
    head = (
        "<tr><th class='name'>policy</th><th>at equal tokens, points</th><th class='w1'>tokens</th>"
        "<th>at equal seconds, points</th><th class='w1'>seconds</th></tr>"
    )
    told = (
        "Mean difference to the mixtures of static configurations in points of accuracy, evenly over the logarithm of "
        "what both span. Prices and mixtures are chosen in hindsight on both sides."
    )
    return f"{html.table(head, body)}<p class='caption'>{told}</p>"


def _equals(sweep: Sweep) -> str:
    first = next(iter(sweep.agents))
    found: dict[str, list[rows.EqualRow]] = {}
    for row in rows.equal_rows(sweep):
        if row.policy == first:
            found.setdefault(row.arm, []).append(row)
    body = [
        f"<tr>{html.name(_short(sweep, arm))}"
        + "".join(f"<td>{_amount(row.at)}</td><td>{html.interval(*row[-3:], _points_of)}</td>" for row in own)
        + "</tr>"
        for arm, own in found.items()
    ]
    head = (
        f"<tr><th class='name'>{escape(first)} against</th><th>tokens</th><th>points</th><th>seconds</th>"
        "<th>points</th></tr>"
    )
    return html.table(head, body)


def _points(sweep: Sweep) -> str:
    along = sweep.along("tokens")
    if not len(along):
        return ""
    chosen = {sweep.game.preferences[i].name for i in along[np.linspace(0, len(along) - 1, 4).astype(int)]}
    body = [
        f'<tr class="{"" if row.policy in sweep.agents else "reference"}"><td>{row.weight_tokens:.1e}</td>'
        f"{html.name(row.policy)}"
        f"<td>{row.reward:.4f}</td><td>{html.interval(row.accuracy, row.accuracy_lo, row.accuracy_hi, _percent)}</td>"
        f"<td>{row.tokens:,.0f}</td><td>{row.seconds:,.1f}</td>"
        f'<td class="w1">{html.plain(row.p50, 1)}</td><td class="w1">{html.plain(row.p95, 1)}</td>'
        f'<td class="w1">{html.plain(row.p99, 1)}</td></tr>'
        for row in sorted(rows.point_rows(sweep), key=lambda row: (row.weight_tokens, -row.reward))
        if row.preference in chosen
    ]
    head = (
        "<tr><th>λ_T</th><th class='name'>policy</th><th>reward</th><th>accuracy</th><th>tokens</th><th>seconds</th>"
        "<th class='w1'>p50</th><th class='w1'>p95</th><th class='w1'>p99 s</th></tr>"
    )
    return html.table(head, body)


def _arms(sweep: Sweep) -> str:
    body = [
        f"<tr>{html.name(_short(sweep, row.arm))}"
        f"<td>{html.interval(row.accuracy, row.accuracy_lo, row.accuracy_hi, _percent)}</td>"
        f"<td>{_percent(row.published_accuracy)}</td><td>{_agrees(row)}</td><td>{row.tokens:,.0f}</td>"
        f"<td>{html.plain(row.published_tokens, 0)}</td><td>{row.seconds:,.2f}</td>"
        f"<td>{html.plain(row.published_seconds, 2)}</td><td class='w1'>{row.p50:,.1f}</td>"
        f"<td class='w1'>{row.p95:,.1f}</td><td class='w1'>{row.p99:,.1f}</td></tr>"
        for row in rows.arm_rows(sweep)
    ]
    head = (
        "<tr><th class='name'>configuration</th><th>accuracy</th><th>published</th><th>agrees?</th><th>tokens</th>"
        "<th>published</th><th>seconds</th><th>published</th><th class='w1'>p50</th><th class='w1'>p95</th>"
        "<th class='w1'>p99 s</th></tr>"
    )
    return html.table(head, body)


def _agrees(row: rows.ArmRow) -> str:
    """Whether the interval of the accuracy holds what was published."""
    if np.isnan(row.published_accuracy):
        return ""
    return "yes" if row.accuracy_lo <= row.published_accuracy <= row.accuracy_hi else "no"


def _calibration(sweep: Sweep) -> str:
    lines = [
        f"{row.policy}: {row.error:.3f} (seeds from {row.error_least:.3f} to {row.error_most:.3f})"
        for row in rows.calibration_rows(sweep)
    ]
    if not lines:
        return ""
    told = f"Expected calibration error on these questions, after training on {len(sweep.game.training)}: "
    return f"<p class='caption'>{escape(told + '; '.join(lines))}.</p>"


def _amount(value: float) -> str:
    """Tokens or seconds."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _points_of(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f}"


def _short(sweep: Sweep, arm: str) -> str:
    """An arm's name, without the model where there is only one."""
    return arm.partition("/")[2] if len(sweep.game.world.catalog.models) == 1 else arm
