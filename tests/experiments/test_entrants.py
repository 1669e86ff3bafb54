"""Roles belong to kinds: no label makes an agent a baseline, a reference or a learner."""

import csv
import json
import sys

import pytest

from agents import AGENTS
from experiments.__main__ import main
from experiments.analysis import analyse
from experiments.config import ConfigError, parse_config
from experiments.player import Player
from experiments.report.findings import findings
from experiments.results import Entrant
from experiments.store import read_runs

CONFIG = """
name = "small"
rounds = 60
seeds = 6

[[worlds]]
name = "Recorded"

[[preferences]]
name = "l"
cost = 1.0
cost_channel = "eflops"
"""
LABELS = {"best_fixed": "hindsight", "random": "best_fixed", "oracle": "random", "linucb_arm_only": "oracle"}
"""kind -> a label that says something else."""


def play(tmp_path, labels):
    text = CONFIG + "".join(f'[[agents]]\nname = "{label}"\nkind = "{kind}"\n' for kind, label in labels.items())
    path = tmp_path / "small.toml"
    path.write_text(text)
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--workers", "1"]) == 0
    return tmp_path / "run"


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    return play(tmp_path_factory.mktemp("renamed"), LABELS)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return play(tmp_path_factory.mktemp("usual"), {kind: kind for kind in LABELS})


def test_labels_change_no_comparison(renamed, usual):
    one, two = (analyse(read_runs(root))[0] for root in (renamed, usual))

    def pairs(analysis):
        kinds = {name: entrant.kind for name, entrant in analysis.cell.entrants.items()}
        return sorted((kinds[row.agent], kinds[row.other], row.family) for row in analysis.paired)

    assert pairs(one) == pairs(two)
    assert [pair[:2] for pair in pairs(one) if pair[2] == "primary"] == [
        ("linucb_arm_only", "best_fixed"),
        ("random", "best_fixed"),
    ]
    assert (one.cell.best_fixed, one.cell.oracle) == ("hindsight", "random")
    for kind in ("best_fixed", "oracle"):  # these two toss no coin that a label decides
        assert one.summary[LABELS[kind]].reward == two.summary[kind].reward
        assert one.honesty[LABELS[kind]].gain == two.honesty[kind].gain
    assert one.honesty["random"].oracle_share == pytest.approx(1)


