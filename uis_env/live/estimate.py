"""What a config costs before it starts: every method is run against an endpoint that is imagined, not asked."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from uis_env.live.client import Client
from uis_env.live.config import LiveArm, LiveConfig
from uis_env.live.outcome import play
from uis_env.live.pool import Endpoint
from uis_env.live.recorder import units
from uis_env.live.strategies import Ask
from uis_env.live.transport import Raw


class Estimate(NamedTuple):
    """Dollars: `usual` if every sample has the length that was assumed, `most` if all run to their limit and every
    prompt has a token per byte. Retries are not in it.
    """

    calls: int
    usual: float
    most: float


class Imagined:
    """A transport that answers everything with samples of `tokens` tokens (None: the longest allowed).

    Nothing agrees and nothing ends early, so votes go on and searches run to their depth. A prompt token has 4 bytes.
    """

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens
        self._names = itertools.count()

    async def send(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str) -> Raw:
        """A made-up reply."""
        prompt = len(json.dumps(body, ensure_ascii=False).encode()) // 4 + 1
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        if limit is None:
            return Raw(200, json.dumps({"usage": {"prompt_tokens": prompt, "total_tokens": prompt}}))
        length = limit if self._tokens is None else min(limit, self._tokens)
        choices = [
            {"index": i, "message": {"content": f"{next(self._names)} " + "abc " * (length - 1)}, "finish_reason": "x"}
            for i in range(body.get("n", 1))
        ]
        usage = {"prompt_tokens": prompt, "completion_tokens": length * len(choices)}
        return Raw(200, json.dumps({"choices": choices, "usage": usage}))

    async def close(self) -> None:
        """Nothing to close."""


def estimate_recording(config: LiveConfig, tokens: int | None = None) -> Estimate:
    """Of recording everything, with samples of `tokens` tokens (None: the longest allowed)."""

    async def run(client: Client) -> list[Ask]:
        asks = [Ask(client, unit.model, unit.query, config.styles[unit.style]) for unit in units(config)]
        for ask in asks:
            await ask.sample(config.record[ask.style.name])
        return asks

    return _estimate(config, tokens, run)


def estimate_arm(config: LiveConfig, arm: LiveArm, tokens: int | None = None) -> Estimate:
    """Of playing an arm once on every query."""

    async def run(client: Client) -> list[Ask]:
        asks = [config.ask(client, query, arm, 0) for query in config.queries]
        for ask in asks:
            await play(ask, arm.method, arm.budget)
        return asks

    return _estimate(config, tokens, run)


def list_costs(config: LiveConfig, channel: str, queries: int = 4, tokens: int = 64) -> list[float]:
    """What each arm costs on a query by price list and shapes alone: the mean over the first few queries.

    Args:
        config: with arms.
        channel: "dollars" or "eflops"; NaN where a price or a shape is missing.
        queries: how many.
        tokens: of a sample, unless its limit is lower.
    """

    async def run() -> list[float]:
        client = Client(config.pool, transport=Imagined(tokens))
        means = []
        for arm in config.arms:
            asked = config.queries[:queries]
            outcomes = [await play(config.ask(client, query, arm, 0), arm.method, arm.budget) for query in asked]
            means.append(sum(getattr(outcome, channel) for outcome in outcomes) / len(asked))
        return means

    return asyncio.run(run())


def _estimate(config: LiveConfig, tokens: int | None, run: Any) -> Estimate:
    cards = config.pool.cards
    ledgers = []
    for length in (tokens, None):
        asks = asyncio.run(run(Client(config.pool, transport=Imagined(length))))
        ledgers.append([ask.ledger for ask in asks])
    usual, longest = ledgers
    return Estimate(
        calls=sum(len(ledger.calls) for ledger in longest),
        usual=sum(ledger.dollars(cards) for ledger in usual) if config.pool.priced else float("nan"),
        most=sum(ledger.reserved(cards) for ledger in longest) if config.pool.priced else float("nan"),
    )
