"""Calibration report of the tree-search world: published targets and what is reached, side by side.

    python -m uis_env.worlds.tree_search.calibrate [--fit A B] [--draws 32] [--out FOLDER]

prints a table per fit and writes `calibration.md` and `calibration.json` to the folder. All reached numbers are
*simulated*; no agent is involved. Sources: MATH-500 and AIME accuracies arXiv 2502.06703 (tables 3 and 5; Qwen2.5
sizes stand in for Qwen3), beam search against best-of-N arXiv 2408.03314, early exit arXiv 2605.30898, best-of-N curve
arXiv 2509.09864.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.costs import compute_and_memory
from uis_env.files import atomic_write
from uis_env.world import World
from uis_env.worlds.tree_search.fits import FITS, MATH_COUNTS, ONE_SAMPLE, model_cards
from uis_env.worlds.tree_search.problems import Problems, make_problems, math_weights
from uis_env.worlds.tree_search.simulator import search
from uis_env.worlds.tree_search.world import tree_search

Array = NDArray[Any]

COMPUTE_OPTIMAL = (0.764, 0.856, 0.876, 0.910, 0.910, 0.906)
"""MATH-500 accuracy with compute-optimal TTS, Qwen2.5 0.5/1.5/3/7/14/32B."""
AIME_SEARCH = (0.10, 0.20)
"""AIME'24 accuracy with TTS, Qwen2.5 0.5/1.5B."""
BEST_OF = {2: 0.5278, 4: 0.6062, 8: 0.6544, 16: 0.6744, 32: 0.6582}
"""Best-of-N on MATH-500 of a 1.5B model with another PRM, for the shape only."""


@dataclass(frozen=True)
class Row:
    """One target. `met` is None where the published number is shown for comparison only.

    Attributes:
        target: what is measured, with its unit.
        published: the published number or range, as text.
        wanted: the criterion, as text.
        reached: the simulated number; `error` its 95% half-width where one was estimated.
        met: whether the criterion holds.
    """

    target: str
    published: str
    wanted: str
    reached: float
    error: float | None = None
    met: bool | None = None

    def __post_init__(self) -> None:
        if self.met is not None:  # comparisons of NumPy numbers give NumPy booleans, which JSON refuses
            object.__setattr__(self, "met", bool(self.met))


def column(world: World, table: Array | None, model: str, budget: tuple[int, int, int]) -> Array:
    """The arm's part of a (..., K) table."""
    assert table is not None
    return np.asarray(table[..., world.catalog.id(model, "tree_search", budget)])


def compute_optimal(world: World, problems: Problems, model: int) -> tuple[float, float]:
    """MATH-500 and AIME accuracy of a model's best arm per group, chosen on half of the draws, scored on the others."""
    assert world.halves is not None
    arms = np.flatnonzero(world.catalog.model_index == model)
    scores = np.zeros((2, 6))
    for i, half in enumerate(world.halves):
        other = world.halves[1 - i].quality
        for group in range(6):
            rows = problems.group == group
            best = arms[half.quality[np.ix_(rows, arms)].mean(axis=0).argmax()]
            scores[i, group] = other[rows, best].mean()
    mean = scores.mean(axis=0)
    return float(mean[:5] @ MATH_COUNTS / sum(MATH_COUNTS)), float(mean[5])


