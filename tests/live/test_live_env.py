from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

import uis_env  # noqa: F401
from tests.live.scripted import Scripted, fixed
from tests.live.server import FaultyServer, agree, journal_calls
from uis_env.costs import ModelCard, Price
from uis_env.live.context import context_table, hashed
from uis_env.live.env import LiveEnv
from uis_env.live.journal import read_rows
from uis_env.live.loop import Loop

CONFIG = """
[endpoints.e]
base_url = "{url}"
timeout = 1.0
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

[queries]
file = "queries.jsonl"
verifier = "numeric"

[search]
depth = 2
max_tokens = 8

[styles.direct]
max_tokens = 8

[reward]
cost = 100.0

[[arms]]
methods = ["majority", "best_of_n", "weighted_best_of_n", "adaptive_consistency"]
budgets = [2, 4]

[[arms]]
methods = ["single", "self_refine"]
budgets = [1]

[[arms]]
methods = ["beam_search", "tree_search"]
budgets = [[2, 2, 2]]
"""
CARD = ModelCard("small", price=Price(1.0, 4.0, 0.5))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path, "http://127.0.0.1:9/v1")


def write(folder: Path, url: str, queries: int = 5) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(CONFIG.format(url=url))
    return folder / "config.toml"


@pytest.fixture
def env(config: Path) -> Iterator[LiveEnv]:
    made = LiveEnv(config, transport=Scripted(fixed("3")))
    yield made
    made.close()


def test_it_passes_the_checker_and_is_made_by_name(config: Path) -> None:
    for observation in ("flat", "dict"):
        made = gym.make("uis_env:UIS/Live-v0", config=config, transport=Scripted(fixed("3")), observation=observation)
        check_env(made.unwrapped, skip_render_check=True)
        made.close()


def test_an_episode_asks_every_query_once_and_ends(env: LiveEnv) -> None:
    observation, info = env.reset(seed=3)
    asked, rewards = [], []
    for _ in range(5):
        asked.append(info["query"])
        assert np.array_equal(observation, env.contexts[info["query"]])
        observation, reward, terminated, truncated, info = env.step(8)
        rewards.append(reward)
        assert isinstance(terminated, bool)
        assert isinstance(truncated, bool)
        assert info["arm"] == "small/single-direct@1"
        assert reward == pytest.approx(info["quality"] - 100.0 * info["dollars"])
        assert info["quality"] == float(asked[-1] == 2)
    assert sorted(asked) == [0, 1, 2, 3, 4]
    assert (terminated, truncated) == (True, False)
    with pytest.raises(ResetNeeded):
        env.step(0)
    assert env.reset(seed=3)[1]["query"] == asked[0]


def test_info_is_that_of_the_recorded_worlds(env: LiveEnv) -> None:
    recorded = gym.make("uis_env:UIS/Recorded-v1")
    recorded.reset(seed=0)
    env.reset(seed=0)
    there, here = recorded.step(0)[4], env.step(0)[4]
    assert here.keys() - there.keys() == {"answer", "failed", "error", "note", "unknown"}
    assert there.keys() - here.keys() == {"regret"}
    assert here["action_mask"].dtype == there["action_mask"].dtype == np.int8


def test_a_round_can_be_started_from(env: LiveEnv) -> None:
    _, info = env.reset(seed=4)
    order = [info["query"]]
    for _ in range(4):
        order.append(env.step(8)[4]["query"])
    for start in range(5):
        assert env.reset(seed=4, options={"round": start})[1]["query"] == order[start]
    for options in ({"round": 5}, {"round": "x"}, {"round": -1}, {"round": 1.5}, {"other": 1}, 5):
        with pytest.raises(ValueError, match=r"round in 0\.\.4"):
            env.reset(seed=4, options=options)
    env.close()
    for use in (env.reset, lambda: env.step(0)):
        with pytest.raises(ClosedEnvironmentError, match="closed: make another one"):
            use()


