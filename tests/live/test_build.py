from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.live.scripted import Scripted
from uis_env import UISEnv, load_world
from uis_env.live.__main__ import main
from uis_env.live.build import build
from uis_env.live.config import LiveConfig, load_config
from uis_env.live.recorder import record

CONFIG = """
[endpoints.e]
base_url = "http://127.0.0.1:9/v1"

[models.small]
endpoint = "e"
max_n = 8
params = 1e8
layers = 2
query_heads = 4
kv_heads = 2
head_dim = 8
price = { input = 1.0, cached = 0.5, output = 4.0 }

[queries]
file = "queries.jsonl"
verifier = "numeric"

[record]
direct = 8
"""


def script(body):
    """Query i is answered right in its first i + 1 of 8 samples."""
    i = int(body["messages"][-1]["content"].split()[-3])
    return [(f"{2 * i if s <= i else -s}", -0.1 - 0.1 * s) for s in range(body.get("n", 1))]


def recorded(folder: Path, text: str = CONFIG) -> LiveConfig:
    rows = [{"id": f"q{i}", "question": f"Add {i} + {i}", "answer": str(2 * i)} for i in range(1, 6)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(text)
    config = load_config(folder / "config.toml")
    record(config, folder / "out", transport=Scripted(script))
    return config


def test_a_recording_becomes_a_world_that_is_played(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    assert main(["build", str(config.path), str(tmp_path / "out"), "--out", str(tmp_path / "Own")]) == 0
    world = load_world(tmp_path / "Own")
    assert not world.simulated
    assert world.channels.latency is None  # the server told no timings
    assert {"score", "dollars", "eflops", "tokens"} <= world.channels.present().keys()
    single = world.catalog.id("small", "single", 1)
    assert np.allclose(world.expected.quality[:, single], [(i + 1) / 8 for i in range(1, 6)])
    best = world.catalog.id("small", "best_of_n", 8)
    assert np.allclose(world.expected.quality[:, best], 1)
    majority = world.catalog.id("small", "majority", 8)
    assert np.allclose(world.expected.quality[:, majority], 1)
    assert world.halves is not None
    assert np.isnan(world.halves[0].quality[:, best]).all()
    env = UISEnv(world, horizon=20)
    env.reset(seed=0)
    assert all(np.isfinite(env.step(arm % len(world.catalog))[1]) for arm in range(20))


def test_the_arms_of_the_config_are_built_where_samples_decide_them(tmp_path: Path) -> None:
    arms = '[[arms]]\nmethods = ["majority", "self_refine"]\nbudgets = [2]\n'
    config = recorded(tmp_path, CONFIG + arms)
    world = build(config, tmp_path / "out")
    assert [arm.name for arm in world.catalog.arms] == ["small/majority-direct@2"]


def test_without_log_probabilities_there_is_no_score(tmp_path: Path) -> None:
    config = recorded(tmp_path, CONFIG.replace("max_n = 8", "max_n = 8\nlogprobs = true"))
    path = tmp_path / "out" / "small.direct.jsonl"
    rows = [json.loads(line) | {"mean_logprob": None} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = build(config, tmp_path / "out")
    assert world.channels.score is None
    assert {arm.recipe for arm in world.catalog.arms} == {
        "single-direct",
        "majority-direct",
        "adaptive_consistency-direct",
    }
    assert np.allclose(world.expected.quality[:, 0], [(i + 1) / 8 for i in range(1, 6)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('[[arms]]\nmethods = ["majority"]\nbudgets = [16]\n', "only 8 samples are recorded"),
        ('[[arms]]\nmethods = ["self_refine"]\nbudgets = [1]\n', "none of them can be estimated"),
    ],
)
def test_arms_that_cannot_be_built_are_named(tmp_path: Path, change: str, message: str) -> None:
    config = recorded(tmp_path, CONFIG + change)
    with pytest.raises(ValueError, match=message):
        build(config, tmp_path / "out")


def test_another_config_and_an_unfinished_recording_are_refused(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    config.path.write_text(CONFIG.replace("head_dim = 8", "head_dim = 16"))
    with pytest.raises(ValueError, match="recorded from another config"):
        build(load_config(config.path), tmp_path / "out")
    path = tmp_path / "out" / "small.direct.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-8]))
    with pytest.raises(ValueError, match=r"small\.direct\.jsonl: query 'q\d' has samples \[\]"):
        build(config, tmp_path / "out")


def test_samples_whose_tokens_nobody_tells_are_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without logprobs only max_n = 1"):
        recorded(tmp_path, CONFIG.replace("max_n = 8", "logprobs = false"))
