"""Runs: byte-identical however often they are killed, on however many devices; what cannot be done is said once."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from agents import Agent, Choice, Spec
from experiments import cells, player
from experiments.__main__ import main
from experiments.analysis import analyse
from experiments.config import ConfigError, load_config, parse_config
from experiments.interrupts import check, remembered
from experiments.runner import InterruptedRunError, Progress, Runner
from experiments.store import RunError, StoreError, _read_npz, read_runs, write_runs
from uis_env import worlds
from uis_env.files import WriteError
from uis_env.lock import DirectoryLock
from uis_env.tape import tape

CONFIG = """
name = "tiny"
description = "a comparison that takes a second"
rounds = 120
seeds = 7
block = 3

[[worlds]]
name = "Synthetic"
options = {queries = 40, draws = 4}

[[preferences]]
name = "cheap"
cost = 10.0

[[preferences]]
name = "dear"
cost = 100.0

[[agents]]
name = "best_fixed"

[[agents]]
name = "eager"
kind = "linucb"
options = {alpha = 1.0}

[[agents]]
name = "random"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an unbroken run."""
    root = tmp_path_factory.mktemp("whole")
    write_runs(root, Runner(load_config(config), root).run(Progress()))
    return root


def files(root: Path) -> dict[str, object]:
    """All files but the one that depends on the clock; without the commit, which may move meanwhile."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop("timings.json", None)
    found.pop(".lock", None)
    plain: dict[str, object] = dict(found)
    # Another test may have set XLA_FLAGS for this process; the flags are settings, the files are compared.
    plain["manifest.json"] = json.loads(found["manifest.json"]) | {"commits": None, "xla_flags": None}
    for name in found:
        if name.startswith("units"):
            arrays = _read_npz(root / name)
            about = json.loads(str(arrays.pop("about"))) | {"commit": None}
            about["key"]["environment"]["xla_flags"] = None
            plain[name] = about, {key: (a.dtype, a.shape, a.tobytes()) for key, a in arrays.items()}
    return plain


def test_totals_are_those_of_the_tapes(whole: Path, config: Path) -> None:
    runner = Runner(load_config(config), whole)
    for cell, (_, make) in zip(read_runs(whole), runner.games, strict=True):
        game = make()
        fixed = cell.agents["best_fixed"]
        for i, seed in enumerate(cell.seeds):
            query, draw, phase = tape(game.schedule, int(seed))
            arm = int(fixed.arm_count[i].argmax())
            assert fixed.arm_count[i, arm] == cell.rounds
            assert arm == game.bandit.expected[phase, query].sum(axis=0, dtype=np.float64).argmax()
            reward = game.bandit.reward[phase, query, draw, arm].sum(dtype=np.float64)
            np.testing.assert_allclose(fixed.totals["reward"][i], reward, rtol=1e-5)
        for runs in cell.agents.values():
            assert runs.arms.sum() == runs.arm_count.sum() == cell.rounds * len(cell.seeds)
            np.testing.assert_allclose(runs.curves["reward"].sum(axis=1), runs.totals["reward"], rtol=1e-4)
            np.testing.assert_array_equal(runs.query_count.sum(axis=1), cell.rounds)


def test_the_pilot_is_paid_for_and_never_played(tmp_path: Path) -> None:
    """By agents that fit, at its price; its queries leave the tape of every agent."""
    text = CONFIG.replace("seeds = 7", "seeds = 2\npilot = 12").replace('name = "cheap"\ncost = 10.0', 'name = "cheap"')
    text += """
[[agents]]
name = "frozen"
kind = "hierarchical_logit_thompson"
options = {freeze = true}
"""
    (tmp_path / "pilot.toml").write_text(text)
    runner = Runner(load_config(tmp_path / "pilot.toml"), tmp_path / "run")
    for cell, (_, make) in zip(runner.run(Progress()), runner.games, strict=True):
        game = make()
        prices = np.array([game.pilot_price(int(seed)) for seed in cell.seeds])
        frozen, none = cell.agents["frozen"].totals, cell.agents["random"].totals
        np.testing.assert_allclose(frozen["pilot_cost"], prices[:, 0])
        np.testing.assert_allclose(frozen["pilot_charge"], prices[:, 1])
        np.testing.assert_allclose(
            prices[:, 1], (100 if cell.key.preference == "dear" else 0) * prices[:, 0], rtol=1e-3
        )
        assert (prices[:, 0] > 0).all() and not none["pilot_cost"].any() and not none["pilot_charge"].any()
        row, random = (analyse([cell])[0].summary[name] for name in ("frozen", "random"))
        assert row.reward == pytest.approx(((frozen["reward"] - prices[:, 1]) / cell.rounds).mean(), rel=1e-4)
        assert random.reward == pytest.approx((none["reward"] / cell.rounds).mean(), rel=1e-4)
        for runs in cell.agents.values():
            for i, seed in enumerate(cell.seeds):
                assert not runs.query_count[i, game.pilot_of(int(seed))[0]].any()


