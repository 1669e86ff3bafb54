"""A world of the user's own is played like a shipped one: from a config, and from the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.cells import load_world, own_world, world_digests
from experiments.config import ConfigError, load_config, parse_config
from experiments.store import FORMAT
from tests.conftest import make_world
from uis_env import from_rows, save_world, world_digest

CONFIG = """
name = "own"
rounds = 60
seeds = 2
block = 2

[[worlds]]
name = "mine"
kind = "{kind}"
{options}

[[preferences]]
name = "plain"

[[agents]]
name = "best_fixed"

[[agents]]
name = "linucb"
"""
CODE = """
import random
from experiments.store import FORMAT
from tests.conftest import make_world

def make(queries=20):
    return make_world(queries, name="Made")

def differs():
    return make_world(20, seed=random.SystemRandom().randrange(1 << 30))
"""


def write(folder: Path, kind: str, options: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "own.toml"
    path.write_text(CONFIG.format(kind=kind, options=options))
    return path


def run(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "100"}
    command = [python, "-m", "experiments", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def rows() -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    return [
        {"query": q, "model": model, "quality": random.random(), "dollars": price, "group": f"g{q % 3}"}
        for q in range(30)
        for model, price in (("small", 0.001), ("large", 0.01))
    ]


def test_a_table_of_rows_goes_from_a_folder_to_a_report(tmp_path: Path) -> None:
    save_world(from_rows(rows(), "mine", contexts=np.ones((30, 1))), tmp_path / "beside" / "table")
    config = write(tmp_path / "beside", "table")
    done = run(tmp_path, str(config), "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "linucb" in (tmp_path / "out" / "summary.csv").read_text()
    assert "<html" in (tmp_path / "out" / "report.html").read_text()[:200].lower()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["worlds"]["mine"] == world_digest(from_rows(rows(), "mine", contexts=np.ones((30, 1))))
    assert str(tmp_path) not in json.dumps(manifest["config"])
    assert main(["report", str(tmp_path / "out")]) == 0


def test_a_function_beside_the_config_takes_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "world_of_tests.py").write_text(CODE)
    config = write(tmp_path / "beside", "world_of_tests:make", "options = {queries = 24}")
    done = run(tmp_path, str(config), "--out", "out")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["worlds"]["mine"] == world_digest(make_world(24, name="Made"))


def test_the_command_line_replaces_the_worlds(tmp_path: Path) -> None:
    save_world(make_world(20), tmp_path / "one")
    (tmp_path / "world_of_tests.py").write_text(CODE)
    config = write(tmp_path, "not-there")
    done = run(tmp_path, str(config), "--out", "out", "--world", "one", "--world", "world_of_tests:make")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["worlds"]) == {"one", "world_of_tests.make"}


def test_other_data_at_the_same_place_is_played_again(tmp_path: Path) -> None:
    save_world(make_world(20), tmp_path / "one")
    config = write(tmp_path, "one")
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == 0
    save_world(make_world(20, seed=1), tmp_path / "one")
    before = (tmp_path / "out" / "summary.csv").read_bytes()
    for out in ("out", "other"):
        assert main(["run", str(config), "--out", str(tmp_path / out)]) == 0
    after = (tmp_path / "out" / "summary.csv").read_bytes()
    assert after == (tmp_path / "other" / "summary.csv").read_bytes() != before


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nowhere", r"worlds\[0\] \('mine'\): unknown world 'nowhere', expected one of Recorded, .*module:function"),
        ("absent:make", r"worlds\[0\] \('mine'\): absent:make: No module named 'absent'"),
    ],
)
def test_a_world_that_is_none_is_named(tmp_path: Path, kind: str, message: str) -> None:
    config = load_config(write(tmp_path, kind))
    with pytest.raises(ConfigError, match=message):
        load_world(config, config.worlds[0])


def test_where_worlds_are_looked_for_is_no_part_of_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "Synthetic", "options = {queries = 8, draws = 1}")
    config = load_config(path)
    assert config.folders == (str(tmp_path), str(Path.cwd()))
    again = parse_config(config.to_json(), "again")
    assert again.digest == config.digest and again.folders == ()
    assert world_digests(again) == world_digests(config)
    path.write_text('folders = ["elsewhere"]\n' + path.read_text())
    with pytest.raises(ConfigError, match="unknown key 'folders'"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Recorded", "Recorded"),
        ("a/b c.v1", "b-c.v1"),
        ("my_world:make", "my_world.make"),
        ("..a", "a"),
        ("é", "world"),
    ],
)
def test_labels_of_worlds_on_the_command_line(text: str, name: str) -> None:
    assert own_world(text).name == name and own_world(text).what == text


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_workers_of_a_cluster_play_own_worlds_and_refuse_ones_that_differ(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "world_of_tests.py").write_text(CODE)
    config = write(tmp_path / "beside", "world_of_tests:make")
    options = ("--cluster", "local", "--workers", "1")
    done = run(tmp_path, str(config), "--out", "out", *options)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, str(write(tmp_path / "beside", "world_of_tests:differs")), "--out", "differs", *options)
    assert done.returncode != 0
    assert "world 'mine' is another one on a worker" in done.stderr


def test_a_report_imports_nothing_of_a_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The report of a sweep reads the world's tables, so where code makes the world it says so."""
    (tmp_path / "world_of_tests.py").write_text("raise SystemExit('code ran')")
    sweep = {"name": "s", "rounds": 4, "seeds": 1, "worlds": [{"name": "mine", "kind": "world_of_tests:make"}]}
    config = parse_config({**sweep, "sweeps": [{"cost": [1.0]}], "agents": [{"name": "random"}]}, "s")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"format": FORMAT, "config": config.to_json(), "config_hash": config.digest})
    )
    assert main(["report", str(tmp_path)]) == 2
    assert "report imports no code, and world_of_tests:make makes the world" in capfd.readouterr().err
