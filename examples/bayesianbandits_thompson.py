"""bayesianbandits, linear Thompson sampling on batches of 64 rounds. `pip install bayesianbandits`."""

import gymnasium as gym
from bayesianbandits import Arm, ContextualAgent, NormalRegressor, ThompsonSampling

import uis_env

WORLD = "uis_env:UIS/Recorded-v0"
envs = gym.make_vec(WORLD, num_envs=64, split="train", horizon=200)
arms = [Arm(k, learner=NormalRegressor(alpha=1.0, beta=10.0)) for k in range(envs.single_action_space.n)]
agent = ContextualAgent(arms, ThompsonSampling(), random_seed=0)
seen, _ = envs.reset(seed=0)
for _ in range(100):
    actions = agent.pull(seen)
    following, rewards, *_ = envs.step(actions)
    for arm in set(actions):
        rows = [i for i, played in enumerate(actions) if played == arm]
        agent.select_for_update(arm).update(seen[rows], rewards[rows])
    seen = following


def policy(observation, info):
    """A draw of Thompson sampling."""
    return agent.pull(observation[None])[0]


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1016)))
