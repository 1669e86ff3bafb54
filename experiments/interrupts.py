"""A Ctrl-C that is not lost: Python drops a KeyboardInterrupt inside callbacks such as JAX's in garbage collection."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED = threading.Event()
"""Set from a Ctrl-C on, for loops that would go on if the exception was dropped."""


@contextmanager
def remembered() -> Iterator[None]:
    """Inside, SIGINT sets `ASKED` before it raises KeyboardInterrupt; a handler of someone else's stays."""
    ASKED.clear()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        ASKED.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
