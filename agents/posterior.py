"""Gaussian posteriors of linear models in square-root form.

A posterior N(mean, root' root) of the weights of `y = x'w + noise` is carried as its mean (..., d) and a square root
of its covariance (..., d, d), in units of the noise variance: with a prior N(0, I / ridge) and observations X, y this
is `mean = A^-1 X'y`, `root' root = A^-1`, `A = ridge I + X'X`. An observation changes the root by a rank-one
downdate (Potter's square-root filter; Bierman 1977, Factorization Methods for Discrete Sequential Estimation, ch. V),
at the cost of Sherman-Morrison on A^-1 itself. The root keeps variances positive and halves the digits that float32
loses to ill-conditioning, and `mean + root' z` with z ~ N(0, I) is a posterior draw without any factorisation.

After n observations one more changes the root by about 1 part in 2n. From some 100,000 on that is less than float32
resolves, and where directions differ much in what is known of them, a million rounds drift by tens of per cent. A
`compensated` belief carries along what each rounding lost (Kahan 1965, Pracniques: further remarks on reducing
truncation errors), and stays within 1e-4.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from agents.choosing import real


class Gaussian(NamedTuple):
    """A belief about weights of shape (..., d).

    Attributes:
        mean: (..., d).
        root: (..., d, d), the covariance is root' root; or several of them side by side (`regression.side_by_side`).
        lost: what rounding took from mean and root so far, and the next observations return; None if nobody counts.
    """

    mean: Array
    root: Array
    lost: tuple[Array, Array] | None = None


def prior(ridge: float | Array, *shape: int) -> Gaussian:
    """N(0, I / ridge) for weights of the given shape (..., d)."""
    eye = jnp.broadcast_to(jnp.eye(shape[-1], dtype=jnp.result_type(float)), (*shape, shape[-1]))
    return Gaussian(real(jnp.zeros(shape)), eye / jnp.sqrt(real(ridge)))


DRIFTS = 5_000
"""Rounds up to which a root stays within 1e-3 of float64 as it is: 9e-4 was measured after twice as many, with two
features that were always equal."""


def compensated(belief: Gaussian, rounds: int) -> Gaussian:
    """The same belief; if it is to see more than `DRIFTS` rounds, from here on without drift, at twice the memory."""
    if rounds <= DRIFTS:
        return belief
    return belief._replace(lost=(jnp.zeros_like(belief.mean), jnp.zeros_like(belief.root)))


def diagonal(deviations: Array, mean: Array | None = None) -> Gaussian:
    """Independent weights with the given (d,) standard deviations and (d,) means (zero by default)."""
    deviations = real(deviations)
    return Gaussian(jnp.zeros_like(deviations) if mean is None else real(mean), jnp.diag(deviations))


def observe(belief: Gaussian, x: Array, residual: Array, precision: float | Array = 1.0) -> Gaussian:
    """Conditions on one observation of features x (d,), O(d^2).

    Args:
        belief: mean (d,), root (d, d); or mean (C, d) for C targets with the same features.
        x: (d,) features, or the gradient of the prediction in an extended Kalman step.
        residual: () or (C,) observed minus predicted, times `precision`; for a Gaussian `y - x'mean`.
        precision: () of the observation, >= 0, in units of one noise variance.
    """
    f = belief.root @ x
    gain = f @ belief.root
    total = 1.0 + precision * (f @ f)
    shrink = precision / (total + jnp.sqrt(total))
    steps = (residual / total)[..., None] * gain, -jnp.outer(f * shrink, gain)
    if belief.lost is None:
        return Gaussian(belief.mean + steps[0], belief.root + steps[1])
    mean, lost_mean = _add(belief.mean, steps[0], belief.lost[0])
    root, lost_root = _add(belief.root, steps[1], belief.lost[1])
    return Gaussian(mean, root, (lost_mean, lost_root))


def _add(total: Array, step: Array, lost: Array) -> tuple[Array, Array]:
    """The sum of total and step, and what this addition loses, after returning what earlier ones lost."""
    step = step + lost
    new = total + step
    return new, step - (new - total)


def observe_batch(belief: Gaussian, xs: Array, ys: Array, weights: Array) -> Gaussian:
    """Conditions on n observations at once, O(n d^2 + d^3).

    Args:
        belief: mean (d,), root (d, d); or mean (C, d) for C targets with the same features.
        xs: (n, d) features.
        ys: (n,) or (n, C) targets.
        weights: (n,) precisions, zero to leave an observation out.
    """
    weighted = xs * weights[:, None]
    gram = belief.root @ (weighted.T @ xs) @ belief.root.T
    root = divide_by_root(jnp.eye(gram.shape[0], dtype=gram.dtype) + gram, belief.root)
    step = root.T @ (root @ (weighted.T @ (ys - xs @ belief.mean.T)))
    return Gaussian(belief.mean + step.T, root, jax.tree.map(jnp.zeros_like, belief.lost))


def divide_by_root(matrix: Array, right: Array) -> Array:
    """`L^-1 right` for positive definite `matrix = L L'` (d, d, ...), L lower triangular; right (d, n, ...).

    Cholesky factorisation and forward substitution in one elimination, O(d^2 (d + n)). Written out because jaxlib's
    batched LAPACK calls wait for XLA's thread pool on a thread of that pool: on a machine of few cores two at once
    wait for ever. A batch comes last, where its elements are next to each other in memory.
    """
    dim = len(matrix)
    below = jnp.arange(dim).reshape(-1, *(1,) * (matrix.ndim - 2))

    # The pivots are carried: computed in the same loop body, they would be computed again for every element.
    def pivot(rest: Array, j: Array | int) -> tuple[Array, Array]:
        root = jnp.sqrt(rest[j, j])
        return jnp.where(below > j, rest[:, j] / root, 0.0), rest[j] / root

    def eliminate(j: Array, parts: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rest, column, row = parts
        rest = jnp.where((below == j)[:, None], row, rest - column[:, None] * row)
        return rest, *pivot(rest, jnp.minimum(j + 1, dim - 1))

    both = jnp.concatenate([matrix, right], axis=1)
    eliminated: Array = lax.fori_loop(0, dim, eliminate, (both, *pivot(both, 0)))[0]
    return eliminated[:, dim:]


def forget(belief: Gaussian, keep: Array, ridge: float | Array) -> Gaussian:
    """Takes the precision from A to `keep A + (1 - keep) ridge I`, and A mean to keep A mean; O(d^3).

    Repeated with keep = gamma this is the posterior of `ridge I + sum gamma^(t-s) x x'` (D-LinUCB; Russac, Vernade and
    Cappé 2019), whose variance never exceeds the prior's.
    """
    eye = jnp.eye(belief.root.shape[-1], dtype=belief.root.dtype)
    excess = (1.0 - keep) * ridge
    root = divide_by_root(keep * eye + excess * (belief.root @ belief.root.T), belief.root)
    return Gaussian(belief.mean - excess * (root.T @ (root @ belief.mean)), root)


def stale_variance(variance: Array, bound: Array, keep: Array) -> Array:
    """An upper bound on a variance after forgetting, from the variance before it alone.

    In each eigendirection `forget` takes v to `v / (keep + (1 - keep) v / bound)`, bound the prior variance; that map
    is concave, so (Jensen) its value at the mean is at least the mean of its values.
    """
    tiny = np.finfo(bound.dtype).tiny  # of features that are all zero both variances are zero
    return variance / jnp.maximum(keep + (1.0 - keep) * variance / jnp.maximum(bound, tiny), tiny)