def area_under_curve(score: Array, correct: Array) -> float:
    """Chance that a right answer outscores a wrong one (Mann-Whitney)."""
    rank = np.empty(score.size)
    rank[score.ravel().argsort()] = np.arange(1, score.size + 1)
    right = correct.ravel() > 0.5
    positives, negatives = int(right.sum()), int((~right).sum())
    return float((rank[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def cross_validated_r2(features: Array, target: Array) -> float:
    """Five-fold R² of least squares on [1, features]; negative when it predicts worse than the training mean."""
    folds = np.random.default_rng(0).permutation(len(target)) % 5
    design = np.column_stack([np.ones(len(target)), features]).astype(float)
    residual, spread = 0.0, 0.0
    for fold in range(5):
        train, test = folds != fold, folds == fold
        solution = np.linalg.lstsq(design[train], target[train], rcond=None)[0]
        residual += ((target[test] - design[test] @ solution) ** 2).sum()
        spread += ((target[test] - target[train].mean()) ** 2).sum()
    return float(1 - residual / spread)


def accuracy_rows(world: World, problems: Problems) -> Iterator[Row]:
    """One-sample, compute-optimal and AIME accuracies, in per cent."""
    weights = math_weights(problems.group)
    aime = problems.group == 5
    draws = world.channels.quality.shape[1]
    names = world.catalog.models
    exact = 100 * weights @ problems.solve
    for m, name in enumerate(names):
        target = 100 * ONE_SAMPLE[m]
        met = abs(exact[m] - target) <= 1
        yield Row(f"{name} one sample, MATH-500 %, exact p", f"{target:.1f}", "within 1", float(exact[m]), None, met)
    for m, name in enumerate(names):
        seen = 100 * float(weights @ column(world, world.expected.quality, name, (1, 1, 1)))
        p = problems.solve[:, m]
        error = 196 * float(np.sqrt(weights**2 @ (p * (1 - p)) / draws))
        yield Row(f"{name} one sample, MATH-500 %, the table's draws", f"{100 * ONE_SAMPLE[m]:.1f}", "", seen, error)
    searched = [compute_optimal(world, problems, m) for m in range(len(names))]
    for m, name in enumerate(names):
        reached, target = 100 * searched[m][0], 100 * COMPUTE_OPTIMAL[m]
        met = abs(reached - target) <= 3
        yield Row(f"{name} best arm per level, MATH-500 %", f"{target:.1f}", "within 3", reached, None, met)
    ratio = float((problems.solve[aime].mean(axis=0) / (weights @ problems.solve)).max())
    yield Row(
        "AIME / MATH one-sample accuracy, largest of six",
        "far below 1",
        "<= 0.25 (our choice)",
        ratio,
        None,
        ratio <= 0.25,
    )
    middle = 100 * float(problems.solve[aime][:, 2:5].mean())
    yield Row("AIME one sample %, mean of 4B, 8B, 14B", "5 to 15", "in range", middle, None, 5 <= middle <= 15)
    for m, target in enumerate(AIME_SEARCH):
        reached = 100 * searched[m][1]
        met = abs(reached - 100 * target) <= 5
        yield Row(f"{names[m]} best arm on AIME %", f"{100 * target:.0f}", "within 5 (our choice)", reached, None, met)


def search_rows(world: World, problems: Problems) -> Iterator[Row]:
    """Beam search against best-of-N at N = 32, and what V says."""
    names = world.catalog.models

    def accuracy(budget: tuple[int, int, int]) -> Array:
        return np.stack([column(world, world.expected.quality, name, budget) for name in names], axis=1)

    gain = 100 * (accuracy((1, 8, 4)) - accuracy((8, 1, 4)))
    wider = 100 * (accuracy((1, 8, 4)) - accuracy((1, 2, 2)))
    p = problems.solve
    easy, hard = p > 0.85, (p > 0.05) & (p < 0.5)
    for label, cells, sign in (("easy, p > .85", easy, -1), ("hard, .05 < p < .5", hard, 1)):
        mean, error = float(gain[cells].mean()), 1.96 * float(gain[cells].std() / np.sqrt(cells.sum()))
        title = f"beam N=32 minus best-of-32, points, {label}"
        yield Row(title, "< 0" if sign < 0 else "> 0", "sign", mean, error, sign * mean > 0)
    mean, error = float(wider[easy].mean()), 1.96 * float(wider[easy].std() / np.sqrt(easy.sum()))
    yield Row("beam N=32 minus beam N=4, points, easy", "< 0", "", mean, error)
    weights = math_weights(problems.group)
    for n, budget in ((2, (2, 1, 1)), (4, (4, 1, 1)), (8, (8, 1, 1)), (16, (8, 1, 2)), (32, (8, 1, 4))):
        reached = 100 * float(weights @ column(world, world.expected.quality, names[1], budget))
        yield Row(f"{names[1]} best-of-{n}, MATH-500 % (shape)", f"{100 * BEST_OF[n]:.1f}", "", reached)
    for label, budget in (("one sample", (1, 1, 1)), ("beam N=32", (1, 8, 4))):
        auc = area_under_curve(
            column(world, world.channels.score, names[3], budget),
            column(world, world.channels.quality, names[3], budget),
        )
        yield Row(f"AUC of V for correctness, {names[3]}, {label}", "", "", auc)
    widest = column(world, world.channels.score, names[3], (8, 8, 4))
    yield Row(f"mean V at the widest search, {names[3]}", "", "", float(widest.mean()))


def early_exit_rows(world: World, pruned: World, problems: Problems, fit: str) -> Iterator[Row]:
    """Path-aware early exit at QP = 8, over all models, CP and BS."""
    wide = np.array([arm.budget[0] == 8 for arm in world.catalog.arms])

    def drop(arms: Array) -> tuple[float, float, float]:
        per_problem = (pruned.expected.quality - world.expected.quality)[:, arms].mean(axis=1)
        assert world.expected.eflops is not None and pruned.expected.eflops is not None
        cost = 1 - pruned.expected.eflops[:, arms].mean() / world.expected.eflops[:, arms].mean()
        error = 196 * float(per_problem.std() / np.sqrt(len(per_problem)))
        return 100 * float(per_problem.mean()), error, 100 * float(cost)

    change, error, saved = drop(wide)
    yield Row("early exit, QP=8: cost saved %", "79.3", "75 to 85", saved, None, 75 <= saved <= 85)
    yield Row("early exit, QP=8: accuracy change, points", "-0.9", "> -1.5", change, error, change > -1.5)
    for budget in ((8, 1, 1), (8, 2, 2), (8, 8, 1), (8, 8, 4)):
        arms = wide & np.array([arm.budget == budget for arm in world.catalog.arms])
        change, error, saved = drop(arms)
        name = "x".join(map(str, budget))
        yield Row(f"early exit, {name}: cost saved %", "", "", saved)
        yield Row(f"early exit, {name}: accuracy change, points", "", "", change, error)
    totals = np.zeros((2, 2))
    for m, card in enumerate(model_cards()):
        for i, v_sup in enumerate((None, FITS[fit].v_sup)):
            runs = search(FITS[fit], problems, m, 8, 8, 2, 2, FITS[fit].seed, v_sup)
            parts = compute_and_memory(card, problems.prompt, runs.tokens[-1], runs.squares[-1], runs.steps[-1])
            totals[i] += [part.sum() for part in parts]
    compute, memory = 100 * (1 - totals[1] / totals[0])
    yield Row("early exit, 8x8x2: compute saved %", "87.3", "", float(compute))
    yield Row("early exit, 8x8x2: memory traffic saved %", "78.0", "", float(memory))


def table_rows(world: World, problems: Problems) -> Iterator[Row]:
    """The range of costs, and how much the query features say."""
    assert world.expected.eflops is not None
    means = world.expected.eflops.mean(axis=0)
    for label, value in (("least", means.min()), ("median", np.median(means)), ("greatest", means.max())):
        yield Row(f"arm mean cost, tera-eFLOPs, {label}", "", "", float(value))
    features, target = world.contexts["features"], problems.solve.mean(axis=1)
    maths = problems.group < 5
    yield Row("cross-validated R² of mean p from the features", "", "", cross_validated_r2(features, target))
    inside = cross_validated_r2(features[maths], target[maths])
    yield Row("cross-validated R² of mean p from the features, MATH only", "", "", inside)


def calibration(fit: str, draws: int = 32) -> list[Row]:
    """All rows of one fit, on the world that agents play in (from the cache where it is there)."""
    problems = make_problems(FITS[fit], FITS[fit].seed)
    world = tree_search(fit, draws=draws)
    pruned = tree_search(fit, draws=draws, early_exit=True)
    return [
        *accuracy_rows(world, problems),
        *search_rows(world, problems),
        *early_exit_rows(world, pruned, problems, fit),
        *table_rows(world, problems),
    ]


def markdown(results: dict[str, list[Row]]) -> str:
    """One table with a column per fit."""
    fits = list(results)
    lines = [
        "# Calibration of the tree-search world (simulated)",
        "",
        "| target | published | criterion | " + " | ".join(f"fit {fit} | met" for fit in fits) + " |",
        "|---" * (3 + 2 * len(fits)) + "|",
    ]
    for rows in zip(*results.values(), strict=True):
        cells = [rows[0].target, rows[0].published, rows[0].wanted]
        for row in rows:
            cells.append(f"{row.reached:.2f}" + (f" ± {row.error:.2f}" if row.error is not None else ""))
            cells.append({None: "", True: "yes", False: "**no**"}[row.met])
        lines.append("| " + " | ".join(cells) + " |")
    for fit, rows_ in results.items():
        judged = [row for row in rows_ if row.met is not None]
        lines += ["", f"Fit {fit}: {sum(bool(row.met) for row in judged)} of {len(judged)} criteria met."]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the report and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", nargs="+", choices=sorted(FITS), default=sorted(FITS))
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--out", type=Path, help="folder for calibration.md and calibration.json")
    options = parser.parse_args(arguments)
    results = {fit: calibration(fit, options.draws) for fit in options.fit}
    text = markdown(results)
    print(text)
    if options.out is not None:
        data = {
            "simulated": True,
            "draws": options.draws,
            "parameters": {fit: dataclasses.asdict(FITS[fit]) for fit in results},
            "rows": {fit: [dataclasses.asdict(row) for row in rows] for fit, rows in results.items()},
        }
        atomic_write(options.out / "calibration.json", (json.dumps(data, indent=1) + "\n").encode())
        atomic_write(options.out / "calibration.md", text.encode())


if __name__ == "__main__":
    main()
