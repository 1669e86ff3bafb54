"""Greedy and epsilon-greedy: one ridge regression per arm and no bonus."""

from __future__ import annotations

from jax import Array

from agents.agent import Agent
from agents.linear import linucb
from agents.ranges import ranged
from agents.spec import Spec
from agents.wrappers import explore, warm_up


@ranged
def greedy(
    spec: Spec,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """Greedy: argmax_a x'w_a, w_a the arm's ridge regression; it can get stuck on an early success.

    `linucb` without its bonus. With varied queries it often explores enough (Bastani, Bayati and Khosravi 2021, Mostly
    exploration-free algorithms for contextual bandits).

    Args:
        spec: sizes.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.
        exact: forget exactly, at K d^3 a round.

    Example:
        >>> from agents import greedy, trial
        >>> trial(greedy, warmup=20).shape
        (2,)
    """
    return linucb(spec, 0.0, ridge, discount, warmup, intercept, exact)


@ranged
def epsilon_greedy(
    spec: Spec,
    epsilon: float | Array = 0.05,
    decay: float | Array = 0.0,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """Epsilon-greedy: argmax_a x'w_a, but a uniformly random arm with probability epsilon / (1 + decay t).

    Sutton and Barto (2018), section 2.4. Its propensities are exact, and none is 0.

    Args:
        spec: sizes.
        epsilon: in [0, 1].
        decay: >= 0, per round.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.
        exact: forget exactly, at K d^3 a round.

    Example:
        >>> from agents import epsilon_greedy, trial
        >>> trial(epsilon_greedy, epsilon=0.1).shape
        (2,)
    """
    return warm_up(explore(greedy(spec, ridge, discount, 0, intercept, exact), epsilon, decay), warmup)
