from __future__ import annotations

import asyncio
import json
import logging
import math
import traceback
from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("openai")

from tests.live.faults import FAILED
from tests.live.scripted import CARD, Scripted, fixed, make_pool
from tests.live.server import FAULTS, FaultyServer, agree
from uis_env.costs import ModelCard
from uis_env.live.client import Batch, Client, Sampling
from uis_env.live.ledger import Call, Ledger, Tokens, price_of

HELLO = [{"role": "user", "content": "What is 2 + 2?"}]
KEY = "sk-test-3141592653589793"


def ask(
    server: FaultyServer, count: int = 1, n: int = 1, *, max_dollars: float = math.inf, **settings: Any
) -> tuple[Client, Ledger, list[Batch]]:
    async def run() -> tuple[Client, Ledger, list[Batch]]:
        client, ledger = Client(make_pool(server.url, **settings), max_dollars=max_dollars), Ledger()
        questions = [[{"role": "user", "content": f"What is {i} + {i}?"}] for i in range(count)]
        batches = await asyncio.gather(
            *(client.sample(ledger, "m", q, n, Sampling(max_tokens=20), seed=7) for q in questions)
        )
        await client.close()
        return client, ledger, list(batches)

    return asyncio.run(run())


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_a_record_and_never_an_exception(fault: str) -> None:
    with FaultyServer(rate=1.0, faults=(fault,), patience=1.0) as server:
        _, ledger, (batch,) = ask(server, n=4, timeout=0.6, retries=1)
        agree(server, ledger.calls, CARD)
    lost = {"hang", "drop", "half", "bad json", "500", "503", "429", "429 retry-after", "429 date", "drip"}
    lost |= {"401 echo", "error body", "empty", "retry-after-ms", "307", "404", "bomb", *FAILED}
    if fault in lost:
        assert batch.samples == ()
        assert batch.error is not None
        one_by_one = 2 if fault == "500" else 0  # a server that may not take n > 1
        final = fault in ("401 echo", "307", "404", "bomb")
        assert len(ledger.calls) == (1 if final else 2 + one_by_one)
    else:
        assert len(batch.samples) == 4
        assert batch.error is None
        assert len(ledger.calls) == {"fewer": 3, "422 n": 5}.get(fault, 1)


def test_retries_wait_for_one_another() -> None:
    with FaultyServer(rate=1.0, faults=("429 retry-after",)) as server:
        _, ledger, _ = ask(server)
    first, second, third = ledger.calls
    assert (first.attempt, second.attempt, third.attempt) == (0, 1, 2)
    assert (second.after, third.after) == ((first.id,), (second.id,))
    assert first.wait == 0
    assert second.wait >= 0.01
    assert ledger.latency() >= sum(call.seconds for call in ledger.calls) + 0.02


def test_a_long_retry_after_ends_the_retries() -> None:
    with FaultyServer(rate=1.0, faults=("429 retry-after",)) as server:
        _, ledger, (batch,) = ask(server, max_wait=0.001)
    assert len(ledger.calls) == 1
    assert batch.error == "http 429"


@pytest.mark.parametrize(("n", "limit"), [(1, 1), (5, 1), (7, 3), (8, 8), (9, 8), (16, 4)])
def test_n_over_the_server_s_limit_is_split(n: int, limit: int) -> None:
    with FaultyServer(limit=limit) as server:
        _, ledger, (batch,) = ask(server, n=n)
        agree(server, ledger.calls, CARD)
    assert len(batch.samples) == n
    assert batch.error is None
    assert sum(len(call.lengths) for call in ledger.calls) == n


def test_a_refusal_for_another_reason_does_not_multiply() -> None:
    transport = Scripted(lambda body: "http 400")

    async def run() -> Batch:
        return await Client(make_pool(), transport=transport).sample(Ledger(), "m", HELLO, 16, Sampling())

    batch = asyncio.run(run())
    assert batch.error == "http 400"
    assert [body.get("n", 1) for body in transport.bodies] == [16, 1]


def test_requests_carry_seed_limit_stop_and_extras() -> None:
    transport = Scripted(fixed("4"))
    pool = make_pool(max_n=2, limit_key="max_completion_tokens", extra={"top_k": 3}, prefill={"continue": True})

    async def run() -> None:
        client = Client(pool, transport=transport)
        sampling = Sampling(0.5, 9, ("\n",))
        await client.sample(Ledger(), "m", HELLO, 3, sampling, seed=5, prefill=True)

    asyncio.run(run())
    first, second = transport.bodies
    assert (first["seed"], first["n"], second["seed"]) == (5, 2, 7)
    assert "n" not in second
    assert first["max_completion_tokens"] == 9
    assert first["stop"] == ["\n"]
    assert (first["top_k"], first["continue"], first["logprobs"], first["temperature"]) == (3, True, True, 0.5)


def test_concurrency_is_bounded() -> None:
    with FaultyServer(rate=1.0, faults=("slow",)) as server:
        ask(server, count=20, concurrency=3)
    assert 1 < server.peak <= 3


