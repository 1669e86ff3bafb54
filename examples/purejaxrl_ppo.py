"""PPO after PureJaxRL in one file: training is one jitted program, mapped over seeds. Needs `uis-env[agents]` only.

    python examples/purejaxrl_ppo.py Recorded
    python examples/purejaxrl_ppo.py Synthetic

Rounds do not influence each other, so γ = 0: the advantage is the reward minus its estimate.
"""

import sys
import time

import flax.linen as nn
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax

import uis_env
from uis_env.adapters.jax import make

ENVS, STEPS, UPDATES, EPOCHS, PARTS, SEEDS = 128, 16, 100, 4, 4, 4
RATE, CLIP, ENTROPY = 2e-3, 0.2, 0.01


class ActorCritic(nn.Module):
    """Logits of all arms, and the expected reward."""

    arms: int

    @nn.compact
    def __call__(self, x):
        """(..., D) -> (..., K) logits, (...) values."""
        h, g = x, x
        for _ in range(2):
            h, g = nn.tanh(nn.Dense(64)(h)), nn.tanh(nn.Dense(64)(g))
        return nn.Dense(self.arms, kernel_init=nn.initializers.orthogonal(0.01))(h), nn.Dense(1)(g)[..., 0]


def train(key, env, params):
    """Network parameters, and the mean reward of each update."""
    net, optimiser = ActorCritic(env.num_actions), optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE))
    key, a, b = jax.random.split(key, 3)
    observation, state = jax.vmap(env.reset, (0, None))(jax.random.split(a, ENVS), params)
    weights = net.init(b, observation)

    def loss(weights, batch):
        observation, action, old, value, reward = batch
        logits, estimate = net.apply(weights, observation)
        log = jax.nn.log_softmax(logits)
        ratio = jnp.exp(jnp.take_along_axis(log, action[:, None], 1)[:, 0] - old)
        gain = reward - value
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        surrogate = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * gain)
        entropy = -(jnp.exp(log) * log).sum(1)
        return (-surrogate + 0.5 * (estimate - reward) ** 2 - ENTROPY * entropy).mean()

    def round_(carry, key):
        weights, observation, state = carry
        logits, value = net.apply(weights, observation)
        action = jax.random.categorical(key, logits)
        old = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], 1)[:, 0]
        after, state, reward, *_ = jax.vmap(env.step, (None, 0, 0, None))(key, state, action, params)
        return (weights, after, state), (observation, action, old, value, reward)

    def part(carry, batch):
        weights, moments = carry
        changes, moments = optimiser.update(jax.grad(loss)(weights, batch), moments, weights)
        return (optax.apply_updates(weights, changes), moments), None

    def update(carry, key):
        weights, moments, observation, state = carry
        play, shuffle = jax.random.split(key)
        (_, observation, state), rows = jax.lax.scan(
            round_, (weights, observation, state), jax.random.split(play, STEPS)
        )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)

        def epoch(carry, key):
            order = jax.random.permutation(key, ENVS * STEPS).reshape(PARTS, -1)
            return jax.lax.scan(part, carry, jax.tree.map(lambda x: x[order], flat))

        (weights, moments), _ = jax.lax.scan(epoch, (weights, moments), jax.random.split(shuffle, EPOCHS))
        return (weights, moments, observation, state), rows[4].mean()

    carry = weights, optimiser.init(weights), observation, state
    (weights, *_), rewards = jax.lax.scan(update, carry, jax.random.split(key, UPDATES))
    return weights, rewards


def main(world="Recorded"):
    """Trains on train queries, prints the evaluation on test queries for each seed."""
    env, params = make(world, horizon=200, split="train")
    program = jax.jit(jax.vmap(lambda key: train(key, env, params)))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    jax.block_until_ready(program(keys))
    start = time.perf_counter()
    weights, rewards = jax.block_until_ready(program(keys))
    rate = SEEDS * UPDATES * STEPS * ENVS / (time.perf_counter() - start)
    print(f"{world}: {SEEDS} seeds, {rate:,.0f} environment steps per second while learning")
    test = gym.make(f"uis_env:UIS/{world}-v0", split="test", horizon=95)
    choose = jax.jit(lambda weights, x: ActorCritic(env.num_actions).apply(weights, x)[0].argmax())
    for i in range(SEEDS):
        mine = jax.tree.map(lambda x, i=i: x[i], weights)
        result = uis_env.evaluate(lambda x, info, mine=mine: int(choose(mine, x)), test, range(1000, 1016))
        gain = result.over("best_fixed")
        print(
            f"seed {i}: train {np.asarray(rewards[i, 0]):.3f} -> {np.asarray(rewards[i, -1]):.3f}; test "
            f"{result.policy.mean():.3f}, over the best fixed arm {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
