"""An agent that learns on an endpoint: logged, resumed, never over its limit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.config import ConfigError
from experiments.live import LiveRun, command, summary
from tests.live.scripted import Scripted
from uis_env.live.config import load_config
from uis_env.live.journal import read_rows

CONFIG = """
[endpoints.e]
base_url = "{url}"
timeout = 3.0
retries = 1
backoff = 0.002

[models.small]
endpoint = "e"
params = 1e8
layers = 2
query_heads = 4
kv_heads = 2
head_dim = 8
price = {{ input = 1.0, cached = 0.5, output = 4.0 }}
[models.large]
endpoint = "e"
params = 1e9
layers = 2
query_heads = 4
kv_heads = 2
head_dim = 8
price = {{ input = 10.0, cached = 5.0, output = 40.0 }}

[queries]
file = "queries.jsonl"
verifier = "numeric"

[styles.direct]
max_tokens = 8

[reward]
cost = 500.0

[[arms]]
methods = ["single"]
budgets = [1]
[[arms]]
methods = ["majority"]
budgets = [3]

[experiment]
rounds = {rounds}
seed = 3
agent = {agent}
"""


def write(
    folder: Path, url: str = "http://127.0.0.1:9/v1", rounds: int = 30, agent: str = '{ name = "linucb" }'
) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(8)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "live.toml").write_text(CONFIG.format(url=url, rounds=rounds, agent=agent))
    return folder / "live.toml"


def script(body: dict[str, Any]) -> list[tuple[str, float]]:
    """The large model is right; the small one if a hash of the seed says so."""
    right = int(body["messages"][-1]["content"].split()[-3]) + 1
    good = body["model"] == "large"
    return [(str(right if good or (body["seed"] + i) % 3 == 0 else 99), -0.5) for i in range(body.get("n", 1))]


def start(path: Path, out: Path, **settings: Any) -> LiveRun:
    return LiveRun(load_config(path), out, transport=Scripted(script), **settings)


def decisions(run: LiveRun) -> list[Any]:
    names = ("round", "query_id", "arm", "propensity", "quality", "dollars", "reward", "answer")
    return [tuple(row[name] for name in names) for row in run.rows]


@pytest.mark.parametrize("agent", ["linear_thompson", "epsilon_greedy", "knn"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path, agent: str) -> None:
    path = write(tmp_path, rounds=16, agent=f'{{ name = "{agent}" }}')
    whole = start(path, tmp_path / "whole")
    assert whole.play() is None
    whole.close()
    spent = whole.env.client.budget.spent
    worst = max(row["dollars"] for row in read_rows(tmp_path / "whole" / "calls.jsonl") if "start" in row)
    for limit in (worst + 0.3 * spent, worst + 0.6 * spent, 1.0):
        part = start(path, tmp_path / "part", max_dollars=limit)
        assert (part.play() is None) is (limit == 1.0)
        assert part.env.client.budget.spent <= limit
        part.close()
        assert 0 < len(part.rows) <= 16
    assert decisions(part) == decisions(whole)
    for ours, theirs in zip(jax.tree.leaves(part.state), jax.tree.leaves(whole.state), strict=True):
        assert np.array_equal(ours, theirs)


def test_every_decision_is_logged(tmp_path: Path) -> None:
    run = start(write(tmp_path, agent='{ name = "epsilon_greedy", options = { epsilon = 0.2 } }'), tmp_path / "out")
    run.play()
    run.close()
    rows = read_rows(tmp_path / "out" / "decisions.jsonl")
    assert rows == run.rows
    assert [row["round"] for row in rows] == list(range(30))
    assert sorted(row["query"] for row in rows[:8]) == list(range(8))
    assert all(0 < row["propensity"] <= 1 for row in rows)
    assert all(row["reward"] == pytest.approx(row["quality"] - 500 * row["dollars"], abs=1e-6) for row in rows)
    assert all(row["policy"] == "epsilon_greedy" for row in rows)
    table = summary(run)
    assert table.row_count == len({row["arm"] for row in rows}) + 1


def test_an_agent_learns_which_model_is_worth_it(tmp_path: Path) -> None:
    run = start(write(tmp_path, rounds=120, agent='{ name = "linear_thompson" }'), tmp_path / "out")
    run.play()
    run.close()
    late = [row["arm"].startswith("large/single") for row in run.rows[60:]]
    assert np.mean(late) > 0.5  # a uniform choice plays it in a quarter of the rounds


def test_only_the_same_config_goes_on(tmp_path: Path) -> None:
    start(write(tmp_path), tmp_path / "out").close()
    with pytest.raises(ConfigError, match="holds a run of another config"):
        start(write(tmp_path, rounds=31), tmp_path / "out")
    run = start(write(tmp_path), tmp_path / "out")
    run.play()
    run.close()
    path = tmp_path / "out" / "decisions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ConfigError, match=r"decisions\.jsonl:1: expected round 0"):
        start(write(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ('{ name = "psychic" }', "unknown agent 'psychic'; expected one of"),
        ('{ name = "oracle" }', "'oracle' sees the outcomes of all arms"),
        ('{ name = "linucb", options = { beta = 1 } }', "experiment.agent.options: linucb has no option 'beta'"),
        ('{ name = "linucb", options = { alpha = true } }', "agent.options.alpha: True, expected a number in"),
        ('{ name = "random", only = { methods = ["none"] } }', r"agent.only: unknown method \['none'\]"),
        ('{ name = "random", pilot = false }', "agent.pilot: False, but a live run has none"),
        ('{ name = "random", rehearsal = 5 }', "agent.rehearsal: 5, but a live run has none"),
        ('{ name = "random", seeds_per_call = 7 }', "agent.seeds_per_call: 7, but a live run has none"),
        ('{ nam = "linucb" }', "experiment.agent: unknown key 'nam' .did you mean 'name'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, agent: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start(write(tmp_path, agent=agent), tmp_path / "out")


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"live\.toml"):
        command(tmp_path / "live.toml", tmp_path / "out", 1.0)


@pytest.mark.slow
def test_kills_lose_and_double_no_decision(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    from tests.live.server import FaultyServer

    rng = random.Random(0)
    with FaultyServer(rate=0.2, faults=("slow", "429", "500")) as server:
        path = write(tmp_path, server.url, rounds=40, agent='{ name = "epsilon_greedy" }')
        call = [sys.executable, "-m", "experiments", "live", str(path), "--out", str(tmp_path / "out")]
        log = (tmp_path / "log").open("ab")

        def begin() -> subprocess.Popen[bytes]:
            return subprocess.Popen(call, cwd=Path(__file__).parents[2], stdout=log, stderr=log)

        before: list[dict[str, Any]] = []
        for _ in range(4):
            target = len(server.served) + rng.randrange(4, 9)
            process = begin()
            while process.poll() is None and len(server.served) < target:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            rows = read_rows(tmp_path / "out" / "decisions.jsonl")
            assert rows[: len(before)] == before
            before = rows
        assert begin().wait(timeout=120) == 0
        log.close()
    rows = read_rows(tmp_path / "out" / "decisions.jsonl")
    assert rows[: len(before)] == before
    assert [row["round"] for row in rows] == list(range(40))
