"""The ceiling: what the context is worth to a policy that knows every outcome of other queries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.components import two_way

Array = NDArray[Any]
Groups = list[Array]
SPLITS, FOLDS, INNER = 10, 5, 3
LEAST = 2 * FOLDS
"""With fewer queries than this, or in a phase that asks fewer, the policy is the fixed arm."""
PENALTIES = np.logspace(-4, 4, 17)
"""Ridge penalties per training query, for standardised features; the largest leaves each arm's mean, hardly more."""
FAMILY = {
    "fixed arm": ("mean", "mean"),
    "quality": ("linear", "mean"),
    "cost": ("mean", "linear"),
    "quality and cost": ("linear", "linear"),
    "log cost": ("mean", "log"),
    "quality and log cost": ("linear", "log"),
}
"""How policies predict what an arm gains by its quality, and what it loses by its cost; the simplest first."""


class Tables(NamedTuple):
    """What one phase pays: Q queries, K arms.

    Attributes:
        context: (Q, D).
        gain: (Q, K) float64, expected quality times its weight.
        loss: (Q, K) float64, what everything else (cost, tokens, seconds; less a score) takes: reward = gain - loss.
        mask: (Q, K) bool, arms on offer.
        always: (K,) bool, arms that may be a fixed arm.
        weight: (Q,) share of the rounds.
    """

    context: Array
    gain: Array
    loss: Array
    mask: Array
    always: Array
    weight: Array


class Policies(NamedTuple):
    """What full-information policies choose for every query, by split of the queries into folds.

    Attributes:
        arm: (SPLITS, Q) of the policy that was fitted and chosen on the other folds.
        fixed: (SPLITS, Q) the best fixed arm of the other folds.
        member: (SPLITS, Q) the policy's place in FAMILY.
    """

    arm: Array
    fixed: Array
    member: Array


def policies(tables: Tables) -> Policies:
    """Policies with full information on the other folds, from the context alone, for several splits into five folds.

    Quality and loss are regressed on the context apart, since heavy-tailed costs would drown quality in one regression
    of the reward; the loss as it is or, where it is positive, in the logarithm. Each may also be predicted by the arm's
    mean, so the fixed arm is one of the FAMILY. Three-fold cross-validation within the training queries chooses the
    member that earns most there, but the fixed arm unless the lead over it exceeds one standard error (L. Breiman et
    al., "Classification and regression trees", 1984). A query's own fold is never used for its policy.
    """
    groups = _groups(tables.mask)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(lambda split: _split(tables, groups, np.random.default_rng(split)), range(SPLITS)))
    return Policies(*(np.stack(part) for part in zip(*parts, strict=True)))


