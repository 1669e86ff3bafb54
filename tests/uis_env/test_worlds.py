"""A world is named by a shipped name, a folder, or `module:function`, in this order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from uis_env import World, save_world, world_digest
from uis_env.worlds import load

CODE = """
import helper
from tests.conftest import make_world

def make(queries=6, seed=0):
    return make_world(queries, seed=seed + helper.MORE, name="Made")

def broken():
    return helper.MISSING

def nothing():
    return 3

number = 5
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Works in an empty folder, and leaves modules and path as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mine_of_tests", "helper", "broken_module", "leaving"):
            del sys.modules[name]


def code(folder: Path, more: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine_of_tests.py").write_text(CODE)
    (folder / "helper.py").write_text(f"MORE = {more}\n")


def same(one: World, other: World) -> bool:
    return world_digest(one) == world_digest(other)


def test_a_shipped_name_comes_before_a_folder(tiny_world: World, tmp_path: Path) -> None:
    save_world(tiny_world, tmp_path / "Synthetic")
    assert load("Synthetic", queries=4, draws=1).name == "Synthetic"
    assert load("./Synthetic").name == "Tiny"


def test_folders_are_looked_for_beside_the_config_then_here(
    world_factory: Callable[..., World], tmp_path: Path
) -> None:
    for i, folder in enumerate(("mine", "beside/mine", "beside/other")):
        save_world(world_factory(seed=i), tmp_path / folder)
    beside = tmp_path / "beside"
    assert same(load("mine"), world_factory(seed=0)) and same(load("mine", [beside]), world_factory(seed=1))
    assert same(load("other", [beside]), world_factory(seed=2)) and same(load(beside / "mine"), world_factory(seed=1))
    assert same(load("../mine", [beside / "other"]), world_factory(seed=1))


def test_functions_are_looked_for_here_then_beside_the_config(tmp_path: Path) -> None:
    code(tmp_path / "beside", more=1)
    named = "mine_of_tests:make"
    beside = load(named, [tmp_path / "beside"])
    assert beside.name == "Made" and len(beside.query_ids) == 6
    code(tmp_path, more=2)
    here = load(named, [tmp_path / "beside"])
    assert not same(here, beside) and same(here, load(named)) and same(here, load(named, seed=0, queries=6))
    code(tmp_path / "third", more=1)
    (tmp_path / "mine_of_tests.py").unlink()
    assert load(named, [tmp_path / "third"], queries=9).channels.quality.shape[0] == 9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mine_of_tests:missing", {}, r"mine_of_tests:missing: .*mine_of_tests.py has no 'missing'; it has .*make"),
        ("mine_of_tests:number", {}, "number is not callable"),
        ("mine_of_tests:broken", {}, "mine_of_tests.py:9: module 'helper' has no attribute 'MISSING'"),
        ("mine_of_tests:nothing", {}, "returned int, expected a World"),
        ("mine_of_tests:make", {"size": 3}, "mine_of_tests:make: .*'size'"),
        ("broken_module:make", {}, r"broken_module:make: broken_module.py:2: "),
        ("leaving:make", {}, r"leaving:make: leaving.py:1: SystemExit: 3"),
        ("not_here:make", {}, "not_here:make: No module named 'not_here'"),
        ("Recrded", {}, r"unknown world 'Recrded', .*did you mean 'Recorded'\?\); or a folder .*; or module:function"),
        ("Nope", {}, r"unknown world 'Nope', expected one of Recorded, .*world.json \(none at Nope\)"),
        ("", {}, "unknown world ''"),
        ("a\0b", {}, "unknown world"),
        ("x" * 5000, {}, "unknown world"),
        ("Recorded", {"seed": 1}, r"world 'Recorded': .*'seed'"),
        ("stored", {"seed": 1}, "world 'stored' is read from a folder and takes no options, got seed"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, tiny_world: World, name: str, options: dict[str, int], message: str
) -> None:
    code(tmp_path)
    (tmp_path / "broken_module.py").write_text("x = 1\ndef make(:\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n")
    save_world(tiny_world, tmp_path / "stored")
    with pytest.raises(ValueError, match=message) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)


def test_gymnasium_takes_a_folder_and_runs_no_code(tiny_world: World, tmp_path: Path) -> None:
    save_world(tiny_world, tmp_path / "mine")
    env = gym.make("uis_env:UIS/World-v0", world="mine", horizon=3)
    assert same(env.unwrapped.episodes.world, tiny_world)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])
    envs = gym.make_vec("uis_env:UIS/World-v0", num_envs=2, world=str(tmp_path / "mine"))
    envs.reset(seed=0)
    (tmp_path / "mine_of_tests.py").write_text("raise SystemExit('code ran')\n")
    for id in ("UIS/World-v0", "UIS/Workflow-v0"):
        with pytest.raises(ValueError, match="code is named in configs and on the command line only; give the World"):
            gym.make(f"uis_env:{id}", world="mine_of_tests:make")
    assert "mine_of_tests" not in sys.modules


def test_a_workflow_takes_a_folder(tiny_world: World, tmp_path: Path) -> None:
    save_world(tiny_world, tmp_path / "mine")
    env = gym.make("uis_env:UIS/Workflow-v0", world="mine", steps=2)
    env.reset(seed=0)


def test_ids_that_need_data_of_the_user_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UIS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="UIS_DATA"):
        gym.make("uis_env:UIS/LiveCodeBench-v0")
