"""What a config entry can say of an agent's arms and of how arms are described."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.check import example_observation
from agents.spec import make_spec
from experiments.__main__ import main
from experiments.cells import all_games, make_game
from experiments.config import AgentConfig, ConfigError, Only, parse_config
from experiments.entrants import make_agent
from experiments.references import references
from uis_env.arms import ArmCatalog
from uis_env.bandit import Reward
from uis_env.world import World

PLAIN = Reward()


def test_text_describes_arms_by_the_words_of_their_descriptions(tiny_world: World) -> None:
    catalog = make_spec(tiny_world, PLAIN, 100).features
    text = make_spec(tiny_world, PLAIN, 100, arms="text").features
    np.testing.assert_array_equal(catalog, tiny_world.catalog.features)
    assert set(np.unique(text)) == {0, 1}
    assert len(np.unique(text, axis=0)) == len(tiny_world.catalog)


def test_text_that_cannot_tell_arms_apart_is_refused(world_factory: Callable[..., World], tiny_world: World) -> None:
    own = tiny_world.catalog
    dull = ArmCatalog(own.arms, own.features, own.feature_names, ("an arm",) * len(own))
    with pytest.raises(ValueError, match="arms = 'text' on world 'Tiny': arms 0 and 1 cannot be told apart"):
        make_spec(world_factory(catalog=dull), PLAIN, 100, arms="text")


@pytest.mark.parametrize(
    ("only", "allowed"),
    [({"models": ("large",)}, [2, 3, 4]), ({"budgets": ((4,), (8,)), "models": ("small",)}, [1]), ({}, range(5))],
)
def test_only_keeps_an_agent_to_its_arms(tiny_world: World, only: dict[str, Any], allowed: list[int]) -> None:
    spec = make_spec(tiny_world, PLAIN, 100)
    part = AgentConfig(name="own", kind="random", only=Only(**only))
    agent = make_agent(part, spec, tiny_world.catalog, "agents[0]", {})
    seen = example_observation(spec, 0)._replace(mask=jnp.ones(5, bool))
    propensities = np.asarray(agent.act(jax.random.key(0), (), seen).propensities)
    assert np.flatnonzero(propensities).tolist() == list(allowed)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ({"models": ("tiny",)}, r"agents\[0\].only: unknown model \['tiny'\]; the catalog has"),
        (
            {"models": ("small",), "methods": ("majority",)},
            r"agents\[0\].only: no arm has such a model, method, budget",
        ),
    ],
)
def test_only_names_arms_that_exist(tiny_world: World, only: dict[str, Any], message: str) -> None:
    spec = make_spec(tiny_world, PLAIN, 100)
    with pytest.raises(ConfigError, match=message):
        make_agent(AgentConfig(name="random", only=Only(**only)), spec, tiny_world.catalog, "agents[0]", {})


@pytest.mark.parametrize("factors", [[1.0], [2.0, 0.0, 4.0]])
def test_a_pilot_is_charged_at_the_mean_of_the_preferences_it_may_meet(factors: list[float]) -> None:
    config = parse_config(
        {
            **{"name": "mix", "rounds": 40, "seeds": 1, "pilot": 7, "agents": [{"name": "random"}]},
            "worlds": [{"name": "Synthetic", "options": {"queries": 30, "draws": 2}}],
            "scenarios": [{"name": "preference_mix", "options": {"factors": factors}}],
            "preferences": [{"name": "p", "cost": 30.0}],
        },
        "here",
    )
    game = make_game(config, config.worlds[0], config.scenarios[0], config.preferences[0])
    queries, draws = game.pilot_of(5)
    dollars = game.world.channels.dollars
    assert dollars is not None
    cost, charge = game.pilot_price(5)
    assert cost == pytest.approx(dollars[queries, draws].sum(dtype=float), rel=1e-5)
    assert charge == pytest.approx(30.0 * np.mean(factors) * cost, rel=1e-4)


def test_the_arm_chosen_elsewhere_is_the_same_for_the_agent_and_the_reference() -> None:
    # nine families of unequal sizes: after the shift the queries of four of them are asked more often than the others
    text: dict[str, Any] = {"worlds": [{"name": "Recorded"}], "scenarios": [{"name": "query_mix_shift"}]}
    text |= {"preferences": [{"name": "p", "cost": 1.0, "cost_channel": "eflops"}], "agents": [{"name": "random"}]}
    [(_, make)] = all_games(parse_config({"name": "c", "rounds": 1000, "seeds": 1, **text}, "c.toml"))
    game = make()
    told = references(game.world, game.scenario, game.bandit, game.schedule, np.asarray(game.tables.fold))
    assert np.asarray(game.tables.elsewhere).argmax(axis=1).tolist() == told["fixed_elsewhere"]["arms"]


@pytest.mark.parametrize("made", [None, (1, 2, 3)])
def test_a_factory_that_makes_no_agent_is_named(tiny_world: World, made: Any) -> None:
    spec = make_spec(tiny_world, PLAIN, 10)
    with pytest.raises(ConfigError, match=r"expected agents\.Agent"):
        make_agent(AgentConfig(name="mine"), spec, tiny_world.catalog, "agents[0]", {"mine": lambda spec: made})


@pytest.mark.parametrize("command", [["run", "x.toml"], ["paper"]])
def test_workers_are_at_least_one(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--workers", "-1"]) == 2
    assert "--workers -1: expected 1 or more" in capsys.readouterr().err
