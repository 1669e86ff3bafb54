"""`compare` joins runs of the same episodes and refuses others; `reproduce` says what is the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import __main__ as cli
from experiments.config import parse_config
from experiments.reproduce import code_of, verdict
from experiments.runner import Progress, Runner
from experiments.store import read_manifest, read_runs, write_runs

PLAIN: dict[str, Any] = {
    "name": "tiny",
    "rounds": 40,
    "holdout": 10,
    "seeds": 6,
    "block": 2,
    "worlds": [{"name": "Synthetic", "options": {"queries": 40, "draws": 2}}],
    "preferences": [{"name": "p", "cost": 1.0}],
}


def played(root: Path, agents: list[dict[str, Any]], **changes: Any) -> Path:
    config = parse_config(PLAIN | changes | {"agents": agents}, "tiny")
    write_runs(root, Runner(config, root).run(Progress()))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("runs")
    first = played(root / "first", [{"name": "best_fixed"}, {"name": "linucb"}])
    second = played(
        root / "second", [{"name": "best_fixed"}, {"name": "linucb", "options": {"alpha": 2.0}}, {"name": "random"}]
    )
    return first, second


def test_agents_of_all_runs_in_one_report_told_apart_by_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert cli.main(["compare", *map(str, runs), "--out", str(tmp_path / "both")]) == 0
    [cell] = read_runs(tmp_path / "both")
    assert list(cell.agents) == ["best_fixed", "linucb.first", "linucb.second", "random"]
    for root, label in zip(runs, ("linucb.first", "linucb.second"), strict=True):
        [alone] = read_runs(root)
        np.testing.assert_array_equal(cell.agents[label].totals["reward"], alone.agents["linucb"].totals["reward"])
    text = (tmp_path / "both" / "paired.csv").read_text()
    assert "linucb.first,best_fixed" in text
    assert "linucb.second,best_fixed" in text
    manifest = read_manifest(tmp_path / "both")
    assert manifest["agents"]["linucb.second"]["options"]["alpha"] == 2.0
    assert set(manifest["compared"]) == {"first", "second"}
    assert cli.main(["report", str(tmp_path / "both")]) == 0
    before = (tmp_path / "both" / "summary.csv").read_bytes()
    assert cli.main(["reproduce", str(tmp_path / "both")]) == 2
    assert (tmp_path / "both" / "summary.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rounds": 50}, "rounds"),
        ({"first_seed": 3}, "first_seed"),
        ({"preferences": [{"name": "p", "cost": 2.0}]}, "preferences.p"),
        ({"worlds": [{"name": "Synthetic", "options": {"queries": 41, "draws": 2}}]}, "worlds.Synthetic"),
    ],
)
def test_other_episodes_are_refused_by_name(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    other = played(tmp_path / "other", [{"name": "random"}], **changes)
    assert cli.main(["compare", str(runs[0]), str(other), "--out", str(tmp_path / "out")]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_directory_twice_is_no_comparison(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", str(runs[0]), str(runs[0]), "--out", str(tmp_path / "out")]) == 2
    assert "each once" in capsys.readouterr().err


def test_a_run_is_reproduced_byte_by_byte(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in runs[0].rglob("*") if path.is_file()}
    assert cli.main(["reproduce", str(runs[0])]) == 0
    assert "reproduced, byte by byte" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in runs[0].rglob("*") if path.is_file()} == before


def shifted(cell: Any, by: float) -> Any:
    agents = {
        name: replace(one, totals=one.totals | {"reward": one.totals["reward"] + by * cell.rounds})
        for name, one in cell.agents.items()
    }
    return replace(cell, agents=agents)


def test_verdicts_name_what_differs(runs: tuple[Path, Path]) -> None:
    cells, manifest = read_runs(runs[0]), read_manifest(runs[0])
    newer = json.loads(json.dumps(manifest))
    newer["versions"]["numpy"] = "9.9"
    same = verdict(cells, cells, manifest, manifest)
    assert same == (0, "reproduced, byte by byte")
    near = verdict(cells, [shifted(cell, 1e-6) for cell in cells], manifest, newer)
    assert near.status == 0
    assert "within rounding" in near.text
    assert "versions.numpy" in near.text
    far = verdict(cells, [shifted(cell, 0.1) for cell in cells], manifest, manifest)
    assert far.status == 1
    assert "are the same" in far.text


def test_code_that_a_manifest_names_is_shown_and_needs_trust(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(runs[0])
    manifest["config"]["worlds"][0]["kind"] = "os:getcwd"
    assert code_of(manifest["config"]) == ["os:getcwd"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert cli.main(["reproduce", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "os:getcwd" in error
    assert "--trust" in error
