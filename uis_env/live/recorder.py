"""The recorder: queries × models × styles × samples, asked for and written as they come.

Killed at any moment, it resumes without losing or doubling a sample. A sample whose accounting is missing (its tokens,
or its log-probabilities where others have them) is asked for once more, then kept as a hole, which `build` reports.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from uis_env.live import judge
from uis_env.live.client import OUT_OF_BUDGET, STOPPED, Client
from uis_env.live.config import LiveConfig
from uis_env.live.journal import Appender, CallJournal
from uis_env.live.ledger import Ledger
from uis_env.live.progress import Progress
from uis_env.live.queries import Query
from uis_env.live.recording import claim, pool_file, samples
from uis_env.live.reply import Reply, Sample
from uis_env.live.strategies import Ask
from uis_env.live.transport import Transport
from uis_env.lock import DirectoryLock

ROUNDS = 3
"""How often missing samples of a query are asked for again in one run."""
NO_USAGE, NO_SCORE = "no usage", "no log-probabilities"
"""Why a sample is a hole."""
_TIMES = ("prompt_ms", "prompt_n", "predicted_ms", "predicted_n")
_OF_REQUEST = ("prompt_tokens", "cached_tokens", "request_seconds", "seed", *_TIMES)
Row = dict[str, Any]


class Taken(NamedTuple):
    """A sample and the reply that it came in."""

    sample: Sample
    reply: Reply


class Unit(NamedTuple):
    """What is asked for at once: samples of one query from one model in one style.

    Attributes:
        have: rows that are recorded, by sample.
    """

    model: str
    style: str
    query: Query
    have: dict[int, Row] = {}  # noqa: RUF012

    @property
    def pool(self) -> str:
        """The name of its file, without the suffix."""
        return f"{self.model}.{self.style}"


@dataclass
class Report:
    """What a run of the recorder did.

    Attributes:
        recorded: units completed by this run.
        failed: units that could not be completed, with the reason.
        left: units that remain.
        holes: samples of all runs that `build` cannot use.
        spent: US dollars, of earlier runs too.
        stopped: why it ended early: "budget", "endpoint", or None.
        lines: what there is to say at the end, why it stopped first.
        overruns: calls that used more than was reserved for them.
    """

    recorded: int
    failed: dict[str, str]
    left: int
    holes: int
    spent: float
    stopped: str | None = None
    lines: list[str] = field(default_factory=list)
    overruns: int = 0


@dataclass
class Told:
    """What a model's endpoint has told so far: whether its replies have usage and log-probabilities.

    None: not known yet. False: the first samples had none when they were asked for twice.
    """

    usage: bool | None = None
    scores: bool | None = None


def record(
    config: LiveConfig,
    folder: Path,
    *,
    resume: bool = False,
    max_dollars: float = math.inf,
    accept_journal: bool = False,
    transport: Transport | None = None,
) -> Report:
    """Records what is not yet in the folder.

    Raises:
        ValueError: if the config records nothing, the folder holds a recording and `resume` is False, or one of other
            contents, or its journal does not account for its samples and `accept_journal` is False; naming file and
            line, if a file in it is damaged.
        BusyError: if another process uses the folder.
    """
    if not config.record:
        raise ValueError(f"{config.path}.record: missing, expected samples per query by style, e.g. direct = 16")
    with DirectoryLock(folder):
        claim(config, folder, resume)
        found = {
            (model, style): samples(pool_file(folder, model, style))
            for model in config.recorded()
            for style in config.record
        }
        rows = [row for pool in found.values() for by_sample in pool.values() for row in by_sample.values()]
        journal = CallJournal(folder / "calls.jsonl", rows, accept_journal)
        try:
            return asyncio.run(_Run(config, folder, found, journal, max_dollars, transport).play())
        finally:
            journal.close()


def units(config: LiveConfig) -> list[Unit]:
    """Everything that a config records, query by query."""
    return [Unit(m, style, query) for query in config.queries for m in config.recorded() for style in config.record]


class _Run:
    """One run of the recorder."""

    def __init__(
        self,
        config: LiveConfig,
        folder: Path,
        found: dict[tuple[str, str], dict[str, dict[int, Row]]],
        journal: CallJournal,
        max_dollars: float,
        transport: Transport | None,
    ) -> None:
        self.config = config
        self.client = Client(
            config.pool, max_dollars=max_dollars, transport=transport, journal=journal, spent=journal.spent
        )
        self.todo = [
            unit._replace(have=have)
            for unit in units(config)
            if len(have := _kept(unit, config, found[unit.model, unit.style])) < config.record[unit.style]
        ]
        rows = [row for pool in found.values() for by in pool.values() for row in by.values()]
        self.told = {name: _told(rows, name) for name in config.pool.models}
        holes = sum(row.get("hole") is not None for row in rows)
        self.report = Report(0, {}, len(self.todo), holes, journal.spent)
        self.files = {unit.pool: Appender(pool_file(folder, unit.model, unit.style)) for unit in self.todo}
        for name in config.recorded():
            model = config.pool.models[name]
            if not model.logprobs or "logprobs" in model.omit:
                self.client.one_at_a_time(name)  # only then is the length of every sample known
                self.told[name].scores = False
                self._say(f"model {name!r} is asked for no log-probabilities: arms that need scores will be left out")

    async def play(self) -> Report:
        endpoints = {model.endpoint.name: model.endpoint.concurrency for model in self.config.pool.models.values()}
        waiting = iter(self.todo)
        try:
            with Progress("recording", len(self.todo)) as bar:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(sum(endpoints.values()), len(self.todo))):
                        group.create_task(self._work(waiting, bar.advance))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for file in self.files.values():
                file.close()
            await self.client.close()
        self.report.spent, self.report.overruns = self.client.budget.spent, self.client.overruns
        self.report.lines += self.client.remarks()
        return self.report

    async def _work(self, waiting: Any, advance: Callable[[int, float], None]) -> None:
        report = self.report
        for unit in waiting:
            error, tokens = await self._record(unit)
            if error is None:
                report.recorded += 1
                report.left -= 1
            elif error == OUT_OF_BUDGET:
                report.stopped = "budget"
            elif error != STOPPED:
                report.failed[f"{unit.pool} {unit.query.query_id}"] = error
            if self.client.stopped and not report.stopped:
                report.stopped = "endpoint"
                report.lines.append(self.client.stopped)
            advance(1, tokens)
            if report.stopped:
                return

    async def _record(self, unit: Unit) -> tuple[str | None, float]:
        """(Why samples of a unit are still missing, output tokens); what came is written."""
        ask = Ask(self.client, unit.model, unit.query, self.config.styles[unit.style], ledger=Ledger())
        wanted = self.config.record[unit.style] - len(unit.have)
        good: list[Taken] = []
        poor: list[Taken] = []
        error: str | None = None
        asks = 0
        while len(good) < wanted and asks <= ROUNDS and not (asks > 1 and len(good) + len(poor) >= wanted):
            key = [*(["from", len(unit.have)] if unit.have else []), *([asks - 1] if asks else [])]
            batch = await ask.sample(wanted - len(good), "record", *key)
            error, asks = batch.error, asks + 1
            replies = {id(sample): reply for reply in batch.replies for sample in reply.samples}
            for sample in batch.samples:
                one = Taken(sample, replies[id(sample)])
                (poor if self._hole(unit.model, one) else good).append(one)
            if error == OUT_OF_BUDGET or self.client.stopped:
                break
        poor.sort(key=lambda one: self._hole(unit.model, one) == NO_USAGE)
        fill = poor[: wanted - len(good)] if asks > 1 else []
        self._learn(unit.model, [self._hole(unit.model, one) for one in fill])
        if good or fill:
            self.files[unit.pool].write(*await self._rows(unit, ask, [*good, *fill]))
        done = len(good) + len(fill) == wanted
        return None if done else error or "samples are missing", ask.ledger.totals(charged=True).output

    def _hole(self, model: str, one: Taken) -> str | None:
        """Why `build` could not use a sample; None if it can."""
        told, (sample, reply) = self.told[model], one
        if math.isnan(sample.tokens) or math.isnan(reply.tokens.prompt):
            if not math.isnan(reply.tokens.output) and len(reply.samples) > 1 and self.client.one_at_a_time(model):
                self._say(
                    f"model {model!r}: replies do not tell the tokens of each sample: asked one at a time from now"
                )
            if told.usage is not False:
                return NO_USAGE
        else:
            told.usage = True
        if not math.isnan(sample.mean_logprob):
            told.scores = True
        elif sample.text and told.scores is not False:
            return NO_SCORE
        return None

    def _learn(self, model: str, holes: Sequence[str | None]) -> None:
        """What samples that were asked for twice say about an endpoint that has told nothing so far."""
        told = self.told[model]
        if NO_USAGE in holes and told.usage is None:
            told.usage = False
            self._say(f"model {model!r}: the endpoint tells no usage: its world will have no dollars, tokens or eFLOPs")
        if told.scores is None and (NO_SCORE in holes or (told.usage is False and NO_USAGE in holes)):
            told.scores = False
            self._say(f"model {model!r}: the endpoint tells no log-probabilities: arms that need scores are left out")

    async def _scores(self, ask: Ask, taken: Sequence[Taken]) -> list[Row]:
        """What a scorer that asks a model says of samples, and what each of its verdicts cost."""
        if self.config.scorer.free:
            return [{}] * len(taken)
        asked = replace(ask, scorer=self.config.scorer, ledger=Ledger())
        drawn = [one.sample for one in taken]
        scores = await self.config.scorer(asked, drawn, [sample.text for sample in drawn], ())
        if asked.ledger.void:
            return [{}] * len(taken)
        priced = self.config.pool.priced
        dollars = asked.ledger.dollars(self.config.pool.cards, charged=True) / len(taken) if priced else None
        name = repr(self.config.scorer)
        return [{"score": _known(score), "scorer": name, "score_dollars": dollars} for score in scores.values]

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr)

    async def _rows(self, unit: Unit, ask: Ask, taken: Sequence[Taken]) -> list[Row]:
        """The rows of samples, in the places that are free."""
        shared = next(({name: row.get(name) for name in _OF_REQUEST} for row in unit.have.values()), None)
        if shared is None:
            first = taken[0].reply
            times = first.data.get("timings")
            times = times if isinstance(times, dict) else {}
            shared = {
                "prompt_tokens": _known(first.tokens.prompt),
                "cached_tokens": _known(first.tokens.cached),
                "request_seconds": round(ask.ledger.latency(), 4),
                "seed": ask.seed_of("record"),
            } | {name: _time(times.get(name)) for name in _TIMES}
        scores = await self._scores(ask, taken)
        free = [i for i in range(self.config.record[unit.style]) if i not in unit.have]
        rows: list[Row] = []
        for i, one in zip(free, taken, strict=False):
            verdict, sample = await judge.aside(judge.judge, unit.query, one.sample), one.sample
            hole = self._hole(unit.model, one)
            self.report.holes += hole is not None
            row = {
                "query_id": unit.query.query_id,
                "model": unit.model,
                "prompt": unit.style,
                "sample": i,
                "text": sample.text,
                "extracted": verdict.answer,
                "quality": verdict.quality,
                "note": verdict.note,
                "finish": sample.finish,
                "hole": hole,
                "completion_tokens": _known(sample.tokens),
                "mean_logprob": _known(sample.mean_logprob),
                "sum_logprob": _known(sample.sum_logprob),
                "call": one.reply.call,
                "spent": self.client.budget.spent,
            }
            rows.append(row | shared | scores[len(rows)])
        return rows


def _kept(unit: Unit, config: LiveConfig, rows: dict[str, dict[int, Row]]) -> dict[int, Row]:
    """The rows of a unit that the config asks for."""
    by_sample = rows.get(unit.query.query_id, {})
    return {sample: row for sample, row in by_sample.items() if sample < config.record[unit.style]}


def _told(rows: Sequence[Row], model: str) -> Told:
    """What the rows of a model say about its endpoint."""
    own = [row for row in rows if row.get("model") == model]
    if not own:
        return Told()
    usage = any(row.get("completion_tokens") is not None and row.get("prompt_tokens") is not None for row in own)
    return Told(usage, any(row.get("mean_logprob") is not None for row in own))


def _time(value: Any) -> float | None:
    """A duration or count that a server told; None for what cannot be one."""
    told = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12
    return value if told else None


def _known(value: float) -> float | int | None:
    """What is not finite as null, whole numbers as integers."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else round(value, 6)