def _split(tables: Tables, groups: Groups, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """(Q,) arms, fixed arms and members of one split."""
    queries = len(tables.context)
    asked = np.flatnonzero(tables.weight > 0)
    fold = random.permutation(queries) % FOLDS
    arm, fixed, member = (np.zeros(queries, np.int64) for _ in range(3))
    for number in range(FOLDS):
        test, train = np.flatnonzero(fold == number), asked[fold[asked] != number]
        few = len(train) < LEAST
        train = asked if few else train
        member[test] = 0 if few else _choose(tables, groups, train, random)
        if len(test):
            arm[test] = _arms(tables, groups, train, test, [int(member[test[0]])])[0]
        fixed[test] = _fixed(tables, train)
    return arm, fixed, member


def _groups(mask: Array) -> Groups:
    """Arms that the same queries offer, which are regressed together."""
    found: dict[bytes, list[int]] = {}
    for arm, offered in enumerate(mask.T):
        found.setdefault(offered.tobytes(), []).append(arm)
    return [np.array(arms) for arms in found.values()]


def _choose(tables: Tables, groups: Groups, train: Array, random: np.random.Generator) -> int:
    """The member of FAMILY that earns most on held-out folds of the training queries."""
    fold = random.permutation(len(train)) % INNER
    earned = np.zeros((len(train), len(FAMILY)))
    for number in range(INNER):
        held = train[fold == number]
        arms = _arms(tables, groups, train[fold != number], held, range(len(FAMILY)))
        earned[fold == number] = np.take_along_axis(tables.gain[held] - tables.loss[held], arms.T, axis=1)
    lead = two_way((earned - earned[:, :1]).T[:, None] * tables.weight[train], tables.weight[train][None])
    error = np.sqrt(lead.contributions(np.eye(len(FAMILY))).sum(axis=0))
    able = lead.mean > np.maximum(error, 1e-12)
    return int(np.argmax(np.where(able, lead.mean, 0.0)))


def _arms(tables: Tables, groups: Groups, train: Array, test: Array, members: Sequence[int]) -> Array:
    """(len(members), len(test)) choices of members of FAMILY that were fitted on the training queries."""
    arms = tables.gain.shape[1]
    ways = list(FAMILY.values())
    needed = {way for member in members for way in zip(("gain", "loss"), ways[member], strict=True)}
    predicted = {way: np.full((len(test), arms), np.nan) for way in needed}
    for columns in groups:
        rows = train[tables.mask[train, columns[0]]]
        if not len(rows):
            continue
        design = Ridge(tables.context[rows], tables.context[test])
        for name, way in needed:
            target = getattr(tables, name)[rows]
            target = target if len(columns) == arms else target[:, columns]
            predicted[name, way][:, columns] = _predict(design, target, way)
    chosen = []
    for member in members:
        gain, loss = ways[member]
        worth = predicted["gain", gain] - predicted["loss", loss]
        if member == 0:  # one arm for all, if any is always on offer
            worth = np.where(tables.always | ~tables.always.any(), worth, -np.inf)
        # an arm that no training query has ranks last, but before those that are not on offer
        chosen.append(
            np.where(tables.mask[test], np.nan_to_num(worth, nan=-1e300, neginf=-1e301), -np.inf).argmax(axis=1)
        )
    return np.array(chosen)


def _fixed(tables: Tables, train: Array) -> int:
    """The best arm of the training queries among those that are always on offer."""
    worth = tables.weight[train] @ (tables.gain[train] - tables.loss[train])
    return int(np.argmax(np.where(tables.always, worth, -np.inf)))


def _predict(design: Ridge, target: Array, way: str) -> Array:
    """(m, K) predictions of (n, K) targets: each arm's mean, or a ridge regression of it or of its logarithm.

    The mean of what was regressed in the logarithm is the exponential times a factor per arm that makes it right on
    average on the training queries (N. Duan, "Smearing estimate", JASA 78, 1983); logarithms stay within those seen.
    """
    if way == "mean":
        return np.broadcast_to(target.mean(axis=0), (design.tests, target.shape[1]))
    if way == "linear" or not (target > 0).all():
        return design.fit(target)[1]
    logarithm = np.log(target)
    fitted, predicted = design.fit(logarithm)
    smear = target.mean(axis=0) / np.exp(fitted).mean(axis=0)
    return np.asarray(smear * np.exp(np.clip(predicted, logarithm.min(axis=0), logarithm.max(axis=0))))


class Ridge:
    """Ridge regressions of many targets on one set of contexts: standardised features, free intercept.

    The freeze rule of agents (`agents.freeze`) has another: one masked target within a compiled program, its penalty
    chosen by leave-one-out residuals, which would cost 17 times as much for the many regressions here.

    Args:
        context: (n, D) to fit on.
        at: (m, D) to predict at.
    """

    def __init__(self, context: Array, at: Array) -> None:
        context, at = np.asarray(context, np.float64), np.asarray(at, np.float64)
        centre, scale = context.mean(axis=0), context.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        x = (context - centre) / scale
        value, vectors = np.linalg.eigh(x.T @ x)
        self.count, self.tests = len(context), len(at)
        self.squares = np.maximum(value, 0.0)
        self.train, self.test = x @ vectors, (at - centre) / scale @ vectors

    def fit(self, target: Array) -> tuple[Array, Array]:
        """(n, K) fitted values and (m, K) predictions, each of K targets with its own penalty of PENALTIES.

        Penalties are chosen by generalised cross-validation, the mean squared residual over (1 - trace(H)/n)^2 with H
        the hat matrix (G. H. Golub, M. Heath and G. Wahba, Technometrics 21, 1979).
        """
        mean = target.mean(axis=0)
        centred = target - mean
        projected = self.train.T @ centred
        penalties = PENALTIES[:, None] * self.count
        inverse = 1 / (self.squares + penalties)  # (penalties, D)
        explained = (2 - self.squares * inverse) * inverse @ projected**2
        residual = np.maximum((centred**2).sum(axis=0) - explained, 0.0)
        freedom = 1 + (self.squares * inverse).sum(axis=1)
        error = residual / np.maximum(1 - freedom / self.count, 1e-9)[:, None] ** 2
        chosen = len(PENALTIES) - 1 - error[::-1].argmin(axis=0)
        weights = projected * inverse[chosen].T
        return mean + self.train @ weights, mean + self.test @ weights
