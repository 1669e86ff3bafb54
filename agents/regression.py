"""Bayesian linear regressions over (query, arm) pairs: one model per arm (disjoint), or one for all (shared)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from agents.choosing import real
from agents.fusion import fuse, joint_rows
from agents.posterior import Gaussian, compensated, forget, observe, observe_batch, prior, stale_variance
from agents.spec import Spec

Belief = Any


class Regression(NamedTuple):
    """What an agent needs of a regression of some target y on a query x (D,) and an arm.

    Attributes:
        init: () -> belief.
        predict: (belief, x, round) -> (means (K,), standard deviations (K,) in units of the noise).
        sample: (key, belief, x, round, scale, shape) -> (*shape, K) posterior draws of all arms' means, with the
            deviations multiplied by `scale`.
        observe: (belief, x, arm, y, round) -> belief.
        fit: (belief, xs (n, D), ys (n, K), mask (n, K)) -> belief, full information.
    """

    init: Callable[[], Belief]
    predict: Callable[[Belief, Array, Array], tuple[Array, Array]]
    sample: Callable[[Array, Belief, Array, Array, Array, tuple[int, ...]], Array]
    observe: Callable[[Belief, Array, Array, Array, Array], Belief]
    fit: Callable[[Belief, Array, Array, Array], Belief]


class Disjoint(NamedTuple):
    """K independent posteriors.

    Attributes:
        belief: of K arms side by side (`side_by_side`): mean (K, D), root (D, K, D).
        last: (K,) int32, the round of each arm's last observation; None without forgetting.
    """

    belief: Gaussian
    last: Array | None


def regression(
    spec: Spec,
    fusion: str = "disjoint",
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    normalise: bool = True,
) -> Regression:
    """A regression by the name of its features: "disjoint", or a fusion of `agents.fusion.fuse`."""
    if fusion == "disjoint":
        return disjoint(spec.arms, spec.context, ridge, discount, spec.horizon)
    return shared(spec, fusion, ridge, discount, normalise)


def disjoint(arms: int, dim: int, ridge: float | Array, discount: float | Array = 1.0, rounds: int = 0) -> Regression:
    """One ridge regression per arm; K d^2 to score all arms, d^2 to learn from a round.

    With a discount, an observation of s rounds ago counts discount^s. Only the arm that was played is brought up to
    date (d^3); the deviations of the others are upper bounds that never exceed the prior's. Models that learn from
    many `rounds` are compensated (`agents.posterior`), forgetting ones need not be.
    """
    forgets = _forgets(discount)

    def keep(now: Array, last: Array) -> Array:
        return jnp.power(real(discount), real(jnp.maximum(now - last, 0)))

    def init() -> Disjoint:
        start = side_by_side(prior(ridge, arms, dim))
        return Disjoint(start, jnp.zeros(arms, jnp.int32)) if forgets else Disjoint(compensated(start, rounds), None)

    def predict(state: Disjoint, x: Array, now: Array) -> tuple[Array, Array]:
        mean, deviation = predict_arms(state.belief, x)
        if state.last is not None:
            bound = x @ x / real(ridge)
            deviation = jnp.sqrt(stale_variance(deviation**2, bound, keep(now, state.last)))
        return mean, deviation

    def sample(key: Array, state: Disjoint, x: Array, now: Array, scale: Array, shape: tuple[int, ...]) -> Array:
        # The arms are independent given the data, so x'w is drawn directly: the same distribution as drawing w.
        mean, deviation = predict(state, x, now)
        return mean + scale * deviation * jax.random.normal(key, (*shape, arms), mean.dtype)

    def learn(state: Disjoint, x: Array, arm: Array, y: Array, now: Array) -> Disjoint:
        def update(own: Gaussian) -> Gaussian:
            if state.last is not None:
                own = forget(own, keep(now, state.last[arm]), real(ridge))
            return observe(own, x, y - own.mean @ x)

        last = None if state.last is None else state.last.at[arm].set(now)
        return Disjoint(change(state.belief, arm, update), last)

    def fit(state: Disjoint, xs: Array, ys: Array, mask: Array) -> Disjoint:
        return state._replace(belief=observe_all(state.belief, xs, ys, mask))

    return Regression(init, predict, sample, learn, fit)


def shared(
    spec: Spec, fusion: str, ridge: float | Array, discount: float | Array = 1.0, normalise: bool = True
) -> Regression:
    """One ridge regression for all arms over joint features of length d; d^2 + d E K to score, d^2 to learn.

    With a discount, an observation of s observations ago counts discount^s, and learning costs d^3.
    """
    fused = fuse(spec, fusion, normalise)
    forgets = _forgets(discount)

    def init() -> Gaussian:
        start = prior(ridge, fused.dim)
        return start if forgets else compensated(start, spec.horizon)

    def predict(belief: Gaussian, x: Array, now: Array) -> tuple[Array, Array]:
        return fused.scores(belief.mean, x), fused.deviations(belief.root, x)

    def sample(key: Array, belief: Gaussian, x: Array, now: Array, scale: Array, shape: tuple[int, ...]) -> Array:
        noise = jax.random.normal(key, (*shape, fused.dim), belief.mean.dtype)
        return fused.scores(belief.mean + scale * (noise @ belief.root), x)

    def learn(belief: Gaussian, x: Array, arm: Array, y: Array, now: Array) -> Gaussian:
        if forgets:
            belief = forget(belief, real(discount), real(ridge))
        phi = fused.features(x, arm)
        return observe(belief, phi, y - phi @ belief.mean)

    def fit(belief: Gaussian, xs: Array, ys: Array, mask: Array) -> Gaussian:
        return observe_batch(belief, joint_rows(fused, xs), ys.reshape(-1), mask.reshape(-1))

    return Regression(init, predict, sample, learn, fit)


def side_by_side(belief: Gaussian) -> Gaussian:
    """K posteriors, mean (K, ..., d) and root (K, d, d), with the roots transposed and side by side: (d, K, d).

    One product with x then runs through memory in long rows. Arm after arm its rows would be d long, and adding up
    each of them costs more than reading it: twice the time of a round at d = 12, a fifth more at 32.
    """
    return _with_roots(belief, lambda root: root.transpose(2, 0, 1))


def one_by_one(belief: Gaussian) -> Gaussian:
    """The posteriors of `side_by_side` as they were: mean (K, ..., d), root (K, d, d)."""
    return _with_roots(belief, lambda root: root.transpose(1, 2, 0))


def _with_roots(belief: Gaussian, turn: Callable[[Array], Array]) -> Gaussian:
    lost = None if belief.lost is None else (belief.lost[0], turn(belief.lost[1]))
    return Gaussian(belief.mean, turn(belief.root), lost)


ARMS = Gaussian(0, 1, (0, 1))  # type: ignore[arg-type]
"""Which axis of posteriors side by side is the arms'."""


