"""Agentic workflows: tasks of several dependent queries under a deadline and a token budget."""

from uis_env.workflow.core import Policy, Situation, Tables, Tasks, Workflow, play
from uis_env.workflow.env import WorkflowEnv, WorkflowVectorEnv
from uis_env.workflow.rules import Progress, TaskRules

__all__ = [
    "Policy",
    "Progress",
    "Situation",
    "Tables",
    "TaskRules",
    "Tasks",
    "Workflow",
    "WorkflowEnv",
    "WorkflowVectorEnv",
    "play",
]
