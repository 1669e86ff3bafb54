"""Methods over independent samples: single, best-of-N, weighted best-of-N, majority, adaptive consistency.

Answers vote as one where the query's verifier groups them. Ties go to what was drawn first, as in
`uis_env.estimators`. A sample that failed is absent; one that holds no answer never votes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from uis_env.estimators import settled
from uis_env.live.client import Batch
from uis_env.live.strategies.ask import Answer, Ask

_TIE = 1e-9


async def single(ask: Ask, n: int = 1) -> Answer:
    """One sample."""
    return await majority(ask, n)


async def best_of_n(ask: Ask, n: int) -> Answer:
    """The sample with the highest score; the first one if the scorer failed on all."""
    batch, scores = await _scored(ask, n)
    if not batch.samples:
        return Answer("", error=batch.error)
    best = max(range(len(scores)), key=lambda i: -math.inf if math.isnan(scores[i]) else scores[i])
    text = batch.samples[best].text
    return Answer(await ask.extract(text), text, scores[best])


async def weighted_best_of_n(ask: Ask, n: int) -> Answer:
    """The answer with the greatest sum of scores; samples that the scorer failed on have no weight."""
    batch, scores = await _scored(ask, n)
    return await _elect(ask, batch, scores, [0.0 if math.isnan(score) else score for score in scores])


async def majority(ask: Ask, n: int) -> Answer:
    """The most frequent answer (self-consistency; Wang et al., arXiv 2203.11171)."""
    return await _vote(ask, await ask.sample(n))


async def adaptive_consistency(ask: Ask, n: int) -> Answer:
    """Samples until the majority is settled, at most n (Aggarwal et al., arXiv 2305.11860).

    Each request asks for as many samples as could settle it at the least, so exactly those samples are drawn that
    asking one by one would draw, in fewer rounds.
    """
    batches: list[Batch] = []
    answers: list[str] = []
    drawn = 0
    while drawn < n:
        counts = Counter(filter(None, await ask.votes(answers)))
        first, second = ([count for _, count in counts.most_common(2)] + [0, 0])[:2]
        more = next((k for k in range(n - drawn) if settled(first + k, second)), n - drawn)
        if more == 0:
            break
        batch = await ask.sample(more, drawn, after=batches[-1].calls if batches else ())
        batches.append(batch)
        drawn += more
        answers += [await ask.extract(sample.text) for sample in batch.samples]
        if not batch.samples:
            break
    return await _vote(ask, Batch.join(batches), answers)


async def _scored(ask: Ask, n: int) -> tuple[Batch, list[float]]:
    batch = await ask.sample(n)
    texts = [sample.text for sample in batch.samples]
    scores = await ask.scorer(ask, batch.samples, texts, batch.calls)
    return batch, scores.values


async def _vote(ask: Ask, batch: Batch, answers: Sequence[str] | None = None) -> Answer:
    scores = await ask.free_scores(batch.samples, [sample.text for sample in batch.samples])
    return await _elect(ask, batch, scores, [1.0] * len(scores), answers)


async def _elect(
    ask: Ask, batch: Batch, scores: Sequence[float], weights: Sequence[float], answers: Sequence[str] | None = None
) -> Answer:
    """The answer with the greatest weight; its score is the mean over the samples that gave it."""
    if not batch.samples:
        return Answer("", error=batch.error)
    if answers is None:
        answers = [await ask.extract(sample.text) for sample in batch.samples]
    votes = await ask.votes(answers)
    winner = elect(votes, weights)
    own = [score for vote, score in zip(votes, scores, strict=True) if vote == votes[winner]]
    known = [score for score in own if not math.isnan(score)]
    mean = math.fsum(known) / len(known) if known else math.nan
    return Answer(answers[winner], batch.samples[winner].text, mean)


def elect(votes: Sequence[str], weights: Sequence[float]) -> int:
    """The index of the first sample whose vote has the greatest weight; "" has none."""
    totals: dict[str, float] = {}
    for vote, weight in zip(votes, weights, strict=True):
        totals[vote] = totals.get(vote, 0.0) + weight
    totals[""] = -1.0
    most = max(totals[vote] for vote in votes)
    return next(i for i, vote in enumerate(votes) if totals[vote] >= most - _TIE)
