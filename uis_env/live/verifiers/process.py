"""The parent of the worker process: starts it when first asked, kills it when a call overruns its time limit."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

SECONDS = 5.0
"""Time limit of one call of a pattern or function."""
LOADING = 120.0
"""Seconds for starting the process and importing what a grader needs."""
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from uis_env.live.verifiers.worker import main; sys.exit(main())"
)


class GraderError(RuntimeError):
    """A grader raised, overran its time limit, or ended the worker process."""


class Worker:
    """A process that answers one call at a time; threads wait for each other. Killed, it starts anew when asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._running = self._stopped = False
        self._replies: queue.Queue[str] = queue.Queue()
        self._loaded: set[str] = set()

    def call(self, spec: Mapping[str, Any], seconds: float, method: str, *arguments: Any) -> Any:
        """The result of `method` of the grader that `spec` describes.

        Args:
            spec: `kind` and its settings, as JSON values; see `worker.methods`.
            seconds: time limit; loading what the spec needs has LOADING seconds of its own.
            method: "load", "extract", "grade", "group" or "call".
            arguments: JSON values.

        Raises:
            ValueError: what the grader found wrong with its settings or the right answer.
            GraderError: if it raises anything else, overruns the limit, or ends the process.
        """
        with self._lock:
            self._running = True
            try:
                key = json.dumps(spec, sort_keys=True)
                if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
                    self._start()
                if key not in self._loaded:
                    self._ask(spec, LOADING, "load", ())
                    self._loaded.add(key)
                return self._ask(spec, seconds, method, arguments)
            finally:
                self._running = self._stopped = False

    def interrupt(self) -> None:
        """Ends the call that runs, if any, from any thread: it raises GraderError."""
        self._stopped = self._running
        process = self._process
        if self._stopped and process is not None and self._owner == os.getpid():
            process.kill()

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        self._loaded.clear()
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(self) -> None:
        self.close()
        path = json.dumps([*sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._owner = os.getpid()
        if self._stopped:
            self._process.kill()
        self._replies = queue.Queue()
        threading.Thread(target=_read, args=(self._process, self._replies), name="uis-grader", daemon=True).start()

    def _ask(self, spec: Mapping[str, Any], seconds: float, method: str, arguments: tuple[Any, ...]) -> Any:
        assert self._process is not None and self._process.stdin is not None
        request = {"spec": dict(spec), "method": method, "arguments": arguments, "seconds": seconds}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise GraderError(f"no result within {seconds:g} s: killed") from None
        except OSError:
            line = ""
        if not line:
            self.close()
            raise GraderError("the grader ended its process")
        reply = json.loads(line)
        if "error" in reply:
            if reply["error"] in ("ValueError", "ImportError", "ModuleNotFoundError"):
                raise ValueError(reply["message"])
            raise GraderError(f"{reply['error']}: {reply['message']}")
        return reply["value"]


def _read(process: subprocess.Popen[str], replies: queue.Queue[str]) -> None:
    """Hands on the lines of a process; "" at its end."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed while we read
        for line in process.stdout:
            replies.put(line)
    replies.put("")


WORKER = Worker()
atexit.register(WORKER.close)
