"""What decides a unit: edits of a temporary copy of the sources say which agents are played again."""

from __future__ import annotations

import importlib
import json
import linecache
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import provenance

ROOT = Path(__file__).parents[2]
CONFIG = """
name = "edits"
rounds = 20
seeds = 2
block = 2
[[worlds]]
name = "Synthetic"
options = {queries = 20, draws = 2}
[[preferences]]
name = "p"
cost = 1.0
cost_channel = "dollars"
[[agents]]
name = "best_fixed"
[[agents]]
name = "knn"
[[agents]]
name = "linucb"
"""
MINE = '''
from agents import Agent, Choice
from agents.choosing import pick_best
from helper import SCALE
import jax.numpy as jnp


def make(spec, width=0.3):
    """A user's agent."""

    def act(key, state, seen) -> Choice:
        return pick_best(key, jnp.arange(spec.arms) * width * SCALE, seen.mask)

    return Agent(lambda key: (), act, lambda key, state, back: state)
'''


def make_copy(root: Path) -> Path:
    for package in ("uis_env", "agents", "experiments"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    (root / "edits.toml").write_text(CONFIG)
    (root / "my_agent.py").write_text(MINE)
    (root / "helper.py").write_text("SCALE = 1.0\n")
    return root


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, with a config and a user's agent, in which everything was played once."""
    root = make_copy(tmp_path_factory.mktemp("copy"))
    assert run(root) == {"reused": 0, "of": 4, "again": []}
    return root


def run(root: Path, *more: str) -> dict[str, object]:
    command = [sys.executable, "-m", "experiments", "run", "edits.toml", "--out", "out", "--agent", "my_agent:make"]
    done = subprocess.run([*command, *more], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    reused, of = text.partition(" units reused")[0].rpartition("(")[2].split(" of ")
    again = sorted(line.split(" are played again")[0] for line in text.split(" units of ")[1:])
    return {"reused": int(reused), "of": int(of), "again": again}


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\n# an edit\n")


def sources(root: Path) -> dict[str, str]:
    """The digests of the driver and of three agents, as they are now; only files are read."""
    files = {"knn": "agents/knn.py", "linucb": "agents/linear.py", "my_agent.make": "my_agent.py"}
    found = {
        agent: provenance.digest(provenance.closure([root / name], provenance.roots_of(root / name)))
        for agent, name in files.items()
    }
    return found | {"driver": provenance.driver()}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        *(
            (name, [])
            for name in ("experiments/report/page.py", "experiments/statistics.py", "experiments/commands.py")
        ),
        *((name, []) for name in ("experiments/analysis.py", "experiments/references.py", "uis_env/live/client.py")),
        *((name, []) for name in ("experiments/__main__.py", "experiments/runner.py", "agents/__init__.py")),
        ("agents/knn.py", ["knn"]),
        ("my_agent.py", ["my_agent.make"]),
        ("helper.py", ["my_agent.make"]),
        *((name, ["driver"]) for name in ("agents/rollout.py", "experiments/player.py", "uis_env/scenarios.py")),
        *((name, ["driver"]) for name in ("uis_env/tape.py", "uis_env/bandit.py", "uis_env/split.py")),
    ],
)
def test_what_an_edit_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, changed: list[str]) -> None:
    root = make_copy(tmp_path)
    monkeypatch.setattr(provenance, "ROOT", root)
    before = sources(root)
    edit(root / name)
    after = sources(root)
    differ = [part for part in before if before[part] != after[part]]
    assert "driver" in differ if changed == ["driver"] else differ == changed  # the driver's changes play all again


def test_an_edited_agent_is_played_again_alone_and_said_so(copy: Path) -> None:
    edit(copy / "agents/knn.py")
    assert run(copy) == {"reused": 3, "of": 4, "again": ["knn"]}
    edit(copy / "experiments/report/page.py")
    edit(copy / "helper.py")
    assert run(copy) == {"reused": 3, "of": 4, "again": ["my_agent.make"]}
    assert run(copy) == {"reused": 4, "of": 4, "again": []}


