"""Every method over many queries against an endpoint that fails in every way: our ledger equals the server's."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest

pytest.importorskip("openai")

from tests.live.scripted import CARD, make_pool
from tests.live.server import FAULTS, FaultyServer, agree
from uis_env.live.client import OUT_OF_BUDGET, Client, Sampling
from uis_env.live.ledger import Call, Tokens, price_of
from uis_env.live.outcome import LiveOutcome, play
from uis_env.live.queries import Query
from uis_env.live.scorers import Confidence, Judge, RewardModel, Scorer
from uis_env.live.strategies import METHODS, Ask, Search
from uis_env.live.styles import Style
from uis_env.live.verifiers import numeric

BUDGETS = {"single": (1,), "self_refine": (2,), "beam_search": (4, 2, 3), "tree_search": (2, 2, 2)}
STYLES = (
    Style("direct", Sampling(max_tokens=8, stop=("\n",))),
    Style("steps", Sampling(max_tokens=24), "Think step by step."),
)
SCORERS: tuple[Scorer, ...] = (Confidence(), Judge("m", max_tokens=8), RewardModel("m"))


def soak(queries: int, rate: float, max_dollars: float = math.inf) -> None:
    """`queries` queries of every method, in turn with all styles and scorers, at once."""

    async def run() -> tuple[Client, list[Ask], list[LiveOutcome]]:
        pool = make_pool(server.url, timeout=2.0, concurrency=48, retries=2, backoff=0.002, max_n=8, prefill={})
        client = Client(pool, max_dollars=max_dollars)
        asks, jobs = [], []
        for number, method in enumerate(METHODS):
            for i in range(queries):
                query = Query(f"{method}{i}", f"What is {i} + {number}?", str(i + number), numeric())
                scorer, style = SCORERS[i % 3], STYLES[i % 2]
                asks.append(Ask(client, "m", query, style, i, scorer, Search(depth=3, max_tokens=8)))
                jobs.append(play(asks[-1], method, BUDGETS.get(method, (5,))))
        outcomes = await asyncio.gather(*jobs)
        await client.close()
        return client, asks, outcomes

    with FaultyServer(rate=rate, limit=4, patience=2.5) as server:
        client, asks, outcomes = asyncio.run(run())
        calls: list[Call] = [call for ask in asks for call in ask.ledger.calls]
        agree(server, calls, CARD)
        served = math.fsum(price_of(CARD, Tokens(*record.tokens)) for record in server.served)
        faults = Counter(record.fault for record in server.served)

    assert len(outcomes) == queries * len(METHODS)
    for outcome in outcomes:
        assert 0 <= outcome.quality <= 1
        assert not (outcome.answer.error and outcome.quality)
        assert all(math.isfinite(x) and x >= 0 for x in (outcome.dollars, outcome.eflops, outcome.tokens))
        assert outcome.unknown == sum(not call.tokens.known for call in outcome.ledger.calls)
    assert served <= client.budget.spent <= max_dollars
    assert client.budget.spent == pytest.approx(math.fsum(outcome.dollars for outcome in outcomes))
    if max_dollars < math.inf:
        assert any(outcome.answer.error == OUT_OF_BUDGET for outcome in outcomes)
        return
    unmet = set(FAULTS) - faults.keys() - {"422 n"}  # n = 1 is never refused
    assert len(unmet) < 5 if queries < 1000 else not unmet
    assert {call.purpose for call in calls} == {"generate", "judge", "score"}


def test_every_method_over_a_few_hundred_queries() -> None:
    soak(25, rate=0.25)


def test_the_dollar_limit_stops_every_method_quietly() -> None:
    soak(25, rate=0.25, max_dollars=0.03)


@pytest.mark.slow
def test_every_method_over_two_thousand_queries_each() -> None:
    soak(2000, rate=0.25)
