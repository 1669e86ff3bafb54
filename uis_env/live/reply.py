"""Reading what a server answered: samples, token classes, and what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from uis_env.live.ledger import NOTHING, UNKNOWN, Tokens
from uis_env.live.usage import find_usage, natural, read_cost, read_usage

DETAIL = 200
"""Characters that are kept of what a server says about an error."""
_SURE = 0.01  # a log-probability this far above zero is a rounding error of a sure token
_ABSURD = -1e5
_DIGITS = 18
_REASONS = ("error", "errors", "message", "Message", "msg", "detail", "details", "error_description", "title", "reason")
_FAILED = ("error", "failed")
_TAGS = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Sample:
    """One generated answer.

    Attributes:
        text: the answer, without what the model wrote as reasoning; can be encoded as UTF-8; "" where it gave none.
        finish: why it stopped: "stop", "length", ...
        tokens: generated tokens of this sample; NaN where the reply does not tell them apart.
        sum_logprob: of the generated tokens; NaN without log-probabilities that can be.
        mean_logprob: the same per token.
        flag: why there is no answer ("refusal: ...", "tool call", "content filter", "reasoning only"), or "".
    """

    text: str
    finish: str
    tokens: float
    sum_logprob: float
    mean_logprob: float
    flag: str = ""


@dataclass(frozen=True)
class Reply:
    """What one call returned.

    Attributes:
        data: the JSON object; empty if there is none, or if it is an error.
        samples: of a chat completion.
        tokens: from the usage and the log-probabilities.
        error: None, or why there is nothing to use.
        detail: what the server said about it, cut short.
        code: the error's code or type in words, in lower case; "moderation" among them if it judges the prompt.
        served: the model that the server says answered; "" if it says nothing.
        cost: US dollars by the provider's own account; NaN if it says nothing.
        call: id of the call that it came in; "" where it was only read.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    tokens: Tokens = UNKNOWN
    error: str | None = None
    detail: str = ""
    code: str = ""
    served: str = ""
    cost: float = math.nan
    call: str = ""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sample; empty unless all are known."""
        counts = [sample.tokens for sample in self.samples]
        return () if any(math.isnan(count) for count in counts) else tuple(int(count) for count in counts)


def read_chat(text: str) -> Reply:
    """A chat completion. Whatever is wrong becomes `error`; usage that came along is kept."""
    data, error = _object(text)
    if error:
        return _failed(data, error)
    choices = data.get("choices")
    entries = [entry for entry in choices if isinstance(entry, dict)] if isinstance(choices, list) else []
    entries.sort(key=lambda entry: entry["index"] if natural(entry.get("index")) is not None else len(entries))
    broken = [entry for entry in entries if _broken(entry)]
    samples = tuple(_sample(entry) for entry in entries if not _broken(entry))
    counted = sum(sample.tokens for sample in samples) if samples else math.nan
    tokens = read_usage(find_usage(data), counted or math.nan, any(sample.text for sample in samples))
    if not broken and not math.isnan(tokens.output):
        samples = _filled(samples, tokens.output)
    if not samples and broken:
        return replace(_failed(broken[0], "error body"), tokens=tokens, cost=read_cost(data))
    error, detail = None if samples else "empty", reason_of(broken[0]) if broken else ""
    served = _cut(data["model"]) if isinstance(data.get("model"), str) else ""
    return Reply(data, samples, tokens, error, detail, served=served, cost=read_cost(data))


def read_object(text: str) -> Reply:
    """The reply of an endpoint that generates nothing (a reward model)."""
    data, error = _object(text)
    if error:
        return _failed(data, error)
    usage = find_usage(data)
    tokens = read_usage({"completion_tokens": 0, **usage} if usage else usage, silent=True)
    return Reply(data, (), tokens, cost=read_cost(data))


def read_refusal(status: int, text: str) -> Reply:
    """An HTTP error. A 4xx, 503 or 529 says that nothing was served; after any other the usage is unknown."""
    data, error = _object(text)
    tokens = read_usage(find_usage(data))
    if not tokens.known and (status < 500 or status in (503, 529)):
        tokens = NOTHING
    reason = _plain(text) if error == "invalid body" else reason_of(data)
    return Reply({}, (), tokens, f"http {status}", reason, _code(data), cost=read_cost(data))


def reason_of(data: Any, depth: int = 6) -> str:
    """What a server says about an error, in the shapes of OpenAI, FastAPI, Mistral, vLLM, Gemini and others."""
    if isinstance(data, str):
        return _cut(data)
    if depth and isinstance(data, list):
        return _cut("; ".join(filter(None, (reason_of(item, depth - 1) for item in data[:3]))))
    if not depth or not isinstance(data, dict):
        return ""
    found = next(filter(None, (reason_of(data.get(key), depth - 1) for key in _REASONS)), "")
    place = data.get("loc")
    if found and isinstance(place, list):
        return _cut(f"{'.'.join(_cut(str(part)) for part in place)}: {found}")
    return found


def clean(text: str) -> str:
    """The text without what UTF-8 cannot encode (halves of surrogate pairs, cut by a token limit or a proxy)."""
    return text.encode("utf-8", "replace").decode()


def _object(text: str) -> tuple[dict[str, Any], str | None]:
    try:
        data = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError):
        return {}, "invalid body"
    if isinstance(data, list) and data and isinstance(data[0], dict) and data[0].get("error"):
        data = data[0]
    if not isinstance(data, dict):
        return {}, "invalid body"
    return data, "error body" if data.get("error") and not data.get("choices") else None


def _code(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    words = [part.get(key) for part in (error, data) if isinstance(part, dict) for key in ("code", "type")]
    metadata = error.get("metadata") if isinstance(error, dict) else None
    if isinstance(metadata, dict) and {"reasons", "flagged_input"} & metadata.keys():
        words.append("moderation")
    return " ".join(_cut(word).lower() for word in words if isinstance(word, str))


def _failed(data: dict[str, Any], error: str) -> Reply:
    """A failure inside a reply with status 200; a status that the error names counts as one of HTTP."""
    inner = data.get("error")
    code = natural(inner.get("code")) if isinstance(inner, dict) else None
    if code is not None and 400 <= code <= 599:
        return replace(read_refusal(code, ""), detail=reason_of(data), code=_code(data))
    return Reply({}, (), read_usage(find_usage(data)), error, reason_of(data), _code(data), cost=read_cost(data))


def _filled(samples: tuple[Sample, ...], output: float) -> tuple[Sample, ...]:
    """The tokens of the only sample, or of the only one that has none by its log-probabilities."""
    if len(samples) == 1:
        return (replace(samples[0], tokens=output),)
    rest = output - sum(sample.tokens for sample in samples if not math.isnan(sample.tokens))
    if rest < 0 or sum(math.isnan(sample.tokens) for sample in samples) != 1:
        return samples
    return tuple(replace(sample, tokens=rest) if math.isnan(sample.tokens) else sample for sample in samples)


def _broken(entry: Mapping[str, Any]) -> bool:
    """Whether the generation of a choice failed on the server's side."""
    return bool(entry.get("error")) or entry.get("finish_reason") in _FAILED


