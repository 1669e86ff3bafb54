"""Networks over joint features of query and arm, trained as rounds go by: NeuralUCB, and a greedy MLP."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from agents.agent import Agent, Choice, Feedback, Observation
from agents.choosing import pick_best, real
from agents.fusion import coordinates, unit_features
from agents.ranges import ranged
from agents.replay import Replay, empty, filled, remember, ring_size
from agents.spec import Spec
from agents.streams import Stream, stream
from agents.wrappers import explore, warm_up


class Network(NamedTuple):
    """`f(z) = v' relu(W z) / sqrt(m)`: hidden W (m, d), out v (m,)."""

    hidden: Array
    out: Array


class State(NamedTuple):
    """Weights, Adam's moments, the sums of squared gradients that the bonus needs (None without), rounds replayed."""

    weights: Network
    moments: Any
    squares: Network | None
    replay: Replay


@ranged
def neural_ucb(
    spec: Spec,
    alpha: float | Array = 0.3,
    ridge: float | Array = 1.0,
    hidden: int = 32,
    steps: int = 2,
    batch: int = 32,
    rate: float | Array = 1e-2,
    replay: int | None = None,
    warmup: int = 0,
) -> Agent:
    """NeuralUCB: argmax_a f(z_a) + alpha sqrt(g_a' Z^-1 g_a), g_a the network's gradient at the joint features z_a.

    Zhou, Li and Gu (2020), with the diagonal of Z as in their experiments. One hidden layer, f = 0 at first; z joins
    query and arm features to length one. Taking the p parameters for independent would make the bonus shrink p times
    too slowly, so `Z = ridge + p sum g^2`: an arm's bonus after n rounds of the same z falls as with the full Z. The
    network takes Adam steps on the squared error over replayed rounds, instead of gradient descent from its initial
    weights with a penalty on the distance to them.

    Args:
        spec: sizes and arm features.
        alpha: width of the bonus.
        ridge: initial value of Z.
        hidden: width of the hidden layer, even.
        steps: Adam steps per round.
        batch: rounds per step, drawn with replacement.
        rate: Adam's learning rate.
        replay: N, outcomes kept (None: the horizon, at most 4096).
        warmup: rounds of uniformly random arms.

    Raises:
        ValueError: if `hidden` is odd.

    Example:
        >>> from agents import neural_ucb, trial
        >>> trial(neural_ucb, hidden=8).shape
        (2,)
    """
    return warm_up(_learner(spec, alpha, ridge, hidden, steps, batch, rate, replay), warmup)


@ranged
def mlp(
    spec: Spec,
    epsilon: float | Array = 0.05,
    decay: float | Array = 0.0,
    hidden: int = 32,
    steps: int = 2,
    batch: int = 32,
    rate: float | Array = 1e-2,
    replay: int | None = None,
    warmup: int = 0,
) -> Agent:
    """MLP (online): the arm for which a network over query and arm features predicts the most, with random arms.

    Network and training as in `neural_ucb`; a uniformly random arm with probability epsilon / (1 + decay t).

    Args:
        spec: sizes and arm features.
        epsilon: in [0, 1].
        decay: >= 0, per round.
        hidden: width of the hidden layer, even.
        steps: Adam steps per round.
        batch: rounds per step, drawn with replacement.
        rate: Adam's learning rate.
        replay: N, outcomes kept (None: the horizon, at most 4096).
        warmup: rounds of uniformly random arms.

    Raises:
        ValueError: if `hidden` is odd.

    Example:
        >>> from agents import mlp, trial
        >>> trial(mlp, hidden=8).shape
        (2,)
    """
    return warm_up(explore(_learner(spec, None, 1.0, hidden, steps, batch, rate, replay), epsilon, decay), warmup)


