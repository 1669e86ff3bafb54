"""Bayesian linear regressions over (query, arm) pairs: one model per arm (disjoint), or one for all (shared)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from agents.choosing import real
from agents.fusion import Fusion, fuse, joint_rows
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
        round: (K,) int32, the round as of which each arm's posterior is; None without forgetting.
    """

    belief: Gaussian
    round: Array | None


class Timed(NamedTuple):
    """A shared posterior that forgets, and () int32, the round of the last observation in it (-1 before the first)."""

    belief: Gaussian
    last: Array


def regression(
    spec: Spec,
    fusion: str = "disjoint",
    ridge: float | Array = 1.0,
    discount: float | Array = 1.0,
    normalise: bool = True,
    intercept: bool = False,
    exact: bool = False,
) -> Regression:
    """A regression by the name of its features: "disjoint", or a fusion of `agents.fusion.fuse`.

    Args:
        spec: sizes and arm features.
        fusion: "disjoint", "concat", "kronecker", "hadamard", "arm" or "ids".
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round.
        normalise: of the arm features, for a fusion.
        intercept: append a constant to the query, unless it holds one (`Spec.constants`), or the fusion does: "arm" and
            "ids" have a constant for the arms, and a product of features has no place for one ("hadamard").
        exact: disjoint models forget exactly (`disjoint`).
    """
    extend = intercept and not spec.constants and fusion not in ("arm", "ids", "hadamard")
    inner = replace(spec, context=spec.context + 1) if extend else spec
    if fusion == "disjoint":
        model = disjoint(inner.arms, inner.context, ridge, discount, inner.horizon, exact)
    else:
        model = shared(inner, fusion, ridge, discount, normalise)
    return _with_intercept(model) if extend else model


def _with_intercept(model: Regression) -> Regression:
    """The same regression on queries with a constant appended."""

    def longer(x: Array) -> Array:
        return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)

    return Regression(
        init=model.init,
        predict=lambda belief, x, now: model.predict(belief, longer(x), now),
        sample=lambda key, belief, x, now, scale, shape: model.sample(key, belief, longer(x), now, scale, shape),
        observe=lambda belief, x, arm, y, now: model.observe(belief, longer(x), arm, y, now),
        fit=lambda belief, xs, ys, mask: model.fit(belief, longer(xs), ys, mask),
    )


def disjoint(
    arms: int,
    dim: int,
    ridge: float | Array,
    discount: float | Array = 1.0,
    rounds: int = 0,
    exact: bool = False,
) -> Regression:
    """One ridge regression per arm; K d^2 to score all arms, d^2 to learn from a round.

    With a discount, an observation of s rounds ago counts discount^s. Only the arm that was played is brought up to
    date (d^3), exactly. The others are predicted from what they were when they were last played: `keep` being the
    discount since then, the variance of x'w grows from v to v' (`posterior.stale_variance`), an upper bound that never
    exceeds the prior's, and the mean shrinks by keep v'/v. Both are exact where d = 1, and where x is an eigenvector of
    the arm's precision. On the recorded world (54 arms, d = 10, discount .98, reward quality - eFLOPs, rounds 200 to
    600, 8 seeds) the default's means are off by .003 on average with alpha = .2 and by .009 with alpha = 1 (.027 and
    .054 if they did not forget), its deviations, of about 2.8, are too large by .016 and .029, and the exact score of
    the arm it takes is .0007 and .004 below the greatest.

    Models that learn from many `rounds` are compensated (`agents.posterior`), forgetting ones need not be.

    Args:
        arms: K.
        dim: d, features of a query, taken as given: no constant is appended.
        ridge: prior precision of each weight.
        discount: in (0, 1]; the factor per round, by the rounds in which arms were played, whenever that is heard of.
        rounds: the horizon.
        exact: forget exactly, all arms in every round, at K d^3: the weights of D-LinUCB (Russac, Vernade and Cappé
            2019), and deviations `sqrt(x' V^-1 x)` with V their discounted precision.
    """
    forgets = _forgets(discount)

    def keep(now: Array, last: Array) -> Array:
        return jnp.power(real(discount), real(jnp.maximum(now - last, 0)))

    def init() -> Disjoint:
        start = side_by_side(prior(ridge, arms, dim))
        return Disjoint(start, jnp.zeros(arms, jnp.int32)) if forgets else Disjoint(compensated(start, rounds), None)

    def predict(state: Disjoint, x: Array, now: Array) -> tuple[Array, Array]:
        if state.round is None:
            return predict_arms(state.belief, x)
        share = keep(now, state.round)
        if exact:
            aged = jax.vmap(forget, in_axes=(0, 0, None))(one_by_one(state.belief), share, real(ridge))
            return predict_arms(side_by_side(aged), x)
        mean, deviation = predict_arms(state.belief, x)
        before = deviation**2
        after = stale_variance(before, x @ x / real(ridge), share)
        return mean * share * after / jnp.maximum(before, np.finfo(before.dtype).tiny), jnp.sqrt(after)

    def sample(key: Array, state: Disjoint, x: Array, now: Array, scale: Array, shape: tuple[int, ...]) -> Array:
        # The arms are independent given the data, so x'w is drawn directly: the same distribution as drawing w.
        mean, deviation = predict(state, x, now)
        return mean + scale * deviation * jax.random.normal(key, (*shape, arms), mean.dtype)

    def learn(state: Disjoint, x: Array, arm: Array, y: Array, now: Array) -> Disjoint:
        if state.round is None:
            return Disjoint(change(state.belief, arm, lambda own: observe(own, x, y - own.mean @ x)), None)
        # As of the next round, or of a later one if an outcome of a later round was delivered before this one.
        before = state.round[arm]
        after = jnp.maximum(before, jnp.asarray(now, jnp.int32) + 1)

        def update(own: Gaussian) -> Gaussian:
            own, weight = forget(own, keep(after, before), real(ridge)), keep(after, now)
            return observe(own, x, weight * (y - own.mean @ x), weight)

        return Disjoint(change(state.belief, arm, update), state.round.at[arm].set(after))

    def fit(state: Disjoint, xs: Array, ys: Array, mask: Array) -> Disjoint:
        return state._replace(belief=observe_all(state.belief, xs, ys, mask))

    return Regression(init, predict, sample, learn, fit)


