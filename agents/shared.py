"""Linear bandits with one model for all arms, over joint features of query and arm."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import Array

from agents.agent import Agent, Choice, Feedback, Logged, Observation, Spec
from agents.choosing import Stream, pick_best, pick_sampled, real, stream
from agents.fusion import Fusion, fuse, joint_rows
from agents.posterior import Gaussian, forget, observe, observe_batch, prior
from agents.wrappers import warm_up


def linucb_shared(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    fusion: str = "concat",
    normalise: bool = True,
    discount: float | Array = 1.0,
    warmup: int = 0,
) -> Agent:
    """LinUCB with one model over query and arm features: argmax_a phi'w + alpha sqrt(phi' A^-1 phi), phi = phi(x, a).

    Li, Chu, Langford and Schapire (2010) for the bonus, Abbasi-Yadkori, Pál and Szepesvári (2011) for one shared model;
    UniScale's learner with `alpha=1, warmup=50`.

    Args:
        spec: sizes and arm features.
        alpha: width of the bonus, in standard deviations of unit observation noise.
        ridge: prior precision of each weight.
        fusion: "concat", "kronecker", "hadamard" or "arm" (`agents.fusion.fuse`).
        normalise: standardise the arm features and give every arm's the same length.
        discount: in (0, 1]; the factor per observation (`agents.posterior.forget`), O(d^3) a round below 1.
        warmup: rounds of uniformly random arms.
    """
    fused = fuse(spec, fusion, normalise)

    def act(key: Array, belief: Gaussian, observation: Observation) -> Choice:
        x = real(observation.context)
        scores = fused.scores(belief.mean, x) + real(alpha) * fused.deviations(belief.root, x)
        return pick_best(key, scores, observation.mask)

    return warm_up(_shared(fused, act, ridge, discount), warmup)


def linucb_arm_only(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    normalise: bool = True,
    discount: float | Array = 1.0,
    warmup: int = 0,
) -> Agent:
    """LinUCB over arm features only: it never looks at the query, so it learns one best arm (and nothing per query).

    Arguments as in `linucb_shared`.
    """
    return linucb_shared(spec, alpha, ridge, "arm", normalise, discount, warmup)


def linear_thompson_shared(
    spec: Spec,
    scale: float | Array = 0.3,
    ridge: float | Array = 1.0,
    fusion: str = "concat",
    normalise: bool = True,
    discount: float | Array = 1.0,
    propensity_draws: int = 0,
    warmup: int = 0,
) -> Agent:
    """Linear Thompson sampling with one model over query and arm features: argmax_a phi'w~, w~ ~ N(w, scale^2 A^-1).

    Agrawal and Goyal (2013). The weights are drawn in O(d^2) from the covariance root that the posterior carries.

    Args:
        spec: sizes and arm features.
        scale: standard deviation of the observation noise that the posterior assumes.
        ridge: prior precision of each weight.
        fusion: "concat", "kronecker", "hadamard" or "arm" (`agents.fusion.fuse`).
        normalise: standardise the arm features and give every arm's the same length.
        discount: in (0, 1]; the factor per observation.
        propensity_draws: M posterior draws that estimate the propensities; 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
    """
    fused = fuse(spec, fusion, normalise)

    def act(key: Array, belief: Gaussian, observation: Observation) -> Choice:
        x = real(observation.context)

        def draw(name: Stream, *shape: int) -> Array:
            noise = jax.random.normal(stream(key, name), (*shape, fused.dim), belief.mean.dtype)
            return fused.scores(belief.mean + real(scale) * (noise @ belief.root), x)

        draws = draw(Stream.DRAWS, propensity_draws) if propensity_draws else None
        return pick_sampled(draw(Stream.POSTERIOR), observation.mask, draws)

    return warm_up(_shared(fused, act, ridge, discount), warmup)


def _shared(
    fused: Fusion,
    act: Callable[[Array, Gaussian, Observation], Choice],
    ridge: float | Array,
    discount: float | Array,
) -> Agent:
    forgets = not (isinstance(discount, float | int) and discount == 1)

    def init(key: Array) -> Gaussian:
        return prior(ridge, fused.dim)

    def update(key: Array, belief: Gaussian, feedback: Feedback) -> Gaussian:
        if forgets:
            belief = forget(belief, real(discount), real(ridge))
        phi = fused.features(real(feedback.context), feedback.action)
        return observe(belief, phi, real(feedback.reward) - phi @ belief.mean)

    def fit(key: Array, belief: Gaussian, logged: Logged) -> Gaussian:
        rows = joint_rows(fused, logged.context)
        return observe_batch(belief, rows, real(logged.reward).reshape(-1), real(logged.mask).reshape(-1))

    return Agent(init, act, update, fit)
