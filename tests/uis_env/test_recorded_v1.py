"""UIS/Recorded-v1: the given pools' means, expectations by brute force, provenance and split."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from uis_env import World, estimators, in_test_split
from uis_env.pools import Pool
from uis_env.worlds import load, recorded

DATA = Path(os.environ.get("UIS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "recorded_pools_v1"
needs_raw = pytest.mark.skipif(not DATA.is_dir(), reason="the raw pools are not here (set UIS_DATA)")
MODELS = ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")


@pytest.fixture(scope="module")
def world() -> World:
    return load("Recorded-v1")


def test_shape_and_origin(world: World) -> None:
    assert world.channels.quality.shape == (1082, 16, 48) and world.recorded.all() and not world.simulated
    assert world.catalog.models == MODELS and world.catalog.styles == ("direct",)
    assert set(world.provenance["licences"]) == set(MODELS) and len(world.provenance["raw_sha256"]) == 5
    assert {"score", "dollars", "eflops", "tokens", "latency"} <= world.channels.present().keys()
    assert sum(file.stat().st_size for file in (recorded.DATA / "Recorded-v1").iterdir()) < 4e6
    env = gym.make("uis_env:UIS/Recorded-v1", horizon=3)
    env.reset(seed=0)
    assert [env.step(0)[2] for _ in range(3)] == [False, False, True]


def test_the_split_takes_a_quarter_of_every_family(world: World) -> None:
    test, groups = in_test_split(world), np.array(world.groups)
    assert len(set(groups)) == 23
    for family in set(groups):
        assert abs(test[groups == family].sum() - (groups == family).sum() / 4) < 1


@needs_raw
def test_means_of_families_are_those_of_the_given_pools(world: World) -> None:
    """The table in the pools' README, which rounds to two digits; its columns are the models from large to small."""
    text = (DATA / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| ([\d. |]+) \| [\d.]+ \|$", text, flags=re.MULTILINE)
    assert len(rows) == 23
    groups = np.array(world.groups)
    for family, count, means in rows:
        some = groups == family
        assert some.sum() == int(count)
        for model, mean in zip(reversed(MODELS), map(float, means.split(" | ")), strict=True):
            arm = world.catalog.id(model, "single", 1)
            assert world.expected.quality[some, arm].mean(dtype=np.float64) == pytest.approx(mean, abs=0.005 + 1e-6)


def best(pool: Pool, q: int, chosen: np.ndarray) -> np.ndarray:
    """The mean quality of the samples with the greatest score, per subset."""
    score, right = pool.score[q][chosen], pool.correct[q][chosen]
    top = score == score.max(axis=1, keepdims=True)
    return (right * top).sum(axis=1) / top.sum(axis=1)


def vote(pool: Pool, q: int, chosen: np.ndarray, weighted: bool = False) -> np.ndarray:
    """The mean quality over the tied leaders' samples, per subset; without a vote, of all samples."""
    answer, right = pool.answer[q][chosen], pool.correct[q][chosen]
    same = answer[:, :, None] == answer[:, None, :]
    weight = pool.score[q][chosen] if weighted else np.ones(chosen.shape)
    votes = np.where(answer >= 0, (same * weight[:, None, :]).sum(axis=2), -1.0)
    top = votes >= votes.max(axis=1, keepdims=True) - 1e-9
    return (right * top).sum(axis=1) / top.sum(axis=1)


METHODS: dict[str, Callable[[Pool, int, np.ndarray], np.ndarray]] = {
    "single": best,
    "best_of_n": best,
    "majority": vote,
    "weighted_best_of_n": lambda pool, q, chosen: vote(pool, q, chosen, weighted=True),
}


def test_expectations_of_200_cells_by_brute_force(world: World) -> None:
    """Over all subsets; of equally good samples each is drawn first with the same chance."""
    random = np.random.default_rng(0)
    arms = [k for k, arm in enumerate(world.catalog.arms) if arm.method in METHODS]
    pools = {pool.model: pool for pool in world.pools}
    assert world.expected.tokens is not None
    for _ in range(200):
        q, k = int(random.integers(len(world.query_ids))), int(random.choice(arms))
        arm = world.catalog.arms[k]
        pool, n = pools[arm.model], arm.budget[0]
        chosen = np.array(list(itertools.combinations(range(16), n)))
        mean = METHODS[arm.method](pool, q, chosen).mean()
        assert world.expected.quality[q, k] == pytest.approx(mean, abs=1e-6), (world.query_ids[q], arm)
        assert world.expected.tokens[q, k] == pytest.approx(pool.tokens[q][chosen].sum(axis=1).mean(), rel=1e-6)


def test_draws_are_read_from_the_samples(world: World) -> None:
    for pool, order in zip(world.pools, world.orders, strict=True):
        for method, n in (("best_of_n", 8), ("majority", 16), ("adaptive_consistency", 16)):
            arm = world.catalog.id(pool.model, method, n)
            drawn = estimators.draw(pool, method, n, order)
            np.testing.assert_array_equal(world.channels.quality[..., arm], drawn.quality.astype(np.float32))
