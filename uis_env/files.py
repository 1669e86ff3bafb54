"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class WriteError(OSError):
    """A file cannot be written; the message names it and says why. What stood there before still does."""


def atomic_write(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: a temporary file beside it, flushed, then renamed over it.

    Raises:
        WriteError: naming the file, if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error
