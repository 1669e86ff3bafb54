"""Vowpal Wabbit, contextual bandit with ε-greedy exploration; propensities are its own. `pip install vowpalwabbit`."""

import gymnasium as gym
import numpy as np
from vowpalwabbit import Workspace

import uis_env

WORLD, random = "uis_env:UIS/Recorded-v0", np.random.default_rng(0)
env = gym.make(WORLD, split="train", horizon=20_000)
vw = Workspace(f"--cb_explore {env.action_space.n} --epsilon 0.2 --cb_type dr --quiet")


def line(observation, label=""):
    """VW's text format; actions count from 1, costs are negative rewards."""
    return f"{label} | " + " ".join(f"f{i}:{x:.5f}" for i, x in enumerate(observation))


seen, _ = env.reset(seed=0)
over = False
while not over:
    chances = np.array(vw.predict(line(seen)))
    arm = int(random.choice(len(chances), p=chances / chances.sum()))
    following, reward, over, *_ = env.step(arm)
    vw.learn(line(seen, f"{arm + 1}:{-reward:.5f}:{chances[arm]:.5f}"))
    seen = following


def policy(observation, info):
    """The arm that VW likes best."""
    return int(np.argmax(vw.predict(line(observation))))


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1032)))