def _sample(entry: Mapping[str, Any]) -> Sample:
    message = entry.get("message")
    message = message if isinstance(message, dict) else {}
    finish = clean(str(entry.get("finish_reason")))[:DETAIL]
    text, flag = _content(message, finish)
    logprobs = entry.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    items = content if isinstance(content, list) and all(isinstance(item, dict) for item in content) else []
    values = [_logprob(item.get("logprob")) for item in items]
    total = math.fsum(values) if values else math.nan
    return Sample(
        text=text,
        finish=finish,
        tokens=len(values) if values or (content == [] and not text) else math.nan,
        sum_logprob=total,
        mean_logprob=total / len(values) if values else math.nan,
        flag=flag,
    )


def _content(message: Mapping[str, Any], finish: str) -> tuple[str, str]:
    """(Text of the answer, why it is none)."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    if isinstance(content, str) and content:
        return clean(content), ""
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return "", f"refusal: {_cut(message['refusal'])}"
    if message.get("tool_calls") or message.get("function_call"):
        return "", "tool call"
    if finish == "content_filter":
        return "", "content filter"
    if message.get("reasoning_content") or message.get("reasoning"):
        return "", "reasoning only"
    return "", ""


def _part(part: Any) -> str:
    """The text of one part of a content that is a list; reasoning has none."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in (None, "text", "output_text"):
        return ""
    text = part.get("text")
    value = text.get("value") if isinstance(text, dict) else text
    return value if isinstance(value, str) else ""


def _logprob(value: Any) -> float:
    """A log-probability; NaN for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _ABSURD <= value <= _SURE:
        return math.nan
    return min(0.0, float(value))


def _integer(digits: str) -> int | float:
    """Whole numbers; as floats where they are longer than any count (Python refuses to read 4,301 digits)."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _plain(text: str) -> str:
    """The words of a body that is not JSON (a proxy's HTML page)."""
    return _cut(_TAGS.sub(" ", text[: 50 * DETAIL]))


def _cut(text: str) -> str:
    return clean(" ".join(text.split())[:DETAIL])