def test_a_random_agent_that_is_named_best_fixed_is_a_baseline(renamed):
    """Review: its report said "2 learners beat the best fixed arm. The largest lead is that of hindsight"."""
    analysis = analyse(read_runs(renamed))[0]
    told = " ".join(finding.title + finding.text for finding in findings([analysis]))
    assert "of hindsight" not in told
    assert "hindsight," not in told
    assert {name: analysis.cell.role(name) for name in analysis.cell.agents} == {
        "hindsight": "reference",
        "best_fixed": "baseline",
        "random": "reference",
        "oracle": "learner",
    }
    with (renamed / "paired.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == "primary"]
    assert {row["agent"] for row in rows} == {"best_fixed", "oracle"}
    assert {row["other"] for row in rows} == {"hindsight"}


def test_roles_are_stored_and_report_reads_them_again(renamed):
    before = {path.name: path.read_bytes() for path in renamed.glob("*.csv")} | {
        "report.html": (renamed / "report.html").read_bytes()
    }
    index = json.loads((renamed / "references.json").read_text())
    assert {"name": "hindsight", "kind": "best_fixed", "role": "reference"}.items() <= index[0]["agents"][0].items()
    assert main(["report", str(renamed)]) == 0
    assert [name for name, content in before.items() if (renamed / name).read_bytes() != content] == []


def player(*agents):
    config = {
        "name": "small", "rounds": 20, "seeds": 2, "worlds": [{"name": "Recorded"}],
        "preferences": [{"name": "l", "cost": 1.0, "cost_channel": "eflops"}], "agents": list(agents),
    }  # fmt: skip
    return Player(parse_config(config, "small.toml"), {"mine": AGENTS["random"].factory, "peeking": peeking})


def peeking(spec):
    """Sees what no agent sees."""
    return AGENTS["oracle"](spec)


@pytest.mark.parametrize("kind", ["oracle", "best_fixed", "fixed_elsewhere"])
def test_a_second_entry_of_a_reference_is_refused(kind):
    with pytest.raises(ConfigError, match=rf"agents\[1\] \('two'\): '{kind}' is a reference, which is there already"):
        player({"name": "one", "kind": kind}, {"name": "two", "kind": kind})


def test_a_reference_counts_all_arms():
    with pytest.raises(ConfigError, match=r"agents\[0\] \('oracle'\)\.only: 'oracle' is a reference and counts all"):
        player({"name": "oracle", "only": {"models": ["qwen2.5-coder-0.5b"]}})


def test_a_users_agent_is_a_learner_unless_it_sees_what_no_agent_sees():
    made = player({"name": "best_fixed", "kind": "mine"}, {"name": "x", "kind": "peeking"}, {"name": "random"})
    assert made.entrants == {
        "best_fixed": Entrant("mine", "learner", own=True),
        "x": Entrant("peeking", "reference", own=True),
        "random": Entrant("random", "baseline"),
    }


def test_every_kind_has_a_role():
    assert {name for name, entry in AGENTS.items() if entry.role == "reference"} == {
        "oracle",
        "best_fixed",
        "fixed_elsewhere",
    }
    assert {name for name, entry in AGENTS.items() if entry.role == "baseline"} == {
        "random",
        "fixed",
        "cheapest",
        "strongest",
    }


OWN = """
from agents import AGENTS
print("IMPORTED")

def make(spec, width=0.3):
    return AGENTS["linucb_arm_only"](spec, alpha=width)
"""


def test_a_users_factory_is_a_kind_like_any_other(tmp_path, monkeypatch, capsys):
    """Beside the config, with options and names; the module is imported to play, and by no report."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "kind_module.py").write_text(OWN)
    (home / "small.toml").write_text(
        CONFIG
        + '[[agents]]\nname = "best_fixed"\n[[agents]]\nkind = "kind_module:make"\n'
        + '[[agents]]\nname = "wide"\nkind = "kind_module:make"\noptions = { width = 0.9 }\n'
        + '[[agents]]\nname = "same"\nkind = "linucb_arm_only"\noptions = { alpha = 0.9 }\n'
    )
    monkeypatch.chdir(tmp_path)
    assert main(["run", "home/small.toml", "--out", "run", "--workers", "1"]) == 0
    assert "IMPORTED" in capsys.readouterr().out
    [cell] = read_runs(tmp_path / "run")
    assert list(cell.agents) == ["best_fixed", "kind_module.make", "wide", "same"]
    assert cell.entrants["wide"] == Entrant("kind_module:make", "learner", own=True)
    assert cell.agents["wide"].totals["reward"].shape == cell.agents["same"].totals["reward"].shape
    sys.modules.pop("kind_module")
    (home / "kind_module.py").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "IMPORTED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(3)\n", "kind_module.py:2: SystemExit: 3"),
        ("raise KeyError('x')\n", "kind_module.py:1: KeyError: 'x'"),
        ("def make(spec:\n", "kind_module.py:1: '(' was never closed"),
        ("make = 3\n", "make is not callable"),
        ("def make(spec):\n    return {}['x']\n", "kind_module.py:2: KeyError: 'x'"),
        (
            "from agents import AGENTS\ndef make(spec):\n    a = AGENTS['random'](spec)\n"
            "    return a._replace(update=lambda key, state, back: back.actoin)\n",
            "update: kind_module.py:4: 'Feedback' has no attribute 'actoin' (did you mean 'action'?)",
        ),
    ],
)
def test_mistakes_in_a_users_code_are_one_line(tmp_path, monkeypatch, capsys, text, message):
    (tmp_path / "kind_module.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "kind_module:make"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    sys.modules.pop("kind_module", None)
