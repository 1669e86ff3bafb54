"""Tabulated rewards: the formulas in float64 closed form, phases, masks, regrets, thinning."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.bandit import Phase, Reward, cross_fitted, tabulate
from uis_env.world import Channels, World

Factory = Callable[..., World]
weights = st.just(0.0) | st.floats(1e-3, 5.0)


def single(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)


@given(quality=weights, score=weights, cost=weights, tokens=weights, latency=weights, offset=st.floats(-3, 3))
def test_reward_is_the_formula(tiny_world: World, offset: float, **chosen: float) -> None:
    bandit = tabulate(tiny_world, [Phase(Reward(**chosen, offset=offset, cost_channel="eflops"))])
    for table, channels in ((bandit.reward[0], tiny_world.channels), (bandit.expected[0], tiny_world.expected)):
        expected = (
            offset
            + chosen["quality"] * single(channels.quality)
            + chosen["score"] * single(channels.score)
            - chosen["cost"] * single(channels.eflops)
            - chosen["tokens"] * single(channels.tokens)
            - chosen["latency"] * single(channels.latency)
        )
        assert table.dtype == np.float32
        np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max() + 1e-30)


def test_uniscale_and_latency_aware_rewards_are_settings(tiny_world: World) -> None:
    low, high = tiny_world.cost_ends["eflops"]
    w1, w2, w3 = 0.5, 0.2, 0.3
    setting = Reward(quality=w1, score=w2, cost=w3, offset=w3, transform="log", cost_channel="eflops")
    one = tiny_world.channels
    scaled = np.clip((np.log(single(one.eflops)) - math.log(low)) / (math.log(high) - math.log(low)), 0, 1)
    uniscale = w1 * single(one.quality) + w2 * single(one.score) + w3 * (1 - scaled)
    np.testing.assert_array_equal(tabulate(tiny_world, [Phase(setting)]).reward[0], uniscale.astype(np.float32))
    aware = single(one.quality) - 1e-4 * single(one.tokens) - 1e-2 * single(one.latency)
    reward = tabulate(tiny_world, [Phase(Reward(tokens=1e-4, latency=1e-2))]).reward[0]
    np.testing.assert_allclose(reward, aware, rtol=1e-6)


@pytest.mark.parametrize("transform", ["clipped", "log"])
def test_nonlinear_costs_are_clipped_between_the_ends(tiny_world: World, transform: str) -> None:
    cost = single(tiny_world.channels.dollars)
    low, high = np.quantile(cost, [0.3, 0.7])
    bandit = tabulate(tiny_world, [Phase(Reward(quality=0, cost=1, transform=transform, ends=(low, high)))])
    paid = -bandit.reward[0]
    assert (paid[cost <= low] == 0).all() and (paid[cost >= high] == 1).all()
    inside = (cost > low) & (cost < high)
    g = np.log if transform == "log" else np.positive
    np.testing.assert_allclose(paid[inside], (g(cost[inside]) - g(low)) / (g(high) - g(low)), rtol=1e-5)


def test_nonlinear_costs_keep_the_exact_expectation_of_quality(tiny_world: World) -> None:
    bandit = tabulate(tiny_world, [Phase(Reward(cost=0.5, transform="log"))])
    cost_only = tabulate(tiny_world, [Phase(Reward(quality=0, cost=0.5, transform="log"))])
    expected = tiny_world.expected.quality + cost_only.reward[0].mean(axis=1)
    np.testing.assert_allclose(bandit.expected[0], expected, rtol=1e-5, atol=1e-6)


def test_a_free_answer_has_log_cost_zero(world_factory: Factory) -> None:
    world = world_factory()
    free = replace(world, channels=world.channels._replace(dollars=np.zeros_like(world.channels.dollars)))
    bandit = tabulate(free, [Phase(Reward(quality=0, cost=1, transform="log"))])
    assert (bandit.reward == 0).all()


def test_regret_is_the_gap_to_the_best_arm_on_offer(world_factory: Factory) -> None:
    world = world_factory(missing={3: (0, 4), 5: (2,)})
    bandit = tabulate(world, [Phase(Reward(cost=1e4)), Phase(Reward(cost=10), without=frozenset({1, 2}))])
    for phase in range(2):
        for query in range(len(world.query_ids)):
            offered = np.flatnonzero(bandit.mask[phase, query])
            values = bandit.expected[phase, query].astype(np.float64)
            best = max(values[arm] for arm in offered)
            regret = bandit.regret[phase, query]
            np.testing.assert_allclose(regret[offered], best - values[offered], rtol=1e-5, atol=1e-6)
            assert regret[offered].min() == 0
            hidden = np.setdiff1d(np.arange(5), offered)
            assert (regret[hidden] == 0).all() and (values[hidden] == 0).all()
    assert (bandit.regret >= 0).all()


def test_masks_join_what_is_recorded_and_what_is_offered(world_factory: Factory) -> None:
    world = world_factory(missing={3: (0, 4)})
    bandit = tabulate(world, [Phase(), Phase(without=frozenset({1}))])
    np.testing.assert_array_equal(bandit.mask[0], world.recorded)
    assert not bandit.mask[1, :, 1].any()
    np.testing.assert_array_equal(bandit.mask[1][:, [0, 2, 3, 4]], world.recorded[:, [0, 2, 3, 4]])


def test_prices_load_and_preferences(tiny_world: World) -> None:
    reward = Reward(cost=100.0, latency=0.1)
    phases = [Phase(reward), Phase(reward, price={"large": 0.5}, load=3.0), Phase(replace(reward, cost=7.0))]
    bandit = tabulate(tiny_world, phases)
    assert bandit.variant.tolist() == [0, 1, 0]
    assert bandit.channels.quality.shape[0] == 2
    factor = np.array([1, 1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(bandit.channels.dollars[1], tiny_world.channels.dollars * factor, rtol=1e-6)
    np.testing.assert_allclose(bandit.cost[1], bandit.channels.dollars[1])
    np.testing.assert_allclose(bandit.channels.latency[1], tiny_world.channels.latency * 3, rtol=1e-6)
    for name in ("quality", "score", "eflops", "tokens"):
        np.testing.assert_array_equal(getattr(bandit.channels, name)[1], getattr(tiny_world.channels, name))
    assert bandit.prices.tolist() == [[1, 1], [1, 0.5], [1, 1]]
    np.testing.assert_allclose(bandit.preference[:, 2], [100, 100, 7])
    for i, v in enumerate(bandit.variant):
        c = Channels(*(None if t is None else single(t[v]) for t in bandit.channels))
        weighed = c.quality - phases[i].reward.cost * c.dollars - 0.1 * c.latency
        np.testing.assert_allclose(bandit.reward[i], weighed, rtol=1e-5, atol=1e-6)


def test_thinning_keeps_successes_with_their_probability(world_factory: Factory) -> None:
    world = world_factory(queries=400, draws=16)
    keep = 0.6
    phases = [Phase(), Phase(keep={"large": keep}), Phase(keep={"large": 0.3}), Phase(keep={"large": 0.0})]
    bandit = tabulate(world, phases)
    before, after, fewer, none = (bandit.channels.quality[v] for v in bandit.variant)
    assert set(np.unique(after)) == {0.0, 1.0}
    np.testing.assert_array_equal(after[..., :2], before[..., :2])
    assert (after <= before).all() and (fewer <= after).all() and not none[..., 2:].any()
    successes = before[..., 2:] == 1
    share, count = after[..., 2:][successes].mean(), successes.sum()
    # One uniform serves the three arms of a model in a draw, so a third of the count is independent.
    assert abs(share - keep) < 4 * math.sqrt(keep * (1 - keep) / (count / 3))
    np.testing.assert_allclose(bandit.expected[1][:, 2:], keep * world.expected.quality[:, 2:], rtol=1e-6)
    np.testing.assert_array_equal(bandit.expected[1][:, :2], world.expected.quality[:, :2])
    assert (tabulate(world, phases).reward == bandit.reward).all()


def test_a_model_fails_on_all_its_arms_together(world_factory: Factory) -> None:
    world = world_factory(queries=200)
    certain = replace(world, channels=world.channels._replace(quality=np.ones_like(world.channels.quality)))
    quality = tabulate(certain, [Phase(keep={"large": 0.5})]).channels.quality[0]
    assert (quality[..., 2] == quality[..., 3]).all() and (quality[..., 3] == quality[..., 4]).all()
    assert 0.4 < quality[..., 2].mean() < 0.6 and (quality[..., :2] == 1).all()


@pytest.mark.parametrize("channel", ["score", "tokens", "latency", "dollars", "eflops"])
def test_absent_channels_are_dropped_or_refused(world_factory: Factory, channel: str) -> None:
    world = world_factory(without=(channel,))
    other = "eflops" if channel == "dollars" else "dollars"
    bandit = tabulate(world, [Phase(Reward(cost=1.0, cost_channel=other))])
    assert np.isfinite(bandit.reward).all() and getattr(bandit.channels, channel) is None
    weighed = {"cost": 0.5, "cost_channel": channel} if channel in ("dollars", "eflops") else {channel: 0.5}
    with pytest.raises(ValueError, match=f"phase 1: the reward weighs {channel} by 0.5, but world 'Tiny' has no"):
        tabulate(world, [Phase(), Phase(Reward(**weighed))])


def test_a_price_for_a_channel_that_is_absent_is_all_zero(world_factory: Factory) -> None:
    bandit = tabulate(world_factory(without=("dollars",)), [Phase()])
    assert not bandit.cost.any() and bandit.cost.shape == bandit.channels.quality.shape


def test_context_by_name(tiny_world: World) -> None:
    np.testing.assert_array_equal(tabulate(tiny_world, [Phase()]).context, tiny_world.contexts["plain"])
    np.testing.assert_array_equal(tabulate(tiny_world, [Phase()], "wide").context, tiny_world.contexts["wide"])
    with pytest.raises(ValueError, match="no context 'deep'; it has plain, wide"):
        tabulate(tiny_world, [Phase()], "deep")


def test_halves_are_weighed_like_the_whole(world_factory: Factory) -> None:
    assert cross_fitted(world_factory(), Phase()) is None
    world = world_factory(missing={2: (1,)})
    halves = tuple(
        Channels(**{name: (table * factor).astype(np.float32) for name, table in world.expected.present().items()})
        for factor in (0.5, 0.25)
    )
    world = replace(world, halves=halves)
    phase = Phase(Reward(cost=20.0, tokens=1e-3), price={"large": 2.0}, without=frozenset({4}))
    values = cross_fitted(world, phase)
    assert values is not None
    for value, half in zip(values, halves, strict=True):
        factor = np.array([1, 1, 2, 2, 2])
        expected = single(half.quality) - 20 * single(half.dollars) * factor - 1e-3 * single(half.tokens)
        hidden = np.isnan(value)
        assert hidden[2, 1] and hidden[:, 4].all() and hidden.sum() == 1 + len(world.query_ids)
        np.testing.assert_allclose(value[~hidden], expected[~hidden], rtol=1e-9)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"cost": float("nan")}, "reward weight cost is nan, expected a finite number >= 0"),
        ({"cost": -1}, "reward weight cost is -1"),
        ({"tokens": float("inf")}, "reward weight tokens is inf"),
        ({"quality": "1"}, "reward weight quality is '1', expected one number"),
        ({"score": True}, "reward weight score is True"),
        ({"cost": 10**400}, "reward weight cost is 10*, expected|reward weight cost is above 3.4e"),
        ({"latency": 1e39}, r"reward weight latency is above 3.4e\+38"),
        ({"offset": float("nan")}, "offset is nan"),
        ({"offset": True}, "offset is True"),
        ({"offset": "1"}, "offset is '1'"),
        ({"cost_channel": "euros"}, "expected 'dollars' or 'eflops'"),
        ({"transform": "root"}, "expected 'linear', 'clipped' or 'log'"),
        ({"ends": (2.0, 1.0)}, "expected low < high"),
        ({"ends": (0.0, 1.0), "transform": "log"}, "low > 0 for a log cost"),
    ],
)
def test_bad_rewards_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reward(**settings)


@pytest.mark.parametrize(
    "phase, message",
    [
        (Phase(price={"huge": 2.0}), "price names model 'huge'; expected one of"),
        (Phase(price={"large": -1.0}), "price of 'large' is -1.0, expected a number in"),
        (Phase(price={"large": float("nan")}), "price of 'large' is nan"),
        (Phase(keep={"large": 1.5}), r"keep of 'large' is 1.5, expected a number in \[0, 1\]"),
        (Phase(load=0.0), "load is 0.0, expected a number > 0"),
        (Phase(without=frozenset({5})), "arm outside 0..4"),
        (Phase(without=frozenset(range(5))), "phase 0: query 'query-0' is left without any arm"),
        (Phase(Reward(cost=1, cost_channel="eflops"), price={"large": 2.0}), "but the reward prices eflops"),
    ],
)
def test_bad_phases_are_refused(tiny_world: World, phase: Phase, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tabulate(tiny_world, [phase])


def test_no_phase_and_no_ends_are_refused(tiny_world: World) -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        tabulate(tiny_world, [])
    with pytest.raises(ValueError, match="a log cost needs ends"):
        tabulate(replace(tiny_world, cost_ends={}), [Phase(Reward(cost=1, transform="log"))])
