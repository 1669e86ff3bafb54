"""coba: its experiment wants the rewards of all arms, which `full_information` yields. `pip install coba`."""

import coba as cb
import gymnasium as gym


class Stream:
    """One episode as a coba environment."""

    def __init__(self, seed):
        self.params = {"seed": seed}

    def read(self):
        """Coba's interactions."""
        played = gym.make("uis_env:UIS/Recorded-v0", horizon=1500).unwrapped.episodes
        for observation, _, rewards in played.full_information(self.params["seed"]):
            yield cb.SimulatedInteraction(observation.tolist(), list(range(played.arms)), rewards.tolist())


environments = cb.Environments([Stream(seed) for seed in range(8)])
result = cb.Experiment(environments, [cb.BanditEpsilonLearner(0.1), cb.RandomLearner()]).run(quiet=True)
rows = list(zip(*(result.interactions[c] for c in ("environment_id", "learner_id", "reward")), strict=True))
gains = [
    sum(r if learner == 0 else -r for where, learner, r in rows if where == e) / 1500
    for e in sorted({x[0] for x in rows})
]
mean = sum(gains) / len(gains)
error = (sum((g - mean) ** 2 for g in gains) / (len(gains) - 1) / len(gains)) ** 0.5
print(f"epsilon-greedy − random, per round: {mean:+.4f} [{mean - 2.36 * error:+.4f}, {mean + 2.36 * error:+.4f}]")
