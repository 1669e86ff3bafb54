import dataclasses
import math
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env.worlds.tree_search.fits import AIME_TARGET, FITS, MAX_STEPS, ONE_SAMPLE, Fit
from uis_env.worlds.tree_search.problems import Problems, make_problems, math_weights, query_features
from uis_env.worlds.tree_search.simulator import BLOCK, Trees, search

FIT = FITS["A"]


@cache
def problems(fit: Fit = FIT, seed: int = 0) -> Problems:
    return make_problems(fit, seed)


def few(rows: list[int], fit: Fit = FIT) -> Problems:
    """Some of the problems alone."""
    whole = problems(fit)
    return Problems(*(part if name == "ability" else part[rows] for name, part in whole._asdict().items()))


def same(a: Trees, b: Trees) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_exact_one_sample_accuracy_is_the_published_row(fit: Fit) -> None:
    world = problems(fit, fit.seed)
    np.testing.assert_allclose(math_weights(world.group) @ world.solve, ONE_SAMPLE, atol=1e-12)
    assert world.solve[world.group == 5, 3].mean() == pytest.approx(AIME_TARGET, abs=1e-12)
    assert world.solve[world.group == 5].mean() < 0.25 * world.solve[world.group < 5].mean()
    by_level = [world.difficulty[world.group == level].mean() for level in range(6)]
    assert by_level[0] < by_level[2] < by_level[4] < by_level[5]


def test_crux_shares_sum_to_one_over_a_path_of_any_length() -> None:
    crux = problems().crux
    np.testing.assert_allclose(crux[:, 1:].sum(axis=2), 1, atol=1e-5)
    assert (crux >= 0).all()
    for length in range(1, MAX_STEPS):
        assert not crux[:, length, length:].any()


@pytest.mark.parametrize(
    "changes", [{}, {"crux_even": 0.0, "crux_shape": 0.2, "tree_sd": 1.0}, {"unseen_share": 1.0, "detection": 0.5}]
)
def test_one_unguided_path_succeeds_with_exactly_p(changes: dict[str, float]) -> None:
    fit = dataclasses.replace(FIT, **changes)
    world, draws = problems(fit), 400
    right = search(fit, world, 2, 1, 1, 1, draws, seed=5).correct[0].sum(axis=0)
    p = world.solve[:, 2]
    z = (right - draws * p) / np.sqrt(draws * p * (1 - p))
    busy = draws * p * (1 - p) > 5
    assert busy.sum() > 120
    assert abs(z[busy].mean()) < 4 / math.sqrt(busy.sum())
    assert (z[busy] ** 2).mean() == pytest.approx(1, abs=4 * math.sqrt(2 / busy.sum()))


def reference(fit: Fit, world: Problems, trees: int, width: int, beam: int, rng: random.Random) -> list[float]:
    """One search of problem 0 by model 0, path by path: value, correct, tokens, squares, steps."""
    p, b, aime = float(world.solve[0, 0]), float(world.difficulty[0]), world.group[0] == 5
    answer, totals = (-math.inf, False), [0.0, 0.0, 0.0]
    for _ in range(trees):
        length = min(MAX_STEPS, max(2, round(world.steps[0] * math.exp(fit.tree_sd * rng.gauss(0, 1)))))
        paths = [{"values": 0.0, "noise": None, "tokens": 0.0, "state": "on"}]
        for step in range(length):
            fall = 1 - p ** float(world.crux[0, length, step])
            floor, share = fit.unseen_floor / length, fit.unseen_share_aime if aime else fit.unseen_share
            unseen = min(fall, floor + share * max(fall - floor, 0))
            candidates, spent = [], []
            for path in paths:
                for _ in range(width if step else width * beam):
                    state, bonus = path["state"], 0.0
                    if state == "on" and rng.random() < fall:
                        state = "unseen" if rng.random() < unseen / fall else "visible"
                        bonus = fit.bonus if state == "unseen" else 0.0
                    elif state == "unseen" and rng.random() < fit.detection:
                        state = "visible"
                    noise = fit.value_sd * rng.gauss(0, 1)
                    if path["noise"] is not None:
                        noise = fit.value_memory * path["noise"] + math.sqrt(1 - fit.value_memory**2) * noise
                    logit = fit.on_track - fit.difficulty_slope * b + noise + bonus - fit.gap * (state == "visible")
                    tokens = fit.step_tokens * rng.uniform(1 - fit.step_spread, 1 + fit.step_spread)
                    spent.append(tokens)
                    totals[1] += tokens * (2 * path["tokens"] + tokens)
                    candidates.append(
                        {
                            "values": path["values"] + 1 / (1 + math.exp(-logit)),
                            "noise": noise,
                            "tokens": path["tokens"] + tokens,
                            "state": state,
                        }
                    )
            totals[0] += sum(spent)
            totals[2] += sum(spent) / len(spent)
            paths = sorted(candidates, key=lambda path: -path["values"])[:beam]
        answer = max(answer, *((path["values"] / length, path["state"] == "on") for path in paths))
    return [*answer, *totals]


