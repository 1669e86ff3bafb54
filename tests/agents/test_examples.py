"""Every public factory has an example in its docstring; all examples of `agents` and of its page run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import agents

MODULES = sorted(path.stem for path in Path(agents.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("kind", sorted(agents.AGENTS))
def test_a_factory_shows_how_it_is_used(kind: str) -> None:
    text = inspect.getdoc(agents.AGENTS[kind].factory) or ""
    assert f"trial({kind}" in text


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"agents.{module}"), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


def test_examples_of_the_page_run() -> None:
    page = Path("docs/agents.md").resolve()
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (found.failed, found.attempted > 5) == (0, True)
