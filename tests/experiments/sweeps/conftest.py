"""A small sweep that tests share: played once, with a pilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from experiments.config import Config, parse_config
from experiments.runner import Progress, Runner

CONFIG: dict[str, Any] = {
    "name": "small",
    "rounds": 24,
    "seeds": 3,
    "block": 2,
    "pilot": 16,
    "worlds": [{"name": "small", "kind": "LatencyAware", "options": {"queries": 40, "draws": 3, "cache": False}}],
    "sweeps": [
        {"tokens": {"low": 1e-6, "high": 1e-3, "points": 4}, "latency": [0.0, 0.01]},
        {"latency": {"low": 1e-4, "high": 1e-1, "points": 4}},
    ],
    "agents": [
        {"name": "arm_only", "kind": "linucb_arm_only", "abreast": 4, "pilot": False},
        {"name": "probe", "options": {"hidden": [8], "epochs": 2, "batch": 32}, "abreast": 64},
    ],
}


@pytest.fixture(scope="session")
def sweep_config() -> Callable[..., Config]:
    """Makes the small config, some keys set otherwise."""
    return lambda **changes: parse_config({**CONFIG, **changes}, "small.toml")


@pytest.fixture(scope="session")
def small(sweep_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(run directory, runner, sweep)."""
    root = tmp_path_factory.mktemp("sweep")
    runner = Runner(sweep_config(), root, workers=1)
    [sweep] = runner.run(Progress())
    return root, runner, sweep
