"""Raw sample pools: what each (model, prompting style) answered to each query, several samples per query.

A folder holds `queries.jsonl` (one row per query) and one `*.jsonl.gz` per pool (one row per sample). Both are read
strictly: a row that is missing, doubled or of the wrong type is an error that names file and line, never a default.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Query(NamedTuple):
    """One row of `queries.jsonl`."""

    query_id: str
    family: str
    level: str
    question: str
    answer: str


@dataclass(frozen=True, eq=False)
class Pool:
    """S samples of one model in one prompting style on each of Q queries, in the order they were recorded.

    Attributes:
        model, style: as recorded.
        answer: (Q, S) int32, which answer a sample votes for: the answers of a query are numbered as they first appear;
            -1 where none could be extracted, which never votes. Samples with the same `vote` (without one: with the
            same extracted text) give the same answer.
        correct: (Q, S) float64, 0 or 1.
        score: (Q, S) float64 in [0, 1], the verifier's score: `exp(mean log-probability)` of the sample, which is the
            model's own confidence and knows nothing about correctness; 0 of a sample that ended at once, without a
            token; NaN where the server told none.
        tokens: (Q, S) float64, completion tokens.
        prompt: (Q,) float64, prompt tokens; all samples of a query share one prompt.
        cached: (Q,) float64, those of them that the server found in its cache.
        prefill_ms, decode_ms: (Q,) float64, milliseconds per uncached prompt token and per decoded token; NaN where the
            server told none.
    """

    model: str
    style: str
    answer: Array
    correct: Array
    score: Array
    tokens: Array
    prompt: Array
    cached: Array
    prefill_ms: Array
    decode_ms: Array

    @property
    def size(self) -> int:
        """S, samples per query."""
        return int(self.answer.shape[1])

    @property
    def whole(self) -> Array:
        """(Q,) bool: the queries that have samples; numbers of the others are NaN, their answers -1."""
        return np.asarray(np.isfinite(self.correct).all(axis=1))

    def without(self, rows: Array) -> Pool:
        """The pool with holes in place of some queries; `rows` is (Q,) bool."""
        if not rows.any():
            return self
        arrays = {
            name: np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), np.nan, array)
            for name, array in self.arrays().items()
            if name != "answer"
        }
        answer = np.where(rows[:, None], np.int32(-1), self.answer)
        return Pool(self.model, self.style, answer, **arrays)

    def arrays(self) -> dict[str, Array]:
        """All arrays, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("model", "style")}

    def take(self, rows: Array) -> Pool:
        """The pool with some of the queries only; `rows` is (Q,) bool."""
        if rows.all():
            return self
        arrays = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("model", "style")
        }
        return replace(self, **{name: array[rows] for name, array in arrays.items()})

    def part(self, samples: slice) -> Pool:
        """The pool with some of the samples only, e.g. `slice(0, 8)`."""
        return replace(
            self,
            answer=self.answer[:, samples],
            correct=self.correct[:, samples],
            score=self.score[:, samples],
            tokens=self.tokens[:, samples],
        )


Check = tuple[type | tuple[type, ...], Callable[[Any], bool], str]
_TEXT: Check = (str, lambda value: bool(value.strip()), "a text that is not empty")
_COUNT: Check = (int, lambda value: value >= 0, "an integer >= 0")
_POSITIVE: Check = (int, lambda value: value >= 1, "an integer >= 1")
_DURATION: Check = ((int, float), lambda value: math.isfinite(value) and value > 0, "a number > 0")


def _or_null(check: Check) -> Check:
    """The check of a field that some servers do not tell."""
    kind, valid, expected = check
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return (*kinds, type(None)), lambda value: value is None or valid(value), f"{expected}, or null"


_QUERY_FIELDS: dict[str, Check] = dict.fromkeys(Query._fields, _TEXT)
_SAMPLE_FIELDS: dict[str, Check] = {
    "query_id": _TEXT,
    "model": _TEXT,
    "prompt": _TEXT,
    "sample": _COUNT,
    "extracted": (str, lambda value: True, "a text"),
    "correct": (int, lambda value: value in (0, 1), "0 or 1"),
    "mean_logprob": _or_null(((int, float), lambda value: math.isfinite(value) and value <= 0, "a number <= 0")),
    "completion_tokens": _COUNT,
    "prompt_tokens": _POSITIVE,
    "cached_tokens": _COUNT,
    "prompt_ms": _or_null(_DURATION),
    "prompt_n": _or_null(_POSITIVE),
    "predicted_ms": _or_null(_DURATION),
    "predicted_n": _or_null(_POSITIVE),
}
_OF_REQUEST = ("prompt_tokens", "cached_tokens", "prompt_ms", "prompt_n", "predicted_ms", "predicted_n")
"""Fields that describe the whole request, equal on all samples of a query."""


