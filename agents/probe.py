"""The accuracy probe: a network that predicts an arm's quality from the query, trained offline and calibrated."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from numpy.typing import ArrayLike, NDArray

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation
from agents.choosing import pick_best, real
from agents.priced import WEIGHT, Costs, penalty
from agents.ranges import ranged
from agents.replay import Replay, empty, remember
from agents.spec import Spec
from agents.streams import Stream, stream

NEWTON_STEPS = 25
SHRINKAGE = 10.0
"""Prior precision of the Platt scaling's slope around 1 and of its shift around 0, in outcomes."""


class Scaling(NamedTuple):
    """Platt scaling `sigmoid(slope·logit + shift)`, the arms' base logits (K,), contexts' mean and deviation (D,)."""

    slope: Array
    shift: Array
    base: Array
    mean: Array
    deviation: Array


class State(NamedTuple):
    """Network parameters, optimiser state, scaling, beliefs of the priced channels, and the replay (N = 0: none)."""

    params: Any
    optimiser: Any
    scaling: Scaling
    priced: Costs
    replay: Replay


class Probe(nn.Module):
    """An MLP with GELU from (..., D + F) to a logit (...)."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The logit of quality."""
        dtype = jnp.result_type(float)
        for width in self.hidden:
            x = nn.gelu(nn.Dense(width, param_dtype=dtype)(x))
        # Zero at first: before training all arms look alike.
        out: Array = nn.Dense(1, param_dtype=dtype, kernel_init=nn.initializers.zeros)(x)
        return out[..., 0]


@ranged
def probe(
    spec: Spec,
    hidden: tuple[int, ...] = (200, 200),
    rate: float | Array = 3e-4,
    decay: float | Array = 1e-2,
    batch: int = 256,
    epochs: int = 15,
    held_out: float = 0.2,
) -> Agent:
    """An accuracy probe trained on a pilot: argmax_a w_q p(x, a) - penalty, with mean costs; it learns nothing online.

    "Latency and Token-Aware Test-Time Compute" (arXiv 2509.09864): an MLP of two layers of 200 GELU units on the
    context and the arm's features, binary cross-entropy on the recorded qualities (soft labels), Adam, and Platt
    scaling on held-out queries, a fifth of the pilot; tokens, seconds and cost of an arm are their means over the
    pilot, whatever the query. The weights are those of the observation, so one probe serves every preference.

    Published: Adam at 1e-5, batches of 32, at most 10 epochs, early stopping. Ours, for pilots of hundreds to thousands
    of queries: the defaults below, the network learns what differs from each arm's mean, the parameters kept are those
    of the epoch with the least loss on the held-out queries, and the scaling is shrunk (`platt`). Without a pilot all
    arms look alike. The calibration error on new queries falls with the number of queries in the pilot.

    Args:
        spec: sizes, arm features, list costs, the reward's cost transform.
        hidden: widths of the hidden layers.
        rate: Adam's learning rate.
        decay: weight decay (AdamW).
        batch: outcomes per step.
        epochs: passes over the training outcomes.
        held_out: share of the pilot's queries that early stopping and Platt scaling use.

    Example:
        >>> from agents import probe, trial
        >>> trial(probe, pilot=20, hidden=(8,), epochs=2).shape
        (2,)
    """
    return _probe(spec, tuple(hidden), rate, decay, batch, epochs, held_out, 0, 1, 0)


@ranged
def probe_online(
    spec: Spec,
    hidden: tuple[int, ...] = (200, 200),
    rate: float | Array = 3e-4,
    decay: float | Array = 1e-2,
    batch: int = 256,
    epochs: int = 15,
    held_out: float = 0.2,
    replay: int = 4096,
    every: int = 50,
    steps: int = 10,
) -> Agent:
    """The accuracy probe, kept learning: a warm start, then a few Adam steps every `every` outcomes, and moving costs.

    The replay is filled with outcomes of the pilot, and the rounds played overwrite them one by one, so what was known
    fades as evidence comes in. Costs go on being averaged. Everything else as in `probe`; the Platt scaling stays. Wrap
    it in `explore` for outcomes of arms that it would not play.

    Args:
        spec: sizes, arm features, list costs, the reward's cost transform.
        hidden: widths of the hidden layers.
        rate: Adam's learning rate, offline and online.
        decay: weight decay (AdamW).
        batch: outcomes per step.
        epochs: passes over the training outcomes of the pilot.
        held_out: share of the pilot's queries that early stopping and Platt scaling use.
        replay: N, outcomes kept.
        every: outcomes between retrainings.
        steps: Adam steps per retraining.

    Example:
        >>> from agents import probe_online, trial
        >>> trial(probe_online, pilot=20, hidden=(8,), epochs=2).shape
        (2,)
    """
    return _probe(spec, tuple(hidden), rate, decay, batch, epochs, held_out, replay, every, steps)


