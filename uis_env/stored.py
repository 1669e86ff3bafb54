"""A world in a folder: `world.json` says what it is, `world.npz` holds its arrays. No pickle is written or read."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import ArmCatalog
from uis_env.files import atomic_write
from uis_env.pools import Pool
from uis_env.world import Channels, World

Array = NDArray[Any]
FORMAT = 2
"""Version of the files that `save_world` writes. Format 1, a pair of files without samples or styles, is still read."""
META, ARRAYS = "world.json", "world.npz"
MOST_BYTES = 1 << 33
"""Arrays that say they are larger than this in all are not read."""
_POOL = ("answer", "correct", "score", "tokens", "prompt", "cached", "prefill_ms", "decode_ms")


def world_parts(world: World) -> tuple[dict[str, Array], dict[str, Any]]:
    """All of a world as (arrays by name, plain JSON): what files hold and digests cover."""
    arrays: dict[str, Array] = {"recorded": world.recorded, "features": world.catalog.features}
    arrays |= {f"context.{name}": array for name, array in world.contexts.items()}
    arrays |= {f"channel.{name}": array for name, array in world.channels.present().items()}
    arrays |= {f"expected.{name}": array for name, array in world.expected.present().items()}
    for i, half in enumerate(world.halves or ()):
        arrays |= {f"half{i}.{name}": array for name, array in half.present().items()}
    for i, (pool, order) in enumerate(zip(world.pools, world.orders, strict=True)):
        arrays |= {f"pool{i}.{name}": array for name, array in pool.arrays().items()}
        arrays[f"order{i}"] = order.astype(np.min_scalar_type(pool.size - 1))
    return arrays, {
        "name": world.name,
        "simulated": world.simulated,
        "catalog": world.catalog.to_json(),
        "contexts": list(world.contexts),
        "query_ids": list(world.query_ids),
        "groups": list(world.groups),
        "pools": [[pool.model, pool.style] for pool in world.pools],
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


def save_world(world: World, path: str | os.PathLike[str]) -> None:
    """Writes a world to the folder `path`, which is made if it is not there.

    Each file appears whole or not at all, and `world.json` holds the sha256 of `world.npz`: a pair that does not belong
    together is refused by `load_world`.

    Raises:
        WriteError: naming the file that cannot be written.

    Example:
        >>> import tempfile, uis_env
        >>> world = uis_env.worlds.load("Synthetic", queries=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     uis_env.save_world(world, f"{folder}/mine")
        ...     uis_env.world_digest(uis_env.load_world(f"{folder}/mine")) == uis_env.world_digest(world)
        True
    """
    folder = Path(path)
    arrays, plain = world_parts(world)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    meta = {"format": FORMAT, **plain, "sha256": hashlib.sha256(data).hexdigest()}
    atomic_write(folder / ARRAYS, data)
    atomic_write(folder / META, (json.dumps(meta, indent=1, ensure_ascii=False) + "\n").encode())


def world_files(path: str | os.PathLike[str]) -> tuple[Path, Path] | None:
    """(JSON file, array file) of the world at a path: a folder, or a pair `<path>.json` and `<path>.npz`; else None."""
    folder = Path(path)
    try:
        if (folder / META).is_file():
            return folder / META, folder / ARRAYS
        pair = folder.with_suffix(".json"), folder.with_suffix(".npz")
        return pair if all(file.is_file() for file in pair) else None
    except (OSError, ValueError):  # no name of a file
        return None


def load_world(path: str | os.PathLike[str]) -> World:
    """The world in a folder, as `save_world` wrote it (or in a pair of files, as earlier versions did).

    Raises:
        ValueError: naming the file, if it is not such a file, was changed, is too large, or its parts do not fit.
        FileNotFoundError: if there is no world.
    """
    files = world_files(path)
    if files is None:
        raise FileNotFoundError(f"{path}: no world there, expected a folder with {META} and {ARRAYS}")
    meta_path, array_path = files
    meta = _read_meta(meta_path)
    data = array_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != meta["sha256"]:
        raise ValueError(f"{array_path}: checksum differs from the one in {meta_path.name}; the file is damaged")
    arrays = _read_arrays(data, meta, array_path)

    def channels(prefix: str) -> Channels:
        return Channels(**{name: arrays.get(f"{prefix}.{name}") for name in Channels._fields})  # type: ignore[arg-type]

    pools = [
        Pool(model, style, *(arrays[f"pool{i}.{field}"] for field in _POOL))
        for i, (model, style) in enumerate(meta["pools"])
    ]
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
            pools=tuple(pools),
            orders=tuple(arrays[f"order{i}"].astype(np.int32) for i in range(len(pools))),
        )
    except ValueError as error:
        raise ValueError(f"{meta_path}: {error}") from None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _arm(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and all(map(_text, (*value[:2], *value[3:])))
        and _list_of(lambda part: isinstance(part, int) and not isinstance(part, bool) and part < 1 << 53)(value[2])
    )


def _ends(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _list_of(lambda end: isinstance(end, int | float) and abs(end) <= 1e300)(pair) and len(pair) == 2
        for pair in value.values()
    )


Check = tuple[Callable[[Any], bool], str]
_SHAPE: Mapping[str, Check] = {
    "name": (_text, "a text"),
    "simulated": (lambda value: isinstance(value, bool), "true or false"),
    "catalog": (lambda value: isinstance(value, dict), "an object"),
    "contexts": (_list_of(_text), "a list of names"),
    "query_ids": (_list_of(_text), "a list of texts"),
    "groups": (_list_of(_text), "a list of texts"),
    "pools": (_list_of(lambda pool: _list_of(_text)(pool) and len(pool) == 2), "a list of [model, style]"),
    "cost_ends": (_ends, "an object of [low, high]"),
    "defaults": (lambda value: isinstance(value, dict), "an object"),
    "provenance": (lambda value: isinstance(value, dict), "an object"),
    "sha256": (_text, "a text"),
}
_CATALOG: Mapping[str, Check] = {
    "arms": (_list_of(_arm), "a list of [model, method, budget, style]"),
    "feature_names": (_list_of(_text), "a list of texts"),
    "descriptions": (_list_of(_text), "a list of texts"),
}


def _read_meta(path: Path) -> dict[str, Any]:
    """The JSON file, every part of it of the shape that a world needs."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(meta, dict) or meta.get("format") not in (1, FORMAT):
        raise ValueError(f"{path}: expected a world of format {FORMAT} (or 1)")
    meta.setdefault("pools", [])
    _check_keys(meta, _SHAPE, path)
    _check_keys(meta["catalog"], _CATALOG, path)
    return meta


def _check_keys(part: Mapping[str, Any], shape: Mapping[str, Check], path: Path) -> None:
    for key, (valid, expected) in shape.items():
        if key not in part:
            raise ValueError(f"{path}: {key!r} is missing, expected {expected}")
        if not valid(part[key]):
            raise ValueError(f"{path}: {key!r} is not {expected}")


def _read_arrays(data: bytes, meta: Mapping[str, Any], path: Path) -> dict[str, Array]:
    """The arrays that a world of this JSON has. Their headers are checked before anything is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            headers = {}
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                    shape, _, dtype = read[version](file)
                    headers[entry.filename.removesuffix(".npy")] = (shape, dtype)
                    if entry.file_size != file.tell() + math.prod(shape) * dtype.itemsize:
                        raise ValueError(f"{entry.filename} is not as long as its header says")
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{path}: not an archive of arrays: {type(error).__name__}: {error}") from None
    wanted = _wanted(headers, meta, path)
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in (headers[name] for name in wanted))
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size / 1e9:.1f} GB of arrays, expected at most {MOST_BYTES / 1e9:.1f} GB")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in wanted}
    except Exception as error:
        raise ValueError(f"{path}: not an archive of arrays: {type(error).__name__}: {error}") from None


def _wanted(headers: Mapping[str, tuple[tuple[int, ...], Any]], meta: Mapping[str, Any], path: Path) -> list[str]:
    """The names of a world's arrays in an archive; ValueError if one is missing or has another shape."""
    queries, arms = len(meta["query_ids"]), len(meta["catalog"]["arms"])
    quality = headers.get("channel.quality", ((0,), None))[0]
    draws = quality[1] if len(quality) == 3 else -1
    shapes: dict[str, tuple[int, ...]] = {
        "recorded": (queries, arms),
        "features": (arms, len(meta["catalog"]["feature_names"])),
        "channel.quality": (queries, draws, arms),
        "expected.quality": (queries, arms),
    }
    for name in headers:
        part, _, channel = name.partition(".")
        if channel in Channels._fields and part in ("channel", "expected", "half0", "half1"):
            shapes[name] = (queries, draws, arms) if part == "channel" else (queries, arms)
    wide = {
        name: (queries, headers.get(name, ((), None))[0][-1:]) for name in map("context.{}".format, meta["contexts"])
    }
    shapes |= {name: (rows, *width) for name, (rows, width) in wide.items()}
    for i in range(len(meta["pools"])):
        samples = headers.get(f"pool{i}.answer", ((), None))[0][-1:]
        shapes |= {f"pool{i}.{field}": (queries, *samples) if j < 4 else (queries,) for j, field in enumerate(_POOL)}
        shapes[f"order{i}"] = (queries, draws, *headers.get(f"order{i}", ((), None))[0][-1:])
    for name, shape in shapes.items():
        if name not in headers:
            raise ValueError(f"{path}: {name!r} is missing")
        if headers[name][0] != shape:
            raise ValueError(f"{path}: {name!r} has shape {headers[name][0]}, expected {shape}")
    return list(shapes)
