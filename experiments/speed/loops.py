"""What one would write by hand in NumPy: the same algorithms on the same tapes, one round after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.speed.problem import Array, Problem

SCHEDULE = {"hidden": 32, "features": 16, "every": 50, "steps": 20, "batch": 64, "rate": 3e-3}
"""The defaults of `agents.neural_linear`."""


class Loop:
    """A learner that is asked and told one decision at a time, timed on the tapes of seeds 0, 1, ... in turn.

    Args:
        problem: what to play.
        make: seed -> learner with `act(x) -> arm` and `learn(x, arm, reward)`.
        rounds: of each run, from the tape's first.

    Attributes:
        regret: of each run.
    """

    def __init__(self, problem: Problem, make: Callable[[int], Any], rounds: int) -> None:
        self.problem, self.make, self.rounds = problem, make, rounds
        self.regret: list[float] = []

    def run(self) -> int:
        """Plays the next seed; returns the rounds played."""
        seed = len(self.regret)
        action, regret = play(self.problem, self.make(seed), seed, self.rounds)
        self.regret.append(float(regret.sum(dtype=np.float64)))
        return len(action)


def play(problem: Problem, learner: Any, seed: int, rounds: int) -> tuple[Array, Array]:
    """(rounds,) actions and regret of a learner over the first rounds of a seed's tape."""
    query, draw, phase = (part[0, :rounds] for part in problem.tapes(range(seed, seed + 1)))
    context, reward, regret = problem.bandit.context, problem.bandit.reward, problem.bandit.regret
    action = np.zeros(rounds, np.int64)
    for t in range(rounds):
        x = context[query[t]]
        arm = action[t] = learner.act(x)
        learner.learn(x, arm, reward[phase[t], query[t], draw[t], arm])
    return action, regret[phase, query, action]


class LinUCB:
    """Disjoint LinUCB with Sherman-Morrison, vectorised over arms by `einsum`.

    Args:
        arms: K.
        dim: D.
        alpha, ridge: as in `agents.linear.linucb`.
        seed: of the tie-breaking.
        dtype: float32 or float64.
    """

    def __init__(self, arms: int, dim: int, alpha: float, ridge: float, seed: int = 0, dtype: Any = np.float32) -> None:
        self.alpha = alpha
        self.inverse = np.tile(np.eye(dim, dtype=dtype) / dtype(ridge), (arms, 1, 1))
        self.moment = np.zeros((arms, dim), dtype)
        self.weights = np.zeros((arms, dim), dtype)
        self.random = np.random.default_rng(seed)

    def variance(self, x: Array) -> Array:
        """(K,) x'A^-1 x."""
        found: Array = np.einsum("i,kij,j->k", x, self.inverse, x)
        return found

    def scores(self, x: Array) -> Array:
        """(K,) upper confidence bounds."""
        return self.weights @ x + self.alpha * np.sqrt(self.variance(x))

    def act(self, x: Array) -> int:
        """The arm with the greatest bound; ties at random."""
        scores = self.scores(x)
        best = np.flatnonzero(scores >= scores.max())
        return int(best[0] if len(best) == 1 else self.random.choice(best))

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation."""
        gain = self.inverse[arm] @ x
        self.inverse[arm] -= np.outer(gain, gain) / (1 + x @ gain)
        self.moment[arm] += reward * x
        self.weights[arm] = self.inverse[arm] @ self.moment[arm]


class TunedLinUCB(LinUCB):
    """The same with two BLAS products in the place of `einsum`: as fast as NumPy gets."""

    def variance(self, x: Array) -> Array:
        """(K,) x'A^-1 x."""
        arms, dim, _ = self.inverse.shape
        return (self.inverse.reshape(arms * dim, dim) @ x).reshape(arms, dim) @ x


