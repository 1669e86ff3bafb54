"""A policy for workflows, learned by proximal policy optimisation: it sees the query and what is left of the task."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from uis_env.workflow.core import Policy, Situation, Tasks, Workflow
from uis_env.workflow.rules import TaskRules

OnDevice = Any
"""The tables, tasks or progress of `uis_env.workflow`, NumPy there and JAX arrays here."""


class Settings(NamedTuple):
    """How a policy is trained; the defaults were chosen on training queries of `uncertain_speeds`.

    Attributes:
        hidden: widths of the hidden layers.
        updates: policy updates.
        tasks: tasks played for each update.
        epochs, minibatches: passes over an update's steps, and parts of a pass.
        rate: Adam's first learning rate; it falls linearly to 0.
        clip: of the probability ratio.
        entropy: first weight of the entropy bonus; it falls linearly to 0.
        blind: whether the policy is kept from seeing what is left: what a contextual bandit sees.
    """

    hidden: tuple[int, ...] = (64, 64)
    updates: int = 300
    tasks: int = 2048
    epochs: int = 2
    minibatches: int = 4
    rate: float = 3e-3
    clip: float = 0.2
    entropy: float = 0.02
    blind: bool = False


class Learned(NamedTuple):
    """Parameters, the standardisation of contexts (mean and deviation, (D,)), and each update's mean return (U,)."""

    params: Any
    mean: Array
    deviation: Array
    returns: Array


class Steps(NamedTuple):
    """Steps of n tasks, (S, n, ...): what was seen and done, whether the task was on, and the return from there on."""

    observation: Array
    mask: Array
    action: Array
    log_probability: Array
    value: Array
    going: Array
    to_go: Array


class ActorCritic(nn.Module):
    """Two networks of tanh layers: logits of K arms, and the value of the state."""

    arms: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """(..., D) -> logits (..., K), value (...)."""

        def network(out: int, scale: float) -> Array:
            h = x
            for width in self.hidden:
                h = nn.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(np.sqrt(2.0)))(h))
            return nn.Dense(out, kernel_init=nn.initializers.orthogonal(scale))(h)

        return network(self.arms, 0.01), network(1, 1.0)[..., 0]


def observe(rules: TaskRules, tables: OnDevice, tasks: OnDevice, progress: OnDevice) -> tuple[Array, Array]:
    """(n, D + 4) observations and (n, K) masks, as `Workflow.situation` shows them."""
    query = jnp.take_along_axis(tasks.query, jnp.minimum(progress.step, rules.steps - 1)[:, None], axis=1)[:, 0]
    return jnp.concatenate([tables.context[query], rules.shares(jnp, progress)], axis=1), tables.mask[query]


def advance(
    rules: TaskRules, tables: OnDevice, tasks: OnDevice, progress: OnDevice, action: Array
) -> tuple[OnDevice, Array]:
    """One step of every task that is not over, and its (n,) reward: `Workflow.advance` in JAX, bit for bit."""
    at = jnp.minimum(progress.step, rules.steps - 1)[:, None]
    query, draw = (jnp.take_along_axis(part, at, axis=1)[:, 0] for part in (tasks.query, tasks.draw))
    found = {name: getattr(tables, name)[query, draw, action] for name in rules.columns}
    after, reward, _ = rules.step(jnp, progress, found)
    return after, reward


def draw_tasks(key: Array, rules: TaskRules, tables: OnDevice, count: int) -> OnDevice:
    """Fresh tasks, distributed as the tapes are."""
    groups, places, draws = jax.random.split(key, 3)
    group: Any = jax.random.randint(groups, (count,), 0, tables.sizes.shape[0])
    place = jax.random.randint(places, (count, rules.steps), 0, tables.sizes[group][:, None])
    draw: Any = jax.random.randint(draws, (count, rules.steps), 0, tables.right.shape[1])
    return Tasks(group, tables.members[group[:, None], place], draw)


def train(flow: Workflow, key: Array, settings: Settings | None = None) -> Learned:
    """Learns a policy on tasks of `flow` by proximal policy optimisation (Schulman et al., arXiv 1707.06347).

    Returns are undiscounted, from a step to the end of its task; the advantage is that minus the critic's value,
    standardised over the update. The learner sees what the environment returns: observations, masks, and the
    rewards of its own actions.

    Args:
        flow: the workflow; give it training queries only (`queries=`) to test on others.
        key: fixes everything.
        settings: see `Settings`.
    """
    tables = jax.tree.map(jnp.asarray, flow.tables)
    asked = np.unique(flow.tables.members)
    context = flow.tables.context[asked].astype(np.float64)
    deviation = context.std(axis=0)
    mean = np.where(deviation > 0, context.mean(axis=0), 0.0)
    scale = jnp.asarray(mean, jnp.float32), jnp.asarray(np.where(deviation > 0, deviation, 1.0), jnp.float32)
    params, returns = _train(flow.rules, settings or Settings(), tables, scale, key)
    return Learned(params, *scale, returns)


