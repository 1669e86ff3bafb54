"""What agents know of costs in advance: price lists, shapes and nominal lengths, nothing measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import cheapest, hierarchical_logit_thompson, make_observation
from agents.spec import make_spec
from uis_env import worlds
from uis_env.bandit import Reward
from uis_env.costs import ModelCard, Price
from uis_env.listing import public, public_costs
from uis_env.stored import load_world, save_world
from uis_env.world import Channels, World


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.load("Synthetic", queries=30, draws=2)


@pytest.mark.parametrize("channel", ["dollars", "eflops"])
def test_list_cost_is_the_card_times_nominal_lengths(channel: str) -> None:
    world = worlds.load("Recorded")
    spec = make_spec(world, Reward(cost=1.0, cost_channel=channel), 100)
    known = world.provenance["public"]
    prompt, tokens = known["prompt_tokens"], known["answer_tokens"]
    for arm, listed in zip(world.catalog.arms, spec.list_cost, strict=True):
        card, n = known["models"][arm.model], int(np.prod(arm.budget))
        if channel == "dollars":
            expected = (prompt * card["price"]["input"] + n * tokens * card["price"]["output"]) / 1e6
        else:
            width = 2 * card["layers"] * card["kv_heads"] * card["head_dim"]
            ratio = card["query_heads"] / card["kv_heads"]
            compute = 2 * card["params"] * n * tokens + 2 * ratio * prompt * n * tokens * width
            compute += ratio * n * tokens**2 * width + 2 * card["params"] * prompt
            memory = 2 * prompt * tokens * width + n * tokens**2 * width
            expected = (compute + 156.0 * memory) / 1e12
        assert listed == pytest.approx(expected, rel=1e-5)


def test_no_outcome_changes_what_is_public(world: World, tmp_path: Path) -> None:
    """Other tables, the same list costs; also after storing."""
    other = dataclasses.replace(
        world,
        channels=Channels(*(None if c is None else c * 0.5 for c in world.channels)),
        expected=Channels(*(None if c is None else c * 0.5 for c in world.expected)),
    )
    reward = Reward(cost=10.0)
    save_world(world, tmp_path / "mine")
    listed = [make_spec(w, reward, 100).list_cost for w in (world, other, load_world(tmp_path / "mine"))]
    assert (listed[0] > 0).all()
    np.testing.assert_array_equal(listed[1], listed[0])
    np.testing.assert_array_equal(listed[2], listed[0])
    assert json.loads(json.dumps(world.provenance["public"])) == world.provenance["public"]


def test_where_no_price_is_known_agents_say_so_and_start_flat(world: World) -> None:
    blank = dataclasses.replace(world, provenance={})
    spec = make_spec(blank, Reward(cost=10.0), 100)
    assert np.isnan(spec.list_cost).all()
    with pytest.warns(UserWarning, match="a list price is known of no arm: cheapest ranks such arms last"):
        agent = cheapest(spec)
    mask = jnp.arange(spec.arms) % 2 == 0
    seen = make_observation(0, np.zeros(spec.context, np.float32), mask, np.ones(5), np.ones(5))
    np.testing.assert_allclose(agent.act(jax.random.key(0), (), seen).propensities, mask / mask.sum(), rtol=1e-6)
    with pytest.warns(UserWarning, match="learned costs start flat there"):
        learner = hierarchical_logit_thompson(spec)
    assert float(jnp.abs(learner.init(jax.random.key(0)).priced.arms.mean).max()) == 0


def test_arms_without_a_price_come_last(world: World) -> None:
    cards = [ModelCard("sim-large", price=Price(1.0, 2.0, 0.1)), ModelCard("sim-math", price=Price(9.0, 9.0, 0.9))]
    partly = dataclasses.replace(world, provenance={"public": public(cards)})
    spec = make_spec(partly, Reward(cost=10.0), 100)
    known = np.isin([arm.model for arm in world.catalog.arms], ["sim-large", "sim-math"])
    np.testing.assert_array_equal(np.isfinite(spec.list_cost), known)
    with pytest.warns(UserWarning, match=f"of {known.sum()} of {spec.arms} arms"):
        agent = cheapest(spec)
    prices = np.ones(len(world.catalog.models))
    seen = make_observation(0, np.zeros(spec.context), np.ones(spec.arms, bool), np.ones(5), prices)
    assert world.catalog.arms[int(agent.act(jax.random.key(0), (), seen).action)].model == "sim-large"
    assert np.isnan(public_costs(world.catalog, partly.provenance, "eflops")).all()  # no shapes