@pytest.mark.parametrize(("trees", "width", "beam"), [(2, 1, 2), (1, 4, 1), (1, 3, 2), (2, 4, 4)])
def test_vectorised_search_agrees_with_one_path_at_a_time(trees: int, width: int, beam: int) -> None:
    # Strong settings, so that every branch (unseen errors, detection, memory, bonus) moves the means.
    fit = dataclasses.replace(FIT, unseen_floor=0.3, unseen_share=0.4, detection=0.2, bonus=1.0, value_memory=0.7)
    world = few([100], fit)
    rng = random.Random(7)
    slow = np.array([reference(fit, world, trees, width, beam, rng) for _ in range(800)], float)
    fast = search(fit, world, 0, trees, width, beam, 5_000, seed=1)
    for name, column, part in zip(Trees._fields, slow.T, fast, strict=True):
        last = np.asarray(part[-1, :, 0], float)
        error = math.hypot(column.std() / math.sqrt(len(column)), last.std() / math.sqrt(len(last)))
        assert abs(column.mean() - last.mean()) < 4 * error, name


def test_without_candidates_a_beam_is_best_of_n() -> None:
    # With sub-trees of one depth, BS = 4 chains of one sub-tree and one chain in each of QP = 4 are the same thing.
    fit = dataclasses.replace(FIT, tree_sd=0.0)
    world = problems(fit)
    beam = search(fit, world, 1, 1, 1, 4, 64, seed=0)
    trees = search(fit, world, 1, 4, 1, 1, 64, seed=0)
    chain = search(fit, world, 1, 1, 1, 1, 64, seed=0)
    np.testing.assert_allclose(beam.tokens[0].mean(), trees.tokens[3].mean(), rtol=0.003)
    for a, b in ((beam.correct[0], trees.correct[3]), (beam.value[0], trees.value[3])):
        a, b = a.mean(axis=0), b.mean(axis=0)
        assert abs(a.mean() - b.mean()) < 4 * math.sqrt(0.25 / 64 / len(a) * 2)
    assert beam.correct[0].mean() > chain.correct[0].mean() + 0.1
    assert beam.value[0].mean() > chain.value[0].mean()


@pytest.mark.parametrize("v_sup", [None, 0.7])
def test_fewer_trees_and_fewer_draws_are_prefixes(v_sup: float | None) -> None:
    world = few([0, 70, 180])
    whole = search(FIT, world, 3, 4, 2, 2, 2 * BLOCK, 3, v_sup)
    part = search(FIT, world, 3, 2, 2, 2, BLOCK, 3, v_sup)
    assert same(Trees(*(array[:2, :BLOCK] for array in whole)), part)
    assert (np.diff(whole.value, axis=0) >= 0).all()
    assert (np.diff(whole.tokens, axis=0) >= 0).all()