def forward(weights: Network, z: Array) -> tuple[Array, Array]:
    """(..., d) inputs -> outputs (...,) and hidden activations (..., m)."""
    activation = jax.nn.relu(z @ weights.hidden.T)
    half = len(weights.out) // 2
    # Half by half, so that the equal and opposite halves of the start cancel exactly and all arms tie.
    total = activation[..., :half] @ weights.out[:half] + activation[..., half:] @ weights.out[half:]
    return total / math.sqrt(2 * half), activation


def squared_gradients(weights: Network, z: Array, activation: Array) -> tuple[Array, Array]:
    """The squares of `grad f(z)`: by hidden unit (..., m), to be multiplied by z^2 for W, and (..., m) for v."""
    width = len(weights.out)
    return jnp.where(activation > 0, weights.out**2, 0.0) / width, activation**2 / width


def _learner(
    spec: Spec,
    alpha: float | Array | None,
    ridge: float | Array,
    hidden: int,
    steps: int,
    batch: int,
    rate: float | Array,
    replay: int | None,
) -> Agent:
    """The agent that is greedy on the prediction, plus the bonus unless alpha is None."""
    if hidden < 2 or hidden % 2:
        raise ValueError(f"hidden is {hidden}, expected an even number >= 2")
    size = ring_size(spec, replay)
    arms = real(coordinates(unit_features(spec.features)))
    dim = spec.context + arms.shape[1]
    parameters = hidden * (dim + 1)
    optimiser = optax.flatten(optax.adam(rate))

    def join(context: Array, row: Array) -> Array:
        x = real(context)
        return jnp.concatenate([x / jnp.maximum(jnp.linalg.norm(x), 1e-12), row]) / math.sqrt(2.0)

    def init(key: Array) -> State:
        first, second = jax.random.split(stream(key, Stream.NETWORK))
        # Pairs of equal units with opposite outputs: f is zero, but its gradient is not.
        half = jax.random.normal(first, (hidden // 2, dim), arms.dtype)
        out = jax.random.normal(second, (hidden // 2,), arms.dtype)
        weights = Network(jnp.concatenate([half, half]), jnp.concatenate([out, -out]))
        squares = None if alpha is None else jax.tree.map(lambda part: jnp.full_like(part, real(ridge)), weights)
        return State(weights, optimiser.init(weights), squares, empty(size, dim))

    def act(key: Array, state: State, observation: Observation) -> Choice:
        z = jax.vmap(join, (None, 0))(observation.context, arms)
        scores, activation = forward(state.weights, z)
        if alpha is not None and state.squares is not None:
            by_unit, by_output = squared_gradients(state.weights, z, activation)
            variance = by_unit * (z**2 @ (1.0 / state.squares.hidden).T) + by_output / state.squares.out
            scores = scores + real(alpha) * jnp.sqrt(variance.sum(axis=-1))
        return pick_best(key, scores, observation.mask)

    def loss(weights: Network, rows: Replay) -> Array:
        return jnp.mean((forward(weights, rows.context)[0] - rows.target) ** 2)

    def update(key: Array, state: State, feedback: Feedback) -> State:
        z = join(feedback.context, arms[feedback.action])
        squares = state.squares
        if squares is not None:
            by_unit, by_output = squared_gradients(state.weights, z, forward(state.weights, z)[1])
            squares = Network(
                squares.hidden + parameters * jnp.outer(by_unit, z**2), squares.out + parameters * by_output
            )
        seen = remember(state.replay, feedback.number, z, feedback.action, feedback.reward)
        share = jax.random.uniform(stream(key, Stream.BATCHES), (steps, batch))
        drawn = (share * filled(seen, feedback.number)).astype(jnp.int32)

        def step(carry: tuple[Network, Any], rows: Array) -> tuple[tuple[Network, Any], None]:
            weights, moments = carry
            gradient = jax.grad(loss)(weights, jax.tree.map(lambda part: part[rows], seen))
            change, moments = optimiser.update(gradient, moments)
            return (optax.apply_updates(weights, change), moments), None

        (weights, moments), _ = lax.scan(step, (state.weights, state.moments), drawn)
        return State(weights, moments, squares, seen)

    return Agent(init, act, update, seeds_per_call=32)
