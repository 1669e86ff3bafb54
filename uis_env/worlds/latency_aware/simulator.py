"""A generative model of parallel sampling and beam search with a process reward model; NumPy only, *simulated*.

**One sample** of query i is right with chance `p_i = (1 − slip)·sigmoid(ability − ability_sd·d_i)`, d_i standard
normal; on a share `lapse` of the queries it is divided by LAPSE. A wrong sample gives the query's one attractive wrong
answer with chance s_i, else an answer that no other sample gives; majority voting therefore saturates where
`p_i > (1 − p_i)·s_i` ends. The verifier scores a sample at `sigmoid(x)`: x ~ N(gap, 1) if it is right, N(0, 1) if
wrong; with chance e_i a wrong sample is overrated, x ~ N(gap + overrated, 1). The more samples, the likelier one is
overrated: naive best-of-N, which takes the best score, falls at large N, while weighted best-of-N (scores summed by
answer) and voting do not. All methods at all N read prefixes of one pool of samples; ties go to the answer seen first,
so voting over two samples is one sample.

**Beam search** (N, width w, max steps): with S_i steps, a sample errs at a step with chance `h_i = 1 − p_i^(1/S_i)`.
Keeping k = N/w paths, all candidates of a step err with chance `h_i^n`, `n = w^width_power · k^kept_power`; and the
verifier leaves the right path for good with chance `g_i·k^(−greed_power)`, where `g_i = greed·e_i/mean(e)`. So
`P(right) = ((1 − h_i^n)·(1 − g_i·k^(−greed_power)))^S_i`: on easy queries search over-optimises the verifier, on hard
ones it gains. Lapse queries keep their p_i.

**Tokens and seconds**: a sample's length is log-normal around the query's, cut at LIMIT; some slipped samples run away
to it.
`seconds = start + prefill·prompt + decode·(longest) + batch·(all tokens) [+ verify·(all tokens)]`: samples decode side
by side, a step takes longer the more of them are active. A beam search takes as many steps as the longest of its kept
paths, some of which never end, at most `max steps`, with N candidates each:
`seconds = beam_start + prefill·prompt + steps·(step_start + step_tokens·(decode + step_batch·N)) + rescore·N·steps²/2`,
times factors near 1, one per configuration, for what these formulas leave (the published rows were not all measured on
the same questions and under the same load).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.worlds.latency_aware.fits import Fit
from uis_env.worlds.latency_aware.targets import BEAMS, PARALLEL, SIZES

Array = NDArray[Any]
VERSION = 1
"""Changes whenever the same parameters would give other numbers; part of the key of cached worlds."""
LIMIT = 2048.0
"""Most tokens of a sample (published setting)."""
LAPSE = 50.0
"""What divides one sample's accuracy on a lapse query: set by hand."""
PREFILL = 2e-5
"""Seconds per prompt token: set by hand; too small to show in any published number."""
PROMPT, PROMPT_SD = 90.0, 0.4
"""Median prompt tokens and their log-normal spread: set by hand."""


class Queries(NamedTuple):
    """Q simulated queries, float64 (Q,) each.

    Attributes:
        difficulty: d, standard normal.
        solve: p, the chance that one sample is right.
        lapse: bool.
        attraction: s, the share of wrong samples that agree.
        fooled: e, the chance that a wrong sample is overrated.
        length: median tokens of a finished sample.
        steps: S, steps of a sample.
        prompt: prompt tokens.
    """

    difficulty: Array
    solve: Array
    lapse: Array
    attraction: Array
    fooled: Array
    length: Array
    steps: Array
    prompt: Array


class Luck(NamedTuple):
    """The random numbers of R draws of every arm on Q queries; float32 (Q, R, ...), so one set serves many parameters.

    Attributes:
        answer, fooled: (Q, R, N) uniforms.
        score, length: (Q, R, N) standard normals.
        beam: (Q, R, B) uniforms, whether the search is right.
        path, step: (Q, R, B) a uniform for the longest kept path, a standard normal for the tokens of a step.
    """

    answer: Array
    fooled: Array
    score: Array
    length: Array
    beam: Array
    path: Array
    step: Array