def _probe(
    spec: Spec,
    hidden: tuple[int, ...],
    rate: float | Array,
    decay: float | Array,
    batch: int,
    epochs: int,
    held_out: float,
    size: int,
    every: int,
    steps: int,
) -> Agent:
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a share in (0, 1)")
    network = Probe(hidden)
    optimiser = optax.flatten(optax.adamw(rate, weight_decay=decay))  # one vector: fewer, larger operations
    features = real(spec.features)
    # A constant per arm and hardly any shrinkage: the mean over the pilot.
    priced = penalty(spec, columns=(), ridge=1e-3)

    def logits(params: Any, scaling: Scaling, context: Array, arm: Array) -> Array:
        """(...) raw logits of contexts (..., D) and arms (...)."""
        x = (context - scaling.mean) / scaling.deviation
        out: Array = network.apply(params, jnp.concatenate([x, features[arm]], axis=-1))  # type: ignore[assignment]
        return scaling.base[arm] + out

    def train(params: Any, moments: Any, scaling: Scaling, rows: tuple[Array, Array, Array, Array]) -> tuple[Any, Any]:
        """One Adam step on a batch of (context, arm, quality, weight)."""
        context, arm, quality, weight = rows

        def loss(params: Any) -> Array:
            out = logits(params, scaling, context, arm)
            return jnp.mean(weight * optax.sigmoid_binary_cross_entropy(out, quality))

        updates, moments = optimiser.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    def init(key: Array) -> State:
        params = network.init(stream(key, Stream.NETWORK), real(jnp.zeros(spec.context + features.shape[1])))
        scaling = Scaling(
            slope=real(1.0),
            shift=real(0.0),
            base=real(jnp.zeros(spec.arms)),
            mean=real(jnp.zeros(spec.context)),
            deviation=real(jnp.ones(spec.context)),
        )
        return State(params, optimiser.init(params), scaling, priced.init(), empty(size, spec.context))

    def act(key: Array, state: State, observation: Observation) -> Choice:
        x = jnp.broadcast_to(real(observation.context), (spec.arms, spec.context))
        scaling = state.scaling
        out = logits(state.params, scaling, x, jnp.arange(spec.arms))
        weight = real(observation.preference)[WEIGHT["quality"]]
        charge = priced.predict(state.priced, observation.context, observation.preference, observation.prices)
        right = jax.nn.sigmoid(scaling.slope * out + scaling.shift)
        return pick_best(key, weight * right - charge, observation.mask)

    def fit(key: Array, state: State, full: FullInformation) -> State:
        count = full.context.shape[0]
        kept = max(1, min(count - 1, round((1 - held_out) * count)))
        order = jax.random.permutation(stream(key, Stream.BATCHES), count)
        context = real(full.context)[order]
        quality, weight = real(full.channels.quality)[order], real(full.mask)[order]
        mean, deviation = context[:kept].mean(axis=0), context[:kept].std(axis=0)
        told = weight[:kept].sum(axis=0)
        share = ((weight * quality)[:kept].sum(axis=0) + 0.5) / (told + 1.0)
        scaling = state.scaling._replace(
            base=jnp.log(share) - jnp.log1p(-share),
            mean=mean,
            # The rounding of a column that never varied is no scale.
            deviation=jnp.where(deviation > 1e-6 * jnp.maximum(jnp.abs(mean), 1.0), deviation, 1.0),
        )
        arms = jnp.arange(spec.arms)

        def rows(index: Array) -> tuple[Array, Array, Array, Array]:
            """Outcomes by number: query · K + arm."""
            query, arm = index // spec.arms, index % spec.arms
            return context[query], arm, quality[query, arm], weight[query, arm]

        def raw(params: Any) -> Array:
            """(held-out queries, K) logits."""
            x = jnp.broadcast_to(context[kept:, None, :], (count - kept, spec.arms, spec.context))
            return logits(params, scaling, x, jnp.broadcast_to(arms, x.shape[:2]))

        def error(params: Any) -> Array:
            losses = optax.sigmoid_binary_cross_entropy(raw(params), quality[kept:])
            return jnp.sum(weight[kept:] * losses) / jnp.maximum(weight[kept:].sum(), 1.0)

        total = kept * spec.arms
        width = min(batch, total)

        def epoch(carry: tuple[Any, Any, Any, Array], key: Array) -> tuple[tuple[Any, Any, Any, Array], None]:
            params, moments, best, lowest = carry
            shuffled = jax.random.permutation(key, total)[: total // width * width].reshape(-1, width)

            def step(inner: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], None]:
                return train(*inner, scaling, rows(index)), None

            (params, moments), _ = lax.scan(step, (params, moments), shuffled)
            now = error(params)
            better = now < lowest
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, best)
            return (params, moments, best, jnp.minimum(now, lowest)), None

        keys = jax.random.split(stream(key, Stream.DRAWS), epochs)
        start = (state.params, state.optimiser, state.params, error(state.params))
        (_, moments, params, _), _ = lax.scan(epoch, start, keys)
        # The arms of a query fail together, so a query counts as one outcome.
        each = weight[kept:] / spec.arms
        slope, shift = platt(raw(params).reshape(-1), quality[kept:].reshape(-1), each.reshape(-1))

        replay = state.replay
        if size:
            some = jax.random.randint(stream(key, Stream.EXPLORE), (size,), 0, count * spec.arms)
            seen, arm, value, told = rows(some)
            replay = Replay(seen, jnp.where(told > 0, arm, -1).astype(jnp.int32), value)
        scaling = scaling._replace(slope=slope, shift=shift)
        return State(params, moments, scaling, priced.fit(state.priced, full), replay)

    def update(key: Array, state: State, feedback: Feedback) -> State:
        if not size:
            return state
        quality = feedback.channels.quality
        replay = remember(state.replay, feedback.number, feedback.context, feedback.action, real(quality))

        def retrain() -> tuple[Any, Any]:
            drawn = jax.random.randint(stream(key, Stream.BATCHES), (steps, batch), 0, size)

            def step(inner: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], None]:
                arm = replay.action[index]
                batch = (replay.context[index], jnp.maximum(arm, 0), replay.target[index], real(arm >= 0))
                return train(*inner, state.scaling, batch), None

            return lax.scan(step, (state.params, state.optimiser), drawn)[0]

        due = (feedback.number + 1) % every == 0
        params, moments = lax.cond(due, retrain, lambda: (state.params, state.optimiser))
        return State(params, moments, state.scaling, priced.observe(state.priced, feedback), replay)

    return Agent(init, act, update, fit, seeds_per_call=8)


