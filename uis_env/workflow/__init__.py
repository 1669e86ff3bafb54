"""Agentic workflows: tasks of several dependent queries under a deadline and a token budget."""

from uis_env.workflow.core import Policy, Progress, Situation, Tables, Tasks, Workflow, play
from uis_env.workflow.env import WorkflowEnv, WorkflowVectorEnv

__all__ = [
    "Policy",
    "Progress",
    "Situation",
    "Tables",
    "Tasks",
    "Workflow",
    "WorkflowEnv",
    "WorkflowVectorEnv",
    "play",
]