def shared(
    spec: Spec, fusion: str, ridge: float | Array, discount: float | Array = 1.0, normalise: bool = True
) -> Regression:
    """One ridge regression for all arms over joint features of length d; d^2 + d E K to score, d^2 to learn.

    With a discount, what was observed in round s counts discount^(t - 1 - s) in round t, whether or not there was an
    outcome in every round between, and learning costs d^3.
    """
    fused = fuse(spec, fusion, normalise)
    return _timed(fused, ridge, discount) if _forgets(discount) else _steady(spec, fused, ridge)


def _steady(spec: Spec, fused: Fusion, ridge: float | Array) -> Regression:
    def predict(belief: Gaussian, x: Array, now: Array) -> tuple[Array, Array]:
        return fused.scores(belief.mean, x), fused.deviations(belief.root, x)

    def sample(key: Array, belief: Gaussian, x: Array, now: Array, scale: Array, shape: tuple[int, ...]) -> Array:
        noise = jax.random.normal(key, (*shape, fused.dim), belief.mean.dtype)
        return fused.scores(belief.mean + scale * (noise @ belief.root), x)

    def learn(belief: Gaussian, x: Array, arm: Array, y: Array, now: Array) -> Gaussian:
        phi = fused.features(x, arm)
        return observe(belief, phi, y - phi @ belief.mean)

    def fit(belief: Gaussian, xs: Array, ys: Array, mask: Array) -> Gaussian:
        return observe_batch(belief, joint_rows(fused, xs), ys.reshape(-1), mask.reshape(-1))

    return Regression(lambda: compensated(prior(ridge, fused.dim), spec.horizon), predict, sample, learn, fit)


def _timed(fused: Fusion, ridge: float | Array, discount: float | Array) -> Regression:
    def aged(belief: Gaussian, rounds: Array) -> Gaussian:
        return forget(belief, jnp.power(real(discount), real(rounds)), real(ridge))

    def current(state: Timed, now: Array) -> Gaussian:
        """The posterior as of the round before `now`; brought up to date only if nothing was heard of that round."""
        missed = jnp.asarray(now, jnp.int32) - 1 - state.last
        # A loop of at most one step is skipped where no seed missed a round; of a `cond`, mapped seeds run both sides.
        found: tuple[Gaussian, Array] = lax.while_loop(
            lambda carry: carry[1] > 0,
            lambda carry: (aged(carry[0], carry[1]), jnp.zeros_like(missed)),
            (state.belief, missed),
        )
        return found[0]

    def predict(state: Timed, x: Array, now: Array) -> tuple[Array, Array]:
        belief = current(state, now)
        return fused.scores(belief.mean, x), fused.deviations(belief.root, x)

    def sample(key: Array, state: Timed, x: Array, now: Array, scale: Array, shape: tuple[int, ...]) -> Array:
        belief = current(state, now)
        noise = jax.random.normal(key, (*shape, fused.dim), belief.mean.dtype)
        return fused.scores(belief.mean + scale * (noise @ belief.root), x)

    def learn(state: Timed, x: Array, arm: Array, y: Array, now: Array) -> Timed:
        belief = aged(state.belief, jnp.maximum(now - state.last, 0))
        late = jnp.power(real(discount), real(jnp.maximum(state.last - now, 0)))
        phi = fused.features(x, arm)
        return Timed(
            observe(belief, phi, late * (y - phi @ belief.mean), late),
            jnp.maximum(state.last, jnp.asarray(now, jnp.int32)),
        )

    def fit(state: Timed, xs: Array, ys: Array, mask: Array) -> Timed:
        rows = joint_rows(fused, xs)
        return state._replace(belief=observe_batch(state.belief, rows, ys.reshape(-1), mask.reshape(-1)))

    return Regression(lambda: Timed(prior(ridge, fused.dim), jnp.int32(-1)), predict, sample, learn, fit)


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
