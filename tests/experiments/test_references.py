import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.references import describe, references, upper_hull
from uis_env.bandit import Phase, Reward, tabulate
from uis_env.scenarios import Scenario, Segment, make_scenario
from uis_env.tape import tape

FOLDS = 5


def make(world, reward=None, scenario="stationary", horizon=300, **options):
    reward = reward or Reward()
    made = scenario if isinstance(scenario, Scenario) else make_scenario(scenario, world, reward, **options)
    bandit = tabulate(world, made.phases)
    fold = np.random.default_rng(0).permutation(len(world.query_ids)) % FOLDS
    result = references(world, made, bandit, made.schedule(world, horizon), fold.astype(np.int32))
    json.dumps(result, allow_nan=False)
    return result, bandit, made, fold


def test_stationary_references_match_brute_force(tiny_world):
    result, bandit, _, fold = make(tiny_world, Reward(cost=2.0, cost_channel="eflops"))
    expected = bandit.expected[0].astype(float)
    means = expected.mean(axis=0)
    assert result["best_fixed"]["arm"] == means.argmax()
    assert result["best_fixed"]["value"] == pytest.approx(means.max())
    assert result["oracle"]["value"] == pytest.approx(expected.max(axis=1).mean())
    assert result["gap"]["value"] == pytest.approx(expected.max(axis=1).mean() - means.max())
    elsewhere = [expected[fold != f].mean(axis=0).argmax() for f in range(FOLDS)]
    assert result["fixed_elsewhere"]["arms"] == elsewhere
    paid = np.mean([expected[q, elsewhere[fold[q]]] for q in range(24)])
    assert result["fixed_elsewhere"]["value"] == pytest.approx(paid)
    assert sum(result["ceiling"]["family"].values()) == pytest.approx(1)
    np.testing.assert_allclose(result["arms"]["reward"], means, rtol=1e-6)
    np.testing.assert_allclose(result["arms"]["quality"], tiny_world.channels.quality.mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(result["arms"]["cost"], tiny_world.channels.eflops.mean(axis=(0, 1)), rtol=1e-6)
    for name in ("best_fixed", "fixed_elsewhere", "oracle", "gap", "ceiling"):
        assert result[name]["low"] <= result[name]["value"] <= result[name]["high"]
    assert result["simulated"] is True
    assert [arm["name"] for arm in result["catalog"]] == [arm.name for arm in tiny_world.catalog.arms]


@pytest.mark.parametrize(
    "name", ["stationary", "lost_model", "new_model", "query_mix_shift", "preference_switch", "preference_mix"]
)
def test_weights_are_the_frequencies_of_tapes(tiny_world, name):
    scenario = make_scenario(name, tiny_world, Reward(cost=1.0))
    schedule = scenario.schedule(tiny_world, 96)
    weight = schedule.weights(24)
    counts = np.zeros_like(weight)
    for seed in range(400):
        played = tape(schedule, seed)
        np.add.at(counts, (played.phase, played.query), 1)
    assert weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(counts / counts.sum(), weight, atol=0.003)


def test_a_phase_drawn_in_every_round_counts_evenly(tiny_world):
    scenario = Scenario("coin", (Phase(Reward()), Phase(Reward(cost=1.0))), (Segment(0.0, None),))
    weight = scenario.schedule(tiny_world, 10).weights(24)
    np.testing.assert_allclose(weight, 1 / 48)


def test_a_fixed_arm_is_on_offer_in_every_round(tiny_world):
    result, bandit, *_ = make(tiny_world, scenario="lost_model")
    lost = np.array([arm.model == "large" for arm in tiny_world.catalog.arms])
    assert [value is None for value in result["arms"]["reward"]] == lost.tolist()
    assert not lost[result["best_fixed"]["arm"]]
    # the oracle may use the lost model while it is there: means over phases, weighted by rounds
    best = bandit.expected.astype(float).max(axis=2).mean(axis=1)
    assert result["oracle"]["value"] == pytest.approx(best.mean())
    assert [phase["share"] for phase in result["phases"]] == pytest.approx([1 / 3] * 3)
    assert result["segments"] == [0, 100, 200]
    assert "3 arms not on offer" in result["phases"][1]["description"]


def test_the_group_oracle_takes_one_arm_per_group_and_phase(tiny_world, world_factory):
    result, bandit, *_ = make(tiny_world, scenario="lost_model")
    expected, groups = bandit.expected.astype(float), np.array(tiny_world.groups)
    offered = np.where(bandit.mask, expected, -np.inf)
    best = [offered[p][groups == g].mean(axis=0).max() * 8 / 24 for p in range(3) for g in sorted(set(groups))]
    assert result["group_oracle"]["value"] == pytest.approx(sum(best) / 3)
    assert result["best_fixed"]["value"] <= result["group_oracle"]["value"] <= result["oracle"]["value"]
    # a query that lacks its group's arm takes the next one that it has
    lacking, bandit, *_ = make(world_factory(missing={0: tuple(range(4))}))
    own, chance = np.arange(24) % 3 == 0, bandit.expected[0].astype(float)
    mean = chance[own].sum(axis=0) / bandit.mask[0, own].sum(axis=0)
    arms = [4, *([mean.argmax()] * 7)]
    rest = [chance[np.arange(24) % 3 == g].mean(axis=0).max() * 8 for g in (1, 2)]
    assert lacking["group_oracle"]["value"] == pytest.approx((chance[own][range(8), arms].sum() + sum(rest)) / 24)


def test_without_an_arm_that_is_always_on_offer_there_is_no_fixed_arm(world_factory):
    world = world_factory(missing={0: (0, 1, 2), 1: (3, 4)})
    result, *_ = make(world)
    assert all(result[name] is None for name in ("best_fixed", "fixed_elsewhere", "gap", "ceiling", "cross_fitted"))
    assert result["oracle"]["value"] > 0
    assert "hull" not in result["plane"]


def test_a_world_without_a_cost_has_no_plane(world_factory):
    result, *_ = make(world_factory(without=("dollars", "eflops", "score")))
    assert result["cost_channel"] is None
    assert result["plane"] is None
    assert result["arms"]["cost"] is None
    assert result["verifier"] is None


@pytest.mark.parametrize("said", [{"verifier": "a reward model"}, {"choices": {"score": "a reward model"}}])
def test_the_verifier_is_named_where_the_world_names_one(world_factory, said):
    result, *_ = make(world_factory(provenance=said))
    assert result["verifier"] == "a reward model"


def test_cross_fitting_removes_the_luck_of_finite_pools(world_factory):
    random = np.random.default_rng(0)
    queries, chance = 400, 0.5
    halves = [random.binomial(8, chance, (queries, 5)) / 8 for _ in range(2)]
    base = world_factory(queries=queries)
    tables = [base.expected._replace(quality=half.astype(np.float32)) for half in halves]
    tables[1] = tables[1]._replace(quality=np.where(np.arange(5) == 4, np.nan, tables[1].quality).astype(np.float32))
    pooled = base.expected._replace(quality=np.mean(halves, axis=0).astype(np.float32))
    result, *_ = make(world_factory(queries=queries, expected=pooled, halves=tuple(tables)))
    assert result["oracle"]["value"] > chance + 0.1
    assert result["cross_fitted"]["value"] == pytest.approx(chance, abs=0.02)
    assert result["cross_fitted"]["gap"]["low"] < 0.02
    # an arm that one half cannot value does not compete
    assert result["cross_fitted"]["arms"] == 4
    first, second = halves[0][:, :4], halves[1][:, :4]
    expected = [v[np.arange(queries), c.argmax(axis=1)].mean() for c, v in ((first, second), (second, first))]
    assert result["cross_fitted"]["value"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_no_halves_no_cross_fitted_oracle(tiny_world):
    result, *_ = make(tiny_world)
    assert result["cross_fitted"] is None


def test_no_signal_where_the_context_says_nothing_and_signal_where_it_does(world_factory):
    base = world_factory(queries=150)
    result, *_ = make(base)
    assert result["ceiling"]["no_signal"]
    quality = np.full((150, 5), 0.1, np.float32)
    quality[np.arange(150), np.where(base.contexts["plain"][:, 0] > 0, 1, 3)] = 0.9
    result, *_ = make(world_factory(queries=150, expected=base.expected._replace(quality=quality)))
    assert not result["ceiling"]["no_signal"]
    assert 0.25 < result["ceiling"]["low"] < result["ceiling"]["value"] < 0.41


def test_the_plane_is_bounded_by_its_oracle_curve(tiny_world):
    result, bandit, *_ = make(tiny_world, Reward(cost=2.0, cost_channel="eflops"))
    plane = result["plane"]
    curve = np.array(plane["oracle_curve"])
    for cost, quality in [*plane["hull"], plane["oracle"]]:
        assert quality <= np.interp(cost, *curve.T, left=np.inf) + 0.02
    assert curve[-1, 1] == pytest.approx(bandit.channels.quality[0].mean(axis=1).max(axis=1).mean())
    points = np.column_stack([result["arms"]["cost"], result["arms"]["quality"]])
    assert plane["random_line"][0][0] == points[:, 0].min()
    assert plane["random_line"][1][1] == points[:, 1].max()


points = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(points)
def test_upper_hull_is_the_best_of_all_coin_tosses(given_points):
    array = np.array(given_points, float)
    hull = upper_hull(array)
    assert (np.diff(hull[:, 0]) > 0).all() and (np.diff(hull[:, 1]) > 0).all()
    slopes = np.diff(hull[:, 1]) / np.diff(hull[:, 0])
    assert (np.diff(slopes) < 0).all()
    assert hull[0, 0] == array[:, 0].min() and hull[-1, 1] == array[:, 1].max()
    for budget in np.unique(array[:, 0]):
        # the best mixture of two points (or one) with this mean cost, none dearer than needed
        best = max(q for c, q in given_points if c <= budget)
        for (c1, q1), (c2, q2) in itertools.permutations(given_points, 2):
            if c1 < budget < c2:
                best = max(best, q1 + (q2 - q1) * (budget - c1) / (c2 - c1))
        assert np.interp(budget, hull[:, 0], hull[:, 1]) == pytest.approx(best)


def test_a_phase_is_described_in_words():
    phase = Phase(Reward(cost=2.0), price={"large": 0.1}, keep={"small": 0.5}, load=3.0, without=frozenset({1, 2}))
    assert describe(phase) == (
        "weights: quality 1, cost 2 per US dollar; price of large ×0.1; small keeps 50% of its successes; latency ×3; "
        "2 arms not on offer"
    )


def test_references_are_deterministic(tiny_world):
    assert json.dumps(make(tiny_world)[0]) == json.dumps(make(tiny_world)[0])
