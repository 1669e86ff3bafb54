"""docs/your_agent.md and examples/: what they show is run."""

import re
import tomllib
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.store import read_runs

PAGE = Path("docs/your_agent.md").read_text(encoding="utf-8")
EXAMPLES = Path("examples").resolve()
CONFIG = """
name = "small"
rounds = 40
seeds = 2
worlds = [{ name = "Recorded" }]
preferences = [{ name = "l", cost = 1.0, cost_channel = "eflops" }]
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for text in blocks("python"):
        (tmp_path / re.match(r"# (\w+\.py)", text)[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_agents_of_the_page_play_from_its_config(folder):
    (folder / "small.toml").write_text(CONFIG + blocks("toml")[0])
    call = [
        "run",
        "small.toml",
        "--out",
        "run",
        "--workers",
        "1",
        "--gym-agent",
        "bold=my_gym_agent:Greedy,epsilon=0.9",
    ]
    assert main(call) == 0
    [cell] = read_runs(folder / "run")
    assert list(cell.agents) == ["my_agent.make", "wide", "my_gym_agent.Greedy", "bold"]
    assert {one.role for one in cell.entrants.values()} == {"learner"}


def test_the_agent_of_the_page_keeps_the_contract(folder, capsys):
    assert main(["check", "my_agent:make,width=1.0"]) == 0
    assert "my_agent:make keeps the contract" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("library", "agent"), [("sklearn", "sklearn_agent:Greedy"), ("torch", "torch_agent:Network,hidden=4")]
)
def test_other_libraries(tmp_path, monkeypatch, library, agent):
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))
    (tmp_path / "small.toml").write_text(CONFIG + '[[agents]]\nname = "random"\n')
    monkeypatch.chdir(tmp_path)
    runs = []
    for workers in ("1", "2"):
        call = ["run", "small.toml", "--out", workers, "--workers", workers, "--gym-agent", f"x=examples.{agent}"]
        assert main(call) == 0
        [cell] = read_runs(tmp_path / workers)
        runs.append(cell.agents["x"].totals["reward"].tolist())
    assert runs[0] == runs[1]


def test_what_the_page_says_of_options_is_toml():
    assert tomllib.loads(blocks("toml")[0])["agents"][1]["options"] == {"width": 1.0}
