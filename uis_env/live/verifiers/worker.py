"""The worker process: runs patterns and functions of the user's on what models wrote, where they can be killed.

It reads a request per line from standard input, `{"spec": {"kind": ...}, "method": ..., "arguments": [...], "seconds":
...}`, and writes a reply per line, `{"value": ...}` or `{"error": ..., "message": ...}`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from collections.abc import Callable
from functools import cache
from typing import IO, Any

from uis_env.live.verifiers.symbolic import symbolic
from uis_env.live.verifiers.user import callback, load_function, reasoning_gym, regex

_GRACE = 2.0
"""Seconds after which a call that overran its limit ends the process itself, should its parent be gone."""


def main() -> None:
    """Answers requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "r+") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # what functions print must not mix with replies
        serve(requests, replies, nothing)


def serve(requests: IO[str], replies: IO[str], watchdog: IO[str]) -> None:
    """Answers the requests of a stream; a call that overruns its limit ends the process."""
    for line in requests:
        request = json.loads(line)
        faulthandler.dump_traceback_later(request["seconds"] + _GRACE, exit=True, file=watchdog)
        try:
            value = methods(json.dumps(request["spec"]))[request["method"]](*request["arguments"])
            reply = json.dumps({"value": value})
        except BaseException as error:
            reply = json.dumps({"error": type(error).__name__, "message": f"{error}"[:500]})
        faulthandler.cancel_dump_traceback_later()
        replies.write(reply + "\n")
        replies.flush()


@cache
def methods(spec: str) -> dict[str, Callable[..., Any]]:
    """What can be asked of a kind of grader; made once for each spec."""
    settings = json.loads(spec)
    kind = settings["kind"]
    if kind == "function":
        function = load_function(settings["function"])
        return {"load": lambda: None, "call": lambda *arguments: float(function(*arguments))}
    if kind == "regex":
        verifier = regex(settings["pattern"])
    elif kind == "callback":
        verifier = callback(load_function(settings["function"]))
    elif kind == "math":
        verifier = symbolic()
    else:
        dataset = _dataset(settings["name"], settings["size"], settings["seed"], json.dumps(settings["config"]))
        verifier = reasoning_gym(dataset.score_answer, dataset[settings["index"]])
    return {"load": lambda: None, "extract": verifier.extract, "grade": verifier.grade, "group": verifier.group}


@cache
def _dataset(name: str, size: int, seed: int, config: str) -> Any:
    import reasoning_gym as gym

    return gym.create_dataset(name, size=size, seed=seed, **json.loads(config))
