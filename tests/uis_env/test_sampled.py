"""The one builder from samples: tables by brute force, holes, halves and channels that not all arms have."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env.arms import Arm
from uis_env.costs import ModelCard, Price
from uis_env.estimators import Returned, draw, orders
from uis_env.pools import Pool
from uis_env.sampled import costed, tabulate_pools
from uis_env.world import Channels

QUERIES, SIZE = 4, 4
CARDS = {"a": ModelCard("a", price=Price(1, 2, 0)), "b": ModelCard("b", 1e8, 2, 4, 2, 8, Price(1, 2, 0))}
ARMS = tuple(
    Arm(model, method, (n,), "s")
    for model in CARDS
    for method, n in (("single", 1), ("best_of_n", 2), ("majority", 3), ("weighted_best_of_n", 2))
)


def make_pool(model: str, seed: int, holes: list[bool]) -> Pool:
    random = np.random.default_rng(seed)
    shape = (QUERIES, SIZE)
    lost = np.where(holes, np.nan, 0.0)
    answer = random.integers(-1, 3, shape)
    right = random.integers(0, 3, QUERIES)[:, None]
    return Pool(
        model,
        "s",
        answer=np.where(np.array(holes)[:, None], -1, answer).astype(np.int32),
        correct=(answer == right) + lost[:, None],
        score=random.random(shape) + lost[:, None],
        tokens=random.integers(1, 9, shape) + lost[:, None],
        prompt=random.integers(50, 60, QUERIES) + lost,
        cached=random.integers(0, 50, QUERIES) + lost,
        prefill_ms=random.random(QUERIES) + lost,
        decode_ms=random.random(QUERIES) + lost,
    )


def costs(arm: Arm, pool: Pool, returned: Returned) -> Channels:
    return costed(CARDS[arm.model], pool, returned)


some_holes = st.lists(st.booleans(), min_size=QUERIES, max_size=QUERIES).filter(lambda holes: not all(holes))


@settings(max_examples=25)
@given(st.integers(0, 99), some_holes, some_holes)
def test_tables_by_brute_force(seed: int, first: list[bool], second: list[bool]) -> None:
    pools = (make_pool("a", seed, first), make_pool("b", seed + 1, second))
    keys = tuple(orders(i, QUERIES, 3, SIZE) for i in range(2))
    table = tabulate_pools(ARMS, pools, keys, costs, "here")
    assert table.halves is not None
    assert set(table.channels.present()) == {"quality", "score", "dollars", "tokens", "latency"}  # no shape of "a"
    everything = np.array(list(permutations(range(SIZE))))[None]
    for k, arm in enumerate(ARMS):
        i = "ab".index(arm.model)
        pool, holes = pools[i], np.array((first, second)[i])
        assert (table.recorded[:, k] == ~holes).all()
        for q in np.flatnonzero(~holes):
            one = pool.take(np.arange(QUERIES) == q)
            drawn = draw(one, arm.method, arm.budget[0], keys[i][q : q + 1])
            np.testing.assert_array_equal(table.channels.quality[q, :, k], drawn.quality[0].astype(np.float32))
            mean = draw(one, arm.method, arm.budget[0], everything)
            assert table.expected.quality[q, k] == pytest.approx(mean.quality.mean(), abs=1e-6)
            assert table.expected.tokens is not None
            assert table.expected.tokens[q, k] == pytest.approx(mean.tokens.mean(), rel=1e-6)
        for array in (*table.channels.present().values(), *table.expected.present().values()):
            assert not array[holes, ..., k].any()
        for half in table.halves:
            assert np.isnan(half.quality[holes, k]).all()
            assert (np.isfinite(half.quality[~holes, k]) == (arm.budget[0] <= SIZE // 2)).all()


def test_samples_without_scores_and_times_lack_these_channels() -> None:
    pool = make_pool("b", 0, [False] * QUERIES)
    pool = replace(pool, score=np.full_like(pool.score, np.nan), decode_ms=np.full_like(pool.decode_ms, np.nan))
    arms = [arm for arm in ARMS if arm.model == "b" and "best" not in arm.method]
    table = tabulate_pools(arms, [pool], [orders(0, QUERIES, 2, SIZE)], costs, "here")
    assert set(table.channels.present()) == {"quality", "dollars", "eflops", "tokens"}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (Arm("c", "single", (1,), "s"), "here: arm 'c/single-s@1' has no samples"),
        (Arm("a", "single", (1,)), "here: arm 'a/single@1' has no samples"),
        (Arm("a", "tree_search", (1,), "s"), "unknown method 'tree_search'"),
        (Arm("a", "majority", (5,), "s"), "budget is 5 samples, expected 1..4"),
    ],
)
def test_arms_that_cannot_be_are_named(arm: Arm, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tabulate_pools([arm], [make_pool("a", 0, [False] * QUERIES)], [orders(0, QUERIES, 2, SIZE)], costs, "here")
