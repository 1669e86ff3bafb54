"""The rules of a task: how steps, needed successes, seconds and tokens are used up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from uis_env.rules import Paid


class Progress(NamedTuple):
    """Where n tasks stand.

    Attributes:
        step: (n,) int32, steps done.
        need: (n,) int32, successes still needed.
        seconds, tokens: (n,) float32, what is left (infinite without a limit).
        done: (n,) bool.
    """

    step: Any
    need: Any
    seconds: Any
    tokens: Any
    done: Any


class TaskRules(NamedTuple):
    """`uis_env.rules.Rules` of a task: hashable, and a pytree where its numbers are to be traced.

    Attributes:
        steps: S.
        quorum: successes that make the task a success.
        quality: what success pays.
        seconds, tokens: the limits, infinite where there is none.
        slack: by how much seconds and tokens may be overrun for `rounding`.
        inverse: 1 / (steps, quorum, seconds, tokens) as float32 numbers, 1 where there is no limit: compilers turn
            divisions by constants into products, which round otherwise.
    """

    steps: int
    quorum: int
    quality: float
    seconds: float
    tokens: float
    slack: tuple[float, float]
    inverse: tuple[float, float, float, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """λ·cost, whether the step is right, and what it takes."""
        return ("spent", "right", "seconds", "tokens")

    @property
    def entries(self) -> int:
        """Steps, needed successes, seconds and tokens left."""
        return 4

    def begin(self, xp: Any, shape: tuple[int, ...]) -> Progress:
        """Tasks before their first step."""
        return Progress(
            step=xp.zeros(shape, xp.int32),
            need=xp.full(shape, self.quorum, xp.int32),
            seconds=xp.full(shape, self.seconds, xp.float32),
            tokens=xp.full(shape, self.tokens, xp.float32),
            done=xp.zeros(shape, bool),
        )

    def shares(self, xp: Any, state: Progress) -> Any:
        """(..., 4) float32: steps, needed successes, seconds and tokens left, as shares of their first value."""
        left = (
            (self.steps - state.step).astype(xp.float32),
            state.need.astype(xp.float32),
            state.seconds,
            state.tokens,
        )
        shares = [
            xp.where(part < xp.inf, part, xp.float32(1)) * one for part, one in zip(left, self.inverse, strict=True)
        ]
        return xp.clip(xp.stack(shares, axis=-1), 0, 1).astype(xp.float32)

    def step(self, xp: Any, state: Progress, found: Mapping[str, Any]) -> Paid:
        """One step of every task that is not over; a step that overruns a limit does not count."""
        going = ~state.done
        seconds = xp.where(going, state.seconds - found["seconds"], state.seconds)
        tokens = xp.where(going, state.tokens - found["tokens"], state.tokens)
        within = (seconds >= -self.slack[0]) & (tokens >= -self.slack[1])
        need = state.need - (going & within & (found["right"] > 0))
        step = state.step + going
        success = going & (need == 0)
        paid = xp.where(success, xp.float32(self.quality), xp.float32(0)) - found["spent"]
        done = state.done | success | ~within | (need > self.steps - step)
        after = Progress(step, need, seconds, tokens, done)
        shown = {"right": (need < state.need).astype(xp.int8), "success": success.astype(xp.int8)}
        return Paid(after, xp.where(going, paid, xp.float32(0)), shown | self._left(after))

    def before(self, xp: Any, state: Progress) -> dict[str, Any]:
        """`right` and `success` are -1 before the first step; seconds and tokens are the limits."""
        unknown = xp.full(state.need.shape, -1, xp.int8)
        return {"right": unknown, "success": unknown} | self._left(state)

    def _left(self, state: Progress) -> dict[str, Any]:
        return {"seconds": state.seconds, "tokens": state.tokens}


def task_rules(steps: int, quorum: int, quality: float, seconds: float, tokens: float) -> TaskRules:
    """The rules of a task; limits that there are not are infinite."""
    inverse = tuple(float(np.float32(1 / n)) if n < math.inf else 1.0 for n in (steps, quorum, seconds, tokens))
    slack = rounding(seconds, steps), rounding(tokens, steps)
    return TaskRules(steps, quorum, quality, seconds, tokens, slack, inverse)  # type: ignore[arg-type]


def rounding(limit: float, steps: int) -> float:
    """What float32 rounding may take from a limit that is used up exactly, in its unit.

    Limit and amounts (which add up to the limit) are each off by 2^-24 of it at most, and so is every subtraction;
    without this three steps of .7 s would overrun 2.1 s.
    """
    return (steps + 2) * 2.0**-24 * limit
