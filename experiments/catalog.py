"""`list`: what can stand in a config, each with a line; or all parameters of one of them."""

from __future__ import annotations

import importlib
import inspect
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.config import ConfigError
from uis_env import worlds
from uis_env.imports import did_you_mean
from uis_env.scenarios import SCENARIOS

CONFIGS = Path("paper_configs")
ROOT = Path(__file__).parent.parent


def show(name: str | None, as_json: bool) -> int:
    """Everything, or one agent, world or scenario.

    Raises:
        ConfigError: if there is none of that name.
    """
    known: dict[str, Any] = everything() if name is None else one(name)
    if as_json:
        print(json.dumps(known, indent=1, ensure_ascii=False))
    elif name is None:
        for title, rows in known.items():
            _print(title, [[row["name"], row["summary"], row.get("role", "")] for row in rows])
    else:
        _print(
            f"{known['name']}: {known['summary']}",
            [[row["name"], row["default"], row["range"]] for row in known["parameters"]] or [["", "no parameters", ""]],
        )
        console = Console()
        console.print(", ".join([known["what"], *([known["role"]] if known["role"] else []), known["source"]]))
    return 0


def everything() -> dict[str, list[dict[str, str]]]:
    """Agents (with their role), worlds, scenarios and configs: name and summary."""
    from agents import AGENTS

    return {
        "agents": [{"name": name, "summary": e.summary, "role": e.role} for name, e in AGENTS.items()],
        "worlds": [{"name": name, "summary": entry.summary} for name, entry in worlds.WORLDS.items()],
        "scenarios": [{"name": name, "summary": _first_line(make)} for name, make in SCENARIOS.items()],
        "configs": [{"name": name, "summary": line} for name, line in _configs()],
    }


def one(name: str) -> dict[str, Any]:
    """What it is, its role, source file and parameters with defaults and ranges.

    Raises:
        ConfigError: if there is none of that name.
    """
    from agents import AGENTS

    found: Mapping[str, Any] = {"what": "", "role": ""}
    if name in AGENTS:
        found = {"what": "agent", "role": AGENTS[name].role, "summary": AGENTS[name].summary}
        function: Callable[..., Any] = AGENTS[name].factory
        skipped = 1
    elif name in worlds.WORLDS:
        entry = worlds.WORLDS[name]
        found = {"what": "world", "role": "", "summary": entry.summary}
        function, skipped = getattr(importlib.import_module(entry.module), entry.loader), 0
    elif name in SCENARIOS:
        found = {"what": "scenario", "role": "", "summary": _first_line(SCENARIOS[name])}
        function, skipped = SCENARIOS[name], 2
    else:
        names = [*AGENTS, *worlds.WORLDS, *SCENARIOS]
        raise ConfigError(f"list {name}: no agent, world or scenario has this name{did_you_mean(name, names)}")
    source = Path(inspect.getsourcefile(inspect.unwrap(function)) or "")
    return {
        "name": name,
        **found,
        "source": str(source.relative_to(ROOT)) if source.is_relative_to(ROOT) else str(source),
        "parameters": list(_parameters(function, skipped, found["what"] == "agent")),
    }


def _parameters(function: Callable[..., Any], skipped: int, ranged: bool) -> Iterable[dict[str, str]]:
    from agents.ranges import RANGES

    for parameter in list(inspect.signature(function).parameters.values())[skipped:]:
        known = RANGES.get(parameter.name) if ranged else None
        yield {
            "name": parameter.name,
            "default": "required" if parameter.default is parameter.empty else repr(parameter.default),
            "range": known.text if known else "",
        }


def _print(title: str, rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, expand=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print()


def _configs() -> Iterable[tuple[str, str]]:
    """The descriptions of the configs at hand; a file that is not a config says so in its line."""
    for path in sorted(CONFIGS.glob("*.toml")):
        try:
            description = tomllib.loads(path.read_text(encoding="utf-8")).get("description", "")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            description = f"not readable: {error}"
        yield str(path), str(description)


def _first_line(thing: Callable[..., object]) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
