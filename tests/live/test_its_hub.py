"""Our `majority` and `best_of_n` against its-hub 1.2, on the same recorded answers of real models."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("its_hub")

from its_hub.api import AbstractOrchestrator, AbstractOutcomeRewardModel
from its_hub.core.algorithms.bon import BestOfN
from its_hub.core.algorithms.self_consistency import SelfConsistency

from tests.live.scripted import make_ask
from uis_env.live.outcome import play
from uis_env.live.queries import Query
from uis_env.live.scorers import Callback
from uis_env.live.verifiers import Verifier

RECORDED = json.loads((Path(__file__).parent / "recorded_answers.json").read_text(encoding="utf-8"))
VERBATIM = Verifier(lambda text: text, lambda answer, right: 0.0)


class Replay(AbstractOrchestrator):  # type: ignore[misc]
    """Gives the recorded answers, whatever is asked."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    async def agenerate(self, lm: Any, messages_lst: Any, stop: Any = None, **settings: Any) -> list[dict[str, Any]]:
        return [{"role": "assistant", "content": text} for text in self.texts[: len(messages_lst)]]


class Table(AbstractOutcomeRewardModel):  # type: ignore[misc]
    """Scores by text."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    async def ascore(self, conversations: Any, orchestrator: Any = None, **settings: Any) -> list[float]:
        return self.score(conversations)

    def score(self, conversations: Any, **settings: Any) -> list[float]:
        return [self.scores[conversation[-1].content] for conversation in conversations]


def ours(samples: list[list[Any]], method: str, n: int, scores: dict[str, float]) -> str:
    pairs = iter([(text, logprob) for text, logprob in samples])
    ask = make_ask(
        lambda body: [next(pairs) for _ in range(body.get("n", 1))],
        query=Query("q", "?", "", VERBATIM),
        scorer=Callback(lambda question, text: scores[text]),
    )
    return asyncio.run(play(ask, method, (n,))).answer.text


@pytest.mark.parametrize("n", [2, 4, 8])
def test_majority_and_best_of_n_agree_on_every_recorded_query(n: int) -> None:
    compared = 0
    for row in RECORDED:
        texts = [text for text, _ in row["samples"][:n]]
        scores = {text: math.exp(logprob) for text, logprob in reversed(row["samples"])}
        best = asyncio.run(BestOfN(Table(scores), Replay(texts)).ainfer(None, "?", n))
        assert ours(row["samples"], "best_of_n", n, scores) == best["content"]
        counts = Counter(texts)
        leaders = [text for text, count in counts.items() if count == max(counts.values())]
        voted = asyncio.run(SelfConsistency(orchestrator=Replay(texts)).ainfer(None, "?", n))["content"]
        mine = ours(row["samples"], "majority", n, scores)
        if "" not in leaders:  # an empty answer votes there, and never here
            assert mine in leaders
            assert voted in leaders
            if len(leaders) == 1:
                assert mine == voted
                compared += 1
    assert compared > 20
