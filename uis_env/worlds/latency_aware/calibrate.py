"""Finds the parameters of the latency-aware world and reports targets against what is reached.

`python -m uis_env.worlds.latency_aware.calibrate` reports on the frozen parameters; with `--search` it looks for them
again (about two minutes on one idle thread for both data sets) and prints what would be frozen. No agent is run here.

Two searches per data set, each a small CMA-ES (Hansen, arXiv 1604.00772) in a box of the parameters, with the random
numbers held fixed so that the loss is a function: first tokens and seconds, then the accuracies and the oracle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm
from uis_env.worlds.latency_aware.fits import FITS, STARTS, Fit
from uis_env.worlds.latency_aware.simulator import Queries, Results, costs, draw_luck, make_queries, quality, simulate
from uis_env.worlds.latency_aware.targets import ARMS, BEAMS, MODEL, RUNS, SIZES, TARGETS, Target

Array = NDArray[Any]
QUALITY_BOX = {
    "ability": (-4.0, 2.0),
    "ability_sd": (0.5, 8.0),
    "slip": (0.06, 0.4),
    "lapse": (0.0, 0.5),
    "attraction": (-4.0, 3.0),
    "attraction_sd": (0.5, 3.0),
    "gap": (0.3, 6.0),
    "fooled": (-8.0, -1.0),
    "fooled_sd": (0.5, 3.0),
    "overrated": (0.0, 5.0),
    "kept_power": (0.0, 2.0),
    "width_power": (0.0, 2.0),
    "greed": (0.0, 0.2),
    "greed_power": (0.0, 4.0),
}
"""Parameters that the accuracies pin, with the box that is searched."""
COST_BOX = {
    "length": (200.0, 700.0),
    "length_sd": (0.1, 0.6),
    "sample_sd": (0.1, 0.6),
    "runaway": (0.0, 0.06),
    "start": (0.3, 3.0),
    "decode": (0.001, 0.01),
    "batch": (0.0, 3e-4),
    "verify": (2e-5, 4e-4),
    "steps": (3.0, 16.0),
    "step_tokens": (20.0, 150.0),
    "step_sd": (0.05, 0.8),
    "stray": (0.0, 0.1),
    "widening": (0.0, 0.5),
    "beam_start": (0.3, 4.0),
    "step_start": (0.0, 1.0),
    "step_batch": (0.0, 3e-3),
    "rescore": (0.0, 2e-2),
}
"""Parameters that tokens and seconds pin."""


def oracle(results: Results) -> tuple[float, float, float]:
    """(accuracy, tokens, seconds) of the per-query best arm, chosen *and* valued on the same draws.

    The estimator of the published oracle: a maximum over finite samples, so it lies above the true oracle. Ties go to
        the
    first arm of the list, as an argmax does (our choice; the source does not say).
    """
    mean = results.quality.mean(axis=1)
    best = mean.argmax(axis=1)
    rows = np.arange(len(best))
    return (
        float(mean[rows, best].mean()),
        float(results.tokens.mean(axis=1)[rows, best].mean()),
        float(results.latency.mean(axis=1)[rows, best].mean()),
    )


def split_oracle(results: Results) -> float:
    """The same with the arm chosen on half the draws and valued on the other half: a lower bound of the true oracle."""
    half = results.quality.shape[1] // 2
    parts = results.quality[:, :half].mean(axis=1), results.quality[:, half:].mean(axis=1)
    rows = np.arange(len(parts[0]))
    return float(np.mean([b[rows, a.argmax(axis=1)].mean() for a, b in (parts, parts[::-1])]))


def quality_loss(target: Target, results: Results) -> float:
    """Sum of fourth powers of the errors, in points: large errors weigh most.

    Errors of the accuracies; and, counted double, of the oracle and of the change of naive best-of-N from N = 16 to 32.
    The oracle's tokens and seconds are not fitted, they are a check.
    """
    mean = results.quality.mean(axis=(0, 1), dtype=np.float64)
    errors = [mean[ARMS.index(arm)] - value for arm, value in target.accuracy.items()]
    before, after = (ARMS.index(Arm(MODEL, "best_of_n", (size,))) for size in SIZES[-2:])
    change = mean[after] - mean[before]
    errors.append(2 * (change - (target.accuracy[ARMS[after]] - target.accuracy[ARMS[before]])))
    errors.append(2 * (oracle(results)[0] - target.oracle[0]))
    return float(np.sum((np.array(errors) / 0.01) ** 4))


def cost_loss(target: Target, results: Results) -> float:
    """Sum of fourth powers of the relative errors of tokens and seconds, in units of 2.5 %."""
    errors = []
    for wanted, array in ((target.tokens, results.tokens), (target.seconds, results.latency)):
        mean = array.mean(axis=(0, 1), dtype=np.float64)
        errors += [mean[ARMS.index(arm)] / value - 1 for arm, value in wanted.items()]
    return float(np.sum((np.array(errors) / 0.025) ** 4))


def minimise(
    loss: Callable[[Array], float], start: Array, rng: np.random.Generator, generations: int, sigma: float = 0.1
) -> tuple[Array, float]:
    """CMA-ES in the unit cube (points outside are reflected); returns the best point seen and its loss."""
    size = len(start)
    offspring = 2 * (4 + int(3 * np.log(size)))
    parents = offspring // 2
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    effective = 1 / np.sum(weights**2)
    c_path = (4 + effective / size) / (size + 4 + 2 * effective / size)
    c_sigma = (effective + 2) / (size + effective + 5)
    c_one = 2 / ((size + 1.3) ** 2 + effective)
    c_rank = min(1 - c_one, 2 * (effective - 2 + 1 / effective) / ((size + 2) ** 2 + effective))
    damping = 1 + 2 * max(0.0, np.sqrt((effective - 1) / (size + 1)) - 1) + c_sigma
    norm = np.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    mean, path, sigma_path, covariance = start.copy(), np.zeros(size), np.zeros(size), np.eye(size)
    best, lowest = start, loss(start)
    for generation in range(generations):
        values, vectors = np.linalg.eigh(covariance)
        root = np.sqrt(np.maximum(values, 1e-20))
        moves = rng.standard_normal((offspring, size)) * root @ vectors.T
        points = mean + sigma * moves
        inside = np.abs((points + 1) % 2 - 1)
        losses = np.array([loss(point) for point in inside])
        order = losses.argsort()[:parents]
        if losses[order[0]] < lowest:
            best, lowest = inside[order[0]], float(losses[order[0]])
        step = weights @ moves[order]
        mean = mean + sigma * step
        white = vectors @ ((vectors.T @ step) / root)
        sigma_path = (1 - c_sigma) * sigma_path + np.sqrt(c_sigma * (2 - c_sigma) * effective) * white
        length = np.linalg.norm(sigma_path)
        steady = length / np.sqrt(1 - (1 - c_sigma) ** (2 * (generation + 1))) < (1.4 + 2 / (size + 1)) * norm
        path = (1 - c_path) * path + steady * np.sqrt(c_path * (2 - c_path) * effective) * step
        covariance = (
            (1 - c_one - c_rank) * covariance
            + c_one * np.outer(path, path)
            + c_rank * (moves[order].T * weights) @ moves[order]
        )
        sigma *= float(np.exp(c_sigma / damping * (length / norm - 1)))
    return best, lowest


def search(name: str, seed: int = 0, generations: int = 150, count: int = 400) -> Fit:
    """Fits one data set: costs first, because the accuracies do not move them, then accuracies and the oracle.

    Args:
        name: key of TARGETS.
        seed: of the random numbers of simulation and search.
        generations: of each of the two searches.
        count: queries, RUNS draws each.
    """
    target = TARGETS[name]
    luck = draw_luck(np.random.default_rng([seed, 0]), count, RUNS)
    none = np.zeros((count, RUNS, len(ARMS)), np.float32)

    def questions(fit: Fit) -> Queries:
        return make_queries(fit, count, np.random.default_rng([seed, 1]))

    def cost(fit: Fit) -> float:
        return cost_loss(target, Results(none, *costs(fit, questions(fit), luck)))

    fit = _search_box(cost, STARTS[name], COST_BOX, seed, generations)
    tokens, seconds = (array.mean(axis=(0, 1)) for array in costs(fit, questions(fit), luck))
    factors = [
        (target.tokens[arm] / tokens[i], target.seconds[arm] / seconds[i]) if arm in target.tokens else (1.0, 1.0)
        for i, arm in enumerate(ARMS)
    ]
    fit = replace(fit, beam_factors=tuple((float(a), float(b)) for a, b in factors[-len(BEAMS) :]))
    settled = costs(fit, questions(fit), luck)

    def error(fit: Fit) -> float:
        return quality_loss(target, Results(quality(fit, questions(fit), luck), *settled))

    return _search_box(error, fit, QUALITY_BOX, seed, generations)


def _search_box(
    loss: Callable[[Fit], float], fit: Fit, box: dict[str, tuple[float, float]], seed: int, generations: int
) -> Fit:
    low, high = np.array(list(box.values())).T

    def fill(point: Array) -> Fit:
        return replace(fit, **dict(zip(box, (low + (high - low) * point).tolist(), strict=True)))

    rng = np.random.default_rng([seed, 2])
    start = (np.array([getattr(fit, field) for field in box]) - low) / (high - low)
    point, lowest = minimise(lambda point: loss(fill(point)), start, rng, generations)
    print(f"loss {lowest:.2f} over {', '.join(box)}", flush=True)
    return fill(point)


def sample(fit: Fit, seed: int, count: int, draws: int) -> tuple[Queries, Results]:
    """Fresh queries and draws, not those of the search."""
    queries = make_queries(fit, count, np.random.default_rng([seed, 3]))
    return queries, simulate(fit, queries, draw_luck(np.random.default_rng([seed, 4]), count, draws))


def report(name: str, fit: Fit, seed: int = 1, count: int = 2000) -> str:
    """A Markdown table of published and reached values, from draws that the search has not seen."""
    target = TARGETS[name]
    queries, results = sample(fit, seed, count, RUNS)
    mean = {part: array.mean(axis=(0, 1), dtype=np.float64) for part, array in results._asdict().items()}
    lines = [
        f"{name}: published | simulated ({count} queries, {RUNS} draws)",
        "",
        "| configuration | accuracy | tokens | seconds |",
        "|---|---|---|---|",
    ]
    for i, arm in enumerate(ARMS):
        if arm in target.accuracy:
            wanted = (f"{target.accuracy[arm]:.3f}", f"{target.tokens[arm]:.0f}", f"{target.seconds[arm]:.2f}")
        else:
            wanted = ("-", "-", "-")
        lines.append(
            f"| {arm.method}@{'x'.join(map(str, arm.budget))} | {wanted[0]} / {mean['quality'][i]:.3f} "
            f"| {wanted[1]} / {mean['tokens'][i]:.0f} | {wanted[2]} / {mean['latency'][i]:.2f} |"
        )
    ours, theirs = oracle(results), target.oracle
    lines += [
        f"| oracle, same estimator | {theirs[0]:.3f} / {ours[0]:.3f} | {theirs[1]:.0f} / {ours[1]:.0f} "
        f"| {theirs[2]:.1f} / {ours[2]:.1f} |",
        "",
        f"oracle chosen on half the draws and valued on the other: {split_oracle(results):.3f}",
    ]
    naive, beam = ([i for i, arm in enumerate(ARMS) if arm.method == m] for m in ("best_of_n", "beam_search"))
    fall = mean["quality"][naive[-1]] - mean["quality"][naive[-2]]
    lines.append(f"naive best-of-N from N = 16 to 32: {fall:+.4f}")
    for label, part in (("hard", queries.difficulty > 0.43), ("easy", queries.difficulty < -0.43)):
        part = part & ~queries.lapse
        gain = results.quality[part].mean(axis=(0, 1))
        change = f"{gain[beam[4]] - gain[naive[3]]:+.3f}"
        lines.append(f"beam 16x4x20 - naive best-of-16 on {label} queries: {change} ({part.mean():.0%} of queries)")
    return "\n".join(lines)


def main() -> None:
    """Reports on the frozen fits, or searches again."""
    parser = argparse.ArgumentParser(description="calibrate the simulated latency-aware world")
    parser.add_argument("--search", action="store_true", help="look for the parameters again and print them")
    parser.add_argument("--generations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, fit in FITS.items():
        if arguments.search:
            fit = search(name, arguments.seed, arguments.generations)
            print(f"{name}: {fit}\n")
        print(report(name, fit), "\n")


if __name__ == "__main__":
    main()
