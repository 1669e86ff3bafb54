"""One episode on the installed wheel, in an environment where `agents` belongs to another distribution."""

import importlib.util
from pathlib import Path

import gymnasium as gym

import agents

assert "site-packages" in str(Path(agents.__file__)), agents.__file__
assert importlib.util.find_spec("jax") is None
env = gym.make("uis_env:UIS/Recorded-v0", horizon=100)
observation, info = env.reset(seed=0)
total, done = 0.0, False
while not done:
    action = env.action_space.sample(info["action_mask"])
    observation, reward, terminated, truncated, info = env.step(action)
    total, done = total + reward, terminated or truncated
print(f"an episode of 100 rounds in a clean environment: mean reward {total / 100:.3f}")
