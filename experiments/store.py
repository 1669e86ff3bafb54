"""The run directory: one file per work unit, written whole or not at all, and what is made of them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.results import AgentRuns, Array, Cell, CellKey, Entrant, SweepRuns, concatenate
from uis_env.files import atomic_write


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


FORMAT = 2
"""Version of the files of a run directory."""


class Stored(NamedTuple):
    """A unit's file, read.

    Attributes:
        runs: what was played.
        key: what decided its numbers (`Player.key`), plain JSON.
        commit: the checkout that played it; None outside a checkout.
    """

    runs: AgentRuns | SweepRuns
    key: Mapping[str, Any]
    commit: str | None


@dataclass(frozen=True)
class Store:
    """The files of one run.

    Attributes:
        root: the run directory.
        key: what decides the numbers of a unit, plain JSON; it is stored in the unit's file.
        commit: the checkout that plays now; stored with each unit, and no part of its key.
    """

    root: Path
    key: Callable[[Unit], Mapping[str, Any]]
    commit: str | None = None

    def save(self, unit: Unit, runs: AgentRuns | SweepRuns) -> None:
        """Writes a unit's file atomically: who it is, what decided its numbers, and the numbers, under one seal."""
        flat = _swept(runs) if isinstance(runs, SweepRuns) else _flatten(runs, "")
        about = {"unit": [*unit.cell, unit.agent, unit.block], "key": self.key(unit), "commit": self.commit}
        arrays = {"about": np.array(json.dumps(about, sort_keys=True))} | flat
        atomic_write(self.root / unit.path, _npz(arrays))

    def read(self, unit: Unit) -> Stored | None:
        """A unit's file, whatever decided its numbers; None if it is absent or damaged.

        Raises:
            StoreError: naming the file, if it is that of another unit.
        """
        path = self.root / unit.path
        try:
            arrays = _read_npz(path)
            about = json.loads(str(arrays.pop("about")))
        except (OSError, StoreError, KeyError):
            return None
        *cell, agent, block = about["unit"]
        if Unit(CellKey(*cell), agent, block) != unit:
            raise StoreError(
                f"{path} holds {agent}, block {block}, of {CellKey(*cell).label}: a file in another unit's place. "
                "Remove it and run the config again"
            )
        runs = SweepRuns(arrays["action"], arrays.get("believed")) if "action" in arrays else _unflatten(arrays, "")
        return Stored(runs, about["key"], about["commit"])

    def holds_results(self) -> bool:
        """Whether there is a unit's file, of any config."""
        return next(self.root.glob("units/**/*.npz"), None) is not None

    def done(self, unit: Unit) -> bool:
        """Whether a whole, undamaged file is there, of what would be played now."""
        stored = self.read(unit)
        return stored is not None and stored.key == self.key(unit)

    def tidy(self) -> None:
        """Removes what writers that were killed left behind: files that were never renamed into place."""
        for folder in (self.root, *self.root.glob("units/**/")):
            for path in folder.glob(".*"):
                if path.is_file() and TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)


TEMPORARY = re.compile(r"\..+\.(npz|json|csv|html)\.[a-z0-9_]{8}")
"""Names of files that `atomic_write` has not yet put in their place."""


def write_json(path: Path, data: Any) -> None:
    """Sorted, indented, atomic."""
    atomic_write(path, (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises StoreError, naming the file, if it is absent or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{path} does not exist: not a finished run directory") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a run directory of this version.

    Raises:
        StoreError: naming the file, if it is absent, damaged, or of another version.
    """
    path = root / "manifest.json"
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(
            f"{path}: not of format {FORMAT}, so another version of this program wrote {root}; it stays as it is. "
            "Choose another --out"
        )
    return manifest


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
            stored = store.read(unit)
            if stored is None:
                raise StoreError(f"{store.root / unit.path} is missing or damaged; run the config again")
            parts.append(stored.runs)
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
        OSError: if it cannot be read.
    """
    sealed = path.read_bytes()
    data, seal = sealed[:-32], sealed[-32:]
    if hashlib.sha256(data).digest() != seal:
        raise StoreError(f"{path} is damaged: its checksum does not fit")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
