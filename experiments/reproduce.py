"""`reproduce DIR`: plays a run again from its manifest, and says whether the numbers are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.config import Config, parse_config
from experiments.results import Cell
from experiments.store import RunError, read_manifest, read_runs

CLOSE = 1e-5
"""Largest difference of a mean reward per round, per seed, that rounding of other versions may explain."""


class Verdict(NamedTuple):
    """What came of it: `status` as the command returns it, and a line."""

    status: int
    text: str


def code_of(config: Mapping[str, Any]) -> list[str]:
    """The `module:function` that a config names: code that its author chose, run when it is played."""
    entries = [entry for part in ("worlds", "agents") for entry in config.get(part, ())]
    named = [entry[key] for entry in entries for key in ("kind", "gym") if ":" in str(entry.get(key) or "")]
    return list(dict.fromkeys(named))


def prepared(root: Path, trust: bool) -> tuple[Config, Mapping[str, Any]]:
    """The config of a manifest, if it may be played.

    Raises:
        RunError: if the directory is no run, or its manifest names code and nobody said to trust it.
    """
    manifest = read_manifest(root)
    if manifest.get("compared"):
        raise RunError(f"{root} compares other runs; reproduce each of them")
    named = code_of(manifest["config"])
    own = [name for name, about in manifest["agents"].items() if about.get("own")]
    if (named or own) and not trust:
        lines = named or [f"the agents {', '.join(own)}"]
        raise RunError(
            f"{root / 'manifest.json'} names code, which would be run: {', '.join(lines)}. Read it, and add --trust"
        )
    return parse_config(manifest["config"], f"{root / 'manifest.json'}: config"), manifest


def reproduce(root: Path, trust: bool, play: Callable[[Config, Path], Sequence[Cell]]) -> Verdict:
    """Plays the run of a directory again, elsewhere, and compares; the directory is only read.

    Args:
        root: a run directory.
        trust: whether code that the manifest names may be run.
        play: (config, run directory) -> cells.

    Raises:
        RunError: as `prepared`, or if the run was not finished.
    """
    config, manifest = prepared(root, trust)
    old = read_runs(root)
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        cells = play(config, Path(folder))
        now = read_manifest(Path(folder))
    return verdict(old, cells, manifest, now)


def verdict(old: Sequence[Cell], new: Sequence[Cell], was: Mapping[str, Any], now: Mapping[str, Any]) -> Verdict:
    """Byte-equal (status 0), equal within rounding (0), or not (1), with what differs between the two manifests."""
    changed = _changed(was, now)
    why = f"; these differ: {', '.join(changed)}" if changed else "; versions, sources and data are the same"
    if [cell.key for cell in old] != [cell.key for cell in new]:
        return Verdict(1, f"not reproduced: other comparisons{why}")
    worst, where, equal = 0.0, "", True
    for one, other in zip(old, new, strict=True):
        for agent, runs in one.agents.items():
            if agent not in other.agents:
                return Verdict(1, f"not reproduced: {agent} is missing in {one.key.label}{why}")
            again = other.agents[agent]
            equal &= all(np.array_equal(runs.totals[name], again.totals[name]) for name in runs.totals)
            equal &= np.array_equal(runs.query_reward, again.query_reward)
            gap = float(np.abs(one.mean_reward(agent) - other.mean_reward(agent)).max())
            if not gap <= worst:
                worst, where = gap, f"{agent} in {one.key.label}"
    if equal:
        return Verdict(0, "reproduced, byte by byte" + (why if changed else ""))
    if worst <= CLOSE:
        return Verdict(0, f"reproduced within rounding: mean rewards differ by at most {worst:.1e} ({where}){why}")
    return Verdict(1, f"not reproduced: mean rewards differ by up to {worst:.3g} ({where}){why}")


def _changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    from experiments.runner import differences

    names = ("versions", "device", "backend", "x64", "compiler_options", "xla_flags", "driver", "worlds", "seed_block")
    keys = [key for name in names for key in differences(was.get(name), now.get(name), name)]
    for agent, about in was["agents"].items():
        if about.get("source") != now["agents"].get(agent, {}).get("source"):
            keys.append(f"source of {agent}")
    return keys
