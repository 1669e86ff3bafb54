"""Answers vote by the key that they are graded by: alike in live methods and in the world built from a recording."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.scripted import Scripted, fixed, make_ask
from uis_env.estimators import METHODS, draw, expect, orders
from uis_env.live.build import build
from uis_env.live.config import load_config
from uis_env.live.outcome import play
from uis_env.live.queries import Query
from uis_env.live.recorder import record
from uis_env.live.verifiers import Verifier, exact, make_verifier, numeric
from uis_env.live.verifiers.verifier import as_given
from uis_env.pools import Pool, read_pool


def vote(verifier: Verifier, texts: list[str], right: str, method: str = "majority") -> Any:
    query = Query("q", "?", right, verifier)
    return asyncio.run(play(make_ask(fixed(*texts), query=query), method, (len(texts),)))


@pytest.mark.parametrize(
    ("kind", "texts", "right"),
    [
        ("exact", ["Paris", "paris", "PARIS", "Rome", "Rome"], "Paris"),
        ("exact", ["“Paris”", "Paris!", "Answer: Paris", "Rome", "Rome"], "Paris"),
        ("exact", ["Zu\u0308rich", "Zürich", "zürich", "Bern", "Bern"], "Zürich"),
        ("exact", ["−5", "-5", "–5", "7", "7"], "-5"),
        ("exact", ["1,000", "1000", "1,000.", "7", "7"], "1000"),
        ("numeric", ["1/2", "0.5", r"\boxed{\frac{2}{4}}", "7", "7"], "0.5"),
        ("choice", ["B. A car", "(b)", "The answer is b", "C", "C"], "B"),
    ],
)
@pytest.mark.parametrize("method", ["majority", "adaptive_consistency", "weighted_best_of_n"])
def test_answers_graded_alike_vote_together(kind: str, texts: list[str], right: str, method: str) -> None:
    assert vote(make_verifier(kind), texts, right, method).quality == 1


def test_numeric_votes_respect_the_tolerance() -> None:
    outcome = vote(numeric(0.01), ["3.14", "3.141", "3.1416", "2.7", "2.7"], "3.1416")
    assert (outcome.answer.answer, outcome.quality) == ("157/50", 1)
    assert vote(numeric(), ["3.14", "3.141", "3.1416", "2.7", "2.7"], "3.1416").quality == 0
    chain = [f"{3 + 0.03 * i:.2f}" for i in range(6)]  # neighbours agree, but not the ends
    assert vote(numeric(0.01), [*chain, "5", "5", "5", "5"], "5").quality == 1
    assert vote(numeric(0.01), ["1", "none", "none", "none"], "1").quality == 1


NUMBERS = st.lists(st.integers(-50, 50).map(lambda n: str(Fraction(n, 10))) | st.just(""), max_size=8)


@given(NUMBERS, st.sampled_from([0.0, 0.05, 0.2, 1.0]))
def test_numbers_vote_together_within_the_tolerance_of_one_of_them(answers: list[str], tolerance: float) -> None:
    votes = numeric(tolerance).group(answers)
    assert [counted == "" for counted in votes] == [answer == "" for answer in answers]
    slack = Fraction(tolerance)

    def near(one: str, other: str) -> bool:
        return abs(Fraction(one) - Fraction(other)) <= slack * max(Fraction(1), abs(Fraction(other)))

    known = [answer for answer in answers if answer]
    for answer, counted in zip(answers, votes, strict=True):
        assert not answer or near(answer, counted)
    if known:  # the greatest vote is that of the answer most others agree with, and does not depend on their order
        most = max(sum(near(other, answer) for other in known) for answer in known)
        assert max(Counter(filter(None, votes)).values()) == most
    shuffled = answers[::-1]
    assert numeric(tolerance).group(shuffled) == votes[::-1]


@given(st.lists(st.sampled_from(["Paris", "paris!", "“PARIS”", "Rome", "rome.", ""]), max_size=6))
def test_texts_vote_by_what_they_are_graded_by(texts: list[str]) -> None:
    verifier = exact()
    answers = [verifier.extract(text) for text in texts]
    votes = verifier.group(answers)
    for (one, first), (other, second) in itertools.product(zip(answers, votes, strict=True), repeat=2):
        if one and other:
            assert (first == second) == (verifier.grade(one, other) == 1)


CONFIG = """
[endpoints.e]
base_url = "http://127.0.0.1:9/v1"
[models.small]
endpoint = "e"
max_n = 8
price = { input = 1.0, cached = 0.5, output = 4.0 }
[queries]
file = "queries.jsonl"
[record]
direct = 5
"""
TEXTS = {
    "a": ["Paris", "paris", "PARIS", "Rome", "Rome"],
    "b": ["3.14", "3.141", "3.1416", "2.7", "2.7"],
    "c": ["b", "(B)", "C", "I don't know", "B. A car"],
}
ROWS = [
    {"id": "a", "question": "City? a", "answer": "Paris"},
    {"id": "b", "question": "Number? b", "answer": "3.1416", "verifier": {"kind": "numeric", "tolerance": 0.001}},
    {"id": "c", "question": "Option? c", "answer": "B", "verifier": "choice"},
]


def script(body: Any) -> list[tuple[str, float]]:
    texts = TEXTS[body["messages"][-1]["content"].split()[-1]]
    return [(text, -0.1 * (i + 1)) for i, text in enumerate(texts[: body["n"]])]


def test_a_built_world_expects_what_live_votes_return(tmp_path: Path) -> None:
    """Over all orders of the recorded samples, live methods return on average what the world says."""
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "config.toml").write_text(CONFIG)
    config = load_config(tmp_path / "config.toml")
    record(config, tmp_path / "out", transport=Scripted(script))
    world = build(config, tmp_path / "out")
    for q, query in enumerate(config.queries):
        texts = TEXTS[query.query_id]
        for method, n in (("majority", 2), ("majority", 4), ("adaptive_consistency", 4), ("weighted_best_of_n", 4)):
            returned = []
            for order in itertools.permutations(range(5)):
                pairs = iter([(texts[i], -0.1 * (i + 1)) for i in order])
                ask = make_ask(lambda body, pairs=pairs: list(itertools.islice(pairs, body["n"])), query=query)
                returned.append(asyncio.run(play(ask, method, (n,))).quality)
            arm = world.catalog.id("small", method, n)
            assert world.expected.quality[q, arm] == pytest.approx(np.mean(returned), abs=1e-6), (
                query.query_id,
                method,
            )


def test_a_vote_may_hold_answers_of_several_grades() -> None:
    """Its quality is that of the sample drawn first: the exact expectation is the mean over many orders."""
    answer = np.array([[0, 0, 0, 1, 1, -1], [0, 1, 0, 1, 0, 1]], np.int32)
    correct = np.array([[1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 1]], np.float64)
    score = np.exp(-np.linspace(0.1, 1.2, 12)).reshape(2, 6)
    ones = np.ones((2, 6))
    pool = Pool("m", "direct", answer, correct, score, ones, *[np.ones(2)] * 4)
    order = np.array([list(itertools.permutations(range(6)))] * 2, np.int32)
    for method in METHODS:
        n = 1 if method == "single" else 3
        drawn = draw(pool, method, n, order).quality.mean(axis=1)
        assert expect(pool, method, n).quality == pytest.approx(drawn), method
    assert orders(0, 2, 3, 6).shape == (2, 3, 6)


def test_pools_without_votes_count_extracted_answers(tmp_path: Path) -> None:
    row = {
        "query_id": "q", "model": "m", "prompt": "direct", "mean_logprob": -0.1, "completion_tokens": 1,
        "prompt_tokens": 1, "cached_tokens": 0, "prompt_ms": None, "prompt_n": None, "predicted_ms": None,
        "predicted_n": None,
    }  # fmt: skip
    path = tmp_path / "m.direct.jsonl"

    def read(*rows: dict[str, Any]) -> list[int]:
        path.write_text("".join(json.dumps(row | {"sample": i} | own) + "\n" for i, own in enumerate(rows)))
        return [int(answer) for answer in read_pool(path, ("q",)).answer[0]]

    one, other = {"extracted": "Paris", "correct": 1}, {"extracted": "paris", "correct": 1}
    assert read(one, other, one) == [0, 1, 0]
    assert read(one | {"vote": "paris"}, other | {"vote": "paris"}, {"extracted": "", "correct": 0, "vote": ""}) == [
        0,
        0,
        -1,
    ]
    with pytest.raises(ValueError, match=r"m\.direct\.jsonl:2: answer 'Paris' is graded 0, expected 1"):
        read(one | {"vote": "x"}, one | {"correct": 0, "vote": "y"})
    with pytest.raises(ValueError, match="vote is 3, expected a text"):
        read(one | {"vote": 3})


def test_verifiers_without_a_rule_count_answers_as_given() -> None:
    assert Verifier(str, lambda answer, right: 0.0).group(["a", "A"]) == as_given(["a", "A"]) == ["a", "A"]
