"""The package: imports without JAX and without side effects, and says what is public."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import pytest

import uis_env
from uis_env.worlds import gym_id

BLOCKED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Refuse())
"""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_plays_with_gymnasium_and_numpy_only() -> None:
    names = {"jax", "jaxlib", "flax", "optax", "scipy", "msgspec", "rich", "plotly", "openai", "wordllama", "agents"}
    code = BLOCKED.format(names=names) + (
        "import gymnasium as gym\n"
        "env = gym.make('uis_env:UIS/Recorded-v0', horizon=3)\n"
        "env.reset(seed=0)\n"
        "assert [env.step(0)[2] for _ in range(3)] == [False, False, True]\n"
        "envs = gym.make_vec('UIS/Recorded-v0', num_envs=4)\n"
        "envs.reset(seed=0)\n"
        "envs.step([0, 1, 2, 3])\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in {'jax', 'agents', 'experiments'}))\n"
    )
    assert run(code).strip() == "[]"


def test_import_reads_no_file_of_data_and_registers_every_world() -> None:
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import gymnasium as gym, uis_env\n"
        "print(sorted(id for id in gym.registry if id.startswith('UIS/')))\n"
        "print([path for path in opened if path.endswith(('.npz', '.json', '.toml', '.gz'))])\n"
    )
    ids, files = run(code).splitlines()
    assert ids == str(sorted(map(gym_id, (*uis_env.WORLDS, "Live", "Workflow", "World"))))
    assert files == "[]"


def test_all_is_what_is_there() -> None:
    assert sorted(uis_env.__all__) == sorted(set(uis_env.__all__))
    assert all(hasattr(uis_env, name) for name in uis_env.__all__)


@pytest.mark.parametrize("id", ["UIS/World-v0", *map(gym_id, uis_env.WORLDS)])
def test_specs_add_no_wrappers(id: str) -> None:
    spec = gym.spec(id)
    assert spec.disable_env_checker and not spec.order_enforce and spec.max_episode_steps is None
    assert spec.vector_entry_point == "uis_env.vector:UISVectorEnv"
