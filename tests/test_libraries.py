"""docs/libraries.md and examples/: snippets run, examples are short and known to `make interop`."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path("docs/libraries.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
FILES = sorted(path for path in Path("examples").glob("*.py") if path.name != "interop.py")


def interop() -> Any:
    spec = importlib.util.spec_from_file_location("interop", "examples/interop.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("i", range(len(SNIPPETS)))
def test_snippets_run(i: int) -> None:
    assert subprocess.run([sys.executable, "-c", SNIPPETS[i]], timeout=300, check=False).returncode == 0


def test_interop_knows_the_examples_of_the_page() -> None:
    known = interop().EXAMPLES
    assert {f"{name}.py" for name in known} <= {path.name for path in FILES}
    named = set(re.findall(r"`(\w+)\.py`", PAGE))
    assert named <= set(known)
    assert set(interop().QUICK) <= set(known)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_examples_are_python_and_use_no_test_query_for_training(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    ast.parse(source)
    if "evaluate(" in source:
        assert 'split="train"' in source and 'split="test"' in source


def test_an_example_passes_only_if_it_learns() -> None:
    passes = interop().passes
    assert passes("  random   0.2   policy − it +0.15 [+0.14, +0.16]") and passes("4 episodes replayed")
    assert not passes("  random   0.2   policy − it +0.01 [-0.01, +0.03]")
