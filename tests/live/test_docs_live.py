"""docs/live.md: its config is read, its commands run, and it names every key."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import pytest

pytest.importorskip("openai")

from tests.live.answering import Answering, answers
from uis_env.live.__main__ import main
from uis_env.live.pool import OMITTED, Endpoint, Model

PAGE = Path("docs/live.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found
    return found[1]


def test_the_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.__main__ import main as experiments

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_API_KEY", "a-key-for-the-test")
    rows = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(4)]
    Path("queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = []
    with Answering(answers) as server:
        Path("models.toml").write_text(block("toml").replace("https://llm.example.com/v1", server.url))
        for line in block("bash").splitlines():
            words = shlex.split(line, comments=True)
            command = {"uis_env.live": main, "experiments": experiments}[words[2]]
            assert command(words[3:]) == 0
            ran.append(words[3])
        env = gym.make("uis_env:UIS/Live-v0", config="models.toml", max_dollars=5)
        env.reset(seed=0)
        assert env.step(0)[1] > 0
        env.close()
    assert ran == ["estimate", "record", "build", "live"]


def test_every_key_is_named() -> None:
    named = {"name", "card", "endpoint", "base_url"}
    for kind in (Endpoint, Model):
        for field in fields(kind):
            assert field.name in named or f"`{field.name}`" in PAGE, field.name
    assert all(f"`{name}`" in PAGE for name in OMITTED)
