"""Joint features of a query and an arm, structured so that scoring K arms never builds K joint vectors.

For weights w of a joint vector phi(x, a) of length d, every fusion here has `w'phi(x, a) = contract(w, x)' arms[a]`
with an arm side of length E. The same contraction of each row of a covariance root (d, d) gives, at once, the standard
deviations of all arms: O(d^2) to meet the query and O(d E K) for the arms, against O(d^2 K) for K joint vectors; where
E (d + K) < d K, the Gram matrix of the contracted root comes first, and it is O(E^2 (d + K)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from agents.agent import Spec
from agents.choosing import real


class Fusion(NamedTuple):
    """A joint representation.

    Attributes:
        dim: d, length of a joint vector.
        arms: (K, E) arm side.
        contract: (weights (..., d), x (D,)) -> (..., E).
        join: (x (D,), one arm's row (E,)) -> (d,), the joint vector itself.
        distinct: the arm side is the identity, so there is nothing to multiply by it.
    """

    dim: int
    arms: NDArray[np.float64]
    contract: Callable[[Array, Array], Array]
    join: Callable[[Array, Array], Array]
    distinct: bool = False

    def features(self, x: Array, action: Array) -> Array:
        """(d,) joint vector of a query and an arm."""
        return self.join(x, real(self.arms)[action])

    def scores(self, weights: Array, x: Array) -> Array:
        """(..., K) values `w'phi(x, a)` of all arms, for weights (..., d)."""
        side = self.contract(weights, x)
        return side if self.distinct else side @ real(self.arms).T

    def deviations(self, root: Array, x: Array) -> Array:
        """(K,) standard deviations of all arms under a covariance root' root."""
        count, length = self.arms.shape
        if self.distinct or length * (self.dim + count) >= self.dim * count:
            f = self.scores(root, x)
            return jnp.sqrt(jnp.sum(f * f, axis=0))
        side, arms = self.contract(root, x), real(self.arms.T)
        variance = jnp.sum(arms * ((side.T @ side) @ arms), axis=0)  # along columns, which XLA's CPU code vectorises
        return jnp.sqrt(jnp.maximum(variance, 0.0))


def unit_features(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K, F) arm features on one scale: columns that are not 0/1 standardised, then every row of length one.

    Equal lengths give all arms the same bonus before the first round; with raw features the arms with the longest
    vectors (often the dearest) would be tried first for that reason alone.
    """
    columns = features.astype(np.float64)
    binary = np.isin(columns, (0.0, 1.0)).all(axis=0)
    spread = columns.std(axis=0)
    standard = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    columns = np.where(binary, columns, standard)
    length = np.linalg.norm(columns, axis=1, keepdims=True)
    return columns / np.where(length > 0, length, 1.0)


def coordinates(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, E) rows in an orthonormal basis of the space they span, (K, rank).

    A ridge prior is the same in every orthonormal basis, so no prediction and no deviation changes; indicator columns
    of a full grid lose one dimension per factor.
    """
    _, values, basis = np.linalg.svd(rows, full_matrices=False)
    rank = int((values > values.max(initial=0.0) * 1e-9).sum())
    return np.asarray(rows @ basis[:rank].T)


def fuse(spec: Spec, kind: str, normalise: bool = True) -> Fusion:
    """Makes a fusion of D query features x and F arm features f(a).

    Args:
        spec: sizes and arm features.
        kind: "concat": [x, f], d = D + F. "kronecker": [1, f] with every product with x, d = (1 + F) D.
            "hadamard": x * f elementwise, d = D = F. "arm": [1, f] without the query, d = 1 + F. "ids": x and one
            indicator per arm, d = D + K: f is not looked at. F counts linearly independent columns (`coordinates`).
        normalise: put the arm features on one scale (`unit_features`).

    Raises:
        ValueError: if there is no such fusion, or D and F differ where they must agree.
    """
    arms = unit_features(spec.features) if normalise else spec.features.astype(np.float64)
    context = spec.context
    ones = np.ones((len(arms), 1))
    if kind == "concat":
        own = coordinates(arms)
        return Fusion(
            dim=context + own.shape[1],
            arms=np.concatenate([ones, own], axis=1),
            contract=lambda w, x: jnp.concatenate([(w[..., :context] @ x)[..., None], w[..., context:]], axis=-1),
            join=lambda x, row: jnp.concatenate([x, row[1:]]),
        )
    if kind == "ids":
        return Fusion(
            dim=context + spec.arms,
            arms=np.eye(spec.arms),
            contract=lambda w, x: (w[..., :context] @ x)[..., None] + w[..., context:],
            join=lambda x, row: jnp.concatenate([x, row]),
            distinct=True,
        )
    both = coordinates(np.concatenate([ones, arms], axis=1))
    length = both.shape[1]
    if kind == "kronecker":
        return Fusion(
            dim=length * context,
            arms=both,
            contract=lambda w, x: w.reshape(*w.shape[:-1], length, context) @ x,
            join=lambda x, row: jnp.outer(row, x).reshape(-1),
        )
    if kind == "hadamard":
        if context != arms.shape[1]:
            raise ValueError(
                f"a hadamard fusion needs as many query as arm features, got {context} and {arms.shape[1]}"
            )
        return Fusion(context, arms, lambda w, x: w * x, lambda x, row: x * row)
    if kind == "arm":
        return Fusion(length, both, lambda w, x: w, lambda x, row: row)
    raise ValueError(f"fusion is {kind!r}, expected 'concat', 'kronecker', 'hadamard', 'arm' or 'ids'")


def joint_rows(fusion: Fusion, xs: Array) -> Array:
    """(n * K, d) joint vectors of n queries with every arm, for full-information data."""
    rows = jax.vmap(lambda x: jax.vmap(lambda row: fusion.join(x, row))(real(fusion.arms)))(real(xs))
    return rows.reshape(-1, fusion.dim)