def test_cost_of_equal_lengths_is_the_kinetics_formula() -> None:
    fit = dataclasses.replace(FIT, tree_sd=0.0, step_spread=0.0)
    world = few([0, 70, 180], fit)
    length = 60 * np.clip(np.rint(world.steps), 2, MAX_STEPS)
    for beam in (1, 4):
        runs = search(fit, world, 0, 3, 1, beam, 2, 0)
        for k in range(3):  # sub-trees run one after the other, so each adds the formula with N = BS
            np.testing.assert_allclose(runs.tokens[k], np.tile((k + 1) * beam * length, (2, 1)), rtol=1e-6)
            np.testing.assert_allclose(runs.squares[k], np.tile((k + 1) * beam * length**2, (2, 1)), rtol=1e-6)
            np.testing.assert_allclose(runs.steps[k], np.tile((k + 1) * length, (2, 1)), rtol=1e-6)


@settings(deadline=None, max_examples=15)
@given(
    width=st.integers(1, 4),
    beam=st.sampled_from([1, 2, 4]),
    v_sup=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**31),
)
def test_early_exit_never_touches_the_first_tree_and_only_saves(width: int, beam: int, v_sup: float, seed: int) -> None:
    world = few([10, 100, 200])
    plain = search(FIT, world, 3, 4, width, beam, 8, seed)
    assert same(plain, search(FIT, world, 3, 4, width, beam, 8, seed, math.inf))
    pruned = search(FIT, world, 3, 4, width, beam, 8, seed, v_sup)
    for part, whole in zip(pruned, plain, strict=True):
        assert np.array_equal(part[0], whole[0])
    assert (pruned.tokens <= plain.tokens * (1 + 1e-6)).all()
    assert np.isfinite(pruned.value).all()
    if beam == 1:  # a single path cannot make room for another
        assert (pruned.value <= plain.value).all()
        bound = search(FIT, world, 3, 4, width, beam, 8, seed, 1.0)
        assert np.array_equal(bound.value, plain.value)
        assert np.array_equal(bound.correct, plain.correct)


def test_a_low_bound_stops_after_one_step() -> None:
    # v_sup -> 0: after step 1 of a later sub-tree, V/H_max is below any finished score.
    fit = dataclasses.replace(FIT, step_spread=0.0)
    runs = search(fit, few([100]), 3, 3, 2, 1, 8, 0, v_sup=1e-9)
    np.testing.assert_allclose(np.diff(runs.tokens, axis=0), 2 * 60)
    assert np.array_equal(runs.value[2], runs.value[0])


def test_same_seed_same_world_other_seed_other_world() -> None:
    world = few([0, 100, 200])
    assert same(search(FIT, world, 1, 2, 2, 2, 4, 0), search(FIT, world, 1, 2, 2, 2, 4, 0))
    assert not np.array_equal(search(FIT, world, 1, 2, 2, 2, 4, 0).value, search(FIT, world, 1, 2, 2, 2, 4, 1).value)
    assert not np.array_equal(search(FIT, world, 1, 2, 2, 2, 4, 0).steps, search(FIT, world, 2, 2, 2, 2, 4, 0).steps)
    again = make_problems(FIT, 0)
    assert all(np.array_equal(a, b) for a, b in zip(again, problems(), strict=True))
    assert not np.array_equal(make_problems(FIT, 1).difficulty, again.difficulty)


def test_query_features_have_unit_length_and_show_the_contest() -> None:
    world = problems()
    features = query_features(world, 0)
    assert features.shape == (210, 25)
    assert features.dtype == np.float32
    assert (features[:, -1] == 1).all()
    features = features[:, :-1]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    aime = world.group == 5
    direction = features[aime].mean(axis=0) - features[~aime].mean(axis=0)
    shown = features @ direction
    assert (shown[aime].mean() - shown[~aime].mean()) / shown.std() > 1.5
