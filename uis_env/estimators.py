"""What a method returns on a pool of samples: drawn (a prefix of a stored permutation) or in expectation.

The expectation is exact, over all ordered subsets of the pool without replacement:

* `single`, `best_of_n`: order statistics (the hypergeometric formula of pass@N, for ranks);
* `majority`, `adaptive_consistency`: a dynamic programme over the numbers of samples seen of each answer;
* `weighted_best_of_n`: every subset is enumerated.

Ties go to the tied sample that was drawn first. Every order of a subset is equally likely, so this is a fair tie
among equally frequent answers and among equally scored samples.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.pools import Pool

Array = NDArray[Any]
METHODS = ("single", "best_of_n", "weighted_best_of_n", "majority", "adaptive_consistency")
CONFIDENCE = 0.95
"""Adaptive consistency stops when the leading answer is the more frequent of the first two with this probability."""
MAX_SUBSETS = 200_000
"""Weighted best-of-N refuses to enumerate more subsets than this."""
_TIE = 1e-9
"""Sums of the same scores in another order differ in their last bits; sums closer than this are tied."""


class Returned(NamedTuple):
    """What a method returned and used; float64, (Q, R) when drawn, (Q,) in expectation.

    Attributes:
        quality: correctness of the returned answer.
        score: verifier score of the returned answer; of voted answers the mean over the samples that gave it.
        tokens: completion tokens of all samples, sum of L_n.
        squares: sum of L_n².
        steps: decoding steps one after another: the longest of N samples side by side, or the sum of sequential ones.
    """

    quality: Array
    score: Array
    tokens: Array
    squares: Array
    steps: Array


def pass_at(samples: int, correct: Array, n: int) -> Array:
    """pass@N = 1 − C(S−c, N)/C(S, N): the chance that N of S samples, c of them correct, hold a correct one.

    Chen et al., arXiv 2107.03374. `correct` is c, integers of any shape; the result has its shape, float64.

    Raises:
        ValueError: if n is not in 1..samples or a count not in 0..samples.
    """
    correct = np.asarray(correct)
    if correct.size and (correct.min() < 0 or correct.max() > samples):
        raise ValueError(f"correct counts lie in {correct.min()}..{correct.max()}, expected 0..{samples}")
    _check_budget(n, samples)
    table = np.array([1 - math.comb(samples - c, n) / math.comb(samples, n) for c in range(samples + 1)])
    return np.asarray(table[correct.astype(np.int64)])


def orders(key: int, queries: int, draws: int, samples: int) -> Array:
    """(Q, R, S) int32: independent uniform permutations of each query's samples, the same for the same key."""
    rng = np.random.Generator(np.random.Philox(key=key))
    return rng.permuted(np.tile(np.arange(samples, dtype=np.int32), (queries, draws, 1)), axis=-1)


def draw(pool: Pool, method: str, n: int, order: Array) -> Returned:
    """What `method` with budget n returns when the samples come in the given order.

    Args:
        pool: the samples.
        method: one of METHODS.
        n: the number of samples, for adaptive consistency the most.
        order: (Q, R, S) permutations, from `orders`; the method reads prefixes.

    Returns:
        Arrays of shape (Q, R).

    Raises:
        ValueError: if the method is unknown or n is not in 1..S.
    """
    _check(pool, method, n)
    index = order[..., :n]
    rows = np.arange(len(order))[:, None, None]
    answer, correct, score, tokens = (a[rows, index] for a in (pool.answer, pool.correct, pool.score, pool.tokens))
    if method in ("single", "best_of_n"):
        best = score.argmax(axis=-1)[..., None]
        quality, value = (np.take_along_axis(a, best, -1)[..., 0] for a in (correct, score))
        return Returned(quality, value, tokens.sum(-1), (tokens**2).sum(-1), tokens.max(-1))

    used = np.ones(answer.shape, bool)
    if method == "adaptive_consistency":
        used = np.arange(n) < _stops(answer)[..., None]
    same = (answer[..., :, None] == answer[..., None, :]) & used[..., None, :]
    sums, counts = np.einsum("...ij,...j->...i", same, score), same.sum(axis=-1)
    votes = np.where(answer >= 0, sums if method == "weighted_best_of_n" else counts, -1.0)
    votes = np.where(used, votes, -np.inf)
    winner = (votes >= votes.max(-1, keepdims=True) - _TIE).argmax(-1)[..., None]
    quality, value = (np.take_along_axis(a, winner, -1)[..., 0] for a in (correct, sums / np.maximum(counts, 1)))
    tokens = np.where(used, tokens, 0)
    steps = tokens.sum(-1) if method == "adaptive_consistency" else tokens.max(-1)
    return Returned(quality, value, tokens.sum(-1), (tokens**2).sum(-1), steps)


