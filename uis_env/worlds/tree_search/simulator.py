"""PRM-guided tree search, simulated step by step for many problems and draws at once.

A path is on track, derailed unseen, or visibly derailed. With `p` the chance that one sample solves the problem and
`w_h` the share of the problem's crux on step h (summing to 1), a path on track derails at step h with chance
`d_h = 1 − p^w_h`, so one unguided path succeeds with exactly p whatever its length L. Of d_h,
`min(d_h, eta/L + eps·max(d_h − eta/L, 0))` is an error that the PRM does not see; each later step shows it with
chance `detection`. The PRM values a step at
`sigmoid(on_track − slope·b − gap·[visible] + bonus·[unseen error now] + s)`, s a stationary AR(1) along the path, and a
path at V, the mean of its step values so far.

Search (QP, CP, BS): QP sub-trees, one after the other; each draws its own depth, its root makes BS·CP candidate
steps, every kept path CP more, and the best BS by V are kept. The answer is the finished path with the greatest V.
CP = 1 is therefore best-of-(QP·BS), and the first sub-trees of a run with QP = 8 are a run with a smaller QP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.worlds.tree_search.fits import MAX_STEPS, Fit
from uis_env.worlds.tree_search.problems import Problems

Array = NDArray[Any]
VERSION = 2
"""Changes whenever the same parameters would give other numbers; part of the key of cached worlds."""
BLOCK = 16
"""Draws simulated together; a world of fewer draws is a prefix of one with more, in whole blocks."""


class Trees(NamedTuple):
    """What came back from T searches after 1, 2, ... sub-trees: arrays of shape (QP, R, Q).

    Attributes:
        value: V of the answer, in (0, 1).
        correct: bool, whether the answer is right.
        tokens: tokens generated.
        squares: sum over generated tokens of 2·(tokens of its own path before it) + 1.
        steps: decoding steps, in tokens: all candidates of a step run side by side, sub-trees do not.
    """

    value: Array
    correct: Array
    tokens: Array
    squares: Array
    steps: Array


def search(
    fit: Fit,
    problems: Problems,
    model: int,
    trees: int,
    candidates: int,
    beam: int,
    draws: int,
    seed: int,
    v_sup: float | None = None,
) -> Trees:
    """Searches every problem `draws` times with `trees` sub-trees (QP), `candidates` (CP) and `beam` (BS).

    The random numbers depend on (seed, model, CP, BS, sub-tree, block of draws) alone, so every prefix of sub-trees,
    and the same search with and without early exit, see the same ones.

    Args:
        fit: the simulator's parameters.
        problems: the Q problems.
        model: column of `problems.solve`.
        trees: QP.
        candidates: CP.
        beam: BS.
        draws: R, independent repetitions.
        seed: of the world.
        v_sup: None for no early exit; else the bound on a step's value in UniScale's path-aware rule (arXiv
            2605.30898): after step j a path is dropped if `(j·V + (H_max − j)·v_sup)/H_max` is below the best finished
            V of the sub-trees before.

    Returns:
        (trees, draws, Q) arrays, entry k after k + 1 sub-trees.
    """
    count = len(problems.group)
    parts = []
    for start in range(0, draws, BLOCK):
        size = min(BLOCK, draws - start)
        query = np.tile(np.arange(count), size)
        best = np.full(size * count, -np.inf, np.float32)
        correct = np.zeros(size * count, bool)
        totals = np.zeros((3, size * count))
        runs = []
        for tree in range(trees):
            rng = np.random.Generator(
                np.random.SFC64(np.random.SeedSequence([seed, 3, model, candidates, beam, tree, start // BLOCK]))
            )
            value, right, spent = grow(rng, fit, problems, query, model, candidates, beam, best, v_sup)
            better = value > best
            best = np.where(better, value, best)
            correct = np.where(better, right, correct)
            totals = totals + spent
            runs.append((best, correct, *totals))
        parts.append([np.stack(column).reshape(trees, size, count) for column in zip(*runs, strict=True)])
    return Trees(*(np.concatenate(column, axis=1) for column in zip(*parts, strict=True)))


def grow(
    rng: np.random.Generator,
    fit: Fit,
    problems: Problems,
    query: Array,
    model: int,
    candidates: int,
    beam: int,
    best: Array,
    v_sup: float | None,
) -> tuple[Array, Array, Array]:
    """Grows one sub-tree for each of n rows.

    Args:
        rng: gives the same numbers to the same rows with and without early exit.
        fit: the simulator's parameters.
        problems: the Q problems.
        query: (n,) each row's problem.
        model: column of `problems.solve`.
        candidates: CP.
        beam: BS.
        best: (n,) the best finished V so far, −inf if none.
        v_sup: as in `search`.

    Returns:
        value (n,) of the best finished path (−inf if all were dropped), correct (n,), and (3, n) tokens, squares and
        decoding steps.
    """
    n = len(query)
    depth = np.rint(problems.steps[query] * np.exp(fit.tree_sd * rng.standard_normal(n)))
    depth = np.clip(depth, 2, MAX_STEPS).astype(np.intp)
    # Rows sorted by depth: the rows still growing are a leading slice, so finished ones drop off without a copy.
    order = np.argsort(-depth, kind="stable")
    depth, query, best = depth[order], query[order], best[order]
    growing = np.searchsorted(-depth, -np.arange(MAX_STEPS + 1), side="left")

    share = problems.crux[query, depth].T
    log_p = np.log(problems.solve[query, model]).astype(np.float32)
    level = (fit.on_track - fit.difficulty_slope * problems.difficulty[query]).astype(np.float32)
    floor = (fit.unseen_floor / depth).astype(np.float32)
    eps = np.where(problems.group[query] == 5, fit.unseen_share_aime, fit.unseen_share).astype(np.float32)
    memory = np.float32(fit.value_memory)
    sd, fresh = np.float32(fit.value_sd), np.float32(fit.value_sd * np.sqrt(1 - fit.value_memory**2))
    least = np.float32(fit.step_tokens * (1 - fit.step_spread))
    spread = np.float32(2 * fit.step_tokens * fit.step_spread)
    gap, bonus, detection = np.float32(fit.gap), np.float32(fit.bonus), np.float32(fit.detection)

    total: Array = np.zeros((n, 1), np.float32)  # sum of step values of each kept path; −inf once dropped
    noise = np.zeros((n, 1), np.float32)
    prefix = np.zeros((n, 1), np.float32)
    state = np.zeros((n, 1), np.int8)  # 0 on track, 1 derailed unseen, 2 visibly derailed
    value: Array = np.full(n, -np.inf, np.float32)
    correct, spent = np.zeros(n, bool), np.zeros((3, n))

    for h in range(depth[0]):
        m = growing[h]
        width, children = (1, beam * candidates) if h == 0 else (beam, candidates)
        shape = (m, width, children)
        luck = rng.random(shape, np.float32)
        fall = -np.expm1(share[h, :m] * log_p[:m])[:, None]
        unseen = np.minimum(fall, floor[:m, None] + eps[:m, None] * np.maximum(fall - floor[:m, None], 0))
        # One uniform decides: below `shown` the step is visibly wrong, below `lost` it is wrong unseen.
        shown = np.where(state == 0, fall - unseen, np.where(state == 1, detection, np.float32(2)))[:, :, None]
        lost = np.where(state == 0, fall, np.float32(0))[:, :, None]
        offset = np.where(luck < shown, -gap, np.where(luck < lost, bonus, np.float32(0)))
        step_noise = rng.standard_normal(shape, np.float32)
        if h == 0:
            step_noise *= sd
        else:
            step_noise *= fresh
            step_noise += memory * noise[:, :, None]
        offset += step_noise
        offset += level[:m, None, None]
        new_total = total[:, :, None] + 1 / (1 + np.exp(-offset))

        tokens = rng.random(shape, np.float32)
        tokens *= spread
        tokens += least
        alive = total > -np.inf
        if v_sup is not None:
            tokens *= alive[:, :, None]
        made = tokens.sum(axis=2)
        spent[0, :m] += made.sum(axis=1)
        spent[1, :m] += (2 * prefix * made).sum(axis=1) + np.einsum("nwc,nwc->n", tokens, tokens)
        spent[2, :m] += made.sum(axis=1) / np.maximum(alive.sum(axis=1) * children, 1)

        flat = new_total.reshape(m, width * children)
        if width * children == beam:
            keep = np.broadcast_to(np.arange(beam), (m, beam))
        elif beam == 1:
            keep = flat.argmax(axis=1)[:, None]
        else:  # sorted, because the order in which a partition leaves its indices differs between machines
            keep = np.sort(np.argpartition(flat, -beam, axis=1)[:, -beam:], axis=1)
        rows, parent = np.arange(m)[:, None], keep // children
        total = flat[rows, keep]
        noise = step_noise.reshape(m, -1)[rows, keep]
        prefix = prefix[rows, parent] + tokens.reshape(m, -1)[rows, keep]
        luck = luck.reshape(m, -1)[rows, keep]
        state = np.where(
            luck < shown[rows, parent, 0], 2, np.where(luck < lost[rows, parent, 0], 1, state[rows, parent])
        ).astype(np.int8)

        left = growing[h + 1]
        if left < m:
            done = slice(left, m)
            winner = total[done].argmax(axis=1)
            places = np.arange(m - left)
            value[done] = total[done][places, winner] / depth[done]
            correct[done] = (state[done][places, winner] == 0) & (value[done] > -np.inf)
            total, noise, prefix, state = total[:left], noise[:left], prefix[:left], state[:left]
        if v_sup is not None and left:
            reach = (total + np.float32((MAX_STEPS - h - 1) * v_sup)) / np.float32(MAX_STEPS)
            total = np.where(reach < best[:left, None], np.float32(-np.inf), total)

    inverse = np.empty(n, np.intp)
    inverse[order] = np.arange(n)
    return value[inverse], correct[inverse], spent[:, inverse]
