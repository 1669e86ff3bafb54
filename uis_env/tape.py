"""Tapes: one episode, fixed in advance by its seed: which query, which draw and which phase at each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BLOCK = 1024
"""Rounds per block of random draws: any stretch of a tape costs the blocks it touches, not the rounds before it."""
_QUERIES, _DRAWS, _PHASES = 0, 1, 2


class Tape(NamedTuple):
    """T rounds, (T,) int32 each."""

    query: Array
    draw: Array
    phase: Array


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rounds from `start` to the next stretch (or the end): one phase over one set of queries.

    Attributes:
        start: first round.
        phase: index of the phase; None draws one of `Schedule.phases` uniformly in every round.
        queries: (n,) ids of the queries that are asked.
    """

    start: int
    phase: int | None
    queries: Array


@dataclass(frozen=True, eq=False)
class Schedule:
    """How tapes are drawn.

    Attributes:
        horizon: T, rounds of an episode.
        draws: R, the number of draws in the table.
        stretches: in order of their start, the first at 0.
        phases: P, the number of phases.
        order: "passes" shuffles the queries anew for each pass over them; "iid" draws them with replacement.

    Raises:
        ValueError: naming what is out of order.
    """

    horizon: int
    draws: int
    stretches: tuple[Stretch, ...]
    phases: int = 1
    order: str = "passes"

    def __post_init__(self) -> None:
        starts = [stretch.start for stretch in self.stretches]
        if self.horizon < 1 or self.draws < 1 or self.phases < 1:
            raise ValueError(f"horizon, draws and phases must be >= 1, got {self.horizon}, {self.draws}, {self.phases}")
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError(f"stretches start at rounds {starts}, expected increasing rounds from 0")
        if self.order not in ("passes", "iid"):
            raise ValueError(f"order is {self.order!r}, expected 'passes' or 'iid'")
        for i, stretch in enumerate(self.stretches):
            if len(stretch.queries) == 0:
                raise ValueError(f"stretch {i} has no query")
            if stretch.phase is not None and not 0 <= stretch.phase < self.phases:
                raise ValueError(f"stretch {i} names phase {stretch.phase}, expected 0..{self.phases - 1}")

    def without(self, queries: Array) -> Schedule:
        """The same schedule with some queries (a pilot's, say) never asked."""
        stretches = tuple(Stretch(s.start, s.phase, s.queries[~np.isin(s.queries, queries)]) for s in self.stretches)
        return Schedule(self.horizon, self.draws, stretches, self.phases, self.order)


def tape(schedule: Schedule, seed: int, start: int = 0, length: int | None = None, episode: int = 0) -> Tape:
    """Rounds [start, start + length) of the tape of (seed, episode); the same rounds whatever the chunking.

    Args:
        schedule: how tapes are drawn.
        seed: >= 0.
        start: first round.
        length: rounds (None: to the horizon).
        episode: 0 is the episode that `reset(seed=seed)` plays, 1 the next one, ...

    Raises:
        ValueError: if the rounds leave the horizon.
    """
    end = schedule.horizon if length is None else start + length
    if not 0 <= start <= end <= schedule.horizon:
        raise ValueError(f"rounds {start}..{end} leave the horizon of {schedule.horizon}")
    query = np.empty(end - start, np.int32)
    phase = np.empty(end - start, np.int32)
    stops = [stretch.start for stretch in schedule.stretches[1:]] + [schedule.horizon]
    for i, (stretch, stop) in enumerate(zip(schedule.stretches, stops, strict=True)):
        low, high = max(start, stretch.start), min(end, stop)
        if low >= high:
            continue
        part = slice(low - start, high - start)
        query[part] = _queries(
            schedule, stretch, (seed, episode, _QUERIES, i), low - stretch.start, high - stretch.start
        )
        if stretch.phase is None:
            phase[part] = _integers(schedule.phases, (seed, episode, _PHASES), low, high)
        else:
            phase[part] = stretch.phase
    return Tape(query, _integers(schedule.draws, (seed, episode, _DRAWS), start, end), phase)


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _integers(bound: int, key: tuple[int, ...], low: int, high: int) -> Array:
    """Rounds [low, high) of an i.i.d. uniform stream on 0..bound-1."""
    blocks = range(low // BLOCK, -(-high // BLOCK))
    stream = [_generator(*key, block).integers(bound, size=BLOCK, dtype=np.int32) for block in blocks]
    offset = low - blocks.start * BLOCK
    return np.concatenate([*stream, np.empty(0, np.int32)])[offset : offset + high - low]


def _queries(schedule: Schedule, stretch: Stretch, key: tuple[int, ...], low: int, high: int) -> Array:
    count = len(stretch.queries)
    if schedule.order == "iid":
        return stretch.queries[_integers(count, key, low, high)]
    passes = range(low // count, -(-high // count))
    order = np.concatenate([_generator(*key, p).permutation(count) for p in passes])
    offset = low - passes.start * count
    return stretch.queries[order[offset : offset + high - low]]
