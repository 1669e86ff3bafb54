"""One request: reserved in the budget, in the journal before it is sent, retried, and every attempt in a ledger."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from uis_env.live.budget import Budget
from uis_env.live.failure import Health, describe, may_pass, status_of, told_wait
from uis_env.live.ledger import NOTHING, Call, Ledger, Tokens, price_of
from uis_env.live.pool import Endpoint, Model, Pool
from uis_env.live.remarks import Remarks
from uis_env.live.reply import Reply, Sample, clean, read_chat, read_object, read_refusal
from uis_env.live.transport import NoResponseError, OpenAITransport, Transport, without_key

OUT_OF_BUDGET = "budget"
"""The error of a call that was not made because its worst case does not fit into the dollar limit."""
ONE_AT_A_TIME = (400, 422, 500)
"""Statuses that may mean that the endpoint takes one sample per call."""
STOPPED = "stopped"
"""The error of a call that was not made because its endpoint cannot be used (see `Client.stopped`)."""


class Journal(Protocol):
    """Is told of every call, so that a run that is killed still knows what it may have spent."""

    def start(self, call: str, model: str, dollars: float) -> None:
        """A call is about to be sent; `dollars` is its worst case."""

    def end(self, call: Call, dollars: float) -> None:
        """It ended; `dollars` is what it counts as."""


@dataclass(frozen=True)
class Batch:
    """The answer to one request for samples or rewards; it may have taken several calls.

    Attributes:
        samples: those that came back, at most as many as asked for. A failed sample is absent, never an empty text.
        calls: ids of the last call of each part, for `after` of whatever waits for this batch.
        replies: of those calls.
        error: why samples are missing, if any are, with what the server said about it.
    """

    samples: tuple[Sample, ...]
    calls: tuple[str, ...]
    replies: tuple[Reply, ...]
    error: str | None

    @classmethod
    def join(cls, parts: Sequence[Batch]) -> Batch:
        """All parts as one."""
        return cls(
            samples=tuple(sample for part in parts for sample in part.samples),
            calls=tuple(call for part in parts for call in part.calls),
            replies=tuple(reply for part in parts for reply in part.replies),
            error=next((part.error for part in parts if part.error), None),
        )


class Sender:
    """Sends requests to the endpoints of a pool. Nothing that an endpoint does raises here.

    Args:
        pool: endpoints and models.
        budget: every call's worst case is reserved in it.
        transport: None connects through the `openai` SDK.
        journal: told of every call.

    Attributes:
        health: of each endpoint.
        remarks: for the end of the run.
    """

    def __init__(self, pool: Pool, budget: Budget, transport: Transport | None, journal: Journal | None) -> None:
        endpoints = {model.endpoint.name: model.endpoint for model in pool.models.values()}
        self.budget = budget
        self.health = {name: Health(endpoint) for name, endpoint in endpoints.items()}
        self.remarks = Remarks()
        self.transport = OpenAITransport(endpoints.values()) if transport is None else transport
        self._journal = journal
        self._slots = {name: asyncio.Semaphore(endpoint.concurrency) for name, endpoint in endpoints.items()}
        self._pauses = dict.fromkeys(endpoints, 0.0)

    @property
    def stopped(self) -> str | None:
        """Why the run cannot go on, in one line; None while it can."""
        return next((health.stopped for health in self.health.values() if health.stopped), None)

    async def request(
        self,
        ledger: Ledger,
        model: Model,
        path: str,
        body: Mapping[str, Any],
        purpose: str,
        asked: int,
        output: int,
        after: tuple[str, ...],
    ) -> Batch:
        """One request with its retries, each attempt a Call; `asked` samples of together at most `output` tokens."""
        endpoint, health = model.endpoint, self.health[model.endpoint.name]
        most = _most(model, body, output)
        read = read_object if purpose == "score" else read_chat
        wait = 0.0
        for attempt in range(endpoint.retries + 1):
            async with self._slots[endpoint.name]:
                await self._paused(endpoint)
                if self.stopped:
                    return Batch((), after, (), STOPPED)
                call = Call(uuid.uuid4().hex, model.name, purpose, asked, NOTHING, most, (), 0.0, wait, after, attempt)
                if not await self.budget.reserve(call.id, reserved(model, most)):
                    return Batch((), after, (), OUT_OF_BUDGET)
                begin = time.monotonic()
                reply, told = await self._attempt(ledger, model, path, body, call, read)
            reply, after = replace(reply, call=call.id), (call.id,)
            if reply.error is None:
                health.served(model)
                break
            if told is not None and may_pass(reply):
                if told > endpoint.max_wait:
                    health.asked_to_wait(told, reply)
                    break
                self._pauses[endpoint.name] = max(self._pauses[endpoint.name], time.monotonic() + told)
            if not may_pass(reply):
                break
            wait = _backoff(endpoint, attempt) if told is None else told + endpoint.backoff * random.uniform(0.0, 0.5)
            if attempt < endpoint.retries:
                await asyncio.sleep(wait)
        samples = reply.samples[:asked]
        too_many = asked > 1 and status_of(reply.error or "") in ONE_AT_A_TIME  # asked again, one at a time
        if reply.error is not None and not too_many and (health.failed(model, reply, begin) or health.stopped):
            ledger.void = describe(reply)
        error = describe(reply) if reply.error else None
        if error is None and len(samples) < asked:
            error = f"{len(samples)} of {asked} samples"
        return Batch(samples, after, (reply,), error)

    async def _paused(self, endpoint: Endpoint) -> None:
        """Waits while the endpoint asks all calls to wait."""
        while (left := self._pauses[endpoint.name] - time.monotonic()) > 0 and not self.stopped:
            await asyncio.sleep(left)

    async def _attempt(
        self,
        ledger: Ledger,
        model: Model,
        path: str,
        body: Mapping[str, Any],
        call: Call,
        read: Callable[[str], Reply],
    ) -> tuple[Reply, float | None]:
        """Sends a reserved call, and books it whatever becomes of it; returns the seconds that the server asks for."""
        worst = reserved(model, call.most)
        reply, told = Reply(error="cancelled"), None
        begin = time.perf_counter()
        try:
            if self._journal:
                self._journal.start(call.id, model.name, worst)
            reply, told = await self._exchange(model.endpoint, path, body, call.id, read)
        finally:
            ended = replace(
                call,
                tokens=reply.tokens,
                lengths=reply.lengths,
                seconds=time.perf_counter() - begin,
                error=reply.error,
                detail=reply.detail,
                served=reply.served,
                cost=reply.cost,
            )
            dollars = reserved(model, ended.charged())
            ledger.add(ended)
            self.remarks.add(model, ended, dollars, worst)
            if self._journal:
                self._journal.end(ended, dollars)
            self.budget.settle(call.id, dollars)
        return reply, told

    async def _exchange(
        self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str, read: Callable[[str], Reply]
    ) -> tuple[Reply, float | None]:
        try:
            async with asyncio.timeout(endpoint.timeout):
                raw = await self.transport.send(endpoint, path, body, call)
        except TimeoutError:
            return Reply(error="timeout"), None
        except NoResponseError as problem:
            reply = Reply(error=problem.error, detail=problem.detail)
            return (reply if problem.sent else replace(reply, tokens=NOTHING)), None
        reply = read(raw.text) if raw.status == 200 else read_refusal(raw.status, raw.text)
        if 300 <= raw.status < 400:
            reply = replace(reply, detail=f"redirects to {clean(raw.headers.get('location', 'nowhere'))[:200]}")
        cut: dict[str, Any] = {
            name: without_key(getattr(reply, name), endpoint) for name in ("detail", "code", "served")
        }
        return replace(reply, **cut), None if raw.status == 200 else told_wait(raw.headers)


def reserved(model: Model, tokens: Tokens) -> float:
    """US dollars of tokens; 0 for a model without a price."""
    return 0.0 if model.card.price is None else price_of(model.card, tokens)


def _most(model: Model, body: Mapping[str, Any], output: int) -> Tokens:
    """The most that a request can use: a token per byte, read afresh or written to a cache, whatever costs more."""
    longest = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")) + model.overhead
    price = model.card.price
    if price is not None and price.write > price.input:
        return Tokens(0, 0, output, 0, longest)
    return Tokens(longest, 0, output, 0)


def _backoff(endpoint: Endpoint, attempt: int) -> float:
    """Seconds before the next attempt: exponential, with jitter."""
    return endpoint.backoff * math.ldexp(random.uniform(0.5, 1.0), attempt)