def test_a_changed_number_shows_and_never_under_the_old_source(copy: Path) -> None:
    before = json.loads((copy / "out/manifest.json").read_text())["agents"]["my_agent.make"]
    (copy / "my_agent.py").write_text(MINE.replace("jnp.arange(spec.arms)", "-jnp.arange(spec.arms)"))
    old = (copy / "out/summary.csv").read_text()
    run(copy)
    after = json.loads((copy / "out/manifest.json").read_text())["agents"]["my_agent.make"]
    assert (copy / "out/summary.csv").read_text() != old
    assert after["source"] != before["source"]
    assert "-jnp.arange" in after["text"]


def test_report_reads_what_is_there_whatever_the_sources_are_now(copy: Path) -> None:
    before = (copy / "out/summary.csv").read_bytes()
    edit(copy / "agents/linear.py")
    (copy / "my_agent.py").write_text("raise SystemError('never imported by report')\n")
    subprocess.run([sys.executable, "-m", "experiments", "report", "out"], cwd=copy, check=True, timeout=120)
    assert (copy / "out/summary.csv").read_bytes() == before
    (copy / "my_agent.py").write_text(MINE)


def test_closures_follow_names_to_the_modules_that_define_them() -> None:
    from agents import AGENTS

    def names(kind: str) -> set[str]:
        path = provenance.source_path(AGENTS[kind].factory)
        assert path is not None
        return {str(file.relative_to(ROOT)) for file in provenance.closure([path], [ROOT])}

    assert {"agents/knn.py", "agents/agent.py", "agents/choosing.py"} <= names("knn")
    assert "agents/linear.py" not in names("knn")
    assert "agents/knn.py" not in names("linucb")


def test_a_file_that_looks_as_if_it_held_a_key_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "leaky.py"
    path.write_text('\n\nKEY = "sk-proj-abcdefghijklmnopqrstuvwx0123456789"\n\n\ndef make(spec):\n    return None\n')
    space: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    with pytest.raises(ValueError, match=r"agents\[3\].*leaky\.py:3 holds something that looks like a key") as caught:
        provenance.source_text(space["make"], "agents[3] ('leaky')")  # type: ignore[arg-type]
    assert "abcdefgh" not in str(caught.value)


FORMS = """import functools
from other import decorated, make as named_elsewhere


def _make(spec, width):
    return width


class Maker:
    def __call__(self, spec):
        return 1


partly = functools.partial(_make, width=1)
wrapped = decorated(_make)
called = Maker()
method = Maker().__call__
"""


@pytest.mark.parametrize("name", ["named_elsewhere", "partly", "wrapped", "called", "method"])
@pytest.mark.parametrize("edited", ["forms_of_make", "other"])
def test_whatever_a_users_factory_is_an_edit_of_its_module_or_of_what_that_imports_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, edited: str
) -> None:
    other = "def make(spec):\n    return 2\n\n\ndef decorated(make):\n    return lambda *args: make(*args)\n"
    (tmp_path / "other.py").write_text(other)
    (tmp_path / "forms_of_make.py").write_text(FORMS)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("other", "forms_of_make"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    code = f"forms_of_make:{name}"
    factory = getattr(importlib.import_module("forms_of_make"), name)
    before = provenance.agent_source(factory, code=code)
    assert before == provenance.agent_source(factory, code=code) != "unknown"
    assert provenance.source_text(factory, "agents[0]", code) == FORMS
    edit(tmp_path / f"{edited}.py")
    assert provenance.agent_source(factory, code=code) != before


def test_a_factory_without_a_file_has_its_own_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(text: str) -> str:
        monkeypatch.setitem(linecache.cache, "<cell>", (len(text), None, text.splitlines(keepends=True), "<cell>"))
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, "<cell>", "exec"), space)
        return provenance.agent_source(space["make"])

    first, second = made("def make(spec):\n    return 1\n"), made("def make(spec):\n    return 2\n")
    assert first != second
    assert first == made("def make(spec):\n    return 1\n") != "unknown"
