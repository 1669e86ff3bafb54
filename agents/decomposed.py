"""Quality and cost apart: linear learners of quality alone, which subtract a learned penalty at the current prices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jax import Array

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation
from agents.choosing import pick_best, pick_thompson, real
from agents.priced import WEIGHT, Costs, Penalty, penalty
from agents.ranges import ranged
from agents.regression import Belief, Regression, regression
from agents.spec import Spec
from agents.wrappers import warm_up


class Parts(NamedTuple):
    """What is believed of quality, and of the channels that are priced."""

    quality: Belief
    priced: Costs


@ranged
def decomposed_linucb(
    spec: Spec,
    alpha: float | Array = 0.2,
    ridge: float | Array = 1.0,
    fusion: str = "disjoint",
    normalise: bool = True,
    discount: float | Array = 1.0,
    cost_columns: tuple[int, ...] | None = None,
    cost_ridge: float | Array = 1.0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """LinUCB with quality and cost apart: argmax_a w_q (quality + alpha deviation) - penalty, weights as observed.

    Only quality carries a bonus; cost and the other priced channels enter by their means, so a change of prices or of
    the preference takes effect at once.

    Args:
        spec: sizes, list costs and the reward's cost transform.
        alpha: width of the bonus on quality.
        ridge: prior precision of each weight of quality.
        fusion: "disjoint", or one model for all arms over a fusion of `agents.fusion.fuse`.
        normalise: of the arm features, for a fusion.
        discount: in (0, 1], of quality.
        cost_columns: columns of the context that costs are regressed on (with a constant); None takes all.
        cost_ridge: prior precision of each weight of a cost, in units of the arm's list cost.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to what quality is regressed on, and regress costs on one, unless the context holds
            one.
        exact: disjoint models forget exactly, at K d^3 a round.

    Example:
        >>> from agents import decomposed_linucb, trial
        >>> trial(decomposed_linucb, alpha=0.3).shape
        (2,)
    """
    quality = regression(spec, fusion, ridge, discount, normalise, intercept, exact)
    priced = penalty(spec, cost_columns, cost_ridge, intercept)

    def act(key: Array, state: Parts, observation: Observation) -> Choice:
        mean, deviation = quality.predict(state.quality, real(observation.context), observation.round)
        weight = real(observation.preference)[WEIGHT["quality"]]
        charge = priced.predict(state.priced, observation.context, observation.preference, observation.prices)
        return pick_best(key, weight * (mean + real(alpha) * deviation) - charge, observation.mask)

    return warm_up(_learner(quality, priced, act), warmup)


@ranged
def decomposed_thompson(
    spec: Spec,
    scale: float | Array = 0.1,
    ridge: float | Array = 1.0,
    fusion: str = "disjoint",
    normalise: bool = True,
    discount: float | Array = 1.0,
    cost_columns: tuple[int, ...] | None = None,
    cost_ridge: float | Array = 1.0,
    propensity_draws: int = 0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """Linear Thompson sampling with quality and cost apart: argmax_a w_q quality~ - penalty, weights as observed.

    Args:
        spec: sizes, list costs and the reward's cost transform.
        scale: standard deviation of the observation noise that the posterior of quality assumes.
        ridge: prior precision of each weight of quality.
        fusion: "disjoint", or one model for all arms over a fusion of `agents.fusion.fuse`.
        normalise: of the arm features, for a fusion.
        discount: in (0, 1], of quality.
        cost_columns: columns of the context that costs are regressed on (with a constant); None takes all.
        cost_ridge: prior precision of each weight of a cost, in units of the arm's list cost.
        propensity_draws: M posterior draws that estimate the propensities (`choosing.pick_sampled`); 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to what quality is regressed on, and regress costs on one, unless the context holds
            one.
        exact: disjoint models forget exactly, at K d^3 a round.

    Example:
        >>> from agents import decomposed_thompson, trial
        >>> trial(decomposed_thompson, scale=0.1).shape
        (2,)
    """
    quality = regression(spec, fusion, ridge, discount, normalise, intercept, exact)
    priced = penalty(spec, cost_columns, cost_ridge, intercept)

    def act(key: Array, state: Parts, observation: Observation) -> Choice:
        weight = real(observation.preference)[WEIGHT["quality"]]
        charge = priced.predict(state.priced, observation.context, observation.preference, observation.prices)

        def sample(key: Array, shape: tuple[int, ...]) -> Array:
            x = real(observation.context)
            return weight * quality.sample(key, state.quality, x, observation.round, real(scale), shape) - charge

        return pick_thompson(key, sample, observation.mask, propensity_draws)

    agent = _learner(quality, priced, act)._replace(estimated=propensity_draws > 0)
    return warm_up(agent, warmup)


def _learner(quality: Regression, priced: Penalty, act: Callable[[Array, Parts, Observation], Choice]) -> Agent:
    def init(key: Array) -> Parts:
        return Parts(quality.init(), priced.init())

    def update(key: Array, state: Parts, feedback: Feedback) -> Parts:
        x, y = real(feedback.context), real(feedback.channels.quality)
        return Parts(
            quality.observe(state.quality, x, feedback.action, y, feedback.round),
            priced.observe(state.priced, feedback),
        )

    def fit(key: Array, state: Parts, full: FullInformation) -> Parts:
        x, y, mask = real(full.context), real(full.channels.quality), real(full.mask)
        return Parts(quality.fit(state.quality, x, y, mask), priced.fit(state.priced, full))

    return Agent(init, act, update, fit)