class Results(NamedTuple):
    """quality, tokens, latency: (Q, R, 22) float32, arms in the order of `targets.ARMS`."""

    quality: Array
    tokens: Array
    latency: Array


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def spread_normals(count: int, dimensions: int, rng: np.random.Generator) -> Array:
    """(count, dimensions) standard normals, evenly spread: the means of a world hardly change with its seed or size.

    Every single row is standard normal, and the first column is stratified; the others are a randomly shifted additive
    recurrence (Roberts' generalised golden ratio). Rows are shuffled.
    """
    root = 1.5
    for _ in range(60):  # x^dimensions = x + 1
        root = (1 + root) ** (1 / dimensions)
    step = np.append(1 / count, root ** -np.arange(1.0, dimensions))
    uniform = (rng.random(dimensions) + np.arange(count)[:, None] * step) % 1
    quantile = NormalDist().inv_cdf
    clipped = np.clip(uniform[rng.permutation(count)], 1e-9, 1 - 1e-9)
    return np.array([[quantile(u) for u in row] for row in clipped.tolist()])


def make_queries(fit: Fit, count: int, rng: np.random.Generator) -> Queries:
    """Draws `count` queries: five independent latents, of which difficulty and length are then correlated by `lag`."""
    z = spread_normals(count, 6, rng)
    difficulty = z[:, 0]
    lapse = z[:, 1] < (NormalDist().inv_cdf(fit.lapse) if fit.lapse > 0 else -np.inf)
    solve = (1 - fit.slip) * sigmoid(fit.ability - fit.ability_sd * difficulty) / np.where(lapse, LAPSE, 1.0)
    log_length = fit.length_sd * (fit.lag * difficulty + np.sqrt(1 - fit.lag**2) * z[:, 4])
    return Queries(
        difficulty=difficulty,
        solve=solve,
        lapse=lapse,
        attraction=sigmoid(fit.attraction + fit.attraction_sd * z[:, 2]),
        fooled=sigmoid(fit.fooled + fit.fooled_sd * z[:, 3]),
        length=fit.length * np.exp(log_length),
        steps=np.maximum(fit.steps * np.exp(log_length), 1.0),
        prompt=np.rint(PROMPT * np.exp(PROMPT_SD * (0.5 * z[:, 4] + np.sqrt(0.75) * z[:, 5]))),
    )


def draw_luck(rng: np.random.Generator, queries: int, draws: int) -> Luck:
    """Fresh random numbers for `draws` draws of every arm."""
    pool, search = (queries, draws, max(SIZES)), (queries, draws, len(BEAMS))
    return Luck(
        answer=rng.random(pool, np.float32),
        fooled=rng.random(pool, np.float32),
        score=rng.standard_normal(pool, np.float32),
        length=rng.standard_normal(pool, np.float32),
        beam=rng.random(search, np.float32),
        path=rng.random(search, np.float32),
        step=rng.standard_normal(search, np.float32),
    )


def beam_accuracy(fit: Fit, queries: Queries) -> Array:
    """(Q, B) float64: the exact chance that each beam search is right."""
    size, width, _ = np.array(BEAMS, float).T
    kept = size / width
    candidates = width**fit.width_power * kept**fit.kept_power
    err = 1 - queries.solve ** (1 / queries.steps)
    greed = np.minimum(fit.greed * queries.fooled / queries.fooled.mean(), 0.9)
    alive = (1 - err[:, None] ** candidates) * (1 - greed[:, None] * kept**-fit.greed_power)
    return np.where(queries.lapse[:, None], queries.solve[:, None], alive ** queries.steps[:, None])


class Samples(NamedTuple):
    """Pools of N samples, (Q, R, N) each: right and attractive bool, score in (0, 1) float32."""

    right: Array
    attractive: Array
    score: Array


def draw_samples(fit: Fit, queries: Queries, luck: Luck) -> Samples:
    """The pools that all parallel methods read."""
    solve, attraction, fooled = (
        x.astype(np.float32)[:, None, None] for x in (queries.solve, queries.attraction, queries.fooled)
    )
    right = luck.answer < solve
    attractive = ~right & (luck.answer < solve + (1 - solve) * attraction) & ~_runaway(fit, luck)
    level = np.where(right, np.float32(fit.gap), np.float32(0))
    level[~right & (luck.fooled < fooled)] = fit.gap + fit.overrated
    return Samples(right, attractive, sigmoid(level + luck.score))


def _runaway(fit: Fit, luck: Luck) -> Array:
    """(Q, R, N) bool: slipped samples that never end, so the same uniform makes them wrong."""
    return np.asarray(luck.answer >= 1 - min(fit.runaway, fit.slip))


def sample_lengths(fit: Fit, queries: Queries, luck: Luck) -> Array:
    """(Q, R, N) float32 tokens of every sample of the pools."""
    typical = queries.length.astype(np.float32)[:, None, None]
    length = np.clip(typical * np.exp(np.float32(fit.sample_sd) * luck.length), 1, np.float32(LIMIT))
    length[_runaway(fit, luck)] = LIMIT
    return np.rint(length)


