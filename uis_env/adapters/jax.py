"""The environments as pure JAX functions in gymnax's shape: `reset(key, params)`, `step(key, state, action, params)`.

Episodes are the tables and rules of `UISEnv` and `WorkflowEnv`, looked up on the device. Everything that numbers decide
is in `params`, a pytree: stack the params of several prices and map over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium import spaces
from jax import Array

from uis_env.adapters.jax_tables import Params, State, begin, cell_of, following, make_params, proceed
from uis_env.episodes import Episodes
from uis_env.spaces import check_options, one_of, seed_of
from uis_env.streams import Streams
from uis_env.workflow import Workflow
from uis_env.world import World


class Discrete(NamedTuple):
    """gymnax's space of K actions."""

    n: int
    shape: tuple[int, ...] = ()
    dtype: Any = jnp.int32

    def sample(self, key: Array) -> Array:
        """A uniform action."""
        return jax.random.randint(key, (), 0, self.n)

    def contains(self, x: Any) -> Array:
        """Whether x is an action."""
        return jnp.logical_and(jnp.asarray(x) >= 0, jnp.asarray(x) < self.n)


class Box(NamedTuple):
    """gymnax's space of observations."""

    low: Array
    high: Array
    shape: tuple[int, ...]
    dtype: Any = jnp.float32

    def sample(self, key: Array) -> Array:
        """A uniform point."""
        return jax.random.uniform(key, self.shape, self.dtype, self.low, self.high)

    def contains(self, x: Any) -> Array:
        """Whether x lies within the bounds."""
        return jnp.logical_and((jnp.asarray(x) >= self.low).all(), (jnp.asarray(x) <= self.high).all())


class FunctionalEnv:
    """Pure functions over `Params`; made by `make`. Episodes begin anew within `step`, as gymnax's do.

    Actions that are not on offer pay NaN (unless made with `unavailable="fallback"`): a compiled function cannot raise.

    Attributes:
        default_params: those that `make` returned.
        num_actions: K.
        channels: names of what `info` tells of an outcome.
        names: (K,) arm names.
    """

    def __init__(self, played: Streams, params: Params, values: str) -> None:
        self.default_params, self.names, self.num_actions = params, played.names, played.arms
        self.channels = played.channels
        self._columns = played.channels if played.rules is None else played.rules.columns
        self._values = values
        self._order = played.schedule.order if isinstance(played, Episodes) else "task"
        box = played.observation_space
        assert isinstance(box, spaces.Box)
        self._box = Box(jnp.asarray(box.low), jnp.asarray(box.high), box.shape)

    @property
    def name(self) -> str:
        """As gymnax names environments."""
        return "UIS"

    def action_space(self, params: Params | None = None) -> Discrete:
        """K arms."""
        return Discrete(self.num_actions)

    def observation_space(self, params: Params | None = None) -> Box:
        """That of `UISEnv`."""
        return self._box

    @partial(jax.jit, static_argnames=("self",))
    def reset(self, key: Array, params: Params | None = None) -> tuple[Array, State]:
        """Begins an episode: one drawn from the key, or the tape of one of the seeds.

        Returns:
            (observation, state).
        """
        params = self.default_params if params is None else params
        state = begin(self._order, key, params)
        return self.observe(state, params), state

    @partial(jax.jit, static_argnames=("self",))
    def step(self, key: Array, state: State, action: Any, params: Params | None = None) -> tuple[Any, ...]:
        """Plays one arm; where that ends the episode, the state and observation are the next one's first.

        Nothing in a step is random but the tape, which the key of `reset` has fixed: the key is not used.

        Returns:
            (observation, state, reward, terminated, truncated, info), or with `values="five"` (observation, state,
            reward, done, info). `info` holds `arm`, the channels and `regret` (of a workflow: what its rules show),
            `query` and `action_mask` of the observation, and `final_observation`.
        """
        params = self.default_params if params is None else params
        last, after, reward, done, info = self.step_env(key, state, action, params)
        begun = following(self._order, state, params)
        after = jax.tree.map(lambda new, old: jnp.where(done, new, old), begun, after)
        info = info | {"query": after.query, "action_mask": self.action_mask(after, params), "final_observation": last}
        observation = self.observe(after, params)
        if self._values == "five":
            return observation, after, reward, done, info
        return observation, after, reward, done, jnp.zeros_like(done), info

    def step_env(
        self, key: Array, state: State, action: Any, params: Params
    ) -> tuple[Array, State, Array, Array, dict[str, Any]]:
        """The same without beginning anew: (observation, state, reward, terminated, info)."""
        cell = cell_of(params, state.query, state.phase)
        arm = jnp.asarray(action, jnp.int32)
        valid = (arm >= 0) & (arm < self.num_actions)
        arm = jnp.clip(arm, 0, self.num_actions - 1)
        offered = params.masks[cell, arm]
        if params.fallback is not None:
            arm, offered = params.fallback[cell, arm], jnp.ones_like(offered)
        row = params.table[(cell * params.draws + state.draw) * self.num_actions + arm]
        if params.rules is None:
            reward, game = row[0], state.game
            info: dict[str, Any] = {"regret": row[1]} | {name: row[i] for i, name in enumerate(self._columns, 2)}
            done = state.time + 1 >= params.max_steps_in_episode
        else:
            found = {name: row[i] for i, name in enumerate(self._columns)}
            game, reward, info = params.rules.step(jnp, state.game, found)
            done = game.done
        after = proceed(self._order, state, game, params)
        reward = jnp.where(offered & valid, reward, jnp.nan)
        return self.observe(after, params), after, reward, done, info | {"arm": arm}

    def observe(self, state: State, params: Params) -> Array:
        """(D,) float32, what `UISEnv` shows in that state."""
        seen = params.observations[cell_of(params, state.query, params.place[state.phase])]
        if params.rules is None:
            return seen
        return jnp.concatenate([seen, params.rules.shares(jnp, state.game)])

    def action_mask(self, state: State, params: Params) -> Array:
        """(K,) bool, the arms on offer."""
        return params.masks[cell_of(params, state.query, state.phase)]


