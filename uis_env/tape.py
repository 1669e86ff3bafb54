"""Tapes: one episode, fixed in advance by its seed: which query, which draw and which phase at each round.

Every random number is a hash of its address (seed, episode, stream, round), so any stretch of any tape is computed
on its own, for many tapes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
_QUERIES, _DRAWS, _PHASES = 0, 1, 2
_IN_CACHE = 1 << 16
"""Rounds that are drawn at once: what is computed on the way stays in a core's cache."""


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
        horizon: T, rounds of an episode, those of the hold-out included.
        draws: R, the number of draws in the table.
        stretches: in order of their start, the first at 0; the last one is the hold-out, if there is one.
        phases: P, the number of phases.
        order: "passes" shuffles the queries anew for each pass over them; "iid" draws them with replacement.
        holdout: rounds of the hold-out, at the end of the episode: queries that no earlier round asks.

    Raises:
        ValueError: naming what is out of order.
    """

    horizon: int
    draws: int
    stretches: tuple[Stretch, ...]
    phases: int = 1
    order: str = "passes"
    holdout: int = 0

    def __post_init__(self) -> None:
        starts = [stretch.start for stretch in self.stretches]
        if self.horizon < 1 or self.draws < 1 or self.phases < 1:
            raise ValueError(f"horizon, draws and phases must be >= 1, got {self.horizon}, {self.draws}, {self.phases}")
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError(f"stretches start at rounds {starts}, expected increasing rounds from 0")
        if starts[-1] >= self.horizon:
            raise ValueError(f"a stretch starts at round {starts[-1]}, at or after the horizon of {self.horizon}")
        if self.order not in ("passes", "iid"):
            raise ValueError(f"order is {self.order!r}, expected 'passes' or 'iid'")
        for i, stretch in enumerate(self.stretches):
            if len(stretch.queries) == 0:
                raise ValueError(f"stretch {i} has no query")
            if stretch.phase is not None and not 0 <= stretch.phase < self.phases:
                raise ValueError(f"stretch {i} names phase {stretch.phase}, expected 0..{self.phases - 1}")
        if self.holdout and (len(starts) < 2 or starts[-1] != self.rounds):
            raise ValueError(f"a hold-out of {self.holdout} rounds needs a last stretch that starts at {self.rounds}")

    @property
    def rounds(self) -> int:
        """Rounds before the hold-out: those that rewards, regret and baselines are taken over."""
        return self.horizon - self.holdout

    @property
    def learning(self) -> tuple[Stretch, ...]:
        """The stretches before the hold-out."""
        return self.stretches[:-1] if self.holdout else self.stretches

    def weights(self, queries: int) -> Array:
        """(P, Q) float64: the expected share of the rounds before the hold-out with each phase and query; sums to 1."""
        weight = np.zeros((self.phases, queries))
        stops = [stretch.start for stretch in self.learning[1:]] + [self.rounds]
        for stretch, stop in zip(self.learning, stops, strict=True):
            phases = self._phases(stretch)
            share = (stop - stretch.start) / self.rounds / len(phases) / len(stretch.queries)
            for phase in phases:
                weight[phase, stretch.queries] += share
        return weight

    def asked(self, queries: int) -> NDArray[np.bool_]:
        """(P, Q): the phases and queries that some round can ask, those of the hold-out included."""
        some = np.zeros((self.phases, queries), np.bool_)
        for stretch in self.stretches:
            for phase in self._phases(stretch):
                some[phase, stretch.queries] = True
        return some

    def _phases(self, stretch: Stretch) -> Sequence[int]:
        return range(self.phases) if stretch.phase is None else [stretch.phase]

    def without(self, queries: Array) -> Schedule:
        """The same schedule with some queries (a pilot's, say) never asked."""
        stretches = tuple(Stretch(s.start, s.phase, s.queries[~np.isin(s.queries, queries)]) for s in self.stretches)
        return replace(self, stretches=stretches)


def tape(schedule: Schedule, seed: int, start: int = 0, length: int | None = None, episode: int = 0) -> Tape:
    """Rounds [start, start + length) of the tape of (seed, episode); the same rounds whatever the chunking.

    Args:
        schedule: how tapes are drawn.
        seed: in 0..2**64 - 1.
        start: first round.
        length: rounds (None: to the horizon).
        episode: 0 is the episode that `reset(seed=seed)` plays, 1 the next one, ...

    Raises:
        ValueError: if the rounds leave the horizon, or the seed its range.
    """
    return Tape(*(part[0] for part in tapes(schedule, [seed], start, length, [episode])))


def tapes(
    schedule: Schedule, seeds: Sequence[int] | Array, start: int = 0, length: int | None = None, episodes: ArrayLike = 0
) -> Tape:
    """The same rounds of many tapes at once; row i is `tape(schedule, seeds[i], start, length, episodes[i])`.

    Args:
        schedule: how tapes are drawn.
        seeds: (n,) in 0..2**64 - 1.
        start: first round.
        length: rounds (None: to the horizon).
        episodes: () or (n,).

    Returns:
        Arrays of shape (n, length).

    Raises:
        ValueError: if the rounds leave the horizon, or a seed its range.
    """
    end = schedule.horizon if length is None else start + length
    if not 0 <= start <= end <= schedule.horizon:
        raise ValueError(f"rounds {start}..{end} leave the horizon of {schedule.horizon}")
    if any(not 0 <= seed < 2**64 for seed in seeds):
        raise ValueError(f"a seed of {list(seeds)} is outside 0..2**64 - 1")
    key = _hash(np.array(seeds, np.uint64), np.array(episodes, np.uint64))[:, None]
    drawn = Tape(*(np.zeros((len(key), end - start), np.int32) for _ in Tape._fields))
    rows = max(1, _IN_CACHE // max(end - start, 1))
    for first in range(0, len(key), rows):
        block = slice(first, first + rows)
        _draw(schedule, key[block], start, end, Tape(*(part[block] for part in drawn)))
    return drawn


def _draw(schedule: Schedule, key: Array, start: int, end: int, drawn: Tape) -> None:
    """Fills in rounds [start, end) of the tapes with the given (n, 1) keys."""
    stops = [stretch.start for stretch in schedule.stretches[1:]] + [schedule.horizon]
    for i, (stretch, stop) in enumerate(zip(schedule.stretches, stops, strict=True)):
        low, high = max(start, stretch.start), min(end, stop)
        if low >= high:
            continue
        part = slice(low - start, high - start)
        # One round is the first of a random permutation: a uniform draw.
        shuffled = schedule.order == "passes" and stop - stretch.start > 1
        choose = _passes if shuffled else _uniform
        own = _hash(_hash(key, _number(_QUERIES)), _number(i))
        entries = choose(own, len(stretch.queries), low - stretch.start, high - stretch.start)
        drawn.query[:, part] = stretch.queries[entries]
        if stretch.phase is None:
            drawn.phase[:, part] = _uniform(_hash(key, _number(_PHASES)), schedule.phases, low, high)
        elif stretch.phase:  # zeros that nobody wrote are memory that nobody fetched
            drawn.phase[:, part] = stretch.phase
    drawn.draw[:] = _uniform(_hash(key, _number(_DRAWS)), schedule.draws, start, end)


def _number(value: int) -> Array:
    return np.array([value], np.uint64)


def _hash(key: Array, number: Array) -> Array:
    """Output `number` of the SplitMix64 generator with state `key` (Steele, Lea and Flood, OOPSLA 2014); uint64."""
    z: Array = key + (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    shifted = z >> np.uint64(30)
    z ^= shifted
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= np.right_shift(z, np.uint64(27), out=shifted)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= np.right_shift(z, np.uint64(31), out=shifted)
    return z


def _uniform(key: Array, bound: int, low: int, high: int) -> Array:
    """(n, high - low) int32: entries [low, high) of i.i.d. uniform streams on 0..bound-1 (bias below bound / 2**32)."""
    bits = _hash(key, np.arange(low, high, dtype=np.uint64))
    bits >>= np.uint64(32)
    bits *= np.uint64(bound)
    bits >>= np.uint64(32)
    return bits.astype(np.int32)


def _passes(key: Array, count: int, low: int, high: int) -> Array:
    """(n, high - low): entries [low, high) of passes over 0..count-1, each pass in the order of its hashes."""
    passes = np.arange(low // count, -(-high // count), dtype=np.uint64)
    entries = np.arange(count, dtype=np.uint64)
    hashes = _hash(_hash(key, passes)[:, :, None], entries)
    # The entry itself rides in the low bits: sorting is twice as fast as argsort, and ties cannot happen.
    width = np.uint64(count.bit_length())
    hashes >>= width
    hashes <<= width
    hashes |= entries
    hashes.sort(axis=-1)
    hashes &= (np.uint64(1) << width) - np.uint64(1)
    offset = low % count
    return hashes.reshape(len(key), -1)[:, offset : offset + high - low].astype(np.int64)
