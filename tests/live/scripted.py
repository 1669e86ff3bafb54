"""A transport that answers from a function, and what the tests of the methods share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uis_env.costs import ModelCard, Price
from uis_env.live.client import Client, Sampling
from uis_env.live.pool import Endpoint, Model, Pool
from uis_env.live.queries import Query
from uis_env.live.strategies import Ask
from uis_env.live.styles import Style
from uis_env.live.transport import NoResponseError, Raw
from uis_env.live.verifiers import numeric

CARD = ModelCard("m", params=1e9, layers=4, query_heads=8, kv_heads=2, head_dim=16, price=Price(1.0, 4.0, 0.5))
Reply = tuple[str, float]
"""Text and mean log-probability of a sample."""


class Scripted:
    """Answers requests by `script(body) -> [(text, log-probability)]`; a string instead is the failure it names.

    Each sample counts as one token per word, the prompt as one per word.
    """

    def __init__(self, script: Callable[[Mapping[str, Any]], Sequence[Reply] | str], delay: float = 0.0) -> None:
        self.script = script
        self.delay = delay
        self.bodies: list[dict[str, Any]] = []

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        self.bodies.append(dict(body))
        await asyncio.sleep(self.delay)
        replies = self.script(body)
        if isinstance(replies, str):
            if replies.startswith("http "):
                return Raw(int(replies[5:]), "{}")
            raise NoResponseError(replies)
        choices = [
            {
                "index": i,
                "message": {"content": text},
                "finish_reason": "stop",
                "logprobs": {"content": [{"logprob": logprob}] * max(1, len(text.split()))},
            }
            for i, (text, logprob) in enumerate(replies)
        ]
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        output = sum(max(1, len(text.split())) for text, _ in replies)
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        return Raw(200, json.dumps({"choices": choices, "usage": usage}))

    async def close(self) -> None:
        pass


def make_pool(url: str = "http://127.0.0.1:9/v1", *, card: ModelCard = CARD, **settings: Any) -> Pool:
    """One model "m"; settings of the endpoint, and of the model where it has such a field."""
    of_model = {name: settings.pop(name) for name in list(settings) if name in Model.__dataclass_fields__}
    endpoint = Endpoint("e", url, **({"backoff": 0.001, "retries": 2} | settings))
    return Pool({"m": Model(card, endpoint, "m", **({"max_n": 16} | of_model))})


def make_ask(script: Callable[[Mapping[str, Any]], Sequence[Reply] | str], **changes: Any) -> Ask:
    """An Ask for "What is 2 + 2?" to a scripted model."""
    client = Client(changes.pop("pool", make_pool()), transport=Scripted(script))
    query = Query("q", "What is 2 + 2?", "4", numeric())
    style = Style("direct", Sampling(max_tokens=16))
    return Ask(**({"client": client, "model": "m", "query": query, "style": style} | changes))


def fixed(*texts: str) -> Callable[[Mapping[str, Any]], Sequence[Reply]]:
    """A script that gives the texts in order, each with a lower log-probability than the one before."""
    place = iter(range(10**9))

    def script(body: Mapping[str, Any]) -> Sequence[Reply]:
        return [(texts[next(place) % len(texts)], -0.1 * (i + 1)) for i in range(body.get("n", 1))]

    return script
