"""Two-way intervals: the moments in closed form, special cases, coverage and width where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.components import TwoWay, two_way, two_way_estimate

ROWS = [
    (5, 300, 300, (0.0, 0.4, 0.3)),
    (5, 300, 300, (0.0, 0.0, 0.3)),
    (32, 378, 1000, (0.02, 0.3, 0.5)),
    (32, 378, 1000, (0.0, 0.0, 0.5)),
]
"""Seeds, queries, rounds, and standard deviations of seeds, queries and noise."""


def draw(
    random: np.random.Generator, seeds: int, queries: int, rounds: int, spread: tuple[float, float, float], many: int
) -> tuple[TwoWay, float]:
    """Two-way means of `many` worlds of mean zero, queries asked in passes, and the true deviation of their means."""
    full, rest = divmod(rounds, queries)
    count = np.full((seeds, queries), float(full))
    for row in count:
        row[random.permutation(queries)[:rest]] += 1
    seed, query, noise = spread
    total = count * (seed * random.normal(size=(many, seeds, 1)) + query * random.normal(size=(many, 1, queries)))
    total += noise * np.sqrt(count) * random.normal(size=(many, seeds, queries))
    share = count / count.sum()
    parts = (share.sum(axis=1) ** 2).sum(), (share.sum(axis=0) ** 2).sum(), 1 / count.sum()
    return two_way(total, count), float(np.sqrt(np.square(spread) @ parts))


def coverage(
    seeds: int, queries: int, rounds: int, spread: tuple[float, float, float], replications: int, batch: int = 50
) -> tuple[float, float]:
    """The share of intervals that hold the truth, and their mean width over that of mean +- 1.96 true deviations."""
    random = np.random.default_rng(seeds + rounds)
    ends, true = [], []
    for _ in range(replications // batch):
        found, deviation = draw(random, seeds, queries, rounds, spread, batch)
        ends.append(found.intervals())
        true.append(np.full(batch, deviation))
    low, high = np.concatenate(ends, axis=1)
    return float(((low <= 0) & (high >= 0)).mean()), float(((high - low) / (2 * 1.96 * np.concatenate(true))).mean())


@pytest.mark.parametrize(("seeds", "queries", "rounds", "spread"), ROWS)
def test_intervals_cover_and_are_hardly_wider_than_they_must_be(seeds, queries, rounds, spread):
    covered, width = coverage(seeds, queries, rounds, spread, 600)
    assert covered >= 0.93 - 0.02  # two standard errors of 600 replications
    assert width <= (1.1 if seeds >= 32 else 1.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "queries", "rounds", "spread"),
    [
        *ROWS,
        (5, 300, 300, (0.05, 0.4, 0.3)),
        (5, 378, 1000, (0.02, 0.3, 0.5)),
        (200, 5000, 1000, (0.02, 0.3, 0.5)),
        (200, 5000, 1000, (0.0, 0.0, 0.5)),
    ],
)
def test_intervals_cover_in_two_thousand_replications(seeds, queries, rounds, spread):
    covered, width = coverage(seeds, queries, rounds, spread, 2000, 50 if seeds < 200 else 20)
    assert covered >= 0.93
    assert width <= (1.1 if seeds >= 32 else 1.3)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.integers(1, 5).flatmap(
        lambda q: st.lists(st.lists(st.integers(0, 3), min_size=q, max_size=q), min_size=1, max_size=4)
    ),
    which=st.sampled_from([0, 1, 2]),
)
def test_expected_sums_of_squares_are_traces(counts, which):
    # each row of the design against E|A y|^2 = trace(A V A'), A the residuals written out as a matrix
    count = np.array(counts, float)
    if not count.any():
        return
    count = count[:, count.any(axis=0)]
    share = count / count.sum()
    seeds, queries = share.shape
    p = share.ravel()
    residual = np.eye(len(p)) - np.outer(p, np.ones(len(p)))  # of sums per cell over N
    by_seed, by_query = np.kron(np.eye(seeds), np.ones(queries)), np.kron(np.ones(seeds), np.eye(queries))
    u, v = share.sum(axis=1), share.sum(axis=0)
    effect = (
        p[:, None] * by_seed.T / np.sqrt((u**2).sum()),
        p[:, None] * by_query.T / np.sqrt((v**2).sum()),
        np.diag(np.sqrt(p)),
    )[which]
    for row, sums in enumerate((by_seed, by_query, np.eye(len(p)))):
        expected = np.square(sums @ residual @ effect).sum()
        found = two_way(np.zeros((1, seeds, queries)), count).design.expectation[row, which]
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_balanced_design_is_the_analysis_of_variance():
    random = np.random.default_rng(0)
    table = random.normal(size=(8, 1)) + random.normal(size=30) + random.normal(size=(8, 30))
    seeds, queries = table.shape
    effects = table.mean(axis=1) - table.mean(), table.mean(axis=0) - table.mean()
    inside = table - table.mean() - effects[0][:, None] - effects[1]
    noise = (inside**2).sum() / ((seeds - 1) * (queries - 1))
    by_seed, by_query = queries * effects[0].var(ddof=1), seeds * effects[1].var(ddof=1)
    expected = np.array([by_seed - noise, by_query - noise, noise]) / (seeds * queries)
    assert (expected > 0).all()
    found = two_way(table[None], np.ones(table.shape))
    np.testing.assert_allclose(found.contributions([[1.0]])[:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1)])
def test_one_way_is_students_t(shape):
    values = np.random.default_rng(0).normal(1, 2, size=shape)
    expected = stats.t.interval(0.95, 29, values.mean(), values.std(ddof=1) / np.sqrt(30))
    np.testing.assert_allclose(two_way_estimate(values), (values.mean(), *expected), rtol=1e-8)


@given(st.integers(0, 10_000), st.integers(12, 400))
def test_shares_of_rounds_that_are_no_whole_numbers_give_the_same_interval(seed, queries):
    values = np.random.default_rng(seed).normal(size=(1, 1, queries))
    expected = two_way(values, np.ones((1, queries))).intervals()
    for share in (1 / queries, 1 / 378, 0.3):
        found = two_way(values * share, np.full((1, queries), share)).intervals()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_single_value_has_no_interval_and_no_round_no_mean():
    found = two_way_estimate([[2.5]])
    assert found.value == 2.5
    assert np.isnan([found.low, found.high]).all()
    assert two_way_estimate(np.full((3, 7), 2.5)) == pytest.approx((2.5, 2.5, 2.5))
    with pytest.raises(ValueError, match="no round"):
        two_way(np.zeros((1, 2, 3)), np.zeros((2, 3)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
def test_what_intervals_do_not_depend_on(seed, shift, scale):
    random = np.random.default_rng(seed)
    count = random.integers(0, 4, size=(6, 9)).astype(float)
    count[0, 0] += 1
    total = count * (random.normal(size=(2, 6, 1)) + random.normal(size=(2, 1, 9))) + random.normal(size=(2, 6, 9)) * (
        count > 0
    )
    low, high = two_way(total, count).intervals()
    moved = two_way(scale * (total + shift * count), count).intervals()
    np.testing.assert_allclose(moved, scale * (np.array([low, high]) + shift), rtol=1e-6, atol=1e-6 * scale)
    rows, columns = random.permutation(6), random.permutation(9)
    shuffled = two_way(total[:, rows][:, :, columns], count[rows][:, columns]).intervals()
    np.testing.assert_allclose(shuffled, [low, high], rtol=1e-6, atol=1e-9)
    padded = two_way(np.pad(total, ((0, 0), (0, 0), (0, 4))), np.pad(count, ((0, 0), (0, 4)))).intervals()
    np.testing.assert_array_equal(padded, [low, high])
    both = two_way(total, count).interval([[1.0, -1.0]])[:, 0]
    np.testing.assert_allclose(both, two_way((total[0] - total[1])[None], count).intervals()[:, 0], rtol=1e-8)


def test_few_seeds_without_an_effect_of_seeds_hardly_widen_an_interval():
    # 5 seeds, all that varies are the queries: as narrow as if their variance had been known
    found, true = draw(np.random.default_rng(0), 5, 300, 300, (0.0, 0.4, 0.3), 400)
    low, high = found.intervals()
    assert ((high - low) / (2 * 1.96 * true)).mean() < 1.05
