"""Workflows as Gymnasium environments: one task, or many side by side."""

from __future__ import annotations

from typing import Any

from uis_env.env import UISEnv
from uis_env.spaces import check_options
from uis_env.vector import UISVectorEnv
from uis_env.workflow.core import Workflow
from uis_env.world import World


class WorkflowEnv(UISEnv):
    """A task of S queries with a deadline and a token budget; see `Workflow`.

    `reset(seed=s)` plays the task of s, each `reset()` after it the next task of the same seed. Action: `Discrete(K)`,
    an id of the catalog. Observation: float32 `Box`, the query's context and, as shares in [0, 1], the steps, needed
    successes, seconds and tokens left (`left` in a `Dict`). `terminated` is True when the task has succeeded or failed;
    `truncated` never. Steps influence each other: do not set γ to 0 here.

    `info` has the same keys at `reset` and `step`: `arm` (int64, the arm played), `right` and `success` (int8, whether
    the step and the task succeeded), all -1 before the first step; `seconds` and `tokens` (float64) left, infinite
    without a limit; `query` and `action_mask` as in `UISEnv`.

    Args:
        world: a World, or the name of a shipped one.
        render_mode: as in `UISEnv`.
        **options: those of `Workflow`: steps, deadline, token_budget, quorum, reward, ...

    Attributes:
        workflow: what is played.

    Raises:
        TypeError: if there is no such option; names the nearest one and all there are.
        ValueError: naming the option that does not fit and what was expected.
    """

    def __init__(self, world: World | str = "LatencyAware", *, render_mode: str | None = None, **options: Any) -> None:
        check_options(options, Workflow.__init__, WorkflowEnv.__init__)
        self.workflow = Workflow(world, **options)
        self._open(self.workflow, render_mode)


class WorkflowVectorEnv(UISVectorEnv):
    """`num_envs` tasks of `WorkflowEnv`, with equal results: sub-environment i of `reset(seed=s)` plays the tasks of s
    + i. What follows a task's end is as in `UISVectorEnv`.

    Args:
        world: a World, or the name of a shipped one.
        num_envs: n.
        autoreset, render_mode: as in `UISVectorEnv`.
        **options: those of `Workflow`.

    Attributes:
        workflow: what is played.
    """

    def __init__(
        self,
        world: World | str = "LatencyAware",
        num_envs: int = 1,
        *,
        autoreset: str = "same_step",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        check_options(options, Workflow.__init__, WorkflowVectorEnv.__init__)
        self.workflow = Workflow(world, **options)
        self._open(self.workflow, num_envs, autoreset, render_mode)
