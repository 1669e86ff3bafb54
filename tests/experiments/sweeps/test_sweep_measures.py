"""Values, references, frontiers and areas of a sweep: by hand, by brute force, and as identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.components import two_way_estimate
from experiments.sweeps import measures
from experiments.sweeps.measures import Curve, Policy, area, equal


def test_choices_are_valued_question_by_question(small):
    _, _, sweep = small
    policy, world, tape = sweep.policies["arm_only"], sweep.game.world, sweep.game.tape(sweep.seeds)
    action = sweep.agents["arm_only"].action
    for seed, number, preference in ((0, 0, 0), (1, 5, 7), (2, 23, 11)):
        query, arm = tape.query[seed, number], action[seed, preference, number]
        question = int(np.flatnonzero(sweep.game.questions == query)[0])
        found = policy.value[question, seed, preference]
        wanted = [getattr(world.expected, name)[query, arm] for name in ("quality", "tokens", "latency")]
        assert found == pytest.approx(wanted)
        assert policy.arm[question, seed, preference] == arm
    took = [
        world.channels.latency[tape.query[s, t], tape.draw[s, t], action[s, 3, t]] for s in range(3) for t in range(24)
    ]
    assert sweep.tail("arm_only")[3] == pytest.approx(np.percentile(took, (50, 95, 99)))


def test_references_are_those_of_the_tables(small):
    _, _, sweep = small
    game, world = sweep.game, sweep.game.world
    questions = game.questions
    for place, preference in enumerate(game.preferences):
        own = world.expected.quality - preference.tokens * world.expected.tokens
        own = (own - preference.latency * world.expected.latency)[questions]
        paid = {
            name: policy.value[:, 0, place] @ [1, -preference.tokens, -preference.latency]
            for name, policy in sweep.policies.items()
            if policy.value.shape[1] == 1
        }
        assert paid["oracle"].mean() == pytest.approx(own.max(axis=1).mean(), rel=1e-4)
        assert paid["best_fixed"].mean() == pytest.approx(own.mean(axis=0).max(), rel=1e-4)
        assert paid["random"].mean() == pytest.approx(own.mean(), rel=1e-4)
        assert paid["oracle_cross_fitted"].mean() <= paid["oracle"].mean() + 0.01
        drawn = world.channels.quality - preference.tokens * world.channels.tokens
        drawn = (drawn - preference.latency * world.channels.latency).mean(axis=1)[questions]
        assert paid["oracle_published"].mean() == pytest.approx(drawn.max(axis=1).mean(), rel=1e-4)


def test_frontiers_go_along_one_price_alone(small):
    _, _, sweep = small
    tokens, seconds = sweep.along("tokens"), sweep.along("seconds")
    assert sweep.weights[tokens] == pytest.approx(np.column_stack([np.geomspace(1e-6, 1e-3, 4), np.zeros(4)]))
    assert sweep.weights[seconds] == pytest.approx(np.column_stack([np.zeros(4), np.geomspace(1e-4, 1e-1, 4)]))


def test_intervals_are_two_way():
    values = np.random.default_rng(0).normal(size=(7, 3, 2))
    ends = measures.intervals(values)
    for j in range(2):
        assert measures.estimate(values[..., j]) == pytest.approx((values[..., j].mean(), *ends[:, j]))
        assert two_way_estimate(values[..., j].T) == pytest.approx((values[..., j].mean(), *ends[:, j]))


POINTS = arrays(float, (6, 2), elements=st.floats(0.1, 10, allow_subnormal=False).map(lambda x: round(x, 3)))


@given(POINTS, st.floats(0.1, 11))
def test_frontiers_are_the_best_mixtures_of_two_points(points, place):
    x, y = points.T
    found = Curve(x[None, None], y[None, None]).at(np.array([place]))[0, 0, 0]
    if place < x.min():
        assert found == y[x == x.min()].max()
        return
    best = max(b for a, b in points if a <= place)
    for i in range(6):
        for j in range(6):
            if x[i] <= place < x[j]:
                best = max(best, y[i] + (y[j] - y[i]) * (place - x[i]) / (x[j] - x[i]))
    assert found == pytest.approx(best, abs=1e-9)


@given(arrays(float, (5, 2, 4, 2), elements=st.floats(0.1, 10).map(lambda x: round(x, 3))), st.floats(0.5, 11))
def test_values_of_a_frontier_are_its_derivatives_at_the_means(values, place):
    """Drawing question 0 a little more often moves the frontier as the values by question say."""
    own = Curve(values[..., 0], values[..., 1])
    corners = own.points[own.corners]
    if np.abs(corners[:, 0] - place).min() < 1e-2 or (np.diff(corners[:, 0]) < 0.1).any():
        return  # at a corner there is no derivative
    found = own.at(np.array([place]))[..., 0]
    assert found.mean() == pytest.approx(np.interp(place, *corners.T), abs=1e-9)
    weight = np.full(5, 1 / 5)
    weight[0] += 1e-6
    x, y = np.einsum("q,qsmc->cm", weight / weight.sum(), values)[:, own.corners] / 2
    moved = (np.interp(place, x, y) - np.interp(place, *corners.T)) / 1e-6
    assert moved == pytest.approx(found[0].mean() - found.mean(), abs=1e-3)


def test_areas_are_mean_differences_over_what_both_span():
    x = np.tile(np.array([1.0, 10.0, 100.0]), (50, 4, 1))
    y = np.tile(np.array([0.1, 0.5, 0.6]), (50, 4, 1))
    lower = Curve(x, y)
    found = area(Curve(x[..., 1:], y[..., 1:] + 0.07), lower)
    assert (found.low, found.high) == pytest.approx((10.0, 100.0))
    assert found.difference == pytest.approx((0.07, 0.07, 0.07))
    assert [one.value for one in equal(Curve(x, y + 0.03), lower)] == pytest.approx([0.03] * 3)
    assert np.isnan(area(Curve(x + 1000, y), lower).difference.value)
    assert measures.accuracy_at(lower, 5.5).value == pytest.approx(0.3)


def test_shares_and_predictions(small):
    _, _, sweep = small
    for labels in measures.kinds(sweep.game).values():
        assert sum(arms for _, arms in labels).tolist() == [1] * 22
        shares = [sweep.policies["probe"].shares(arms).mean(axis=(0, 1)) for _, arms in labels]
        assert np.sum(shares, axis=0) == pytest.approx(np.ones(12))
    believed, quality = sweep.believed("probe")
    assert believed.shape == (3, 24, 22) and quality.shape == (24, 22)
    assert ((believed >= 0) & (believed <= 1)).all()
    assert np.corrcoef(believed.mean(axis=(0, 1)), quality.mean(axis=0))[0, 1] > 0.5
    with pytest.raises(ValueError, match="none does not choose one arm"):
        Policy("none", np.zeros((1, 1, 1, 3))).shares(np.ones(1, bool))
