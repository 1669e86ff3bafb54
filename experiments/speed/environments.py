"""What a round costs through Gymnasium: one environment beside CartPole-v1, and 256 copies beside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

ENVIRONMENT = "uis_env:UIS/Recorded-v0"
COST_WEIGHT = 1000.0
STEPS, EPISODES, COPIES = 500, 40, 256
BALANCE = np.array([0.1, 0.2, 1.0, 1.0])


def cases() -> dict[str, Callable[[], int]]:
    """Whole episodes of 500 steps, CartPole's limit, with actions known in advance; resets are part of it."""
    ours = gym.make(ENVIRONMENT, cost_weight=COST_WEIGHT, horizon=STEPS)
    cart = gym.make("CartPole-v1")
    many = gym.make_vec(ENVIRONMENT, num_envs=COPIES, cost_weight=COST_WEIGHT, horizon=STEPS)
    arms = np.random.default_rng(0).integers(ours.action_space.n, size=(STEPS, COPIES))  # type: ignore[attr-defined]

    def play(env: Any, actions: list[int], again: int | None) -> Callable[[], int]:
        def run() -> int:
            for episode in range(EPISODES):
                env.reset(seed=again if episode else 0)
                for action in actions:
                    env.step(action)
            return EPISODES * STEPS

        return run

    def play_many() -> int:
        many.reset(seed=0)
        for _ in range(EPISODES // 5):  # it resets itself
            for row in arms:
                many.step(row)
        return EPISODES // 5 * arms.size

    return {
        "env_step": play(ours, arms[:, 0].tolist(), None),
        "cartpole_step": play(cart, _balance(cart), 0),
        "env_step_256": play_many,
    }


def _balance(cart: Any) -> list[int]:
    """Actions that keep the pole of seed 0 up for a whole episode: CartPole is deterministic after its reset."""
    observation, _ = cart.reset(seed=0)
    actions: list[int] = []
    ended = False
    while not ended:
        actions.append(int(observation @ BALANCE > 0))
        observation, _, fell, ended, _ = cart.step(actions[-1])
        if fell:
            raise RuntimeError("the pole fell: these actions suit another CartPole-v1")
    return actions
