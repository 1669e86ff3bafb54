"""The ceiling: what the context is worth to a policy that was told everything about other queries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.bandit import Bandit

Array = NDArray[Any]
PENALTIES = np.logspace(-4, 4, 17)
"""Ridge penalties per training query, for standardised features; the largest leaves each arm's mean, hardly more."""


def ceiling_policy(bandit: Bandit, weight: Array, fold: NDArray[np.int32]) -> NDArray[np.int64]:
    """(P, Q) arms chosen by a policy with full information on the other folds, from the context alone.

    Per phase and arm a ridge regression of expected reward on the context, fitted on the queries of the other folds,
    its penalty chosen by leave-one-out cross-validation among them; the policy takes the best prediction on offer.

    Args:
        bandit: what is played.
        weight: (P, Q) shares of the rounds; only queries that a phase asks are fitted.
        fold: (Q,) int.
    """
    phases, queries, arms = bandit.expected.shape
    choice = np.zeros((phases, queries), np.int64)
    for phase in range(phases):
        for number in np.unique(fold):
            test = fold == number
            train = (~test if not test.all() else test) & (weight[phase] > 0)
            offered, group = np.unique(bandit.mask[phase, train], axis=1, return_inverse=True)
            predicted = np.full((int(test.sum()), arms), -np.inf)
            for pattern in range(offered.shape[1]):
                rows = np.flatnonzero(train)[offered[:, pattern]]
                members = np.flatnonzero(group.ravel() == pattern)
                if len(rows):
                    predicted[:, members] = ridge(
                        bandit.context[rows], bandit.expected[phase][np.ix_(rows, members)], bandit.context[test]
                    )
            # an arm that no training query has ranks last, but before those that are not on offer
            ranked = np.where(bandit.mask[phase, test], np.maximum(predicted, -1e300), -np.inf)
            choice[phase, test] = ranked.argmax(axis=1)
    return choice


def ridge(context: Array, target: Array, at: Array) -> Array:
    """(m, K) predictions at (m, D) contexts of K ridge regressions on n rows, each with its own penalty.

    Features are standardised and the intercept is free. Penalties are chosen by the exact leave-one-out residuals
    (y − ŷ)/(1 − h), h the leverage.

    Args:
        context: (n, D).
        target: (n, K).
        at: (m, D).
    """
    count = len(context)
    context, target, at = (np.asarray(array, np.float64) for array in (context, target, at))
    centre, mean = context.mean(axis=0), target.mean(axis=0)
    scale = context.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    left, singular, right = np.linalg.svd((context - centre) / scale, full_matrices=False)
    projected = left.T @ (target - mean)
    penalties = PENALTIES * count
    errors = np.empty((len(penalties), target.shape[1]))
    for i, penalty in enumerate(penalties):
        shrink = singular**2 / (singular**2 + penalty)
        residual = target - mean - (left * shrink) @ projected
        leverage = 1 / count + left**2 @ shrink
        errors[i] = ((residual / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).mean(axis=0)
    chosen = penalties[len(penalties) - 1 - errors[::-1].argmin(axis=0)]
    weights = right.T @ (singular[:, None] / (singular[:, None] ** 2 + chosen) * projected)
    return np.asarray(mean + (at - centre) / scale @ weights)
