"""Functions that the tests of the worker process name."""

from __future__ import annotations

import os
import time


def half(answer: str, right: str) -> float:
    print("functions may print", answer)
    return 0.5


def own(answer: str, right: str) -> float:
    """By what it is given: raises, hangs, ends the process, or returns something that is no quality."""
    if answer == "raise":
        raise KeyError("no such answer")
    if answer == "hang":
        time.sleep(3600)
    if answer == "exit":
        os._exit(3)
    if answer == "leave":
        raise SystemExit(0)
    return {"nan": float("nan"), "much": 7.0}.get(answer, float(answer == right))


def negative(question: str, text: str) -> float:
    return float(text.startswith("-"))
