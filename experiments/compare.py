"""`compare DIR DIR ... --out DIR`: one report over runs that played the same episodes, agents told apart by run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.results import AgentRuns, Cell, CellKey, Entrant
from experiments.store import FORMAT, RunError, read_manifest, read_runs

SAME = ("rounds", "holdout", "first_seed", "seeds", "order", "pilot")
"""What the episodes of a run depend on, besides the entries of its cells."""


class Run(NamedTuple):
    """A run directory, read: a label of its own, what it was, and its cells."""

    label: str
    root: Path
    manifest: Mapping[str, Any]
    cells: Mapping[CellKey, Cell]


def read(roots: Sequence[Path]) -> list[Run]:
    """The runs, each with a label of its own.

    Raises:
        RunError: naming the directory that is no run, that holds a sweep, or that is given twice.
    """
    if len({root.resolve() for root in roots}) < max(2, len(roots)):
        raise RunError("expected two run directories or more, each once")
    found = []
    for i, root in enumerate(roots):
        manifest = read_manifest(root)
        if manifest["config"].get("sweeps"):
            raise RunError(f"{root} holds a sweep; expected runs of scenarios and preferences")
        label = re.sub(r"[^A-Za-z0-9_+-]", "-", root.resolve().name)
        if sum(other.resolve().name == root.resolve().name for other in roots) > 1:
            label += f"-{i + 1}"
        found.append(Run(label, root, manifest, {cell.key: cell for cell in read_runs(root)}))
    return found


def merge(runs: Sequence[Run]) -> list[Cell]:
    """The cells that all runs share, with the agents of all of them.

    Raises:
        RunError: naming two runs and what differs between their episodes, or if they share no cell.
    """
    first, *others = runs
    for other in others:
        check_settings(first, other)
    shared = [key for key in first.cells if all(key in run.cells for run in others)]
    if not shared:
        raise RunError(f"the runs share no comparison; {first.root} has {', '.join(key.label for key in first.cells)}")
    return [_merged(key, runs) for key in shared]


def check_settings(one: Run, other: Run) -> None:
    """Raises RunError, naming the settings that differ, unless two runs played the same episodes."""
    a, b = one.manifest["config"], other.manifest["config"]
    keys = [name for name in SAME if a.get(name) != b.get(name)]
    for part in ("worlds", "scenarios", "preferences"):
        mine = {entry["name"]: entry for entry in a[part]}
        keys += [
            f"{part}.{entry['name']}" for entry in b[part] if entry["name"] in mine and mine[entry["name"]] != entry
        ]
    data = one.manifest["worlds"]
    keys += [f"data of world {n}" for n, d in other.manifest["worlds"].items() if n in data and data[n] != d]
    if keys:
        raise RunError(f"{one.root} and {other.root} did not play the same episodes; these differ: {', '.join(keys)}")


def _merged(key: CellKey, runs: Sequence[Run]) -> Cell:
    cells = [run.cells[key] for run in runs]
    first = cells[0]
    names = [name for cell in cells for name in cell.agents]
    agents: dict[str, AgentRuns] = {}
    entrants: dict[str, Entrant] = {}
    for run, cell in zip(runs, cells, strict=True):
        if not np.array_equal(cell.seeds, first.seeds) or cell.bin_rounds != first.bin_rounds:
            raise RunError(f"{runs[0].root} and {run.root} differ in seeds or bins of {key.label}")
        for name, played in cell.agents.items():
            entrant = cell.entrants[name]
            twin = next((other for other, one in entrants.items() if one.kind == entrant.kind), None)
            if entrant.role == "reference" and twin is not None:
                _same(agents[twin], played, f"{entrant.kind} of {runs[0].root} and of {run.root} in {key.label}")
                continue
            label = f"{name}.{run.label}" if names.count(name) > 1 and entrant.role != "reference" else name
            agents[label], entrants[label] = played, entrant
    return replace(first, agents=agents, entrants=entrants)


def _same(one: AgentRuns, other: AgentRuns, where: str) -> None:
    """A reference sees the whole tape and learns nothing: on the same episodes it earns the same."""
    for total in ("reward", "regret"):
        if not np.allclose(one.totals[total], other.totals[total], rtol=1e-4, atol=1e-3):
            raise RunError(f"{where} differ in {total}: the runs did not play the same episodes")


def manifest(runs: Sequence[Run], cells: Sequence[Cell], name: str) -> dict[str, Any]:
    """What the comparison is made of; no run can go on in its directory."""
    config = dict(runs[0].manifest["config"])
    known: dict[str, Any] = {}
    for run in runs:
        for agent, about in run.manifest["agents"].items():
            known[agent if agent in cells[0].agents else f"{agent}.{run.label}"] = about
    listed = {entry["name"]: entry for run in runs for entry in run.manifest["config"]["agents"]}
    config |= {
        "name": name,
        "description": "compared: " + ", ".join(run.label for run in runs),
        "agents": [
            listed.get(agent, listed.get(agent.rpartition(".")[0], {})) | {"name": agent, "kind": one.kind}
            for agent, one in cells[0].entrants.items()
        ],
    }
    return {
        "format": FORMAT,
        "config": config,
        "agents": {agent: known[agent] for agent in cells[0].agents if agent in known},
        "worlds": runs[0].manifest["worlds"],
        "compared": {
            run.label: {key: run.manifest.get(key) for key in ("config_hash", "commits", "versions", "device")}
            for run in runs
        },
    }
