"""Queries and how they are graded: from JSON lines, or generated and graded by reasoning-gym."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uis_env.live.reply import clean
from uis_env.live.table import Table
from uis_env.live.verifiers import GraderError, Verifier, entry_verifier, make_verifier

MOST_SECONDS = 60
"""Time limit of a grader that a row may ask for; the config may allow more."""


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
        table: with `file` (relative to `base`), `verifier` (for rows that name none), `callbacks` (functions that rows
            may name), `reasoning_gym`, `limit`.
        base: the config's folder.

    Raises:
        ValueError: naming file and line, or key, of what is missing, doubled or not as expected.
        ImportError: if reasoning-gym is asked for and not installed.
    """
    queries: list[Query] = []
    default = table.take("verifier", object, "exact") if "verifier" in table else "exact"
    callbacks = table.texts("callbacks", [])
    if "file" in table:
        queries += read_queries(base / table.take("file", str), default, callbacks)
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


def read_queries(path: Path, verifier: Any = "exact", callbacks: Sequence[str] = ()) -> list[Query]:
    """Rows with `id` (or `query_id`), `question`, `answer` and optionally `verifier`, `family`, `level`.

    Blank lines, a byte order mark and further columns are passed over. A row's verifier may name a function only if
    `callbacks` lists it: a file of queries must not run code that nobody chose.

    Args:
        path: a file of JSON lines.
        verifier: for rows that name none; a name or a table.
        callbacks: functions, "module:name", that rows may name.

    Raises:
        ValueError: naming file and line, also of a right answer that nothing can match.
        FileNotFoundError: if there is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028.
    rows = [(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise ValueError(f"{path}: holds no queries, expected one line of JSON for each")
    made: dict[str, Verifier] = {}
    return [_query(line, where, verifier, callbacks, made) for where, line in rows]


def _query(line: str, where: str, verifier: Any, callbacks: Sequence[str], made: dict[str, Verifier]) -> Query:
    """The query of a line; `made` holds the verifiers made so far, by their settings."""
    try:
        row = Table(json.loads(line), where)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    _check_columns(row)
    spec = row.take("verifier", object, verifier)
    function = spec.get("function") if isinstance(spec, Mapping) else None
    if "verifier" in row and function is not None and function not in callbacks:
        raise ValueError(
            f"{where}.verifier.function: {function!r} is code: name it in the config, as [queries] verifier or in "
            "[queries] callbacks"
        )
    seconds = spec.get("seconds", 0) if "verifier" in row and isinstance(spec, Mapping) else 0
    if isinstance(seconds, int | float) and seconds > MOST_SECONDS:
        raise ValueError(f"{where}.verifier.seconds: {seconds}, expected at most {MOST_SECONDS} in a row of a file")
    settings = json.dumps(spec, sort_keys=True, default=str)
    if settings not in made:
        made[settings] = make_verifier(spec if isinstance(spec, str) else Table(spec, f"{where}.verifier"))
    query = Query(
        query_id=clean(row.take("query_id" if "query_id" in row else "id", str)),
        question=clean(row.take("question", str)),
        answer=clean(row.take("answer", str)),
        verifier=made[settings],
        family=row.take("family", str, "all"),
        level=row.take("level", str, "all"),
    )
    for name, text in (("id", query.query_id), ("question", query.question), ("answer", query.answer)):
        if not text.strip():
            raise ValueError(f"{where}: the {name} is {text!r}, expected a text that is not empty")
    try:
        query.verifier.grade("", query.answer)
    except (ValueError, GraderError) as error:
        raise ValueError(f"{where}: {error}") from None
    return query


def _check_columns(row: Table) -> None:
    """Raises ValueError for a column that looks like a misspelt name of one that the row lacks."""
    missing = [name for name in ("verifier", "family", "level") if name not in row]
    for key in row.data:
        meant = difflib.get_close_matches(key, missing, 1, cutoff=0.85)
        if meant:
            raise ValueError(f"{row.where}: unknown key {key!r}, expected {meant[0]!r}")


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
                verifier=entry_verifier(name, size, seed, config, i, str(entry["answer"])),
                family=name,
                level=level,
            )
        )
    return queries
