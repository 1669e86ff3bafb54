from __future__ import annotations

import asyncio
import random

import pytest

from uis_env.live.budget import Budget


def test_concurrent_calls_never_pass_the_limit_and_use_it_up() -> None:
    async def run() -> tuple[Budget, int]:
        budget, refused = Budget(10.0), 0
        rng = random.Random(0)

        async def call(i: int) -> None:
            nonlocal refused
            if not await budget.reserve(str(i), 1.0):
                refused += 1
                return
            assert budget.spent + sum(budget._reserved.values()) <= 10.0
            await asyncio.sleep(rng.random() / 1000)
            budget.settle(str(i), rng.choice([0.0, 0.25, 1.0]))

        await asyncio.gather(*(call(i) for i in range(100)))
        return budget, refused

    budget, refused = asyncio.run(run())
    assert budget.exhausted
    assert refused > 0
    assert 9.0 < budget.spent <= 10.0


def test_a_call_waits_for_those_in_flight_instead_of_being_refused() -> None:
    async def run() -> list[bool]:
        budget = Budget(1.0)
        assert await budget.reserve("a", 0.8)
        waiting = asyncio.create_task(budget.reserve("b", 0.8))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.settle("a", 0.1)
        return [await waiting, await budget.reserve("c", 0.95)]

    assert asyncio.run(run()) == [True, False]


def test_no_limit_and_bad_limits() -> None:
    assert asyncio.run(Budget().reserve("a", 1e9))
    for limit in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="dollar limit"):
            Budget(limit)
