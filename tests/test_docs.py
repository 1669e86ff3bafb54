"""The commands in docs/ parse, and the files that they name exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from experiments.__main__ import main, parser

PAGES = sorted(Path("docs").glob("*.md"))


def commands(page: Path) -> list[list[str]]:
    """Words of the `python -m experiments` commands of a page, what stands before `python` left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words[words.index("python") + 3 :] for words in lines if "python -m experiments" in " ".join(words)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        args = parser().parse_args(words)
        if args.command == "run":
            assert args.config.is_file() or f"# {args.config}\n" in page.read_text(encoding="utf-8")  # shown there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for name in re.findall(r"\]\(((?!http|#)[^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).exists(), name


def test_scale_shows_every_executor() -> None:
    runs = [parser().parse_args(words) for words in commands(Path("docs/scale.md"))]
    assert {run.cluster for run in runs} >= {None, "local", "auto"}
    assert [run.distributed for run in runs if run.distributed][-1] == "auto"
    assert any(run.gpus_per_task == 0.25 for run in runs)


def test_every_command_has_a_section_with_an_example() -> None:
    page = Path("docs/commands.md")
    choices = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    names = [section.partition("\n")[0] for section in sections]
    assert sorted(names) == sorted(choices)
    assert all(f"python -m experiments {name}" in section for name, section in zip(names, sections, strict=True))


def test_the_exit_statuses_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = Path("docs/commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == ["0", "1", "2", "130"]
    assert main(["list", "linucb"]) == 0
    assert main(["report", str(tmp_path)]) == 2

    def interrupted(name: str | None, as_json: bool) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.catalog.show", interrupted)
    assert main(["list"]) == 130


@pytest.mark.parametrize("name", ["statistics", "worlds", "libraries", "workflow"])
def test_snippets_run(name: str) -> None:
    """All snippets of a page, in order, as one program."""
    page = Path(f"docs/{name}.md")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), str(page), "exec"), {})
