"""A check for people who write their own agent: whether it keeps the contract of `agents.agent`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation, Privileged, State
from agents.handed import make_feedback, make_full_information, make_observation
from agents.spec import Spec, spec_of
from uis_env.arms import Arm, ArmCatalog
from uis_env.bandit import PREFERENCE, Reward
from uis_env.imports import describe
from uis_env.world import Channels

OPTIONAL = [name for name in Channels._fields if name != "quality"]
TOLERANCE = 1e-3
"""Relative difference allowed between compiled, mapped and plain runs, which add up in different orders."""


def check_agent(agent: Agent | Callable[[Spec], Agent], spec: Spec | None = None, rounds: int = 6) -> None:
    """Runs an agent through a few made-up rounds and raises at the first promise of the contract that it breaks.

    Checked: `init` gives arrays without weak types and without keys; `act` gives an action on offer, scores that are
    -inf exactly where masked, and propensities that are NaN or a distribution over the arms on offer; `update` and
    `fit` keep the state's structure, shapes and types; nothing but the arguments decides the result; a plain run and
    one that is compiled, scanned and mapped (vmap with an unbatched round) agree.

    Args:
        agent: an Agent, or a factory that makes one from a Spec.
        spec: sizes of some world (`agents.make_spec`). None tries a factory with `example_specs`: one of a world that
            has all channels, and one of a world that has none but quality.
        rounds: to play.

    Raises:
        ValueError: in one line: the function that breaks a promise, what it returned and what was expected; or file and
            line of an error in it.

    Example:
        >>> import agents
        >>> agents.check_agent(agents.linucb)
    """
    if spec is None:
        if isinstance(agent, Agent):
            raise ValueError("an Agent is checked with the Spec that it was made from; or hand over the factory")
        for name, example in example_specs().items():
            try:
                check_agent(agent, example, rounds)
            except ValueError as error:
                raise ValueError(f"{error} (with {name})") from error
        return
    made: Any = agent if isinstance(agent, Agent) else _called("the factory", agent)(spec)
    _expect(isinstance(made, Agent), f"the factory returned {type(made).__name__}, expected agents.Agent")
    names = [name for name in ("init", "act", "update", "fit") if getattr(made, name) is not None]
    _check(made._replace(**{name: _called(name, getattr(made, name)) for name in names}), spec, rounds)


def _check(agent: Agent, spec: Spec, rounds: int) -> None:
    key = jax.random.key(0)
    state = agent.init(key)
    _check_state(state)
    with jax.disable_jit():
        played = _play(agent, spec, key, agent.init(key), rounds)
        again = _play(agent, spec, key, agent.init(key), rounds)
    _same(again, played, "a second run with the same keys differs from the first: init, act and update must be pure", 0)
    _check_compiled(agent, spec, rounds, key, played)
    if agent.fit is not None:
        fitted = agent.fit(key, state, example_log(spec, 5))
        _check_same_structure(state, fitted, "fit")
        seen = example_observation(spec, 0, agent.privileged)
        _check_choice(agent.act(key, fitted, seen), seen)


class _CodeError(ValueError):
    """An error of the agent's own code, in one line."""


