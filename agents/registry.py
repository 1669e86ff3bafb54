"""What is known of a kind of agent before one is made: its factory, and its role in a comparison."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agents.agent import Agent
from agents.spec import Spec

Factory = Callable[..., Agent]
Role = Literal["reference", "baseline", "learner"]
"""What a kind of agent is in a comparison: a *reference* sees what no agent sees in production and plays once at most,
a *baseline* learns nothing from what it plays, a *learner* is what the comparison is about."""


@dataclass(frozen=True)
class Entry:
    """A kind of agent. Calling it makes one: `AGENTS["linucb"](spec, alpha=0.5)`.

    Attributes:
        factory: `(spec, **hyper-parameters) -> Agent`.
        role: what the kind is in a comparison, whatever label a user gives it.
        predicts_quality: whether its scores before the first round are probabilities of success, whose calibration a
            sweep reports.
    """

    factory: Factory
    role: Role = "learner"
    predicts_quality: bool = False

    @property
    def name(self) -> str:
        """The factory's name, which is that of the kind."""
        return self.factory.__name__

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    def __call__(self, spec: Spec, **options: Any) -> Agent:
        """The agent."""
        return self.factory(spec, **options)
