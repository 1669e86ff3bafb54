"""What an agent sees of a query that was never recorded: features of its text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH = 32


def context_table(name: str, questions: Sequence[str]) -> Array:
    """(Q, D) float32 features of the questions.

    Args:
        name: "hashed" (no dependency), "text" (whitened wordllama components, needs the extra `build`), or the path of
            an .npy file with one row per query.
        questions: Q texts.

    Raises:
        ValueError: naming the file, if its shape or numbers are not as expected.
    """
    if name == "hashed":
        return hashed(questions)
    if name == "text":
        from uis_env.worlds.text import embedded

        return embedded(questions)[0]
    table: Array = np.load(Path(name), allow_pickle=False)
    if table.ndim != 2 or len(table) != len(questions) or not np.issubdtype(table.dtype, np.floating):
        raise ValueError(
            f"{name}: {table.dtype}{list(table.shape)}, expected floats, one row for {len(questions)} queries"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{name}: holds numbers that are not finite")
    return np.asarray(table, np.float32)


def hashed(questions: Sequence[str], width: int = WIDTH) -> Array:
    """(Q, width + 2) float32: signed word counts in `width` buckets (of length 1), log characters / 10, a bias of 1.

    Weinberger et al., arXiv 0902.2206. Numbers count as one word per length. Each row depends on its question alone.
    """
    table = np.zeros((len(questions), width + 2), np.float32)
    for row, question in zip(table, questions, strict=True):
        for word in re.findall(r"\w+|[^\w\s]", re.sub(r"\d", "0", question.lower())):
            code = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
            row[code % width] += 1 if code >> 63 else -1
        row[:width] /= np.linalg.norm(row[:width]) or 1
        row[width:] = np.log(max(1, len(question))) / 10, 1
    return table
