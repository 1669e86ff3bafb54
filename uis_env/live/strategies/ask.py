"""What every method is handed, and what it returns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from uis_env.live import judge
from uis_env.live.client import Batch, Client, Message, Sampling
from uis_env.live.ledger import Ledger
from uis_env.live.queries import Query
from uis_env.live.reply import Sample
from uis_env.live.scorers import Confidence, Scorer
from uis_env.live.styles import Style


class Answer(NamedTuple):
    """What a method returns.

    Attributes:
        answer: as the query's verifier reads it; "" if the text holds none.
        text: what the model wrote.
        score: of the scorer; NaN if nothing was scored.
        error: why the method has no text at all, else None.
    """

    answer: str
    text: str = ""
    score: float = math.nan
    error: str | None = None


@dataclass(frozen=True)
class Search:
    """Settings of the searches over steps.

    Attributes:
        depth: most steps of a path, where the budget does not say.
        stop: what ends a step.
        max_tokens: of a step.
        early_exit: whether paths that cannot win any more are dropped.
        ceiling: upper bound on the value of a step.
    """

    depth: int = 8
    stop: str = "\n"
    max_tokens: int = 64
    early_exit: bool = True
    ceiling: float = 1.0


@dataclass(frozen=True)
class Ask:
    """One query to one model in one style, with a ledger for everything that it takes.

    Attributes:
        client: who asks.
        model: a name in the pool.
        query: what is asked.
        style: how.
        seed: of all sampling.
        scorer: of samples and steps.
        search: settings of the searches.
        ledger: of this query.
    """

    client: Client
    model: str
    query: Query
    style: Style
    seed: int = 0
    scorer: Scorer = field(default_factory=Confidence)
    search: Search = field(default_factory=Search)
    ledger: Ledger = field(default_factory=Ledger)

    async def sample(
        self,
        n: int,
        *key: object,
        messages: Sequence[Message] | None = None,
        sampling: Sampling | None = None,
        after: tuple[str, ...] = (),
        purpose: str = "generate",
        prefill: bool = False,
    ) -> Batch:
        """Draws n samples; `key` tells this request's seed from those of the method's other requests."""
        return await self.client.sample(
            self.ledger,
            self.model,
            self.style.messages(self.query.question) if messages is None else messages,
            n,
            self.style.sampling if sampling is None else sampling,
            seed=self.seed_of(*key),
            after=after,
            purpose=purpose,
            prefill=prefill,
        )

    async def free_scores(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float]:
        """Scores, if they cost nothing; else NaN."""
        if not self.scorer.free:
            return [math.nan] * len(samples)
        return (await self.scorer(self, samples, texts, ())).values

    async def extract(self, text: str) -> str:
        """The answer in a text; "" if there is none."""
        return (await judge.aside(judge.read, self.query, text))[0]

    async def votes(self, answers: Sequence[str]) -> list[str]:
        """The votes of answers: equal ones count as the same answer; "" does not vote."""
        return await judge.aside(judge.votes, self.query, answers)

    def seed_of(self, *key: object) -> int:
        """A 31-bit seed, a function of this ask and the key alone."""
        name = "\0".join(map(str, (self.seed, self.query.query_id, self.model, self.style.name, *key)))
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) >> 1
