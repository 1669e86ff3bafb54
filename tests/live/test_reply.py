from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.live.ledger import NOTHING, UNKNOWN, Tokens
from uis_env.live.reply import read_chat, read_object, read_refusal


def chat(*texts: str, usage: Any = None, logprobs: bool = False, **extra: Any) -> str:
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop"}
        | ({"logprobs": {"content": [{"logprob": -0.5}] * (len(text.split()) + 1)}} if logprobs else {})
        for i, text in enumerate(texts)
    ]
    return json.dumps({"choices": choices, "usage": usage} | extra)


def same(tokens: Tokens, *expected: float) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(tokens, expected, strict=True))


def usage(prompt: Any, output: Any, total: Any = None, cached: Any = None, reasoning: Any = None) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": total,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        "completion_tokens_details": None if reasoning is None else {"reasoning_tokens": reasoning},
    }


@pytest.mark.parametrize(
    ("given_usage", "expected"),
    [
        (usage(10, 4), (10, 0, 4, 0)),
        (usage(10, 4, 14, cached=6, reasoning=3), (4, 6, 4, 3)),
        (usage(10, 4, 20), (10, 0, 10, 6)),
        (usage(10, 4, 20, reasoning=6), (10, 0, 10, 6)),
        (usage(10, 4, 9), (10, 0, 4, 0)),
        (usage(10, 4, cached=11), (math.nan, math.nan, 4, 0)),
        (usage(10, 4, cached="6"), (math.nan, math.nan, 4, 0)),
        (usage(10, 4, reasoning=5), (10, 0, 4, math.nan)),
        (usage(-1, -2), (math.nan,) * 4),
        (usage("10", True), (math.nan,) * 4),
        (usage(0, 0), (math.nan,) * 4),
        (None, (math.nan,) * 4),
        ("free of charge", (math.nan,) * 4),
    ],
)
def test_usage_becomes_token_classes_or_nan(given_usage: Any, expected: tuple[float, ...]) -> None:
    assert same(read_chat(chat("some text", usage=given_usage)).tokens, *expected)


def test_log_probabilities_count_the_samples_that_usage_forgets() -> None:
    reply = read_chat(chat("a b", "c", "d e f", usage=usage(10, 3, 13), logprobs=True))
    assert same(reply.tokens, 10, 0, 3 + 2 + 4, 0)
    assert reply.lengths == (3, 2, 4)
    assert reply.samples[0].mean_logprob == -0.5
    assert reply.samples[0].sum_logprob == -1.5


def test_samples_come_in_the_order_of_their_index() -> None:
    data = json.loads(chat("a", "b", "c"))
    data["choices"].reverse()
    assert [sample.text for sample in read_chat(json.dumps(data)).samples] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "invalid body"),
        ("<html>", "invalid body"),
        ("[1, 2]", "invalid body"),
        (chat("a")[:-3], "invalid body"),
        ("[" * 100_000, "invalid body"),
        ('{"error": {"message": "busy"}}', "error body"),
        ('{"choices": []}', "empty"),
        ('{"choices": null}', "empty"),
        ('{"choices": [3, "x"]}', "empty"),
        ("{}", "empty"),
    ],
)
def test_a_broken_body_is_an_error_and_not_an_answer(text: str, error: str) -> None:
    reply = read_chat(text)
    assert reply.error == error
    assert not reply.samples


def test_a_refusal_used_nothing_and_a_crash_is_unknown() -> None:
    assert read_refusal(429, "").tokens == NOTHING
    assert read_refusal(400, '{"error": {"message": "too long"}}').detail == "too long"
    assert read_refusal(503, "x").tokens == NOTHING
    assert same(read_refusal(500, "x").tokens, *UNKNOWN)
    assert same(read_refusal(500, json.dumps({"usage": usage(5, 2)})).tokens, 5, 0, 2, 0)


def test_a_reward_model_generates_nothing() -> None:
    assert same(read_object('{"data": 1, "usage": {"prompt_tokens": 7, "total_tokens": 7}}').tokens, 7, 0, 0, 0)
    assert same(read_object('{"data": 1}').tokens, *UNKNOWN)


KEYS = (
    *("choices", "usage", "message", "content", "logprobs", "logprob", "index", "error", "prompt_tokens"),
    *("completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens", "finish_reason", "text"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_json_breaks_the_reader(data: Any) -> None:
    text = json.dumps(data)
    for reply in (read_chat(text), read_object(text), read_refusal(500, text)):
        assert all(math.isnan(count) or count >= 0 for count in reply.tokens)
