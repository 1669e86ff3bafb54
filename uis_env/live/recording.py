"""The folder of a recording: what it is bound to, which samples it holds, and its samples as pools.

A folder holds `manifest.json`, `queries.jsonl`, one `<model>.<style>.jsonl` per pool (a row per sample) and
`calls.jsonl` (every call; see `journal`). It is bound to what decides the samples: the models' ids, what requests add
and leave out, the styles, and the questions. Arms, prices, rewards, right answers, verifiers and scorers may change:
answers are read and graded when the world is built.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from uis_env.files import atomic_write
from uis_env.live.config import LiveConfig
from uis_env.live.journal import Appender, read_rows

FORMAT = 2
"""Version of the folders that `record` writes."""
MANIFEST = "manifest.json"
QUERIES = "queries.jsonl"


def pool_file(folder: Path, model: str, style: str) -> Path:
    """Where the samples of a model in a style are."""
    return folder / f"{model}.{style}.jsonl"


def content(config: LiveConfig) -> dict[str, dict[str, Any]]:
    """What decides the samples of each pool, as plain JSON, by the pool's name."""
    pools = {}
    for name in config.recorded():
        model = config.pool.models[name]
        for style in config.record:
            asked = {"id": model.id, "extra": dict(model.extra or {}), "omit": sorted(model.omit)}
            pools[f"{name}.{style}"] = json.loads(json.dumps(asked | {"style": asdict(config.styles[style])}))
    return pools


def claim(config: LiveConfig, folder: Path, resume: bool) -> None:
    """Makes the folder of a recording, or checks that the config may go on with the one that is there.

    Raises:
        ValueError: if it holds a recording and `resume` is False, or one of other contents, naming what differs.
    """
    manifest, facts, pools = folder / MANIFEST, {}, content(config)
    known = {query.query_id: query.to_json() for query in config.queries}
    if manifest.exists():
        if not resume:
            raise ValueError(f"{folder} holds a recording: pass --resume to go on with it")
        facts = check(config, folder)
        known = {row["query_id"]: row for row in read_rows(folder / QUERIES)} | known
        pools = facts["pools"] | pools
    else:
        facts = {"format": FORMAT, "started": datetime.now(UTC).isoformat(timespec="seconds")}
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in known.values())
    atomic_write(folder / QUERIES, rows.encode())
    facts |= {"pools": pools, "queries": len(known), "versions": {"openai": version("openai")}}
    atomic_write(manifest, (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())


def check(config: LiveConfig, folder: Path) -> dict[str, Any]:
    """The manifest of a recording that fits the config.

    Raises:
        ValueError: naming the file and what differs.
        FileNotFoundError: if there is no recording.
    """
    manifest = folder / MANIFEST
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{manifest}: not JSON: {error}") from None
    pools = facts.get("pools") if isinstance(facts, dict) else None
    if not isinstance(pools, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{manifest}: expected the manifest of a recording in format {FORMAT}")
    for name, now in content(config).items():
        before = pools.get(name, now)
        different = sorted(key for key in now if before.get(key) != now[key])
        if different:
            key = different[0]
            raise ValueError(
                f"{manifest}: {name} was recorded with {key} = {before.get(key)!r}, the config has {now[key]!r}; "
                "choose another folder"
            )
    questions = {row.get("query_id"): row.get("question") for row in read_rows(folder / QUERIES)}
    for query in config.queries:
        if questions.get(query.query_id, query.question) != query.question:
            raise ValueError(
                f"{folder / QUERIES}: query {query.query_id!r} was recorded as {questions[query.query_id]!r}, "
                f"the config asks {query.question!r}; choose another folder"
            )
    return dict(facts)


def samples(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """The rows of a pool by query and sample; cuts off what a torn write left of the last row.

    Raises:
        ValueError: naming file and line of what is no sample, or is there twice.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    if not path.exists():
        return found
    Appender(path).close()
    for number, row in enumerate(read_rows(path), start=1):
        query, sample = row.get("query_id"), row.get("sample")
        if not isinstance(query, str) or not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
            raise ValueError(f"{path}:{number}: expected query_id and sample of one sample")
        if sample in found.setdefault(query, {}):
            raise ValueError(f"{path}:{number}: sample {sample} of query {query!r} is there twice")
        found[query][sample] = row
    return found
