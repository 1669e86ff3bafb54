"""What a run says of itself: seconds by agent, and how far it is."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Clock:
    """Seconds spent, per agent and in all; the only thing of a run that depends on the clock."""

    compile: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    run: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    rounds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, table: str, agent: str, amount: float) -> None:
        """Adds seconds (or rounds) to one of the tables."""
        with self.lock:
            getattr(self, table)[agent] += amount

    def take(self) -> dict[str, dict[str, float]]:
        """Hands over what was counted, table by table, and starts again at zero."""
        tables = {}
        with self.lock:
            for table in ("compile", "run", "rounds"):
                tables[table] = dict(getattr(self, table))
                getattr(self, table).clear()
        return tables

    def merge(self, tables: Mapping[str, Mapping[str, float]]) -> None:
        """Adds what another clock handed over."""
        for table, amounts in tables.items():
            for agent, amount in amounts.items():
                self.add(table, agent, amount)

    def to_json(self, total: float, reused: int) -> dict[str, Any]:
        """`total_run_seconds` is wall time, compiling included; the rest are sums over units, which overlap."""
        return {
            "total_run_seconds": round(total, 3),
            "total_compile_seconds": round(sum(self.compile.values()), 3),
            "units_reused": reused,
            "agents": {
                agent: {
                    "compile_seconds": round(self.compile[agent], 3),
                    "run_seconds": round(self.run[agent], 3),
                    "rounds_per_second": round(self.rounds[agent] / self.run[agent]) if self.run[agent] else None,
                }
                for agent in sorted(self.run)
            },
        }


@dataclass(frozen=True)
class Progress:
    """What a run says: `start(rounds, damaged, notes)`, all rounds to play, the files found damaged, which are played
    again, and a line for each agent whose units are played again since what made them differs; then
    `advance(rounds, label)` as they are played.
    """

    start: Callable[[int, list[Path], list[str]], None] = lambda total, damaged, notes: None
    advance: Callable[[int, str], None] = lambda rounds, label: None
