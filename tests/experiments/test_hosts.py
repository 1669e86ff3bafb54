"""Multi-host runs: every unit belongs to exactly one process, and two processes leave the files of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import ConfigError, load_config
from experiments.hosts import Hosts, join, share
from experiments.player import Progress
from experiments.results import CellKey
from experiments.runner import Runner, Threads
from experiments.store import RunError, Unit
from tests.experiments.test_runner import CONFIG, files


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 6))
def test_every_unit_belongs_to_one_process(cells: int, agents: int, blocks: int, size: int, count: int) -> None:
    units = [
        Unit(CellKey("w", f"s{c}", "p"), f"a{a}", b) for c in range(cells) for a in range(agents) for b in range(blocks)
    ]
    shares = [share(units, size, index, count) for index in range(count)]
    assert sorted(unit for part in shares for unit in part) == sorted(units)
    groups = cells * agents * -(-blocks // size)
    assert all(len(part) <= size * -(-groups // count) for part in shares)


def test_no_agent_always_meets_the_same_process() -> None:
    units = [Unit(CellKey("w", f"s{c}", "p"), agent, 0) for c in range(4) for agent in ("slow", "fast")]
    for index in range(2):
        assert {unit.agent for unit in share(units, 1, index, 2)} == {"slow", "fast"}


@pytest.mark.parametrize("text", ["host", "host:1", "host:1,2/2", "host:1,a/2", "host:1,0/0", "host,0/2"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected HOST:PORT,I/N"):
        join(text)


def test_units_that_stay_away_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.replace("rounds = 120", "rounds = 20"))
    runner = Runner(load_config(path), tmp_path / "out", executor=Hosts(Threads(), 0.1, 1, 2))
    with pytest.raises(RunError, match=r"9 units of other processes .* units/Synthetic/.*all 2 processes"):
        runner.run(Progress())
    assert len([unit for unit in runner.units() if runner.store.done(unit)]) == 9


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "experiments", "run", str(config), "--out"]
    together = [
        subprocess.Popen(
            [*start, str(tmp_path / "two"), "--distributed", f"127.0.0.1:{port},{i}/2", "--wait", "300"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for i in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=600)[0] for process in together]
    assert [process.returncode for process in together] == [0, 0], "\n".join(said)
    assert "report:" in said[0]
    assert "the first process writes" in said[1]
    subprocess.run([*start, str(tmp_path / "one")], check=True, stdout=subprocess.DEVNULL)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert two == one
    assert len([name for name in two if name.endswith(".npz")]) == 19
