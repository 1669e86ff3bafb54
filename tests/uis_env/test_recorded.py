import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uis_env import estimators, sampled
from uis_env.bandit import Phase, Reward, cross_fitted, tabulate
from uis_env.costs import load_model_cards
from uis_env.pools import Pool, read_queries
from uis_env.stored import save_world
from uis_env.worlds import load, recorded

DATA = Path(os.environ.get("UIS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "recorded_pools"
needs_raw = pytest.mark.skipif(not DATA.is_dir(), reason="the raw pools are not here (set UIS_DATA)")


@pytest.fixture(scope="module")
def world():
    return load("Recorded")


@pytest.fixture(scope="module")
def rebuilt():
    pytest.importorskip("wordllama", reason="text features need the extra `build`")
    return recorded.build(DATA)


def test_shape_and_arms(world):
    assert world.channels.quality.shape == (378, 16, 54)
    assert world.recorded.all() and not world.simulated
    assert {name: array.shape[1] for name, array in world.contexts.items()} == {"text": 10, "family": 20, "text32": 34}
    assert world.catalog.models == ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b")
    assert world.catalog.id("gemma-3-270m", "majority", 8) >= 0
    with pytest.raises(KeyError, match="gemma-3-270m/majority-steps@8"):
        world.catalog.id("gemma-3-270m", "majority", 8, "steps")
    assert len(set(world.groups)) == 9 and all(
        q.startswith(g) for q, g in zip(world.query_ids, world.groups, strict=True)
    )


def test_ships_small_and_says_where_it_comes_from(world):
    sizes = [file.stat().st_size for file in (recorded.DATA / "Recorded").iterdir()]
    assert sum(sizes) < 5e6
    assert len(world.provenance["raw_sha256"]) == 6
    assert set(world.provenance["licences"]) == set(world.catalog.models)
    assert world.provenance["expectation"].startswith("exact")
    assert "modelled, not measured" in world.provenance["choices"]["latency"]


def test_draws_scatter_around_the_exact_expectation(world):
    """Over 378 queries the mean of 16 draws per query lies within 5 standard errors of the exact expectation."""
    for name, drawn in world.channels.present().items():
        exact = getattr(world.expected, name).astype(np.float64)
        deviation = drawn.astype(np.float64).mean(axis=1) - exact
        error = np.sqrt((drawn.astype(np.float64).var(axis=1, ddof=1) / 16).sum(axis=0)) / 378
        scale = np.abs(exact).mean(axis=0)
        assert (np.abs(deviation.mean(axis=0)) <= 5 * error + 1e-6 * scale).all(), name


def test_what_must_hold_between_arms(world):
    catalog, drawn = world.catalog, world.channels
    for model in catalog.models:
        for style in ("direct", "steps") if model != "gemma-3-270m" else ("direct",):
            ids = [catalog.id(model, m, 4, style) for m in ("best_of_n", "weighted_best_of_n", "majority")]
            for channel in (drawn.tokens, drawn.dollars, drawn.eflops, drawn.latency):
                assert (channel[..., ids] == channel[..., ids[:1]]).all()  # the same samples
            best = [catalog.id(model, "best_of_n", n, style) for n in (2, 4, 8)]
            single = catalog.id(model, "single", 1, style)
            for low, high in zip([single, *best], best, strict=False):
                assert (drawn.tokens[..., low] < drawn.tokens[..., high]).all()
                assert (drawn.score[..., low] <= drawn.score[..., high]).all()  # the best of a longer prefix
            most = 16 if style == "direct" else 8
            adaptive = catalog.id(model, "adaptive_consistency", most, style)
            assert (drawn.tokens[..., adaptive] <= drawn.tokens[..., catalog.id(model, "majority", most, style)]).all()
    assert np.isin(drawn.quality, (0, 1)).all()
    assert (drawn.score > 0).all() and (drawn.score <= 1).all()


def test_score_is_not_quality(world):
    """The model's own confidence is a weak verifier: related to correctness, and far from it."""
    best = world.catalog.id("qwen2.5-coder-0.5b", "best_of_n", 16, "direct")
    assert 0.1 < np.corrcoef(world.expected.score[:, best], world.expected.quality[:, best])[0, 1] < 0.7


def test_contexts(world):
    text = world.contexts["text"].astype(np.float64)
    np.testing.assert_allclose(text[:, :8].T @ text[:, :8] / 378, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(text[:, :8].mean(axis=0), 0, atol=1e-6)
    assert (text[:, -1] == 1).all() and np.abs(text[:, 8]).max() <= 4
    family = world.contexts["family"]
    assert (family[:, :10] == world.contexts["text"]).all()
    assert (family[:, 10:19].sum(axis=1) == 1).all()
    bits = [query_id.split("/")[1] for query_id in world.query_ids]
    level = {name: set(family[[b == name for b in bits], 19].tolist()) for name in ("n63", "n1023", "w1", "w3", "w6")}
    assert level == {"n63": {0}, "n1023": {1}, "w1": {0}, "w3": {0.5}, "w6": {1}}
    np.testing.assert_allclose(np.abs(world.contexts["text32"][:, :8]), np.abs(world.contexts["text"][:, :8]))


def test_features(world):
    catalog = world.catalog
    names = catalog.feature_names
    assert catalog.features.min() == 0 and catalog.features.max() == 1
    for prefix in ("model=", "method=", "style="):
        block = catalog.features[:, [name.startswith(prefix) for name in names]]
        assert (block.sum(axis=1) == 1).all()
    log2_n = catalog.features[:, names.index("log2_n")]
    np.testing.assert_allclose(log2_n, np.log2([arm.budget[0] for arm in catalog.arms]) / 4, rtol=1e-6)
    assert len(set(catalog.descriptions)) == 54


def test_samples_and_orders_are_in_the_world(world):
    """Tables and expectations of some arms, from the samples that the world holds."""
    assert [(pool.model, pool.style, pool.size) for pool in world.pools] == [
        ("smollm2-135m", "direct", 16),
        ("smollm2-135m", "steps", 8),
        ("gemma-3-270m", "direct", 16),
        ("qwen2.5-coder-0.5b", "direct", 16),
        ("qwen2.5-coder-0.5b", "steps", 8),
    ]
    for pool, order in zip(world.pools, world.orders, strict=True):
        assert order.shape == (378, 16, pool.size) and (np.sort(order, axis=-1) == np.arange(pool.size)).all()
        for method, n in (("single", 1), ("best_of_n", 4), ("majority", 8), ("adaptive_consistency", pool.size)):
            arm = world.catalog.id(pool.model, method, n, pool.style)
            drawn, mean = estimators.draw(pool, method, n, order), estimators.expect(pool, method, n)
            np.testing.assert_array_equal(world.channels.quality[..., arm], drawn.quality.astype(np.float32))
            np.testing.assert_array_equal(world.channels.tokens[..., arm], drawn.tokens.astype(np.float32))
            np.testing.assert_array_equal(world.expected.quality[..., arm], mean.quality.astype(np.float32))


def test_halves(world):
    budgets = np.array([arm.budget[0] for arm in world.catalog.arms])
    steps = np.array([arm.style == "steps" for arm in world.catalog.arms])
    fits = budgets <= np.where(steps, 4, 8)
    first, second = (half.quality for half in world.halves)
    for half in (first, second):
        assert np.isfinite(half[:, fits]).all() and np.isnan(half[:, ~fits]).all()
    single = [world.catalog.id(m, "single", 1, "direct") for m in world.catalog.models]
    np.testing.assert_allclose((first + second)[:, single] / 2, world.expected.quality[:, single], atol=1e-6)
    assert not np.allclose(first[:, fits], second[:, fits])


def test_makes_a_game(world):
    phase = Phase(Reward(**world.defaults))
    table = tabulate(world, [phase])
    fixed = table.expected[0].mean(axis=0).max()
    assert 0 < fixed < table.expected[0].max(axis=1).mean() - 0.1
    one, other = cross_fitted(world, phase)
    chosen = np.where(np.isnan(one), -np.inf, one).argmax(axis=1)
    crossed = other[np.arange(378), chosen].mean()
    assert fixed < crossed < table.expected[0].max(axis=1).mean()


def test_family_tells_which_arm_to_choose(world):
    """Cross-fitted over queries, the best arm of a query's family beats the best arm of all: context has signal."""
    expected = tabulate(world, [Phase(Reward(**world.defaults))]).expected[0].astype(np.float64)
    groups, fold = np.array(world.groups), np.random.default_rng(0).permutation(378) % 5
    gain = np.empty(378)
    for f in range(5):
        train = fold != f
        fixed = expected[train].mean(axis=0).argmax()
        for q in np.flatnonzero(~train):
            gain[q] = expected[q, expected[train & (groups == groups[q])].mean(axis=0).argmax()] - expected[q, fixed]
    assert gain.mean() > 1.96 * gain.std() / np.sqrt(378)


def test_prefix_is_the_smallest_hit_that_covers_half_a_prompt():
    def pool(cached):
        one = np.ones((3, 1))
        prompt = np.array([100.0, 120, 140])
        return Pool(
            "m", "s", one.astype(np.int32), one, one, one, prompt, np.array(cached, np.float64), *[one[:, 0]] * 2
        )

    assert sampled.shared_prefix(pool([0, 20, 90])) == 90
    assert sampled.shared_prefix(pool([95, 20, 90])) == 90
    assert sampled.shared_prefix(pool([0, 0, 20])) == 0


def test_costs_by_hand():
    card = load_model_cards(recorded.MODEL_TABLE)["qwen2.5-coder-0.5b"]
    column = np.ones((1, 2))
    pool = Pool(
        "m", "s", column.astype(np.int32), column, column, column,
        prompt=np.array([100.0]), cached=np.array([60.0]), prefill_ms=np.array([2.0]), decode_ms=np.array([10.0]),
    )  # fmt: skip
    one = [np.array([value]) for value in (1.0, 0.5, 5.0, 13.0, 3.0)]  # samples of 2 and 3 tokens side by side
    cost = sampled.costed(card, pool, estimators.Returned(*one))
    assert cost.dollars[0] == pytest.approx((40 * 0.0494 + 60 * 0.00494 + 5 * 0.1976) / 1e6)
    assert cost.latency[0] == pytest.approx((40 * 2 + 3 * 10) / 1000)
    width, ratio, params = 2 * 24 * 2 * 64, 7, 494_032_768
    compute = 2 * params * (5 + 40) + 2 * ratio * 100 * 5 * width + ratio * 13 * width
    memory = 2 * 100 * 3 * width + 13 * width
    assert cost.eflops[0] == pytest.approx((compute + 156 * memory) / 1e12)


@needs_raw
def test_rebuilding_gives_what_ships(world, rebuilt):
    assert rebuilt.catalog.arms == world.catalog.arms
    assert rebuilt.catalog.descriptions == world.catalog.descriptions
    assert (rebuilt.query_ids, rebuilt.groups) == (world.query_ids, world.groups)
    assert rebuilt.defaults == world.defaults
    built_with = {"versions": world.provenance["versions"]}
    assert json.loads(json.dumps(rebuilt.provenance | built_with)) == world.provenance
    assert (rebuilt.channels.quality == world.channels.quality).all()
    pairs = zip(
        (rebuilt.channels, rebuilt.expected, *rebuilt.halves),
        (world.channels, world.expected, *world.halves),
        strict=True,
    )
    for mine, shipped in pairs:
        for name, array in mine.present().items():
            np.testing.assert_allclose(array, getattr(shipped, name), rtol=3e-7, err_msg=name)
    for mine, shipped in zip(rebuilt.pools, world.pools, strict=True):
        for name in ("answer", "correct", "score", "tokens", "prompt", "cached", "prefill_ms", "decode_ms"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(shipped, name))
    assert all((mine == shipped).all() for mine, shipped in zip(rebuilt.orders, world.orders, strict=True))
    for name, context in rebuilt.contexts.items():  # an SVD differs in its last digits between machines
        np.testing.assert_allclose(context, world.contexts[name], atol=1e-4, err_msg=name)
    np.testing.assert_allclose(rebuilt.catalog.features, world.catalog.features, rtol=1e-6)


@needs_raw
def test_the_same_build_writes_the_same_bytes(rebuilt, tmp_path):
    for name in ("a", "b"):
        save_world(rebuilt, tmp_path / name / "Recorded")
    for file in ("world.npz", "world.json"):
        one, other = ((tmp_path / name / "Recorded" / file).read_bytes() for name in ("a", "b"))
        assert one == other


@needs_raw
def test_pass_at_bounds_every_arm(world):
    ids = tuple(query.query_id for query in read_queries(DATA / "queries.jsonl"))
    for pool in recorded.read_pools(DATA, ids):
        correct = pool.correct.sum(axis=1).astype(int)
        for k, arm in enumerate(world.catalog.arms):
            if arm.model == pool.model and arm.style == pool.style:
                bound = estimators.pass_at(pool.size, correct, arm.budget[0])
                assert (world.expected.quality[:, k] <= bound + 1e-6).all()


def test_builder_names_what_is_wrong(tmp_path):
    (tmp_path / "queries.jsonl").write_text(
        json.dumps({"query_id": "q", "family": "f", "level": "l", "question": "?", "answer": "1"}) + "\n"
    )
    with pytest.raises(ValueError, match=r"at least one \*.jsonl.gz"):
        recorded.build(tmp_path)


def test_loading_needs_neither_the_builder_nor_jax():
    code = (
        "import sys; from uis_env.worlds import load; load('Recorded'); "
        "bad = {'jax', 'wordllama', 'safetensors', 'tokenizers', 'scipy'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_world_or_option():
    with pytest.raises(ValueError, match="unknown world 'Nope', expected one of Recorded"):
        load("Nope")
    with pytest.raises(ValueError, match=r"world 'Recorded': .*'seed'"):
        load("Recorded", seed=1)
