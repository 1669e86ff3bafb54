"""Our vector environment as a Stable-Baselines3 `VecEnv`, so that its one lookup per round is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from uis_env.vector import UISVectorEnv


class SB3VecEnv(VecEnv):  # type: ignore[misc, unused-ignore]
    """Stable-Baselines3's view of a `UISVectorEnv` with autoreset "same_step".

    Example: `PPO("MlpPolicy", SB3VecEnv(gym.make_vec("uis_env:UIS/Recorded-v0", num_envs=64)), gamma=0.0)`.
    """

    _seeds: list[int | None]

    def __init__(self, envs: UISVectorEnv) -> None:
        if envs.autoreset_mode.name != "SAME_STEP":
            raise ValueError(f"autoreset is {envs.autoreset_mode.name.lower()!r}, expected 'same_step'")
        self.envs, self.actions = envs, np.zeros(envs.num_envs, np.int64)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """Begins with the seed of `seed`, if one was given."""
        seed, self._seeds = self._seeds[0], [None] * self.num_envs
        return self.envs.reset(seed=seed)[0]

    def step_async(self, actions: Any) -> None:
        """Keeps the actions for `step_wait`."""
        self.actions = actions

    def step_wait(self) -> Any:
        """One round; an episode's last observation is in `terminal_observation`."""
        observations, rewards, terminated, _, infos = self.envs.step(self.actions)
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated):
            rows[i] = {"terminal_observation": infos["final_obs"][i], "TimeLimit.truncated": False}
        return observations, rewards.astype(np.float32), terminated, rows

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """`action_masks`, for MaskablePPO."""
        return list(getattr(self.envs, method_name)(*args, **kwargs))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each."""
        return [getattr(self.envs, attr_name)] * self.num_envs

    def has_attr(self, attr_name: str) -> bool:
        """Whether it has an attribute."""
        return hasattr(self.envs, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets an attribute of the vector environment."""
        setattr(self.envs, attr_name, value)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * self.num_envs

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()
