from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uis_env.live.config import load_config
from uis_env.live.estimate import estimate_arm
from uis_env.live.scorers import Judge

POOL = """
[endpoints.e]
base_url = "http://127.0.0.1:9/v1"

[models.small]
endpoint = "e"
params = 1e8
layers = 2
query_heads = 4
kv_heads = 2
head_dim = 8
price = { input = 1, cached = 0.5, output = 4 }
"""
REST = """
[queries]
file = "queries.jsonl"
verifier = "numeric"

[scorer]
kind = "judge"
model = "small"

[search]
depth = 4

[reward]
cost = 10.0

[[arms]]
methods = ["single"]
budgets = [1]

[[arms]]
methods = ["majority", "best_of_n"]
styles = ["direct", "steps"]
budgets = [2, 4]

[[arms]]
methods = ["tree_search"]
budgets = [[2, 2, 1]]
"""


def write(folder: Path, text: str = POOL + REST) -> Path:
    (folder / "queries.jsonl").write_text(json.dumps({"id": "a", "question": "1 + 1?", "answer": "2"}) + "\n")
    (folder / "config.toml").write_text(text)
    return folder / "config.toml"


def test_a_config_becomes_arms(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    names = [arm.arm.name for arm in config.arms]
    assert len(names) == 1 + 2 * 2 * 2 + 1
    assert names[0] == "small/single-direct@1"
    assert names[-1] == "small/tree_search-direct@2x2x1"
    catalog = config.catalog()
    assert catalog.id("small", "majority", 4, "steps") == names.index("small/majority-steps@4")
    assert catalog.features.dtype == np.float32
    assert {"method=majority", "style=steps", "log2_budget", "log_price"} <= set(catalog.feature_names)
    assert isinstance(config.scorer, Judge)
    assert (config.search.depth, config.reward.cost) == (4, 10.0)


def test_the_pool_may_stand_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(POOL)
    apart = load_config(write(tmp_path, 'pool = "pool.toml"\n' + REST))
    assert list(apart.pool.models) == ["small"]


def test_the_digest_covers_what_is_asked_and_not_where(tmp_path: Path) -> None:
    digest = load_config(write(tmp_path)).digest
    assert load_config(write(tmp_path, (POOL + REST).replace(":9/v1", ":99/v1"))).digest == digest
    assert load_config(write(tmp_path, (POOL + REST).replace("depth = 4", "depth = 5"))).digest != digest
    path = write(tmp_path)
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "a", "question": "1 + 2?", "answer": "3"}) + "\n")
    assert load_config(path).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('base_url = "http://127.0.0.1:9/v1"', "", "config.toml.endpoints.e.base_url: missing, expected a string"),
        ("http://127.0.0.1:9/v1", "ftp://x", r"base_url: expected http\(s\)"),
        ("http://127.0.0.1:9/v1", "http://user:hunter2@x/v1", "credentials do not belong in a URL"),
        ("[models.small]", "timeout = -1\n[models.small]", "e.timeout: -1, expected a number in"),
        ("[models.small]", "concurrency = 0\n[models.small]", "e.concurrency: 0, expected an integer >= 1"),
        ("[models.small]", "retrys = 3\n[models.small]", "endpoints.e: unknown key 'retrys', expected"),
        ('endpoint = "e"', 'endpoint = "f"', "models.small.endpoint: 'f', expected one of e"),
        ("layers = 2", "layer = 2", "models.small: unknown key 'layer'"),
        ("cached = 0.5", "cached = 1.5", "models.small.price: cached tokens cost more"),
        ("cached = 0.5", "cache = 0.5", "models.small.price: expected exactly input, output and cached"),
        ('verifier = "numeric"', 'verifier = "psychic"', "'psychic', expected one of exact"),
        ('file = "queries.jsonl"', "file = 3", "queries.file: 3, expected a string"),
        ('methods = ["single"]', 'methods = ["sinlge"]', r"arms\[0\].methods: \['sinlge'\], expected some of single"),
        ('methods = ["single"]', "", r"arms\[0\].methods: missing"),
        ("budgets = [1]", "budgets = [2]", r"arms\[0\]: single has budget \[2\], expected \[1\]"),
        ("budgets = [1]", 'budgets = ["x"]', r"arms\[0\].budgets: 'x', expected integers"),
        ("budgets = [2, 4]", "budgets = [2, 2]", "is there twice"),
        ("budgets = [2, 4]", "budgets = [30000000]", r"budget \[30000000\], expected at most 10000 samples"),
        (
            "[search]",
            "[record]\ndirect = 1000000000\n[search]",
            "record.direct: 1000000000, expected at most",
        ),
        ("depth = 4", "dept = 4", "search: unknown key 'dept'"),
        ("cost = 10.0", "cost = -1", "reward: reward weight cost is -1"),
        ("cost = 10.0", "price = 1", "reward: unknown key 'price', expected quality"),
        ('model = "small"', 'model = "big"', "scorer.model: 'big', expected one of small"),
        ("[search]", "[styles.few_shot]\nstop = []\n[search]", "styles.few_shot.examples: missing"),
        ("[search]", '[styles."a-b"]\n[search]', "style's name holds no '-'"),
        ("[search]", "[record]\nfancy = 3\n[search]", "record: unknown key 'fancy'"),
        ("[queries]", "[quries]", "config.toml.queries: missing"),
        ("[endpoints.e]", "contex = 1\n[endpoints.e]", "config.toml: unknown key 'contex'"),
        ("[endpoints.e]", 'context = "x.npy"\n[endpoints.e]', "context: 'x.npy', expected 'hashed', 'text' or an"),
        ("[endpoints.e]", "[endpoints.e", "config.toml: not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, (POOL + REST).replace(old, new, 1)))


@pytest.mark.parametrize(
    "endpoint", ['base_url = "http://user:hunter2@x/v1"', 'base_url = "http://x/v1"\nkey_env = "sk-hunter2"']
)
def test_secrets_in_a_config_are_not_repeated(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"endpoints\.e") as error:
        load_config(write(tmp_path, POOL.replace('base_url = "http://127.0.0.1:9/v1"', endpoint) + REST))
    assert "hunter2" not in str(error.value)


def test_the_estimate_follows_the_methods(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    calls = {arm.arm.name: estimate_arm(config, arm, tokens=5) for arm in config.arms}
    assert calls["small/single-direct@1"].calls == 1
    assert calls["small/majority-direct@4"].calls == 1
    assert calls["small/best_of_n-direct@4"].calls == 1 + 4
    assert calls["small/tree_search-direct@2x2x1"].calls == 4 * (2 + 4)
    assert all(0 < cost.usual < cost.most for cost in calls.values())