@pytest.mark.parametrize("limit", [0.0, 0.0003, 0.002])
def test_the_dollar_limit_is_never_passed(limit: float) -> None:
    with FaultyServer(rate=0.3, patience=1.0) as server:
        client, ledger, batches = ask(server, count=40, n=3, max_dollars=limit, timeout=0.6)
        agree(server, ledger.calls, CARD)
        served = math.fsum(price_of(CARD, Tokens(*record.tokens)) for record in server.served)
    assert served <= client.budget.spent <= limit
    assert client.budget.exhausted
    assert any(batch.error == "budget" for batch in batches)
    assert client.budget.spent == pytest.approx(ledger.dollars({"m": CARD}, charged=True))


def test_a_dollar_limit_needs_prices() -> None:
    with pytest.raises(ValueError, match="needs the price of every model; 'm' has none"):
        Client(make_pool(card=ModelCard("m")), max_dollars=1.0)


def test_a_cancelled_call_is_charged_and_recorded() -> None:
    class Log:
        def __init__(self) -> None:
            self.open: dict[str, float] = {}
            self.ended: list[Call] = []

        def start(self, call: str, model: str, dollars: float) -> None:
            self.open[call] = dollars

        def end(self, call: Call, dollars: float) -> None:
            assert dollars == self.open.pop(call.id)
            self.ended.append(call)

    journal, ledger = Log(), Ledger()

    async def run() -> Client:
        client = Client(make_pool(), transport=Scripted(fixed("4"), delay=30), journal=journal)
        task = asyncio.create_task(client.sample(ledger, "m", HELLO, 1, Sampling()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return client

    client = asyncio.run(run())
    assert [call.error for call in ledger.calls] == ["cancelled"]
    assert journal.ended == ledger.calls
    assert not journal.open
    assert client.budget.spent == price_of(CARD, ledger.calls[0].most) > 0


def test_a_key_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UIS_TEST_KEY", raising=False)
    with pytest.raises(ValueError, match="environment variable UIS_TEST_KEY is not set"):
        Client(make_pool(key_env="UIS_TEST_KEY"))


def test_the_key_is_sent_and_shows_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with FaultyServer(rate=1.0, faults=("401 echo",)) as server:
        client, ledger, (batch,) = ask(server, key_env="UIS_TEST_KEY")
        seen += [repr(client), repr(vars(client)), repr(vars(client.transport)), str(client.pool), repr(batch)]
        seen += [json.dumps(call.to_json()) for call in ledger.calls]
        assert "[key]" in ledger.calls[0].detail  # the server did get it, and sent it back
    try:
        asyncio.run(Client(make_pool("http://127.0.0.1:9/v1", key_env="UIS_TEST_KEY")).post(Ledger(), "x", "/", {}))
    except KeyError:
        seen.append(traceback.format_exc())
    seen.append(caplog.text)
    assert caplog.text
    assert not any(KEY in text for text in seen)


def test_a_cancelled_call_shows_no_key_even_with_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", KEY)

    async def run() -> str:
        client = Client(make_pool(server.url, key_env="UIS_TEST_KEY"))
        task = asyncio.create_task(client.sample(Ledger(), "m", HELLO, 1, Sampling()))
        while not server.served:
            await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        finally:
            await client.close()
        raise AssertionError("the call was not cancelled")

    with FaultyServer(rate=1.0, faults=("hang",), patience=0.5) as server:
        shown = asyncio.run(run())
    assert "_attempt" in shown
    assert KEY not in shown


def test_a_stray_openai_key_is_not_sent_to_an_endpoint_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer(rate=1.0, faults=("401 echo",)) as server:
        _, ledger, _ = ask(server)
    assert KEY not in ledger.calls[0].detail
    assert ledger.calls[0].detail == "bad credentials Bearer none"


def test_samples_depend_on_the_seed_alone() -> None:
    def texts(seed: int) -> list[str]:
        async def run() -> Batch:
            client = Client(make_pool(server.url))
            batch = await client.sample(Ledger(), "m", HELLO, 8, Sampling(), seed=seed)
            await client.close()
            return batch

        return [sample.text for sample in asyncio.run(run()).samples]

    with FaultyServer() as server:
        one = texts(1)
    with FaultyServer() as server:
        assert texts(1) == one
        assert texts(2) != one


def test_reward_models_are_posted_to() -> None:
    async def run(body: Mapping[str, Any]) -> tuple[Batch, Ledger]:
        client, ledger = Client(make_pool(server.url)), Ledger()
        batch = await client.post(ledger, "m", "/pooling", body)
        await client.close()
        return batch, ledger

    with FaultyServer() as server:
        batch, ledger = asyncio.run(run({"messages": HELLO}))
        agree(server, ledger.calls, CARD)
    assert len(batch.replies[0].data["data"][0]["data"]) == 3
    assert ledger.calls[0].purpose == "score"
    assert ledger.calls[0].tokens.output == 0
