"""How good a policy is, beside the best fixed arm, a random policy and the oracle of the very same episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from uis_env.spaces import positive, seed_of

Array = NDArray[Any]
REFERENCES = ("best_fixed", "random", "oracle")
LEVEL = 0.95


class Difference(NamedTuple):
    """A mean of paired differences and its 95% interval (Student's t over seeds; NaN for one seed)."""

    value: float
    low: float
    high: float


class Evaluation(NamedTuple):
    """Mean rewards per round, (n,) float64 each, of n episodes.

    Attributes:
        seeds: n.
        policy: of the policy.
        best_fixed: of the arm that would have been best on that very episode, had one arm been played throughout.
        random: of a uniform choice among the arms on offer.
        oracle: of the arm with the highest expected reward in every round.
    """

    seeds: tuple[int, ...]
    policy: Array
    best_fixed: Array
    random: Array
    oracle: Array

    def over(self, reference: str = "best_fixed") -> Difference:
        """The policy minus a reference, paired by seed."""
        if reference not in REFERENCES:
            raise ValueError(f"reference is {reference!r}, expected one of {', '.join(REFERENCES)}")
        difference = self.policy - getattr(self, reference)
        count, mean = len(difference), float(difference.mean())
        if count < 2:
            return Difference(mean, math.nan, math.nan)
        half = student(count - 1) * float(difference.std(ddof=1)) / math.sqrt(count)
        return Difference(mean, mean - half, mean + half)

    def __str__(self) -> str:
        lines = [f"{len(self.seeds)} episodes, reward per round: policy {self.policy.mean():.4f}"]
        for name in REFERENCES:
            d = self.over(name)
            mean = getattr(self, name).mean()
            lines.append(f"  {name:<10} {mean:8.4f}   policy − it {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]")
        return "\n".join(lines)


def evaluate(
    policy: Callable[[Any, dict[str, Any]], Any], env: gym.Env[Any, Any], seeds: int | Iterable[int] = 32
) -> Evaluation:
    """Plays a policy on the episodes of some seeds, beside the references of the very same episodes.

    Args:
        policy: `policy(observation, info)` returns the action; `info["action_mask"]` says what is on offer.
        env: a `UISEnv`, wrapped or not; wrappers must leave the rewards as they are.
        seeds: the number of seeds, from 0 on, or the seeds. Judge on seeds that the policy has not seen.

    Raises:
        ValueError: if there is no seed, or the environment is no `UISEnv`.

    Example:
        >>> import gymnasium as gym, uis_env
        >>> env = gym.make("uis_env:UIS/Recorded-v0", split="test", horizon=100)
        >>> result = uis_env.evaluate(lambda observation, info: 46, env, seeds=8)
        >>> result.over("best_fixed").value <= 0 < result.over("random").value
        True
    """
    chosen = range(positive("seeds", seeds)) if isinstance(seeds, int | np.integer) else seeds
    numbers = tuple(seed_of(seed) for seed in chosen)
    inner: Any = env.unwrapped
    if not numbers or not hasattr(inner, "references"):
        what = "no seeds" if hasattr(inner, "references") else type(inner).__name__
        raise ValueError(f"got {what}, expected at least one seed and a UISEnv")
    rows = []
    for seed in numbers:
        observation, info = env.reset(seed=seed)
        total, rounds, over = 0.0, 0, False
        while not over:
            observation, reward, terminated, truncated, info = env.step(policy(observation, info))
            total, rounds, over = total + float(reward), rounds + 1, terminated or truncated
        known = inner.references(seed)
        rows.append([total / rounds, *(known[name] / inner.episodes.horizon for name in REFERENCES)])
    return Evaluation(numbers, *np.array(rows, np.float64).T)


def student(freedom: int, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t: exact for 1 and 2 degrees of freedom, else within .2%.

    Cornish-Fisher expansion: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    p = (1 + level) / 2
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
    z, v = NormalDist().inv_cdf(p), freedom
    terms = (
        z,
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    )
    return sum(terms)
