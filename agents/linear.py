"""Linear bandits: LinUCB and linear Thompson sampling, with one model per arm or one model for all arms."""

from __future__ import annotations

from collections.abc import Callable

from jax import Array

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation
from agents.choosing import pick_best, pick_thompson, real
from agents.ranges import ranged
from agents.regression import Belief, Regression, regression
from agents.spec import Spec
from agents.wrappers import warm_up


@ranged
def linucb(
    spec: Spec,
    alpha: float | Array = 0.2,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """LinUCB, one ridge regression per arm: argmax_a x'w_a + alpha sqrt(x' A_a^-1 x).

    `A_a = ridge I + sum x x'` over the arm's own rounds (Li, Chu, Langford and Schapire 2010, algorithm 1). With a
    `discount` below 1 an observation of s rounds ago counts discount^s (D-LinUCB; Russac, Vernade and Cappé 2019); what
    an arm that was not played lately has forgotten is approximated (`agents.regression.disjoint`).

    Args:
        spec: sizes.
        alpha: width of the bonus, for observation noise of one; .2 is about .4 posterior standard deviations where
            rewards scatter by .5.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.
        exact: forget exactly, at K d^3 a round.

    Example:
        >>> from agents import linucb, trial
        >>> trial(linucb, alpha=0.3).shape
        (2,)
    """
    model = regression(spec, "disjoint", ridge, discount, intercept=intercept, exact=exact)
    return warm_up(_ucb(model, alpha), warmup)


@ranged
def linucb_shared(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    fusion: str = "kronecker",
    normalise: bool = True,
    discount: float | Array = 1.0,
    warmup: int = 0,
    intercept: bool = True,
) -> Agent:
    """LinUCB with one model over query and arm features: argmax_a phi'w + alpha sqrt(phi' A^-1 phi), phi = phi(x, a).

    Li, Chu, Langford and Schapire (2010) for the bonus, Abbasi-Yadkori, Pál and Szepesvári (2011) for one shared model.
    With phi = x times [1, f(a)], the default, every feature of the query has a weight of its own for every feature of
    the arm. `fusion="concat"`, phi = [x, f(a)], is blind to the query: x'w_x is the same for all arms, so no query
    changes their ranking by predicted reward.

    Args:
        spec: sizes and arm features.
        alpha: width of the bonus, in standard deviations of unit observation noise.
        ridge: prior precision of each weight.
        fusion: "kronecker", "concat", "hadamard" or "arm" (`agents.fusion.fuse`).
        normalise: standardise the arm features and give every arm's the same length.
        discount: in (0, 1]; the factor per round, at O(d^3) a round below 1.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.

    Example:
        >>> from agents import linucb_shared, trial
        >>> trial(linucb_shared, alpha=0.3).shape
        (2,)
    """
    return warm_up(_ucb(regression(spec, fusion, ridge, discount, normalise, intercept), alpha), warmup)


@ranged
def linucb_arm_only(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    normalise: bool = True,
    discount: float | Array = 1.0,
    warmup: int = 0,
) -> Agent:
    """LinUCB over arm features only: it never looks at the query, so it learns one best arm for all.

    Arguments as in `linucb_shared`.

    Example:
        >>> from agents import linucb_arm_only, trial
        >>> trial(linucb_arm_only).shape
        (2,)
    """
    return linucb_shared(spec, alpha, ridge, "arm", normalise, discount, warmup)


@ranged
def linear_thompson(
    spec: Spec,
    scale: float | Array = 0.1,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    propensity_draws: int = 0,
    warmup: int = 0,
    intercept: bool = True,
    exact: bool = False,
) -> Agent:
    """Linear Thompson sampling, one model per arm: argmax_a x'w~_a with w~_a ~ N(w_a, scale^2 A_a^-1).

    Agrawal and Goyal (2013), with one model per arm.

    Args:
        spec: sizes.
        scale: standard deviation of the observation noise that the posterior assumes.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round, as in `linucb`.
        propensity_draws: M posterior draws that estimate the propensities (`choosing.pick_sampled`); 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.
        exact: forget exactly, at K d^3 a round.

    Example:
        >>> from agents import linear_thompson, trial
        >>> trial(linear_thompson, scale=0.1).shape
        (2,)
    """
    model = regression(spec, "disjoint", ridge, discount, intercept=intercept, exact=exact)
    return warm_up(_thompson(model, scale, propensity_draws), warmup)


@ranged
def linear_thompson_shared(
    spec: Spec,
    scale: float | Array = 0.3,
    ridge: float | Array = 1.0,
    fusion: str = "kronecker",
    normalise: bool = True,
    discount: float | Array = 1.0,
    propensity_draws: int = 0,
    warmup: int = 0,
    intercept: bool = True,
) -> Agent:
    """Linear Thompson sampling with one model over query and arm features: argmax_a phi'w~, w~ ~ N(w, scale^2 A^-1).

    Agrawal and Goyal (2013). The weights are drawn in O(d^2) from the covariance root that the posterior carries.

    Args:
        spec: sizes and arm features.
        scale: standard deviation of the observation noise that the posterior assumes.
        ridge: prior precision of each weight.
        fusion: "kronecker", "concat" (blind to the query), "hadamard" or "arm", as in `linucb_shared`.
        normalise: standardise the arm features and give every arm's the same length.
        discount: in (0, 1]; the factor per round, at O(d^3) a round below 1.
        propensity_draws: M posterior draws that estimate the propensities (`choosing.pick_sampled`); 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the query, unless it holds one.

    Example:
        >>> from agents import linear_thompson_shared, trial
        >>> trial(linear_thompson_shared, scale=0.1).shape
        (2,)
    """
    model = regression(spec, fusion, ridge, discount, normalise, intercept)
    return warm_up(_thompson(model, scale, propensity_draws), warmup)


def _ucb(model: Regression, alpha: float | Array) -> Agent:
    def act(key: Array, belief: Belief, observation: Observation) -> Choice:
        mean, deviation = model.predict(belief, real(observation.context), observation.round)
        return pick_best(key, mean + real(alpha) * deviation, observation.mask)

    return _learner(model, act)


def _thompson(model: Regression, scale: float | Array, propensity_draws: int) -> Agent:
    def act(key: Array, belief: Belief, observation: Observation) -> Choice:
        def sample(key: Array, shape: tuple[int, ...]) -> Array:
            return model.sample(key, belief, real(observation.context), observation.round, real(scale), shape)

        return pick_thompson(key, sample, observation.mask, propensity_draws)

    return _learner(model, act)._replace(estimated=propensity_draws > 0)


def _learner(model: Regression, act: Callable[[Array, Belief, Observation], Choice]) -> Agent:
    """An agent that regresses the reward itself."""

    def update(key: Array, belief: Belief, feedback: Feedback) -> Belief:
        x, y = real(feedback.context), real(feedback.reward)
        return model.observe(belief, x, feedback.action, y, feedback.round)

    def fit(key: Array, belief: Belief, full: FullInformation) -> Belief:
        return model.fit(belief, real(full.context), real(full.reward), real(full.mask))

    return Agent(lambda key: model.init(), act, update, fit)
