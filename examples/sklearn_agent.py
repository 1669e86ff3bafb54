"""scikit-learn in the paired tables: epsilon-greedy over one linear regressor per arm.

python -m experiments run paper_configs/quickstart.toml --gym-agent examples.sklearn_agent:Greedy
"""

import numpy as np
from sklearn.linear_model import SGDRegressor


class Greedy:
    """Plays the arm of the highest predicted reward, and with probability `epsilon` any arm on offer."""

    def __init__(self, env, epsilon=0.1):
        self.models = [SGDRegressor(learning_rate="constant", eta0=0.05) for _ in range(env.action_space.n)]
        self.weights = np.zeros((len(self.models), env.observation_space.shape[0] + 1))
        self.epsilon = epsilon

    def reset(self, seed):
        self.random = np.random.default_rng(seed)

    def act(self, observation, info):
        offered = np.flatnonzero(info["action_mask"])
        if self.random.random() < self.epsilon:
            return self.random.choice(offered)
        return offered[(self.weights[offered] @ np.append(observation, 1.0)).argmax()]

    def learn(self, observation, action, reward, next_observation, done, info):
        model = self.models[action].partial_fit(observation[None], [reward])
        self.weights[action] = np.append(model.coef_, model.intercept_)
