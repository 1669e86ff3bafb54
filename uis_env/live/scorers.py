"""Scorers: what a sample, or a step of one, is worth, in [0, 1]; NaN where the scorer failed."""

from __future__ import annotations

import asyncio
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from uis_env.live.client import Sampling
from uis_env.live.judge import in_thread
from uis_env.live.reply import Sample
from uis_env.live.table import Table
from uis_env.live.verifiers import SECONDS, remote_function

if TYPE_CHECKING:
    from uis_env.live.strategies.ask import Ask

Calls = tuple[str, ...]


class Scores(NamedTuple):
    """A value per sample, and the calls that made them (those that were handed in, if none were made)."""

    values: list[float]
    calls: Calls


class Scorer(Protocol):
    """Values samples."""

    @property
    def free(self) -> bool:
        """Whether it asks nobody, so that every answer can be scored."""

    async def __call__(self, ask: Ask, samples: Sequence[Sample], texts: Sequence[str], after: Calls) -> Scores:
        """Values `samples`; `texts[i]` is the whole answer so far, `samples[i]` the (last step of the) answer."""


@dataclass(frozen=True)
class Confidence:
    """The model's own: `exp(mean log-probability)`, the geometric mean of its tokens' probabilities."""

    free: bool = True

    async def __call__(self, ask: Ask, samples: Sequence[Sample], texts: Sequence[str], after: Calls) -> Scores:
        """NaN where the endpoint gave no log-probabilities."""
        return Scores([math.exp(sample.mean_logprob) for sample in samples], after)


@dataclass(frozen=True)
class Callback:
    """A function (question, text) -> value in [0, 1]; of a config it runs in the worker process, under a time limit."""

    function: Callable[[str, str], float]
    free: bool = True

    async def __call__(self, ask: Ask, samples: Sequence[Sample], texts: Sequence[str], after: Calls) -> Scores:
        """NaN, and a warning, where the function raises, takes too long or returns something else."""
        return Scores([await in_thread(self._value, ask.query.question, text) for text in texts], after)

    def _value(self, question: str, text: str) -> float:
        try:
            value = float(self.function(question, text))
        except Exception as error:
            warnings.warn(f"scorer callback failed: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
            return math.nan
        if not 0 <= value <= 1:
            warnings.warn(
                f"scorer callback returned {value}, expected a number in [0, 1]", RuntimeWarning, stacklevel=2
            )
            return math.nan
        return value


@dataclass(frozen=True)
class Judge:
    """A language model of the pool grades each text from 0 to 10; its calls are in the ledger.

    Attributes:
        model: its name in the pool.
        max_tokens: of a verdict.
    """

    model: str
    max_tokens: int = 64
    free: bool = False

    async def __call__(self, ask: Ask, samples: Sequence[Sample], texts: Sequence[str], after: Calls) -> Scores:
        """One call per text, side by side."""

        async def judge(text: str) -> tuple[float, Calls]:
            prompt = (
                f"Question:\n{ask.query.question}\n\nProposed answer:\n{text}\n\n"
                "How likely is the proposed answer right (or, if unfinished, on the right way)? "
                "Reply with one number from 0 to 10."
            )
            batch = await ask.client.sample(
                ask.ledger,
                self.model,
                [{"role": "user", "content": prompt}],
                1,
                Sampling(0.0, self.max_tokens),
                seed=ask.seed_of("judge", text),
                after=after,
                purpose="judge",
            )
            return (verdict(batch.samples[0].text) if batch.samples else math.nan), batch.calls

        return _gathered(await asyncio.gather(*map(judge, texts)))


@dataclass(frozen=True)
class RewardModel:
    """A reward-model endpoint: posts the question and the text, finds numbers in the reply.

    A process reward model returns one number per step; `reduce` makes them one.

    Attributes:
        model: its name in the pool.
        path: below the base URL.
        form: "messages" sends the chat with the answer as its last turn, "input" sends one text.
        pick: where the numbers stand in the reply, keys and indices joined by dots.
        reduce: "last", "min", "mean" or "product" of several numbers.
        squash: "none" for values in [0, 1], "sigmoid" for logits.
    """

    model: str
    path: str = "/pooling"
    form: str = "messages"
    pick: str = "data.0.data"
    reduce: str = "last"
    squash: str = "none"
    free: bool = False

    async def __call__(self, ask: Ask, samples: Sequence[Sample], texts: Sequence[str], after: Calls) -> Scores:
        """One call per text, side by side."""

        async def score(text: str) -> tuple[float, Calls]:
            question = ask.query.question
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
            body = {"messages": turns} if self.form == "messages" else {"input": f"{question}\n\n{text}"}
            batch = await ask.client.post(ask.ledger, self.model, self.path, body, after=after)
            return (self.read(batch.replies[0].data) if not batch.error else math.nan), batch.calls

        return _gathered(await asyncio.gather(*map(score, texts)))

    def read(self, data: Any) -> float:
        """The value in a reply; NaN if there is none."""
        for key in self.pick.split("."):
            try:
                data = data[int(key)] if isinstance(data, list) else data[key]
            except (LookupError, ValueError, TypeError):
                return math.nan
        numbers = _flat(data)
        if not numbers or not all(math.isfinite(number) for number in numbers):
            return math.nan
        if self.squash == "sigmoid":
            numbers = [0.5 * (1 + math.tanh(number / 2)) for number in numbers]
        reduced = {"last": numbers[-1], "min": min(numbers), "mean": math.fsum(numbers) / len(numbers)}
        value = reduced.get(self.reduce, math.prod(numbers))
        return value if 0 <= value <= 1 else math.nan


def verdict(text: str) -> float:
    """The first number of a judge's reply that lies in 0..10, over 10; NaN if there is none."""
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
    return next((number / 10 for number in numbers if number <= 10), math.nan)


def load_scorer(table: Table | None, models: Sequence[str]) -> Scorer:
    """The `[scorer]` of a config (None: Confidence): `kind` and the fields of its class.

    Raises:
        ValueError: naming the key that is unknown or not as expected.
    """
    if table is None:
        return Confidence()
    kind = table.choice("kind", ("confidence", "callback", "judge", "reward_model"))
    scorer: Scorer = Confidence()
    if kind == "callback":
        seconds = table.number("seconds", SECONDS, low=0.01, high=3600)
        scorer = Callback(remote_function(table.take("function", str), f"{table.where}.function", seconds))
    elif kind == "judge":
        scorer = Judge(table.choice("model", tuple(models)), table.integer("max_tokens", 64, low=1))
    elif kind == "reward_model":
        scorer = RewardModel(
            model=table.choice("model", tuple(models)),
            path=table.take("path", str, "/pooling"),
            form=table.choice("form", ("messages", "input"), "messages"),
            pick=table.take("pick", str, "data.0.data"),
            reduce=table.choice("reduce", ("last", "min", "mean", "product"), "last"),
            squash=table.choice("squash", ("none", "sigmoid"), "none"),
        )
    table.done()
    return scorer


def _flat(data: Any) -> list[float]:
    if isinstance(data, list):
        return [number for item in data for number in _flat(item)]
    return [float(data)] if isinstance(data, int | float) and not isinstance(data, bool) else []


def _gathered(scored: Sequence[tuple[float, Calls]]) -> Scores:
    return Scores([value for value, _ in scored], tuple(call for _, calls in scored for call in calls))
