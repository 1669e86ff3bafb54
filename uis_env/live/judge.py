"""The judge: what a text answers and what that is worth, the same for the recorder, the builder and the environment.

A verifier that raises, or returns what is no quality, makes an answer worth nothing, with a note; it never ends a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from uis_env.live.queries import Query
from uis_env.live.reply import Sample, clean
from uis_env.live.verifiers.process import WORKER

T = TypeVar("T")
_THREAD = ThreadPoolExecutor(1, "uis-judge")
LONGEST = 1_000_000
"""Characters of a text that are read; a longer one is judged by its end."""


class Verdict(NamedTuple):
    """What a text is worth.

    Attributes:
        answer: as the query's verifier reads it; "" if there is none.
        quality: in [0, 1].
        note: why it could not be judged, or why it is no answer; "" if all is well.
    """

    answer: str
    quality: float
    note: str = ""


async def aside(function: Callable[..., T], query: Query, *arguments: object) -> T:
    """`function(query, ...)` of this module, off the event loop where the query's verifier would block it."""
    return await in_thread(function, query, *arguments) if query.verifier.outside else function(query, *arguments)


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """The result of a function that blocks, off the event loop; one at a time. Cancelled, it ends the worker's call."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREAD, function, *arguments)
    except asyncio.CancelledError:
        WORKER.interrupt()
        raise


def judge(query: Query, sample: Sample) -> Verdict:
    """Reads and grades a sample."""
    if sample.flag:
        return Verdict("", 0.0, sample.flag)
    answer, note = read(query, sample.text)
    return Verdict(answer, 0.0, note) if note else grade(query, answer)


def read(query: Query, text: str) -> tuple[str, str]:
    """(The answer in a text, "" if there is none; a note if the verifier could not read it)."""
    try:
        return clean(query.verifier.extract(text[-LONGEST:])), ""
    except Exception as error:
        return "", _note("reading", error)


def grade(query: Query, answer: str) -> Verdict:
    """Grades an answer as `read` returned it."""
    try:
        quality = float(query.verifier.grade(answer, query.answer))
    except Exception as error:
        return Verdict(answer, 0.0, _note("grading", error))
    if not 0 <= quality <= 1:
        return Verdict(answer, 0.0, f"grading: quality {quality}, expected a number in [0, 1]")
    return Verdict(answer, quality)


def votes(query: Query, answers: Sequence[str]) -> list[str]:
    """The votes of answers as `read` returned them: equal ones count as the same answer; "" does not vote."""
    try:
        return [clean(vote) for vote in query.verifier.group(answers)]
    except Exception:
        return list(answers)


def _note(what: str, error: Exception) -> str:
    return clean(f"{what}: {type(error).__name__}: {error}"[:200])
