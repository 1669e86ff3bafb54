"""The problems of the tree-search world: difficulties, success probabilities, lengths, cruxes and query features."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.worlds.tree_search.fits import (
    AIME_COUNT,
    AIME_TARGET,
    GROUPS,
    MATH_COUNTS,
    MAX_STEPS,
    ONE_SAMPLE,
    PER_LEVEL,
    Fit,
)

Array = NDArray[Any]


class Problems(NamedTuple):
    """Q problems, M models.

    Attributes:
        group: (Q,) int, place in GROUPS (0 to 4 the MATH levels, 5 AIME).
        difficulty: (Q,) b of the IRT; MATH has mean 0 and standard deviation 1 under MATH_COUNTS (in expectation).
        ability: (M,) theta.
        solve: (Q, M) probability that one sample is right, exact.
        steps: (Q,) H, mean reasoning steps.
        crux: (Q, MAX_STEPS + 1, MAX_STEPS) share of the problem's crux that falls on each step of a path of 0, 1, ...
            MAX_STEPS steps; sums to 1 over the steps of a path.
        prompt: (Q,) prompt tokens.
        lapse: (Q,) bool, problems that nobody solves.
    """

    group: Array
    difficulty: Array
    ability: Array
    solve: Array
    steps: Array
    crux: Array
    prompt: Array
    lapse: Array


def math_weights(group: Array) -> Array:
    """(Q,) weights summing to 1 that give MATH levels the shares they have in MATH-500 and AIME none."""
    share = np.array([*MATH_COUNTS, 0], float)[group]
    within = np.bincount(group, minlength=len(GROUPS))[group]
    return np.asarray(share / within / sum(MATH_COUNTS))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def bisect(rises: Any, target: float, low: float = -20.0, high: float = 20.0) -> float:
    """The x with `rises(x) = target`, for a rising function, to machine precision."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) < target else (low, middle)
    return (low + high) / 2


def make_problems(fit: Fit, seed: int) -> Problems:
    """Draws the 150 MATH-like and 60 AIME-like problems of a world.

    Each ability is found by bisection so that the level-weighted mean of `solve` over MATH *equals* the published
    one-sample accuracy; then AIME difficulties are shifted until the fourth model solves AIME_TARGET of them.
    """
    rng = np.random.default_rng([seed, 1])
    group = np.repeat(np.arange(len(GROUPS)), [*[PER_LEVEL] * 5, AIME_COUNT])
    aime = group == 5
    count, models = len(group), len(ONE_SAMPLE)

    shares = np.array(MATH_COUNTS) / sum(MATH_COUNTS)
    levels = np.arange(1.0, 6.0)
    standard = (levels - shares @ levels) / np.sqrt(shares @ levels**2 - (shares @ levels) ** 2)
    within = rng.standard_normal(count)
    between = np.append(standard, 0.0)[group]
    difficulty = np.sqrt(fit.level_share) * between + np.sqrt(1 - fit.level_share) * within
    difficulty[aime] = fit.aime_sd * within[aime]
    pair = fit.pair_sd * rng.standard_normal((count, models))
    lapse = np.zeros(count, bool)
    maths = np.flatnonzero(~aime)
    lapse[rng.choice(maths, round(fit.lapse * len(maths)), replace=False)] = True

    def solve(ability: Array | float, rows: Array, columns: Any, shift: float = 0.0) -> Array:
        logit = fit.discrimination * (ability - difficulty[rows, None] - shift) + pair[rows][:, columns]
        return sigmoid(logit) * np.where(lapse[rows, None], fit.lapse_factor, 1.0)

    weights = math_weights(group)[maths]
    ability = np.array(
        [bisect(lambda x, m=m: weights @ solve(x, maths, [m])[:, 0], ONE_SAMPLE[m]) for m in range(models)]
    )
    contest = np.flatnonzero(aime)
    difficulty[aime] += bisect(lambda x: -solve(ability[3], contest, [3], x).mean(), -AIME_TARGET)

    steps = np.where(aime, fit.steps_aime, fit.steps + fit.steps_per_level * (group + 1 - 3.0))
    steps = steps * np.exp(fit.steps_sd * rng.standard_normal(count))
    return Problems(
        group=group,
        difficulty=difficulty,
        ability=ability,
        solve=solve(ability, np.arange(count), slice(None)),
        steps=steps,
        crux=crux_profiles(fit, steps, rng),
        prompt=np.where(aime, fit.prompt_aime, fit.prompt),
        lapse=lapse,
    )


def crux_profiles(fit: Fit, steps: Array, rng: np.random.Generator) -> Array:
    """(Q, MAX_STEPS + 1, MAX_STEPS) float32 crux shares: `(1 − even)·Dirichlet + even·uniform`.

    A problem has about as many cruxes as steps, at random places of its progress in [0, 1], with Dirichlet weights.
    """
    crux = np.zeros((len(steps), MAX_STEPS + 1, MAX_STEPS), np.float32)
    for i, mean in enumerate(steps):
        pieces = max(2, round(mean))
        places = rng.random(pieces)
        weights = rng.dirichlet(np.full(pieces, fit.crux_shape))
        for length in range(1, MAX_STEPS + 1):
            share = np.bincount((places * length).astype(int), weights, minlength=length)
            crux[i, length, :length] = (1 - fit.crux_even) * share + fit.crux_even / length
    return crux


def query_features(problems: Problems, seed: int) -> Array:
    """(Q, 25) float32: what a text encoder might show of a problem (simulated), of unit length, and a bias of 1.

    Eight topic dimensions (random centroids of seven MATH subjects and the contests, with noise), one "contest style"
    dimension (d' = 2.5 between AIME and MATH), one that correlates .45 with difficulty inside MATH and inside AIME,
    and 14 of noise; then a random rotation.
    """
    rng = np.random.default_rng([seed, 2])
    aime = problems.group == 5
    count = len(aime)
    centroids = rng.standard_normal((8, 8))
    topic = np.where(aime, 7, rng.integers(0, 7, count))
    spread = np.empty(count)
    for part in (aime, ~aime):
        b = problems.difficulty[part]
        spread[part] = (b - b.mean()) / b.std()
    hardness = 0.45 * spread + np.sqrt(1 - 0.45**2) * rng.standard_normal(count)
    raw = np.concatenate(
        [
            centroids[topic] + rng.standard_normal((count, 8)),
            (2.5 * aime + rng.standard_normal(count))[:, None],
            hardness[:, None],
            rng.standard_normal((count, 14)),
        ],
        axis=1,
    )
    rotation, triangle = np.linalg.qr(rng.standard_normal((24, 24)))
    rotated = raw @ (rotation * np.sign(np.diag(triangle)))
    unit = rotated / np.linalg.norm(rotated, axis=1, keepdims=True)
    return np.column_stack([unit, np.ones(count)]).astype(np.float32)
