"""What decides a unit's numbers, besides its config: the sources of agent and driver, versions, compiler, device.

Sources are read, never imported: a module's *closure* is every first-party file that its import statements reach.
A name that a package re-exports (`from agents import Agent`) leads to the module that defines it, so a closure does not
hold the agents that `agents/__init__.py` happens to list.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from experiments import backend

ROOT = Path(__file__).parent.parent
"""The folder that holds the packages."""
DRIVER = (
    *("experiments.player", "experiments.cells", "experiments.backend", "experiments.sweeps.game"),
    *("agents.rollout", "agents.sweep", "agents.wrappers"),
    *("uis_env.world", "uis_env.bandit", "uis_env.tape", "uis_env.scenarios", "uis_env.split"),
)
"""What plays every agent."""
APART = (
    *("agents", "agents.registry", "uis_env.worlds"),
    *("experiments.config", "experiments.entrants", "experiments.store", "experiments.provenance", "experiments.clock"),
    *("experiments.gym_agents", "experiments.gym_worker"),
)
"""What the driver imports but is accounted for elsewhere: agents and worlds by digests of their own, configs by their
values; the others lay out files."""
GYM = ("experiments.gym_agents", "experiments.gym_worker", "uis_env.env", "uis_env.episodes")
"""What plays agents of other libraries, on top of the driver."""
DEVICES = "--xla_force_host_platform_device_count"
"""A flag that says where seeds are played, which changes no bit (`tests/experiments/test_runner.py`)."""
SECRET = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|xox[abp]|hf|AKIA|AIza)[-_]?[A-Za-z0-9_-]{16,}|BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:api[_-]?key|secret|token|password)\s*[:=]\s*[\"'][A-Za-z0-9+/_=-]{16,}[\"']"
)
"""What looks like a key in a source file."""


def driver() -> str:
    """The digest of the driver's sources."""
    return digest(closure([path for name in DRIVER if (path := _module(name, [ROOT]))], [ROOT], APART))


def agent_source(factory: Callable[..., Any], gym: bool = False, code: str | None = None) -> str:
    """The digest of the sources that decide what an agent does.

    They are the closure of the module that defines its factory, that of the module which a user named, and what plays
    it if `gym`. A factory without a file (of a notebook, say) has its own text alone.
    """
    files = _files(factory, code)
    if not files:
        try:
            return hashlib.sha256(inspect.getsource(_defined(factory)).encode()).hexdigest()[:16]
        except (OSError, TypeError):
            return "unknown"
    player = [file for name in GYM if (file := _module(name, [ROOT]))] if gym else []
    apart = [name for name in APART if name not in GYM] if gym else []
    roots = list(dict.fromkeys(root for path in files for root in roots_of(path)))
    return digest(closure([*files, *player], roots, apart))


def source_path(factory: Callable[..., Any]) -> Path | None:
    """The file that defines a factory; None if there is none (typed into a prompt, say)."""
    try:
        file = inspect.getsourcefile(_defined(factory))
    except TypeError:
        return None
    return Path(file).resolve() if file and Path(file).is_file() else None


def source_text(factory: Callable[..., Any], where: str, code: str | None = None) -> str | None:
    """The text of a user's agent, for the manifest: of the module that `code` names, else of the factory's.

    Raises:
        ValueError: naming file and line, if it holds something that looks like a key.
    """
    path = next(iter(_files(factory, code)), None)
    if path is None:
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if found := SECRET.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"{where}: {path.name}:{line} holds something that looks like a key; the manifest stores the agent's "
            "source, so read keys from the environment"
        )
    return text


def _files(factory: Callable[..., Any], code: str | None) -> list[Path]:
    """The file of the imported module that `code` ("module:factory") names, then the one that defines the factory.

    They differ where the name is that of a decorated or re-exported function.
    """
    module = sys.modules.get((code or "").partition(":")[0])
    named = getattr(module, "__file__", None)
    files = [Path(named).resolve() if named and Path(named).is_file() else None, source_path(factory)]
    return list(dict.fromkeys(file for file in files if file))


def _defined(factory: Any) -> Any:
    """The function or class whose source a factory has: below wrappers and `functools.partial`, of a called object."""
    factory = inspect.unwrap(factory)
    while isinstance(factory, functools.partial):
        factory = inspect.unwrap(factory.func)
    plain = inspect.isroutine(factory) or inspect.isclass(factory)
    return factory if plain else type(factory)


def environment() -> dict[str, Any]:
    """Versions, device and compiler settings: what the bits of a result depend on besides sources and config."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy", "gymnasium")},
            "uis-env": version("uis-env"),
        },
        "device": str(jax.local_devices()[0].device_kind),
        "backend": jax.default_backend(),
        "x64": bool(jax.config.values["jax_enable_x64"]),
        "compiler_options": backend.compiler_options() or {},
        "xla_flags": _xla_flags(),
    }


@functools.cache
def _xla_flags() -> str:
    """As they were when they were first asked for: XLA reads them once, and a later change has no effect."""
    return " ".join(flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(DEVICES))


def digest(files: Sequence[Path]) -> str:
    """A hash of the texts of files; neither their place nor line endings matter."""
    total = hashlib.sha256()
    for text in sorted(path.read_bytes().replace(b"\r\n", b"\n") for path in files):
        total.update(hashlib.sha256(text).digest())
    return total.hexdigest()[:16]


def closure(files: Sequence[Path], roots: Sequence[Path], apart: Sequence[str] = ()) -> list[Path]:
    """The given files and all first-party ones that their imports reach.

    Args:
        files: where to start.
        roots: folders in which modules are looked for; what is not found there is not first-party.
        apart: names of modules that are not followed.
    """
    without = {path for name in apart if (path := _module(name, roots))}
    found: dict[Path, None] = {}
    waiting = [path.resolve() for path in files]
    while waiting:
        path = waiting.pop()
        if path not in found and path not in without:
            found[path] = None
            waiting.extend(_imported(path, roots))
    return sorted(found)


def _imported(path: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """The first-party files that a file imports, wherever in it the import stands."""
    for node in ast.walk(_tree(path, path.stat().st_mtime_ns)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if module := _module(alias.name, roots):
                    yield module
        elif isinstance(node, ast.ImportFrom):
            package = _absolute(node, path, roots)
            for alias in node.names:
                yield from _defining(package, alias.name, roots)


def _defining(package: str, name: str, roots: Sequence[Path]) -> Iterator[Path]:
    """The file behind `from package import name`: a submodule, or the module that the package has the name from."""
    if module := _module(f"{package}.{name}", roots):
        yield module
        return
    path = _module(package, roots)
    if path is None:
        return
    if path.name == "__init__.py":
        for node in _tree(path, path.stat().st_mtime_ns).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        yield from _defining(_absolute(node, path, roots), alias.name, roots)
                        return
    yield path


@functools.lru_cache(maxsize=512)
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _absolute(node: ast.ImportFrom, path: Path, roots: Sequence[Path]) -> str:
    """The dotted name of the package that an import is from."""
    if not node.level:
        return node.module or ""
    root = next((root for root in roots if path.is_relative_to(root)), path.parent)
    parents = path.relative_to(root).with_suffix("").parts
    parts = parents[: len(parents) - node.level]
    return ".".join((*parts, *((node.module,) if node.module else ())))


def _module(name: str, roots: Sequence[Path]) -> Path | None:
    """The file of a dotted name below one of the roots."""
    for root in roots:
        place = root.joinpath(*name.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None


def roots_of(path: Path) -> list[Path]:
    """Where the imports of a module are looked for: beside its top package, then among the packages of this project."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return [top] if top == ROOT else [top, ROOT]
