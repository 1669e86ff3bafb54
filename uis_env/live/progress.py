"""A progress line on a terminal (with rich, if installed), or one plain line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """`with Progress("recording", total, tokens) as bar: bar.advance(1, tokens)`.

    Args:
        title: what goes on.
        total: steps to go.
        every: seconds between plain lines.
    """

    def __init__(self, title: str, total: int, every: float = 10.0) -> None:
        self._title, self._total, self._every = title, total, every
        self._done = 0
        self._tokens = 0.0
        self._begin = self._shown = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
                from rich.progress import Progress as Bar
            except ImportError:
                return self
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[rate]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(self._title, total=self._total, rate="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            print(self.line(), file=sys.stderr)

    def advance(self, steps: int, tokens: float) -> None:
        """Some steps are done and took that many output tokens."""
        self._done += steps
        self._tokens += tokens
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=f"{self._rate(now):.0f} tokens/s")
        elif now - self._shown >= self._every:
            self._shown = now
            print(self.line(), file=sys.stderr)

    def line(self) -> str:
        """What there is to say."""
        now = time.monotonic()
        left = (now - self._begin) / self._done * (self._total - self._done) if self._done else float("nan")
        remaining = f", {left:.0f} s left" if left > 0 else ""
        return f"{self._title}: {self._done}/{self._total}, {self._rate(now):.0f} tokens/s{remaining}"

    def _rate(self, now: float) -> float:
        return self._tokens / max(now - self._begin, 1e-9)
