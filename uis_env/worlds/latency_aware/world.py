"""The latency-aware world: 22 configurations on simulated mathematics problems, as a `World`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.world import Channels, World
from uis_env.worlds.cache import cached_world
from uis_env.worlds.latency_aware.fits import FITS, Fit
from uis_env.worlds.latency_aware.simulator import (
    VERSION,
    Queries,
    Results,
    beam_accuracy,
    draw_luck,
    make_queries,
    simulate,
)
from uis_env.worlds.latency_aware.targets import ARMS, BEAMS, TARGETS

Array = NDArray[Any]
NAMES = {"numina": "LatencyAware", "math500": "LatencyAwareMath500"}
SIZES = {"numina": 1000, "math500": 500}
"""Queries when none are asked for, about the published numbers of questions."""
EXPECTATION_DRAWS = 1024
"""Draws behind the expectations, all of them other than the R draws that are stored."""
CHUNK = 64
"""Draws simulated together."""
EMBEDDING = 30
"""Dimensions of the simulated embedding; with the problem's length and a bias the context has 32."""
REWARD = {"tokens": 5e-6, "latency": 1e-3}
"""Default weights, our choice: many samples, few samples and beam search are then each best somewhere."""
_QUERIES, _DRAWS, _EXPECTATION, _FEATURES = range(4)


def latency_aware(
    dataset: str = "numina", queries: int | None = None, draws: int = 16, seed: int = 0, cache: bool = True
) -> World:
    """The world of "Latency and Token-Aware Test-Time Compute" (arXiv 2509.09864), *simulated*.

    The paper's runs are not public as a table. This world is a generative model (`simulator`) whose parameters were
    fitted to the published accuracies, tokens, seconds and oracle before any agent saw it; the docstring of `fits`
    holds what is reached. Channels: quality (0/1), tokens (completion tokens of all samples or candidates) and latency
    (seconds on the critical path, verifier included). No score, no dollars, no eFLOPs: nothing published says what they
    were.

    Within a draw all parallel methods at all N read prefixes of one pool of samples. Expectations are means over 1,024
    other draws (beam accuracy: exact), the halves are means over the first and the last 512 of them.

    The context is a simulated embedding (30 dimensions, rotated), the log number of prompt tokens and a bias. The
    embedding shows difficulty with correlation .7, length .8, and faintly what fools votes (.4) and the verifier (.3)
    and whether nobody can answer (d' = 1): our choice, not calibrated. Groups are five levels, quintiles of a rating
    that correlates .8 with difficulty.

    Args:
        dataset: "numina" or "math500", the published table that the parameters were fitted to.
        queries: how many; None takes 1,000 and 500.
        draws: R, stored draws of every arm on every query.
        seed: of queries, features and draws, >= 0.
        cache: whether to keep the world in, and take it from, the user's cache folder.

    Raises:
        ValueError: naming the argument that is unknown or out of range.
    """
    if dataset not in FITS:
        raise ValueError(f"dataset is {dataset!r}, expected one of {', '.join(FITS)}")
    count = SIZES[dataset] if queries is None else queries
    if count < 5:
        raise ValueError(f"queries is {count}, expected at least 5 (one per level)")
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected an integer >= 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected an integer >= 0")
    settings = {
        "world": NAMES[dataset],
        "simulator": VERSION,
        "dataset": dataset,
        "parameters": dataclasses.asdict(FITS[dataset]),
        "queries": count,
        "draws": draws,
        "expectation_draws": EXPECTATION_DRAWS,
        "seed": seed,
    }
    if not cache:
        return _build(FITS[dataset], settings)
    return cached_world(settings, lambda: _build(FITS[dataset], settings))


