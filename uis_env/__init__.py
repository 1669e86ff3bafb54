"""Unified Inference Scaling (UIS) as a Gymnasium environment, over recorded and simulated outcomes of LLMs.

For every query, choose which model answers, which test-time-scaling method it uses and how much budget the method gets,
so that `quality − λ·cost` is as high as possible, learning online from what each choice returned.

    import gymnasium as gym

    env = gym.make("uis_env:UIS/Recorded-v0", split="train", horizon=200)
    envs = gym.make_vec("uis_env:UIS/Recorded-v0", num_envs=64)
    print(uis_env.evaluate(policy, gym.make("uis_env:UIS/Recorded-v0", split="test", horizon=200), seeds=32))

Importing this package registers an id for every name in `uis_env.worlds.WORLDS` (`UIS/<name>-v0`, or `UIS/<name>` where
the name holds the version of its data), `UIS/World-v0`, which takes `world=`, a `World` of your own or its folder,
`UIS/Workflow-v0`, tasks of several queries under a deadline and a token budget, and `UIS/Live-v0`, whose arms ask real
models. Nothing else happens on import.
"""

from gymnasium.envs.registration import register as _register

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.bandit import PREFERENCE, Bandit, Phase, Reward, cross_fitted, tabulate
from uis_env.costs import ModelCard, Price, dollars, eflops
from uis_env.env import UISEnv
from uis_env.episodes import Episodes
from uis_env.evaluation import Evaluation, evaluate
from uis_env.rows import from_rows
from uis_env.scenarios import SCENARIOS, Scenario, Segment, make_scenario
from uis_env.split import in_test_split
from uis_env.stored import load_world, save_world, world_digest
from uis_env.tape import Schedule, Stretch, Tape, tapes
from uis_env.vector import UISVectorEnv
from uis_env.workflow import Workflow, WorkflowEnv, WorkflowVectorEnv
from uis_env.world import Channels, World
from uis_env.worlds import WORLDS, gym_id
from uis_env.worlds.text import embedded, text_context
from uis_env.wrappers import GridActions, VectorReward

__all__ = [
    "PREFERENCE",
    "SCENARIOS",
    "WORLDS",
    "Arm",
    "ArmCatalog",
    "Bandit",
    "Channels",
    "Episodes",
    "Evaluation",
    "GridActions",
    "ModelCard",
    "Phase",
    "Price",
    "Reward",
    "Scenario",
    "Schedule",
    "Segment",
    "Stretch",
    "Tape",
    "UISEnv",
    "UISVectorEnv",
    "VectorReward",
    "Workflow",
    "WorkflowEnv",
    "WorkflowVectorEnv",
    "World",
    "arm_features",
    "cross_fitted",
    "dollars",
    "eflops",
    "embedded",
    "evaluate",
    "from_rows",
    "in_test_split",
    "load_world",
    "make_scenario",
    "save_world",
    "tabulate",
    "tapes",
    "text_context",
    "world_digest",
]


def _register_all() -> None:
    # No wrappers: the environment says itself when reset() is missing, ends its own episodes and passes check_env, and
    # callers reach `action_masks()` directly (Gymnasium's wrappers forward no attributes).
    for name in (*WORLDS, "World"):
        _register(
            id=gym_id(name),
            entry_point="uis_env.env:UISEnv",
            vector_entry_point="uis_env.vector:UISVectorEnv",
            kwargs={} if name == "World" else {"world": name},
            order_enforce=False,
            disable_env_checker=True,
        )
    _register(
        id="UIS/Workflow-v0",
        entry_point="uis_env.workflow.env:WorkflowEnv",
        vector_entry_point="uis_env.workflow.env:WorkflowVectorEnv",
        order_enforce=False,
        disable_env_checker=True,
    )
    # What real models answer differs from run to run.
    _register(
        id="UIS/Live-v0",
        entry_point="uis_env.live.env:LiveEnv",
        order_enforce=False,
        disable_env_checker=True,
        nondeterministic=True,
    )


_register_all()