def predict_arms(belief: Gaussian, x: Array) -> tuple[Array, Array]:
    """(K,) means and (K,) standard deviations of x'w_a; a belief of K arms side by side, x (d,)."""
    arms, dim = belief.mean.shape
    f = (x @ belief.root.reshape(dim, arms * dim)).reshape(arms, dim)
    # A product with ones, because XLA's CPU code adds up short rows one number at a time.
    return belief.mean @ x, jnp.sqrt((f * f) @ jnp.ones(dim, f.dtype))


def change(belief: Gaussian, arm: Array, update: Callable[[Gaussian], Gaussian]) -> Gaussian:
    """All posteriors, side by side, with one arm's passed through `update`, in place inside a scan."""
    axes = ARMS._replace(lost=None) if belief.lost is None else ARMS
    # The arm's axis is kept: without it XLA copies the arm twice, once for the products and once for the difference.
    own = jax.tree.map(lambda part, axis: lax.dynamic_slice_in_dim(part, arm, 1, axis), belief, axes)
    new = side_by_side(jax.vmap(update)(one_by_one(own)))
    put = lax.dynamic_update_slice_in_dim
    return jax.tree.map(lambda part, row, axis: put(part, row, arm, axis), belief, new, axes)  # type: ignore[no-any-return]


def observe_all(belief: Gaussian, xs: Array, ys: Array, weights: Array) -> Gaussian:
    """All posteriors, side by side, with what every arm showed of n queries: xs (n, d), ys and weights (n, K, ...)."""
    return side_by_side(jax.vmap(observe_batch, in_axes=(0, None, 1, 1))(one_by_one(belief), xs, ys, weights))


def _forgets(discount: float | Array) -> bool:
    return not (isinstance(discount, float | int) and discount == 1)
