"""Prompting styles: how a query becomes chat messages, and how its answer is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uis_env.live.client import Sampling
from uis_env.live.table import Table

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Style:
    """A way to ask.

    Attributes:
        name: part of an arm's method.
        sampling: temperature, most tokens, stops.
        instruction: put before the first question.
        examples: worked (question, answer) pairs, as earlier turns of the chat.
    """

    name: str
    sampling: Sampling
    instruction: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    def messages(self, question: str) -> Messages:
        """The chat that asks a question."""
        turns: Messages = []
        for example, answer in self.examples:
            turns += [{"role": "user", "content": example}, {"role": "assistant", "content": answer}]
        turns.append({"role": "user", "content": question})
        if self.instruction:
            turns[0] = {"role": "user", "content": f"{self.instruction}\n\n{turns[0]['content']}"}
        return turns


_DIRECT: dict[str, Any] = {"instruction": "Reply with the final answer only.", "max_tokens": 40, "stop": ["\n"]}
_STEPS: dict[str, Any] = {
    "instruction": "Solve the problem step by step, one step per line. End with a line 'Answer: ' and the final answer."
}
_DEFAULTS = {"direct": _DIRECT, "few_shot": _DIRECT | {"instruction": ""}, "steps": _STEPS}


def load_styles(tables: dict[str, Table]) -> dict[str, Style]:
    """The `[styles.<name>]` of a config; `direct`, `few_shot` and `steps` have defaults.

    Keys: `instruction`, `examples` (pairs; `few_shot` needs them), `temperature`, `max_tokens`, `stop`.

    Raises:
        ValueError: naming the key that is unknown or not as expected.
    """
    styles = {name: _style(name, Table(_DEFAULTS[name], name)) for name in ("direct", "steps")}
    for name, table in tables.items():
        if "-" in name or "/" in name:
            raise ValueError(f"{table.where}: a style's name holds no '-' or '/'")
        styles[name] = _style(name, table)
    return styles


def _style(name: str, table: Table) -> Style:
    default = _DEFAULTS.get(name, {})
    pairs = table.take("examples", list, [])
    if not all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair) for pair in pairs):
        raise ValueError(f"{table.where}.examples: expected a list of [question, answer] pairs")
    if name == "few_shot" and not pairs:
        raise ValueError(f"{table.where}.examples: missing, expected worked [question, answer] pairs")
    style = Style(
        name=name,
        sampling=Sampling(
            temperature=table.number("temperature", 0.8, low=0),
            max_tokens=table.integer("max_tokens", default.get("max_tokens", 512), low=1),
            stop=table.texts("stop", default.get("stop", [])),
        ),
        instruction=table.take("instruction", str, default.get("instruction", "")),
        examples=tuple((question, answer) for question, answer in pairs),
    )
    table.done()
    return style
