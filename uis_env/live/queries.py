"""Queries and how they are graded: from JSON lines, or generated and graded by reasoning-gym."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from uis_env.live.reply import clean
from uis_env.live.table import Table
from uis_env.live.verifiers import Verifier, make_verifier, reasoning_gym


class Query(NamedTuple):
    """One request.

    Attributes:
        query_id: unique.
        question: what is asked.
        answer: the right answer.
        verifier: reads and grades answers.
        family, level: what kind of query it is; groups of the report.
    """

    query_id: str
    question: str
    answer: str
    verifier: Verifier
    family: str = "all"
    level: str = "all"

    def to_json(self) -> dict[str, str]:
        """The row of `queries.jsonl`."""
        names = ("query_id", "family", "level", "question", "answer")
        return {name: getattr(self, name) for name in names}


def load_queries(table: Table, base: Path) -> tuple[Query, ...]:
    """The `[queries]` of a config: `file = "queries.jsonl"`, or `[[queries.reasoning_gym]]` tables, or both.

    Args:
        table: with `file` (relative to `base`), `verifier` (for rows that name none), `reasoning_gym`, `limit`.
        base: the config's folder.

    Raises:
        ValueError: naming file and line, or key, of what is missing, doubled or not as expected.
        ImportError: if reasoning-gym is asked for and not installed.
    """
    queries: list[Query] = []
    default = table.take("verifier", object, "exact") if "verifier" in table else "exact"
    if "file" in table:
        queries += read_queries(base / table.take("file", str), default)
    for i, spec in enumerate(table.take("reasoning_gym", list, [])):
        queries += generate(Table(spec, f"{table.where}.reasoning_gym[{i}]"))
    limit = table.integer("limit", None, low=1)
    table.done()
    if not queries:
        raise ValueError(f"{table.where}: expected `file` or `reasoning_gym`")
    ids = [query.query_id for query in queries]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{table.where}: query ids repeat: {sorted({i for i in ids if ids.count(i) > 1})[0]!r}")
    return tuple(queries[:limit])


def read_queries(path: Path, verifier: Any = "exact") -> list[Query]:
    """Rows with `id` (or `query_id`), `question`, `answer` and optionally `verifier`, `family`, `level`.

    Args:
        path: a file of JSON lines.
        verifier: for rows that name none; a name or a table.

    Raises:
        ValueError: naming file and line.
        FileNotFoundError: if there is no such file.
    """
    queries = []
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
    if not lines:
        raise ValueError(f"{path}: holds no queries, expected one line of JSON for each")
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028.
    for number, line in enumerate(lines.split("\n"), start=1):
        where = f"{path}:{number}"
        try:
            row = Table(json.loads(line), where)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        spec = row.take("verifier", object, verifier)
        query = Query(
            query_id=clean(row.take("query_id" if "query_id" in row else "id", str)),
            question=clean(row.take("question", str)),
            answer=clean(row.take("answer", str)),
            verifier=make_verifier(spec if isinstance(spec, str) else Table(spec, f"{where}.verifier")),
            family=row.take("family", str, "all"),
            level=row.take("level", str, "all"),
        )
        if not query.query_id:
            raise ValueError(f"{where}: the id is '', expected a text that is not empty")
        try:
            query.verifier.grade("", query.answer)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        row.done()
        queries.append(query)
    return queries


def generate(table: Table) -> list[Query]:
    """Queries of one reasoning-gym dataset: `name`, `size`, `seed`, and its own settings in `config`.

    Raises:
        ValueError: naming the key, if there is no such dataset or it refuses its settings.
        ImportError: if reasoning-gym is not installed.
    """
    try:
        import reasoning_gym as gym
    except ImportError:
        raise ImportError("reasoning-gym queries need: pip install reasoning-gym") from None
    name, size = table.take("name", str), table.integer("size", low=1)
    seed, level = table.integer("seed", 0, low=0), table.take("level", str, "all")
    config: Mapping[str, Any] = table.take("config", dict, {})
    table.done()
    try:
        dataset = gym.create_dataset(name, size=size, seed=seed, **config)
    except (ValueError, TypeError, AssertionError) as error:
        raise ValueError(f"{table.where}: reasoning-gym refuses {name!r}: {error}") from None
    queries = []
    for i in range(size):
        entry = dataset[i]
        queries.append(
            Query(
                query_id=f"{name}/{level}/{seed}.{i}",
                question=entry["question"],
                answer=str(entry["answer"]),
                verifier=reasoning_gym(dataset.score_answer, entry),
                family=name,
                level=level,
            )
        )
    return queries
