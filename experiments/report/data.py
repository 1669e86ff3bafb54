"""The numbers behind the figures, as plain JSON of modest size: curves thinned, numbers to five digits, NaN as null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import statistics
from experiments.analysis import Analysis
from experiments.results import AgentRuns, Array, Cell
from experiments.tables import UNITS, Unit

POINTS, AREAS = 60, 30
"""Most points of a curve, and of an area chart."""
CATEGORIES = 9
"""Most categories of an area chart; the rest are "other"."""


def payload(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Everything that the figures show; plain JSON without NaN."""
    agents = {name: cell.entrants[name] for cell in (analysis.cell for analysis in analyses) for name in cell.agents}
    return {
        "agents": [{"name": name, **one._asdict()} for name, one in agents.items()],
        "cells": [cell_payload(analysis) for analysis in analyses],
    }


def cell_payload(analysis: Analysis) -> dict[str, Any]:
    """One comparison; agents by rank."""
    cell, known = analysis.cell, analysis.cell.references
    ends = np.minimum(np.arange(1, _bins(cell) + 1) * cell.bin_rounds, cell.rounds)
    kept, areas = _thin(len(ends), POINTS), _thin(len(ends), AREAS)
    labels = {
        "model": [arm["model"] for arm in known["catalog"]],
        "method": [arm["method"] for arm in known["catalog"]],
        "budget": ["×".join(map(str, arm["budget"])) for arm in known["catalog"]],
    }
    categories = {name: _categories(analysis, name, known["catalog"], label) for name, label in labels.items()}
    versus = analysis.versus_best_fixed()
    fixed = cell.agents.get(cell.best_fixed or "")
    unit = UNITS.get(known["cost_channel"] or "", Unit("", 1.0))
    agents = []
    for agent in analysis.ranking():
        runs, row, honest = cell.agents[agent], analysis.summary[agent], analysis.honesty[agent]
        pair = versus.get(agent)
        regret = _cumulative(runs)
        lead = None if fixed is None else _cumulative(fixed) - regret
        agents.append(
            {
                "name": agent,
                **cell.entrants[agent]._asdict(),
                "reward": [row.reward, row.reward_lo, row.reward_hi, row.reward_qlo, row.reward_qhi],
                "versus": pair
                and {
                    "difference": [pair.difference, pair.difference_lo, pair.difference_hi],
                    "queries": [pair.difference_qlo, pair.difference_qhi],
                    "improvement": pair.improvement,
                    "p": pair.p,
                    "p_holm": pair.p_holm,
                },
                "quality": row.quality,
                "cost": row.cost * unit.factor,
                "fresh": row.reward_fresh,
                "replayed": row.reward_replayed,
                "holdout": None
                if math.isnan(row.holdout)
                else [row.holdout, row.holdout_lo, row.holdout_hi, row.holdout_qlo, row.holdout_qhi],
                "late": analysis.late_lead(agent),
                "share": [honest.oracle_share, honest.oracle_share_lo, honest.oracle_share_hi],
                "regret": _curve(regret, kept),
                "lead": None if lead is None else _curve(lead, kept),
                "arms": {
                    name: _areas(runs.arms, np.diff(areas, prepend=-1), labels[name], categories[name])
                    for name in labels
                },
            }
        )
    plain: dict[str, Any] = tidy(
        {
            "key": list(cell.key),
            "simulated": analysis.simulated,
            "rounds": cell.rounds,
            "seeds": len(cell.seeds),
            "unit": unit.label,
            "x": ends[kept].tolist(),
            "areas": ends[areas].tolist(),
            "segments": known["segments"],
            "phases": known["phases"],
            "agents": agents,
            "categories": categories,
            "fixed": {
                "name": [arm["name"] for arm in known["catalog"]],
                "quality": known["arms"]["quality"],
                "cost": known["arms"]["cost"] and [cost * unit.factor for cost in known["arms"]["cost"]],
            },
            "plane": known["plane"]
            and {name: (np.array(points) * [unit.factor, 1]).tolist() for name, points in known["plane"].items()},
            **{name: known[name] for name in ("best_fixed", "oracle", "gap", "cross_fitted", "ceiling")},
        }
    )
    return plain


def tidy(value: Any) -> Any:
    """Plain JSON with numbers to five significant digits; NaN becomes None."""
    if isinstance(value, Mapping):
        return {name: tidy(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(part) for part in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value


def _bins(cell: Cell) -> int:
    return -(-cell.rounds // cell.bin_rounds)


def _thin(bins: int, most: int) -> Array:
    """Indices of at most `most` bins, evenly spread, the last one among them."""
    return np.unique(np.linspace(0, bins, min(bins, most) + 1).round().astype(int)[1:] - 1)


def _cumulative(runs: AgentRuns) -> Array:
    """(S, C) regret so far, the pilot's charge from the start."""
    regret = np.cumsum(runs.curves["regret"], axis=1, dtype=np.float64)
    return np.asarray(regret + runs.totals["pilot_charge"][:, None])


def _curve(values: Array, kept: Array) -> dict[str, Any]:
    """Mean over seeds of (S, C) values at the bins that are kept, with the band of its interval."""
    low, high = statistics.mean_interval(values[:, kept])
    return {"mean": values[:, kept].mean(axis=0).tolist(), "low": low.tolist(), "high": high.tolist()}


def _categories(
    analysis: Analysis, dimension: str, catalog: Sequence[Mapping[str, Any]], label: list[str]
) -> list[str]:
    """The labels to draw: budgets by size, others as in the catalog; past CATEGORIES the least played are "other"."""
    distinct = list(dict.fromkeys(label))
    if dimension == "budget":
        size = {name: arm["budget"] for name, arm in zip(label, catalog, strict=True)}
        distinct.sort(key=lambda name: (math.prod(size[name]), size[name]))
    if len(distinct) <= CATEGORIES:
        return distinct
    pulls = np.sum([runs.arms.sum(axis=0) for runs in analysis.cell.agents.values()], axis=0)
    played = {name: sum(int(n) for n, other in zip(pulls, label, strict=True) if other == name) for name in distinct}
    most = sorted(distinct, key=lambda name: -played[name])[: CATEGORIES - 1]
    return [name for name in distinct if name in most] + ["other"]


def _areas(arms: Array, groups: Array, label: list[str], categories: list[str]) -> list[list[int]]:
    """Per category its share of the pulls in each group of bins, in thousandths."""
    starts = np.concatenate([[0], np.cumsum(groups)[:-1]])
    pulls = np.add.reduceat(arms, starts, axis=0)
    place = np.array([categories.index(name) if name in categories else len(categories) - 1 for name in label])
    shares = np.stack([pulls[:, place == i].sum(axis=1) for i in range(len(categories))])
    return np.rint(shares / shares.sum(axis=0) * 1000).astype(int).tolist()  # type: ignore[no-any-return]
