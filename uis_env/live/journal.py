"""Append-only files that survive kill -9: whole lines or nothing, and a journal of what calls may have cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uis_env.live.ledger import Call
from uis_env.outcomes import WriteError


class Appender:
    """Appends JSON rows to a file, all rows of one `write` in one system call.

    Opening cuts off a last line that never got its end (a full disk, a power cut).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.ftruncate(self._file, data.rfind(b"\n") + 1)

    def write(self, *rows: Mapping[str, Any]) -> None:
        """Appends rows; when it returns, the system has them.

        Raises:
            WriteError: naming the file, if it cannot be written.
        """
        data = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode(
            "utf-8", "replace"
        )
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise WriteError(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Forces everything to the disk."""
        os.fsync(self._file)
        os.close(self._file)


class CallJournal:
    """`calls.jsonl`: a row when a call starts, with its worst case in dollars, and one when it ends.

    Attributes:
        spent: US dollars of all calls so far; a call that started and never ended counts at its worst case.

    Raises:
        ValueError: naming file and line of a row that is not one of these.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Appender(path)
        self.spent = sum(dollars for _, dollars in _costs(path))

    def start(self, call: str, model: str, dollars: float) -> None:
        """A call is about to be sent."""
        self._rows.write({"start": call, "model": model, "dollars": dollars})

    def end(self, call: Call, dollars: float) -> None:
        """It ended."""
        self._rows.write({"end": call.id, "dollars": dollars, "call": call.to_json()})

    def close(self) -> None:
        """Forces everything to the disk."""
        self._rows.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none if it does not exist.

    Raises:
        ValueError: naming file and line of what is not a JSON object.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: expected one JSON object per line")
        rows.append(row)
    return rows


def _costs(path: Path) -> Iterable[tuple[str, float]]:
    costs: dict[str, float] = {}
    for number, row in enumerate(read_rows(path), start=1):
        try:
            costs[row["end"] if "end" in row else row["start"]] = float(row["dollars"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{path}:{number}: expected the start or the end of a call") from None
    return costs.items()
