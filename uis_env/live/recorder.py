"""The recorder: queries × models × styles × samples, as sample pools that `uis_env.pools` reads.

A folder holds `manifest.json`, `queries.jsonl`, one `<model>.<style>.jsonl` per pool (a row per sample, appended for
one query at a time, all its samples in one write) and `calls.jsonl` (every call; see `journal`). Killed at any moment,
it resumes without losing or doubling a sample.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from uis_env.live import judge
from uis_env.live.client import OUT_OF_BUDGET, STOPPED, Batch, Client
from uis_env.live.config import LiveConfig
from uis_env.live.journal import Appender, CallJournal, read_rows
from uis_env.live.ledger import Ledger
from uis_env.live.progress import Progress
from uis_env.live.queries import Query
from uis_env.live.strategies import Ask
from uis_env.live.transport import Transport
from uis_env.outcomes import atomic_write

ROUNDS = 3
"""How often missing samples of a query are asked for again."""
_TIMES = ("prompt_ms", "prompt_n", "predicted_ms", "predicted_n")


class Unit(NamedTuple):
    """What is recorded at once: all samples of one query from one model in one style."""

    model: str
    style: str
    query: Query

    @property
    def pool(self) -> str:
        """The name of its file, without the suffix."""
        return f"{self.model}.{self.style}"


@dataclass
class Report:
    """What a run of the recorder did.

    Attributes:
        recorded: units written by this run.
        failed: units that could not be recorded, with the reason.
        left: units that remain.
        spent: US dollars, of earlier runs too.
        stopped: why it ended early: "budget", "endpoint", or None.
        lines: what there is to say at the end, why it stopped first.
        overruns: calls that used more than was reserved for them.
    """

    recorded: int
    failed: dict[str, str]
    left: int
    spent: float
    stopped: str | None
    lines: list[str] = field(default_factory=list)
    overruns: int = 0


def record(
    config: LiveConfig,
    folder: Path,
    *,
    resume: bool = False,
    max_dollars: float = math.inf,
    transport: Transport | None = None,
) -> Report:
    """Records what is not yet in the folder.

    Raises:
        ValueError: if the config records nothing, the tokens of its samples could not be told apart, the folder holds
            a recording and `resume` is False, or it was made from another config; naming file and line, if a file in
            it is damaged.
    """
    if not config.record:
        raise ValueError(f"{config.path}.record: missing, expected samples per query by style, e.g. direct = 16")
    for name, model in config.pool.models.items():
        if not model.logprobs and model.max_n > 1:
            raise ValueError(f"model {name!r}: without logprobs only max_n = 1 tells the tokens of every sample")
    _prepare(config, folder, resume)
    todo = _todo(config, folder)
    journal = CallJournal(folder / "calls.jsonl")
    try:
        return asyncio.run(_run(config, folder, todo, journal, max_dollars, transport))
    finally:
        journal.close()


def units(config: LiveConfig) -> list[Unit]:
    """Everything that a config records, query by query."""
    return [Unit(m, style, query) for query in config.queries for m in config.pool.models for style in config.record]


def _prepare(config: LiveConfig, folder: Path, resume: bool) -> None:
    manifest = folder / "manifest.json"
    if manifest.exists():
        if not resume:
            raise ValueError(f"{folder} holds a recording: pass --resume to go on with it")
        if json.loads(manifest.read_text()).get("digest") != config.digest:
            raise ValueError(f"{manifest}: recorded from another config or other queries; choose another folder")
        return
    rows = "".join(json.dumps(query.to_json(), ensure_ascii=False) + "\n" for query in config.queries)
    atomic_write(folder / "queries.jsonl", rows.encode())
    facts = {
        "format": 1,
        "digest": config.digest,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": {name: model.id for name, model in config.pool.models.items()},
        "samples": dict(config.record),
        "queries": len(config.queries),
        "versions": {"openai": version("openai")},
    }
    atomic_write(manifest, (json.dumps(facts, indent=1) + "\n").encode())


def _todo(config: LiveConfig, folder: Path) -> list[Unit]:
    """The units that are not recorded; cuts off what a torn write left of the last one of each pool."""
    done: set[tuple[str, str]] = set()
    for model in config.pool.models:
        for style, samples in config.record.items():
            path = folder / f"{model}.{style}.jsonl"
            Appender(path).close()
            rows = read_rows(path)
            whole = len(rows) - len(rows) % samples
            for start in range(0, whole, samples):
                block = rows[start : start + samples]
                if [(r.get("query_id"), r.get("sample")) for r in block] != [
                    (block[0].get("query_id"), i) for i in range(samples)
                ] or (path.stem, block[0]["query_id"]) in done:
                    raise ValueError(f"{path}:{start + 1}: expected samples 0..{samples - 1} of one query, once")
                done.add((path.stem, block[0]["query_id"]))
            if whole < len(rows):
                kept = b"".join(path.read_bytes().splitlines(keepends=True)[:whole])
                atomic_write(path, kept)
    return [unit for unit in units(config) if (unit.pool, unit.query.query_id) not in done]


async def _run(
    config: LiveConfig,
    folder: Path,
    todo: Sequence[Unit],
    journal: CallJournal,
    max_dollars: float,
    transport: Transport | None,
) -> Report:
    client = Client(config.pool, max_dollars=max_dollars, transport=transport, journal=journal, spent=journal.spent)
    files = {unit.pool: Appender(folder / f"{unit.pool}.jsonl") for unit in todo}
    report = Report(0, {}, len(todo), journal.spent, None)
    waiting = iter(todo)

    async def work(advance: Callable[[int, float], None]) -> None:
        for unit in waiting:
            rows, error, tokens = await _record_unit(config, client, unit)
            if rows:
                files[unit.pool].write(*rows)
                report.recorded += 1
                report.left -= 1
            elif error == OUT_OF_BUDGET:
                report.stopped = "budget"
            elif error != STOPPED:
                report.failed[f"{unit.pool} {unit.query.query_id}"] = error or ""
            if client.stopped and not report.stopped:
                report.stopped = "endpoint"
                report.lines.append(client.stopped)
            advance(1, tokens)
            if report.stopped:
                return

    endpoints = {model.endpoint.name: model.endpoint.concurrency for model in config.pool.models.values()}
    try:
        with Progress("recording", len(todo)) as bar:
            async with asyncio.TaskGroup() as group:
                for _ in range(sum(endpoints.values())):
                    group.create_task(work(bar.advance))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for file in files.values():
            file.close()
        await client.close()
    report.spent, report.overruns = client.budget.spent, client.overruns
    report.lines += client.remarks()
    return report


async def _record_unit(
    config: LiveConfig, client: Client, unit: Unit
) -> tuple[list[dict[str, Any]], str | None, float]:
    """(rows, error, output tokens) of a unit: all its rows, or none and an error."""
    samples = config.record[unit.style]
    ask = Ask(client, unit.model, unit.query, config.styles[unit.style], ledger=Ledger())
    batch = await ask.sample(samples, "record")
    for i in range(ROUNDS):
        missing = samples - len(batch.samples)
        if not missing or batch.error == OUT_OF_BUDGET or client.stopped:
            break
        batch = Batch.join([batch, await ask.sample(missing, "record", i)])
    tokens = ask.ledger.totals(charged=True).output
    if len(batch.samples) < samples:
        return [], batch.error, tokens
    first = next(reply for reply in batch.replies if reply.samples)
    times = first.data.get("timings")
    times = times if isinstance(times, dict) else {}
    shared = {
        "prompt_tokens": _known(first.tokens.prompt),
        "cached_tokens": _known(first.tokens.cached),
        "request_seconds": round(ask.ledger.latency(), 4),
        "seed": ask.seed_of("record"),
    } | {name: _time(times.get(name)) for name in _TIMES}
    rows = []
    verdicts = [await judge.aside(judge.judge, unit.query, sample) for sample in batch.samples]
    votes = await judge.aside(judge.votes, unit.query, [verdict.answer for verdict in verdicts])
    for i, (sample, verdict, vote) in enumerate(zip(batch.samples, verdicts, votes, strict=True)):
        rows.append(
            {
                "query_id": unit.query.query_id,
                "model": unit.model,
                "prompt": unit.style,
                "sample": i,
                "text": sample.text,
                "extracted": verdict.answer,
                "vote": vote,
                "correct": int(verdict.quality >= 1),
                "quality": verdict.quality,
                "note": verdict.note,
                "finish": sample.finish,
                "completion_tokens": _known(sample.tokens),
                "mean_logprob": _known(sample.mean_logprob),
                "sum_logprob": _known(sample.sum_logprob),
            }
            | shared
        )
    return rows, None, tokens


def _time(value: Any) -> float | None:
    """A duration or count that a server told; None for what cannot be one."""
    told = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12
    return value if told else None


def _known(value: float) -> float | int | None:
    """What is not finite as null, whole numbers as integers."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else round(value, 6)
