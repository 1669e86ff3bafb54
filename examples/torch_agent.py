"""PyTorch in the paired tables: epsilon-greedy over a network that predicts the reward of every arm.

python -m experiments run paper_configs/quickstart.toml --gym-agent examples.torch_agent:Network,hidden=64
"""

import numpy as np
import torch


class Network:
    """Plays the arm of the highest predicted reward, and with probability `epsilon` any arm on offer."""

    def __init__(self, env, hidden=32, epsilon=0.1, rate=0.01):
        torch.set_num_threads(1)  # several processes play at once
        size, arms = env.observation_space.shape[0], int(env.action_space.n)
        self.network = torch.nn.Sequential(
            torch.nn.Linear(size, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, arms)
        )
        self.optimiser = torch.optim.Adam(self.network.parameters(), rate)
        self.epsilon = epsilon

    def reset(self, seed):
        self.random = np.random.default_rng(seed)

    def act(self, observation, info):
        mask = info["action_mask"] == 1
        if self.random.random() < self.epsilon:
            return self.random.choice(np.flatnonzero(mask))
        with torch.no_grad():
            worth = self.network(torch.from_numpy(observation)).numpy()
        return np.where(mask, worth, -np.inf).argmax()

    def learn(self, observation, action, reward, next_observation, done, info):
        self.optimiser.zero_grad()
        error = self.network(torch.from_numpy(observation))[action] - reward
        (error**2).backward()
        self.optimiser.step()
