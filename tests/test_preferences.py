"""A weight λ that is negative, no number or of the wrong shape is refused wherever it can be said, by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from experiments.cells import make_game
from experiments.config import parse_config
from uis_env.bandit import PREFERENCE, Reward
from uis_env.live.config import load_config
from uis_env.live.env import LiveEnv
from uis_env.scenarios import make_scenario
from uis_env.workflow import Workflow
from uis_env.world import World

BAD = [-0.1, float("nan"), float("inf"), -float("inf"), "0.1", None, True, [0.1], (0.1, 0.2), {"a": 0.1}, 1j]
ARRAYS = [np.array([0.1]), np.array(0.1), np.full((2, 2), 0.1)]
LIVE = """
[endpoints.e]
base_url = "http://127.0.0.1:9/v1"
[models.small]
endpoint = "e"
price = { input = 1, cached = 0.5, output = 4 }
[queries]
file = "queries.jsonl"
verifier = "numeric"
[[arms]]
methods = ["single"]
budgets = [1]
"""


def entries(world: World) -> dict[str, Callable[[Any], object]]:
    """Where a weight can be said in Python."""
    task = {"deadline": 12.0, "token_budget": 1500.0}
    return {
        "Reward": lambda bad: Reward(latency=bad),
        "environment": lambda bad: gym.make("uis_env:UIS/World-v0", world=world, reward={"latency": bad}),
        "environments": lambda bad: gym.make_vec(
            "uis_env:UIS/World-v0", num_envs=2, world=world, reward={"latency": bad}
        ),
        "switch": lambda bad: make_scenario("preference_switch", world, Reward(), latency=bad),
        "mix": lambda bad: make_scenario("preference_mix", world, Reward(), latency=[0.5, bad]),
        "Workflow": lambda bad: Workflow(world, reward={"latency": bad}, **task),
        "workflow": lambda bad: gym.make("uis_env:UIS/Workflow-v0", world=world, reward={"latency": bad}, **task),
        "workflows": lambda bad: gym.make_vec(
            "uis_env:UIS/Workflow-v0", num_envs=2, world=world, reward={"latency": bad}, **task
        ),
    }


@pytest.mark.parametrize("bad", [*BAD, *ARRAYS], ids=repr)
def test_in_python(tiny_world: World, bad: Any) -> None:
    for where, say in entries(tiny_world).items():
        with pytest.raises(ValueError, match="reward weight latency is") as caught:
            say(bad)
        assert repr(bad) in str(caught.value)
        assert re.search("expected (one number|a finite number >= 0)$", str(caught.value)), where


@pytest.mark.parametrize("name", PREFERENCE)
@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_every_weight(tiny_world: World, name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"reward weight {name} is {bad}, expected a finite number >= 0"):
        Reward(**{name: bad})
    if name == "cost":
        with pytest.raises(ValueError, match="reward weight cost is"):
            gym.make("uis_env:UIS/World-v0", world=tiny_world, cost_weight=bad)


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_in_a_config(bad: Any) -> None:
    def config(preference: Any, options: Any) -> Any:
        return parse_config(
            {
                **{"name": "x", "rounds": 10, "seeds": 1, "agents": [{"name": "random"}]},
                "worlds": [{"name": "Synthetic", "options": {"queries": 8, "draws": 1}}],
                "scenarios": [{"name": "preference_switch", "options": options}],
                "preferences": [{"name": "p", "latency": preference}],
            },
            "my.toml",
        )

    with pytest.raises(ValueError, match=r"my.toml: preferences\[0\].latency: Expected `float`"):
        config(bad, {})
    if bad == 1j or isinstance(bad, dict):  # TOML has no such numbers, and options are flat
        return
    made = config(0.1, {"latency": bad})
    with pytest.raises(ValueError, match=r"^scenarios\[0\] on world 'Synthetic': .*reward weight latency is"):
        make_game(made, made.worlds[0], made.scenarios[0], made.preferences[0])


@pytest.mark.parametrize("bad", ["-0.1", "nan", "inf", '"0.1"', "true", "[0.1]", "{ a = 0.1 }"])
def test_in_a_live_config(tmp_path: Path, bad: str) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "a", "question": "1 + 1?", "answer": "2"}) + "\n")
    path = tmp_path / "config.toml"
    path.write_text(f"{LIVE}[reward]\ntokens = {bad}\n")
    with pytest.raises(ValueError, match=r"config.toml.*reward.*tokens"):
        load_config(path)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), [0.1], np.array([0.1])], ids=repr)
def test_in_a_live_environment(tmp_path: Path, bad: Any) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "a", "question": "1 + 1?", "answer": "2"}) + "\n")
    (tmp_path / "config.toml").write_text(LIVE)
    with pytest.raises(ValueError, match="reward weight cost is"):
        LiveEnv(tmp_path / "config.toml", cost_weight=bad)
