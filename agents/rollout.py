"""The one driver: scans an agent over the rounds of its tapes and maps it over seeds.

A run is `start` once and `advance` for every chunk of rounds. All sizes are in the static `Plan`; tables, keys and
tapes are arguments, so runs that differ in numbers only (seed, λ, prices) share one compiled program.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from numpy.typing import NDArray

from agents.agent import Agent, Privileged, State
from agents.handed import observed, recorded, returned
from uis_env.bandit import Bandit
from uis_env.tape import Schedule, Tape, tapes

HISTOGRAM = 512
"""Bins of the histograms, equal in log cost or log seconds between the table's ends: percentiles are exact to 1%."""
METRICS = (
    *("reward", "regret", "quality", "cost", "dollars", "eflops", "tokens", "latency"),
    *("optimal", "fresh_reward", "fresh"),
)
"""What is summed per curve bin. `optimal` counts rounds without regret, `fresh` rounds on a query not asked before."""


class Plan(NamedTuple):
    """Static sizes of a run.

    A run is laid out in places, bin by bin: the rounds before the hold-out fill whole bins, the last of which may have
    places that no round takes, and the hold-out's rounds fill bins of their own.

    Attributes:
        horizon: T, rounds of the run, those of the hold-out included.
        bin_rounds: rounds per curve bin.
        chunk_bins: bins per `advance`.
        seeds_per_call: seeds that run side by side (vmap); the others wait their turn (lax.map).
        holdout: rounds of the hold-out.
    """

    horizon: int
    bin_rounds: int
    chunk_bins: int
    seeds_per_call: int
    holdout: int = 0

    @property
    def rounds(self) -> int:
        """Rounds before the hold-out."""
        return self.horizon - self.holdout

    @property
    def learning_bins(self) -> int:
        """Curve bins before the hold-out; the last one may be cut short."""
        return -(-self.rounds // self.bin_rounds)

    @property
    def bins(self) -> int:
        """Curve bins of the whole run; the last one may be cut short by the horizon."""
        return self.learning_bins + -(-self.holdout // self.bin_rounds)

    @property
    def gap(self) -> int:
        """Places between the last round before the hold-out and the first one of it, which no round takes."""
        return self.learning_bins * self.bin_rounds - self.rounds if self.holdout else 0

    def numbers(self, chunk: int) -> NDArray[np.int32]:
        """(chunk_rounds,) the round at each place of a chunk; the horizon, or more, where there is none."""
        place = chunk * self.chunk_rounds + np.arange(self.chunk_rounds)
        number = np.where(place < self.rounds, place, np.maximum(place - self.gap, self.horizon))
        held = place >= self.rounds + self.gap
        return np.where(held, place - self.gap, number).astype(np.int32)

    @property
    def chunks(self) -> int:
        """Calls of `advance` that play the whole run."""
        return -(-self.bins // self.chunk_bins)

    @property
    def chunk_rounds(self) -> int:
        """Rounds per `advance`, the padding after the horizon included."""
        return self.chunk_bins * self.bin_rounds


def make_plan(rounds: int, seeds_per_call: int, bins: int = 100, chunk_rounds: int = 16384, holdout: int = 0) -> Plan:
    """About `bins` curve points before the hold-out; chunks are whole bins of at least `chunk_rounds` rounds or all."""
    plan = Plan(rounds + holdout, -(-rounds // bins), 1, seeds_per_call, holdout)
    return plan._replace(chunk_bins=min(plan.bins, -(-chunk_rounds // plan.bin_rounds)))


class Tables(NamedTuple):
    """What the rounds look up: the bandit, and what only metrics and privileged agents see.

    Attributes:
        bandit: the tables that are played.
        fold: (Q,) int32, each query's fold.
        elsewhere: (F, K), mean expected reward per round on the queries of the other folds; -inf for arms not always on
            offer.
        ends: natural logs of the lowest and highest positive cost, (2,), and latency where there is one: the ends of
            their histograms.
        places: (V, Q, R, K) int16 each, the histogram's bin of every cost and latency.
    """

    bandit: Bandit
    fold: Array
    elsewhere: Array
    ends: dict[str, Array]
    places: dict[str, Array]


class Keys(NamedTuple):
    """Independent typed keys of one run, one for each of an agent's functions."""

    init: Array
    fit: Array
    act: Array
    update: Array


class Seeds(NamedTuple):
    """What differs between the S runs of a block.

    Attributes:
        keys: (S,) each, `agent_keys(seed, name)`.
        hindsight: (S, K) mean expected reward of each arm over the seed's tape.
    """

    keys: Keys
    hindsight: Array


class Carry(NamedTuple):
    """What a run carries from chunk to chunk, per seed.

    Attributes:
        state: the agent's.
        query_reward, query_count: (Q,) sums of reward and rounds by query.
        histograms: (HISTOGRAM,) int32 each, of cost, and of latency where there is one, before the hold-out.
        arm_count: (K,) int32, pulls before the hold-out.
        refused: () int32, rounds in which the agent chose an arm that was not on offer.
    """

    state: State
    query_reward: Array
    query_count: Array
    histograms: dict[str, Array]
    arm_count: Array
    refused: Array


class Rounds(NamedTuple):
    """What a chunk of L rounds is played with.

    Attributes:
        number: (L,) int32, the round, `Plan.numbers`; unbatched under the driver.
        tape: (S, L) int32 each, zeros where there is no round.
        act, update: (S, L) typed keys.
    """

    number: Array
    tape: Tape
    act: Array
    update: Array


class Bins(NamedTuple):
    """Sums over each curve bin of a chunk, per seed: `sums` (bins, METRICS) float32, `arms` (bins, K) int32."""

    sums: Array
    arms: Array


class Trace(NamedTuple):
    """What a round looked like, for tests and for those who want every decision."""

    action: Array
    reward: Array
    regret: Array


def agent_keys(seed: int, name: str) -> Keys:
    """From `fold_in(key(seed), stable hash of the agent's name)`: independent of the other agents in a comparison."""
    return jax.tree.map(lambda keys: keys[0], block_keys([seed], name))  # type: ignore[no-any-return]


def block_keys(seeds: Sequence[int], name: str) -> Keys:
    """`agent_keys` of several seeds, (S,) each."""
    return _derive(np.array(seeds, np.uint32), np.uint32(zlib.crc32(name.encode())))  # type: ignore[no-any-return]


@jax.jit
def _derive(seeds: Array, name: Array) -> Keys:
    def one(seed: Array) -> Keys:
        own = jax.random.fold_in(jax.random.key(seed), name)
        return Keys(*(jax.random.fold_in(own, i) for i in range(len(Keys._fields))))

    return jax.vmap(one)(seeds)


def make_tables(
    bandit: Bandit,
    folds: int = 5,
    seed: int = 0,
    weight: NDArray[Any] | None = None,
    asked: NDArray[np.bool_] | None = None,
) -> Tables:
    """Adds the folds, the arm values on other folds and the bins of the histograms to the tabulated bandit.

    `weight` (P, Q) is the share of the rounds before the hold-out with each phase and query; None counts all alike.
    `asked` (P, Q) says which of them any round can ask; None: those that have a share.
    """
    queries = bandit.context.shape[0]
    fold = np.random.default_rng(seed).permutation(queries) % min(folds, queries)
    weight = np.ones(bandit.expected.shape[:2]) if weight is None else weight
    asked = weight > 0 if asked is None else asked
    worth, share = np.einsum("pq,pqk->qk", weight, bandit.expected), weight.sum(axis=0)
    always = (bandit.mask | ~asked[..., None]).all(axis=(0, 1))
    others = [(fold != f) | (queries == 1) for f in range(fold.max() + 1)]
    elsewhere = np.stack([worth[rows].sum(axis=0) / max(share[rows].sum(), 1e-300) for rows in others])
    ends, places = {}, {}
    for name, table in (("cost", bandit.cost), ("latency", bandit.channels.latency)):
        if table is not None:
            positive = table[table > 0]
            low, high = np.log([positive.min(), positive.max()]) if positive.size else np.zeros(2)
            with np.errstate(divide="ignore"):
                place = (np.log(table) - low) / max(high - low, 1e-6) * HISTOGRAM
            ends[name] = jnp.asarray([low, high], jnp.float32)
            places[name] = jnp.asarray(np.clip(place, 0, HISTOGRAM - 1), jnp.int16)
    return Tables(
        bandit=jax.tree.map(jnp.asarray, bandit),
        fold=jnp.asarray(fold, jnp.int32),
        elsewhere=jnp.asarray(np.where(always, elsewhere, -np.inf), jnp.float32),
        ends=ends,
        places=places,
    )


def hindsight(bandit: Bandit, schedule: Schedule, seeds: Sequence[int], chunk: int = 1 << 18) -> NDArray[np.float32]:
    """(S, K) mean expected reward of each arm over the tapes of the seeds; -inf for arms not always on offer.

    The hold-out's rounds do not count, but an arm must be on offer in them, too.
    """
    phases, queries, arms = bandit.expected.shape
    cells = phases * queries
    offset = cells * np.arange(len(seeds))[:, None]
    length = max(1, chunk // len(seeds))

    def count(first: int, last: int) -> NDArray[np.int64]:
        counts = np.zeros((len(seeds), cells), np.int64)
        for start in range(first, last, length):
            part = tapes(schedule, seeds, start, min(length, last - start))
            place = offset + part.phase * queries + part.query
            counts += np.bincount(place.ravel(), minlength=counts.size).reshape(counts.shape)
        return counts

    counts = count(0, schedule.rounds)
    expected = bandit.expected.reshape(-1, arms).astype(np.float64)
    mean = np.stack([row @ expected for row in counts]) / schedule.rounds  # row by row: the same bits for any S
    # How many of a tape's (phase, query) pairs do not offer an arm: small whole numbers, exact in any order.
    asked = counts + count(schedule.rounds, schedule.horizon) > 0
    without = asked.astype(np.float32) @ (~bandit.mask).reshape(-1, arms).astype(np.float32)
    return np.where(without == 0, mean, -np.inf).astype(np.float32)


def make_seeds(bandit: Bandit, schedules: Sequence[Schedule], seeds: Sequence[int], name: str) -> Seeds:
    """Keys and hindsight of a block of seeds; `schedules` holds one per seed (pilots leave the tape seed by seed)."""
    mean = _by_schedule(partial(hindsight, bandit), schedules, seeds)
    return Seeds(keys=block_keys(seeds, name), hindsight=jnp.asarray(mean))


def make_rounds(plan: Plan, schedules: Sequence[Schedule], seeds: Sequence[int], keys: Keys, chunk: int) -> Rounds:
    """The rounds of one chunk: tapes drawn in NumPy, and keys derived once here for every agent's program to read."""
    numbers = plan.numbers(chunk)
    places = np.flatnonzero(numbers < plan.horizon)
    drawn = _by_schedule(partial(tapes, start=int(numbers[places[0]]), length=len(places)), schedules, seeds)

    def place(rows: NDArray[np.int32]) -> Array:
        padded = np.zeros((len(rows), plan.chunk_rounds), np.int32)
        padded[:, places] = rows
        return jnp.asarray(padded)

    number = jnp.asarray(numbers)
    return Rounds(number, jax.tree.map(place, drawn), round_keys(keys.act, number), round_keys(keys.update, number))


def _by_schedule(function: Callable[..., Any], schedules: Sequence[Schedule], seeds: Sequence[int]) -> Any:
    """`function(schedule, seeds)`, a row per seed: for all seeds together if they share their schedule."""
    if all(schedule is schedules[0] for schedule in schedules):
        return function(schedules[0], seeds)
    parts = [function(schedule, [seed]) for schedule, seed in zip(schedules, seeds, strict=True)]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


@jax.jit
def round_keys(keys: Array, numbers: Array) -> Array:
    """(S, L) typed keys, `fold_in(keys[s], numbers[t])`."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, numbers)


@partial(jax.jit, static_argnames=("agent", "seeds_per_call", "mesh"))
def start(
    agent: Agent,
    seeds_per_call: int,
    tables: Tables,
    seeds: Seeds,
    pilot: tuple[Array, Array] | None = None,
    mesh: Mesh | None = None,
) -> Carry:
    """The carry of S seeds before the first round; `pilot` is (queries, draws), (S, n) int32 each, for `agent.fit`."""
    queries, _ = tables.bandit.context.shape
    arms = tables.bandit.mask.shape[-1]

    def part(tables: Tables, keys: Keys, pilot: tuple[Array, Array] | None) -> Carry:
        def one(args: tuple[Keys, tuple[Array, Array] | None]) -> Carry:
            keys, log = args
            state = agent.init(keys.init)
            if agent.fit is not None and log is not None:
                state = agent.fit(keys.fit, state, recorded(tables.bandit, *log))
            return Carry(
                state=state,
                query_reward=jnp.zeros(queries, jnp.float32),
                query_count=jnp.zeros(queries, jnp.int32),
                histograms={name: jnp.zeros(HISTOGRAM, jnp.int32) for name in tables.places},
                arm_count=jnp.zeros(arms, jnp.int32),
                refused=jnp.int32(0),
            )

        return map_seeds(one, (keys, pilot), seeds_per_call)  # type: ignore[no-any-return]

    return divide(part, mesh, shared=1)(tables, seeds.keys, pilot)  # type: ignore[no-any-return]


def divide(function: Callable[..., Any], mesh: Mesh | None, shared: int) -> Callable[..., Any]:
    """A function whose first `shared` arguments are whole and whose others are divided by seed over a mesh.

    Each device runs the very program that one device would run for its part.
    """
    if mesh is None:
        return function
    seeds = PartitionSpec("seeds")

    def divided(*args: Any) -> Any:
        specs = tuple(PartitionSpec() if i < shared else seeds for i in range(len(args)))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=seeds, check_vma=False)(*args)

    return divided


def map_seeds(function: Callable[..., Any], args: Any, seeds_per_call: int) -> Any:
    """`lax.map` with as few layers as it takes: one at a time, all at once, or in batches."""
    count = jax.tree.leaves(args)[0].shape[0]
    if seeds_per_call >= count:
        return jax.vmap(function)(args)
    return jax.lax.map(function, args, batch_size=seeds_per_call if seeds_per_call > 1 else None)


@partial(jax.jit, static_argnames=("agent", "plan", "trace", "mesh"), donate_argnames=("carry",))
def advance(
    agent: Agent,
    plan: Plan,
    tables: Tables,
    seeds: Seeds,
    carry: Carry,
    rounds: Rounds,
    trace: bool = False,
    mesh: Mesh | None = None,
) -> tuple[Carry, Bins, Trace | None]:
    """Plays one chunk for S seeds.

    Args:
        agent: whose functions are traced; static, so make an agent once and reuse it.
        plan: static sizes.
        tables: shared by all seeds.
        seeds: keys and hindsight, (S, ...).
        carry: as returned by `start` or the last `advance`; donated.
        rounds: as made by `make_rounds`.
        trace: also return every action, reward and regret, (S, chunk_rounds).
        mesh: devices along one axis "seeds" that share the seeds evenly; results do not depend on their number.

    Returns:
        The carry, the chunk's curve bins (S, chunk_bins, ...), and the trace or None.
    """

    def part(
        tables: Tables, number: Array, hindsight: Array, carry: Carry, mine: tuple[Tape, Array, Array]
    ) -> tuple[Carry, Bins, Trace | None]:
        def one_seed(args: Any) -> tuple[Carry, Bins, Trace | None]:
            hindsight, own, mine = args

            def one_round(running: tuple[State, Array], now: Any) -> tuple[tuple[State, Array], Array]:
                state, query_reward = running
                rounds = Rounds(now[0], *now[1])
                if plan.gap:  # between a run's two parts the agent's state must stay as it is
                    state, action, reward = jax.lax.cond(
                        rounds.number < plan.horizon,
                        lambda state: play(agent, tables, hindsight, state, rounds),
                        lambda state: (state, jnp.int32(0), jnp.float32(0.0)),
                        state,
                    )
                else:
                    state, action, reward = play(agent, tables, hindsight, state, rounds)
                # Added up round by round: a scatter of many floats would add in any order on a GPU.
                counted = jnp.where(rounds.number < plan.horizon, reward, 0.0)
                return (state, query_reward.at[rounds.tape.query].add(counted)), action

            running = own.state, own.query_reward
            (state, query_reward), action = jax.lax.scan(one_round, running, (number, mine))
            own, bins, seen = tally(plan, tables, own, number, mine[0], action)
            return own._replace(state=state, query_reward=query_reward), bins, seen if trace else None

        return map_seeds(one_seed, (hindsight, carry, mine), plan.seeds_per_call)  # type: ignore[no-any-return]

    mine = (rounds.tape, rounds.act, rounds.update)
    return divide(part, mesh, shared=2)(tables, rounds.number, seeds.hindsight, carry, mine)  # type: ignore[no-any-return]


def play(
    agent: Agent, tables: Tables, hindsight: Array | None, state: State, now: Rounds
) -> tuple[State, Array, Array]:
    """One round of one seed: look up, act, look up, update. Returns the state, the action and its reward."""
    bandit: Any = tables.bandit  # NumPy in `uis_env`, the same tables on the device here
    query, draw, phase = now.tape
    privileged = None
    if agent.privileged and hindsight is not None:
        privileged = Privileged(bandit.expected[phase, query], hindsight, tables.elsewhere[tables.fold[query]])
    seen = observed(bandit, now.number, query, phase, privileged)
    action = agent.act(now.act, state, seen).action
    feedback = returned(bandit, seen, query, draw, phase, action)
    return agent.update(now.update, state, feedback), action, feedback.reward


def tally(
    plan: Plan, tables: Tables, own: Carry, number: Array, tape: Tape, action: Array
) -> tuple[Carry, Bins, Trace]:
    """What a chunk of one seed adds up to, from its tape and actions alone.

    It looks everything up once more, for all rounds together: inside the scan, every one of these sums would cost an
    operation per round, and together as much as a linear bandit.

    Args:
        plan: static sizes.
        tables: what is looked up.
        own: as before the chunk.
        number: (L,) int32, the round at each place.
        tape: (L,) each.
        action: (L,) int32.

    Returns:
        The carry (state and query_reward as they were), the bins (chunk_bins, ...), and every round.
    """
    bandit: Any = tables.bandit
    query, draw, phase = tape
    queries, arms = len(own.query_count), len(own.arm_count)
    variant = bandit.variant[phase]
    reward, regret = bandit.reward[phase, query, draw, action], bandit.regret[phase, query, action]
    counts, learning = number < plan.horizon, number < plan.rounds
    place = jnp.arange(len(action), dtype=jnp.int32)
    first = jnp.full(queries, len(action), jnp.int32).at[query].min(jnp.where(counts, place, len(action)))
    fresh = (first[query] == place) & (own.query_count[query] == 0)
    values = {
        "reward": reward,
        "regret": regret,
        "cost": bandit.cost[variant, query, draw, action],
        "optimal": regret == 0,
        "fresh_reward": jnp.where(fresh, reward, 0.0),
        "fresh": fresh,
    } | {
        name: None if table is None else table[variant, query, draw, action]
        for name, table in bandit.channels._asdict().items()
    }

    def total(value: Array | None) -> Array:
        if value is None:
            return jnp.zeros(plan.chunk_bins, jnp.float32)
        return jnp.where(counts, value, 0).astype(jnp.float32).reshape(-1, plan.bin_rounds).sum(axis=1)

    one, early = counts.astype(jnp.int32), learning.astype(jnp.int32)
    # A lookup beyond a table's end gives its last entry, so nothing else would tell.
    offered = (action >= 0) & (action < arms) & bandit.mask[phase, query, action]
    pulls = jnp.zeros((plan.chunk_bins, arms), jnp.int32).at[place // plan.bin_rounds, action].add(one)
    own = own._replace(
        query_count=own.query_count.at[query].add(one),
        histograms={
            name: histogram.at[tables.places[name][variant, query, draw, action]].add(early)
            for name, histogram in own.histograms.items()
        },
        arm_count=own.arm_count.at[action].add(early),
        refused=own.refused + jnp.where(offered, 0, one).sum(),
    )
    sums = jnp.stack([total(values[name]) for name in METRICS], axis=1)
    return own, Bins(sums, pulls), Trace(action, reward, regret)


def percentile(histogram: NDArray[Any], ends: NDArray[Any], share: float) -> NDArray[np.float64]:
    """(S,) the value that `share` of the rounds do not pass, from (S, HISTOGRAM) counts: its bin's geometric centre."""
    rank = np.ceil(share * histogram.sum(axis=1, keepdims=True))
    place = (np.cumsum(histogram, axis=1) >= np.maximum(rank, 1)).argmax(axis=1)
    low, high = ends
    return np.asarray(np.exp(low + (place + 0.5) / HISTOGRAM * (high - low)))


def choose_seeds_per_call(agent: Agent, block: int, hint: int | None = None) -> int:
    """How many of `block` seeds (or preferences of a sweep) run side by side, the same for every run on a device.

    On an accelerator all of them. On a CPU one at a time, unless the agent's inner work is heavy and says so
    (`Agent.seeds_per_call`): measured on linear bandits whose state takes 3 to 240 KiB, one at a time is 1.5 to 3 times
    faster than any other number, small states included, because the loop over rounds is compiled as a whole. A `hint`
    is rounded down to a power of two, and so is what the agent says.
    """
    if not hint and jax.default_backend() != "cpu":
        return block
    return min(block, 1 << (max(1, hint or agent.seeds_per_call).bit_length() - 1))