def _build(fit: Fit, settings: dict[str, Any]) -> World:
    count, draws, seed = settings["queries"], settings["draws"], settings["seed"]
    queries = make_queries(fit, count, np.random.default_rng([seed, _QUERIES]))
    stored = simulate(fit, queries, draw_luck(np.random.default_rng([seed, _DRAWS]), count, draws))
    sums = [[np.zeros((count, len(ARMS))) for _ in Results._fields] for _ in range(2)]
    chunks = EXPECTATION_DRAWS // CHUNK
    for i in range(chunks):
        results = simulate(fit, queries, draw_luck(np.random.default_rng([seed, _EXPECTATION, i]), count, CHUNK))
        for total, array in zip(sums[2 * i // chunks], results, strict=True):
            total += array.sum(axis=1, dtype=np.float64)
    halves = [[total / (EXPECTATION_DRAWS / 2) for total in half] for half in sums]
    quality, tokens, latency = ((a + b) / 2 for a, b in zip(*halves, strict=True))
    quality[:, -len(BEAMS) :] = beam_accuracy(fit, queries)
    rng = np.random.default_rng([seed, _FEATURES])
    levels = rate(queries, rng)
    target = TARGETS[settings["dataset"]]
    return World(
        name=settings["world"],
        simulated=True,
        catalog=make_catalog(),
        contexts={"embedding": query_features(queries, rng)},
        channels=Channels(quality=stored.quality, tokens=stored.tokens, latency=stored.latency),
        expected=_channels(quality, tokens, latency),
        recorded=np.ones((count, len(ARMS)), bool),
        query_ids=tuple(f"problem-{i:05d}" for i in range(count)),
        groups=tuple(f"level {level + 1}" for level in levels),
        halves=(_channels(*halves[0]), _channels(*halves[1])),
        defaults=REWARD,
        provenance={
            "source": "simulated: generative model of sampling, voting, verification and beam search, calibrated to "
            "the tables of arXiv 2509.09864",
            "expectation": f"mean over {EXPECTATION_DRAWS} draws that are not stored; beam accuracy exact",
            "halves": f"means over {EXPECTATION_DRAWS // 2} draws each, independent of each other",
            "units": "published and reached: accuracy, tokens, seconds; latency_percentiles: p50, p95, p99 in seconds",
            "context": "simulated embedding and log prompt tokens; how much they tell is our choice",
            "published": {
                arm.name: [target.accuracy[arm], target.tokens[arm], target.seconds[arm]] for arm in target.accuracy
            },
            "reached": {
                arm.name: [round(float(mean), 4) for mean in means]
                for arm, *means in zip(ARMS, *(part.mean(axis=0) for part in (quality, tokens, latency)), strict=True)
            },
            "latency_percentiles": {
                arm.name: [round(float(seconds), 3) for seconds in tail]
                for arm, tail in zip(ARMS, np.percentile(stored.latency, (50, 95, 99), axis=(0, 1)).T, strict=True)
            },
            "settings": settings,
        },
    )


def _channels(quality: Array, tokens: Array, latency: Array) -> Channels:
    return Channels(
        quality=quality.astype(np.float32), tokens=tokens.astype(np.float32), latency=latency.astype(np.float32)
    )


def make_catalog() -> ArmCatalog:
    """The 22 configurations: method, log2 N, beam width and max steps (0 for parallel methods); a text for each."""
    features, names = arm_features(
        labels={"method": [arm.method for arm in ARMS]},
        numbers={
            "log2_n": [np.log2(arm.budget[0]) for arm in ARMS],
            "beam_width": [arm.budget[1] if arm.method == "beam_search" else 0 for arm in ARMS],
            "max_steps": [arm.budget[2] if arm.method == "beam_search" else 0 for arm in ARMS],
        },
    )
    return ArmCatalog(ARMS, features, names, tuple(describe(arm) for arm in ARMS))


def describe(arm: Arm) -> str:
    """An arm in words, for text encoders."""
    size, *beam = arm.budget
    how = {
        "majority": f"{size} samples in parallel, answer by majority vote",
        "best_of_n": f"{size} samples in parallel, answer with the best verifier score",
        "weighted_best_of_n": f"{size} samples in parallel, vote weighted by verifier scores",
        "beam_search": f"beam search of {size} candidates a step"
        + (f", {beam[0]} for each kept path, at most {beam[1]} steps" if beam else ""),
    }
    return f"{arm.model}; {how[arm.method]}"


def rate(queries: Queries, rng: np.random.Generator) -> Array:
    """(Q,) int, five levels of equal size: quintiles of a rating that correlates .8 with difficulty."""
    rating = 0.8 * queries.difficulty + 0.6 * rng.standard_normal(len(queries.difficulty))
    return np.asarray(rating.argsort().argsort() * 5 // len(rating))


def query_features(queries: Queries, rng: np.random.Generator) -> Array:
    """(Q, 32) float32: what a hidden state might show of a problem, rotated; its standardised log length; a bias."""
    count = len(queries.difficulty)

    def standard(x: Array) -> Array:
        return np.asarray((x - x.mean()) / max(float(x.std()), 1e-12))

    def blur(x: Array, correlation: float) -> Array:
        return np.asarray(correlation * standard(x) + np.sqrt(1 - correlation**2) * rng.standard_normal(count))

    shown = [
        blur(queries.difficulty, 0.7),
        blur(np.log(queries.length), 0.8),
        blur(np.log(queries.attraction), 0.4),
        blur(np.log(queries.fooled), 0.3),
        queries.lapse + rng.standard_normal(count),
    ]
    noise = rng.standard_normal((count, EMBEDDING - len(shown)))
    rotation, triangle = np.linalg.qr(rng.standard_normal((EMBEDDING, EMBEDDING)))
    embedding = np.column_stack([*shown, noise]) @ (rotation * np.sign(np.diag(triangle)))
    return np.column_stack([embedding, standard(np.log(queries.prompt)), np.ones(count)]).astype(np.float32)
