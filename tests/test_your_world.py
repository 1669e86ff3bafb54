"""docs/your_world.md, executed from its first line to its last."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", Path("docs/your_world.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def run(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    models = {"small": 0.001, "large": 0.01, "coder": 0.004}
    log = [
        {
            "id": f"q{i}",
            "right": {m: float(random.random() < 0.5) for m in models if m != "coder" or i % 7},
            "usd": models,
        }
        for i in range(60)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (tmp_path / "features.json").write_text(json.dumps({row["id"]: [float(i), 1.0] for i, row in enumerate(log)}))
    python = [text for language, text in BLOCKS if language == "python"]
    rows, function, features, gymnasium = python
    if importlib.util.find_spec("wordllama"):  # the extra `build`
        assert run(tmp_path, "-c", features) == "(2, 3) (3, 4)\n"
    assert len([line for line in rows.splitlines() if line and not line.startswith("import")]) <= 6
    assert "60 queries x 1 draws x 3 arms, 9 of 180 cells without outcomes" in run(
        tmp_path, "-c", rows + "print(world)"
    )
    [config] = [text for language, text in BLOCKS if language == "toml"]
    (tmp_path / "compare.toml").write_text(config)
    (tmp_path / "my_module.py").write_text(function)
    commands = [line.split() for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    said = run(tmp_path, *commands[0][1:], "--seeds", "2")
    assert "best_fixed" in said and "linucb" in said
    assert "<html" in (tmp_path / "results/support/report.html").read_text()[:200].lower()
    run(tmp_path, *commands[0][1:], "--seeds", "2", "--world", "my_module:make", "--out", "made")
    assert "linucb" in (tmp_path / "made" / "summary.csv").read_text()
    assert run(tmp_path, "-c", gymnasium).split()[0].partition("/")[0] in models
