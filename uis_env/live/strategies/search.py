"""Searches over steps: beam search, and UniScale's tree search with its path-aware early exit (arXiv 2605.30898)."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace

from uis_env.live.client import Batch
from uis_env.live.strategies.ask import Answer, Ask
from uis_env.live.verifiers import marked

_CONTINUE = "The solution so far:\n{path}\n\nWrite only the next step, on one line."
_FINISH = "The solution so far:\n{path}\n\nFinish it."


@dataclass(frozen=True)
class Path:
    """Steps of an answer.

    Attributes:
        tree: the sub-tree it belongs to.
        key: which candidate was taken at each step; seeds its continuations.
        steps: their texts.
        values: what the step scorer gave each of them.
        finished: whether it holds an answer or ended by itself.
    """

    tree: int
    key: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    finished: bool = False

    @property
    def value(self) -> float:
        """V, the mean value of its steps."""
        return math.fsum(self.values) / len(self.values)


async def beam_search(ask: Ask, n: int, width: int, depth: int) -> Answer:
    """N candidates per step; the best N / width are kept, each continued `width` times, for at most `depth` steps."""
    return await _search(ask, trees=1, first=n, candidates=width, kept=n // width, depth=depth)


async def tree_search(ask: Ask, qp: int, cp: int, bs: int) -> Answer:
    """QP sub-trees side by side; in each, every kept path gets CP candidates per step, and BS paths are kept."""
    return await _search(ask, trees=qp, first=cp, candidates=cp, kept=bs, depth=ask.search.depth)


async def _search(ask: Ask, *, trees: int, first: int, candidates: int, kept: int, depth: int) -> Answer:
    """All sub-trees take their steps together, so that the best finished value is known to all of them.

    The result is the finished path of the highest value, the first of equals.
    """
    alive = [Path(tree) for tree in range(trees)]
    best: Path | None = None
    calls: tuple[str, ...] = ()
    error: str | None = None
    for step in range(1, depth + 1):
        last = step == depth
        count = first if step == 1 else candidates
        batches = await asyncio.gather(*(_continue(ask, path, count, last, calls) for path in alive))
        grown = [(path, batch) for path, batch in zip(alive, batches, strict=True) if batch.samples]
        error = next((batch.error for batch in batches if batch.error), error)
        calls = tuple(call for batch in batches for call in batch.calls)
        paths = [
            replace(
                path,
                key=(*path.key, i),
                steps=(*path.steps, sample.text),
                finished=last or not sample.text.strip() or marked(sample.text),
            )
            for path, batch in grown
            for i, sample in enumerate(batch.samples)
        ]
        samples = [sample for _, batch in grown for sample in batch.samples]
        if paths:
            scores = await ask.scorer(ask, samples, [_text(ask, path) for path in paths], calls)
            calls = scores.calls
            values = [0.0 if math.isnan(value) else value for value in scores.values]
            paths = [replace(p, values=(*p.values, value)) for p, value in zip(paths, values, strict=True)]
        beams = [sorted((p for p in paths if p.tree == tree), key=lambda p: -p.value)[:kept] for tree in range(trees)]
        survivors = [path for beam in beams for path in beam]
        finished = [path for path in survivors if path.finished]
        best = max([*([best] if best else []), *finished], key=lambda path: path.value, default=None)
        alive = [path for path in survivors if not path.finished]
        if best and ask.search.early_exit:
            alive = [p for p in alive if reachable(p.value, step, depth, ask.search.ceiling) >= best.value]
        if not alive:
            break
    if best is None:
        return Answer("", error=error)
    text = _text(ask, best)
    return Answer(await ask.extract(text), text, best.value)


def reachable(value: float, step: int, depth: int, ceiling: float) -> float:
    """The most a path can still reach: `(j·V + (H − j)·v_sup) / H` after step j of H.

    A path that ends before H reaches less, as V <= v_sup; so dropping paths below the best finished value never
    changes the result.
    """
    return (step * value + (depth - step) * ceiling) / depth


async def _continue(ask: Ask, path: Path, count: int, last: bool, after: tuple[str, ...]) -> Batch:
    """`count` candidates for the next step of a path; the last one runs to its end."""
    messages = ask.style.messages(ask.query.question)
    sampling = ask.style.sampling
    if not last:
        sampling = replace(sampling, stop=(ask.search.stop,), max_tokens=ask.search.max_tokens)
    prefill = bool(path.steps) and ask.client.pool.models[ask.model].prefill is not None
    begun = _text(ask, path) + ask.search.stop
    if prefill:
        messages.append({"role": "assistant", "content": begun})
    elif path.steps:
        hint = (_FINISH if last else _CONTINUE).format(path=_text(ask, path))
        messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n\n{hint}"}
    batch = await ask.sample(
        count, path.tree, *path.key, messages=messages, sampling=sampling, after=after, prefill=prefill
    )
    if not prefill:
        return batch
    # llama.cpp repeats what it was given to continue, vLLM does not.
    samples = tuple(replace(sample, text=_without(sample.text, begun)) for sample in batch.samples)
    return replace(batch, samples=samples)


def _without(text: str, begun: str) -> str:
    for prefix in (begun, begun.rstrip()):
        if text.startswith(prefix):
            return text[len(prefix) :].lstrip("\n")
    return text


def _text(ask: Ask, path: Path) -> str:
    return ask.search.stop.join(path.steps)
