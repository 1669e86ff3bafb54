"""The client: samples and rewards from the models of a pool, every attempt in a ledger, within a dollar limit."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from uis_env.live.budget import Budget
from uis_env.live.ledger import Call, Ledger, Tokens, price_of
from uis_env.live.pool import Endpoint, Model, Pool
from uis_env.live.reply import Reply, Sample, read_chat, read_object, read_refusal
from uis_env.live.transport import NoResponseError, OpenAITransport, Transport

Message = Mapping[str, str]
OUT_OF_BUDGET = "budget"
"""The error of a call that was not made because its worst case does not fit into the dollar limit."""
_MAY_PASS = (408, 409, 425, 429)


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
        error: why samples are missing, if any are.
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


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn: temperature, most tokens of one sample, and where generation stops."""

    temperature: float = 0.8
    max_tokens: int = 512
    stop: tuple[str, ...] = ()


class Client:
    """Asks the models of a pool. Nothing that an endpoint does raises here: failures are errors in a Batch.

    Args:
        pool: endpoints and models.
        max_dollars: never passed. A call starts only if its worst case fits: a token per byte of prompt and the
            model's template `overhead`, every sample as long as it may be. Relies on endpoints that keep to the token
            limit they are sent.
        transport: None connects through the `openai` SDK.
        journal: told of every call.
        spent: dollars that earlier runs under the same limit have spent.

    Raises:
        ValueError: if there is a limit and a model without a price, or a key's environment variable is not set.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        max_dollars: float = math.inf,
        transport: Transport | None = None,
        journal: Journal | None = None,
        spent: float = 0.0,
    ) -> None:
        if max_dollars < math.inf and not pool.priced:
            unpriced = [name for name, card in pool.cards.items() if card.price is None]
            raise ValueError(f"a dollar limit needs the price of every model; {unpriced[0]!r} has none")
        endpoints = {model.endpoint.name: model.endpoint for model in pool.models.values()}
        self.pool = pool
        self.budget = Budget(max_dollars, spent)
        self._transport = OpenAITransport(endpoints.values()) if transport is None else transport
        self._journal = journal
        self._slots = {name: asyncio.Semaphore(endpoint.concurrency) for name, endpoint in endpoints.items()}
        self._most = {name: model.max_n for name, model in pool.models.items()}

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.close()

    async def sample(
        self,
        ledger: Ledger,
        model: str,
        messages: Sequence[Message],
        n: int,
        sampling: Sampling,
        *,
        seed: int | None = None,
        after: tuple[str, ...] = (),
        purpose: str = "generate",
        prefill: bool = False,
    ) -> Batch:
        """Draws n samples of an answer to `messages`.

        Args:
            ledger: gets every call.
            model: a name in the pool.
            messages: chat messages, `role` and `content`.
            n: samples; split into calls of what the endpoint takes.
            sampling: temperature, most tokens, stops.
            seed: passed on; the i-th part of a split request gets seed + i.
            after: ids of calls that this one had to wait for.
            purpose: one of `ledger.PURPOSES`.
            prefill: whether the last message is the beginning of the answer.
        """
        entry = self.pool.models[model]
        body: dict[str, Any] = {
            "model": entry.id,
            "messages": list(messages),
            "temperature": sampling.temperature,
            entry.limit_key: sampling.max_tokens,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if entry.logprobs:
            body["logprobs"] = True
        if prefill:
            body |= entry.prefill or {}
        body |= entry.extra or {}

        async def part(size: int, first: int) -> Batch:
            """`size` samples; a refusal (HTTP 400) may mean too many at once, so halves are tried, one first."""
            most = self._most[model]
            if size > most:
                starts = range(0, size, most)
                return Batch.join(
                    await asyncio.gather(*(part(min(most, size - start), first + start) for start in starts))
                )
            request = body | ({"n": size} if size > 1 else {}) | ({} if seed is None else {"seed": seed + first})
            path, output = "/chat/completions", size * sampling.max_tokens
            batch = await self._request(ledger, entry, path, request, purpose, size, output, after)
            if batch.error != "http 400" or size == 1:
                return batch
            half = await part(-(-size // 2), first)
            if not half.samples:
                return half
            self._most[model] = min(self._most[model], -(-size // 2))
            return Batch.join([half, await part(size // 2, first + -(-size // 2))])

        return await part(n, 0)

    async def post(
        self, ledger: Ledger, model: str, path: str, body: Mapping[str, Any], *, after: tuple[str, ...] = ()
    ) -> Batch:
        """Posts to an endpoint that generates nothing (a reward model); its JSON is `replies[0].data`."""
        entry = self.pool.models[model]
        request = {"model": entry.id, **body, **(entry.extra or {})}
        return await self._request(ledger, entry, path, request, "score", 0, 0, after)

    async def _request(
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
        endpoint = model.endpoint
        longest = len(json.dumps(body, ensure_ascii=False).encode()) + model.overhead
        price = model.card.price
        most = Tokens(longest, 0, output, 0)
        if price is not None and price.write > price.input:
            most = Tokens(0, 0, output, 0, longest)
        worst = 0.0 if model.card.price is None else price_of(model.card, most)
        read = read_object if purpose == "score" else read_chat
        wait = 0.0
        for attempt in range(endpoint.retries + 1):
            call = uuid.uuid4().hex
            async with self._slots[endpoint.name]:
                if not await self.budget.reserve(call, worst):
                    return Batch((), after, (), OUT_OF_BUDGET)
                if self._journal:
                    self._journal.start(call, model.name, worst)
                reply, retry_after = Reply(error="cancelled"), None
                begin = time.perf_counter()
                try:
                    reply, retry_after = await self._attempt(endpoint, path, body, call, read)
                finally:
                    seconds = time.perf_counter() - begin
                    record = Call(
                        id=call,
                        model=model.name,
                        purpose=purpose,
                        asked=asked,
                        tokens=reply.tokens,
                        most=most,
                        lengths=reply.lengths,
                        seconds=seconds,
                        wait=wait,
                        after=after,
                        attempt=attempt,
                        error=reply.error,
                        detail=reply.detail,
                        served=reply.served,
                        cost=reply.cost,
                    )
                    dollars = 0.0 if model.card.price is None else price_of(model.card, record.charged())
                    ledger.add(record)
                    if self._journal:
                        self._journal.end(record, dollars)
                    self.budget.settle(call, dollars)
            after = (call,)
            wait = _pause(endpoint, attempt, retry_after)
            if reply.error is None or not _may_pass(reply.error) or wait > endpoint.max_wait:
                break
            if attempt < endpoint.retries:
                await asyncio.sleep(wait)
        samples = reply.samples[:asked]
        error = reply.error or (f"{len(samples)} of {asked} samples" if len(samples) < asked else None)
        return Batch(samples, after, (reply,), error)

    async def _attempt(
        self, endpoint: Endpoint, path: str, body: Mapping[str, Any], call: str, read: Callable[[str], Reply]
    ) -> tuple[Reply, str | None]:
        try:
            async with asyncio.timeout(endpoint.timeout):
                raw = await self._transport.send(endpoint, path, body, call)
        except TimeoutError:
            return Reply(error="timeout"), None
        except NoResponseError as problem:
            return Reply(error=str(problem)), None
        if raw.status != 200:
            return read_refusal(raw.status, raw.text), raw.retry_after
        return read(raw.text), None


def _may_pass(error: str) -> bool:
    """Whether the same request may succeed later: not after a 4xx, save for the few that say so."""
    status = int(error.removeprefix("http ")) if error.startswith("http ") else 500
    return status >= 500 or status in _MAY_PASS


def _pause(endpoint: Endpoint, attempt: int, retry_after: str | None) -> float:
    """Seconds before the next attempt: what the server says, else exponential back-off; both with jitter."""
    told = _seconds(retry_after)
    if told is None:
        return endpoint.backoff * float(2**attempt) * random.uniform(0.5, 1.0)
    return told + endpoint.backoff * random.uniform(0.0, 0.5)


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` as seconds: a number or a date; None if it is neither."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
