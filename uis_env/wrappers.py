"""Views of the environment for learners that want other actions or other rewards."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from uis_env.arms import Arm
from uis_env.env import UISEnv
from uis_env.episodes import Episodes
from uis_env.fallback import ranking


class GridActions(gym.ActionWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """`MultiDiscrete([models, recipes, budgets])` in place of `Discrete(K)`, in the order of the catalog's own lists.

    A place of the grid without an arm, or whose arm is not on offer, plays the nearest budget of the same model, method
    and style on offer, else the cheapest arm on offer; `info["arm"]` tells which.

    Args:
        env: a UISEnv, possibly wrapped.

    Raises:
        ValueError: if the environment is no UISEnv.

    Example:
        >>> import gymnasium as gym
        >>> from uis_env import GridActions
        >>> env = GridActions(gym.make("uis_env:UIS/Recorded-v0"))
        >>> env.action_space
        MultiDiscrete([ 3 10  5])
        >>> _ = env.reset(seed=0)
        >>> str(env.unwrapped.names[env.step([0, 0, 4])[4]["arm"]])  # `single` has one budget
        'smollm2-135m/single-direct@1'
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        inner = _inner(env)
        catalog = inner.episodes.world.catalog
        parts = catalog.models, catalog.recipes, catalog.budgets
        grid = [Arm(model, method, budget, style) for model, (method, style), budget in itertools.product(*parts)]
        shape = [len(part) for part in parts]
        ranked = ranking(inner.episodes.world, grid, inner.episodes.reward.cost_channel)
        self._ranked = ranked.reshape(*shape, -1)
        self.action_space = spaces.MultiDiscrete(shape)

    def action(self, action: Any) -> int:
        """The arm's id from its places in the lists of models, recipes and budgets."""
        chosen = np.asarray(action)
        if chosen.dtype.kind not in "iu" or not self.action_space.contains(chosen.astype(np.int64)):
            raise ValueError(f"action {action!r} is outside {self.action_space}")
        model, recipe, budget = chosen
        ranked = self._ranked[model, recipe, budget]
        return int(ranked[_inner(self.env).action_masks()[ranked].argmax()])


class VectorReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The outcome as a vector of objectives, all to be maximised: quality, −cost and −latency.

    The shape is MO-Gymnasium's: `step` returns a float32 vector, `reward_space` is its `Box`, `reward_dim` its length.
    Cost is the channel that the reward prices (or the one that the world has); a world without a cost or without
    latency has one objective less, see `objectives`.

    Args:
        env: a UISEnv of rounds that do not influence each other, possibly wrapped.

    Attributes:
        objectives: names of the entries, such as ("quality", "dollars", "latency").
        reward_space: `Box` of the table's range.

    Raises:
        ValueError: if the environment is no such UISEnv.

    Example:
        >>> import gymnasium as gym
        >>> from uis_env import VectorReward
        >>> env = VectorReward(gym.make("uis_env:UIS/Synthetic-v0"))
        >>> env.objectives
        ('quality', 'dollars', 'latency')
        >>> _ = env.reset(seed=0)
        >>> env.step(0)[1].shape
        (3,)
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        played = _inner(env).episodes
        if not isinstance(played, Episodes):
            raise ValueError(f"expected a UISEnv without rules, got {type(env.unwrapped).__name__}")
        costs = [name for name in (played.reward.cost_channel, "dollars", "eflops") if name in played.channels]
        self.objectives = ("quality", *costs[:1], *(name for name in ("latency",) if name in played.channels))
        columns = played.table[:, [2 + played.channels.index(name) for name in self.objectives]]
        high = columns.max(axis=0)
        low = np.append(0.0, -high[1:]).astype(np.float32)
        self.reward_space = spaces.Box(low, np.append(max(high[0], 1.0), 0 * high[1:]).astype(np.float32))
        self.reward_dim = len(self.objectives)
        # MO-Gymnasium's own wrappers look for it there.
        env.unwrapped.reward_space = self.reward_space  # type: ignore[attr-defined]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's, with the vector in the place of the reward, which is in `info["reward"]`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = np.array([info[name] for name in self.objectives], np.float32)
        vector[1:] *= -1
        return observation, vector, terminated, truncated, info | {"reward": np.float64(reward)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | {"reward": np.float64("nan")}


def _inner(env: gym.Env[Any, Any]) -> UISEnv:
    inner = env.unwrapped
    if not isinstance(inner, UISEnv):
        raise ValueError(f"expected a UISEnv, got {type(inner).__name__}")
    return inner
