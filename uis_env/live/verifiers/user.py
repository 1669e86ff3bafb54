"""Verifiers that run code or patterns of the user's: regex, callback, and reasoning-gym's scorers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from uis_env.live.verifiers.answers import visible
from uis_env.live.verifiers.exact import exact, keys, same, tidy
from uis_env.live.verifiers.verifier import Verifier


def regex(pattern: str) -> Verifier:
    r"""The last match of a pattern (its first group, if it has one) outside reasoning blocks, compared like `exact`.

    >>> verifier = regex(r"final (\w+)")
    >>> verifier.extract("final one, final Two"), verifier.grade("Two", "two")
    ('Two', 1.0)
    """
    compiled = re.compile(pattern)

    def extract(text: str) -> str:
        found = ""
        for match in compiled.finditer(visible(text)):
            found = match.group(1 if compiled.groups else 0) or ""
        return tidy(found)

    return Verifier(extract, same, keys)


def callback(function: Callable[[str, str], float]) -> Verifier:
    """A function (answer, right answer) -> quality, on answers as `exact` finds them; it never sees an empty one.

    Equal answers vote together, as typed: only the function knows which others it grades alike.
    """

    def grade(answer: str, right: str) -> float:
        quality = float(function(answer, right)) if answer else 0.0
        if not 0 <= quality <= 1:
            raise ValueError(f"verifier callback returned {quality}, expected a number in [0, 1]")
        return quality

    return Verifier(exact().extract, grade)


def reasoning_gym(score: Callable[[str, Mapping[str, Any]], float], entry: Mapping[str, Any]) -> Verifier:
    """A reasoning-gym scorer for one entry: right only at full score (what it gives below is for the format)."""

    def grade(answer: str, right: str) -> float:
        try:
            return float(bool(answer) and score(answer, entry) >= 1.0)
        except Exception:  # an answer that the scorer cannot even read is wrong
            return 0.0

    return Verifier(exact(lines=len(str(entry["answer"]).splitlines()) or 1).extract, grade)


def load_function(path: str) -> Callable[..., Any]:
    """The function at "package.module:name".

    Raises:
        ValueError: if there is no such function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{path!r}: {error}; expected 'package.module:function'") from None
    if not callable(function):
        raise ValueError(f"{path!r} is not a function")
    return function  # type: ignore[no-any-return]