def expect(pool: Pool, method: str, n: int) -> Returned:
    """The exact expectation of `draw` over all orders of the pool; arrays of shape (Q,).

    Raises:
        ValueError: if the method is unknown, n is not in 1..S, or weighted best-of-N has more than MAX_SUBSETS subsets.
    """
    _check(pool, method, n)
    tokens = n * pool.tokens.mean(axis=1)
    squares = n * (pool.tokens**2).mean(axis=1)
    steps = (chosen_as_best(pool.tokens, n) * pool.tokens).sum(axis=1)
    if method in ("single", "best_of_n"):
        law = chosen_as_best(pool.score, n)
        return Returned((law * pool.correct).sum(axis=1), (law * pool.score).sum(axis=1), tokens, squares, steps)
    if method == "weighted_best_of_n":
        quality, score = _weighted(pool, n)
        return Returned(quality, score, tokens, squares, steps)
    adaptive = method == "adaptive_consistency"
    win, drawn = _voting(pool, n, adaptive)
    quality, score = (win * pool.correct).sum(axis=1), (win * pool.score).sum(axis=1)
    if not adaptive:
        return Returned(quality, score, tokens, squares, steps)
    tokens, squares = (drawn * pool.tokens).sum(axis=1), (drawn * pool.tokens**2).sum(axis=1)
    return Returned(quality, score, tokens, squares, tokens)


def chosen_as_best(values: Array, n: int) -> Array:
    """(Q, S) float64: the chance that each sample is the greatest of n drawn without replacement.

    With h samples strictly greater and g equal (itself included), `[C(S−h, n) − C(S−h−g, n)] / (g·C(S, n))`.
    """
    size = values.shape[1]
    _check_budget(n, size)
    ways = np.array([math.comb(k, n) / math.comb(size, n) for k in range(size + 1)])
    greater = (values[:, None, :] > values[:, :, None]).sum(axis=-1)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=-1)
    return np.asarray((ways[size - greater] - ways[size - greater - equal]) / equal)


@cache
def settled(first: int, second: int) -> bool:
    """Whether adaptive consistency stops at these counts of its two leading answers.

    Aggarwal et al., arXiv 2305.11860: with p ~ Beta(first + 1, second + 1), stop when P(p > 1/2) reaches CONFIDENCE.
    That probability is the binomial tail `Σ_{i <= first} C(first + second + 1, i) / 2^(first + second + 1)`.
    """
    total = first + second + 1
    return bool(sum(math.comb(total, i) for i in range(first + 1)) / 2**total >= CONFIDENCE)


def _check(pool: Pool, method: str, n: int) -> None:
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}, expected one of {', '.join(METHODS)}")
    _check_budget(n, 1 if method == "single" else pool.size)


def _check_budget(n: int, most: int) -> None:
    if not 1 <= n <= most:
        raise ValueError(f"budget is {n} samples, expected 1..{most}")


def _stops(answer: Array) -> Array:
    """(Q, R): how many of the (Q, R, n) answers are seen before the majority is settled, or n."""
    n = answer.shape[-1]
    seen = answer[..., None] == np.arange(max(2, answer.max() + 1))
    top = -np.partition(-seen.cumsum(axis=-2), 1, axis=-1)[..., :2]
    table = np.array([[settled(i, j) for j in range(n + 1)] for i in range(n + 1)])
    stop = table[top[..., 0], top[..., 1]]
    stop[..., -1] = True
    return np.asarray(stop.argmax(axis=-1) + 1)