def _called(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an agent, whose errors name it, file and line."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except _CodeError:
            raise
        except Exception as error:
            raise _CodeError(f"{name}: {describe(error)}") from error

    return call


def example_specs() -> dict[str, Spec]:
    """Specs of two made-up worlds of 6 arms: one has all channels, the other none but quality."""
    arms = tuple(Arm(f"model-{i % 3}", ("single", "majority")[i // 3], (1 + 3 * (i // 3),)) for i in range(6))
    random = np.random.default_rng(0)
    features = random.normal(size=(6, 3)).astype(np.float32)
    catalog = ArmCatalog(arms, features, tuple("abc"), tuple(arm.name for arm in arms))
    cost = random.uniform(0.1, 1, 6)
    return {
        label: spec_of(catalog, Reward(cost=1.0), 100, context=5, channels=channels, list_cost=cost)
        for label, channels in (("all channels", Channels._fields), ("no channel but quality", ("quality",)))
    }


def example_observation(spec: Spec, number: int, privileged: bool = False) -> Observation:
    """A made-up observation: random context, some arms masked, weights on the channels that `spec` has."""
    random = np.random.default_rng(number)
    one = np.arange(spec.arms) == random.integers(spec.arms)
    mask = (np.ones(spec.arms, bool), one | (random.random(spec.arms) < 0.5), one)[number % 3]
    weights = [1.0 if name in ("quality", "cost") else 0.01 * (name in spec.channels) for name in PREFERENCE]
    known = None
    if privileged:
        known = Privileged(*(jnp.asarray(random.random(spec.arms), jnp.float32) for _ in Privileged._fields))
    return make_observation(
        round=number,
        context=jnp.asarray(random.normal(size=spec.context), jnp.float32),
        mask=mask,
        preference=jnp.asarray(weights, jnp.float32),
        prices=jnp.asarray(random.uniform(0.5, 2.0, int(spec.model.max()) + 1), jnp.float32),
        privileged=known,
    )


def example_feedback(spec: Spec, seen: Observation, action: Array) -> Feedback:
    """A made-up outcome for an action: a function of the context and the action only."""
    quality = jax.nn.sigmoid(jnp.sum(seen.context) + jnp.sin(action.astype(jnp.float32)))
    cost = 0.1 + 0.01 * action.astype(jnp.float32)
    channels: dict[str, Any] = {"quality": quality} | {name: cost for name in OPTIONAL if name in spec.channels}
    return make_feedback(seen, action, quality - cost, cost, Channels(**channels))


def example_log(spec: Spec, queries: int) -> FullInformation:
    """Made-up full information on some queries."""
    random = np.random.default_rng(7)

    def table(low: float, high: float) -> Array:
        return jnp.asarray(random.uniform(low, high, (queries, spec.arms)), jnp.float32)

    quality, cost = table(0, 1), table(0.1, 1)
    channels: dict[str, Any] = {"quality": quality}
    channels |= {name: table(0.1, 1) for name in OPTIONAL if name in spec.channels}
    seen = example_observation(spec, 0)
    mask = jnp.asarray(random.random((queries, spec.arms)) < 0.8)
    context = jnp.asarray(random.normal(size=(queries, spec.context)), jnp.float32)
    known = (context, mask, seen.preference, seen.prices)
    return make_full_information(*known, reward=quality - cost, cost=cost, channels=Channels(**channels))


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _describe(leaf: Any) -> str:
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(getattr(leaf, 'shape', ()))}"


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _check_state(state: State) -> None:
    for path, leaf in _leaves(state):
        where = f"init: state{path}"
        _expect(isinstance(leaf, Array), f"{where} is a {type(leaf).__name__}, expected a JAX array")
        _expect(
            not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            and not (leaf.dtype == jnp.uint32 and leaf.shape == (2,)),
            f"{where} looks like a random key; keys are handed to act and update, never stored",
        )
        _expect(not leaf.weak_type, f"{where} is weakly typed; give it a dtype (jnp.zeros(n, jnp.float32), say)")


def _check_same_structure(before: State, after: State, name: str) -> None:
    expected, found = str(jax.tree.structure(before)), str(jax.tree.structure(after))
    _expect(expected == found, f"{name} changed the structure of the state from {expected} to {found}")
    for (path, old), (_, new) in zip(_leaves(before), _leaves(after), strict=True):
        same = (old.shape, old.dtype, old.weak_type) == (
            getattr(new, "shape", None),
            getattr(new, "dtype", None),
            getattr(new, "weak_type", None),
        )
        weak = " (weakly typed)" if getattr(new, "weak_type", False) else ""
        _expect(same, f"{name}: state{path} became {_describe(new)}{weak}, expected {_describe(old)} as from init")


def _check_choice(choice: Choice, seen: Observation) -> None:
    _expect(isinstance(choice, Choice), f"act returned {type(choice).__name__}, expected agents.Choice")
    action, propensities, scores = choice
    real = jnp.result_type(float)
    arms = seen.mask.shape[0]
    _expect(
        isinstance(action, Array) and action.shape == () and action.dtype == jnp.int32,
        f"act: action is {_describe(action)}, expected int32[]",
    )
    for name, array in (("propensities", propensities), ("scores", scores)):
        _expect(
            isinstance(array, Array) and array.shape == (arms,) and array.dtype == real,
            f"act: {name} is {_describe(array)}, expected {real}[{arms}]",
        )
    mask, place = np.asarray(seen.mask), int(action)
    _expect(0 <= place < arms, f"act: action {place} is not an arm, expected 0..{arms - 1}")
    _expect(mask[place], f"act: action {place} is masked; the arms on offer are {np.flatnonzero(mask).tolist()}")
    values, shares = np.asarray(scores), np.asarray(propensities)
    _expect((values[~mask] == -np.inf).all(), "act: scores of masked arms must be -inf")
    _expect(not np.isnan(values).any(), "act: scores hold NaN")
    if not np.isnan(shares).all():
        _expect(not np.isnan(shares).any(), "act: propensities must be all known or all NaN")
        _expect((shares >= 0).all() and (shares[~mask] == 0).all(), "act: propensities of masked arms must be 0")
        _expect(
            abs(shares.sum() - 1) < TOLERANCE, f"act: propensities sum to {shares.sum():.6f}, expected 1 (or all NaN)"
        )


def _play(agent: Agent, spec: Spec, key: Array, state: State, rounds: int) -> tuple[list[Choice], State]:
    choices = []
    for number in range(rounds):
        now = jax.random.fold_in(key, number)
        seen = example_observation(spec, number, agent.privileged)
        choice = agent.act(now, state, seen)
        _check_choice(choice, seen)
        new = agent.update(now, state, example_feedback(spec, seen, choice.action))
        _check_same_structure(state, new, "update")
        state = new
        choices.append(choice)
    return choices, state


def _same(found: Any, expected: Any, message: str, tolerance: float) -> None:
    for (path, one), (_, other) in zip(_leaves(found), _leaves(expected), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        scale = np.abs(other[np.isfinite(other)]).max(initial=1.0) if other.dtype.kind == "f" else 0
        if not np.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            raise ValueError(f"{message} (at {path})")


def _check_compiled(agent: Agent, spec: Spec, rounds: int, key: Array, played: tuple[list[Choice], State]) -> None:
    """Scans the same rounds as the driver does (the round unbatched), for one seed and for several side by side."""
    seen = [example_observation(spec, number, agent.privileged) for number in range(rounds)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *seen)

    def scan(key: Array) -> tuple[Choice, State]:
        def step(state: State, one: Observation) -> tuple[State, Choice]:
            now = jax.random.fold_in(key, one.round)
            choice = agent.act(now, state, one)
            return agent.update(now, state, example_feedback(spec, one, choice.action)), choice

        state, choices = jax.lax.scan(step, agent.init(key), stacked)
        return choices, state

    # Tracing alone tells whether it compiles; one compilation then serves both comparisons.
    for function, what in (
        (scan, "compiled"),
        (lambda key: jax.vmap(scan)(jnp.stack([key, key])), "mapped over seeds"),
    ):
        try:
            jax.eval_shape(function, key)
        except _CodeError as error:
            raise ValueError(f"the agent cannot be {what}: {error}") from error
        except (jax.errors.JAXTypeError, TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(f"the agent cannot be {what}: {str(error).splitlines()[0]}") from error
    together = jax.jit(jax.vmap(scan))(jnp.stack([key, jax.random.key(1)]))
    first = jax.tree.map(lambda leaf: leaf[0], together)
    plain = jax.tree.map(lambda *parts: jnp.stack(parts), *played[0]), played[1]
    _same(first, plain, "compiled beside another seed (vmap), the run differs from the plain one", TOLERANCE)
