"""Verifiers by name, as configs and query files name them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any

from uis_env.live.table import Table
from uis_env.live.verifiers.choices import choice
from uis_env.live.verifiers.exact import exact, keys, same
from uis_env.live.verifiers.numbers import numeric
from uis_env.live.verifiers.process import SECONDS, WORKER, GraderError
from uis_env.live.verifiers.symbolic import expression
from uis_env.live.verifiers.verifier import Verifier

KINDS = ("exact", "numeric", "choice", "math", "regex", "callback")


def make_verifier(spec: str | Table) -> Verifier:
    """A verifier by name ("exact", "numeric", "choice", "math") or from a table with `kind` and its settings.

    `regex` (with `pattern`), `callback` (with `function`, "module:name") and `math` run in a worker process that is
    killed when a call takes more than `seconds`.

    Raises:
        ValueError: naming the key that is unknown, missing or not as expected.
        ImportError: if kind "math" is asked for without math-verify.
    """
    table = Table({"kind": spec}, "verifier") if isinstance(spec, str) else spec
    kind = table.choice("kind", KINDS)
    if kind in ("math", "regex", "callback"):
        made = _outside(table, kind, table.number("seconds", SECONDS, low=0.01, high=3600))
    elif kind == "numeric":
        made = numeric(table.number("tolerance", 0.0, low=0, high=1e9))
    else:
        made = exact() if kind == "exact" else choice()
    table.done()
    return made


def remote_function(path: str, where: str, seconds: float = SECONDS) -> Callable[..., float]:
    """The function at "package.module:name", returning a number, run in the worker process.

    Raises:
        ValueError: opening with `where`, if there is no such function.
    """
    spec = {"kind": "function", "function": path}
    _load(spec, seconds, where)
    return lambda *arguments: float(WORKER.call(spec, seconds, "call", *arguments))


def entry_verifier(name: str, size: int, seed: int, config: Mapping[str, Any], index: int, answer: str) -> Verifier:
    """reasoning-gym's scorer for one entry of a dataset, which the worker process makes again."""
    spec = {"kind": "reasoning_gym", "name": name, "size": size, "seed": seed, "config": dict(config), "index": index}
    lines = len(answer.splitlines()) or 1
    return Verifier(exact(lines).extract, _grade(spec, SECONDS), outside=True)


def _outside(table: Table, kind: str, seconds: float) -> Verifier:
    if kind == "callback":
        spec = {"kind": kind, "function": table.take("function", str)}
        _load(spec, seconds, f"{table.where}.function")
        return Verifier(exact().extract, _grade(spec, seconds), outside=True)
    if kind == "math":
        if importlib.util.find_spec("math_verify") is None:
            raise ImportError("verifier kind 'math' needs: pip install 'uis-env[math]'")
        spec = {"kind": kind}
        return Verifier(expression, _grade(spec, seconds, checks=True), _group(spec, seconds), outside=True)
    spec = {"kind": kind, "pattern": table.take("pattern", str)}
    try:
        re.compile(spec["pattern"])
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{table.where}.pattern: not a regular expression: {error}") from None
    return Verifier(lambda text: str(WORKER.call(spec, seconds, "extract", text)), same, keys, outside=True)


def _grade(spec: Mapping[str, Any], seconds: float, checks: bool = False) -> Callable[[str, str], float]:
    """Grading in the worker; without an answer only to check the right one, where the kind does."""

    def grade(answer: str, right: str) -> float:
        return float(WORKER.call(spec, seconds, "grade", answer, right)) if answer or checks else 0.0

    return grade


def _group(spec: Mapping[str, Any], seconds: float) -> Callable[..., list[str]]:
    return lambda answers: list(WORKER.call(spec, seconds, "group", list(answers)))


def _load(spec: Mapping[str, Any], seconds: float, where: str) -> None:
    try:
        WORKER.call(spec, seconds, "load")
    except (ValueError, GraderError) as error:
        raise ValueError(f"{where}: {error}") from None
