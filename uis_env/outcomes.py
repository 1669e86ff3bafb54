"""Recorded outcomes: what every arm returned on every query in every draw, and the world they belong to."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import ArmCatalog

Array = NDArray[Any]
FORMAT = 1
"""Version of the files `save_world` writes."""


class Channels(NamedTuple):
    """What comes back from an answer: one array per channel, all of one shape ending in K arms; None if there is none.

    Attributes:
        quality: in [0, 1].
        score: the verifier's score. Absent when there is no verifier, never a copy of quality.
        dollars: US dollars.
        eflops: tera-eFLOPs.
        tokens: completion tokens.
        latency: seconds on the critical path.
    """

    quality: Array
    score: Array | None = None
    dollars: Array | None = None
    eflops: Array | None = None
    tokens: Array | None = None
    latency: Array | None = None

    def present(self) -> dict[str, Array]:
        """The channels that exist, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None}


class Outcomes(NamedTuple):
    """A table of outcomes: Q queries, R draws, K arms, D features. Memory holds finite numbers only.

    Attributes:
        context: (Q, D) float32, what the agent sees.
        channels: (Q, R, K) float32 each.
        recorded: (Q, K) bool; cells that are not recorded hold zeros.
    """

    context: Array
    channels: Channels
    recorded: Array


@dataclass(frozen=True, eq=False)
class World:
    """A source of outcomes, whole: tables, arms, exact expectations and where it all comes from.

    Attributes:
        name: as in `UIS/<name>-v0`.
        simulated: True unless every outcome was recorded; shown wherever results are.
        catalog: the K arms.
        contexts: named (Q, D) float32 feature matrices; the first is the default.
        channels: (Q, R, K) float32 outcomes.
        expected: (Q, K) float32 expectation per channel: exact where `provenance["expectation"]` says so, else the
            mean over draws.
        recorded: (Q, K) bool.
        query_ids: Q labels.
        groups: Q labels of the query's family or level.
        halves: expectations estimated from two disjoint halves of the samples (NaN where a half is too small for the
            arm's budget), for cross-fitted oracles; None where there is nothing to split.
        cost_ends: per cost channel the (low, high) ends of clipped and log costs, frozen here.
        defaults: keyword arguments of `Reward` that make a sensible game of this world.
        provenance: plain JSON: sources, licences, choices, versions.
    """

    name: str
    simulated: bool
    catalog: ArmCatalog
    contexts: Mapping[str, Array]
    channels: Channels
    expected: Channels
    recorded: Array
    query_ids: tuple[str, ...]
    groups: tuple[str, ...]
    halves: tuple[Channels, Channels] | None = None
    cost_ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_world(self)

    def __repr__(self) -> str:
        queries, draws, arms = self.channels.quality.shape
        kind = "simulated" if self.simulated else "recorded"
        holes = int((~self.recorded).sum())
        said = f", {holes} of {queries * arms} cells without outcomes" if holes else ""
        return f"<World {self.name!r}, {kind}: {queries} queries x {draws} draws x {arms} arms{said}>"

    def outcomes(self, context: str | None = None) -> Outcomes:
        """The table with one of the named contexts (None: the first).

        Raises:
            ValueError: if there is no context of that name.
        """
        name = next(iter(self.contexts)) if context is None else context
        if name not in self.contexts:
            raise ValueError(f"world {self.name!r} has no context {name!r}; it has {', '.join(self.contexts)}")
        return Outcomes(self.contexts[name], self.channels, self.recorded)


def mean_ends(expected: Channels) -> dict[str, tuple[float, float]]:
    """The lowest and highest arm mean of each cost channel: the ends of a log cost over arm means.

    Cells of no cost do not count; those that were not recorded are among them.
    """
    ends = {}
    for name in ("dollars", "eflops"):
        array = getattr(expected, name)
        if array is not None:
            counts = (array > 0).sum(axis=0)
            means = array.sum(axis=0, dtype=np.float64)[counts > 0] / counts[counts > 0]
            if means.size and means.max() > means.min():
                ends[name] = (float(means.min()), float(means.max()))
    return ends


def fill_unrecorded(channels: Channels, where: str) -> tuple[Channels, Array]:
    """Turns the NaN of files into (channels with zeros, recorded): memory holds finite numbers only.

    Args:
        channels: (Q, R, K) each, NaN where nothing was recorded.
        where: what opens an error message, a file name say.

    Raises:
        ValueError: naming query and arm of a cell that is recorded in only some draws or some channels.
    """
    missing = np.stack([~np.isfinite(array) for array in channels.present().values()])
    absent = np.asarray(missing.all(axis=(0, 2)))
    partly = missing.any(axis=(0, 2)) & ~absent
    if partly.any():
        query, arm = (int(i) for i in np.argwhere(partly)[0])
        raise ValueError(
            f"{where}: query {query}, arm {arm} is recorded in only some draws or channels "
            f"({int(partly.sum())} such cells); expected all or nothing (missing usage is an error, never zero)"
        )
    filled = {
        name: np.where(absent[:, None, :], 0.0, array).astype(np.float32) for name, array in channels.present().items()
    }
    return Channels(**filled), ~absent


