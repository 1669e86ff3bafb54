"""What people use instead: loops written by hand, and the closest learner of each library (extra `[peers]`).

Each makes one decision at a time. Where it is the very algorithm of ours, regrets have to agree for the ratio to mean
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from experiments.speed.loops import SCHEDULE, LinUCB, NeuralLinear, TunedLinUCB
from experiments.speed.problem import Array, Problem

ALPHA, SCALE = 1.0, 0.3
"""Widths of the bonus and of the posterior, for all LinUCBs and all Thompson samplers."""
RIDGE, NEURAL_RIDGE = 1.0, 0.25
"""MABWiser starts its inverse at λI in the place of I/λ, so only λ = 1 compares."""


class MABWiser:
    """`LearningPolicy.LinUCB`, fitted round by round."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        arms = list(range(problem.spec.arms))
        self.mab = MAB(arms, LearningPolicy.LinUCB(alpha=ALPHA, l2_lambda=RIDGE), seed=seed)
        self.first = int(np.random.default_rng(seed).integers(len(arms)))  # it predicts only after a first fit
        self.fitted = False

    def act(self, x: Array) -> int:
        """An arm."""
        return int(self.mab.predict(x[None])) if self.fitted else self.first

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation."""
        fit = self.mab.partial_fit if self.fitted else self.mab.fit
        fit([arm], [float(reward)], x[None])
        self.fitted = True


class ContextualBandits:
    """`LinUCB` with Sherman-Morrison updates."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from contextualbandits.online import LinUCB

        self.model = LinUCB(
            problem.spec.arms,
            alpha=ALPHA,
            lambda_=RIDGE,
            fit_intercept=False,
            method="sm",
            random_state=seed + 1,
            njobs=1,
        )

    def act(self, x: Array) -> int:
        """An arm."""
        return int(self.model.predict(x[None])[0])

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation."""
        self.model.partial_fit(x[None], np.array([arm]), np.array([reward]))


class BayesianBandits:
    """`ContextualAgent` of `NormalRegressor` arms with Thompson sampling."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from bayesianbandits import Arm, ContextualAgent, NormalRegressor, ThompsonSampling

        precision = 1 / SCALE**2
        arms = [
            Arm(a, learner=NormalRegressor(alpha=RIDGE * precision, beta=precision)) for a in range(problem.spec.arms)
        ]
        self.agent: Any = ContextualAgent(arms, ThompsonSampling(), random_seed=seed)

    def act(self, x: Array) -> int:
        """An arm."""
        return int(self.agent.pull(x[None])[0])

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation; the agent remembers the arm it pulled."""
        self.agent.update(x[None], np.array([reward]))


class Coba:
    """`LinUCBLearner` on query and arm features side by side: our shared LinUCB with raw features."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from coba.learners import LinUCBLearner

        self.learner = LinUCBLearner(alpha=ALPHA, features=["x", "a"], seed=seed + 1)
        self.actions = [tuple(row) for row in problem.spec.features.tolist()]
        self.ids = {row: arm for arm, row in enumerate(self.actions)}
        self.probability = 1.0

    def act(self, x: Array) -> int:
        """An arm."""
        action, self.probability = self.learner.predict(x.tolist(), self.actions)[:2]
        return self.ids[tuple(action)]

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation."""
        self.learner.learn(x.tolist(), self.actions[arm], float(reward), self.probability)


class VowpalWabbit:
    """`--cb_explore_adf --regcbopt`: optimistic, linear in query x arm, trained by online gradient descent."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from vowpalwabbit import Workspace

        self.vw = Workspace(f"--cb_explore_adf --regcbopt --interactions xa --random_seed {seed} --quiet")
        self.arms = [f"|a arm={a}" for a in range(problem.spec.arms)]
        self.random = np.random.default_rng(seed)
        self.probability = 1.0

    def act(self, x: Array) -> int:
        """An arm, drawn from its distribution."""
        share = np.array(self.vw.predict([self.shared(x), *self.arms]), np.float64)
        arm = int(self.random.choice(len(share), p=share / share.sum()))
        self.probability = float(share[arm])
        return arm

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation."""
        lines = list(self.arms)
        lines[arm] = f"0:{-float(reward)}:{self.probability} {lines[arm]}"
        self.vw.learn([self.shared(x), *lines])

    def shared(self, x: Array) -> str:
        """A query in VW's text format."""
        return "shared |x " + " ".join(f"{i}:{value:.6g}" for i, value in enumerate(x.tolist()))


