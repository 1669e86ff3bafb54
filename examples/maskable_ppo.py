"""sb3-contrib, MaskablePPO: arms come and go (`new_model`), masks are found. `pip install sb3-contrib`."""

import gymnasium as gym
from sb3_contrib import MaskablePPO

import uis_env
from uis_env.adapters.sb3 import SB3VecEnv

WORLD, SCENE = "uis_env:UIS/Recorded-v0", {"scenario": "new_model"}

envs = SB3VecEnv(gym.make_vec(WORLD, num_envs=64, split="train", horizon=200, **SCENE))
model = MaskablePPO(
    "MlpPolicy", envs, gamma=0.0, gae_lambda=0.0, n_steps=16, batch_size=256, ent_coef=0.01, learning_rate=1e-3, seed=0
)
model.learn(60_000)


def policy(observation, info):
    """The likeliest arm on offer."""
    return int(model.predict(observation, action_masks=info["action_mask"], deterministic=True)[0])


print(uis_env.evaluate(policy, gym.make(WORLD, split="test", horizon=95, **SCENE), seeds=range(1000, 1032)))
