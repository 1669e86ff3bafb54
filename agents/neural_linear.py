"""Neural-linear bandits: a network learns the features, Bayesian linear regression on its last layer explores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from agents.agent import Agent, Choice, Feedback, Observation
from agents.choosing import pick_best, pick_thompson, real
from agents.posterior import Gaussian, divide_by_root
from agents.ranges import ranged
from agents.regression import Disjoint, Regression, disjoint, side_by_side
from agents.replay import Replay, empty, filled, remember, ring_size
from agents.spec import Spec
from agents.streams import Stream, stream
from agents.wrappers import warm_up

SLICE = 64
"""Replayed rounds that are added to the posteriors at a time."""


class State(NamedTuple):
    """Network parameters, optimiser state, the posteriors of the arms on its features, and the rounds replayed."""

    params: Any
    optimiser: Any
    belief: Disjoint
    replay: Replay


class Network(nn.Module):
    """Hidden layers, normalised features z, and one linear head per arm.

    The features have length one and, with an intercept, a constant is appended. Either way the bonus of an arm without
    data is the same for all queries, and the same after retraining.
    """

    arms: int
    hidden: tuple[int, ...]
    features: int
    intercept: bool = True

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """(..., D) -> features (..., d), d = features + intercept, and predicted rewards (..., K)."""
        dtype = jnp.result_type(float)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, param_dtype=dtype)(x))
        x = nn.Dense(self.features, param_dtype=dtype)(x)
        x = x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)
        z = jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1) if self.intercept else x
        return z, nn.Dense(self.arms, use_bias=False, param_dtype=dtype)(z)


@ranged
def neural_linear_ucb(
    spec: Spec,
    alpha: float | Array = 0.1,
    ridge: float | Array = 0.25,
    hidden: tuple[int, ...] = (32,),
    features: int = 16,
    every: int = 50,
    steps: int = 20,
    batch: int = 64,
    rate: float | Array = 3e-3,
    replay: int | None = None,
    warmup: int = 0,
    intercept: bool = True,
) -> Agent:
    """Neural-linear UCB: LinUCB per arm on the last layer of a network that is retrained as rounds go by.

    Features and schedule as in neural-linear Thompson sampling (Riquelme, Tucker and Snoek 2018), the bonus as in
    LinUCB. After every `every` outcomes the network takes `steps` Adam steps on the squared error of the played arm's
    reward over the replayed rounds, and all posteriors are rebuilt from them in the new features; rounds that have left
    the replay are forgotten then.

    Args:
        spec: sizes.
        alpha: width of the bonus.
        ridge: prior precision of each weight of the last layer.
        hidden: widths of the hidden layers.
        features: width of the last layer.
        every: outcomes between retrainings.
        steps: Adam steps per retraining.
        batch: rounds per step, drawn with replacement.
        rate: Adam's learning rate.
        replay: N, outcomes kept (None: the horizon, at most 4096).
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the network's features.

    Example:
        >>> from agents import neural_linear_ucb, trial
        >>> trial(neural_linear_ucb, every=50).shape
        (2,)
    """

    def choose(key: Array, model: Regression, belief: Disjoint, z: Array, observation: Observation) -> Choice:
        mean, deviation = model.predict(belief, z, observation.round)
        return pick_best(key, mean + real(alpha) * deviation, observation.mask)

    agent = _neural_linear(spec, choose, ridge, tuple(hidden), features, every, steps, batch, rate, replay, intercept)
    return warm_up(agent, warmup)


@ranged
def neural_linear_thompson(
    spec: Spec,
    scale: float | Array = 0.1,
    ridge: float | Array = 0.25,
    hidden: tuple[int, ...] = (32,),
    features: int = 16,
    every: int = 50,
    steps: int = 20,
    batch: int = 64,
    rate: float | Array = 3e-3,
    replay: int | None = None,
    propensity_draws: int = 0,
    warmup: int = 0,
    intercept: bool = True,
) -> Agent:
    """Neural-linear Thompson sampling: posterior draws on the last layer of a network retrained as rounds go by.

    Riquelme, Tucker and Snoek (2018), with a fixed noise scale instead of an inverse-gamma prior. Schedule and other
    arguments as in `neural_linear_ucb`.

    Args:
        spec: sizes.
        scale: standard deviation of the observation noise that the posterior assumes.
        ridge: prior precision of each weight of the last layer.
        hidden: widths of the hidden layers.
        features: width of the last layer.
        every: outcomes between retrainings.
        steps: Adam steps per retraining.
        batch: rounds per step, drawn with replacement.
        rate: Adam's learning rate.
        replay: N, outcomes kept (None: the horizon, at most 4096).
        propensity_draws: M posterior draws that estimate the propensities (`choosing.pick_sampled`); 0 leaves them NaN.
        warmup: rounds of uniformly random arms.
        intercept: append a constant to the network's features.

    Example:
        >>> from agents import neural_linear_thompson, trial
        >>> trial(neural_linear_thompson, every=50).shape
        (2,)
    """

    def choose(key: Array, model: Regression, belief: Disjoint, z: Array, observation: Observation) -> Choice:
        def sample(key: Array, shape: tuple[int, ...]) -> Array:
            return model.sample(key, belief, z, observation.round, real(scale), shape)

        return pick_thompson(key, sample, observation.mask, propensity_draws)

    agent = _neural_linear(spec, choose, ridge, tuple(hidden), features, every, steps, batch, rate, replay, intercept)
    return warm_up(agent._replace(estimated=propensity_draws > 0), warmup)


def _neural_linear(
    spec: Spec,
    choose: Callable[[Array, Regression, Disjoint, Array, Observation], Choice],
    ridge: float | Array,
    hidden: tuple[int, ...],
    features: int,
    every: int,
    steps: int,
    batch: int,
    rate: float | Array,
    replay: int | None,
    intercept: bool,
) -> Agent:
    size = ring_size(spec, replay)
    network = Network(spec.arms, hidden, features, intercept)
    optimiser = optax.flatten(optax.adam(rate))  # one vector: fewer, larger operations
    dim = features + intercept
    model = disjoint(spec.arms, dim, ridge)

    def forward(params: Any, x: Array) -> tuple[Array, Array]:
        out: tuple[Array, Array] = network.apply(params, x)  # type: ignore[assignment]
        return out

    def init(key: Array) -> State:
        params = network.init(stream(key, Stream.NETWORK), real(jnp.zeros(spec.context)))
        return State(params, optimiser.init(params), model.init(), empty(size, spec.context))

    def act(key: Array, state: State, observation: Observation) -> Choice:
        z, _ = forward(state.params, real(observation.context))
        return choose(key, model, state.belief, z, observation)

    def loss(params: Any, rounds: Replay) -> Array:
        _, heads = forward(params, rounds.context)
        predicted = jnp.take_along_axis(heads, jnp.maximum(rounds.action, 0)[:, None], axis=1)[:, 0]
        return jnp.mean(jnp.where(rounds.action >= 0, (predicted - rounds.target) ** 2, 0.0))

    def rebuild(params: Any, rounds: Replay, count: Array) -> Disjoint:
        """All posteriors from the replayed rounds in the network's features."""

        def add(i: Array, sums: Array) -> Array:
            rows = i * SLICE + jnp.arange(SLICE)
            part = jax.tree.map(lambda array: array[jnp.minimum(rows, size - 1)], rounds)
            z, _ = forward(params, part.context)
            z = z * (rows < count)[:, None]
            both = jnp.concatenate([z, part.target[:, None]], axis=1)
            return sums.at[part.action].add(z[:, :, None] * both[:, None, :])

        # Slice by slice, because the outer products of all rounds would be written to memory and read again.
        sums = lax.fori_loop(0, (count + SLICE - 1) // SLICE, add, real(jnp.zeros((spec.arms, dim, dim + 1))))
        precision, moment = sums[..., :dim], sums[..., dim]
        eye = jnp.eye(dim, dtype=sums.dtype)
        last = jnp.moveaxis(precision + real(ridge) * eye, 0, -1)
        root = jnp.moveaxis(divide_by_root(last, jnp.broadcast_to(eye[:, :, None], last.shape)), -1, 0)
        half = jnp.einsum("kij,kj->ki", root, moment)
        return Disjoint(side_by_side(Gaussian(jnp.einsum("kji,kj->ki", root, half), root)), None)

    def retrain(key: Array, state: State, rounds: Replay, count: Array) -> tuple[Any, Any, Disjoint]:
        drawn = (jax.random.uniform(key, (steps, batch)) * count).astype(jnp.int32)

        def step(carry: tuple[Any, Any], rows: Array) -> tuple[tuple[Any, Any], None]:
            params, moments = carry
            gradient = jax.grad(loss)(params, jax.tree.map(lambda a: a[rows], rounds))
            updates, moments = optimiser.update(gradient, moments)
            return (optax.apply_updates(params, updates), moments), None

        (params, moments), _ = lax.scan(step, (state.params, state.optimiser), drawn)
        return params, moments, rebuild(params, rounds, count)

    def update(key: Array, state: State, feedback: Feedback) -> State:
        x, reward, number = real(feedback.context), real(feedback.reward), feedback.number
        z, _ = forward(state.params, x)
        belief = model.observe(state.belief, z, feedback.action, reward, feedback.round)
        rounds = remember(state.replay, number, x, feedback.action, reward)
        # Only what changes goes through the branch, and flat: LAPACK's column-major results would otherwise set the
        # memory order of the whole state, which every round would then transpose.
        learned = (state.params, state.optimiser, belief)
        flat = lax.cond(
            number % every == every - 1,
            lambda: _flat(retrain(stream(key, Stream.BATCHES), state, rounds, filled(rounds, number))),
            lambda: _flat(learned),
        )
        params, moments, belief = jax.tree.map(lambda new, old: new.reshape(old.shape), flat, learned)
        return State(params, moments, belief, rounds)

    return Agent(init, act, update)


def _flat(tree: Any) -> Any:
    return jax.tree.map(jnp.ravel, tree)
