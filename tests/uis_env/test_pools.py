import gzip
import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env import estimators
from uis_env.estimators import METHODS, draw, expect, orders, pass_at, settled
from uis_env.pools import Pool, read_pool, read_queries


def make_pool(samples):
    """A pool of one query from (answer, correct, score, tokens) tuples."""
    answer, correct, score, tokens = zip(*samples, strict=True)
    one = np.ones(1)
    return Pool(
        model="m",
        style="s",
        answer=np.array([answer], np.int32),
        correct=np.array([correct], np.float64),
        score=np.array([score], np.float64),
        tokens=np.array([tokens], np.float64),
        prompt=one,
        cached=one,
        prefill_ms=one,
        decode_ms=one,
    )


@st.composite
def sample_lists(draw_value, most=6):
    """Samples of one query; scores and tokens come from small sets, so that ties are common."""
    size = draw_value(st.integers(1, most))
    right = draw_value(st.sets(st.integers(0, 3)))
    scores = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])
    answers = draw_value(st.lists(st.integers(-1, 3), min_size=size, max_size=size))
    return [(a, int(a in right), draw_value(scores), draw_value(st.integers(1, 4))) for a in answers]


def play(samples, method, n):
    """What a method returns on samples in this order, written out plainly: (quality, score, tokens, squares, steps)."""
    used = samples[:n]
    if method == "adaptive_consistency":
        for j in range(1, n + 1):
            counts = [*sorted(Counter(a for a, *_ in samples[:j] if a >= 0).values(), reverse=True), 0, 0]
            if beta_leads(counts[0], counts[1]) >= 0.95:
                used = samples[:j]
                break
    lengths = [t for *_, t in used]
    steps = sum(lengths) if method == "adaptive_consistency" else max(lengths)
    if method in ("single", "best_of_n"):
        best = max(range(len(used)), key=lambda i: (used[i][2], -i))
        quality, score = used[best][1], used[best][2]
    else:
        votes: dict[int, float] = {}
        for answer, _, value, _ in used:
            votes[answer] = votes.get(answer, 0) + (value if method == "weighted_best_of_n" else 1)
        voting = {a: v for a, v in votes.items() if a >= 0} or votes
        winner = next(a for a, *_ in used if voting.get(a) == max(voting.values()))
        given_by = [(c, v) for a, c, v, _ in used if a == winner]
        quality, score = given_by[0][0], sum(v for _, v in given_by) / len(given_by)
    return np.array([quality, score, sum(lengths), sum(t * t for t in lengths), steps], np.float64)


def beta_leads(first, second):
    """P(p > 1/2), p ~ Beta(first + 1, second + 1), by integrating the polynomial density exactly."""
    total = Fraction(0)
    for i in range(second + 1):
        power = first + i + 1
        total += Fraction(math.comb(second, i) * (-1) ** i, power) * (1 - Fraction(1, 2**power))
    return total * math.comb(first + second, first) * (first + second + 1)


@settings(max_examples=150, deadline=None)
@given(sample_lists(), st.sampled_from(METHODS), st.data())
def test_expectation_is_the_mean_over_all_orders(samples, method, data):
    n = 1 if method == "single" else data.draw(st.integers(1, len(samples)))
    every = [play(order, method, n) for order in itertools.permutations(samples)]
    exact = np.array([float(x[0]) for x in expect(make_pool(samples), method, n)])
    np.testing.assert_allclose(exact, np.mean(every, axis=0), rtol=1e-12, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(sample_lists(most=9), st.sampled_from(METHODS), st.data())
def test_draw_reads_a_prefix(samples, method, data):
    n = 1 if method == "single" else data.draw(st.integers(1, len(samples)))
    order = orders(data.draw(st.integers(0, 99)), 1, 4, len(samples))
    drawn = draw(make_pool(samples), method, n, order)
    for r in range(4):
        plain = play([samples[i] for i in order[0, r]], method, n)
        np.testing.assert_allclose([float(x[0, r]) for x in drawn], plain, rtol=1e-12)


def test_early_stop_matters_and_is_exact():
    """Five samples of one answer settle the vote after four, so that adaptive consistency saves the rest."""
    samples = [(0, 1, 0.5, 2)] * 7 + [(1, 0, 0.5, 3)]
    every = [play(order, "adaptive_consistency", 8) for order in set(itertools.permutations(samples))]
    exact = [float(x[0]) for x in expect(make_pool(samples), "adaptive_consistency", 8)]
    np.testing.assert_allclose(exact, np.mean(every, axis=0), rtol=1e-12)
    assert exact[2] < 2 * 7 + 3


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20))
def test_settled_is_the_beta_tail(first, second):
    assert settled(first, second) == (beta_leads(first, second) >= 0.95)