def read_queries(path: Path) -> tuple[Query, ...]:
    """Reads `queries.jsonl`.

    Raises:
        ValueError: naming file and line, if a field is missing, empty or of the wrong type, or an id appears twice.
    """
    queries: dict[str, Query] = {}
    for where, row in _rows(path, _QUERY_FIELDS):
        query = Query(*(row[name] for name in Query._fields))
        if query.query_id in queries:
            raise ValueError(f"{where}: query_id {query.query_id!r} appears twice")
        queries[query.query_id] = query
    if not queries:
        raise ValueError(f"{path}: expected at least one query")
    return tuple(queries.values())


def read_pool(path: Path, query_ids: tuple[str, ...]) -> Pool:
    """Reads the samples of one model in one style (`.jsonl`, or `.jsonl.gz`), with the queries in the order given.

    Raises:
        ValueError: naming file and line or query, if a field is missing or out of range, a sample is missing or
            appears twice, the file mixes models or styles, samples of one request disagree about it, or equal answers
            are graded differently.
    """
    found: dict[str, dict[int, tuple[str, dict[str, Any]]]] = {query_id: {} for query_id in query_ids}
    names: tuple[str, str] | None = None
    for where, row in _rows(path, _SAMPLE_FIELDS):
        query_id, sample = row["query_id"], row["sample"]
        names = names or (row["model"], row["prompt"])
        if (row["model"], row["prompt"]) != names:
            raise ValueError(f"{where}: model and prompt are {row['model']!r}, {row['prompt']!r}, expected {names}")
        if query_id not in found:
            raise ValueError(f"{where}: query_id {query_id!r} is not among the queries")
        if sample in found[query_id]:
            raise ValueError(f"{where}: sample {sample} of query {query_id!r} appears twice")
        if row["cached_tokens"] > row["prompt_tokens"]:
            raise ValueError(f"{where}: {row['cached_tokens']} cached of {row['prompt_tokens']} prompt tokens")
        if not row["completion_tokens"] and row["extracted"].strip():
            raise ValueError(f"{where}: completion_tokens is 0, expected an integer >= 1 for {row['extracted']!r}")
        found[query_id][sample] = (where, row)
    if names is None:
        raise ValueError(f"{path}: expected at least one sample")

    size = max(len(samples) for samples in found.values())
    rows: list[list[dict[str, Any]]] = []
    answers: list[list[int]] = []
    for query_id, samples in found.items():
        if sorted(samples) != list(range(size)):
            raise ValueError(f"{path}: query {query_id!r} has samples {sorted(samples)}, expected 0..{size - 1}")
        ordered = [samples[i] for i in range(size)]
        answers.append(_answers(ordered))
        rows.append([row for _, row in ordered])

    def each(field: str) -> Array:
        return np.array([[row[field] for row in samples] for samples in rows], np.float64)

    def once(field: str) -> Array:
        return np.array([samples[0][field] for samples in rows], np.float64)

    return Pool(
        model=names[0],
        style=names[1],
        answer=np.array(answers, np.int32),
        correct=each("correct"),
        score=np.where(each("completion_tokens") == 0, 0.0, np.exp(each("mean_logprob"))),
        tokens=each("completion_tokens"),
        prompt=once("prompt_tokens"),
        cached=once("cached_tokens"),
        prefill_ms=once("prompt_ms") / once("prompt_n"),
        decode_ms=once("predicted_ms") / once("predicted_n"),
    )


def _answers(samples: list[tuple[str, dict[str, Any]]]) -> list[int]:
    """Numbers the answers of one query as they first appear; -1 for none. Checks what its samples must agree on."""
    first = samples[0][1]
    number: dict[str, int] = {}
    graded: dict[str, int] = {"": 0}
    ids = []
    for where, row in samples:
        for field in _OF_REQUEST:
            if row[field] != first[field]:
                raise ValueError(f"{where}: {field} is {row[field]}, but {first[field]} on the query's first sample")
        text, vote = row["extracted"].strip(), row.get("vote", row["extracted"])
        if not isinstance(vote, str):
            raise ValueError(f"{where}: vote is {vote!r}, expected a text")
        if graded.setdefault(text, row["correct"]) != row["correct"]:
            raise ValueError(f"{where}: answer {text!r} is graded {row['correct']}, expected {graded[text]}")
        vote = vote.strip() if text else ""
        ids.append(number.setdefault(vote, len(number)) if vote else -1)
    return ids


def _rows(path: Path, fields: dict[str, Check]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields ("file:line", row) with every field of `fields` present and valid; other fields pass unread."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected lines of JSON in UTF-8: {error}") from None
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected one JSON object per line")
        for field, (kind, valid, expected) in fields.items():
            if field not in row:
                raise ValueError(f"{where}: field {field!r} is missing, expected {expected}")
            value = row[field]
            if isinstance(value, bool) or not isinstance(value, kind) or not valid(value):
                raise ValueError(f"{where}: {field} is {value!r}, expected {expected}")
        yield where, row