def check_world(world: World) -> None:
    """Raises ValueError, naming the part and what was expected, unless all parts of the world fit together."""
    where = f"world {world.name!r}"

    def expect(part: str, array: Array, shape: tuple[int, ...], dtype: type) -> None:
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{where}: {part} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}"
            )

    if world.channels.quality.ndim != 3:
        raise ValueError(f"{where}: quality has {world.channels.quality.ndim} axes, expected (queries, draws, arms)")
    queries, draws, arms = world.channels.quality.shape
    if arms != len(world.catalog):
        raise ValueError(f"{where}: quality has {arms} arms, the catalog {len(world.catalog)}")
    if not (queries and draws):
        raise ValueError(f"{where}: there is no query or no draw")
    if not world.contexts:
        raise ValueError(f"{where}: expected at least one context")
    for name, context in world.contexts.items():
        expect(f"context {name!r}", context, (queries, context.shape[-1]), np.float32)
        if not np.isfinite(context).all():
            raise ValueError(f"{where}: context {name!r} holds numbers that are not finite")
    expect("recorded", world.recorded, (queries, arms), np.bool_)
    for name, array in world.channels.present().items():
        expect(name, array, (queries, draws, arms), np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} holds numbers that are not finite; mark such cells as not recorded")
        expected = getattr(world.expected, name)
        if expected is None:
            raise ValueError(f"{where}: channel {name} has no expectation")
        expect(f"expected {name}", expected, (queries, arms), np.float32)
        if not np.isfinite(expected).all():
            raise ValueError(f"{where}: expected {name} holds numbers that are not finite")
    if world.channels.quality.min() < 0 or world.channels.quality.max() > 1:
        raise ValueError(f"{where}: quality leaves [0, 1]")
    for name in ("dollars", "eflops", "tokens", "latency"):
        array = getattr(world.channels, name)
        if array is not None and array.min() < 0:
            raise ValueError(f"{where}: {name} is negative somewhere")
    for i, half in enumerate(world.halves or ()):
        for name, array in half.present().items():
            expect(f"half {i} of {name}", array, (queries, arms), np.float32)
    for part in ("query_ids", "groups"):
        if len(getattr(world, part)) != queries:
            raise ValueError(f"{where}: {len(getattr(world, part))} {part} for {queries} queries")
    if len(set(world.query_ids)) != queries:
        raise ValueError(f"{where}: query_ids repeat")


class WriteError(OSError):
    """A file cannot be written; the message names it and says why. What stood there before still does."""


def atomic_write(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: a temporary file beside it, flushed, then renamed over it.

    Raises:
        WriteError: naming the file, if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error


def world_parts(world: World) -> tuple[dict[str, Array], dict[str, Any]]:
    """All of a world as (arrays by name, plain JSON): what files hold and digests cover."""
    arrays: dict[str, Array] = {"recorded": world.recorded, "features": world.catalog.features}
    arrays |= {f"context.{name}": array for name, array in world.contexts.items()}
    arrays |= {f"channel.{name}": array for name, array in world.channels.present().items()}
    arrays |= {f"expected.{name}": array for name, array in world.expected.present().items()}
    for i, half in enumerate(world.halves or ()):
        arrays |= {f"half{i}.{name}": array for name, array in half.present().items()}
    return arrays, {
        "name": world.name,
        "simulated": world.simulated,
        "catalog": world.catalog.to_json(),
        "contexts": list(world.contexts),
        "query_ids": list(world.query_ids),
        "groups": list(world.groups),
        "cost_ends": {name: list(ends) for name, ends in world.cost_ends.items()},
        "defaults": dict(world.defaults),
        "provenance": dict(world.provenance),
    }


def world_digest(world: World) -> str:
    """The sha256 (64 hexadecimal digits) of all arrays and all plain parts of a world: equal worlds, equal digests.

    A world that was saved and loaded has the digest it had before.

    Example:
        >>> import uis_env
        >>> one, two = (uis_env.worlds.load("Synthetic", queries=8, seed=seed) for seed in (0, 1))
        >>> uis_env.world_digest(one) == uis_env.world_digest(two)
        False
    """
    arrays, meta = world_parts(world)
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_world(world: World, path: Path) -> None:
    """Writes `<path>.npz` (arrays) and `<path>.json` (everything else, and the array file's sha256); no pickle."""
    arrays, plain = world_parts(world)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    meta = {"format": FORMAT, **plain, "sha256": hashlib.sha256(data).hexdigest()}
    atomic_write(path.with_suffix(".npz"), data)
    atomic_write(path.with_suffix(".json"), (json.dumps(meta, indent=1, ensure_ascii=False) + "\n").encode())


def load_world(path: Path) -> World:
    """Reads what `save_world` wrote.

    Raises:
        ValueError: naming the file, if it is not such a file, was changed, or its parts do not fit together.
        FileNotFoundError: if either file is absent.
    """
    meta_path, array_path = path.with_suffix(".json"), path.with_suffix(".npz")
    try:
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{meta_path}: not JSON: {error}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"{meta_path}: expected a world of format {FORMAT}")
    data = array_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != meta.get("sha256"):
        raise ValueError(f"{array_path}: checksum differs from the one in {meta_path.name}; the file is damaged")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}

    def channels(prefix: str) -> Channels:
        return Channels(**{name: arrays.get(f"{prefix}.{name}") for name in Channels._fields})  # type: ignore[arg-type]

    try:
        return World(
            name=meta["name"],
            simulated=meta["simulated"],
            catalog=ArmCatalog.from_json(meta["catalog"], arrays["features"]),
            contexts={name: arrays[f"context.{name}"] for name in meta["contexts"]},
            channels=channels("channel"),
            expected=channels("expected"),
            recorded=arrays["recorded"],
            query_ids=tuple(meta["query_ids"]),
            groups=tuple(meta["groups"]),
            halves=(channels("half0"), channels("half1")) if "half0.quality" in arrays else None,
            cost_ends={name: (low, high) for name, (low, high) in meta["cost_ends"].items()},
            defaults=meta["defaults"],
            provenance=meta["provenance"],
        )
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