@settings(deadline=None)
@given(st.integers(1, 9), st.data())
def test_pass_at_counts_subsets(size, data):
    correct = data.draw(st.integers(0, size))
    n = data.draw(st.integers(1, size))
    subsets = list(itertools.combinations([1] * correct + [0] * (size - correct), n))
    assert float(pass_at(size, np.array(correct), n)) == pytest.approx(sum(map(max, subsets)) / len(subsets))


@settings(deadline=None)
@given(sample_lists(most=12), st.data())
def test_no_method_beats_pass_at(samples, data):
    n = data.draw(st.integers(1, len(samples)))
    pool = make_pool(samples)
    best = pass_at(len(samples), pool.correct.sum(axis=1).astype(int), n)[0]
    for method in METHODS[1:]:
        assert expect(pool, method, n).quality[0] <= best + 1e-9


@settings(deadline=None)
@given(sample_lists(most=9), st.data())
def test_expectation_does_not_depend_on_the_recorded_order(samples, data):
    shuffled = data.draw(st.permutations(samples))
    for method in METHODS:
        n = 1 if method == "single" else len(samples) // 2 + 1
        if method != "single" or n <= len(samples):
            a, b = expect(make_pool(samples), method, n), expect(make_pool(shuffled), method, n)
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-12, atol=1e-15)


def test_orders_are_uniform_permutations_and_reproducible():
    order = orders(7, 50, 400, 3)
    assert (np.sort(order, axis=-1) == np.arange(3)).all()
    assert (orders(7, 50, 400, 3) == order).all()
    assert not (orders(8, 50, 400, 3) == order).all()
    _, counts = np.unique(order.reshape(-1, 3), axis=0, return_counts=True)
    chi_square = ((counts - 20000 / 6) ** 2 / (20000 / 6)).sum()
    assert len(counts) == 6 and chi_square < 25


@pytest.mark.parametrize(
    ("method", "n", "message"),
    [("best_of_n", 5, "1..4"), ("majority", 0, "1..4"), ("single", 2, "1..1"), ("beam", 2, "unknown method")],
)
def test_wrong_budget_or_method(method, n, message):
    pool = make_pool([(0, 1, 0.5, 1)] * 4)
    with pytest.raises(ValueError, match=message):
        expect(pool, method, n)
    with pytest.raises(ValueError, match=message):
        draw(pool, method, n, orders(0, 1, 1, 4))


def test_pass_at_refuses_impossible_counts():
    with pytest.raises(ValueError, match=r"0\.\.4"):
        pass_at(4, np.array([5]), 2)
    with pytest.raises(ValueError, match=r"1\.\.4"):
        pass_at(4, np.array([2]), 5)


def test_too_many_subsets_are_refused(monkeypatch):
    monkeypatch.setattr(estimators, "MAX_SUBSETS", 5)
    with pytest.raises(ValueError, match="6 subsets"):
        expect(make_pool([(0, 1, 0.5, 1)] * 4), "weighted_best_of_n", 2)


# Reading

QUERY = {"query_id": "q", "family": "f", "level": "l", "question": "1 + 1?", "answer": "2"}
SAMPLE = {
    "query_id": "q",
    "model": "m",
    "prompt": "direct",
    "sample": 0,
    "text": " 2",
    "extracted": "2",
    "correct": 1,
    "score": 1.0,
    "prompt_tokens": 9,
    "cached_tokens": 4,
    "completion_tokens": 3,
    "mean_logprob": -0.5,
    "prompt_ms": 10.0,
    "prompt_n": 5,
    "predicted_ms": 30.0,
    "predicted_n": 3,
}


def write(path: Path, rows) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_reads_a_pool_in_the_order_of_the_queries(tmp_path):
    rows = [
        SAMPLE | {"query_id": q, "sample": s, "extracted": e, "correct": int(e == "2")}
        for q, s, e in [("b", 1, "2"), ("b", 0, " 3 "), ("a", 0, ""), ("a", 1, "2")]
    ]
    path = write(tmp_path / "m.direct.jsonl.gz", rows)
    pool = read_pool(path, ("a", "b"))
    assert (pool.model, pool.style, pool.size) == ("m", "direct", 2)
    assert pool.answer.tolist() == [[-1, 0], [0, 1]]
    assert pool.correct.tolist() == [[0, 1], [0, 1]]
    np.testing.assert_allclose(pool.score, math.exp(-0.5))
    assert pool.prompt.tolist() == [9, 9] and pool.cached.tolist() == [4, 4]
    assert pool.prefill_ms.tolist() == [2, 2] and pool.decode_ms.tolist() == [10, 10]
    half = pool.part(slice(1, 2))
    assert half.size == 1 and half.correct.tolist() == [[1], [1]]