def platt(logits: Array, quality: Array, weight: Array, shrinkage: float = SHRINKAGE) -> tuple[Array, Array]:
    """(slope, shift) of `sigmoid(slope·logit + shift)` with the least weighted cross-entropy, by Newton's method.

    Platt (1999), with soft labels and a Gaussian prior around slope 1 and shift 0: few held-out queries must not move
    all predictions by their luck.

    Args:
        logits: (n,) of the network.
        quality: (n,) in [0, 1].
        weight: (n,) >= 0.
        shrinkage: precision of the prior.
    """
    x = jnp.stack([logits, jnp.ones_like(logits)], axis=1)
    start = jnp.array([1.0, 0.0], logits.dtype)

    def newton(_: int, theta: Array) -> Array:
        p = jax.nn.sigmoid(x @ theta)
        gradient = x.T @ (weight * (p - quality)) + shrinkage * (theta - start)
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + shrinkage * jnp.eye(2, dtype=x.dtype)
        (a, b), (_, c) = curvature  # by Cramer's rule: a batch of LAPACK calls can hang (`posterior.divide_by_root`)
        move = jnp.stack([c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]]) / (a * c - b * b)
        moved: Array = theta - move * jnp.minimum(1.0, 2.0 / jnp.maximum(jnp.linalg.norm(move), 1e-12))
        return moved

    found: Array = lax.fori_loop(0, NEWTON_STEPS, newton, start)
    return found[0], found[1]


class Reliability(NamedTuple):
    """A reliability diagram.

    Attributes:
        outcomes: (B,) float64, how many fall in each bin.
        predicted, observed: (B,) float64, their mean predicted and mean observed quality; NaN in empty bins.
    """

    outcomes: NDArray[np.float64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean |predicted − observed| over the bins, by their counts."""
        some = self.outcomes > 0
        gap = np.abs(self.predicted[some] - self.observed[some])
        return float(gap @ self.outcomes[some] / self.outcomes.sum())


def reliability(probability: ArrayLike, quality: ArrayLike, bins: int = 10) -> Reliability:
    """The reliability diagram of predictions in [0, 1], in `bins` bins of equal width.

    Args:
        probability: any shape, predicted.
        quality: the same shape, observed, in [0, 1] (expected qualities give the error without the noise of draws).
        bins: B.

    Raises:
        ValueError: if the shapes differ, or something is not in [0, 1].
    """
    p, y = np.asarray(probability, np.float64), np.asarray(quality, np.float64)
    if p.shape != y.shape or not p.size:
        raise ValueError(f"predictions have shape {p.shape} and qualities {y.shape}, expected the same, not empty")
    for name, values in (("predictions", p), ("qualities", y)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} leave [0, 1]")
    place = np.minimum((p * bins).astype(int), bins - 1).ravel()
    count, predicted, observed = (np.bincount(place, weights, bins) for weights in (None, p.ravel(), y.ravel()))
    with np.errstate(invalid="ignore"):
        return Reliability(count.astype(np.float64), predicted / count, observed / count)
