"""Tables of the functional environment, and episodes drawn on the device.

An episode is two words; every random number of it is a hash of them and of its address, so a state holds no tape. The
hash is 32 bits wide, as JAX is by default, so episodes drawn here are other ones than those of `uis_env.tape`, with the
same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from uis_env.episodes import Episodes
from uis_env.streams import Streams
from uis_env.tape import tapes
from uis_env.workflow import Workflow

SWAPS = 16
"""Rounds of the shuffle: a query keeps its place in a pass with a probability of 2^-16 beyond chance."""


class Params(NamedTuple):
    """Numbers of an environment: P phases, Q queries, R draws, K arms, n tapes.

    Attributes:
        table: (P·Q·R·K, C) float32, what a step returns.
        observations: (places·Q, D) float32.
        masks: (P·Q, K) bool, arms on offer.
        fallback: (P·Q, K) int32, the arm played for each chosen one; None to pay NaN for arms that are not on offer.
        place: (P,) int32, which observations a phase shows.
        draws: () int32, R.
        rules: of `uis_env.rules`, their numbers as arrays; None in a bandit.
        members, sizes: (groups, M) queries, repeated, and (groups,) how many count, int32: the queries of each stretch
            of a bandit's episode, or of each group of tasks.
        starts, phases: (stretches,) int32 first rounds, and phases (-1: any).
        tapes: query, draw and phase, (n, T) int32 each, of `seeds`; None to draw episodes from keys.
        max_steps_in_episode: () int32, T.
    """

    table: Array
    observations: Array
    masks: Array
    fallback: Array | None
    place: Array
    draws: Array
    rules: Any
    members: Array
    sizes: Array
    starts: Array
    phases: Array
    tapes: tuple[Array, Array, Array] | None
    max_steps_in_episode: Array


class State(NamedTuple):
    """Where an episode stands.

    Attributes:
        time: () int32, rounds done.
        episode: (2,) uint32, which fixes the tape.
        query, draw, phase: () int32 of the round now observed.
        game: the rules' state; () in a bandit.
    """

    time: Array
    episode: Array
    query: Array
    draw: Array
    phase: Array
    game: Any


def make_params(played: Streams, seeds: Sequence[int] | None) -> Params:
    """The numbers of `Episodes` or a `Workflow`, with the tapes of some seeds."""
    drawn: tuple[Any, ...] | None = None
    if isinstance(played, Episodes):
        schedule = played.schedule
        queries = [stretch.queries for stretch in schedule.stretches]
        starts = [stretch.start for stretch in schedule.stretches]
        phases = [-1 if stretch.phase is None else stretch.phase for stretch in schedule.stretches]
        place, draws = played.place, played.draws
        if seeds is not None:
            drawn = tuple(tapes(schedule, seeds))
    elif isinstance(played, Workflow):
        members, sizes = played.tables.members, played.tables.sizes
        queries = [row[:size] for row, size in zip(members, sizes, strict=True)]
        starts, phases, place, draws = [0], [0], np.zeros(1, np.int32), played.tables.right.shape[1]
        if seeds is not None:
            tasks = played.tasks(seeds)
            drawn = tasks.query, tasks.draw, np.zeros_like(tasks.query)
    else:
        raise TypeError(f"got {type(played).__name__}, expected Episodes or a Workflow")
    most = max(map(len, queries))

    def whole(values: Any) -> Array:
        return jnp.asarray(np.asarray(values), jnp.int32)

    return Params(
        table=jnp.asarray(played.table),
        observations=jnp.asarray(played.observations),
        masks=jnp.asarray(played.masks, bool),
        fallback=None if played.fallback is None else whole(played.fallback),
        place=whole(place),
        draws=whole(draws),
        rules=None if played.rules is None else jax.tree.map(_number, played.rules),
        members=whole([np.resize(part, most) for part in queries]),
        sizes=whole([len(part) for part in queries]),
        starts=whole(starts),
        phases=whole(phases),
        tapes=None if drawn is None else (whole(drawn[0]), whole(drawn[1]), whole(drawn[2])),
        max_steps_in_episode=whole(played.horizon),
    )


def _number(value: Any) -> Array:
    return jnp.asarray(value, jnp.float32 if isinstance(value, float) else jnp.int32)


def begin(order: str, key: Array, params: Params) -> State:
    """The first state of the episode that a key stands for; `order` as in `_where`."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return _first(order, data[:2] ^ data[-2:] if data.shape[0] > 2 else data, params)


