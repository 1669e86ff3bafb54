"""Scenarios: which conditions hold in which rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from uis_env.bandit import Phase, Reward, tabulate
from uis_env.scenarios import SCENARIOS, Scenario, Segment, make_scenario, strongest_model
from uis_env.tape import tape
from uis_env.world import World

REWARD = Reward(cost=50.0)


def played(world: World, name: str, horizon: int = 90, **options: object) -> tuple[Scenario, np.ndarray]:
    scenario = make_scenario(name, world, REWARD, **options)
    return scenario, tape(scenario.schedule(world, horizon), 0).phase


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_plays_from_the_first_to_the_last_round(tiny_world: World, name: str) -> None:
    for horizon in (1, 2, 3, 10, 90):
        scenario, phases = played(tiny_world, name, horizon)
        assert scenario.name == name
        assert phases.shape == (horizon,)
        tabulate(tiny_world, scenario.phases)


def test_stationary_has_one_phase(tiny_world: World) -> None:
    scenario, phases = played(tiny_world, "stationary")
    assert scenario.phases == (Phase(REWARD),) and not phases.any()


@pytest.mark.parametrize("name", ["price_change", "lost_model", "silent_quality_loss", "preference_switch"])
def test_the_middle_third_is_perturbed_and_the_last_is_as_the_first(tiny_world: World, name: str) -> None:
    scenario, phases = played(tiny_world, name)
    normal, perturbed, recovered = (scenario.phases[phases[t]] for t in (0, 30, 60))
    assert normal == recovered != perturbed
    assert [phases[t] for t in (29, 59, 89)] == [phases[0], phases[30], phases[60]]
    assert [round(segment.start * 90) for segment in scenario.segments] == [0, 30, 60]


def test_price_change_changes_dollars_of_one_model(tiny_world: World) -> None:
    scenario = make_scenario("price_change", tiny_world, Reward(cost=1.0), model="small", factor=3.0)
    assert scenario.phases[1].price == {"small": 3.0}
    bandit = tabulate(tiny_world, scenario.phases)
    dollars = bandit.channels.dollars[bandit.variant]
    np.testing.assert_allclose(dollars[1][..., :2], 3 * dollars[0][..., :2], rtol=1e-6)
    np.testing.assert_array_equal(dollars[1][..., 2:], dollars[0][..., 2:])


def test_models_join_and_leave(tiny_world: World) -> None:
    scenario, phases = played(tiny_world, "new_model", model="large")
    mask = tabulate(tiny_world, scenario.phases).mask[phases, 0]
    assert not mask[:30, 2:].any() and mask[30:].all() and mask[:, :2].all()
    scenario, phases = played(tiny_world, "lost_model", model="small")
    mask = tabulate(tiny_world, scenario.phases).mask[phases, 0]
    assert not mask[30:60, :2].any() and mask[:30].all() and mask[60:].all()


def test_silent_quality_loss_changes_neither_cost_nor_offer(tiny_world: World) -> None:
    scenario = make_scenario("silent_quality_loss", tiny_world, REWARD, model="large", keep=0.5)
    bandit = tabulate(tiny_world, scenario.phases)
    assert bandit.mask.all() and (bandit.prices == 1).all()
    for name in ("score", "dollars", "eflops", "tokens", "latency"):
        tables = getattr(bandit.channels, name)
        np.testing.assert_array_equal(tables[0], tables[1])
    assert (bandit.channels.quality[1] < bandit.channels.quality[0]).any()


def test_query_mix_shift_asks_other_groups(tiny_world: World) -> None:
    scenario = make_scenario("query_mix_shift", tiny_world, REWARD)
    asked = tape(scenario.schedule(tiny_world, 60), 0).query
    groups = np.array(tiny_world.groups)[asked]
    assert set(groups[:30]) == {"algebra", "words"} and set(groups[30:]) == {"logic"}


def test_preference_switch_makes_cost_cheap(tiny_world: World) -> None:
    scenario = make_scenario("preference_switch", tiny_world, Reward(cost=2, tokens=1, latency=4), factor=0.5)
    assert scenario.phases[1].reward == Reward(cost=1, tokens=0.5, latency=2)


def test_preference_switch_takes_given_weights(tiny_world: World) -> None:
    careful = Reward(quality=0.3, score=0.2, cost=0.5, offset=0.5)
    scenario = make_scenario("preference_switch", tiny_world, careful, quality=0.6, cost=0.2, offset=0.2)
    assert [phase.reward for phase in scenario.phases] == [careful, Reward(0.6, 0.2, 0.2, offset=0.2), careful]
    with pytest.raises(ValueError, match=r"scenario 'preference_switch': .*'worth'"):
        make_scenario("preference_switch", tiny_world, careful, worth=1.0)


def test_preference_mix_draws_a_preference_in_every_round(tiny_world: World) -> None:
    base = Reward(cost=2, tokens=1, latency=4)
    scenario = make_scenario("preference_mix", tiny_world, base, factors=(1.0, 0.5))
    assert [phase.reward for phase in scenario.phases] == [base, Reward(cost=1, tokens=0.5, latency=2)]
    schedule = scenario.schedule(tiny_world, 4000)
    whole = tape(schedule, 3)
    np.testing.assert_allclose(np.bincount(whole.phase) / 4000, 1 / 2, atol=0.03)
    # independent of the query, of the round before, and of the seed
    assert {(q, p) for q, _, p in zip(*whole, strict=True)} == {(q, p) for q in range(24) for p in range(2)}
    assert abs(np.corrcoef(whole.phase[1:], whole.phase[:-1])[0, 1]) < 0.06
    assert (tape(schedule, 4).phase != whole.phase).mean() == pytest.approx(0.5, abs=0.05)
    pieces = [tape(schedule, 3, start, 1000) for start in (3000, 1000, 0, 2000)]
    for piece, start in zip(pieces, (3000, 1000, 0, 2000), strict=True):
        for part, all_rounds in zip(piece, whole, strict=True):
            np.testing.assert_array_equal(part, all_rounds[start : start + 1000])


def test_preference_mix_takes_given_weights(tiny_world: World) -> None:
    scenario = make_scenario("preference_mix", tiny_world, Reward(cost=3), latency=[0.0, 0.1], quality=np.ones(2))
    assert [phase.reward for phase in scenario.phases] == [Reward(cost=3), Reward(cost=3, latency=0.1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": 0.5}, "factors is 0.5, expected one number for each preference"),
        ({"factors": ()}, "factors is .*, expected one number for each"),
        ({"factors": [1.0, np.nan]}, "reward weight cost is nan, expected a finite number >= 0"),
        ({"factors": [1.0, -1.0]}, "reward weight cost is -50.0, expected a finite number >= 0"),
        ({"latency": 0.1}, "latency is 0.1, expected one number for each"),
        ({"latency": [[0.1], [0.2]]}, r"reward weight latency is \[0.1\], expected one number"),
        ({"latency": [0.1, 0.2], "tokens": [0.1]}, "'latency': 2, 'tokens': 1.* expected as many for each"),
        ({"worth": [0.1]}, r"unknown weights \['worth'\]; expected quality, score"),
    ],
)
def test_preference_mix_refuses_what_is_no_preference(
    tiny_world: World, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_scenario("preference_mix", tiny_world, REWARD, **options)


def test_a_schedule_keeps_to_given_queries(tiny_world: World) -> None:
    scenario = make_scenario("query_mix_shift", tiny_world, REWARD)
    schedule = scenario.schedule(tiny_world, 40, "iid", np.array([0, 1, 3, 4]))
    asked = tape(schedule, 0).query
    assert set(asked[:20]) == {0, 3} and set(asked[20:]) == {1, 4}
    with pytest.raises(ValueError, match="stretch 1 has no query"):
        scenario.schedule(tiny_world, 40, "iid", np.array([0, 3]))


def test_a_phase_per_round(tiny_world: World) -> None:
    mixed = Scenario("mixed", (Phase(Reward(cost=1)), Phase(Reward(cost=2))), (Segment(0.0, None),))
    phases = tape(mixed.schedule(tiny_world, 200), 0).phase
    assert set(phases) == {0, 1}


def test_strongest_model_looks_at_recorded_cells_only(world_factory: Callable[..., World]) -> None:
    world = world_factory(missing=dict.fromkeys(range(12), (0, 1)))
    quality = np.tile(np.array([0.9, 0.9, 0.6, 0.6, 0.6], np.float32), (24, 1)) * world.recorded
    assert quality.mean(axis=0).argmax() >= 2  # the zeros of cells that are not recorded say nothing
    world = replace(world, expected=world.expected._replace(quality=quality.astype(np.float32)))
    assert strongest_model(world) == "small"


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("calm", {}, "unknown scenario 'calm'; expected one of stationary, price_change"),
        ("stationary", {"factor": 2}, "scenario 'stationary': .*unexpected keyword argument 'factor'"),
        ("lost_model", {"model": "huge"}, "scenario 'lost_model': unknown model"),
    ],
)
def test_unknown_names_are_refused(tiny_world: World, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_scenario(name, tiny_world, REWARD, **options)


def test_one_group_cannot_shift(world_factory: Callable[..., World]) -> None:
    with pytest.raises(ValueError, match="needs two query groups"):
        make_scenario("query_mix_shift", world_factory(groups=("all",) * 24), REWARD)
