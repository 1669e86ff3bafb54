"""The contract of verifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


def as_given(answers: Sequence[str]) -> list[str]:
    """The votes of answers that only agree with themselves."""
    return list(answers)


class Verifier(NamedTuple):
    """How the answers to a query are read, counted and graded.

    Attributes:
        extract: text -> answer; "" if there is none.
        grade: (answer, right answer) -> quality in [0, 1]. Raises ValueError for a right answer that nothing can match.
        group: answers of one query -> their votes, in the same order: answers with the same vote count as the same
            answer; "" does not vote.
        outside: whether it runs in the worker process, so that calls of it block.
    """

    extract: Callable[[str], str]
    grade: Callable[[str, str], float]
    group: Callable[[Sequence[str]], list[str]] = as_given
    outside: bool = False
