"""Mathematical expressions, compared as such by math-verify (https://github.com/huggingface/Math-Verify)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from uis_env.live.verifiers.answers import clean, framed_part, parts
from uis_env.live.verifiers.exact import key
from uis_env.live.verifiers.verifier import Verifier

_PROSE = re.compile(r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|max|min)\b)[A-Za-z]{3,}")


def symbolic() -> Verifier:
    r"""The announced expression (else the last line), right if math-verify finds it equal to the right answer.

    Numbers, fractions, roots, multiples of π, sets, intervals, equations and matrices in LaTeX or plain text are
    compared by value: `\boxed{\frac{\sqrt{2}}{2}}` equals `1/\sqrt{2}`. Answers equal in this sense vote as one.

    Raises:
        ImportError: without math-verify.
    """
    try:
        from math_verify import parse, verify
    except ImportError:
        raise ImportError("verifier kind 'math' needs: pip install 'uis-env[math]'") from None

    # The time limit is the worker's: math-verify's own needs signals, and it warns when they are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)

    def read(answer: str) -> list[Any]:
        bare = "$" not in answer and not _PROSE.search(answer)
        return list(parse(f"${answer}$" if bare else answer, parsing_timeout=None)) if answer else []

    def equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
        return bool(verify(one, other, timeout_seconds=None))

    def grade(answer: str, right: str) -> float:
        truth = read(expression(right))
        if not truth:
            raise ValueError(f"the right answer is {right!r}, expected a mathematical expression")
        return float(equal(truth, read(answer)))

    def group(answers: Sequence[str]) -> list[str]:
        votes = {answer: key(answer) for answer in answers}
        leaders: list[tuple[str, list[Any]]] = []
        for vote in dict.fromkeys(votes.values()):
            value = read(next(answer for answer in answers if votes[answer] == vote)) if vote else []
            leader = next((name for name, known in leaders if value and equal(known, value)), vote)
            if leader == vote:
                leaders.append((vote, value))
            votes |= {answer: leader for answer, old in votes.items() if old == vote}
        return [votes[answer] for answer in answers]

    return Verifier(expression, grade, group)


def expression(text: str) -> str:
    """The expression that a text gives as its answer, as written; "" if there is none."""
    whole = clean(text)
    for part in parts(whole):
        lines = [line.strip() for line in part.text.splitlines() if line.strip(" $*")]
        if lines:
            line = part.text.strip() if framed_part(whole) else lines[0] if part.announced else lines[-1]
            return line.strip("* ").removesuffix(".").strip("* ")
    return ""
