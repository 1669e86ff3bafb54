"""The client: samples and rewards from the models of a pool, every attempt in a ledger, within a dollar limit."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uis_env.live.budget import Budget
from uis_env.live.failure import status_of
from uis_env.live.ledger import Ledger
from uis_env.live.pool import Model, Pool
from uis_env.live.sender import ONE_AT_A_TIME, OUT_OF_BUDGET, STOPPED, Batch, Journal, Sender
from uis_env.live.transport import Transport

__all__ = ["OUT_OF_BUDGET", "STOPPED", "Batch", "Client", "Journal", "Message", "Sampling"]

Message = Mapping[str, str]


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
        max_dollars: never passed, if endpoints keep to the token limit they are sent. A call starts only if its worst
            case fits: a token per byte of prompt and the model's template `overhead`, every sample as long as it may
            be. A call that used more ends the run with status 1 (see `remarks`).
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
        self.pool = pool
        self.budget = Budget(max_dollars, spent)
        self._sender = Sender(pool, self.budget, transport, journal)
        self._most = {name: model.max_n for name, model in pool.models.items()}

    @property
    def stopped(self) -> str | None:
        """Why no endpoint is asked any more, and what to check, in one line; None while they are."""
        return self._sender.stopped

    @property
    def transport(self) -> Transport:
        """What requests are sent with."""
        return self._sender.transport

    @property
    def overruns(self) -> int:
        """Calls that used more than was reserved for them."""
        return self._sender.remarks.overruns

    def remarks(self) -> list[str]:
        """Lines for the end of a run: calls above their reservation, other models, other bills."""
        return self._sender.remarks.lines()

    def one_at_a_time(self, model: str) -> bool:
        """Asks a model for one sample per call from now on; returns whether it was asked for more before."""
        before, self._most[model] = self._most[model], 1
        return before > 1

    async def close(self) -> None:
        """Closes all connections."""
        await self.transport.close()

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

        An endpoint that ignores `n`, or refuses it, is asked for one sample per call from then on.

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
        body = _body(entry, messages, sampling, prefill)

        async def send(size: int, first: int, waits: tuple[str, ...]) -> Batch:
            request = body | ({"n": size} if size > 1 else {})
            if seed is not None and "seed" not in entry.omit:
                request["seed"] = seed + first
            path, output = "/chat/completions", size * sampling.max_tokens
            return await self._sender.request(ledger, entry, path, request, purpose, size, output, waits)

        async def part(size: int, first: int, waits: tuple[str, ...]) -> Batch:
            most = self._most[model]
            if size > most:
                starts = range(0, size, most)
                pieces = (part(min(most, size - start), first + start, waits) for start in starts)
                return Batch.join(await asyncio.gather(*pieces))
            batch = await send(size, first, waits)
            if size > 1 and _broke(batch) and not entry.endpoint.retries:
                batch = await send(size, first, batch.calls)  # once may be chance
            have = len(batch.samples)
            if size == 1 or have == size:
                return batch
            if have:
                if have == 1 and not batch.replies[0].detail:
                    self.one_at_a_time(model)
                rest = await part(size - have, first + have, batch.calls)
                return Batch.join([replace(batch, error=None), rest])
            if _status(batch) not in ONE_AT_A_TIME:
                return batch
            one = await send(1, first, batch.calls)
            if not one.samples:
                return one
            self.one_at_a_time(model)
            return Batch.join([one, await part(size - 1, first + 1, one.calls)])

        return await part(n, 0, after)

    async def post(
        self, ledger: Ledger, model: str, path: str, body: Mapping[str, Any], *, after: tuple[str, ...] = ()
    ) -> Batch:
        """Posts to an endpoint that generates nothing (a reward model); its JSON is `replies[0].data`."""
        entry = self.pool.models[model]
        request = {"model": entry.id, **body, **(entry.extra or {})}
        return await self._sender.request(ledger, entry, path, request, "score", 0, 0, after)


def _body(entry: Model, messages: Sequence[Message], sampling: Sampling, prefill: bool) -> dict[str, Any]:
    """A request for samples, without their number and seed."""
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
    for field in entry.omit:
        body.pop(field, None)
    return {**body, **((entry.prefill or {}) if prefill else {}), **(entry.extra or {})}


def _status(batch: Batch) -> int | None:
    return status_of(batch.replies[0].error or "") if batch.replies else None


def _broke(batch: Batch) -> bool:
    """Whether the server failed in a way that some show for every n > 1."""
    return _status(batch) == 500
