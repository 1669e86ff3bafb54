"""Stable-Baselines3, PPO on the fast vector environment. `pip install stable-baselines3`."""

import gymnasium as gym
from stable_baselines3 import PPO

import uis_env
from uis_env.adapters.sb3 import SB3VecEnv

WORLD = "uis_env:UIS/Recorded-v0"

envs = SB3VecEnv(gym.make_vec(WORLD, num_envs=64, split="train", horizon=200))
# γ = 0: rounds do not influence each other.
model = PPO(
    "MlpPolicy", envs, gamma=0.0, gae_lambda=0.0, n_steps=16, batch_size=256, ent_coef=0.01, learning_rate=1e-3, seed=0
)
model.learn(60_000)


def policy(observation, info):
    """The likeliest arm."""
    return int(model.predict(observation, deterministic=True)[0])


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1032)))
