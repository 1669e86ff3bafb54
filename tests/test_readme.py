"""The README is a promise: its snippets run, its commands parse, the files that it names exist."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from agents import check_agent
from agents.handed import make_feedback, make_observation
from experiments.__main__ import parser
from experiments.speed.problem import make_problem
from uis_env.live.__main__ import parser as live_parser
from uis_env.world import Channels

TEXT = Path("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("  #")[0].strip() for language, text in BLOCKS if language == "bash" for line in text.splitlines()
]


def run(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_something_to_test() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("i", range(len(PYTHON)))
def test_snippets_run(i: int, tmp_path: Path) -> None:
    for module in re.findall(r"^(?:from|import) (\w+)", PYTHON[i], flags=re.MULTILINE):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    (tmp_path / "snippet.py").write_text(PYTHON[i])
    run(["snippet.py"], tmp_path)


def test_the_agent_of_the_readme_plays(tmp_path: Path) -> None:
    """The `--agent` command, on two seeds and few rounds, from a folder of the user's own."""
    [source] = [text for text in PYTHON if text.startswith("# my_agent.py")]
    [command] = [line for line in COMMANDS if "--agent" in line]
    (tmp_path / "my_agent.py").write_text(source)
    (tmp_path / "paper_configs").symlink_to(Path("paper_configs").resolve())
    said = run([*command.split()[1:], "--seeds", "2", "--rounds", "40"], tmp_path)
    assert "my_agent.make" in said
    assert "my_agent.make" in (tmp_path / "results/mine/summary.csv").read_text()
    assert "<html" in (tmp_path / "results/mine/report.html").read_text()[:200].lower()


def test_the_agent_of_the_readme_tries_every_arm() -> None:
    """It keeps the contract, and plays as UCB1 does: each arm once, then the best most of the time."""
    [source] = [text for text in PYTHON if text.startswith("# my_agent.py")]
    scope: dict[str, Any] = {}
    exec(source, scope)
    spec = make_problem(arms=12, dim=3, rounds=40).spec
    check_agent(scope["make"], spec)
    agent, mask = scope["make"](spec), np.arange(12) < 5
    state, actions = agent.init(jax.random.key(0)), []
    context, nothing = np.zeros(3, np.float32), np.zeros(0, np.float32)
    for t in range(40):
        key, seen = jax.random.key(t), make_observation(t, context, mask, nothing, nothing)
        choice = agent.act(key, state, seen)
        actions.append(int(choice.action))
        reward = float(choice.action == 2)
        state = agent.update(key, state, make_feedback(seen, choice.action, reward, 0.0, Channels(reward)))
    assert sorted(actions[:5]) == [0, 1, 2, 3, 4]
    assert actions.count(2) > 20


def test_commands_parse() -> None:
    for command in COMMANDS:
        words = command.split()
        if words[:3] == ["python", "-m", "experiments"]:
            parser().parse_args(words[3:])
        elif words[:3] == ["python", "-m", "uis_env.live"]:
            live_parser().parse_args(words[3:])
        elif words and words[0] == "make":
            assert f"\n{words[1]}:" in Path("Makefile").read_text()


def test_the_live_config_of_the_readme_is_one(tmp_path: Path) -> None:
    [config] = [text for language, text in BLOCKS if language == "toml"]
    (tmp_path / "my_models.toml").write_text(config)
    query = {"id": "a", "question": "What is 2 + 2?", "answer": "4", "verifier": "numeric"}
    (tmp_path / "queries.jsonl").write_text(json.dumps(query) + "\n")
    [estimate] = [line for line in COMMANDS if "live estimate" in line]
    [record] = [line for line in COMMANDS if "live record" in line]
    for command in (estimate, f"{record} --dry-run"):
        assert "small/best_of_n-direct@8" in run(command.split()[1:], tmp_path)


def test_named_files_exist() -> None:
    for name in re.findall(r"`((?:uis_env|agents|experiments|paper_configs|docs)/[\w./]*)`", TEXT):
        assert Path(name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", TEXT):
        assert Path(name).exists(), name
