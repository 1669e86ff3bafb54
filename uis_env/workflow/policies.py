"""Baselines for workflows: policies that look at the query and, some of them, at what is left.

All of them know the expected outcomes of the queries they are asked (full information, no learning), so that what
separates them from the plan is what they do with the state alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.workflow.core import Policy, Situation, Tasks, Workflow, play

Array = NDArray[Any]


def greedy(flow: Workflow) -> Policy:
    """Takes in every step the arm of greatest `quality·P(right) − spent`, as if the step were the whole task."""
    value = flow.reward.quality * flow.tables.right.mean(axis=1) - flow.tables.spent.mean(axis=1, dtype=np.float64)
    return _fixed(np.where(flow.tables.mask, value, -np.inf))


def uniform_split(flow: Workflow) -> Policy:
    """Gives every step 1/S of deadline and budget: the likeliest arm to be right among those whose mean use fits.

    Where none fits, the one that uses the largest share least.
    """
    limits = flow.limits
    use = np.maximum(
        flow.tables.seconds.mean(axis=1, dtype=np.float64) * flow.steps / limits[0],
        flow.tables.tokens.mean(axis=1, dtype=np.float64) * flow.steps / limits[1],
    )
    value = np.where(use <= 1, flow.tables.right.mean(axis=1), -use)
    return _fixed(np.where(flow.tables.mask, value, -np.inf))


def one_arm(flow: Workflow, arm: int) -> Policy:
    """One arm at every step (the first arm on offer where it is not)."""
    value = np.zeros(flow.tables.mask.shape)
    value[:, arm] = 1.0
    return _fixed(np.where(flow.tables.mask, value, -np.inf))


def best_arm(flow: Workflow, tasks: Tasks) -> Policy:
    """The one arm with the greatest mean return over `tasks`."""
    return _best([one_arm(flow, arm) for arm in range(flow.tables.mask.shape[1])], flow, tasks)


def step_blind(flow: Workflow, tasks: Tasks, prices: int = 7) -> Policy:
    """The best of policies that see the query alone: `argmax P(right) − a·spent − b·seconds − c·tokens`, or one arm.

    This is what a contextual bandit can come to when it does not see what is left. a is 0 or the inverse of the reward
    of a success; b and c, in shares of the limits, are chosen among 0 and `prices` − 1 powers of two from 2^-3 by the
    mean return over `tasks`.
    """
    right = flow.tables.right.mean(axis=1)
    spent, seconds, tokens = (
        array.mean(axis=1, dtype=np.float64) / unit
        for array, unit in (
            (flow.tables.spent, flow.reward.quality or 1.0),
            (flow.tables.seconds, flow.limits[0]),
            (flow.tables.tokens, flow.limits[1]),
        )
    )
    powers = [0.0, *(2.0 ** (i - 3) for i in range(prices - 1))]
    candidates = [one_arm(flow, arm) for arm in range(right.shape[1])]
    candidates += [
        _fixed(np.where(flow.tables.mask, right - a * spent - b * seconds - c * tokens, -np.inf))
        for a, b, c in itertools.product(
            (0.0, 1.0), powers if seconds.any() else [0.0], powers if tokens.any() else [0.0]
        )
    ]
    return _best(candidates, flow, tasks)


def _fixed(value: Array) -> Policy:
    """Argmax of (Q, K) values, looked up by query."""
    choice = value.argmax(axis=1)

    def policy(seen: Situation) -> Array:
        return np.asarray(choice[seen.query])

    return policy


def _best(candidates: Sequence[Policy], flow: Workflow, tasks: Tasks) -> Policy:
    returns = [play(flow, policy, tasks)[0].mean() for policy in candidates]
    return candidates[int(np.argmax(returns))]
