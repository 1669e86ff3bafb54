"""Self-refine: draft, critique, revise (Madaan et al., arXiv 2303.17651)."""

from __future__ import annotations

import re

from uis_env.live.client import Sampling
from uis_env.live.reply import Sample
from uis_env.live.strategies.ask import Answer, Ask

CRITIQUE_TOKENS = 256
_CRITIQUE = "Check the answer above step by step. If nothing is wrong, reply with 'No error'. Else say what is wrong."
_REVISE = "Write a corrected answer, in the form that was asked for at first."
_CONTENT = re.compile(r"\bno errors?\b", re.IGNORECASE)


async def self_refine(ask: Ask, rounds: int) -> Answer:
    """A draft and at most `rounds` times a critique and a revision by the same model, one after another.

    Ends early when the critique finds no error. When a critique or a revision fails, the last text stands.
    """
    batch = await ask.sample(1, "draft")
    if not batch.samples:
        return Answer("", error=batch.error)
    draft = batch.samples[0]
    critic = Sampling(ask.style.sampling.temperature, CRITIQUE_TOKENS)
    for i in range(rounds):
        turns = [*ask.style.messages(ask.query.question), _says(draft), {"role": "user", "content": _CRITIQUE}]
        batch = await ask.sample(1, "critique", i, messages=turns, sampling=critic, after=batch.calls, purpose="judge")
        if not batch.samples or _CONTENT.search(batch.samples[0].text):
            break
        turns += [_says(batch.samples[0]), {"role": "user", "content": _REVISE}]
        batch = await ask.sample(1, "revise", i, messages=turns, after=batch.calls)
        if not batch.samples:
            break
        draft = batch.samples[0]
    return Answer(await ask.extract(draft.text), draft.text, (await ask.free_scores([draft], [draft.text]))[0])


def _says(sample: Sample) -> dict[str, str]:
    return {"role": "assistant", "content": sample.text}