def test_without_an_arm_that_is_always_on_offer_nothing_is_called_the_best_fixed_arm(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds.load("Synthetic", queries=40, draws=4)
    recorded = np.arange(40)[:, None] != np.arange(40)[None, :]  # every arm is lacking for one query
    monkeypatch.setattr(cells, "load_world", lambda *_: dataclasses.replace(world, recorded=recorded))
    text = CONFIG + '[[agents]]\nname = "elsewhere"\nkind = "fixed_elsewhere"\n'
    made = analyse(Runner(parse_config(tomllib.loads(text), "tiny.toml"), tmp_path).run(Progress()))
    for one in made:
        assert set(one.summary) == {"eager", "random"}
        assert not one.versus_best_fixed()
        assert all(np.isnan(row.gain) and np.isnan(row.no_signal) for row in one.honesty.values())


def test_prices_and_seeds_compile_once(config: Path, tmp_path: Path) -> None:
    runner = Runner(load_config(config), tmp_path)
    runner.run(Progress())
    assert len(runner.units()) == 2 * 3 * 3  # preferences, agents, blocks of seeds (the last one filled up)
    assert len(runner.player._compiled) == 2 * 3  # the start and the rounds of each agent


def test_entries_that_differ_in_numbers_run_one_program(config: Path, tmp_path: Path) -> None:
    """And do what each of them does alone."""
    entry = '\n[[agents]]\nname = "calm"\nkind = "linucb"\noptions = {alpha = 0.05, ridge = 2.0}\n'
    head, best, *_ = CONFIG.split("[[agents]]")
    results = []
    for name, text in (("both", CONFIG + entry), ("eager", CONFIG), ("calm", head + "[[agents]]" + best + entry)):
        (tmp_path / f"{name}.toml").write_text(text)
        runner = Runner(load_config(tmp_path / f"{name}.toml"), tmp_path / name)
        results.append(runner.run(Progress())[0].agents)
        if name == "both":
            assert len(runner.player._compiled) == 4 + 3  # every agent starts for itself
    for name, alone in (("eager", results[1]), ("calm", results[2])):
        np.testing.assert_array_equal(results[0][name].arm_count, alone[name].arm_count)
        np.testing.assert_allclose(results[0][name].totals["reward"], alone[name].totals["reward"])
    assert (results[0]["eager"].arm_count != results[0]["calm"].arm_count).any()


def test_a_run_of_more_programs_than_are_kept(
    whole: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "PROGRAMS", 2)
    runner = Runner(load_config(config), tmp_path)
    write_runs(tmp_path, runner.run(Progress()))
    assert len(runner.player._compiled) <= 2
    assert files(tmp_path) == files(whole)


def test_twice_is_byte_identical(whole: Path, config: Path, tmp_path: Path) -> None:
    write_runs(tmp_path, Runner(load_config(config), tmp_path, workers=1).run(Progress()))
    assert files(tmp_path) == files(whole)


def test_a_stopped_run_resumes(whole: Path, config: Path, tmp_path: Path) -> None:
    runner = Runner(load_config(config), tmp_path)
    played = 0

    def stop(rounds: int, label: str) -> None:
        nonlocal played
        played += 1
        if played == 4:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        runner.run(Progress(advance=stop))
    again = Runner(load_config(config), tmp_path)
    left = [unit for unit in again.units() if not again.store.done(unit)]
    assert 0 < len(left) < len(again.units())
    write_runs(tmp_path, again.run(Progress()))
    assert files(tmp_path) == files(whole)


def test_a_damaged_unit_is_computed_again(whole: Path, config: Path, tmp_path: Path) -> None:
    write_runs(tmp_path, Runner(load_config(config), tmp_path).run(Progress()))
    runner = Runner(load_config(config), tmp_path)
    path = tmp_path / runner.units()[5].path
    path.write_bytes(path.read_bytes()[:-100])
    found = []
    write_runs(tmp_path, runner.run(Progress(start=lambda *seen: found.append(seen))))
    assert found == [(runner.player.rounds(runner.units()[:1]), [path], [])]
    assert files(tmp_path) == files(whole)


def test_a_run_killed_after_its_last_unit_resumes(whole: Path, config: Path, tmp_path: Path) -> None:
    write_runs(tmp_path, Runner(load_config(config), tmp_path).run(Progress()))
    (tmp_path / "timings.json").unlink()
    write_runs(tmp_path, Runner(load_config(config), tmp_path).run(Progress()))
    assert json.loads((tmp_path / "timings.json").read_text())["units_reused"] == 18
    assert files(tmp_path) == files(whole)


def test_another_config_is_refused_with_the_keys_that_differ(whole: Path) -> None:
    other = CONFIG.replace("rounds = 120", "rounds = 130").replace("alpha = 1.0", "alpha = 2.0")
    path = whole.parent / "other.toml"
    path.write_text(other)
    before = files(whole)
    with pytest.raises(StoreError, match=r"these keys differ: rounds\. Choose"):
        Runner(load_config(path), whole).run(Progress())
    assert files(whole) == before


def test_a_config_that_could_not_be_played_holds_no_folder(tmp_path: Path) -> None:
    wrong = parse_config(tomllib.loads(CONFIG) | {"pilot": 500}, "my.toml")
    with pytest.raises(ConfigError, match="pilot: 500 queries"):
        Runner(wrong, tmp_path).run(Progress())
    mended = parse_config(tomllib.loads(CONFIG) | {"pilot": 5, "seeds": 1, "rounds": 4}, "my.toml")
    assert len(Runner(mended, tmp_path).run(Progress())) == 2


def _absent(arm: int) -> Any:
    def make(spec: Spec) -> Agent:
        return Agent(
            init=lambda key: (),
            act=lambda key, state, seen: Choice(jnp.int32(arm), jnp.zeros(spec.arms), jnp.zeros(spec.arms)),
            update=lambda key, state, back: state,
        )

    return make


@pytest.mark.parametrize(("arm", "rounds"), [(17, 40), (-1, 120), (10**6, 120)])
def test_an_agent_that_plays_what_is_not_on_offer_ends_the_run(tmp_path: Path, arm: int, rounds: int) -> None:
    changes = {"scenarios": [{"name": "new_model"}], "agents": [{"name": "mine"}], "seeds": 1, "block": 1}
    config = parse_config(tomllib.loads(CONFIG) | changes, "my.toml")
    with pytest.raises(RunError, match=rf"agents\[0\] \('mine'\) chose .* not on offer in {rounds} rounds"):
        Runner(config, tmp_path, {"mine": _absent(arm)}).run(Progress())
    assert not list(tmp_path.rglob("*.npz"))


def test_so_does_one_in_a_sweep(tmp_path: Path) -> None:
    plain = tomllib.loads(CONFIG) | {"sweeps": [{"cost": [1.0, 2.0]}], "agents": [{"name": "mine"}], "rounds": 40}
    del plain["preferences"]
    with pytest.raises(RunError, match=r"chose .* not on offer in \d+ rounds"):
        Runner(parse_config(plain, "my.toml"), tmp_path, {"mine": _absent(10**6)}).run(Progress())


def test_a_dropped_interrupt_is_not_lost(config: Path, tmp_path: Path) -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    with remembered():
        with contextlib.suppress(KeyboardInterrupt):  # as Python does in callbacks of the garbage collection
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            Runner(load_config(config), tmp_path).run(Progress())
    check()  # forgotten with the command that it was meant for
    signal.signal(signal.SIGINT, usual)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_cannot_be_written_is_said_once(config: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(WriteError, match="out cannot be written: Not a directory"):
        Runner(load_config(config), blocked / "out").run(Progress())


@pytest.mark.parametrize("last", ["units", "runs.npz", "summary.csv", "report.html"])
def test_a_disk_that_is_full_is_one_line_and_loses_nothing(
    last: str,
    whole: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, arguments = tmp_path / "out", ["run", str(config), "--out", str(tmp_path / "out"), "--workers", "1"]
    put = Path.replace

    def full(self: Path, target: Path) -> Path:
        if last in Path(target).parts and (last != "units" or len(list(out.glob("units/**/*.npz"))) == 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.endswith("cannot be written: No space left on device\n")
    assert said.count("\n") == 1 and last in said
    assert len(list(out.glob("units/**/*.npz"))) >= 2
    assert [path.name for path in out.rglob(".*")] in ([], [".lock"])
    assert main(arguments) == 0
    assert files(whole).items() <= files(out).items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agents": [{"name": "nobody"}]}, r"agents\[0\] \('nobody'\): unknown agent"),
        ({"agents": [{"name": "linucb", "options": {"beta": 1}}]}, r"agents\[0\] \('linucb'\)\.options.*beta"),
        ({"worlds": [{"name": "Nowhere"}]}, r"worlds\[0\].*unknown world 'Nowhere'"),
        ({"worlds": [{"name": "Synthetic", "context": "smell"}]}, "no context 'smell'"),
        ({"scenarios": [{"name": "doom"}]}, "unknown scenario 'doom'"),
        ({"preferences": [{"name": "p", "cost": 1.0, "cost_channel": "eflops"}]}, "has no eflops"),
        ({"pilot": 500}, "pilot: 500 queries"),
        (
            {"agents": [{"name": "linucb", "options": {"alpha": "x"}}]},
            r"agents\[0\] .*options.alpha: 'x', expected a number in \[0, inf\)",
        ),
        (
            {"agents": [{"name": "linucb", "options": {"alpha": float("nan")}}]},
            r"alpha: nan, expected a number in \[0, inf\)",
        ),
        ({"scenarios": [{"name": "silent_quality_loss", "options": {"keep": "x"}}]}, "is 'x', expected a number in"),
    ],
)
def test_what_cannot_be_made_is_named(config: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Runner(parse_config(tomllib.loads(CONFIG) | change, "my.toml"), tmp_path).run(Progress())
    assert not list(tmp_path.rglob("*.npz"))


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "experiments", "run", str(config), "--out", str(out)]


def kill_until_done(config: Path, out: Path, kills: int, seed: int) -> int:
    """Kills runs at random moments; returns how many were killed before one came to its end."""
    moments = random.Random(seed)
    for killed in range(kills):
        with subprocess.Popen(command(config, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                _, complaint = process.communicate(timeout=moments.uniform(1.0, 12.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            else:
                assert process.returncode == 0, complaint.decode()
                return killed
    return kills


@pytest.mark.slow
def test_twenty_kills_change_no_byte(config: Path, tmp_path: Path) -> None:
    subprocess.run(command(config, tmp_path / "whole"), check=True, stdout=subprocess.DEVNULL)
    killed = 0
    for attempt in range(20):
        out = tmp_path / f"broken{attempt}"
        killed += kill_until_done(config, out, 3, attempt)
        subprocess.run(command(config, out), check=True, stdout=subprocess.DEVNULL)
        assert files(out) == files(tmp_path / "whole")
        if killed >= 20:
            return
    assert killed >= 5


def test_ctrl_c_ends_soon_and_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.toml"
    long.write_text(CONFIG.replace("rounds = 120", "rounds = 3000000"))
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # where tests run in the background, it is ignored
    try:
        process = subprocess.Popen(
            command(long, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "manifest.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, complaint
    assert re.search(r"stopped: \d+ of 18 work units", said)
    assert "Run the same command again" in said
    assert "Traceback" not in complaint


def test_results_do_not_depend_on_the_number_of_devices(whole: Path, config: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from experiments.config import load_config;"
        "from experiments.runner import *; import jax; from experiments.store import write_runs;"
        "root = Path(sys.argv[2]); assert len(jax.devices()) == 8;"
        "write_runs(root, Runner(load_config(Path(sys.argv[1])), root).run(Progress()))"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", code, str(config), str(tmp_path)], check=True, env=os.environ | flags)
    assert files(tmp_path) == files(whole)


def test_a_second_process_in_the_directory_ends_in_one_line(config: Path, tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "experiments", "run", str(config), "--out", str(tmp_path)],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is in use by another process; wait for it, or choose another --out\n"
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] in ([], [(".lock", 0)])


def test_the_manifest_says_what_results_depend_on(whole: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["config"]["rounds"] == 120
    assert set(manifest["versions"]) >= {"python", "jax", "jaxlib", "numpy", "uis-env"}
    assert set(manifest["agents"]) == {"best_fixed", "eager", "random"}
    assert manifest["agents"]["eager"]["options"]["alpha"] == 1.0
    assert manifest["agents"]["eager"]["options"]["ridge"] == 1.0
    assert manifest["agents"]["best_fixed"]["role"] == "reference"
    assert {"config_hash", "device", "x64", "compiler_options", "xla_flags", "driver"} <= set(manifest)
    assert sum(manifest["commits"].values()) == 18
    timings = json.loads((whole / "timings.json").read_text())
    assert timings["total_run_seconds"] > 0
    assert set(timings["agents"]) == {"best_fixed", "eager", "random"}
