"""Recorded samples as pools: read, graded and scored by the config as it is now; what cannot be used is a hole."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.live import judge
from uis_env.live.client import Client
from uis_env.live.config import LiveConfig
from uis_env.live.estimate import Imagined
from uis_env.live.queries import Query
from uis_env.live.recording import check, pool_file, samples
from uis_env.live.reply import Sample
from uis_env.live.scorers import Confidence
from uis_env.live.strategies import Ask
from uis_env.pools import Pool

Array = NDArray[Any]
Row = dict[str, Any]
Test = Callable[[Row], bool]
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Everything that a recording holds for a config.

    Attributes:
        facts: the manifest.
        queries: those of the config with at least one whole cell, in order.
        pools: by (model, style), if they have a whole cell; holes are filled with samples of another query.
        whole: (Q,) bool for each pool, whether all samples of a query can be used.
        holes: cells that cannot be used, by reason.
        scored, used: whether all pools have scores, and token counts.
        scoring: (Q,) US dollars of scoring one sample, by pool.
    """

    facts: Mapping[str, Any]
    queries: tuple[Query, ...]
    pools: Mapping[Key, Pool]
    whole: Mapping[Key, Array]
    holes: Mapping[str, int]
    scored: bool
    used: bool
    scoring: Mapping[Key, Array]


def read_recording(config: LiveConfig, folder: Path) -> Recorded:
    """Reads a recording.

    Raises:
        ValueError: naming the file and what is not as expected, if it does not fit the config, or if no cell is whole.
        FileNotFoundError: if there is no recording.
    """
    facts = check(config, folder)
    found = {
        (model, style): samples(pool_file(folder, model, style))
        for model in config.recorded()
        for style in config.record
    }
    tests: dict[str, Test] = {"no usage": _has_usage}
    if isinstance(config.scorer, Confidence):
        tests["no score"] = _has_confidence
    elif not config.scorer.free:  # a function scores every text
        tests["no score"] = _has_score(repr(config.scorer))
    told = {name: all(_mostly(rows, test) for rows in found.values()) for name, test in tests.items()}
    tests = {name: test for name, test in tests.items() if told[name]}
    holes: Counter[str] = Counter()
    cells: dict[Key, dict[str, list[Row]]] = {key: {} for key in found}
    for key, by_query in found.items():
        size = config.record[key[1]]
        for query in config.queries:
            rows = [by_query.get(query.query_id, {}).get(i) for i in range(size)]
            taken = [row for row in rows if row is not None]
            reason = "missing" if len(taken) < size else _reason(taken, tests)
            if reason:
                holes[reason] += 1
            else:
                cells[key][query.query_id] = taken
    queries = tuple(query for query in config.queries if any(query.query_id in whole for whole in cells.values()))
    if not queries:
        raise ValueError(
            f"{folder}: no query has all its samples in a form that can be used "
            f"({', '.join(f'{count} cells: {reason}' for reason, count in holes.items())})"
        )
    cells = {key: whole for key, whole in cells.items() if whole}
    scored = told.get("no score", True)
    pools = {key: _pool(config, key, queries, whole, scored) for key, whole in cells.items()}
    return Recorded(
        facts=facts,
        queries=queries,
        pools=pools,
        whole={key: np.array([q.query_id in whole for q in queries]) for key, whole in cells.items()},
        holes=dict(holes),
        scored=scored,
        used=told["no usage"],
        scoring={key: _once(queries, whole, "score_dollars") for key, whole in cells.items()},
    )


