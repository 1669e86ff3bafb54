"""Views of the environment for learners that want another action space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from uis_env.env import UISEnv


class GridActions(gym.ActionWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """`MultiDiscrete([models, recipes, budgets])` in place of `Discrete(K)`, in the order of the catalog's own lists.

    Only for catalogs where every combination is an arm, and games where every arm is always on offer: marginal masks
    cannot exclude one arm.

    Args:
        env: a UISEnv, possibly wrapped.

    Raises:
        ValueError: if the arms form no full grid, or some arm is not always on offer.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        inner = env.unwrapped
        if not isinstance(inner, UISEnv):
            raise ValueError(f"expected a UISEnv, got {type(inner).__name__}")
        catalog = inner.episodes.world.catalog
        shape = (len(catalog.models), len(catalog.recipes), len(catalog.budgets))
        if len(catalog) != np.prod(shape):
            raise ValueError(
                f"{len(catalog)} arms are no full grid of {shape[0]} models × {shape[1]} methods × {shape[2]} budgets"
            )
        if not inner.episodes.all_on_offer:
            raise ValueError("some arm is not always on offer, which masks over models, methods and budgets cannot say")
        self._ids = np.array(
            [
                [
                    [catalog.id(model, method, budget, style) for budget in catalog.budgets]
                    for method, style in catalog.recipes
                ]
                for model in catalog.models
            ]
        )
        self.action_space = spaces.MultiDiscrete(list(shape))

    def action(self, action: Any) -> int:
        """The arm's id from its places in the lists of models, methods and budgets."""
        if not self.action_space.contains(np.asarray(action)):
            raise ValueError(f"action {action!r} is outside {self.action_space}")
        model, method, budget = action
        return int(self._ids[model, method, budget])
