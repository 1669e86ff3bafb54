"""TorchRL: a collector over the vector environment and policy gradients with γ = 0. `pip install torchrl`."""

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import OneHotCategorical, ProbabilisticActor

import uis_env

WORLD = "uis_env:UIS/Recorded-v0"
torch.manual_seed(0)
envs = GymWrapper(gym.make_vec(WORLD, num_envs=64, split="train", horizon=200))
size, arms = envs.observation_spec["observation"].shape[-1], envs.action_spec.shape[-1]
net = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, arms))
actor = ProbabilisticActor(
    TensorDictModule(net, ["observation"], ["logits"]), in_keys=["logits"], distribution_class=OneHotCategorical
)
optimiser = torch.optim.Adam(net.parameters(), 3e-3)
for batch in Collector(envs, actor, frames_per_batch=1024, total_frames=120_000):
    reward = batch["next", "reward"][..., 0]
    advantage = (reward - reward.mean()) / reward.std()
    chosen = OneHotCategorical(logits=net(batch["observation"]))
    loss = -(chosen.log_prob(batch["action"]) * advantage).mean() - 0.01 * chosen.entropy().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def policy(observation, info):
    """The likeliest arm."""
    return int(net(torch.as_tensor(observation)).argmax())


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95), seeds=range(1000, 1032)))
