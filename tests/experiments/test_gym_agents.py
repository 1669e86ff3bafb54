"""Agents of any library play the driver's tapes on the Gymnasium environment, into the same files as any agent."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.clock import Progress
from experiments.config import ConfigError, load_config, parse_config
from experiments.results import Entrant
from experiments.runner import Runner
from experiments.store import read_runs

MODULE = """
import random
import numpy as np

class Greedy:
    def __init__(self, env, epsilon=0.1):
        self.count, self.sum = np.zeros(env.action_space.n), np.zeros(env.action_space.n)
        self.epsilon = epsilon

    def reset(self, seed):
        self.random = np.random.default_rng(seed)

    def act(self, observation, info):
        offered = np.flatnonzero(info["action_mask"])
        if self.random.random() < self.epsilon:
            return self.random.choice(offered)
        return offered[(self.sum / np.maximum(self.count, 1))[offered].argmax()]

    def learn(self, observation, action, reward, next_observation, done, info):
        self.count[action] += 1
        self.sum[action] += reward

class Always:
    def __init__(self, env, arm=46):
        self.arm, self.rewards = arm, []

    def act(self, observation, info):
        return self.arm

    def learn(self, observation, action, reward, next_observation, done, info):
        self.rewards.append(reward)
        if done:
            print("EARNED", type(self).__name__, sum(self.rewards[:90]), len(self.rewards))

class Careless(Always):
    def act(self, observation, info):
        return random.choice(np.flatnonzero(info["action_mask"]).tolist())

class Typo(Always):
    def learn(self, observation, action, reward, next_observation, done, info):
        self.rewords.append(reward)

class Beyond(Always):
    def act(self, observation, info):
        return 54

class Vague(Always):
    def act(self, observation, info):
        return 1.5

def nothing(env):
    return 3
"""
CONFIG = """
name = "mixed"
rounds = 90
seeds = 5
block = 3
{more}

[[worlds]]
name = "Recorded"

[[scenarios]]
name = "lost_model"
options = {{ model = "smollm2-135m" }}

[[preferences]]
name = "l"
cost = 1.0
cost_channel = "eflops"

[[agents]]
name = "best_fixed"

[[agents]]
name = "fixed"
options = {{ arm = 46 }}

[[agents]]
name = "always"
gym = "gym_module:Always"

[[agents]]
gym = "gym_module:Greedy"
options = {{ epsilon = 0.3 }}

