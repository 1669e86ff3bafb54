"""Stable-Baselines3, DQN: learns on train queries, judged on test queries. `pip install stable-baselines3`."""

import gymnasium as gym
from stable_baselines3 import DQN

import uis_env

WORLD = "uis_env:UIS/Recorded-v0"

# γ = 0: rounds do not influence each other.
model = DQN(
    "MlpPolicy", gym.make(WORLD, split="train", horizon=200), gamma=0.0, learning_rate=1e-3, batch_size=128,
    learning_starts=500, train_freq=4, gradient_steps=2, exploration_fraction=0.5, seed=0,
)  # fmt: skip
model.learn(12_000)


def policy(observation, info):
    """The greedy arm."""
    return int(model.predict(observation, deterministic=True)[0])


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1032)))
