"""Timing side by side: everything that is compared runs in turn, several times over, and the median counts."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax

PACKAGES = (
    *("numpy", "jax", "jaxlib", "flax", "optax", "gymnasium"),
    *("mabwiser", "contextualbandits", "bayesianbandits", "coba", "vowpalwabbit", "torch"),
)


class Timing(NamedTuple):
    """Several runs of one case.

    Attributes:
        rounds: of one run.
        wall: seconds on the clock, run by run.
        cpu: seconds of all cores together, which a busy machine leaves almost as they are.
    """

    rounds: int
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Rounds per second, by the median run."""
        return self.rounds / statistics.median(self.wall)

    @property
    def spread(self) -> tuple[float, float]:
        """Rounds per second of the slowest and the fastest run."""
        return self.rounds / max(self.wall), self.rounds / min(self.wall)

    @property
    def cpu_rate(self) -> float:
        """Rounds per second of one core's time, by the median run."""
        return self.rounds / max(statistics.median(self.cpu), 1e-9)


def alternate(cases: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, Timing]:
    """Runs each case once, then all again, `repeats` times after one round to warm up.

    Args:
        cases: name -> what to run; it returns the rounds it played, as many every time.
        repeats: runs that are timed.
    """
    runs: dict[str, list[tuple[int, float, float]]] = {name: [] for name in cases}
    for _ in range(repeats + 1):
        for name, run in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            rounds = run()
            runs[name].append((rounds, time.perf_counter() - wall, time.process_time() - cpu))
    timings = {}
    for name, (_, *timed) in runs.items():
        timings[name] = Timing(timed[0][0], tuple(run[1] for run in timed), tuple(run[2] for run in timed))
    return timings


def machine() -> dict[str, Any]:
    """What the numbers were measured on: CPU, accelerator or None, system, load (1, 5 and 15 minutes), versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": cores(),
        "accelerator": None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind,
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