def test_bad_actions_and_options_are_named(env: LiveEnv, config: Path) -> None:
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action 99 is outside"):
        env.step(99)
    with pytest.raises(ValueError, match="not an integer"):
        env.step("x")
    with pytest.raises(ValueError, match="observation is 'x'"):
        LiveEnv(config, observation="x")
    with pytest.raises(ValueError, match=r"reward\.ends: missing"):
        config.write_text(config.read_text().replace("cost = 100.0", 'cost = 1.0\ntransform = "log"'))
        LiveEnv(config)


def test_a_reward_cannot_weigh_what_is_not_there(config: Path) -> None:
    config.write_text(config.read_text().replace("params = 1e8", ""))
    assert "eflops" not in LiveEnv(config, transport=Scripted(fixed("3"))).channels
    with pytest.raises(ValueError, match="weighs eflops by 100, but not every arm has eflops"):
        LiveEnv(config, cost_channel="eflops")
    config.write_text(
        config.read_text().replace("cost = 100.0", "score = 1.0").replace("price", "logprobs = false\nprice")
    )
    with pytest.raises(ValueError, match="weighs score by 1"):
        LiveEnv(config)


def test_every_arm_against_every_fault_is_an_outcome(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    with FaultyServer(rate=0.4, patience=1.5) as server:
        env = LiveEnv(write(tmp_path, server.url, 20), horizon=40, journal=tmp_path / "calls.jsonl")
        env.reset(seed=0)
        failures = 0
        for i in range(40):
            _, reward, terminated, truncated, info = env.step(i % env.action_space.n)
            failures += info["failed"]
            assert math.isfinite(reward)
            assert not truncated
            assert info["failed"] is (info["error"] is not None)
            assert not (info["failed"] and info["quality"])
            assert reward == pytest.approx(info["quality"] - 100.0 * info["dollars"])
        assert terminated
        env.close()
        agree(server, journal_calls(tmp_path / "calls.jsonl"), CARD)
    assert failures > 0
    ended = [row for row in read_rows(tmp_path / "calls.jsonl") if "end" in row]
    assert sum(row["dollars"] for row in ended) == pytest.approx(env.client.budget.spent)


def test_the_dollar_limit_truncates_and_counts_earlier_runs(config: Path, tmp_path: Path) -> None:
    # No whole number of calls, so that how a sum is rounded (Python 3.12 changed it) decides nothing.
    settings: dict[str, Any] = {"max_dollars": 0.00501, "journal": tmp_path / "calls.jsonl", "horizon": 10_000}
    env = LiveEnv(config, transport=Scripted(fixed("3")), **settings)
    env.reset(seed=0)
    for _ in range(10_000):
        _, _, terminated, truncated, info = env.step(1)
        if truncated:
            break
    assert not terminated
    assert info["error"] == "budget"
    assert 0 < env.client.budget.spent <= 0.00501
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.close()
    again = LiveEnv(config, transport=Scripted(fixed("3")), **settings)
    again.reset(seed=0)
    assert again.step(1)[3]
    assert again.client.budget.spent == pytest.approx(env.client.budget.spent)
    again.close()


def test_it_works_inside_a_running_loop(env: LiveEnv) -> None:
    async def notebook() -> float:
        env.reset(seed=0)
        return env.step(0)[1]

    assert math.isfinite(asyncio.run(notebook()))


def test_ctrl_c_cancels_the_work_and_waits_for_it(request: pytest.FixtureRequest) -> None:
    loop, cleaned = Loop(), threading.Event()

    async def work() -> None:
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            await asyncio.sleep(30)
        finally:
            cleaned.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert cleaned.is_set()
    loop.close()


def test_contexts_are_finite_and_depend_on_the_text_alone(tmp_path: Path) -> None:
    table = hashed(["What is 2 + 2?", "", "What is 34 + 5?"])
    assert table.shape == (3, 34)
    assert np.isfinite(table).all()
    assert np.array_equal(hashed(["What is 34 + 5?"])[0], table[2])
    assert np.allclose(np.linalg.norm(table[[0, 2], :32], axis=1), 1)
    np.save(tmp_path / "c.npy", np.ones((3, 2)))
    assert context_table(str(tmp_path / "c.npy"), ["a", "b", "c"]).shape == (3, 2)
    with pytest.raises(ValueError, match="one row for 2 queries"):
        context_table(str(tmp_path / "c.npy"), ["a", "b"])
