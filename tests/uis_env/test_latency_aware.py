"""The latency-aware world: mechanisms by hand, published targets, prefixes, expectations, tails and the surge."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uis_env.arms import Arm
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario
from uis_env.world import World
from uis_env.worlds import load
from uis_env.worlds.latency import latency_percentiles
from uis_env.worlds.latency_aware import latency_aware, simulator
from uis_env.worlds.latency_aware.calibrate import minimise, oracle, report, sample, split_oracle
from uis_env.worlds.latency_aware.fits import FITS
from uis_env.worlds.latency_aware.simulator import (
    LIMIT,
    Results,
    Samples,
    beam_accuracy,
    draw_luck,
    draw_samples,
    make_queries,
    parallel_quality,
    sample_lengths,
    simulate,
    spread_normals,
)
from uis_env.worlds.latency_aware.targets import ARMS, BEAMS, MODEL, RUNS, SIZES, TARGETS

NAMES = sorted(FITS)
AT = {(arm.method, arm.budget): i for i, arm in enumerate(ARMS)}


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {name: latency_aware(name, queries=500, cache=False) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_world_meets_the_published_table(worlds: dict[str, World], name: str) -> None:
    world, target = worlds[name], TARGETS[name]
    assert world.expected.tokens is not None and world.expected.latency is not None
    assert len(target.accuracy) >= 20
    for arm, accuracy in target.accuracy.items():
        i = ARMS.index(arm)
        assert world.expected.quality[:, i].mean(dtype=float) == pytest.approx(accuracy, abs=0.02), arm.name
        assert world.expected.tokens[:, i].mean(dtype=float) == pytest.approx(target.tokens[arm], rel=0.05), arm.name
        assert world.expected.latency[:, i].mean(dtype=float) == pytest.approx(target.seconds[arm], rel=0.05), arm.name


@pytest.mark.parametrize("name", NAMES)
def test_oracle_by_the_published_estimator(worlds: dict[str, World], name: str) -> None:
    _, results = sample(FITS[name], 5, 2000, RUNS)
    accuracy, *_ = oracle(results)
    assert accuracy == pytest.approx(TARGETS[name].oracle[0], abs=0.02)
    true = float(worlds[name].expected.quality.max(axis=1).mean())
    best = float(worlds[name].expected.quality.mean(axis=0).max())
    assert best + 0.01 < true < accuracy - 0.005  # a maximum over ten runs is optimistic
    assert split_oracle(results) < true + 0.02


def test_naive_best_of_n_falls_and_beam_search_gains_on_hard_queries(worlds: dict[str, World]) -> None:
    quality = worlds["math500"].expected.quality.astype(float)
    naive = [quality[:, AT["best_of_n", (size,)]].mean() for size in SIZES]
    assert naive[:4] == sorted(naive[:4]) and naive[4] < naive[3] - 0.003
    weighted = quality[:, AT["weighted_best_of_n", (32,)]].mean()
    assert weighted > naive[4] + 0.02
    single = quality[:, AT["majority", (2,)]]
    gain = quality[:, AT["beam_search", (16, 4, 20)]] - quality[:, AT["best_of_n", (16,)]]
    hard, easy = (single > 0.02) & (single < 0.3), single > np.quantile(single, 0.75)
    assert gain[hard].mean() > 0.2
    assert gain[easy].mean() < 0.05


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_is_another_world_of_the_same_kind(name: str, seed: int) -> None:
    queries, results = sample(FITS[name], seed + 10, 800, 6)
    mean = results.quality.mean(axis=(0, 1))
    for arm, accuracy in TARGETS[name].accuracy.items():
        assert mean[ARMS.index(arm)] == pytest.approx(accuracy, abs=0.03), arm.name
    other, _ = sample(FITS[name], seed + 11, 800, 1)
    assert (queries.solve != other.solve).mean() > 0.9


def test_world_is_whole_and_labelled(worlds: dict[str, World]) -> None:
    world = worlds["math500"]
    assert world.simulated and "simulated" in world.provenance["source"]
    json.dumps(world.provenance)
    assert set(world.provenance["reached"]) == {arm.name for arm in ARMS} > set(world.provenance["published"])
    np.testing.assert_allclose(
        list(world.provenance["latency_percentiles"].values()), latency_percentiles(world), atol=1e-2
    )
    assert world.catalog.arms == ARMS and len(ARMS) == 22
    assert world.channels.quality.shape == (500, 16, 22)
    assert set(world.channels.present()) == {"quality", "tokens", "latency"}
    assert np.isin(world.channels.quality, (0, 1)).all()
    assert Counter(world.groups) == {f"level {i}": 100 for i in range(1, 6)}
    context = world.contexts["embedding"]
    assert context.shape == (500, 32) and (context[:, -1] == 1).all()
    Reward(**world.defaults)
    levels = np.array(world.groups)
    single = world.expected.quality[:, 0]
    means = [single[levels == f"level {i}"].mean() for i in range(1, 6)]
    assert means[0] > means[2] > means[4]
    assert latency_aware("math500", queries=12, draws=2, cache=False).channels.quality.shape == (12, 2, 22)


def test_context_tells_something_and_not_everything(worlds: dict[str, World]) -> None:
    world = worlds["math500"]
    x = world.contexts["embedding"].astype(float)
    y = world.expected.quality[:, AT["best_of_n", (8,)]].astype(float)
    fold = np.arange(500) % 5
    guess = np.empty(500)
    for f in range(5):
        rest = fold != f
        weights = np.linalg.solve(x[rest].T @ x[rest] + 10 * np.eye(32), x[rest].T @ y[rest])
        guess[fold == f] = x[fold == f] @ weights
    explained = 1 - ((guess - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert 0.15 < explained < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_expectations_are_of_other_draws(worlds: dict[str, World], name: str) -> None:
    world = worlds[name]
    assert world.halves is not None
    for channel, expected in world.expected.present().items():
        stored = getattr(world.channels, channel).mean(axis=(0, 1), dtype=float)
        halves = [getattr(half, channel).astype(float) for half in world.halves]
        np.testing.assert_allclose(stored, expected.mean(axis=0, dtype=float), rtol=0.05)
        if channel == "quality":
            parallel = slice(0, 15)
            np.testing.assert_allclose((halves[0] + halves[1])[:, parallel] / 2, expected[:, parallel], atol=1e-6)
            assert 0.005 < (halves[0] - halves[1]).std() < 0.03  # 512 independent draws each
        assert (halves[0] != halves[1]).mean() > 0.3


def test_the_same_arguments_give_the_same_world() -> None:
    first, again, other = (latency_aware("numina", queries=20, draws=2, seed=s, cache=False) for s in (3, 3, 4))
    for name, array in first.channels.present().items():
        np.testing.assert_array_equal(array, getattr(again.channels, name))
    np.testing.assert_array_equal(first.contexts["embedding"], again.contexts["embedding"])
    assert (first.channels.tokens != other.channels.tokens).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dataset": "gsm8k"}, "dataset"), ({"queries": 2}, "queries"), ({"draws": 0}, "draws"), ({"seed": -1}, "seed")],
)
def test_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message} is"):
        latency_aware(**options)


def test_load_by_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_CACHE", str(tmp_path))
    made = load("LatencyAware", queries=10, draws=2)
    read = load("LatencyAware", queries=10, draws=2)
    assert made.name == "LatencyAware" and list(tmp_path.glob("LatencyAware-*/world.npz"))
    np.testing.assert_array_equal(made.channels.quality, read.channels.quality)


# Mechanisms


def votes(right: list[int], attractive: list[int], score: list[float]) -> np.ndarray[Any, Any]:
    pad = max(SIZES) - len(right)
    columns = [np.array([*values, *[0] * pad]) for values in (right, attractive, score)]
    samples = Samples(
        columns[0].astype(bool)[None, None],
        columns[1].astype(bool)[None, None],
        columns[2].astype(np.float32)[None, None],
    )
    return parallel_quality(samples)[0, 0].reshape(3, 5)


def test_aggregation_by_hand() -> None:
    # right, wrong, attractive, attractive: N = 2 is the first sample, N = 4 the attractive answer
    quality = votes([1, 0, 0, 0], [0, 0, 1, 1], [0.3, 0.9, 0.5, 0.4])
    assert quality[0, :2].tolist() == [True, False]  # majority: a tie goes to the answer seen first
    assert quality[1, :2].tolist() == [False, False]  # naive: the best score is wrong
    assert quality[2, :2].tolist() == [False, False]  # weighted: .3 against .9
    quality = votes([0, 1, 1, 0], [1, 0, 0, 1], [0.6, 0.5, 0.5, 0.1])
    assert quality[0, :2].tolist() == [False, False]  # 2 : 2, and the attractive answer was first
    assert quality[1, :2].tolist() == [False, False]
    assert quality[2, :2].tolist() == [False, True]  # 1.0 against 0.7
    quality = votes([0, 0, 1, 1], [0, 0, 0, 0], [0.9, 0.9, 0.5, 0.5])
    assert quality[0, 1] and not quality[1, 1] and quality[2, 1]  # lone wrong answers do not add up


@pytest.mark.parametrize("seed", range(3))
def test_aggregation_equals_counting_answers(seed: int) -> None:
    fit = FITS["math500"]
    queries = make_queries(fit, 30, np.random.default_rng(seed))
    samples = draw_samples(fit, queries, draw_luck(np.random.default_rng(seed), 30, 4))
    quality = parallel_quality(samples).reshape(30, 4, 3, 5)
    for q in range(30):
        for r in range(4):
            answers = [
                "right" if a else "attractive" if b else f"own {i}"
                for i, (a, b) in enumerate(zip(samples.right[q, r], samples.attractive[q, r], strict=True))
            ]
            scores = samples.score[q, r].astype(float)
            for s, size in enumerate(SIZES):
                counted = Counter(answers[:size]).most_common(1)[0][0]  # ties: first encountered
                assert quality[q, r, 0, s] == (counted == "right")
                assert quality[q, r, 1, s] == (answers[int(scores[:size].argmax())] == "right")
                total: Counter[str] = Counter()
                for answer, score in zip(answers[:size], scores[:size], strict=True):
                    total[answer] += score  # type: ignore[assignment]
                assert quality[q, r, 2, s] == (max(total, key=lambda answer: total[answer]) == "right")


def test_small_budgets_read_prefixes() -> None:
    fit = FITS["numina"]
    queries = make_queries(fit, 20, np.random.default_rng(0))
    luck = draw_luck(np.random.default_rng(1), 20, 3)
    full = simulate(fit, queries, luck)
    cut = luck._replace(answer=luck.answer.copy(), score=luck.score.copy(), length=luck.length.copy())
    for array in (cut.answer, cut.score, cut.length):
        array[..., 8:] = np.random.default_rng(2).random(array[..., 8:].shape)
    other = simulate(fit, queries, cut)
    early = [i for i, arm in enumerate(ARMS) if arm.method != "beam_search" and arm.budget[0] <= 8]
    late = [i for i, arm in enumerate(ARMS) if arm.method != "beam_search" and arm.budget[0] > 8]
    for name in Results._fields:
        np.testing.assert_array_equal(getattr(full, name)[..., early], getattr(other, name)[..., early])
    assert (full.tokens[..., late] != other.tokens[..., late]).any()
    # one pool: the three aggregations of N samples use the same tokens, the verifier's time comes on top
    tokens, seconds = (x[..., :15].reshape(20, 3, 3, 5) for x in (full.tokens, full.latency))
    assert (tokens[:, :, 0] == tokens[:, :, 1]).all() and (tokens[:, :, 1] == tokens[:, :, 2]).all()
    assert (seconds[:, :, 1] > seconds[:, :, 0]).all() and (seconds[:, :, 1] == seconds[:, :, 2]).all()
    assert (np.diff(seconds, axis=3) >= 0).all() and (np.diff(tokens, axis=3) > 0).all()


def test_parallel_seconds_are_those_of_the_slowest_sample_and_the_batch() -> None:
    fit = dataclasses.replace(FITS["math500"], start=2.0, decode=0.01, batch=0.001, verify=0.1)
    queries = make_queries(fit, 5, np.random.default_rng(0))
    lengths = np.zeros((5, 1, max(SIZES)))
    lengths[..., :4] = [100, 300, 200, 50]
    tokens, seconds = simulator.parallel_costs(fit, queries, lengths)
    read = simulator.PREFILL * queries.prompt
    np.testing.assert_array_equal(tokens[0, 0, :5], [400, 650, 650, 650, 650])
    np.testing.assert_allclose(seconds[:, 0, 0], 2 + read + 0.01 * 300 + 0.001 * 400)
    np.testing.assert_allclose(seconds[:, 0, 6], 2 + read + 0.01 * 300 + 0.101 * 650)


def test_beam_search_is_a_sample_without_choice_and_gains_with_it() -> None:
    fit = dataclasses.replace(FITS["math500"], greed=0.0, lapse=0.0, kept_power=0.0, width_power=0.0)
    queries = make_queries(fit, 200, np.random.default_rng(0))
    np.testing.assert_allclose(beam_accuracy(fit, queries), queries.solve[:, None] * np.ones(len(BEAMS)), rtol=1e-9)
    better = beam_accuracy(dataclasses.replace(fit, width_power=1.0), queries)
    assert (better > queries.solve[:, None] - 1e-12).all()
    assert (better[:, 2] >= better[:, 0]).all()  # width 4 against 2
    greedy = beam_accuracy(dataclasses.replace(fit, greed=0.05), queries)
    assert (greedy < queries.solve[:, None]).all()


def test_beam_search_stops_at_its_last_step() -> None:
    fit = dataclasses.replace(FITS["math500"], stray=1.0, beam_factors=((1.0, 1.0),) * len(BEAMS))
    queries = make_queries(fit, 50, np.random.default_rng(0))
    tokens, seconds = simulator.beam_costs(fit, queries, draw_luck(np.random.default_rng(1), 50, 40))
    for b, (size, _, most) in enumerate(BEAMS):
        assert tokens[..., b].mean() == pytest.approx(size * most * fit.step_tokens, rel=0.02)
    assert (seconds > fit.beam_start).all()


def test_runaway_samples_are_wrong_and_hit_the_limit() -> None:
    fit = dataclasses.replace(FITS["math500"], slip=0.2, runaway=0.1)
    queries = make_queries(fit, 100, np.random.default_rng(0))
    luck = draw_luck(np.random.default_rng(1), 100, 20)
    samples, lengths = draw_samples(fit, queries, luck), sample_lengths(fit, queries, luck)
    cut = lengths == LIMIT
    assert cut.mean() == pytest.approx(0.1, abs=0.01)
    assert not (samples.right | samples.attractive)[cut].any()
    assert samples.right.mean() == pytest.approx(queries.solve.mean(), abs=0.01)


@pytest.mark.parametrize("count", [100, 777])
def test_latents_are_standard_normal_and_even(count: int) -> None:
    z = spread_normals(count, 6, np.random.default_rng(0))
    assert z.shape == (count, 6)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.06)
    correlation = np.corrcoef(z.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(count)
    assert (z != spread_normals(count, 6, np.random.default_rng(1))).all()


def test_search_finds_a_minimum() -> None:
    goal = np.array([0.2, 0.7, 0.5, 0.9])
    scale = np.array([1.0, 10.0, 100.0, 3.0])
    rng = np.random.default_rng(0)
    point, lowest = minimise(lambda x: float(np.sum(scale * (x - goal) ** 2)), np.full(4, 0.5), rng, 80)
    np.testing.assert_allclose(point, goal, atol=1e-3)
    assert lowest < 1e-4


def test_report_shows_every_configuration() -> None:
    text = report("math500", FITS["math500"], count=100)
    assert all(f"@{'x'.join(map(str, arm.budget))} |" in text for arm in ARMS)
    assert "oracle, same estimator" in text


# Tails and load


def test_percentiles_of_latency(
    worlds: dict[str, World], tiny_world: World, world_factory: Callable[..., World]
) -> None:
    world = worlds["math500"]
    assert world.channels.latency is not None
    tails = latency_percentiles(world)
    assert tails.shape == (22, 3) and (np.diff(tails, axis=1) >= 0).all()
    np.testing.assert_allclose(tails[3], np.percentile(world.channels.latency[:, :, 3], (50, 95, 99)), rtol=1e-5)
    partly = world_factory(missing=dict.fromkeys(range(24), (1,)) | {0: (0, 1)})
    assert partly.channels.latency is not None
    tails = latency_percentiles(partly, (50,))
    assert np.isnan(tails[1]).all()
    np.testing.assert_allclose(tails[0, 0], np.median(partly.channels.latency[1:, :, 0]), rtol=1e-6)
    with pytest.raises(ValueError, match="no latency"):
        latency_percentiles(world_factory(without=("latency",)))


def test_surge_multiplies_latency_in_the_middle_third(tiny_world: World) -> None:
    reward = Reward(latency=0.1)
    scenario = make_scenario("surge", tiny_world, reward, load=4.0)
    assert [phase.load for phase in scenario.phases] == [1.0, 4.0, 1.0]
    bandit = tabulate(tiny_world, scenario.phases)
    assert bandit.channels.latency is not None
    latency = bandit.channels.latency[bandit.variant]
    np.testing.assert_allclose(latency[1], 4 * latency[0], rtol=1e-6)
    np.testing.assert_allclose(bandit.reward[0] - bandit.reward[1], 0.3 * latency[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(bandit.reward[2], bandit.reward[0])


def test_surge_needs_latency(world_factory: Callable[..., World]) -> None:
    with pytest.raises(ValueError, match="surge multiplies latency"):
        make_scenario("surge", world_factory(without=("latency",)), Reward())


def test_targets_name_arms_of_the_catalog() -> None:
    for target in TARGETS.values():
        assert set(target.accuracy) == set(target.tokens) == set(target.seconds) <= set(ARMS)
    assert Arm(MODEL, "beam_search", (32, 4, 40)) not in TARGETS["math500"].accuracy
