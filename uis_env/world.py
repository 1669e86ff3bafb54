"""Recorded outcomes: what every arm returned on every query in every draw, and the world they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import ArmCatalog
from uis_env.pools import Pool

Array = NDArray[Any]


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
        pools: the samples behind the table, one pool per model and style, Q rows each; none where there are no samples.
        orders: per pool (Q, R, N) int32: the samples that a draw reads, one after the other; a method with budget n
            reads the first n.
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
    pools: tuple[Pool, ...] = ()
    orders: tuple[Array, ...] = ()

    def __post_init__(self) -> None:
        check_world(self)

    def __repr__(self) -> str:
        queries, draws, arms = self.channels.quality.shape
        kind = "simulated" if self.simulated else "recorded"
        holes = int((~self.recorded).sum())
        said = f", {holes} of {queries * arms} cells without outcomes" if holes else ""
        return f"<World {self.name!r}, {kind}: {queries} queries x {draws} draws x {arms} arms{said}>"

    def context(self, name: str | None = None) -> Array:
        """(Q, D) float32: one of the named contexts (None: the first).

        Raises:
            ValueError: if there is no context of that name.
        """
        name = next(iter(self.contexts)) if name is None else name
        if name not in self.contexts:
            raise ValueError(f"world {self.name!r} has no context {name!r}; it has {', '.join(self.contexts)}")
        table: Array = self.contexts[name]
        return table


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
        _expect(f"{where}: context {name!r}", context, (queries, *context.shape[1:2]), np.float32)
        if context.ndim != 2:
            raise ValueError(f"{where}: context {name!r} has {context.ndim} axes, expected 2")
        if not np.isfinite(context).all():
            raise ValueError(f"{where}: context {name!r} holds numbers that are not finite")
    _expect(f"{where}: recorded", world.recorded, (queries, arms), np.bool_)
    _check_channels(world, where)
    for i, half in enumerate(world.halves or ()):
        for name, array in half.present().items():
            _expect(f"{where}: half {i} of {name}", array, (queries, arms), np.float32)
    for part in ("query_ids", "groups"):
        if len(getattr(world, part)) != queries:
            raise ValueError(f"{where}: {len(getattr(world, part))} {part} for {queries} queries")
    if len(set(world.query_ids)) != queries:
        raise ValueError(f"{where}: query_ids repeat")
    for name, (low, high) in world.cost_ends.items():
        if name not in ("dollars", "eflops") or not (0 <= low < high < math.inf):
            raise ValueError(f"{where}: cost ends of {name!r} are {(low, high)}, expected 0 <= low < high, finite")
    _check_pools(world, where)


def _expect(part: str, array: Array, shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{part} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}{list(shape)}")


def _check_channels(world: World, where: str) -> None:
    """Outcomes and expectations: their shapes, finite, in range."""
    shape = world.channels.quality.shape
    for name, array in world.channels.present().items():
        _expect(f"{where}: {name}", array, shape, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} holds numbers that are not finite; mark such cells as not recorded")
        expected = getattr(world.expected, name)
        if expected is None:
            raise ValueError(f"{where}: channel {name} has no expectation")
        _expect(f"{where}: expected {name}", expected, (shape[0], shape[2]), np.float32)
        if not np.isfinite(expected).all():
            raise ValueError(f"{where}: expected {name} holds numbers that are not finite")
    if world.channels.quality.min() < 0 or world.channels.quality.max() > 1:
        raise ValueError(f"{where}: quality leaves [0, 1]")
    for name in ("dollars", "eflops", "tokens", "latency"):
        array = getattr(world.channels, name)
        if array is not None and array.min() < 0:
            raise ValueError(f"{where}: {name} is negative somewhere")


def _check_pools(world: World, where: str) -> None:
    """The samples behind the table, if there are any."""
    queries, draws, _ = world.channels.quality.shape
    if len(world.pools) != len(world.orders):
        raise ValueError(f"{where}: {len(world.pools)} pools and {len(world.orders)} orders, expected one each")
    for pool, order in zip(world.pools, world.orders, strict=True):
        named = f"{where}: pool {pool.model!r}, {pool.style!r}:"
        for field_, kind in (("answer", np.int32), ("correct", float), ("score", float), ("tokens", float)):
            _expect(f"{named} {field_}", getattr(pool, field_), (queries, pool.size), kind)
        for field_ in ("prompt", "cached", "prefill_ms", "decode_ms"):
            _expect(f"{named} {field_}", getattr(pool, field_), (queries,), float)
        _expect(f"{named} order", order, (queries, draws, *order.shape[2:3]), np.int32)
        if order.ndim != 3 or not order.size or order.min() < 0 or order.max() >= pool.size:
            raise ValueError(f"{named} order holds other numbers than 0..{pool.size - 1}")
