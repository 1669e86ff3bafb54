"""The ledger of a query: every HTTP request it made, and what follows from them: tokens, dollars, eFLOPs, seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from uis_env.costs import INTENSITY, ModelCard, compute_and_memory, dollars, prefill
from uis_env.costs import eflops as weigh

PURPOSES = ("generate", "score", "judge")
"""What a call is for: sampling an answer, a reward model's score, a language model's verdict or critique."""


class Tokens(NamedTuple):
    """The token classes of a call; NaN where the reply did not say.

    Attributes:
        uncached, cached, written: prompt tokens, disjoint: read afresh, read from a cache, and written to one. A reply
            without cache details counts as wholly uncached.
        output: generated tokens of all samples, reasoning included.
        reasoning: the part of `output` that the reader never sees.
    """

    uncached: float
    cached: float
    output: float
    reasoning: float
    written: float = 0.0

    @property
    def prompt(self) -> float:
        """All prompt tokens."""
        return self.uncached + self.cached + self.written

    @property
    def known(self) -> bool:
        """Whether every class is a number."""
        return not any(math.isnan(count) for count in self)


UNKNOWN = Tokens(math.nan, math.nan, math.nan, math.nan, math.nan)
NOTHING = Tokens(0, 0, 0, 0)


@dataclass(frozen=True)
class Call:
    """One HTTP request, whatever became of it; a retry is a call of its own.

    Attributes:
        id: sent along as `X-Client-Request-Id`, so that a provider's log can be matched.
        model: the model's name in the pool.
        purpose: one of PURPOSES.
        asked: samples asked for.
        tokens: what the reply says was used.
        most: the worst case that was reserved before the call started (all of it uncached, no cached part).
        lengths: tokens of each sample that came back, where the reply tells them.
        seconds: from sending to the last byte or the failure.
        wait: seconds of back-off before sending.
        after: ids of the calls this one had to wait for.
        attempt: 0, or which retry.
        error: None, or what went wrong: "http 429", "timeout", "connection", "invalid body", "empty", ...
        detail: what the server said about it.
        served: the model that the server says answered; "" if it says nothing.
        cost: US dollars by the provider's own account; NaN if it says nothing.
    """

    id: str
    model: str
    purpose: str
    asked: int
    tokens: Tokens
    most: Tokens
    lengths: tuple[int, ...] = ()
    seconds: float = 0.0
    wait: float = 0.0
    after: tuple[str, ...] = ()
    attempt: int = 0
    error: str | None = None
    detail: str = ""
    served: str = ""
    cost: float = math.nan

    def charged(self) -> Tokens:
        """`tokens`, with the worst case in the place of every class that is not known."""
        return Tokens(
            *(most if math.isnan(count) else count for count, most in zip(self.tokens, self.most, strict=True))
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; unknown counts are null."""
        plain = {name: None if math.isnan(count) else count for name, count in self.tokens._asdict().items()}
        cost = None if math.isnan(self.cost) else self.cost
        return {**vars(self), "tokens": plain, "most": self.most._asdict(), "after": list(self.after), "cost": cost}


class Totals(NamedTuple):
    """Sums over calls. Token classes and dollars are NaN as soon as one call's usage is unknown (`unknown` > 0)."""

    calls: int
    failures: int
    retries: int
    unknown: int
    uncached: float
    cached: float
    output: float
    reasoning: float
    written: float


@dataclass
class Ledger:
    """The calls of one query, in the order in which they ended.

    Attributes:
        calls: all of them.
        void: why the outcome says nothing about the arm (an endpoint did not serve a request), or None.
    """

    calls: list[Call] = field(default_factory=list)
    void: str | None = None

    def add(self, call: Call) -> None:
        """Appends a call; the calls that it waited for have ended, so they stand before it."""
        self.calls.append(call)

    def totals(self, charged: bool = False) -> Totals:
        """Sums over all calls; `charged` puts the reserved worst case in the place of unknown usage."""
        tokens = [call.charged() if charged else call.tokens for call in self.calls]
        return Totals(
            calls=len(self.calls),
            failures=sum(call.error is not None for call in self.calls),
            retries=sum(call.attempt > 0 for call in self.calls),
            unknown=sum(not call.tokens.known for call in self.calls),
            uncached=math.fsum(t.uncached for t in tokens),
            cached=math.fsum(t.cached for t in tokens),
            output=math.fsum(t.output for t in tokens),
            reasoning=math.fsum(t.reasoning for t in tokens),
            written=math.fsum(t.written for t in tokens),
        )

    def dollars(self, cards: Mapping[str, ModelCard], charged: bool = False) -> float:
        """US dollars of all calls; NaN if some usage is unknown and not `charged` at its worst case.

        Raises:
            ValueError: naming a model without a price.
        """
        return math.fsum(price_of(cards[call.model], call.charged() if charged else call.tokens) for call in self.calls)

    def reserved(self, cards: Mapping[str, ModelCard]) -> float:
        """US dollars that were set aside for all calls."""
        return math.fsum(price_of(cards[call.model], call.most) for call in self.calls)

    def eflops(self, cards: Mapping[str, ModelCard], charged: bool = False, intensity: float = INTENSITY) -> float:
        """Tera-eFLOPs of all calls: decoding by the Kinetics formula, plus reading the uncached prompt.

        Samples of one call are decoded side by side on one prompt. Where a reply tells only their total, they count as
        equally long, which is a lower bound on the quadratic term.

        Raises:
            ValueError: naming a model without a shape.
        """
        return math.fsum(
            _eflops(cards[call.model], call, call.charged() if charged else call.tokens, intensity)
            for call in self.calls
        )

    def latency(self) -> float:
        """Seconds on the critical path: the longest chain of calls that waited for one another, back-off included.

        Time spent queueing for our own concurrency limit is not part of it: it is no property of the arm.
        """
        end: dict[str, float] = {}
        for call in self.calls:
            begin = max((end[earlier] for earlier in call.after), default=0.0)
            end[call.id] = begin + call.wait + call.seconds
        return max(end.values(), default=0.0)


def price_of(card: ModelCard, tokens: Tokens) -> float:
    """US dollars of a call's tokens.

    Raises:
        ValueError: if the model has no price.
    """
    if card.price is None:
        raise ValueError(f"model {card.name!r} has no price")
    return float(dollars(card.price, tokens.uncached, tokens.cached, tokens.output, tokens.written))


def _eflops(card: ModelCard, call: Call, tokens: Tokens, intensity: float) -> float:
    lengths: Iterable[float] = call.lengths
    if sum(call.lengths) != tokens.output:
        lengths = [tokens.output / call.asked] * call.asked
    squares, longest = sum(length * length for length in lengths), max(lengths, default=0)
    compute, memory = compute_and_memory(card, tokens.prompt, tokens.output, squares, longest)
    return float(weigh(compute + prefill(card, tokens.prompt - tokens.cached), memory, intensity))
