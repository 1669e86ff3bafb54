"""The dialects of usage: what each means in token classes and in dollars."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.costs import ModelCard, Price
from uis_env.live.ledger import Tokens, price_of
from uis_env.live.reply import read_chat
from uis_env.live.usage import MOST_TOKENS, natural, read_cost, read_usage

NAN = math.nan
CARD = ModelCard("m", price=Price(input=3.0, cached=0.3, output=15.0, written=3.75))


def nested(prompt: int, output: int, total: int | None = None, **details: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": output, **details}
    return usage if total is None else usage | {"total_tokens": total}


DIALECTS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "openai nested": (nested(100, 10, 110, prompt_tokens_details={"cached_tokens": 60}), (40, 60, 10, 0, 0)),
    "openai responses": (
        {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110, "input_tokens_details": {"cached_tokens": 60}},
        (40, 60, 10, 0, 0),
    ),
    "moonshot flat": (nested(100, 10, 110, cached_tokens=60), (40, 60, 10, 0, 0)),
    "deepseek": (
        nested(1000, 10, 1010, prompt_cache_hit_tokens=900, prompt_cache_miss_tokens=100),
        (100, 900, 10, 0, 0),
    ),
    "deepseek without a prompt count": (
        {"completion_tokens": 10, "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100},
        (100, 900, 10, 0, 0),
    ),
    "portkey": (
        {"prompt_tokens": 368, "completion_tokens": 19, "total_tokens": 10923, "cache_read_input_tokens": 10536},
        (368, 10536, 19, 0, 0),
    ),
    "portkey, reads and writes": (
        nested(368, 19, 1387, cache_read_input_tokens=600, cache_creation_input_tokens=400),
        (368, 600, 19, 0, 400),
    ),
    "litellm, cache inside the prompt": (
        nested(
            1368,
            19,
            1387,
            cache_read_input_tokens=600,
            cache_creation_input_tokens=400,
            prompt_tokens_details={"cached_tokens": 600},
        ),
        (368, 600, 19, 0, 400),
    ),
    "anthropic": (
        {
            "input_tokens": 368,
            "output_tokens": 19,
            "cache_read_input_tokens": 10536,
            "cache_creation_input_tokens": 40,
        },
        (368, 10536, 19, 0, 40),
    ),
    "anthropic by age": (
        {"input_tokens": 8, "output_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 5, "x": 6}},
        (8, 0, 9, 0, 11),
    ),
    "bedrock": (
        {
            "inputTokens": 10,
            "outputTokens": 20,
            "totalTokens": 135,
            "cacheReadInputTokens": 100,
            "cacheWriteInputTokens": 5,
        },
        (10, 100, 20, 0, 5),
    ),
    "a total that leaves the cache out": (nested(10, 5, 15, cache_read_input_tokens=5000), (10, 5000, 5, 0, 0)),
    "openrouter": (
        nested(100, 10, 110, prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 30}),
        (10, 60, 10, 0, 30),
    ),
    "xai": (nested(100, 10, 410, completion_tokens_details={"reasoning_tokens": 300}), (100, 0, 310, 300, 0)),
    "xai with a cache": (
        nested(
            *(100, 10, 410),
            completion_tokens_details={"reasoning_tokens": 300},
            prompt_tokens_details={"cached_tokens": 64},
        ),
        (36, 64, 310, 300, 0),
    ),
    "openai reasoning": (nested(9, 50, 59, completion_tokens_details={"reasoning_tokens": 40}), (9, 0, 50, 40, 0)),
    "gemini, thoughts in the total only": (nested(100, 10, 160), (100, 0, 60, 50, 0)),
    "gemini": (
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 30,
            "candidatesTokenCount": 10,
            "thoughtsTokenCount": 50,
            "totalTokenCount": 160,
        },
        (70, 30, 60, 50, 0),
    ),
    "floats": ({"prompt_tokens": 32.0, "completion_tokens": 4.0, "total_tokens": 36.0}, (32, 0, 4, 0, 0)),
    "a fraction of a token": ({"prompt_tokens": 32.5, "completion_tokens": 4}, (NAN, NAN, 4, 0, NAN)),
    "too many": ({"prompt_tokens": 10**13, "completion_tokens": 1e300}, (NAN,) * 5),
    "no number": ({"prompt_tokens": NAN, "completion_tokens": math.inf}, (NAN,) * 5),
}


def equal(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return [str(float(count)) for count in one] == [str(float(count)) for count in other]


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_becomes_token_classes(name: str) -> None:
    usage, expected = DIALECTS[name]
    assert equal(read_usage(usage, written=True), expected)


@pytest.mark.parametrize(
    "holder",
    [
        lambda usage: {"usage": usage},
        lambda usage: {"usage": None, "x_groq": {"usage": usage}},
        lambda usage: {"usageMetadata": usage},
        lambda usage: {"choices": [{"message": {"content": "a"}, "usage": usage}]},
    ],
)
def test_usage_is_found_where_endpoints_put_it(holder: Any) -> None:
    reply = read_chat(json.dumps({"choices": [{"message": {"content": "a"}}]} | holder(nested(7, 2, 9))))
    assert equal(reply.tokens, (7, 0, 2, 0, 0))


def test_the_dollars_of_the_reports() -> None:
    assert price_of(CARD, read_usage(DIALECTS["portkey"][0])) == pytest.approx(0.0045498)
    assert price_of(CARD, read_usage(DIALECTS["deepseek"][0])) == pytest.approx(0.00072)
    assert price_of(CARD, Tokens(0, 0, 0, 0, 400)) == pytest.approx(400 * 3.75e-6)
    assert price_of(ModelCard("m", price=Price(3.0, 15.0, 0.3)), Tokens(0, 0, 0, 0, 400)) == pytest.approx(400 * 3e-6)


@pytest.mark.parametrize(
    ("data", "dollars"),
    [
        ({"usage": {"cost": 0.0123}}, 0.0123),
        ({"usage": {"cost": {"total_cost": 0.5}}}, 0.5),
        ({"usage": {"cost_in_usd_ticks": 5 * 10**9}}, 0.5),
        ({"usage": {"cost": "free"}}, NAN),
        ({"usage": {"cost": -1}}, NAN),
        ({"usage": {"cost": math.inf}}, NAN),
        ({}, NAN),
    ],
)
def test_the_provider_s_own_cost(data: dict[str, Any], dollars: float) -> None:
    assert read_cost(data) == pytest.approx(dollars, nan_ok=True)


COUNTS = st.none() | st.integers(-5, 2000) | st.floats() | st.just(10**30) | st.text(max_size=3) | st.booleans()
NAMES = (
    *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens"),
    *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "cache_read_input_tokens", "reasoning_tokens"),
    *("cache_creation_input_tokens", "totalTokens", "inputTokens", "thoughtsTokenCount"),
)
FLAT = st.dictionaries(st.sampled_from(NAMES), COUNTS, max_size=8)


@given(FLAT, st.dictionaries(st.sampled_from(("prompt_tokens_details", "completion_tokens_details")), FLAT))
def test_classes_are_counts_or_unknown_and_cover_what_was_told(flat: dict[str, Any], details: dict[str, Any]) -> None:
    tokens = read_usage(flat | details)
    assert all(math.isnan(count) or 0 <= count < 9 * MOST_TOKENS for count in tokens)
    assert math.isnan(tokens.uncached) == math.isnan(tokens.cached) == math.isnan(tokens.written)
    told = natural(flat.get("prompt_tokens"))
    if told is not None and not math.isnan(tokens.uncached):
        assert tokens.prompt >= told
    output = natural(flat.get("completion_tokens"))
    if output is not None and not math.isnan(tokens.output):
        assert tokens.output >= output
        assert math.isnan(tokens.reasoning) or tokens.reasoning <= tokens.output
