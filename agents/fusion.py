"""Joint features of a query and an arm, structured so that scoring K arms never builds K joint vectors.

For weights w of a joint vector phi(x, a) of length d, every fusion here has `w'phi(x, a) = contract(w, x)' arms[a]`
with an arm side of length E. The same contraction of each row of a covariance root (d, d) gives, at once, the standard
deviations of all arms: O(d^2) to meet the query and O(d E K) for the arms, against O(d^2 K) for K joint vectors; where
E (d + K) < d K, the Gram matrix of the contracted root comes first, and it is O(E^2 (d + K)). Where the arms are a grid
of n x m with features of either side, as models x methods x budgets are, the last term is O(E^2 (n + m) + E K).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from agents.choosing import real
from agents.spec import Spec


class Grid(NamedTuple):
    """Arms in the order of a grid of n x m; the arm side of (i, j) is `base + scale[i, j] (parts[i] + parts[n + j])`.

    Attributes:
        base: (E,).
        scale: (n, m).
        parts: (n + m, E).
    """

    base: NDArray[np.float64]
    scale: NDArray[np.float64]
    parts: NDArray[np.float64]

    def variances(self, gram: Array) -> Array:
        """(n m,) `e' gram e` of the arm sides e."""
        n, scale, parts, base = len(self.scale), real(self.scale), real(self.parts), real(self.base)
        met = parts @ gram
        once, twice = 2.0 * (met @ base), jnp.sum(met * parts, axis=1)
        once, twice = (side[:n, None] + side[n:] for side in (once, twice))
        both = twice + 2.0 * (met[:n] @ parts[n:].T)
        return (base @ gram @ base + scale * (once + scale * both)).reshape(-1)


class Fusion(NamedTuple):
    """A joint representation.

    Attributes:
        dim: d, length of a joint vector.
        arms: (K, E) arm side.
        contract: (weights (..., d), x (D,)) -> (..., E).
        join: (x (D,), one arm's row (E,)) -> (d,), the joint vector itself.
        distinct: the arm side is the identity, so there is nothing to multiply by it.
        grid: the arm side once more, if the arms are a grid.
    """

    dim: int
    arms: NDArray[np.float64]
    contract: Callable[[Array, Array], Array]
    join: Callable[[Array, Array], Array]
    distinct: bool = False
    grid: Grid | None = None

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
        side = self.contract(root, x)
        gram = side.T @ side
        if self.grid is not None:
            variance = self.grid.variances(gram)
        else:
            arms = real(self.arms.T)
            variance = jnp.sum(arms * (gram @ arms), axis=0)  # along columns, which XLA's CPU code vectorises
        return jnp.sqrt(jnp.maximum(variance, 0.0))


def unit_features(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K, F) arm features on one scale: columns that are not 0/1 standardised, then every row of length one.

    Equal lengths give all arms the same bonus before the first round; with raw features the arms with the longest
    vectors (often the most expensive) would be tried first for that reason alone.
    """
    columns = _one_scale(features)
    return columns * _shortening(columns)[:, None]


def _one_scale(features: NDArray[np.float32]) -> NDArray[np.float64]:
    columns = features.astype(np.float64)
    binary = np.isin(columns, (0.0, 1.0)).all(axis=0)
    spread = columns.std(axis=0)
    standard = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.where(binary, columns, standard)


def _shortening(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) factors that make rows of length one."""
    length = np.linalg.norm(rows, axis=1)
    return 1.0 / np.where(length > 0, length, 1.0)


def coordinates(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, E) rows in an orthonormal basis of the space they span, (K, rank).

    A ridge prior is the same in every orthonormal basis, so no prediction and no deviation changes; indicator columns
    of a full grid lose one dimension per factor. A network is not: it starts from random weights for every coordinate.
    So the basis is one and the same wherever it is computed (`_basis`).
    """
    return rows @ _basis(rows)


def _basis(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E, rank) orthonormal columns: the principal axes, the largest entry of each positive.

    Libraries differ in the signs of singular vectors, and in any rotation of those that share a singular value, as all
    indicators of a balanced grid do. The projection on the axes of one value is unique; its pivoted Cholesky factor is
    a basis of them, which for a single axis is that axis with its largest entry positive.
    """
    _, values, axes = np.linalg.svd(rows, full_matrices=False)
    rank = int((values > values.max(initial=0.0) * 1e-9).sum())
    breaks = np.flatnonzero(values[1:rank] < values[: rank - 1] * (1 - 1e-6)) + 1
    parts = np.split(axes[:rank], breaks) if rank else []
    return np.concatenate([_canonical(part) for part in parts] or [axes[:0]]).T


def _canonical(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, E) orthonormal rows that span the same space as the given ones, whichever those are."""
    projection, chosen = axes.T @ axes, np.empty_like(axes)
    for i in range(len(axes)):
        rest = np.diagonal(projection)
        pivot = int(np.argmax(rest > rest.max() * (1 - 1e-6)))  # the first of the largest, up to rounding
        chosen[i] = projection[pivot] / np.sqrt(rest[pivot])
        projection = projection - np.outer(chosen[i], chosen[i])
    return chosen


def split(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Rows (K, F) in the order of a grid whose (i, j) is `first[i] + second[j]`: (n, F) and (m, F), the evenest.

    None if there is no such n and m above one. Indicators, and numbers of one factor each, are such sums.
    """
    count = len(rows)
    sizes = [n for n in range(2, count) if count % n == 0]
    for n in sorted(sizes, key=lambda n: n + count // n):
        cube = rows.reshape(n, count // n, -1)
        first = cube.mean(axis=1)
        second = (cube - first[:, None]).mean(axis=0)
        off = np.abs(cube - first[:, None] - second).max(axis=(0, 1))
        if (off <= 1e-6 * np.abs(rows).max(axis=0)).all():
            return first, second
    return None


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
    columns = _one_scale(spec.features) if normalise else spec.features.astype(np.float64)
    scale = _shortening(columns) if normalise else np.ones(len(columns))
    arms = columns * scale[:, None]
    context = spec.context
    if kind == "ids":
        return Fusion(
            dim=context + spec.arms,
            arms=np.eye(spec.arms),
            contract=lambda w, x: (w[..., :context] @ x)[..., None] + w[..., context:],
            join=lambda x, row: jnp.concatenate([x, row]),
            distinct=True,
        )
    if kind == "hadamard":
        if context != arms.shape[1]:
            raise ValueError(
                f"a hadamard fusion needs as many query as arm features, got {context} and {arms.shape[1]}"
            )
        return Fusion(context, arms, lambda w, x: w * x, lambda x, row: x * row)

    # The others meet a one and the arm's features, in an orthonormal basis.
    rows = np.concatenate([np.ones((len(arms), 1)), arms], axis=1)
    if kind == "concat":  # where the one takes what the query contributes
        basis = np.pad(_basis(arms), ((1, 0), (1, 0)))
        basis[0, 0] = 1
    else:
        basis = _basis(rows)
    grid = None
    if (parts := split(columns)) is not None:
        first, second = parts
        sizes = len(first), len(second)
        grid = Grid(basis[0], scale.reshape(sizes), np.concatenate([first, second]) @ basis[1:])
    side = rows @ basis
    length = side.shape[1]
    if kind == "concat":
        return Fusion(
            dim=context + length - 1,
            arms=side,
            contract=lambda w, x: jnp.concatenate([(w[..., :context] @ x)[..., None], w[..., context:]], axis=-1),
            join=lambda x, row: jnp.concatenate([x, row[1:]]),
            grid=grid,
        )
    if kind == "kronecker":
        return Fusion(
            dim=length * context,
            arms=side,
            contract=lambda w, x: w.reshape(*w.shape[:-1], length, context) @ x,
            join=lambda x, row: jnp.outer(row, x).reshape(-1),
            grid=grid,
        )
    if kind == "arm":
        return Fusion(length, side, lambda w, x: w, lambda x, row: row)
    raise ValueError(f"fusion is {kind!r}, expected 'concat', 'kronecker', 'hadamard', 'arm' or 'ids'")


def joint_rows(fusion: Fusion, xs: Array) -> Array:
    """(n * K, d) joint vectors of n queries with every arm, for full-information data."""
    rows = jax.vmap(lambda x: jax.vmap(lambda row: fusion.join(x, row))(real(fusion.arms)))(real(xs))
    return rows.reshape(-1, fusion.dim)
