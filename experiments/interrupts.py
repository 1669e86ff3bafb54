"""A Ctrl-C that is not lost: Python drops a KeyboardInterrupt inside callbacks such as JAX's in garbage collection."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = False  # a plain flag: taking a lock in a signal handler can wait for the very frame it interrupted


def check() -> None:
    """Raises KeyboardInterrupt if there was a Ctrl-C, for loops that would go on if the exception was dropped."""
    if _asked:
        raise KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[None]:
    """Inside, SIGINT is remembered for `check` and then raises KeyboardInterrupt; a handler of someone else's stays."""
    global _asked
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        global _asked
        _asked = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _asked = False
