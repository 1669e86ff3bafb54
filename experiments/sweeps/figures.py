"""Figures of a sweep: frontiers, what is chosen at which price, and what the methods cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.charts import Line, bars, chart, stacked
from experiments.html import Figure
from experiments.sweeps.measures import VALUES, Sweep, curve, intervals, kinds, span
from experiments.sweeps.rows import arm_rows

MOST = 8
"""Most agents of a chart."""


def frontier(sweep: Sweep, axis: str) -> Figure:
    """Accuracy against mean tokens or seconds: static configurations, their hull, agents along their sweep, oracle."""
    column = VALUES.index(axis)
    static, (low, high) = sweep.static.mean, sweep.static.ends
    hull = np.geomspace(static[:, column].min(), static[:, column].max(), 60)
    reached = curve(sweep.static, axis).at(hull).mean(axis=(0, 1))
    lines = [
        Line("static configurations", static[:, column], static[:, 0], low[:, 0], high[:, 0], joined=False),
        Line("mixtures of them", hull, reached),
    ]
    along = sweep.along(axis)
    for name in [*list(sweep.agents)[:MOST], "oracle"]:
        policy = sweep.policies[name]
        mean = policy.mean[along]
        order = mean[:, column].argsort()
        lines.append(Line(name, mean[order, column], mean[order, 0]))
    unit = {"tokens": "mean tokens (log)", "seconds": "mean seconds (log)"}[axis]
    other = {"tokens": "λ_T, λ_L = 0", "seconds": "λ_L, λ_T = 0"}[axis]
    return Figure(
        f"Accuracy against {axis}{_label(sweep)}",
        chart(lines, unit, "accuracy", log_x=True),
        f"{len(sweep.game.questions)} questions; agents along {other}. Whiskers: 95% over questions. The oracle knows "
        "every arm's expectation on every question.",
    )


def gain(sweep: Sweep, axis: str) -> Figure:
    """Accuracy of the agents minus that of the mixtures of static configurations, at equal tokens or seconds."""
    static = curve(sweep.static, axis)
    lines = []
    for i, name in enumerate(list(sweep.agents)[:MOST]):
        policy = sweep.policies[name]
        mine = curve(policy, axis, sweep.along(axis))
        places = span(mine, static, 40)
        if not len(places):
            continue
        difference = 100 * (mine.at(places) - static.at(places))
        band = intervals(difference) if i == 0 else (None, None)
        lines.append(Line(name, places, difference.mean(axis=(0, 1)), *band))
    return Figure(
        f"Gain over static configurations at equal {axis}{_label(sweep)}",
        chart(lines, f"mean {axis} (log)", "points of accuracy", log_x=True),
        f"Against mixtures of static configurations. Band of {lines[0].name}: 95% over questions and seeds, paired.",
    )


def shares(sweep: Sweep, name: str, by: str, axis: str) -> Figure:
    """What a policy chooses, against the price of tokens or of seconds."""
    policy = sweep.policies[name]
    along = sweep.along(axis)
    weight = sweep.weights[along, 0 if axis == "tokens" else 1]
    labels = kinds(sweep.game)[by]
    parts = [(label, policy.shares(arms).mean(axis=(0, 1))[along]) for label, arms in labels]
    price = {"tokens": "λ_T, per token (log)", "seconds": "λ_L, per second (log)"}[axis]
    return Figure(
        f"{name}: {by} against the price of {axis}{_label(sweep)}",
        stacked(weight, parts, price, "share of rounds"),
        "The other price is zero.",
    )


def costs(sweep: Sweep) -> Iterator[Figure]:
    """Tokens and seconds per method: means over its configurations, and the tail of seconds."""
    rows = list(arm_rows(sweep))
    methods = list(dict.fromkeys(row.method for row in rows))
    own = {method: [row for row in rows if row.method == method] for method in methods}

    def mean(method: str, field: str) -> float:
        return float(np.mean([getattr(row, field) for row in own[method]]))

    groups = [(method.replace("_", " "), [mean(method, "tokens")]) for method in methods]
    yield Figure(
        f"Tokens per method{_label(sweep)}", bars(groups, ["mean"], "tokens"), "Means over its configurations."
    )
    groups = [(m.replace("_", " "), [mean(m, f) for f in ("seconds", "p50", "p95", "p99")]) for m in methods]
    yield Figure(
        f"Seconds per method{_label(sweep)}",
        bars(groups, ["mean", "p50", "p95", "p99"], "seconds"),
        "Means over its configurations of each one's mean and percentiles, as drawn.",
    )


def figures(sweep: Sweep) -> Iterator[Figure]:
    """All of them; choices are shown of the first agent."""
    first = next(iter(sweep.agents))
    for axis in ("tokens", "seconds"):
        if len(sweep.along(axis)) > 1:
            yield frontier(sweep, axis)
    for axis in ("tokens", "seconds"):
        if len(sweep.along(axis)) > 1:
            yield gain(sweep, axis)
    for by in ("method", "N"):
        for axis in ("tokens", "seconds"):
            if len(sweep.along(axis)) > 1:
                yield shares(sweep, first, by, axis)
    yield from costs(sweep)


def _label(sweep: Sweep) -> str:
    return " (simulated)" if sweep.game.world.simulated else ""