def greedy_policy(flow: Workflow, learned: Learned, settings: Settings | None = None) -> Policy:
    """The likeliest arm on offer at every step, as a `uis_env.workflow` policy."""
    arms = flow.tables.mask.shape[1]
    scale = learned.mean, learned.deviation

    @jax.jit
    def choose(observation: Array, mask: Array) -> Array:
        logits, _ = _apply(settings or Settings(), arms, learned.params, scale, observation)
        return jnp.argmax(jnp.where(mask, logits, -jnp.inf), axis=1)

    def policy(seen: Situation) -> Any:
        return np.asarray(choose(seen.observation, seen.mask))

    return policy


def _apply(
    settings: Settings, arms: int, params: Any, scale: tuple[Array, Array], observation: Array
) -> tuple[Array, Array]:
    """Logits (..., K) and values (...) of observations (..., D + 4)."""
    size = scale[0].shape[0]
    context, left = (observation[..., :size] - scale[0]) / scale[1], 2 * observation[..., size:] - 1
    x = jnp.concatenate([context, jnp.zeros_like(left) if settings.blind else left], axis=-1)
    out: tuple[Array, Array] = ActorCritic(arms, settings.hidden).apply(params, x)  # type: ignore[assignment]
    return out


@partial(jax.jit, static_argnames=("rules", "settings"))
def _train(
    rules: TaskRules, settings: Settings, tables: OnDevice, scale: tuple[Array, Array], key: Array
) -> tuple[Any, Array]:
    arms = tables.mask.shape[1]
    total = settings.updates * settings.epochs * settings.minibatches
    optimiser = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(settings.rate, 0.0, total), eps=1e-5)
    )
    first, rest = jax.random.split(key)
    params = ActorCritic(arms, settings.hidden).init(first, jnp.zeros(tables.context.shape[1] + 4))

    def forward(params: Any, observation: Array, mask: Array) -> tuple[Array, Array]:
        """Log probabilities (..., K) and values."""
        logits, value = _apply(settings, arms, params, scale, observation)
        return jax.nn.log_softmax(jnp.where(mask, logits, -1e9)), value

    def rollout(params: Any, key: Array) -> Steps:
        drawn, played = jax.random.split(key)
        tasks = draw_tasks(drawn, rules, tables, settings.tasks)

        def step(progress: OnDevice, key: Array) -> tuple[OnDevice, tuple[Steps, Array]]:
            observation, mask = observe(rules, tables, tasks, progress)
            log_probabilities, value = forward(params, observation, mask)
            action = jax.random.categorical(key, log_probabilities)
            chosen = jnp.take_along_axis(log_probabilities, action[:, None], axis=1)[:, 0]
            after, reward = advance(rules, tables, tasks, progress, action)
            return after, (Steps(observation, mask, action, chosen, value, ~progress.done, reward), reward)

        _, (steps, rewards) = lax.scan(step, rules.begin(jnp, (settings.tasks,)), jax.random.split(played, rules.steps))
        return steps._replace(to_go=jnp.cumsum(rewards[::-1], axis=0)[::-1])

    def loss(params: Any, rows: Steps, advantage: Array, bonus: Array) -> Array:
        log_probabilities, value = forward(params, rows.observation, rows.mask)
        chosen = jnp.take_along_axis(log_probabilities, rows.action[:, None], axis=1)[:, 0]
        ratio = jnp.exp(chosen - rows.log_probability)
        surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - settings.clip, 1 + settings.clip) * advantage)
        entropy = -jnp.sum(jnp.where(rows.mask, jnp.exp(log_probabilities) * log_probabilities, 0.0), axis=1)
        terms = -surrogate + 0.5 * (value - rows.to_go) ** 2 - bonus * entropy
        return jnp.sum(jnp.where(rows.going, terms, 0.0)) / jnp.maximum(rows.going.sum(), 1)

    def update(carry: tuple[Any, Any], xs: tuple[Array, Array]) -> tuple[tuple[Any, Any], Array]:
        number, key = xs
        played, shuffled = jax.random.split(key)
        steps = rollout(carry[0], played)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
        raw = flat.to_go - flat.value
        count = jnp.maximum(flat.going.sum(), 1)
        center = jnp.sum(jnp.where(flat.going, raw, 0.0)) / count
        spread = jnp.sqrt(jnp.sum(jnp.where(flat.going, (raw - center) ** 2, 0.0)) / count)
        advantage = (raw - center) / (spread + 1e-8)
        bonus = settings.entropy * (1 - number / settings.updates)

        def epoch(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], None]:
            size = flat.to_go.shape[0] // settings.minibatches
            order = jax.random.permutation(key, flat.to_go.shape[0])[: size * settings.minibatches]

            def part(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], None]:
                params, moments = carry
                rows = jax.tree.map(lambda x: x[index], flat)
                gradient = jax.grad(loss)(params, rows, advantage[index], bonus)
                changes, moments = optimiser.update(gradient, moments, params)
                return (optax.apply_updates(params, changes), moments), None

            return lax.scan(part, carry, order.reshape(settings.minibatches, size))

        carry, _ = lax.scan(epoch, carry, jax.random.split(shuffled, settings.epochs))
        return carry, steps.to_go[0].mean()

    numbers = jnp.arange(settings.updates)
    keys = jax.random.split(rest, settings.updates)
    (params, _), returns = lax.scan(update, (params, optimiser.init(params)), (numbers, keys))
    return params, returns
