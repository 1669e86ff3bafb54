"""Two-way intervals: how a mean over rounds would vary with other seeds and other queries, by variance components."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from experiments.statistics import LEVEL, Estimate

Array = NDArray[Any]


class Design(NamedTuple):
    """What the counts of a crossed design alone decide.

    Attributes:
        expectation: (3, 3) expected sums of squares of residuals by seed, by query and by cell (rows), per unit of what
            seeds, queries and noise contribute to the variance of the mean (columns).
        degrees: (3,) degrees of freedom of seeds, queries and noise.
    """

    expectation: Array
    degrees: Array


class TwoWay(NamedTuple):
    """Means per round of J measures on the same rounds, S seeds x Q queries, and what their intervals need.

    The model is a crossed design with random effects: a round of seed s on query q pays mu + a_s + b_q + e, with
    independent a, b, e of mean zero; e holds noise and what seed and query do together, such as what an agent has
    learned of q. With u_s and v_q the shares of the rounds, the variance of the mean of N rounds is

        var_a sum u_s^2 + var_b sum v_q^2 + var_e / N:

    the contributions of seeds, queries and noise. They are estimated by moments: the sums of squares of residuals by
    seed, by query and by cell are matched to their exact expectations given the counts, which may be unequal (C. R.
    Henderson, "Estimation of variance and covariance components", Biometrics 9, 1953; for designs as sparse as ours,
    K. Gao and A. B. Owen, "Efficient moment calculations for variance components in large unbalanced crossed random
    effects models", Electronic Journal of Statistics 11, 2017). No contribution is below zero (non-negative least
    squares). The interval is Student's t with the degrees of freedom of F. E. Satterthwaite (Biometrics Bulletin 2,
    1946), where the square of an estimated contribution A of seeds enters as A (A + 2 E), E the noise's, and alike for
    queries: A^2 alone would forget that A was told apart from noise, (A + E)^2 would count all noise as if few seeds
    had measured it. So noise is averaged over all rounds, and few seeds widen the interval only as far as seeds matter.

    Assumptions: seeds and queries are independent draws of two populations and do not depend on each other; means are
    close to normal. Queries are taken as they come: those of one source or level count as independent. Measured
    coverage and widths are in docs/statistics.md.

    Attributes:
        mean: (J,).
        squares: (3, J, J) sums of products of residuals by seed, by query and by cell, over N^2.
        design: of the counts.
    """

    mean: Array
    squares: Array
    design: Design

    def contributions(self, weights: ArrayLike) -> Array:
        """(3, M) what seeds, queries and noise contribute to the variance of (M, J) weighted sums of the means."""
        weights = np.asarray(weights, np.float64)
        squares = np.einsum("mj,kjl,ml->km", weights, self.squares, weights, optimize=True)
        return _fit(np.maximum(squares, 0.0), self.design)

    def interval(self, weights: ArrayLike) -> Array:
        """(2, M) ends of the 95% intervals of (M, J) weighted sums of the means, such as differences (1, -1).

        NaN where there is one seed and one query; with one seed only queries vary, with one query only seeds.
        """
        weights = np.asarray(weights, np.float64)
        return np.asarray(weights @ self.mean + np.array([[-1.0], [1.0]]) * self._half(self.contributions(weights)))

    def intervals(self) -> Array:
        """(2, J) ends of the 95% intervals of the means themselves."""
        squares = np.diagonal(self.squares, axis1=1, axis2=2)
        return np.asarray(self.mean + np.array([[-1.0], [1.0]]) * self._half(_fit(squares, self.design)))

    def _half(self, parts: Array) -> Array:
        """(M,) half widths for (3, M) contributions."""
        degrees = self.design.degrees
        if not degrees.any():
            return np.full(parts.shape[1], np.nan)
        noise = parts[2]
        spread = parts * (parts + 2 * noise * np.array([[1.0], [1.0], [0.0]])) / np.maximum(degrees, 1.0)[:, None]
        spread[2] = noise**2 / max(degrees[2], 1.0)
        variance = parts.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            satterthwaite = np.where(variance > 0, variance**2 / spread.sum(axis=0), 1.0)
        return np.asarray(stats.t.ppf((1 + LEVEL) / 2, satterthwaite) * np.sqrt(variance))


def two_way(total: ArrayLike, count: ArrayLike) -> TwoWay:
    """Means per round with what their intervals over seeds and queries need.

    Args:
        total: (J, S, Q) summed values of J measures by seed and query.
        count: (S, Q) rounds by seed and query, the same for all measures.

    Raises:
        ValueError: if there are no rounds.

    Examples:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> seeds, queries = random.normal(0, 0.1, (1, 20, 1)), random.normal(0, 0.3, (1, 1, 400))
        >>> found = two_way(seeds + queries + random.normal(0, 0.5, (1, 20, 400)), np.ones((20, 400)))
        >>> [bool(low < 0 < high) for low, high in found.intervals().T]
        [True]
    """
    count = np.asarray(count, np.float64)
    asked = count.any(axis=0)
    count = count[:, asked]
    total = np.asarray(total, np.float64)[:, :, asked]
    rounds = count.sum()
    if not rounds:
        raise ValueError("there is no round to take a mean of")
    mean = total.sum(axis=(1, 2)) / rounds
    residual = (total - mean[:, None, None] * count) / rounds
    by_seed, by_query, by_cell = residual.sum(axis=2), residual.sum(axis=1), residual.reshape(len(mean), -1)
    return TwoWay(mean, np.stack([part @ part.T for part in (by_seed, by_query, by_cell)]), _design(count / rounds))


def two_way_estimate(values: ArrayLike) -> Estimate:
    """The mean of (S, Q) values, one per seed and query, with its two-way interval."""
    values = np.asarray(values, np.float64)
    found = two_way(values[None], np.ones(values.shape))
    low, high = found.intervals()[:, 0]
    return Estimate(float(found.mean[0]), float(low), float(high))


def two_way_ratio(values: ArrayLike, others: ArrayLike) -> Estimate:
    """The ratio of two means over the same seeds and queries, (S, Q) or (1, Q) values each (the delta method)."""
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    ratio = values.mean() / others.mean()
    return two_way_estimate(ratio + (values - ratio * others) / others.mean())


def _design(share: Array) -> Design:
    """The design of (S, Q) shares of the rounds."""
    u, v = share.sum(axis=1), share.sum(axis=0)
    uu, vv, pp = (u**2).sum(), (v**2).sum(), (share**2).sum()
    apart = ((share - np.outer(u, v)) ** 2).sum()
    seeds, queries = 1 - 2 * u + uu, 1 - 2 * v + vv  # variances of an effect less the mean effect
    expectation = np.array(
        [
            [u**2 @ seeds / uu, apart / vv, 1 - uu],
            [apart / uu, v**2 @ queries / vv, 1 - vv],
            [(share**2).sum(axis=1) @ seeds / uu, (share**2).sum(axis=0) @ queries / vv, 1 - pp],
        ]
    )
    filled = np.count_nonzero(share) / share.size
    degrees = np.array([uu**2 / (u**4).sum() - 1, vv**2 / (v**4).sum() - 1, 0.0])
    degrees[2] = max(len(u) - 1, 1) * max(len(v) - 1, 1) * filled
    return Design(expectation, degrees if share.size > 1 else np.zeros(3))


def _fit(squares: Array, design: Design) -> Array:
    """(3, M) contributions, none below zero, that explain (3, M) sums of squares best."""
    noise = design.expectation[:, 2]
    varies = (
        design.degrees > 1e-9
    )  # with one seed or one query there is, rounding aside, nothing to learn from its sums
    rows = np.where(varies, np.sqrt(np.maximum(design.degrees, 0.0)) / np.where(noise > 1e-9, noise, np.inf), 0.0)
    system = rows[:, None] * design.expectation * varies
    scale = np.maximum(squares.max(axis=0), np.finfo(float).tiny)
    return np.asarray(np.stack([optimize.nnls(system, rows * part)[0] for part in (squares / scale).T], axis=1) * scale)
