"""Linear bandits with one model per arm (disjoint): LinUCB and linear Thompson sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from agents.agent import Agent, Choice, Feedback, Logged, Observation, Spec
from agents.choosing import Stream, pick_best, pick_sampled, real, stream
from agents.posterior import Gaussian, forget, observe, observe_batch, prior, stale_variance
from agents.wrappers import warm_up


class Disjoint(NamedTuple):
    """K independent posteriors.

    Attributes:
        belief: mean (K, D), root (K, D, D).
        last: (K,) int32, the round of each arm's last observation; None without forgetting.
    """

    belief: Gaussian
    last: Array | None


def linucb(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    warmup: int = 0,
) -> Agent:
    """LinUCB, one ridge regression per arm: argmax_a x'w_a + alpha sqrt(x' A_a^-1 x).

    `A_a = ridge I + sum x x'` over the arm's own rounds (Li, Chu, Langford and Schapire 2010, algorithm 1). With a
    `discount` below 1 an observation of s rounds ago counts discount^s (D-LinUCB; Russac, Vernade and Cappé 2019); the
    bonus of an arm that was not played lately is an upper bound, never above the prior's.

    Args:
        spec: sizes.
        alpha: width of the bonus, in standard deviations of unit observation noise.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round.
        warmup: rounds of uniformly random arms.
    """

    def choose(key: Array, mean: Array, deviation: Array, mask: Array) -> Choice:
        return pick_best(key, mean + real(alpha) * deviation, mask)

    return warm_up(_disjoint(spec, choose, ridge, discount), warmup)


def linear_thompson(
    spec: Spec,
    scale: float | Array = 0.3,
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    propensity_draws: int = 0,
    warmup: int = 0,
) -> Agent:
    """Linear Thompson sampling, one model per arm: argmax_a x'w~_a with w~_a ~ N(w_a, scale^2 A_a^-1).

    Agrawal and Goyal (2013), with one model per arm. The arms are independent given the data, so x'w~_a is drawn
    directly from N(x'w_a, scale^2 x'A_a^-1 x): the same distribution as drawing the weights.

    Args:
        spec: sizes.
        scale: standard deviation of the observation noise that the posterior assumes.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round, as in `linucb`.
        propensity_draws: M posterior draws that estimate the propensities; 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
    """

    def choose(key: Array, mean: Array, deviation: Array, mask: Array) -> Choice:
        width = real(scale) * deviation
        scores = mean + width * jax.random.normal(stream(key, Stream.POSTERIOR), mean.shape, mean.dtype)
        if not propensity_draws:
            return pick_sampled(scores, mask)
        noise = jax.random.normal(stream(key, Stream.DRAWS), (propensity_draws, *mean.shape), mean.dtype)
        return pick_sampled(scores, mask, mean + width * noise)

    return warm_up(_disjoint(spec, choose, ridge, discount), warmup)


def _disjoint(
    spec: Spec,
    choose: Callable[[Array, Array, Array, Array], Choice],
    ridge: float | Array,
    discount: float | Array,
) -> Agent:
    """K ridge regressions; `choose` maps (key, means (K,), deviations (K,), mask) to a choice."""
    forgets = not (isinstance(discount, float | int) and discount == 1)

    def keep(now: Array, last: Array) -> Array:
        return jnp.power(real(discount), real(jnp.maximum(now - last, 0)))

    def init(key: Array) -> Disjoint:
        return Disjoint(prior(ridge, spec.arms, spec.context), jnp.zeros(spec.arms, jnp.int32) if forgets else None)

    def act(key: Array, state: Disjoint, observation: Observation) -> Choice:
        x = real(observation.context)
        mean, deviation = predict(state.belief, x)
        if state.last is not None:
            bound = x @ x / real(ridge)
            deviation = jnp.sqrt(stale_variance(deviation**2, bound, keep(observation.round, state.last)))
        return choose(key, mean, deviation, observation.mask)

    def update(key: Array, state: Disjoint, feedback: Feedback) -> Disjoint:
        x = real(feedback.context)
        belief, last = state
        if last is None:
            return Disjoint(observe_arm(belief, feedback.action, x, real(feedback.reward)), None)
        own = pick(belief, feedback.action)
        own = forget(own, keep(feedback.round, last[feedback.action]), real(ridge))
        own = observe(own, x, real(feedback.reward) - x @ own.mean)
        return Disjoint(put(belief, feedback.action, own), last.at[feedback.action].set(feedback.round))

    def fit(key: Array, state: Disjoint, logged: Logged) -> Disjoint:
        return Disjoint(observe_arms(state.belief, logged.context, logged.reward, logged.mask), state.last)

    return Agent(init, act, update, fit)


def predict(belief: Gaussian, x: Array) -> tuple[Array, Array]:
    """(K,) means and (K,) standard deviations of x'w_a; belief (K, d), (K, d, d), x (d,)."""
    arms, dim = belief.mean.shape
    f = (belief.root.reshape(arms * dim, dim) @ x).reshape(arms, dim)
    return belief.mean @ x, jnp.sqrt(jnp.sum(f * f, axis=-1))


def pick(belief: Gaussian, arm: Array) -> Gaussian:
    """One arm's posterior."""
    return Gaussian(*(lax.dynamic_index_in_dim(part, arm, keepdims=False) for part in belief))


def put(belief: Gaussian, arm: Array, own: Gaussian) -> Gaussian:
    """All posteriors with one arm's replaced (in place inside a scan)."""
    return Gaussian(
        *(lax.dynamic_update_index_in_dim(part, new, arm, 0) for part, new in zip(belief, own, strict=True))
    )


def observe_arm(belief: Gaussian, arm: Array, x: Array, y: Array) -> Gaussian:
    """All posteriors after one observation y of one arm at features x."""
    own = pick(belief, arm)
    return put(belief, arm, observe(own, x, y - x @ own.mean))


def observe_arms(belief: Gaussian, xs: Array, ys: Array, mask: Array) -> Gaussian:
    """All posteriors after full information: xs (n, d), ys (n, K), mask (n, K)."""
    return jax.vmap(observe_batch, in_axes=(0, None, 1, 1))(belief, real(xs), real(ys), real(mask))
