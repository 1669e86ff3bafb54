"""Faults that change a reply of the test server: what real endpoints and models say, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

NAN = math.nan
Told = tuple[float, float, float, float, float]
Spoil = Callable[[dict[str, Any], Told], Told]
"""Changes a reply in place; (reply, tokens served) -> the token classes that it tells."""


def _each(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(reply: dict[str, Any], tokens: Told) -> Told:
        for choice in reply["choices"]:
            change(choice)
        return tokens

    return spoil


def _content(content: Any, **more: Any) -> Spoil:
    return _each(lambda choice: choice["message"].update(content=content, **more))


def _logprob(value: Any) -> Spoil:
    def change(choice: dict[str, Any]) -> None:
        for item in (choice.get("logprobs") or {"content": []})["content"][:1]:
            item["logprob"] = value

    return _each(change)


def _parts(choice: dict[str, Any]) -> None:
    text = choice["message"]["content"]
    choice["message"]["content"] = [{"type": "thinking", "thinking": "7?"}, {"type": "text", "text": text}]


def _prompt_unknown(reply: dict[str, Any], tokens: Told) -> Told:
    reply["usage"]["prompt_tokens"] = 10**400
    return (NAN, NAN, *tokens[2:4], NAN)


def _deepseek(reply: dict[str, Any], tokens: Told) -> Told:
    usage = reply["usage"]
    del usage["prompt_tokens_details"]
    usage |= {"prompt_cache_hit_tokens": tokens[1], "prompt_cache_miss_tokens": tokens[0]}
    return tokens


def _anthropic(reply: dict[str, Any], tokens: Told) -> Told:
    """Reads and writes beside the prompt's count; half of what was read afresh was written to the cache."""
    written = int(tokens[0]) // 2
    reply["usage"] = {
        "input_tokens": int(tokens[0]) - written,
        "output_tokens": int(tokens[2]),
        "cache_read_input_tokens": int(tokens[1]),
        "cache_creation_input_tokens": written,
    }
    return (tokens[0] - written, tokens[1], tokens[2], 0, written)


def _floats(reply: dict[str, Any], tokens: Told) -> Told:
    reply["usage"] = {"prompt_tokens": float(tokens[0] + tokens[1]), "completion_tokens": float(tokens[2])}
    return (tokens[0] + tokens[1], 0, tokens[2], 0, 0)


def _top(**changes: Any) -> Spoil:
    def spoil(reply: dict[str, Any], tokens: Told) -> Told:
        reply.update(changes)
        return tokens

    return spoil


def _billed(reply: dict[str, Any], tokens: Told) -> Told:
    reply["usage"]["cost"] = 0.001
    return tokens


SPOILS: dict[str, Spoil] = {
    "surrogate": _content("7 \ud83d"),
    "digits": _content("9" * 5000),
    "ratio": _content("Answer: 7.5/10 or 1\t/ 2"),
    "parts": _each(_parts),
    "refusal": _content(None, refusal="I cannot \ud83d"),
    "tool call": _content(None, tool_calls=[{"id": "1"}]),
    "reasoning only": _content("", reasoning_content="7"),
    "content filter": _each(lambda c: (c["message"].update(content=None), c.update(finish_reason="content_filter"))),
    "failed choices": _each(lambda c: c.update(finish_reason="error", error={"message": "upstream died"})),
    "endless logprob": _logprob(math.inf),
    "huge logprob": _logprob(10**400),
    "null logprob": _logprob(None),
    "sure logprob": _logprob(1e-4),
    "huge usage": _prompt_unknown,
    "deepseek usage": _deepseek,
    "anthropic usage": _anthropic,
    "float usage": _floats,
    "bad timings": _top(timings={"prompt_ms": NAN, "prompt_n": -3, "predicted_ms": "x"}),
    "other model": _top(model="other-cheaper-model"),
    "billed": _billed,
}
FAILED = ("failed choices",)
"""Those after which a call has no samples."""
EXTRA = ("307", "404", "422 n", "retry-after-ms", "gzip", "bomb")
"""Further faults that the server itself plays."""
