"""CleanRL's style, one file of PyTorch on `make_vec`: a reward per arm is regressed, ε-greedy. `pip install torch`."""

import gymnasium as gym
import numpy as np
import torch
from torch import nn

import uis_env

WORLD, random = "uis_env:UIS/Recorded-v0", np.random.default_rng(0)
torch.manual_seed(0)
envs = gym.make_vec(WORLD, num_envs=64, split="train", horizon=200)  # an episode's last round is in infos["final_info"]
size, arms = envs.single_observation_space.shape[0], envs.single_action_space.n
net = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, arms))
optimiser = torch.optim.Adam(net.parameters(), 1e-3)
seen, memory = envs.reset(seed=0)[0], []
for step in range(600):
    with torch.no_grad():
        actions = net(torch.as_tensor(seen)).argmax(1).numpy()
    explore = random.random(64) < max(0.1, 1 - step / 300)
    actions = np.where(explore, random.integers(arms, size=64), actions)
    following, rewards, *_ = envs.step(actions)
    memory.append((seen, actions, rewards.astype(np.float32)))  # γ = 0: the target is the reward
    seen = following
    for _ in range(4):
        rows = [memory[i] for i in random.integers(len(memory), size=4)]
        x, a, r = (torch.as_tensor(np.concatenate(part)) for part in zip(*rows, strict=True))
        loss = ((net(x).gather(1, a[:, None])[:, 0] - r) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def policy(observation, info):
    """The arm of the greatest estimated reward."""
    return int(net(torch.as_tensor(observation)).argmax())


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1032)))