class Torch:
    """Neural-linear UCB in PyTorch, on the same schedule as ours: autograd, Adam and a linear layer as they come."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import torch

        torch.set_num_threads(1)

        spec = problem.spec
        torch.manual_seed(seed)
        width, features = int(SCHEDULE["hidden"]), int(SCHEDULE["features"])
        self.torch = torch
        self.body = torch.nn.Sequential(
            torch.nn.Linear(spec.context, width), torch.nn.ReLU(), torch.nn.Linear(width, features)
        )
        self.heads = torch.nn.Linear(features + 1, spec.arms, bias=False)
        self.optimiser = torch.optim.Adam([*self.body.parameters(), *self.heads.parameters()], lr=SCHEDULE["rate"])
        self.model = TunedLinUCB(spec.arms, features + 1, ALPHA, NEURAL_RIDGE, seed)
        self.context = torch.zeros(spec.horizon, spec.context)
        self.action = torch.zeros(spec.horizon, dtype=torch.long)
        self.reward = torch.zeros(spec.horizon)
        self.seen = 0

    def features(self, x: Any) -> Any:
        """Features of length one, and a constant."""
        unit = self.torch.nn.functional.normalize(self.body(x), dim=-1)
        return self.torch.cat([unit, self.torch.ones(*unit.shape[:-1], 1)], dim=-1)

    def act(self, x: Array) -> int:
        """An arm."""
        with self.torch.no_grad():
            return self.model.act(self.features(self.torch.from_numpy(x)).numpy())

    def learn(self, x: Array, arm: int, reward: float) -> None:
        """Adds an observation, and retrains when it is time."""
        torch = self.torch
        with torch.no_grad():
            self.model.learn(self.features(torch.from_numpy(x)).numpy(), arm, reward)
        at = self.seen % len(self.action)
        self.context[at], self.action[at], self.reward[at] = torch.from_numpy(x), arm, float(reward)
        self.seen += 1
        if self.seen % int(SCHEDULE["every"]):
            return
        filled = min(self.seen, len(self.action))
        for _ in range(int(SCHEDULE["steps"])):
            rows = torch.randint(filled, (int(SCHEDULE["batch"]),))
            predicted = self.heads(self.features(self.context[rows])).gather(1, self.action[rows][:, None])[:, 0]
            loss = ((predicted - self.reward[rows]) ** 2).mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        with torch.no_grad():
            z = self.features(self.context[:filled])
            arms, dim = self.heads.out_features, z.shape[1]
            precision = NEURAL_RIDGE * torch.eye(dim).repeat(arms, 1, 1)
            precision.index_add_(0, self.action[:filled], z[:, :, None] * z[:, None, :])
            moment = torch.zeros(arms, dim).index_add_(0, self.action[:filled], z * self.reward[:filled, None])
            inverse = torch.linalg.inv(precision)
            self.model.inverse, self.model.moment = inverse.numpy(), moment.numpy()
            self.model.weights = torch.einsum("kij,kj->ki", inverse, moment).numpy()


@dataclass(frozen=True)
class Peer:
    """Something to compare with.

    Attributes:
        make: (problem, seed) -> learner with act(x) and learn(x, arm, reward).
        against: which of ours its speed is compared with.
        same: whether that is the same algorithm.
        rounds: of one timed run, a second or two.
        what: in words.
    """

    make: Callable[[Problem, int], Any]
    against: str
    same: bool
    rounds: int
    what: str


BY_HAND: Mapping[str, Peer] = MappingProxyType(
    {
        "numpy_loop": Peer(
            lambda problem, seed: LinUCB(*_sizes(problem), ALPHA, RIDGE, seed),
            *("linucb_disjoint", True, 2000, "LinUCB by hand, with einsum"),
        ),
        "numpy_loop_tuned": Peer(
            lambda problem, seed: TunedLinUCB(*_sizes(problem), ALPHA, RIDGE, seed),
            *("linucb_disjoint", True, 2000, "LinUCB by hand, with BLAS"),
        ),
        "numpy_neural_linear": Peer(
            lambda problem, seed: NeuralLinear(*_sizes(problem), ALPHA, NEURAL_RIDGE, problem.schedule.horizon, seed),
            *("neural_linear", False, 2000, "neural-linear UCB by hand, with BLAS"),
        ),
    }
)
PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "mabwiser": Peer(MABWiser, "linucb_disjoint", True, 200, "MABWiser's LinUCB"),
        "contextualbandits": Peer(ContextualBandits, "linucb_disjoint", True, 400, "contextualbandits' LinUCB"),
        "bayesianbandits": Peer(BayesianBandits, "linear_thompson", True, 200, "bayesianbandits' Thompson sampling"),
        "coba": Peer(Coba, "linucb_shared", True, 400, "coba's LinUCB, on query and arm features"),
        "vowpalwabbit": Peer(VowpalWabbit, "linucb_disjoint", False, 1000, "Vowpal Wabbit's closest, RegCB"),
        "pytorch": Peer(Torch, "neural_linear", False, 1000, "neural-linear UCB by hand in PyTorch"),
    }
)


def trouble(name: str, problem: Problem) -> str | None:
    """Why a peer cannot be timed here, in a line; None if it plays a round."""
    try:
        learner, x = PEERS[name].make(problem, 0), problem.bandit.context[0]
        learner.learn(x, learner.act(x), 0.5)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None


def _sizes(problem: Problem) -> tuple[int, int]:
    return problem.spec.arms, problem.spec.context
