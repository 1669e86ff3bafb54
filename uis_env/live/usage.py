"""Token classes from the `usage` of a reply, in the dialects that endpoints speak."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from uis_env.live.ledger import Tokens

MOST_TOKENS = 10**12
"""Counts above it are no counts."""
_PROMPT = ("prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount", "prompt_token_count")
_OUTPUT = ("completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount", "candidates_token_count")
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
# Hits are part of the prompt's count; where reads and writes are, the total says.
_HITS = ("cached_tokens", "prompt_cache_hit_tokens", "cachedContentTokenCount", "cached_content_token_count")
_READS = ("cache_read_input_tokens", "cacheReadInputTokens", "cache_read_tokens")
_WRITES = (
    *("cache_creation_input_tokens", "cache_write_input_tokens", "cacheWriteInputTokens"),
    *("cache_creation_tokens", "cache_write_tokens"),
)
_REASONING = ("reasoning_tokens", "thoughtsTokenCount", "thoughts_token_count")
_COSTS = ("cost", "total_cost", "estimated_cost", "cost_usd")
_TICKS = 1e10  # per US dollar, xAI's `cost_in_usd_ticks`


def natural(value: Any) -> int | None:
    """A count of tokens: a whole number >= 0 of a sane size, also as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def find_usage(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a reply keeps its usage: at the top, in `x_groq`, as Gemini's metadata, or in the last choice."""
    choices = data.get("choices")
    last = choices[-1] if isinstance(choices, list) and choices else None
    holders: tuple[Any, ...] = (data, data.get("x_groq"), last)
    for holder in holders:
        for key in ("usage", "usageMetadata", "usage_metadata"):
            if isinstance(holder, dict) and isinstance(holder.get(key), dict) and holder[key]:
                return holder[key]  # type: ignore[no-any-return]
    return {}


def read_usage(usage: Any, counted: float = math.nan, written: bool = False, silent: bool = False) -> Tokens:
    """Token classes; NaN for whatever is missing or cannot be.

    Cached tokens are part of the prompt's count, or beside it where the total says so (Anthropic's and Bedrock's cache
    reads and writes). What the total has in excess is hidden reasoning only where no such key explains it. Some servers
    count only the first of several samples, so the entries of the log-probabilities win where they are more.

    Args:
        usage: the reply's `usage`.
        counted: tokens of all samples by their log-probabilities; NaN where there are none.
        written: whether any sample has text, so that an output of zero tokens cannot be.
        silent: whether an output of zero tokens is what this endpoint should report.
    """
    usage = usage if isinstance(usage, dict) else {}
    details = [usage, *_parts(usage, _DETAILS)]
    hits, reads, writes = _class(details, _HITS), _class(details, _READS), _writes(usage, details)
    told = _class([usage, *_parts(usage, _OUTPUT_DETAILS)], _REASONING)
    prompt, output = _count(usage, _PROMPT), _count(usage, _OUTPUT)
    missed = _count(usage, ("prompt_cache_miss_tokens",))
    if prompt is None and missed is not None and hits is not None:
        prompt = hits + missed
    reasoning = told or 0
    if prompt is not None and output is not None:
        beside, excess = _excess(usage, prompt, output, reads or 0, writes or 0, reasoning)
        prompt += beside
        if excess:
            output, reasoning = output + excess, max(reasoning, excess)
    if not math.isnan(counted):
        output = int(counted) if output is None else max(output, int(counted))
    if not silent and not output and written:
        output = None
    unclear = output is None or told is None or reasoning > output
    generated = (_nan(output), math.nan if unclear else reasoning)
    if not prompt or hits is None or reads is None or writes is None or max(hits, reads) + writes > prompt:
        return Tokens(math.nan, math.nan, *generated, math.nan)
    cached = max(hits, reads)
    return Tokens(prompt - cached - writes, cached, *generated, writes)


def read_cost(data: Mapping[str, Any]) -> float:
    """US dollars that the provider itself says the call cost; NaN if it says nothing."""
    usage = find_usage(data)
    for holder in (usage, usage.get("cost"), data):
        for name in _COSTS:
            value = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
                return float(value)
    ticks = natural(usage.get("cost_in_usd_ticks"))
    return math.nan if ticks is None else ticks / _TICKS


def _excess(
    usage: Mapping[str, Any], prompt: int, output: int, reads: int, writes: int, reasoning: int
) -> tuple[int, int]:
    """(Tokens of the cache beside the prompt's count, output tokens that only the total has)."""
    total = _count(usage, _TOTAL)
    if total is None:
        apart = "input_tokens" in usage and not _parts(usage, _DETAILS)  # Anthropic's own names
        return (reads + writes if apart or reads + writes > prompt else 0), 0
    surplus = total - prompt - output
    for beside, extra in ((0, reasoning), (reads, 0), (writes, 0), (reads + writes, 0), (reads + writes, reasoning)):
        if surplus == beside + extra > 0 and reads + writes - beside <= prompt:
            return beside, extra
    beside = 0 if reads + writes <= prompt else reads + writes
    return beside, max(0, surplus - beside)


def _writes(usage: Mapping[str, Any], details: Iterable[Mapping[str, Any]]) -> int | None:
    by_age = usage.get("cache_creation")
    ages = [natural(value) for value in by_age.values()] if isinstance(by_age, dict) else []
    aged = sum(count for count in ages if count is not None)
    told = _class(details, _WRITES)
    return None if told is None else told or aged


def _parts(usage: Mapping[str, Any], names: Iterable[str]) -> list[Mapping[str, Any]]:
    return [usage[name] for name in names if isinstance(usage.get(name), dict)]


def _count(usage: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """The first of some names that is there; None if there is none, or if it is no count."""
    return next((natural(usage[name]) for name in names if usage.get(name) is not None), None)


def _class(parts: Iterable[Mapping[str, Any]], names: Iterable[str]) -> int | None:
    """The most that some places tell of a class; 0 where the server has no such class, None where it cannot be."""
    told = [natural(part[name]) for part in parts for name in names if part.get(name) is not None]
    known = [count for count in told if count is not None]
    return max(known, default=0) if len(known) == len(told) else None


def _nan(count: int | None) -> float:
    return math.nan if count is None else count