def test_a_sample_that_ended_at_once_is_an_empty_answer_without_confidence(tmp_path):
    ended = {"extracted": "", "correct": 0, "completion_tokens": 0, "mean_logprob": None}
    pool = read_pool(write(tmp_path / "m.direct.jsonl", [SAMPLE, SAMPLE | {"sample": 1} | ended]), ("q",))
    assert pool.answer.tolist() == [[0, -1]] and pool.tokens.tolist() == [[3, 0]] and pool.score[0, 1] == 0
    assert np.isfinite(pool.score).all() and pool.whole.all()


def test_reads_queries(tmp_path):
    path = write(tmp_path / "queries.jsonl", [QUERY, QUERY | {"query_id": "r"}])
    assert [query.query_id for query in read_queries(path)] == ["q", "r"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([QUERY, QUERY], r"queries.jsonl:2: query_id 'q' appears twice"),
        ([{k: v for k, v in QUERY.items() if k != "family"}], r":1: field 'family' is missing"),
        ([QUERY | {"question": " "}], r":1: question is ' ', expected a text that is not empty"),
        ([QUERY | {"level": 3}], r":1: level is 3, expected a text"),
        ([[1]], r":1: expected one JSON object"),
        ([], "expected at least one query"),
    ],
)
def test_bad_queries(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_queries(write(tmp_path / "queries.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": 0.5}, ":2: correct is 0.5, expected 0 or 1"),
        ({"correct": True}, ":2: correct is True"),
        ({"mean_logprob": float("nan")}, ":2: mean_logprob is nan"),
        ({"mean_logprob": 0.1}, ":2: mean_logprob is 0.1, expected a number <= 0"),
        ({"completion_tokens": None}, ":2: completion_tokens is None, expected an integer >= 0"),
        ({"completion_tokens": 0}, ":2: completion_tokens is 0, expected an integer >= 1 for '2'"),
        ({"prompt_tokens": 10}, ":2: prompt_tokens is 10, but 9 on the query's first sample"),
        ({"cached_tokens": 10}, ":2: 10 cached of 9 prompt tokens"),
        ({"model": "other"}, ":2: model and prompt are 'other', 'direct'"),
        ({"query_id": "x"}, ":2: query_id 'x' is not among the queries"),
        ({"sample": 0}, ":2: sample 0 of query 'q' appears twice"),
        ({"sample": 2}, r"query 'q' has samples \[0, 2\], expected 0..2|expected 0..1"),
        ({"correct": 0}, ":2: answer '2' is graded 0, expected 1"),
        ({"extracted": ""}, ":2: answer '' is graded 1, expected 0"),
    ],
)
def test_bad_samples(tmp_path, change, message):
    path = write(tmp_path / "m.direct.jsonl.gz", [SAMPLE, SAMPLE | {"sample": 1} | change])
    with pytest.raises(ValueError, match=message):
        read_pool(path, ("q",))


def test_bad_pool_files(tmp_path):
    with pytest.raises(ValueError, match="at least one sample"):
        read_pool(write(tmp_path / "empty.jsonl.gz", []), ("q",))
    with pytest.raises(ValueError, match=r"query 'r' has samples \[\]"):
        read_pool(write(tmp_path / "some.jsonl.gz", [SAMPLE]), ("q", "r"))
    whole = write(tmp_path / "whole.jsonl.gz", [SAMPLE]).read_bytes()
    for name, data in (("cut", whole[:-12]), ("plain", b"{}\n"), ("broken", whole[:20] + b"\xff" * 9 + whole[29:])):
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}.jsonl.gz"):
            read_pool(path, ("q",))
    path = tmp_path / "text.jsonl"
    path.write_text("not json\n")
    with pytest.raises(ValueError, match=r"text\.jsonl:1: not JSON"):
        read_pool(path, ("q",))


@settings(max_examples=100, deadline=None)
@given(field=st.sampled_from(sorted(SAMPLE)), value=st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_row_is_read_or_refused_with_file_and_line(tmp_path_factory, field, value):
    path = write(tmp_path_factory.mktemp("pool") / "m.direct.jsonl", [SAMPLE | {field: value}])
    try:
        pool = read_pool(path, ("q",))
    except ValueError as error:
        assert str(path) in str(error)
    else:
        absent = field == "mean_logprob" and value is None
        assert (np.isnan if absent else np.isfinite)(pool.score).all()
        assert (pool.tokens >= 1).all() and np.isin(pool.correct, (0, 1)).all()
