"""What a run has to say about its endpoints at the end: calls above their reservation, other models, other bills."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from uis_env.live.ledger import Call
from uis_env.live.pool import Model

_VERSION = r"(?:[-:@_.](?:v?\d[\d.-]*|latest|preview))*"
_SAME = 0.01  # shares of a bill that rounding explains


@dataclass
class Remarks:
    """Collects them call by call.

    Attributes:
        overruns: calls that cost more than was reserved for them.
    """

    overruns: int = 0
    _above: float = 0.0
    _first: str = ""
    _served: dict[str, Counter[str]] = field(default_factory=dict)
    _bills: dict[str, tuple[float, float]] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)

    def add(self, model: Model, call: Call, dollars: float, reserved: float) -> None:
        """A call ended; it cost `dollars`, of `reserved` that were set aside."""
        used, most = call.charged(), call.most
        if used.output > most.output or used.prompt > most.prompt or dollars > reserved * (1 + 1e-9):
            self.overruns += 1
            self._above += max(0.0, dollars - reserved)
            self._first = self._first or (
                f"call {call.id} of model {model.name!r} used {used.prompt:.0f} prompt and {used.output:.0f} output "
                f"tokens, {most.prompt:.0f} and {most.output:.0f} were reserved"
            )
        if call.served and not _same_model(model.id, call.served):
            self._ids[model.name] = model.id
            self._served.setdefault(model.name, Counter())[call.served] += 1
        if not math.isnan(call.cost) and model.card.price is not None:
            theirs, ours = self._bills.get(model.name, (0.0, 0.0))
            self._bills[model.name] = theirs + call.cost, ours + dollars

    def lines(self) -> list[str]:
        """One line each; none if all was as configured."""
        lines = []
        if self.overruns:
            lines.append(
                f"{self.overruns} calls used more than was reserved for them, ${self._above:.4f} in all: the endpoint "
                f"does not keep to the limits it is sent ({self._first})"
            )
        for name, served in self._served.items():
            others = ", ".join(f"{other!r} ({count} calls)" for other, count in served.most_common(3))
            lines.append(f"model {name!r} (id {self._ids[name]!r}) was answered by {others}")
        for name, (theirs, ours) in self._bills.items():
            if abs(theirs - ours) > _SAME * max(theirs, ours):
                lines.append(
                    f"model {name!r}: the provider reports ${theirs:.6f} for calls that cost ${ours:.6f} by the "
                    "config's price: check the price"
                )
        return lines


def _same_model(asked: str, served: str) -> bool:
    """Whether a server may mean the model that was asked for: folders, file endings, versions and dates aside."""
    one, other = (name.lower().rsplit("/", 1)[-1].removesuffix(".gguf") for name in (asked, served))
    return bool(re.fullmatch(re.escape(one) + _VERSION, other) or re.fullmatch(re.escape(other) + _VERSION, one))