class NeuralLinear:
    """Neural-linear UCB on the schedule of `agents.neural_linear.neural_linear_ucb`, gradients by hand.

    Args:
        arms: K.
        dim: D.
        alpha, ridge: of the last layer.
        rounds: N, size of the replay.
        seed: of weights and batches.
    """

    def __init__(self, arms: int, dim: int, alpha: float, ridge: float, rounds: int, seed: int = 0) -> None:
        width, features = int(SCHEDULE["hidden"]), int(SCHEDULE["features"])
        self.random = np.random.default_rng(seed)
        self.alpha, self.ridge = alpha, ridge
        shapes = {"w1": (dim, width), "b1": (width,), "w2": (width, features), "b2": (features,)}
        self.params = {
            name: (self.random.standard_normal(shape) / np.sqrt(shape[0]) * (len(shape) > 1)).astype(np.float32)
            for name, shape in shapes.items()
        }
        heads = self.random.standard_normal((features + 1, arms)) / np.sqrt(features + 1)
        self.params["heads"] = heads.astype(np.float32)
        self.first = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.second = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.steps = 0
        self.contexts = np.zeros((rounds, dim), np.float32)
        self.actions = np.zeros(rounds, np.int64)
        self.rewards = np.zeros(rounds, np.float32)
        self.seen = 0
        self.arms = arms
        self.model = TunedLinUCB(arms, features + 1, alpha, ridge, seed)

    def forward(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """(n, D) -> hidden layer, length of the last layer, features of length one, features with a constant."""
        hidden = np.maximum(x @ self.params["w1"] + self.params["b1"], 0)
        last = hidden @ self.params["w2"] + self.params["b2"]
        length = np.sqrt((last * last).sum(axis=-1, keepdims=True) + np.float32(1e-6))
        unit = last / length
        ones = np.ones((*unit.shape[:-1], 1), np.float32)
        return hidden, length, unit, np.concatenate([unit, ones], axis=-1)

    def act(self, x: Array) -> int:
        """The arm with the greatest bound."""
        return self.model.act(self.forward(x)[-1])

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation, and retrains when it is time."""
        self.model.learn(self.forward(x)[-1], arm, reward)
        at = self.seen % len(self.actions)
        self.contexts[at], self.actions[at], self.rewards[at] = x, arm, reward
        self.seen += 1
        if self.seen % int(SCHEDULE["every"]) == 0:
            filled = min(self.seen, len(self.actions))
            for _ in range(int(SCHEDULE["steps"])):
                self.step(self.random.integers(filled, size=int(SCHEDULE["batch"])))
            self.rebuild(filled)

    def gradients(self, rows: Array) -> dict[str, Array]:
        """Of the mean squared error of the played arms' rewards."""
        x, arm, reward = self.contexts[rows], self.actions[rows], self.rewards[rows]
        hidden, length, unit, z = self.forward(x)
        heads = self.params["heads"].T[arm]
        slope = (2 / len(rows)) * ((z * heads).sum(axis=1) - reward)[:, None]
        d_heads = np.zeros((self.arms, z.shape[1]), z.dtype)
        np.add.at(d_heads, arm, slope * z)
        d_unit = (slope * heads)[:, :-1]
        d_last = (d_unit - unit * (d_unit * unit).sum(axis=1, keepdims=True)) / length
        d_hidden = (d_last @ self.params["w2"].T) * (hidden > 0)
        return {
            "w1": x.T @ d_hidden,
            "b1": d_hidden.sum(axis=0),
            "w2": hidden.T @ d_last,
            "b2": d_last.sum(axis=0),
            "heads": d_heads.T,
        }

    def step(self, rows: Array) -> None:
        """One step of Adam."""
        self.steps += 1
        for name, gradient in self.gradients(rows).items():
            self.first[name] += 0.1 * (gradient - self.first[name])
            self.second[name] += 0.001 * (gradient * gradient - self.second[name])
            first = self.first[name] / (1 - 0.9**self.steps)
            second = self.second[name] / (1 - 0.999**self.steps)
            self.params[name] -= np.float32(SCHEDULE["rate"]) * first / (np.sqrt(second) + np.float32(1e-8))

    def rebuild(self, filled: int) -> None:
        """All posteriors from the replayed rounds in the network's features."""
        z = self.forward(self.contexts[:filled])[-1]
        arm, reward = self.actions[:filled], self.rewards[:filled]
        precision = np.tile(self.ridge * np.eye(z.shape[1], dtype=np.float32), (self.arms, 1, 1))
        for k in np.unique(arm):
            own = z[arm == k]
            precision[k] += own.T @ own
            self.model.moment[k] = own.T @ reward[arm == k]
        self.model.inverse = np.linalg.inv(precision)
        self.model.weights = np.einsum("kij,kj->ki", self.model.inverse, self.model.moment)
