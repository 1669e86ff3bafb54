"""Rules: what a step does beyond the lookup, written once for NumPy and JAX.

A step looks up one row of a table: what the chosen arm returned for this query in this draw. Where rounds do not
influence each other, that row is the whole step, and there are no rules (None). Otherwise rules carry a state from step
to step: what is left of a deadline or a budget, say. They say what of it is observed, what the step pays and whether
the episode is over. The array module is an argument, so that the environments (NumPy) and compiled loops (JAX) share
one implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

State = Any
"""A NamedTuple of arrays, one entry per episode that is played side by side; `done` is one of them."""


class Paid(NamedTuple):
    """What a step returns.

    Attributes:
        state: the state after the step.
        reward: (n,) float32; 0 in episodes that were over.
        shown: what `info` tells, (n,) each.
    """

    state: State
    reward: Any
    shown: dict[str, Any]


class Rules(Protocol):
    """The rules of a game. Every array may have any leading shape, () or (n,); `xp` is `numpy` or `jax.numpy`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that a step reads."""

    @property
    def entries(self) -> int:
        """E, the entries that `shares` adds to an observation."""

    def begin(self, xp: Any, shape: tuple[int, ...]) -> State:
        """The state before the first step."""

    def shares(self, xp: Any, state: State) -> Any:
        """(..., E) float32 in [0, 1]: what an observation tells of the state."""

    def step(self, xp: Any, state: State, found: Mapping[str, Any]) -> Paid:
        """One step of every episode that is not over; `found` holds the columns of the rows looked up."""

    def before(self, xp: Any, state: State) -> dict[str, Any]:
        """The `shown` of a state in which nothing was returned yet: the same keys and dtypes."""
