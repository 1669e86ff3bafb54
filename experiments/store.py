"""The run directory: one file per work unit, written whole or not at all, and what is made of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.results import AgentRuns, Array, Cell, CellKey, Entrant, SweepRuns, concatenate
from uis_env.outcomes import atomic_write


class Unit(NamedTuple):
    """A piece of work: one agent on one block of seeds of one cell."""

    cell: CellKey
    agent: str
    block: int

    @property
    def path(self) -> Path:
        """Its file below the run directory."""
        return Path("units", *self.cell, f"{self.agent}-{self.block}.npz")


class RunError(RuntimeError):
    """A run cannot go on; the message says why and what to do."""


class StoreError(RunError):
    """The run directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Store:
    """The files of one run.

    Attributes:
        root: the run directory.
        digest: hash of the config that the files belong to.
    """

    root: Path
    digest: str

    def save(self, unit: Unit, runs: AgentRuns | SweepRuns) -> None:
        """Writes a unit's file atomically."""
        flat = _swept(runs) if isinstance(runs, SweepRuns) else _flatten(runs, "")
        arrays = {"digest": np.array(self.digest)} | flat
        atomic_write(self.root / unit.path, _npz(arrays))

    def load(self, unit: Unit) -> AgentRuns | SweepRuns | None:
        """A unit's runs; None if its file is absent, damaged or of another config (the caller recomputes it)."""
        path = self.root / unit.path
        try:
            arrays = _read_npz(path)
        except (FileNotFoundError, StoreError):
            return None
        if str(arrays.pop("digest", "")) != self.digest:
            return None
        if "action" in arrays:
            return SweepRuns(arrays["action"], arrays.get("believed"))
        return _unflatten(arrays, "")

    def holds_results(self) -> bool:
        """Whether there is a unit's file, of any config."""
        return next(self.root.glob("units/**/*.npz"), None) is not None

    def done(self, unit: Unit) -> bool:
        """Whether a whole, undamaged file of this config is there."""
        return self.load(unit) is not None


def write_json(path: Path, data: Any) -> None:
    """Sorted, indented, atomic."""
    atomic_write(path, (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises StoreError, naming the file, if it is absent or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{path} does not exist: not a finished run directory") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def write_runs(root: Path, cells: list[Cell]) -> None:
    """`runs.npz` (all per-seed totals and curves) and `references.json`: enough to rebuild every table and figure."""
    arrays: dict[str, Array] = {}
    index = []
    for i, cell in enumerate(cells):
        index.append(
            {
                "cell": list(cell.key),
                "rounds": cell.rounds,
                "bin_rounds": cell.bin_rounds,
                "agents": [{"name": name, **cell.entrants[name]._asdict()} for name in cell.agents],
                "references": cell.references,
            }
        )
        arrays[f"{i}/seeds"] = cell.seeds
        if cell.holdout_fixed is not None:
            arrays[f"{i}/holdout_fixed"] = cell.holdout_fixed
        for j, runs in enumerate(cell.agents.values()):
            arrays |= _flatten(runs, f"{i}/{j}/")
    atomic_write(root / "runs.npz", _npz(arrays))
    write_json(root / "references.json", index)


def read_runs(root: Path) -> list[Cell]:
    """The cells that `write_runs` wrote.

    Raises:
        StoreError: naming the file that is absent or damaged.
    """
    index = read_json(root / "references.json")
    try:
        arrays = _read_npz(root / "runs.npz")
        return [
            Cell(
                key=CellKey(*entry["cell"]),
                rounds=entry["rounds"],
                bin_rounds=entry["bin_rounds"],
                seeds=arrays[f"{i}/seeds"],
                agents={one["name"]: _unflatten(arrays, f"{i}/{j}/") for j, one in enumerate(entry["agents"])},
                entrants={one["name"]: Entrant(one["kind"], one["role"], one["own"]) for one in entry["agents"]},
                references=entry["references"],
                holdout_fixed=arrays.get(f"{i}/holdout_fixed"),
            )
            for i, entry in enumerate(index)
        ]
    except FileNotFoundError:
        raise StoreError(f"{root / 'runs.npz'} does not exist: not a finished run directory") from None
    except (KeyError, TypeError) as error:
        raise StoreError(f"{root}: references.json and runs.npz do not belong together ({error})") from None


def gather(store: Store, key: CellKey, agents: list[str], blocks: int) -> dict[str, Any]:
    """All agents of a cell from their unit files, without the padding of the last block.

    Raises:
        StoreError: naming a unit that is missing.
    """
    result = {}
    for agent in agents:
        parts: list[Any] = []
        for block in range(blocks):
            unit = Unit(key, agent, block)
            runs = store.load(unit)
            if runs is None:
                raise StoreError(f"{store.root / unit.path} is missing or damaged; run the config again")
            parts.append(runs)
        result[agent] = concatenate(parts)
    return result


def _swept(runs: SweepRuns) -> dict[str, Array]:
    return {name: array for name, array in vars(runs).items() if array is not None}


def _flatten(runs: AgentRuns, prefix: str) -> dict[str, Array]:
    flat: dict[str, Array] = {f"{prefix}totals.{name}": array for name, array in runs.totals.items()}
    flat |= {f"{prefix}curves.{name}": array for name, array in runs.curves.items()}
    for name in (*_ARRAYS, *_HOLDOUT):
        if (array := getattr(runs, name)) is not None:
            flat[prefix + name] = array
    return flat


_ARRAYS = ("arms", "arm_count", "query_reward", "query_count")
_HOLDOUT = ("holdout_reward", "holdout_count")


def _unflatten(arrays: Mapping[str, Array], prefix: str) -> AgentRuns:
    def below(part: str) -> dict[str, Array]:
        start = f"{prefix}{part}."
        return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}

    return AgentRuns(
        totals=below("totals"),
        curves=below("curves"),
        **{name: array for name in (*_ARRAYS, *_HOLDOUT) if (array := arrays.get(prefix + name)) is not None},
    )


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """An .npz file sealed by the SHA-256 of its bytes behind its end, where zip readers (`np.load`) do not look."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    return data + hashlib.sha256(data).digest()


def _read_npz(path: Path) -> dict[str, Array]:
    """All arrays of a sealed file.

    Raises:
        StoreError: naming the file, if its seal does not fit.
    """
    sealed = path.read_bytes()
    data, seal = sealed[:-32], sealed[-32:]
    if hashlib.sha256(data).digest() != seal:
        raise StoreError(f"{path} is damaged: its checksum does not fit")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