def make(
    world: World | Streams | str, /, *, seeds: Iterable[int] | None = None, values: str = "six", **options: Any
) -> tuple[FunctionalEnv, Params]:
    """The functional environment of a world, and its params.

    Args:
        world: as in `gym.make("uis_env:UIS/<world>-v0")`: the name of a shipped world, "Workflow", or a World; or
            `Episodes` or a `Workflow`.
        seeds: episodes are the tapes of these seeds, every step then equals `UISEnv` bit for bit; None draws fresh
            episodes of the same distribution from the keys.
        values: "six" returned by `step`, as in gymnax 1.0, or "five" with one `done`.
        **options: those of `Episodes` (or `Workflow`), but for `observation`.

    Raises:
        TypeError, ValueError: naming the option that does not fit.

    Example:
        >>> import jax
        >>> from uis_env.adapters.jax import make
        >>> env, params = make("Recorded", horizon=200, cost_weight=1.0)
        >>> observation, state = env.reset(jax.random.key(0), params)
        >>> observation, state, reward, terminated, truncated, info = env.step(jax.random.key(1), state, 3, params)
        >>> observation.shape, reward.dtype
        ((10,), dtype('float32'))
    """
    one_of("values", values, ("six", "five"))
    if isinstance(world, Streams):
        if options:
            raise ValueError(f"options {sorted(options)} are for worlds; tables were given")
        played = world
    else:
        kind: Any = Workflow if world == "Workflow" else Episodes
        check_options(options, kind.__init__)
        if options.get("observation", "flat") != "flat":
            raise ValueError(f"observation is {options['observation']!r}, expected 'flat'")
        played = Workflow(**options) if world == "Workflow" else Episodes(world, **options)
    chosen = None if seeds is None else [seed_of(seed) for seed in seeds]
    if chosen is not None and not chosen:
        raise ValueError("seeds is empty, expected at least one seed, or None")
    params = make_params(played, chosen)
    return FunctionalEnv(played, params, values), params
