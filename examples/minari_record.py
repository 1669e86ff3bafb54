"""Minari: record episodes with infos, load them, replay them identically. `pip install "minari[create,hdf5]"`."""

import os
import tempfile

import gymnasium as gym

os.environ["MINARI_DATASETS_PATH"] = tempfile.mkdtemp()
import minari

collector = minari.DataCollector(gym.make("uis_env:UIS/Recorded-v0", horizon=50), record_infos=True)
collector.action_space.seed(0)
for seed in range(4):
    collector.reset(seed=seed)
    while not collector.step(collector.action_space.sample())[2]:
        pass
dataset = collector.create_dataset("uis/recorded-random-v0", algorithm_name="random")
env, same, rewards = dataset.recover_environment(), 0, 0.0
for seed, episode in enumerate(dataset.iterate_episodes()):
    env.reset(seed=seed)
    for action, reward, arm in zip(episode.actions, episode.rewards, episode.infos["arm"][1:], strict=True):
        _, again, *_, info = env.step(action)
        same, rewards = same + (again == reward and info["arm"] == arm), rewards + reward
assert same == dataset.total_steps, "the replay differs"
print(f"{dataset.total_episodes} episodes, {same} steps replayed identically, reward per round {rewards / same:.4f}")
