"""One process at a time in a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


class BusyError(RuntimeError):
    """Another process works in the directory; the message names it."""


class DirectoryLock:
    """An exclusive lock of a directory, a context manager; the operating system lets go of it when a process dies.

    Needs the `filelock` package. An empty file `.lock` may stay behind.

    Args:
        root: the directory; it is made if it does not exist.

    Raises:
        BusyError: on entering, at once, if another process (or thread) holds it.
        WriteError: on entering, if the directory cannot be made or written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder, DirectoryLock(Path(folder)):
        ...     print("mine")
        mine
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: BaseFileLock | None = None
        self._depth = 0

    def __enter__(self) -> DirectoryLock:
        from filelock import FileLock, Timeout

        from uis_env.files import WriteError

        if self._depth == 0:
            lock = FileLock(self.root / ".lock", timeout=0)
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                raise BusyError(
                    f"{self.root} is in use by another process; wait for it, or choose another --out"
                ) from None
            except OSError as error:
                raise WriteError(f"{self.root} cannot be written: {error.strerror or error}") from error
            self._lock = lock
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._lock is not None:
            self._lock.release()
            self._lock = None
