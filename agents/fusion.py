"""Joint features of a query and an arm, structured so that scoring K arms never builds K joint vectors.

For weights w of a joint vector phi(x, a) of length d, every fusion here has `w'phi(x, a) = contract(w, x)' arms[a]`
with an arm side of length E. The same contraction of each row of a covariance root (d, d) gives, at once, the standard
deviations of all arms: O(d^2) to meet the query and O(d E K) for the arms, against O(d^2 K) for K joint vectors.
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
    """

    dim: int
    arms: NDArray[np.float64]
    contract: Callable[[Array, Array], Array]
    join: Callable[[Array, Array], Array]

    def features(self, x: Array, action: Array) -> Array:
        """(d,) joint vector of a query and an arm."""
        return self.join(x, real(self.arms)[action])

    def scores(self, weights: Array, x: Array) -> Array:
        """(..., K) values `w'phi(x, a)` of all arms, for weights (..., d)."""
        return self.contract(weights, x) @ real(self.arms).T

    def deviations(self, root: Array, x: Array) -> Array:
        """(K,) standard deviations of all arms under a covariance root' root."""
        f = self.scores(root, x)
        return jnp.sqrt(jnp.sum(f * f, axis=0))


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


def fuse(spec: Spec, kind: str, normalise: bool = True) -> Fusion:
    """Makes a fusion of D query features x and F arm features f(a).

    Args:
        spec: sizes and arm features.
        kind: "concat": [x, f], d = D + F. "kronecker": [1, f] with every product with x, d = (1 + F) D.
            "hadamard": x * f elementwise, d = D = F. "arm": [1, f] without the query, d = 1 + F.
        normalise: put the arm features on one scale (`unit_features`).

    Raises:
        ValueError: if there is no such fusion, or D and F differ where they must agree.
    """
    arms = unit_features(spec.features) if normalise else spec.features.astype(np.float64)
    count, length = arms.shape
    context = spec.context
    with_one = np.concatenate([np.ones((count, 1)), arms], axis=1)
    if kind == "concat":
        return Fusion(
            dim=context + length,
            arms=with_one,
            contract=lambda w, x: jnp.concatenate([(w[..., :context] @ x)[..., None], w[..., context:]], axis=-1),
            join=lambda x, row: jnp.concatenate([x, row[1:]]),
        )
    if kind == "kronecker":
        return Fusion(
            dim=(1 + length) * context,
            arms=with_one,
            contract=lambda w, x: w.reshape(*w.shape[:-1], 1 + length, context) @ x,
            join=lambda x, row: jnp.outer(row, x).reshape(-1),
        )
    if kind == "hadamard":
        if context != length:
            raise ValueError(f"a hadamard fusion needs as many query as arm features, got {context} and {length}")
        return Fusion(length, arms, lambda w, x: w * x, lambda x, row: x * row)
    if kind == "arm":
        return Fusion(1 + length, with_one, lambda w, x: w, lambda x, row: row)
    raise ValueError(f"fusion is {kind!r}, expected 'concat', 'kronecker', 'hadamard' or 'arm'")


def joint_rows(fusion: Fusion, xs: Array) -> Array:
    """(n * K, d) joint vectors of n queries with every arm, for full-information data."""
    rows = jax.vmap(lambda x: jax.vmap(lambda row: fusion.join(x, row))(real(fusion.arms)))(real(xs))
    return rows.reshape(-1, fusion.dim)