def parallel_quality(samples: Samples) -> Array:
    """(Q, R, 15) bool: whether majority voting, naive and weighted best-of-N are right, N in SIZES each."""
    score = samples.score
    naive = _prefix_max(score * samples.right) > _prefix_max(score * ~samples.right)
    return np.concatenate([_vote(samples, np.ones_like(score)), naive, _vote(samples, score)], axis=2)


_AT = np.array(SIZES) - 1


def _prefix_max(x: Array) -> Array:
    return np.asarray(np.maximum.accumulate(x, axis=2)[..., _AT])


def _vote(samples: Samples, weight: Array) -> Array:
    """(Q, R, 5) bool: whether the right answer has the most weight in each prefix; ties go to the answer seen first."""
    alone = ~(samples.right | samples.attractive)

    def rank(which: Array, total: Array) -> tuple[Array, Array]:
        seen = np.where(which.any(axis=2), which.argmax(axis=2), which.shape[2])
        return total, seen[..., None]

    ours, first = rank(samples.right, np.cumsum(weight * samples.right, axis=2)[..., _AT])
    wins = ours > 0
    for theirs, seen in (
        rank(samples.attractive, np.cumsum(weight * samples.attractive, axis=2)[..., _AT]),
        rank(alone, _prefix_max(weight * alone)),
    ):
        wins &= (ours > theirs) | ((ours == theirs) & (first < seen))
    return np.asarray(wins)


def parallel_costs(fit: Fit, queries: Queries, lengths: Array) -> tuple[Array, Array]:
    """(Q, R, 15) tokens and seconds of the parallel methods, float64."""
    tokens = np.cumsum(lengths, axis=2, dtype=np.float64)[..., _AT]
    reading = PREFILL * queries.prompt[:, None, None]
    seconds = fit.start + reading + fit.decode * _prefix_max(lengths) + fit.batch * tokens
    scored = seconds + fit.verify * tokens
    return np.concatenate([tokens] * len(PARALLEL), axis=2), np.concatenate([seconds, scored, scored], axis=2)


def beam_costs(fit: Fit, queries: Queries, luck: Luck) -> tuple[Array, Array]:
    """(Q, R, B) tokens and seconds of beam search, float64."""
    size, width, most = np.array(BEAMS, float).T
    # The longest of k log-logistic paths: the k-th root of a uniform through the quantile function.
    uniform = np.clip(luck.path, 1e-6, 1 - 1e-6).astype(np.float64) ** (width / size)
    longest = (uniform / (1 - uniform)) ** (fit.step_sd * np.sqrt(3) / np.pi)
    longest[uniform > 1 - fit.stray] = np.inf
    steps = np.rint(queries.steps[:, None, None] * longest * (width / 2) ** fit.widening)
    steps = np.clip(steps, 1, most)
    # N·steps steps of uneven length: their mean wanders by 1/sqrt of their number.
    step_tokens = fit.step_tokens * (1 + 0.4 / np.sqrt(size * steps) * np.clip(luck.step, -2, 2))
    tokens = size * steps * step_tokens
    seconds = (
        fit.beam_start
        + PREFILL * queries.prompt[:, None, None]
        + steps * (fit.step_start + step_tokens * (fit.decode + fit.step_batch * size))
        + fit.rescore * size * steps**2 / 2
    )
    token_factor, second_factor = np.array(fit.beam_factors).T
    return np.rint(tokens * token_factor), seconds * second_factor


def quality(fit: Fit, queries: Queries, luck: Luck) -> Array:
    """(Q, R, 22) bool: whether each arm is right."""
    search = luck.beam < beam_accuracy(fit, queries)[:, None, :]
    return np.concatenate([parallel_quality(draw_samples(fit, queries, luck)), search], axis=2)


def costs(fit: Fit, queries: Queries, luck: Luck) -> tuple[Array, Array]:
    """(Q, R, 22) tokens and seconds of each arm, float64."""
    parts = (parallel_costs(fit, queries, sample_lengths(fit, queries, luck)), beam_costs(fit, queries, luck))
    tokens, seconds = (np.concatenate(channel, axis=2) for channel in zip(*parts, strict=True))
    return tokens, seconds


def simulate(fit: Fit, queries: Queries, luck: Luck) -> Results:
    """Every arm on every query in every draw."""
    parts = (quality(fit, queries, luck), *costs(fit, queries, luck))
    return Results(*(array.astype(np.float32) for array in parts))