def _pool(
    config: LiveConfig, key: Key, queries: tuple[Query, ...], cells: Mapping[str, list[Row]], scored: bool
) -> Pool:
    """The samples of a model in a style on the queries; those of the first whole cell where there is a hole."""
    graded = {q.query_id: _graded(config, key, q, cells[q.query_id], scored) for q in queries if q.query_id in cells}
    instead = next(iter(graded.values()))
    answer, quality, score = (
        np.stack([graded.get(query.query_id, instead)[part] for query in queries]) for part in range(3)
    )
    first = next(iter(cells))
    tokens = [[_number(row, "completion_tokens") for row in cells.get(q.query_id, cells[first])] for q in queries]

    def once(name: str) -> Array:
        return _once(queries, cells, name)

    return Pool(
        model=key[0],
        style=key[1],
        answer=answer.astype(np.int32),
        correct=quality,
        score=score,
        tokens=np.nan_to_num(np.array(tokens, np.float64)),
        prompt=np.nan_to_num(once("prompt_tokens")),
        cached=np.nan_to_num(once("cached_tokens")),
        prefill_ms=once("prompt_ms") / once("prompt_n"),
        decode_ms=once("predicted_ms") / once("predicted_n"),
    )


def _graded(config: LiveConfig, key: Key, query: Query, rows: list[Row], scored: bool) -> tuple[Array, Array, Array]:
    """(Which answer each sample votes for, its quality, its score), as in live use."""
    taken = [_sample(row) for row in rows]
    verdicts = [judge.judge(query, sample) for sample in taken]
    number: dict[str, int] = {}
    votes = judge.votes(query, [verdict.answer for verdict in verdicts])
    ids = [number.setdefault(vote, len(number)) if vote else -1 for vote in votes]
    scores = _scores(config, key, query, taken, rows) if scored else [1.0] * len(rows)
    return np.array(ids), np.array([verdict.quality for verdict in verdicts]), np.nan_to_num(np.array(scores))


def _scores(config: LiveConfig, key: Key, query: Query, taken: list[Sample], rows: list[Row]) -> list[float]:
    """Of the config's scorer: made now if it asks nobody, else as recorded."""
    if not config.scorer.free:
        return [_number(row, "score") for row in rows]
    if isinstance(config.scorer, Confidence):
        return [math.exp(sample.mean_logprob) if sample.text else 0.0 for sample in taken]
    ask = Ask(Client(config.pool, transport=Imagined(1)), key[0], query, config.styles[key[1]])
    return asyncio.run(_values(config, ask, taken))


async def _values(config: LiveConfig, ask: Ask, taken: list[Sample]) -> list[float]:
    return (await config.scorer(ask, taken, [sample.text for sample in taken], ())).values


def _sample(row: Row) -> Sample:
    """The sample that a row was made from."""
    text = row.get("text")
    flag = row.get("note") if not text else ""
    mean = _number(row, "mean_logprob")
    return Sample(
        text=text if isinstance(text, str) else "",
        finish=str(row.get("finish")),
        tokens=_number(row, "completion_tokens"),
        sum_logprob=_number(row, "sum_logprob"),
        mean_logprob=mean,
        flag=flag if isinstance(flag, str) else "",
    )


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _once(queries: tuple[Query, ...], cells: Mapping[str, list[Row]], name: str) -> Array:
    """(Q,) a number that all samples of a query share; that of the first whole cell where there is a hole."""
    first = next(iter(cells))
    return np.array([_number(cells.get(query.query_id, cells[first])[0], name) for query in queries])


def _has_usage(row: Row) -> bool:
    return not math.isnan(_number(row, "completion_tokens")) and not math.isnan(_number(row, "prompt_tokens"))


def _has_confidence(row: Row) -> bool:
    return not row.get("text") or not math.isnan(_number(row, "mean_logprob"))


def _has_score(scorer: str) -> Test:
    return lambda row: bool(row.get("scorer") == scorer)


def _mostly(rows: Mapping[str, Mapping[int, Row]], test: Test) -> bool:
    """Whether most samples of a pool pass a test, so that those which do not are exceptions."""
    passed = [test(row) for by_sample in rows.values() for row in by_sample.values()]
    return sum(map(bool, passed)) * 2 >= len(passed)


def _reason(rows: list[Row], tests: Mapping[str, Test]) -> str | None:
    """Why samples cannot be used; None if they can."""
    return next((name for name, test in tests.items() if not all(test(row) for row in rows)), None)
