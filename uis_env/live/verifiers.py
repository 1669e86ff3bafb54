"""Verifiers: finding the answer in a text, so that equal answers are equal strings, and grading it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from uis_env.live.table import Table

_MARKER = re.compile(r"\banswer\b\s*(?:is\b|:|=)+\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*[1-9]\d*)?|[-−]?\.\d+")
_LETTER = re.compile(r"\(([A-Za-z])\)|\b([A-Z])\b")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


class Verifier(NamedTuple):
    """How the answers to a query are read and graded.

    Attributes:
        extract: text -> answer; "" if there is none. Equal answers come out equal, so votes can be counted.
        grade: (answer, right answer) -> quality in [0, 1].
    """

    extract: Callable[[str], str]
    grade: Callable[[str, str], float]


def marked(text: str) -> bool:
    """Whether the text announces its answer ("Answer: ...", "the answer is ...", a box)."""
    return bool(_MARKER.search(text) or _BOXED.search(text))


def final_part(text: str) -> tuple[str, bool]:
    """(What stands after the last announcement of an answer, True), or (the whole text, False)."""
    boxes = _BOXED.findall(text)
    if boxes:
        return boxes[-1], True
    announcements = list(_MARKER.finditer(text))
    if announcements:
        return text[announcements[-1].end() :], True
    return text, False


def exact(lines: int = 1) -> Verifier:
    """The announced line (else the last line), compared without regard to case, spaces and a full stop.

    Args:
        lines: how many lines an answer has.
    """

    def extract(text: str) -> str:
        part, announced = final_part(text)
        tidy = [line for line in map(_tidy, part.splitlines()) if line]
        return "\n".join(tidy[:lines] if announced else tidy[-lines:])

    return Verifier(extract, lambda answer, right: float(answer.casefold() == extract(right).casefold()))


def numeric(tolerance: float = 0.0) -> Verifier:
    """The first announced number (else the last number); commas in thousands, decimals and fractions are read.

    Args:
        tolerance: relative to the right answer, absolute below one.
    """

    def extract(text: str) -> str:
        part, announced = final_part(text)
        numbers = _NUMBER.findall(part)
        return str(_fraction(numbers[0 if announced else -1])) if numbers else ""

    def grade(answer: str, right: str) -> float:
        truth = extract(right)
        if not truth:
            raise ValueError(f"the right answer {right!r} holds no number, expected one for a numeric verifier")
        if not answer:
            return 0.0
        difference = abs(Fraction(answer) - Fraction(truth))
        return float(difference <= Fraction(tolerance) * max(Fraction(1), abs(Fraction(truth))))

    return Verifier(extract, grade)


def choice() -> Verifier:
    """The announced option's letter (else the last letter that stands alone or in parentheses)."""

    def extract(text: str) -> str:
        part, announced = final_part(text)
        letters = [bracketed or alone for bracketed, alone in _LETTER.findall(part)]
        return letters[0 if announced else -1].upper() if letters else ""

    return Verifier(extract, lambda answer, right: float(answer == right.strip().strip("()").upper()))


def regex(pattern: str) -> Verifier:
    """The last match of a pattern (its first group, if it has one), compared like `exact`."""
    compiled = re.compile(pattern)

    def extract(text: str) -> str:
        matches = list(compiled.finditer(text))
        return _tidy(matches[-1].group(1 if compiled.groups else 0) or "") if matches else ""

    return Verifier(extract, exact().grade)


def callback(function: Callable[[str, str], float]) -> Verifier:
    """A function (answer, right answer) -> quality, on answers as `exact` finds them."""

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


def make_verifier(spec: str | Table) -> Verifier:
    """A verifier by name ("exact", "numeric", "choice") or from a table with `kind` and its settings.

    Raises:
        ValueError: naming the key that is unknown, missing or not as expected.
    """
    table = Table({"kind": spec}, "verifier") if isinstance(spec, str) else spec
    kind = table.choice("kind", ("exact", "numeric", "choice", "regex", "callback"))
    if kind == "numeric":
        made = numeric(table.number("tolerance", 0.0, low=0))
    elif kind == "regex":
        pattern = table.take("pattern", str)
        try:
            made = regex(pattern)
        except re.error as error:
            raise ValueError(f"{table.where}.pattern: not a regular expression: {error}") from None
    elif kind == "callback":
        made = callback(load_function(table.take("function", str), f"{table.where}.function"))
    else:
        made = exact() if kind == "exact" else choice()
    table.done()
    return made


def load_function(path: str, where: str) -> Callable[..., Any]:
    """The function at "package.module:name".

    Raises:
        ValueError: opening with `where`, if there is no such function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{where}: {path!r}: {error}; expected 'package.module:function'") from None
    if not callable(function):
        raise ValueError(f"{where}: {path!r} is not a function")
    return function  # type: ignore[no-any-return]


def _tidy(line: str) -> str:
    """Without surrounding spaces, quotes, emphasis and a final full stop."""
    return " ".join(line.split()).strip("*`\"'$ ").removesuffix(".").strip("*`\"'$ ")


def _fraction(number: str) -> Fraction:
    return Fraction(number.replace(",", "").replace("−", "-").replace(" ", ""))
