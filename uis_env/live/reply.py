"""Reading what a server answered: samples, token classes, and what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from uis_env.live.ledger import NOTHING, UNKNOWN, Tokens


@dataclass(frozen=True)
class Sample:
    """One generated answer.

    Attributes:
        text: what the model wrote.
        finish: why it stopped: "stop", "length", ...
        tokens: generated tokens of this sample; NaN where the reply does not tell them apart.
        sum_logprob: of the generated tokens; NaN without log-probabilities.
        mean_logprob: the same per token.
    """

    text: str
    finish: str
    tokens: float
    sum_logprob: float
    mean_logprob: float


@dataclass(frozen=True)
class Reply:
    """What one call returned.

    Attributes:
        data: the JSON object; empty if there is none.
        samples: of a chat completion.
        tokens: from the usage and the log-probabilities.
        error: None, or why there is nothing to use.
        detail: what the server said about it, cut short.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    tokens: Tokens = UNKNOWN
    error: str | None = None
    detail: str = ""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sample; empty unless all are known."""
        counts = [sample.tokens for sample in self.samples]
        return () if any(math.isnan(count) for count in counts) else tuple(int(count) for count in counts)


def read_chat(text: str) -> Reply:
    """A chat completion. Whatever is wrong becomes `error`; usage that came along is kept."""
    data, error = _object(text)
    if error:
        return Reply(tokens=read_usage(data.get("usage"), ()), error=error, detail=_detail_of(data))
    choices = data.get("choices")
    entries = [entry for entry in choices if isinstance(entry, dict)] if isinstance(choices, list) else []
    entries.sort(key=lambda entry: entry["index"] if _natural(entry.get("index")) is not None else len(entries))
    samples = tuple(_sample(entry) for entry in entries)
    tokens = read_usage(data.get("usage"), samples)
    if len(samples) == 1 and not math.isnan(tokens.output):
        samples = (replace(samples[0], tokens=tokens.output),)
    return Reply(data, samples, tokens, None if samples else "empty")


def read_object(text: str) -> Reply:
    """The reply of an endpoint that generates nothing (a reward model)."""
    data, error = _object(text)
    if error:
        return Reply(tokens=read_usage(data.get("usage"), ()), error=error, detail=_detail_of(data))
    usage = data.get("usage")
    if isinstance(usage, dict):
        usage = {"completion_tokens": 0, **usage}
    return Reply(data, (), read_usage(usage, (), silent=True))


def read_refusal(status: int, text: str) -> Reply:
    """An HTTP error. A 4xx, 503 or 529 says that nothing was served; after any other the usage is unknown."""
    data, _ = _object(text)
    tokens = read_usage(data.get("usage"), ())
    if not tokens.known and (status < 500 or status in (503, 529)):
        tokens = NOTHING
    return Reply(data, (), tokens, f"http {status}", _detail_of(data))


def read_usage(usage: Any, samples: tuple[Sample, ...], silent: bool = False) -> Tokens:
    """Token classes; NaN for whatever is missing or cannot be.

    Cached tokens stand inside `prompt_tokens`. Some servers count only the first of several samples, so the entries of
    the log-probabilities win where they are more; some report reasoning only as what `total_tokens` has in excess.

    Args:
        usage: the reply's `usage`.
        samples: what came with it.
        silent: whether an output of zero tokens is what this endpoint should report.
    """
    usage = usage if isinstance(usage, dict) else {}
    prompt, output = _natural(usage.get("prompt_tokens")), _natural(usage.get("completion_tokens"))
    cached = _class(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = _class(usage, "completion_tokens_details", "reasoning_tokens")
    total = _natural(usage.get("total_tokens"))
    if prompt is not None and output is not None and total is not None and total > prompt + output:
        hidden = total - prompt - output
        output, reasoning = output + hidden, None if reasoning is None else max(reasoning, hidden)
    counted = sum(sample.tokens for sample in samples)
    if samples and not math.isnan(counted):
        output = int(counted) if output is None else max(output, int(counted))
    if not silent and not output and any(sample.text for sample in samples):
        output = None
    if output is None or (reasoning is not None and reasoning > output):
        reasoning = None
    if prompt == 0 or (prompt is not None and cached is not None and cached > prompt):
        prompt = None
    if prompt is None or cached is None:
        return Tokens(math.nan, math.nan, _nan(output), _nan(reasoning))
    return Tokens(prompt - cached, cached, _nan(output), _nan(reasoning))


def _object(text: str) -> tuple[dict[str, Any], str | None]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}, "invalid body"
    if not isinstance(data, dict):
        return {}, "invalid body"
    return data, "error body" if data.get("error") and not data.get("choices") else None


def _sample(entry: Mapping[str, Any]) -> Sample:
    message = entry.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    logprobs = entry.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    values = [item.get("logprob") for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v == v]
    complete = bool(numbers) and isinstance(content, list) and len(numbers) == len(content)
    total = math.fsum(numbers) if complete else math.nan
    return Sample(
        text=text if isinstance(text, str) else "",
        finish=str(entry.get("finish_reason")),
        tokens=len(numbers) if complete else math.nan,
        sum_logprob=total,
        mean_logprob=total / len(numbers) if complete else math.nan,
    )


def _detail_of(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return message[:200] if isinstance(message, str) else ""


def _natural(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _class(usage: Mapping[str, Any], group: str, key: str) -> int | None:
    """A token class; 0 where the server has no such class, None where what it says cannot be."""
    details = usage.get(group)
    value = details.get(key) if isinstance(details, dict) else None
    return 0 if value is None else _natural(value)


def _nan(count: int | None) -> float:
    return math.nan if count is None else count