def proceed(order: str, state: State, game: Any, params: Params) -> State:
    """The next round of the episode (after the last one its query is shown again)."""
    time = state.time + 1
    return State(time, state.episode, *_where(order, time, state.episode, params), game)


def following(order: str, state: State, params: Params) -> State:
    """The first state of the next episode."""
    zero = jnp.uint32(0)
    return _first(order, jnp.stack([_hash(state.episode, 6, zero), _hash(state.episode, 7, zero)]), params)


def tape_of(episode: Array, params: Params) -> Array:
    """Which of `params.tapes` an episode plays."""
    assert params.tapes is not None
    return _below(_hash(episode, 0, jnp.uint32(0)), params.tapes[0].shape[0])


def _first(order: str, episode: Array, params: Params) -> State:
    game = () if params.rules is None else params.rules.begin(jnp, ())
    time = jnp.int32(0)
    return State(time, episode, *_where(order, time, episode, params), game)


def cell_of(params: Params, query: Array, phase: Array) -> Array:
    """The row of a (phase, query)."""
    return phase * (params.masks.shape[0] // params.place.shape[0]) + query


def _where(order: str, time: Array, episode: Array, params: Params) -> tuple[Array, Array, Array]:
    """Query, draw and phase of a round, () int32.

    `order` is a schedule's "passes" or "iid", or "task": all queries of the episode are of one group.
    """
    time = jnp.minimum(time, params.max_steps_in_episode - 1)
    if params.tapes is not None:
        tape = tape_of(episode, params)
        query, draw, phase = (part[tape, time] for part in params.tapes)
        return query, draw, phase
    number = time.astype(jnp.uint32)
    draw = _below(_hash(episode, 1, number), params.draws)
    if order == "task":
        stretch = _below(_hash(episode, 2, number * 0), params.sizes.shape[0])
        first, phase = jnp.int32(0), params.phases[0]
    else:
        stretch = (time >= params.starts).sum() - 1
        first, phase = params.starts[stretch], params.phases[stretch]
    size = params.sizes[stretch]
    if order == "passes":
        turn = ((time - first) // size).astype(jnp.uint32)
        words = jnp.stack([_hash(episode, 3, turn), _hash(episode, 4, stretch.astype(jnp.uint32))])
        place = _shuffled(words, (time - first) % size, size)
    else:
        place = _below(_hash(episode, 0, number), size)
    any_phase = _below(_hash(episode, 5, number), params.place.shape[0])
    return params.members[stretch, place], draw, jnp.where(phase < 0, any_phase, phase)


def _mixed(x: Array) -> Array:
    """C. Wellons' lowbias32, a bijection of 32 bits."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _hash(words: Array, stream: int, number: Array) -> Array:
    """32 bits for a number of a stream of an episode."""
    return _mixed(words[0] ^ _mixed(words[1] + _mixed(number * jnp.uint32(8) + jnp.uint32(stream))))


def _below(bits: Array, bound: Any) -> Array:
    """int32 in 0..bound-1, uniform to within 2^-24·bound."""
    scaled = (bits >> 8).astype(jnp.float32) * (jnp.asarray(bound, jnp.float32) * jnp.float32(2.0**-24))
    return jnp.minimum(scaled.astype(jnp.int32), bound - 1)


def _shuffled(words: Array, place: Array, size: Array) -> Array:
    """Where a random permutation of 0..size-1 takes a place: swap-or-not (Hoang, Morris and Rogaway, CRYPTO 2012)."""
    x = place
    for i in range(SWAPS):
        partner = _below(_hash(words, 0, jnp.uint32(i)), size) - x
        partner = jnp.where(partner < 0, partner + size, partner)
        swap = _hash(words, 1, jnp.maximum(x, partner).astype(jnp.uint32) * SWAPS + i) & 1
        x = jnp.where(swap == 1, partner, x)
    return x
