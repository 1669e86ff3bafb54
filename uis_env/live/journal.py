"""Append-only files that survive kill -9: whole lines or nothing, and a journal of what calls may have cost."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uis_env.files import WriteError, atomic_write
from uis_env.live.ledger import Call

ACCEPT = "--accept-journal goes on, and counts what is known to be spent"


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
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        data = text.encode("utf-8", "replace")
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

    Args:
        path: of the file.
        results: rows of the run's results. The journal must hold the end of each row's `call`, and account for the US
            dollars that were `spent` when it was written.
        accept: accepts a journal that is damaged, missing or cut: it is kept under another name, what can be read
            of it stays, and rows make up for what is missing.

    Attributes:
        spent: US dollars of all calls so far; a call that started and never ended counts at its worst case.

    Raises:
        ValueError: naming file and line of a row that is not one of these, or if the journal does not account for
            what is known to be spent; unless `accept`.
    """

    def __init__(self, path: Path, results: Iterable[Mapping[str, Any]] = (), accept: bool = False) -> None:
        rows, problem = _whole(path)
        costs, ended = _costs(rows), {row["end"] for row in rows if "end" in row}
        known, lost = 0.0, []
        for result in results:
            known = max(known, _dollars(result.get("spent")) or 0.0)
            lost += [result["call"]] if result.get("call") and result["call"] not in ended else []
        self.spent = math.fsum(costs.values())
        short = known - self.spent if known > self.spent * (1 + 1e-9) else 0.0
        if not problem and (lost or short):
            problem = (
                f"{path}: missing or cut: it accounts for ${self.spent:.6f}, the results for ${known:.6f}, and it does "
                f"not hold {len(set(lost))} of their calls"
            )
        if problem and not accept:
            raise ValueError(f"{problem}; {ACCEPT}")
        if problem and path.exists():
            path.replace(path.with_name(f"{path.name}.damaged"))
            atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._rows = Appender(path)
        self._rows.write(*({"end": call, "dollars": costs.get(call, 0.0)} for call in dict.fromkeys(lost)))
        if short:
            self._rows.write({"end": f"accepted-{uuid.uuid4().hex}", "dollars": short})
            self.spent = known

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
        row = _object(line)
        if row is None:
            raise ValueError(f"{path}:{number}: expected one JSON object per line")
        rows.append(row)
    return rows


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _whole(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """(The rows of a journal that can be read, what is wrong with the first of the others).

    A last line without an end was being written when the process died: its call was not sent, or counts as started.
    """
    rows, problem = [], None
    data = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        row = _object(line)
        name = row.get("end", row.get("start")) if row else None
        if row is None or not isinstance(name, str) or _dollars(row.get("dollars")) is None:
            problem = problem or (
                f"{path}:{number}: expected the start or the end of a call, with dollars that are a number >= 0"
            )
            continue
        rows.append(row)
    return rows, problem


def _dollars(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return float(value) if known else None


def _costs(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {str(row.get("end", row.get("start"))): float(row["dollars"]) for row in rows}
