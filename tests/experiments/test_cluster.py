"""Runs on Ray: the files of a local run, workers killed in the middle or not."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.cluster import Cluster
from experiments.config import ConfigError
from experiments.store import RunError
from tests.experiments.test_runner import CONFIG, files

LONG = CONFIG.replace("rounds = 120", "rounds = 60000").replace("block = 3", "block = 2")
UNITS = 4 * 2 * 4
"""Blocks, cells and agents, the one of `--agent` included."""
AGENT = """
import jax.numpy as jnp
from agents import Agent, Choice
from agents.choosing import pick_best


def make(spec):
    def init(key):
        return jnp.zeros(spec.arms)

    def act(key, state, seen) -> Choice:
        return pick_best(key, -state, seen.mask)

    def update(key, state, back):
        return state.at[back.action].add(1.0)

    return Agent(init, act, update)
"""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def command(config: Path, out: Path, *options: str) -> list[str]:
    here = [sys.executable, "-m", "experiments", "run", str(config), "--out", str(out)]
    return [*here, "--agent", "counting:make", *options]


def start(config: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """A run from a folder of the user's own, in which the module of `--agent` is."""
    folder = config.parent
    (folder / "counting.py").write_text(textwrap.dedent(AGENT))
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command(config, out, *options), cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    return said


def playing(ancestor: int) -> list[int]:
    """Ray's worker processes below a process that are in the middle of a unit."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue  # it has just ended

    def below(pid: int) -> bool:
        return pid == ancestor or (pid in parents and below(parents[pid]))

    return [pid for pid, name in names.items() if name.startswith("ray::_play") and below(pid)]


def test_ctrl_c_while_something_starts_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.commands.run", interrupted)
    assert main(["run", "any.toml"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_gpus_are_whole_or_a_fraction_of_one() -> None:
    with pytest.raises(ConfigError, match=r"--gpus-per-task 1\.5: expected a whole number, or a fraction of one"):
        Cluster("local", gpus=1.5)


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--cluster needs Ray: pip install"):
        Cluster("local")


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_where_no_cluster_is_one_line_says_so(address: str) -> None:
    with pytest.raises(RunError, match=f"--cluster {address}: no cluster there"):
        Cluster(address)


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_worker_changes_no_byte(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(LONG)
    end(start(config, tmp_path / "local"))

    process = start(config, tmp_path / "cluster", "--cluster", "local", "--workers", "2")
    deadline = time.monotonic() + 300
    killed = 0
    while killed == 0:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        if list((tmp_path / "cluster").rglob("*.npz")):
            for pid in playing(process.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.02)
    whole = len(list((tmp_path / "cluster" / "units").rglob("*.npz")))
    end(process)
    assert 0 < whole < UNITS
    assert files(tmp_path / "cluster") == files(tmp_path / "local")
    assert len(list((tmp_path / "cluster" / "units").rglob("*.npz"))) == UNITS


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_unit_that_always_loses_its_worker_ends_the_run_with_what_is_whole(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, sys\nfrom agents import AGENTS\n"
        "def make(spec):\n"
        "    if 'ray._private.workers.default_worker' in sys.modules or sys.argv[0].endswith('default_worker.py'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return AGENTS['random'](spec)\n"
    )
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    process = start(config, tmp_path / "out", "--cluster", "local", "--workers", "1", "--agent", "deadly:make")
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 2, said
    assert "lost 4 times" in said
    assert "Traceback" not in said


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_ends_tasks_in_the_middle(tmp_path: Path) -> None:
    config = tmp_path / "long.toml"
    config.write_text(CONFIG.replace("rounds = 120", "rounds = 100000000"))
    process = start(config, tmp_path / "out", "--cluster", "local", "--workers", "1")
    deadline = time.monotonic() + 300
    while not (busy := playing(process.pid)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "Run the same command again" in said
    while any(Path(f"/proc/{pid}").exists() for pid in busy):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_local_cluster_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both variables are there when Ray is imported, which is when it reads them; a token of the user's stays."""
    seen: list[tuple[str | None, str | None]] = []

    class Ray:
        @staticmethod
        def is_initialized() -> bool:
            seen.append((os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")))
            return True

    monkeypatch.setitem(sys.modules, "ray", Ray)  # type: ignore[arg-type]
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "x")  # so that both are taken back afterwards
        monkeypatch.delenv(name)
    Cluster("auto")
    Cluster("local")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    Cluster("local")
    assert seen[0] == (None, None)
    assert seen[1][0] == "token"
    assert len(seen[1][1] or "") == 64
    assert seen[2] == ("token", "mine")
