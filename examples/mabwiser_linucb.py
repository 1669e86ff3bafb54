"""MABWiser, LinUCB on batches of 64 rounds. `pip install mabwiser`."""

import gymnasium as gym
from mabwiser.mab import MAB, LearningPolicy

import uis_env

WORLD = "uis_env:UIS/Recorded-v0"
envs = gym.make_vec(WORLD, num_envs=64, split="train", horizon=200)
seen, _ = envs.reset(seed=0)
mab = MAB(list(range(envs.single_action_space.n)), LearningPolicy.LinUCB(alpha=0.3), seed=0)
mab.fit([0], [0.0], seen[:1])  # it wants data before its first prediction
for _ in range(100):
    arms = mab.predict(seen)
    following, rewards, *_ = envs.step(arms)
    mab.partial_fit(arms, rewards, seen)
    seen = following


def policy(observation, info):
    """LinUCB's arm."""
    return mab.predict(observation[None])


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1016)))