def _voting(pool: Pool, n: int, adaptive: bool) -> tuple[Array, Array]:
    """(Q, S) weights of the samples in the winning answer's mean, and (Q, S) chances that each sample is drawn.

    Both are equal for all samples of an answer: whether an answer wins, and when to stop, depends on counts alone.
    """
    win, drawn = np.zeros(pool.answer.shape), np.zeros(pool.answer.shape)
    for q, answers in enumerate(pool.answer.tolist()):
        counts = Counter(answers)
        silent = counts.pop(-1, 0)
        law = _voting_law(tuple(sorted(counts.values())), silent, n, adaptive)
        for s, answer in enumerate(answers):
            size = silent if answer == -1 else counts[answer]
            won, seen = law[(answer == -1, size)]
            win[q, s], drawn[q, s] = won / size, seen / size
    return win, drawn


@cache
def _voting_law(
    sizes: tuple[int, ...], silent: int, n: int, adaptive: bool
) -> dict[tuple[bool, int], tuple[float, float]]:
    """The law of a vote over a pool with `sizes[i]` samples of answer i and `silent` samples without an answer.

    Returns:
        For each (is silent, size): the chance that one such answer wins, and its expected number of drawn samples.
    """
    total = sum(sizes) + silent
    kinds = [(False, size) for size in sizes] + ([(True, silent)] if silent else [])
    multiplicity = Counter(kinds)
    won: dict[tuple[bool, int], float] = defaultdict(float)
    seen: dict[tuple[bool, int], float] = defaultdict(float)
    states = {tuple((kind, 0) for kind in kinds): 1.0}
    for step in range(n + 1):
        following: dict[tuple[tuple[tuple[bool, int], int], ...], float] = defaultdict(float)
        for state, chance in states.items():
            voting = [*sorted((count for (quiet, _), count in state if not quiet), reverse=True), 0, 0]
            if step < n and not (adaptive and settled(voting[0], voting[1])):
                # Answers of equal size and count are interchangeable, so one state stands for all of them.
                for part, alike in Counter(state).items():
                    (kind, count) = part
                    if count < kind[1]:
                        rest = list(state)
                        rest.remove(part)
                        reached = tuple(sorted([*rest, (kind, count + 1)]))
                        following[reached] += chance * alike * (kind[1] - count) / (total - step)
                continue
            leaders = [kind for kind, count in state if not kind[0] and count == voting[0] and count] or [kinds[-1]]
            for kind in leaders:
                won[kind] += chance / len(leaders)
            for kind, count in state:
                seen[kind] += chance * count
        states = following
    return {kind: (won[kind] / alike, seen[kind] / alike) for kind, alike in multiplicity.items()}


def _weighted(pool: Pool, n: int) -> tuple[Array, Array]:
    """(Q,) expected quality and score of weighted best-of-N, by enumerating subsets.

    The first drawn of the tied answers' samples belongs to each of them in proportion to its samples in the subset.
    """
    size = pool.size
    if math.comb(size, n) > MAX_SUBSETS:
        raise ValueError(
            f"weighted_best_of_n with {n} of {size} samples has {math.comb(size, n)} subsets, more than {MAX_SUBSETS}: "
            "take the mean over draws instead"
        )
    subsets = np.zeros((math.comb(size, n), size))
    for row, chosen in zip(subsets, itertools.combinations(range(size), n), strict=True):
        row[list(chosen)] = 1
    quality, score = np.empty(len(pool.answer)), np.empty(len(pool.answer))
    for q, answer in enumerate(pool.answer):
        ids = np.unique(answer)
        given = (answer[:, None] == ids).astype(np.float64)
        counts = subsets @ given
        sums = subsets @ (given * pool.score[q][:, None])
        votes = np.where(counts > 0, np.where(ids >= 0, sums, -1.0), -np.inf)
        share = np.where(votes >= votes.max(axis=1, keepdims=True) - _TIE, counts, 0)
        share /= share.sum(axis=1, keepdims=True)
        right = given * pool.correct[q][:, None]
        correct = right.sum(axis=0) / given.sum(axis=0)
        if ((correct > 0) & (correct < 1)).any():  # a vote holds answers of several grades
            correct = (subsets @ right) / np.maximum(counts, 1)
            quality[q] = (share * correct).sum(axis=1).mean()
        else:
            quality[q] = (share @ correct).mean()
        score[q] = (share * sums / np.maximum(counts, 1)).sum(axis=1).mean()
    return quality, score