[[agents]]
gym = "gym_module:Careless"
"""


def write(folder: Path, more: str = "", tail: str = "") -> Path:
    (folder / "gym_module.py").write_text(MODULE)
    path = folder / "mixed.toml"
    path.write_text(CONFIG.format(more=more) + textwrap.dedent(tail))
    return path


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inline")
    runner = Runner(load_config(write(folder)), folder / "run", workers=1)
    [cell] = runner.run(Progress())
    return folder, cell


def units(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "units").rglob("*.npz")}


def test_a_fixed_arm_earns_the_same_bits_as_the_compiled_one(inline):
    _, cell = inline
    mine, compiled = cell.agents["always"], cell.agents["fixed"]
    for name, total in compiled.totals.items():
        np.testing.assert_array_equal(mine.totals[name], total)
    for name, curve in compiled.curves.items():
        np.testing.assert_array_equal(mine.curves[name], curve)
    for name in ("arms", "arm_count", "query_reward", "query_count"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(compiled, name))


def test_it_is_a_learner_like_any_users_agent(inline):
    _, cell = inline
    assert cell.entrants["always"] == Entrant("gym_module:Always", "learner", own=True)
    assert "gym_module.Greedy" in cell.agents


def test_what_the_agent_is_paid_is_what_is_counted(tmp_path, capfd):
    more = "holdout = 20\npilot = 40"
    runner = Runner(load_config(write(tmp_path, more)), tmp_path / "run", workers=1)
    [cell] = runner.run(Progress())
    said = [line.split()[1:] for line in capfd.readouterr().out.splitlines() if line.startswith("EARNED")]
    assert {rounds for *_, rounds in said} == {"110"}
    for name, label in (("Always", "always"), ("Careless", "gym_module.Careless")):
        paid = [float(total) for kind, total, _ in said if kind == name]
        np.testing.assert_allclose(sorted(paid), sorted(cell.agents[label].totals["reward"]), rtol=1e-5)


def test_processes_and_resuming_change_no_byte(inline, tmp_path):
    folder, _ = inline
    before = units(folder / "run")
    path = write(tmp_path)
    Runner(load_config(path), tmp_path / "run", workers=2).run(Progress())
    assert units(tmp_path / "run") == before
    lost = next((tmp_path / "run" / "units").rglob("gym_module.Greedy-1.npz"))
    kept = next((tmp_path / "run" / "units").rglob("gym_module.Greedy-0.npz"))
    when = kept.stat().st_mtime_ns
    lost.unlink()
    Runner(load_config(path), tmp_path / "run", workers=2).run(Progress())
    assert units(tmp_path / "run") == before
    assert kept.stat().st_mtime_ns == when


def test_the_command_line_names_agents_and_options(inline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write(tmp_path).parent)
    call = ["run", "mixed.toml", "--out", "run", "--workers", "1", "--seeds", "2"]
    assert main([*call, "--gym-agent", "bold=gym_module:Greedy,epsilon=0.9", "--agent", "eager=linucb,alpha=2"]) == 0
    [cell] = read_runs(tmp_path / "run")
    assert cell.entrants["bold"] == Entrant("gym_module:Greedy", "learner", own=True)
    assert cell.entrants["eager"] == Entrant("linucb", "learner")
    assert "bold" in (tmp_path / "run" / "report.html").read_text()
    assert "bold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ("Typo", ": gym_module.py:41: 'Typo' has no attribute 'rewords' (did you mean"),
        ("Beyond", "act in round 0 of seed 0: ValueError: action 54 is not on offer"),
        ("Vague", "act in round 0 of seed 0: ValueError: action is 1.5, expected an integer in 0..53"),
        ("nothing", "gym_module:nothing returned int, which has no method 'act'"),
        ("Absent", "has no 'Absent'; it has"),
        ("Greedy,epsilno=1", "agents[5] ('gym_module.Greedy').options: gym_module:Greedy: got an unexpected keyword"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_mistakes_are_one_line(tmp_path, monkeypatch, capfd, agent, message, workers):
    if workers == "2" and agent not in ("Typo",):
        pytest.skip("one of them in processes is enough")
    text = write(tmp_path).read_text().partition('[[agents]]\nname = "always"')[0]
    (tmp_path / "mixed.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    message = message.replace("agents[5]", "agents[2]")
    assert main(["run", "mixed.toml", "--out", "run", "--workers", workers, "--gym-agent", f"gym_module:{agent}"]) == 2
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_debug_shows_the_traceback(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(write(tmp_path).parent)
    call = ["run", "mixed.toml", "--out", "run", "--workers", "1", "--gym-agent", "gym_module:Absent", "--debug"]
    assert main(call) == 2
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gym": "m:f", "kind": "linucb"}, "kind does not go together with gym"),
        ({"gym": "m:f", "only": {"models": ["x"]}}, "only does not go together with gym"),
        ({"gym": "m:f", "pilot": False}, "pilot does not go together with gym"),
        ({"gym": "m"}, "gym: 'm', expected module:function"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    config = {"name": "x", "rounds": 1, "seeds": 1, "worlds": [{"name": "Recorded"}], "preferences": [{"name": "p"}]}
    with pytest.raises(ConfigError, match=message):
        parse_config(config | {"agents": [change]}, "x.toml")


def test_workers_import_no_jax():
    code = "import sys, experiments.gym_worker; sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
