"""A sweep over preferences as one compiled program: fitting and rounds, mapped over preferences x seeds.

The phases of one tabulated bandit are the P preferences: they differ in reward, expectation and preference only. Every
seed plays all of them on one tape. What does not depend on the preference is not computed P times: `jax.vmap` over
preferences leaves it unbatched, so a probe is trained once for all of them, and asked once per query.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from agents.agent import Agent, State
from agents.handed import observed, recorded
from agents.priced import WEIGHT
from agents.rollout import Keys, Rounds, Tables, divide, map_seeds, play, round_keys
from uis_env.bandit import Bandit
from uis_env.tape import Tape


class SweepPlan(NamedTuple):
    """Static sizes of a sweep.

    Attributes:
        preferences: how many of the P preferences run side by side (`rollout.choose_seeds_per_call`).
        seeds: how many seeds run side by side.
        rehearsal: rounds with a preference of their own each, played before the others; then nothing more is learned.
    """

    preferences: int
    seeds: int = 1
    rehearsal: int = 0


class Swept(NamedTuple):
    """What comes out of a sweep.

    Attributes:
        action: (S, P, T) int32, the arm of every round.
        believed: (S, T, K) or None without a pilot: the scores of all arms before the first round, with a weight of one
            on quality and none on anything else. For an agent that keeps quality and cost apart, what it predicts.
    """

    action: Array
    believed: Array | None


class _Own(NamedTuple):
    """The tables of one preference, or of all along a leading axis."""

    reward: Array
    expected: Array
    regret: Array
    preference: Array


@partial(jax.jit, static_argnames=("agent", "plan", "mesh"))
def sweep(
    agent: Agent,
    plan: SweepPlan,
    tables: Tables,
    keys: Keys,
    tape: Tape,
    pilot: tuple[Array, Array] | None = None,
    rehearsal: Tape | None = None,
    mesh: Mesh | None = None,
) -> Swept:
    """Plays T rounds of S seeds at each of P preferences; each as `rollout.advance` would play it alone.

    Args:
        agent: whose functions are traced; privileged ones (references) are not played here.
        plan: static sizes.
        tables: of a bandit whose P phases are the preferences.
        keys: (S,) each.
        tape: (S, T) each; its phase is not read.
        pilot: (queries, draws), (S, n) int32 each, for `agent.fit`.
        rehearsal: (S, plan.rehearsal) each, phases included; None where the plan has none.
        mesh: devices along one axis "seeds" that share the seeds evenly.
    """
    frozen = agent if rehearsal is None else agent._replace(update=lambda key, state, feedback: state)

    def part(tables: Tables, keys: Keys, tape: Tape, pilot: Any, rehearsal: Tape | None) -> Swept:
        bandit: Any = tables.bandit
        own = _Own(bandit.reward, bandit.expected, bandit.regret, bandit.preference)
        count = bandit.preference.shape[0]

        def alone(own: _Own) -> Tables:
            """The tables of one preference: all else is that of the first phase, and the same for all."""
            mine: dict[str, Any] = {name: value[None] for name, value in own._asdict().items()}
            same = {name: getattr(bandit, name)[:1] for name in ("mask", "prices", "variant")}
            return tables._replace(bandit=Bandit(**{**bandit._asdict(), **same, **mine}))

        def one_seed(args: tuple[Keys, Any, Any, Tape | None]) -> Swept:
            keys, tape, log, before = args
            fresh = agent.init(keys.init)
            if before is not None:
                fresh = _play(agent, tables, keys, fresh, before, 0)[0]

            def begin(own: _Own) -> State:
                if agent.fit is None or log is None:
                    return fresh
                return agent.fit(keys.fit, fresh, recorded(alone(own).bandit, *log))

            def go(own: _Own, state: State) -> Array:
                still = tape._replace(phase=jnp.zeros_like(tape.phase))
                return _play(frozen, alone(own), keys, state, still, plan.rehearsal)[1]

            if plan.preferences >= count:
                action = jax.vmap(lambda own: go(own, begin(own)))(own)
            else:
                waiting = (own, jax.vmap(begin)(own))
                # A last batch that is cut short would be compiled apart.
                fill = -count % plan.preferences
                padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], fill, axis=0)]), waiting)
                action = map_seeds(lambda args: go(*args), padded, plan.preferences)[:count]
            believed = None
            if agent.fit is not None and log is not None:
                first = jax.tree.map(lambda table: table[0], own)
                believed = _believed(agent, alone(first), keys, begin(first), tape.query)
            return Swept(action, believed)

        return map_seeds(one_seed, (keys, tape, pilot, rehearsal), plan.seeds)  # type: ignore[no-any-return]

    return divide(part, mesh, shared=1)(tables, keys, tape, pilot, rehearsal)  # type: ignore[no-any-return]


def _play(agent: Agent, tables: Tables, keys: Keys, state: State, tape: Tape, first: int) -> tuple[State, Array]:
    """Plays the rounds of a tape, numbered from `first` on: the state after it, and (T,) actions."""
    number = first + jnp.arange(tape.query.shape[0], dtype=jnp.int32)
    act, update = (round_keys(key[None], number)[0] for key in (keys.act, keys.update))

    def one_round(state: State, now: Rounds) -> tuple[State, Array]:
        state, action, _ = play(agent, tables, None, state, now)
        return state, action

    return lax.scan(one_round, state, Rounds(number, tape, act, update))


def _believed(agent: Agent, tables: Tables, keys: Keys, state: State, query: Array) -> Array:
    """(T, K) scores of all arms on the queries of a tape, where quality alone counts."""
    bandit: Any = tables.bandit
    quality = jnp.zeros_like(bandit.preference[0]).at[WEIGHT["quality"]].set(1.0)

    def score(query: Array) -> Array:
        seen = observed(bandit, 0, query, 0)._replace(preference=quality)
        return agent.act(keys.act, state, seen).scores

    return lax.map(score, query)  # type: ignore[no-any-return]
