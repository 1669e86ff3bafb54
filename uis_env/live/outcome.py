"""Playing an arm: a method answers a query, and what it returned becomes an outcome. A failure is one too."""

from __future__ import annotations

import math
from typing import NamedTuple

from uis_env.live import judge
from uis_env.live.ledger import Ledger
from uis_env.live.strategies import METHODS, Answer, Ask


class LiveOutcome(NamedTuple):
    """What an arm returned on a query. Unknown usage is charged at its reserved worst case, and counted in `unknown`.

    Attributes:
        answer: what the method returned.
        quality: in [0, 1]; 0 where it failed.
        dollars: US dollars; NaN if a model has no price.
        eflops: tera-eFLOPs; NaN if a model has no shape.
        tokens: output tokens of every call.
        latency: seconds on the critical path.
        unknown: calls whose usage is not known.
        note: why the answer could not be graded; "" if all is well.
        ledger: every call.
    """

    answer: Answer
    quality: float
    dollars: float
    eflops: float
    tokens: float
    latency: float
    unknown: int
    note: str
    ledger: Ledger


async def play(ask: Ask, method: str, budget: tuple[int, ...]) -> LiveOutcome:
    """Answers `ask.query` by a method with a budget. Nothing that an endpoint, a model or a verifier does raises."""
    answer = await METHODS[method].run(ask, *budget)
    verdict = judge.Verdict("", 0.0) if answer.error else await judge.aside(judge.grade, ask.query, answer.answer)
    ledger, cards = ask.ledger, ask.client.pool.cards
    used = [cards[call.model] for call in ledger.calls]
    totals = ledger.totals(charged=True)
    return LiveOutcome(
        answer=answer,
        quality=verdict.quality,
        dollars=ledger.dollars(cards, charged=True) if all(card.price for card in used) else math.nan,
        eflops=ledger.eflops(cards, charged=True) if all(card.shaped for card in used) else math.nan,
        tokens=totals.output,
        latency=ledger.latency(),
        unknown=totals.unknown,
        note=verdict.note,
        ledger=ledger,
    )
