from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.live.judge import Verdict, judge
from uis_env.live.queries import Query
from uis_env.live.reply import Sample
from uis_env.live.verifiers import Verifier, callback, choice, exact, numeric


def sample(text: str, flag: str = "") -> Sample:
    return Sample(text, "stop", math.nan, math.nan, math.nan, flag)


def raises(*arguments: str) -> float:
    raise KeyError(arguments[0])


def query(verifier: Verifier, answer: str = "3") -> Query:
    return Query("q", "What is 1 + 2?", answer, verifier)


def test_partial_credit_stays_partial() -> None:
    assert judge(query(callback(lambda answer, right: 0.5)), sample("x")) == Verdict("x", 0.5)


@pytest.mark.parametrize("quality", [math.nan, math.inf, -0.1, 1.5])
def test_what_is_no_quality_is_worth_nothing_with_a_note(quality: float) -> None:
    verdict = judge(query(callback(lambda answer, right: quality)), sample("x"))
    assert (verdict.answer, verdict.quality) == ("x", 0.0)
    assert verdict.note.startswith("grading: ")


def test_a_verifier_that_raises_is_a_note() -> None:
    grading = judge(query(Verifier(exact().extract, raises)), sample("x"))
    assert grading == Verdict("x", 0.0, "grading: KeyError: 'x'")
    reading = judge(query(Verifier(raises, exact().grade)), sample("x"))
    assert reading == Verdict("", 0.0, "reading: KeyError: 'x'")


def test_what_is_no_answer_has_its_reason() -> None:
    assert judge(query(numeric()), sample("", "tool call")) == Verdict("", 0.0, "tool call")


TEXTS = st.text() | st.sampled_from(["9" * 5000, "7.5/10", "1\n/2", "\ud83d", "Answer: \ud83d 3", "[" * 10_000])


@given(TEXTS, st.sampled_from([exact(), numeric(), choice(), callback(lambda answer, right: float(answer))]))
def test_no_text_breaks_the_judge(text: str, verifier: Verifier) -> None:
    verdict = judge(query(verifier), sample(text))
    assert 0 <= verdict.quality <= 1
    verdict.answer.encode()
    verdict.note.encode()
