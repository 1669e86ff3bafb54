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
    """Whether the classes are as expected; where the fifth is not named, nothing was written to a cache."""
    filled = (*expected, math.nan if math.isnan(expected[0]) else 0.0)[:5]
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(tokens, filled, strict=True))


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
        (usage(-1, -2), (math.nan,) * 5),
        (usage("10", True), (math.nan,) * 5),
        (usage(0, 0), (math.nan,) * 5),
        (None, (math.nan,) * 5),
        ("free of charge", (math.nan,) * 5),
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


@pytest.mark.parametrize(
    ("message", "text", "flag"),
    [
        ({"content": [{"type": "thinking", "thinking": "5"}, {"type": "text", "text": "3"}]}, "3", ""),
        ({"content": [{"type": "text", "text": "Answer: "}, {"type": "output_text", "text": "3"}]}, "Answer: 3", ""),
        ({"content": ["3", 4, None, {"type": "image"}]}, "3", ""),
        ({"content": None, "reasoning_content": "5 is right"}, "", "reasoning only"),
        ({"content": "", "reasoning": "5 is right"}, "", "reasoning only"),
        ({"content": None, "refusal": "I cannot  help"}, "", "refusal: I cannot help"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "", "tool call"),
        ({"content": "3", "tool_calls": [{"id": "1"}]}, "3", ""),
        ({"content": "3", "reasoning_content": "5"}, "3", ""),
        ({"content": ""}, "", ""),
        ({}, "", ""),
        (3, "", ""),
    ],
)
def test_answers_are_told_from_what_is_none(message: Any, text: str, flag: str) -> None:
    (sample,) = read_chat(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})).samples
    assert (sample.text, sample.flag) == (text, flag)


def test_a_content_filter_is_flagged() -> None:
    reply = read_chat('{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}')
    assert reply.samples[0].flag == "content filter"


@pytest.mark.parametrize(
    ("body", "error", "samples"),
    [
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "boom"}}]}, "http 502", 0),
        ({"choices": [{"finish_reason": "error", "message": {"content": ""}}]}, "error body", 0),
        ({"choices": [{"error": "boom"}, {"message": {"content": "3"}, "finish_reason": "stop"}]}, None, 1),
        ({"error": {"code": 429, "message": "slow down"}}, "http 429", 0),
        ({"error": {"code": "429", "message": "slow down"}}, "error body", 0),
        ({"error": "boom", "choices": []}, "error body", 0),
    ],
)
def test_a_failure_inside_a_200_is_a_failure(body: dict[str, Any], error: str | None, samples: int) -> None:
    reply = read_chat(json.dumps(body))
    assert (reply.error, len(reply.samples)) == (error, samples)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"error": {"message": "Only the default (1) value is supported"}}',
            "Only the default (1) value is supported",
        ),
        ('{"error": "model not found"}', "model not found"),
        ('{"detail": "Not authenticated"}', "Not authenticated"),
        (
            '{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "type": "x"}]}',
            "body.seed: Extra inputs are not permitted",
        ),
        (
            '{"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "no"}]}, "code": 422}',
            "body.seed: no",
        ),
        ('{"object": "error", "message": "The model `x` does not exist", "code": 404}', "The model `x` does not exist"),
        ('[{"error": {"code": 400, "message": "API key not valid", "status": "INVALID"}}]', "API key not valid"),
        ('{"message": "Forbidden"}', "Forbidden"),
        ('{"title": "Not Found", "status": 404}', "Not Found"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        ("unavailable", "unavailable"),
        ("", ""),
        ('{"error": {"message": "\\ud83d"}}', "?"),
    ],
)
def test_what_the_server_says_is_found(text: str, reason: str) -> None:
    assert read_refusal(400, text).detail == reason


def test_the_answering_model_and_its_bill_are_kept() -> None:
    reply = read_chat(chat("3", usage=usage(5, 1) | {"cost": 0.25}, model="other"))
    assert (reply.served, reply.cost) == ("other", 0.25)


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan, 1.7e308, 10**400, -1e308, 0.5, "x", True])
def test_a_log_probability_that_cannot_be_leaves_the_tokens_known(value: Any) -> None:
    content = [{"logprob": -0.5}, {"logprob": value}]
    body = {"choices": [{"message": {"content": "a b"}, "logprobs": {"content": content}}], "usage": usage(5, 2)}
    (sample,) = read_chat(json.dumps(body)).samples
    assert sample.tokens == 2
    assert math.isnan(sample.mean_logprob)


def test_a_rounding_error_of_a_sure_token_is_zero() -> None:
    body = {"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"logprob": 1e-4}]}}]}
    assert read_chat(json.dumps(body)).samples[0].mean_logprob == 0.0


@pytest.mark.parametrize("digits", [18, 400, 5000])
def test_long_numbers_are_no_counts_and_leave_the_answer(digits: int) -> None:
    text = chat("3", usage=usage(5, 1)).replace('"prompt_tokens": 5', f'"prompt_tokens": {"9" * digits}')
    reply = read_chat(text)
    assert reply.samples[0].text == "3"
    assert math.isnan(reply.tokens.uncached)


def test_half_an_emoji_is_replaced() -> None:
    text = '{"choices": [{"message": {"content": "3 \\ud83d"}, "finish_reason": "\\ud83d"}], "model": "\\ud83d"}'
    reply = read_chat(text)
    assert (reply.samples[0].text, reply.samples[0].finish, reply.served) == ("3 ?", "?", "?")


KEYS = (
    *("choices", "usage", "message", "content", "logprobs", "logprob", "index", "error", "prompt_tokens"),
    *("completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens", "finish_reason", "text"),
    *("detail", "loc", "msg", "code", "type", "model", "refusal", "reasoning_content", "cost", "tool_calls"),
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1.7e308, 10**30])
TEXT = st.text(st.characters(codec=None, exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
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
CHAT = st.fixed_dictionaries(
    {"choices": st.lists(st.dictionaries(st.sampled_from(KEYS), JSON), max_size=3)},
    optional={"usage": st.dictionaries(st.sampled_from(KEYS), JSON), "error": JSON, "model": JSON},
)


@given(JSON | CHAT)
def test_no_json_breaks_the_reader(data: Any) -> None:
    text = json.dumps(data)
    for reply in (read_chat(text), read_object(text), read_refusal(500, text)):
        assert all(math.isnan(count) or 0 <= count < 1e15 for count in reply.tokens)
        assert math.isnan(reply.cost) or 0 <= reply.cost < math.inf
        for sample in reply.samples:
            assert math.isnan(sample.mean_logprob) or -math.inf < sample.mean_logprob <= 0
            json.dumps([sample.text, sample.finish, sample.flag], ensure_ascii=False).encode()
        json.dumps([reply.detail, reply.served], ensure_ascii=False).encode()
